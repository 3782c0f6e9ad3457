package protocol

import (
	"bytes"
	"io"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

// fill sets every exported field of a declaration, so that one which the wire forgets shows.
func fill(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), depth)
		}
	case reflect.String:
		v.SetString("text")
		switch v.Type() {
		case reflect.TypeFor[sdk.ComponentKind]():
			v.SetString("sink")
		case reflect.TypeFor[sdk.Effect]():
			v.SetString("once")
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(7)
	case reflect.Int64:
		v.SetInt(int64(time.Hour))
	case reflect.Interface:
		v.Set(reflect.ValueOf("default"))
	case reflect.Slice:
		if depth == 0 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), depth-1)
		}
	}
}

func TestDeclarationsArriveWhole(t *testing.T) {
	var want sdk.Plugin
	fill(reflect.ValueOf(&want).Elem(), 4)
	want.Components[0].Args[0].Block = []sdk.Arg{} // an empty block is a block
	clock := sdk.NewClock(time.Now(), time.Date(2020, 10, 28, 0, 0, 0, 0, time.UTC), 3600)
	srv := newServer(want, io.Discard)
	got, err := dial(t, srv, Options{}).Describe(t.Context(), clock)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("got - want +\n%s", d)
	}
	if srv.clock.Text() != clock.Text() {
		t.Errorf("clock %q, want %q", srv.clock.Text(), clock.Text())
	}
}

func TestLogLevels(t *testing.T) {
	var log bytes.Buffer
	s := newServer(sdk.Plugin{}, &log)
	if _, err := dial(t, s, Options{LogLevel: slog.LevelDebug}).Describe(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s.log.Debug("fine")
	s.log.Log(t.Context(), slog.LevelDebug-4, "finest")
	if got := strings.Count(log.String(), "\n"); got != 1 || !strings.Contains(log.String(), `"@level":"debug"`) {
		t.Errorf("log %q", log.String())
	}
}
