package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/sdk"
)

// Rows of one parcel that fall due each at an instant of its own are many replays. While the loop is busy they must not hold the parcel's
// bodies as many times.
func TestManyReplaysOfOneParcel(t *testing.T) {
	dir := t.TempDir()
	const rows, size = 200, 20 << 10 // 4 MiB
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "later" }
source "later_in" "in" {
  rows = %d
  size = %d
}
sink "later_out" "out" {
  input = source.later_in.in
  path  = %q
  retry { tries = 1 }
}
`, rows, size, filepath.Join(dir, "list")))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sum, err := Run(ctx, o)
	if err != nil || sum.Steps[0].Owed != rows {
		t.Fatalf("%d of %d rows are owed, %v", sum.Steps[0].Owed, rows, err)
	}

	o.Clock = sdk.NewClock(time.Now(), time.Now().Add(2*time.Hour), 1) // all are due
	o.Log, o.Failpoint = hclog.NewNullLogger(), func(string) {}
	db, err := openState(o)
	if err != nil {
		t.Fatal(err)
	}
	e, err := newEngine(o, db)
	if err != nil {
		t.Fatal(err)
	}
	e.ctx = ctx
	loads := 0
	for _, a := range e.machine.Start() {
		if l, ok := a.(flow.Load); ok {
			loads++
			e.load(l)
		}
	}
	if loads != rows {
		t.Errorf("%d replays, want %d: this test shows nothing", loads, rows)
	}
	for len(e.events) < loadsAtOnce && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if n := len(e.events); n != loadsAtOnce {
		t.Errorf("%d parcels were read while nobody took them, want %d", n, loadsAtOnce)
	}
	cancel()
	e.background.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}

	ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if sum, err = Run(ctx, o); err != nil || ctx.Err() != nil || sum.Steps[0].Owed != 0 {
		t.Fatalf("%d rows are owed, %v, %v", sum.Steps[0].Owed, err, ctx.Err())
	}
	if n := len(listed(t, filepath.Join(dir, "list"))); n != rows {
		t.Errorf("%d rows arrived, want %d", n, rows)
	}
}

func laterPlugin() sdk.Plugin {
	num := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.Number} }
	return sdk.Plugin{Name: "later", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "later_in", Emits: []string{"n/1"}, Args: []sdk.Arg{num("rows"), num("size")},
			NewSource: func() sdk.Source { return &laterSource{} }},
		{Kind: sdk.KindSink, Type: "later_out", Args: []sdk.Arg{{Name: "path", Type: sdk.String}}, MaxBytes: 64 << 20,
			NewSink: func() sdk.Sink { return &laterSink{} }},
	}}
}

type laterSource struct{ Rows, Size int }

func (s *laterSource) Open(_ context.Context, env *sdk.Env) error { return env.Decode(s) }
func (s *laterSource) Close(context.Context) error                { return nil }

func (s *laterSource) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	p := sdk.Page{Drained: true, Position: binary.BigEndian.AppendUint64(nil, 1)}
	for n := range s.Rows {
		if position == nil {
			p.Records = append(p.Records, sdk.Record{ID: fmt.Sprint("n", n), Seq: uint64(n + 1), Kind: "n/1", Body: []byte(strings.Repeat("x", s.Size))})
		}
	}
	return out.Emit(ctx, p)
}

// laterSink takes nothing at first: every row is to come again at an instant of its own.
type laterSink struct{ Path string }

func (s *laterSink) Open(_ context.Context, env *sdk.Env) error { return env.Decode(s) }
func (s *laterSink) Close(context.Context) error                { return nil }

func (s *laterSink) Write(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		if row := &call.Rows[i]; row.Attempt == 0 {
			call.Answer(i, sdk.Retry(time.Hour+time.Duration(row.Seq)*time.Millisecond, "LATER", errors.New("not yet")))
			continue
		}
		if err := note(s.Path, "%s", call.Rows[i].ID); err != nil {
			return err
		}
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}
