package engine

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// bigger emits one page: a record that is too large between two that are not, and two that are too large for one settlement together.
type bigger struct{ mortal }

func (b *bigger) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	if position != nil {
		return nil
	}
	var p sdk.Page
	for i, size := range []int{20, maxRecord + 1, 20, maxPage - 1, maxPage - 1} {
		p.Records = append(p.Records, sdk.Record{ID: fmt.Sprint("n", i+1), Seq: uint64(i + 1), Kind: "n/1", Body: fmt.Appendf(nil, `{"n":1,"x":"%s"}`, bytes.Repeat([]byte("x"), size-14))})
	}
	p.Position = []byte("end")
	return out.Emit(ctx, p)
}

// sweller makes too much of one record, and of another one output among several.
type sweller struct{ mortal }

func (s *sweller) Apply(_ context.Context, call *sdk.Call) error {
	large := bytes.Repeat([]byte("y"), maxRecord+1)
	for i := range call.Rows {
		r := call.Rows[i].Record
		switch r.Seq {
		case 2:
			r.Body = large
			call.Answer(i, sdk.Emit(r))
		case 4:
			a, b := r, r
			a.ID, b.ID, b.Body = "small", "large", large
			call.Answer(i, sdk.Emit(a, b))
		default:
			call.Answer(i, sdk.Emit(r))
		}
	}
	return nil
}

// What a source sends too much of becomes dead letters and parts of a page.
func TestLargePage(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "large" }
source "big" "in" {}
sink "list" "out" {
  input = source.big.in
  path  = %q
  when  = record.body.n == 1 # of a body that is no longer there, nobody can say
}
`, list))
	if !killedIn(t, dir, "commit.after", 1) { // a part of the page is settled, and the checkpoint stands before it
		t.Error("not killed")
	}
	s := stepOf(t, finish(t, o), "sink.list.out")
	seen := listed(t, list)
	if s.Dead != 1 || s.Owed != 0 || len(seen) != 4 || seen["n2"] != 0 {
		t.Errorf("%+v, arrived %v", s, seen)
	}
	if s := stepOf(t, finish(t, o), "sink.list.out"); s.Dead != 1 { // and that is durable
		t.Errorf("in the next run: %+v", s)
	}
}

// What a transform makes too much of is its dead letter, with all that it made of that record.
func TestLargeOutputs(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "swell" }
source "count" "in" {
  to   = 6
  page = 6
}
transform "swell" "on" { input = source.count.in }
sink "list" "out" {
  input = transform.swell.on
  path  = %q
}
`, list))
	sum := finish(t, o)
	seen := listed(t, list)
	if s := stepOf(t, sum, "transform.swell.on"); s.Dead != 2 || s.Owed != 0 {
		t.Errorf("%+v", s)
	}
	for _, id := range []string{"n1", "n3", "n5", "n6"} {
		if seen[id] != 1 {
			t.Errorf("%s arrived %d times", id, seen[id])
		}
	}
	if len(seen) != 4 {
		t.Errorf("arrived %v", seen)
	}
}

// … and what the transform behind it has answered ahead, for what is gone too, counts as nothing.
func TestLargeOutputsAhead(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "swell" }
source "count" "in" {
  to   = 2
  page = 2
}
transform "swell" "on" { input = source.count.in }
transform "pass" "on" {
  input  = transform.swell.on
  poison = 0
}
sink "list" "out" {
  input = transform.pass.on
  path  = %q
}
`, list))
	sum := finish(t, o)
	if s := stepOf(t, sum, "transform.swell.on"); s.Dead != 1 || s.Owed != 0 {
		t.Errorf("%+v", s)
	}
	if seen := listed(t, list); len(seen) != 1 || seen["n1"] != 1 {
		t.Errorf("arrived %v", seen)
	}
}

func TestPortions(t *testing.T) {
	var list []sdk.Record
	for i := range 10 {
		list = append(list, sdk.Record{ID: fmt.Sprint(i), Body: make([]byte, (maxPage/3)+i)})
	}
	b := protocol.FromRecords(list)
	var got []string
	for _, p := range portions(b) {
		if p.BodyBytes() > maxPage {
			t.Errorf("a part of %d bytes", p.BodyBytes())
		}
		for i := range p.Rows() {
			got = append(got, p.ID(i))
		}
	}
	if fmt.Sprint(got) != "[0 1 2 3 4 5 6 7 8 9]" {
		t.Errorf("got %v", got)
	}
	if parts := portions(protocol.FromRecords(nil)); len(parts) != 1 || parts[0].Rows() != 0 {
		t.Errorf("a page without records has %d parts", len(parts))
	}
}

// Only the last part of a page moves the checkpoint: an engine that dies before that reads the page again.
func TestALargePageMovesTheCheckpointAtItsEnd(t *testing.T) {
	e := forwarder(t)
	for i := range e.steps {
		e.machine.Step(e.Clock.Now(), flow.Available{Step: i})
	}
	src := e.steps[e.byName["source.g.in"]].source
	var list []sdk.Record
	for i := range 3 {
		list = append(list, sdk.Record{ID: fmt.Sprint(i), Seq: uint64(i + 1), Kind: "x/1", Body: make([]byte, maxPage/2+1)})
	}
	src.arrived(protocol.Page{Number: 1, Batch: protocol.FromRecords(list), Position: []byte("end"), Drained: true}, []byte("before"))
	var got []string
	for _, b := range slices.Sorted(maps.Keys(src.pages)) {
		p := src.pages[b]
		stats, err := readSeqs(p.stats)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s with %d records, %d counted", p.position, e.batches[b].Rows(), stats.Records))
	}
	want := []string{"before with 1 records, 0 counted", "before with 1 records, 0 counted", "end with 1 records, 3 counted"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !e.machine.Drained(src.step.index) {
		t.Error("the source is not drained")
	}
}
