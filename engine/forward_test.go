package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// Forwarding is what the engine does for every record, so it must not cost an object each: from the page of a source, or the answer of a
// transform, to the call of the next step.
func TestForwardingAllocatesFewObjects(t *testing.T) {
	const rows, limit = 500, 50
	e := forwarder(t)
	records := make([]sdk.Record, rows)
	for i := range records {
		records[i] = sdk.Record{ID: fmt.Sprintf("record %d", i), Seq: uint64(i + 1), Kind: "x/1", Body: make([]byte, 1024)}
	}
	page := protocol.FromRecords(records)
	now := e.Clock.Now()

	var last *job // of the transform
	fromPage := func() {
		h := &held{Batch: page, source: 0}
		facts := e.rows(h, e.steps[0].retention, now, nil)
		for i := range facts { // every page has records of its own
			facts[i].ID += uint64(e.lastBatch) << 32
		}
		ev := flow.Arrived{Source: 0, Batch: e.hold(h), Rows: facts, Lot: func(lot uint64) { h.lot = lot }}
		last = e.called(t, ev, "transform.t.a", rows)
	}
	if n := testing.AllocsPerRun(50, fromPage); n >= limit {
		t.Errorf("a page of %d rows to the call of the transform: %v objects, want below %d", rows, n, limit)
	}

	sum := make([]sdk.Record, rows) // the transform adds a meta value
	parent := make([]uint32, rows)
	for i := range sum {
		sum[i], parent[i] = sdk.Record{Meta: map[string]string{"md5": fmt.Sprintf("%032d", i)}}, uint32(i)
	}
	changed := protocol.FromRecords(sum)
	run := protocol.Run{Count: rows, Outcome: sdk.Outcome{Verdict: sdk.VerdictDone}}
	position := all(rows)
	var jobs []*job
	for range 51 {
		fromPage()
		jobs = append(jobs, last)
	}
	if n := testing.AllocsPerRun(50, func() {
		j := jobs[0]
		jobs = jobs[1:]
		a := protocol.Answer{Runs: []protocol.Run{run}, Outputs: j.batch.Inherit(changed, parent), Parent: parent}
		e.called(t, e.answered(j, a, position), "sink.s.b", rows)
	}); n >= limit {
		t.Errorf("an answer of %d rows to the call of the sink: %v objects, want below %d", rows, n, limit)
	}
}

// called feeds the machine and gathers the call that follows.
func (e *Engine) called(t *testing.T, ev flow.Event, address string, rows int) *job {
	for _, a := range slices.Clone(e.machine.Step(e.Clock.Now(), ev)) {
		if c, ok := a.(flow.Call); ok && e.steps[c.Step].address == address && c.Rows == rows {
			return e.job(c)
		}
	}
	t.Fatalf("no call of %s with %d rows", address, rows)
	return nil
}

// forwarder is an engine whose steps take any number of calls at once, and whose processes were never started.
func forwarder(t *testing.T) *Engine {
	dir := t.TempDir()
	file := filepath.Join(dir, "p.hcl")
	text := `weir { name = "forward" }
source "g" "in" {}
transform "t" "a" { input = source.g.in }
sink "s" "b" { input = transform.t.a }
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	const many = 1000
	plugin := sdk.Plugin{Name: "p", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "g", Emits: []string{"x/1"}},
		{Kind: sdk.KindTransform, Type: "t", MaxInFlight: many, MaxBytes: 1 << 20},
		{Kind: sdk.KindSink, Type: "s", MaxInFlight: many, MaxBytes: 1 << 20},
	}}
	pipe, diags := lang.Load([]string{file}, lang.Options{Plugins: []sdk.Plugin{plugin}})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	o := Options{Pipeline: pipe, Dir: dir, Key: make([]byte, 32), Clock: &sdk.Clock{}, Log: hclog.NewNullLogger(), Failpoint: func(string) {}}
	db, err := openState(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	e, err := newEngine(o, db)
	if err != nil {
		t.Fatal(err)
	}
	for i := range e.steps {
		e.machine.Step(e.Clock.Now(), flow.Available{Step: i, Up: true})
	}
	e.machine.Start()
	for _, s := range e.steps {
		e.machine.Step(o.Clock.Now(), flow.Available{Step: s.index, Up: true})
	}
	return e
}
