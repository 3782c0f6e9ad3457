//go:build real

package wecom_test

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
	"github.com/weir-etl/weir/sdk"
)

// The plugin with the official library, which WEIR_WECOM_LIBRARY must name, behind the proxy: pages, a file of several shards,
// and one that is late at first.
func TestLibrary(t *testing.T) {
	path := os.Getenv("WEIR_WECOM_LIBRARY")
	if path == "" {
		t.Fatal("WEIR_WECOM_LIBRARY does not name the official library")
	}
	w := newWorld(t, 1)
	for seq := 1; seq <= 30; seq++ {
		w.corp.Messages = append(w.corp.Messages, message(seq, w.begin))
	}
	long := bytes.Repeat([]byte("0123456789abc"), 100000)
	w.file("long", long, nil)
	w.file("late", []byte("late"), func(m *wecomsim.Media) { m.AvailableFrom = w.begin.Add(5 * time.Second) })
	w.serve()
	env := func() *sdk.Env {
		env := w.env(`{}`)
		connection, err := json.Marshal(map[string]string{
			"corp_id": "ww1", "secret": "the-secret", "library": path, "proxy": w.ProxyURL, "timeout": "5s",
		})
		if err != nil {
			t.Fatal(err)
		}
		env.Connection = connection
		return env
	}
	source := component(t, "wecom_chat").NewSource()
	if err := source.Open(t.Context(), env()); err != nil {
		t.Fatal(err)
	}
	defer source.Close(t.Context())
	got, err := w.read(source, nil, drained)
	if err != nil || len(got) != 2 || len(got[0].Records) != 30 {
		t.Fatalf("got %d pages, error %v", len(got), err)
	}
	m := component(t, "wecom_media").NewTransform()
	if err := m.Open(t.Context(), env()); err != nil {
		t.Fatal(err)
	}
	defer m.Close(t.Context())
	row := w.row("b", "late")
	outcomes, _ := w.apply(m, w.row("a", "long"), row)
	if got := w.bytes(outcomes[0].Outputs[0].Files[0]); !bytes.Equal(got, long) {
		t.Errorf("got %d bytes, want %d", len(got), len(long))
	}
	if o := outcomes[1]; fileOutcomes(o.Outputs[0]) != "waiting" || !o.Revisit {
		t.Fatalf("late file: got %+v", o)
	}
	w.clock.Sleep(t.Context(), w.begin.Add(5*time.Second).Sub(w.clock.Now()))
	outcomes, _ = w.apply(m, again(row, outcomes[1]))
	if got := w.bytes(outcomes[0].Outputs[0].Files[0]); string(got) != "late" {
		t.Errorf("got %q", got)
	}
}
