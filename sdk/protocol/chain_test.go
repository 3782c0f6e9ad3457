package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// moody does with each row what its number says: it passes on, changes, splits, drops, refuses and postpones.
func moody(call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		switch r.Seq % 7 {
		case 0:
			call.Answer(i, sdk.Emit(r))
		case 1:
			r.Body = append(slices.Clone(r.Body), '!')
			r.SetMeta("changed", "yes")
			call.Answer(i, sdk.Emit(r))
		case 2:
			a, b := r, r
			a.ID, b.ID = r.ID+"/a", ""
			call.Answer(i, sdk.Emit(a, b))
		case 3:
			call.Answer(i, sdk.Emit())
		case 4:
			call.Answer(i, sdk.Reject("REFUSED", errors.New("no")))
		case 5:
			call.Answer(i, sdk.Retry(time.Minute, "LATER", nil))
		} // 6: the error of the call
	}
	return sdk.Down("AWAY", errors.New("not there")).Err()
}

func numbered(n int) []sdk.Record {
	var list []sdk.Record
	for i := range n {
		list = append(list, sdk.Record{ID: fmt.Sprint("r", i), Seq: uint64(i), Kind: "n/1", Body: []byte(fmt.Sprint("body ", i))})
	}
	return list
}

// chained serves a source and transforms, each a component of its own.
func chained(t *testing.T, o Options, source *component, transforms ...*component) (client *Client, handles []uint64) {
	t.Helper()
	p := sdk.Plugin{Name: "test", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "s", NewSource: func() sdk.Source { return source }}}}
	for i, c := range transforms {
		p.Components = append(p.Components, sdk.Component{Kind: sdk.KindTransform, Type: fmt.Sprint("t", i), NewTransform: func() sdk.Transform { return c }})
	}
	client = dial(t, newServer(p, io.Discard), o)
	for _, c := range p.Components {
		h, err := client.Open(t.Context(), Step{Address: string(c.Kind) + "." + c.Type, Kind: c.Kind, Type: c.Type, Silence: 200 * time.Millisecond}, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	return client, handles
}

func emits(pages ...[]sdk.Record) *component {
	return &component{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error {
		for _, p := range pages {
			if err := out.Emit(ctx, sdk.Page{Records: p}); err != nil {
				return err
			}
		}
		return nil
	}}
}

// called is what calls of the transforms, one by one, say of a batch.
func called(t *testing.T, client *Client, handles []uint64, b *Batch) (list []Answer) {
	t.Helper()
	for _, h := range handles {
		if b == nil {
			return list
		}
		var got Answer
		err := client.Work(t.Context(), h, Work{Batch: b, Now: time.Now()}, func(a Answer) error { got = a; return nil })
		if err != nil {
			t.Fatal(err)
		}
		list, b = append(list, got), got.Outputs
	}
	return list
}

func sameAnswers(t *testing.T, got, want []Answer) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d answers ahead, want %d", len(got), len(want))
	}
	for i := range want {
		if d := cmp.Diff(want[i].Runs, got[i].Runs, cmp.AllowUnexported(sdk.Secret{})); d != "" {
			t.Errorf("transform %d: outcomes (-called +ahead):\n%s", i, d)
		}
		if d := cmp.Diff(want[i].Parent, got[i].Parent); d != "" {
			t.Errorf("transform %d: parents:\n%s", i, d)
		}
		if (want[i].Outputs == nil) != (got[i].Outputs == nil) {
			t.Fatalf("transform %d: outputs %v, want %v", i, got[i].Outputs, want[i].Outputs)
		}
		if want[i].Outputs != nil {
			if d := cmp.Diff(want[i].Outputs.toWire(), got[i].Outputs.toWire(), protocmp.Transform()); d != "" {
				t.Errorf("transform %d: outputs:\n%s", i, d)
			}
		}
	}
}

// What comes ahead with a page is what calls would have said, row by row, for every kind of answer.
func TestAheadOfPages(t *testing.T) {
	mood := &component{work: func(_ context.Context, call *sdk.Call) error { return moody(call) }}
	client, h := chained(t, Options{}, emits(numbered(70), nil, numbered(1), numbered(4)[3:], numbered(33)), mood, mood, mood)
	r, err := client.Read(t.Context(), h[0], nil, h[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Credit(1000, 1<<20); err != nil {
		t.Fatal(err)
	}
	var lengths []int
	for n := uint64(1); ; n++ {
		p, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil || p.Number != n {
			t.Fatal(p.Number, err)
		}
		lengths = append(lengths, len(p.Ahead))
		if p.Batch != nil {
			sameAnswers(t, p.Ahead, called(t, client, h[1:], p.Batch))
		}
	}
	if d := cmp.Diff([]int{3, 0, 3, 1, 3}, lengths); d != "" {
		t.Errorf("answers ahead of each page: %s", d)
	}
}

// … and likewise with the answer of a call.
func TestAheadOfAnswers(t *testing.T) {
	mood := &component{work: func(_ context.Context, call *sdk.Call) error { return moody(call) }}
	client, h := chained(t, Options{}, emits(), mood, mood, mood)
	var got []Answer
	b := FromRecords(numbered(70))
	if err := client.Work(t.Context(), h[1], Work{Batch: b, Chain: h[2:], Now: time.Now()}, func(a Answer) error {
		got = append(got, a)
		return nil
	}); err != nil || len(got) != 1 {
		t.Fatal(len(got), err)
	}
	ahead := got[0].Ahead
	got[0].Ahead = nil
	sameAnswers(t, append(got, ahead...), called(t, client, h[1:], b))
}

// A transform that panics, or forgets a row, ends the chain before it: it is called, and then it is found out.
func TestChainEndsEarly(t *testing.T) {
	good := &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			call.Answer(i, sdk.Emit(call.Rows[i].Record))
		}
		return nil
	}}
	for name, bad := range map[string]func(context.Context, *sdk.Call) error{
		"panics":  func(_ context.Context, call *sdk.Call) error { call.Answer(0, sdk.Emit()); panic("no") },
		"forgets": func(_ context.Context, call *sdk.Call) error { call.Answer(0, sdk.Emit()); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			client, h := chained(t, Options{}, emits(numbered(5)), good, &component{work: bad}, good)
			r, err := client.Read(t.Context(), h[0], nil, h[1:]...)
			if err != nil {
				t.Fatal(err)
			}
			r.Credit(100, 1<<20)
			p, err := r.Next()
			if err != nil || len(p.Ahead) != 1 || p.Batch.Rows() != 5 {
				t.Errorf("%d answers ahead, %v", len(p.Ahead), err)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Error(err)
			}
		})
	}
}

// Outputs that cannot be written, or read, end the chain before the transform too: the source's process does not die of them.
func TestChainEndsBeforeBadOutputs(t *testing.T) {
	bad := &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			r := call.Rows[i].Record
			r.Files = []sdk.File{{Spool: "../elsewhere"}}
			call.Answer(i, sdk.Emit(r))
		}
		return nil
	}}
	client, h := chained(t, Options{}, emits(numbered(5)), passes, bad, passes)
	r, err := client.Read(t.Context(), h[0], nil, h[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	r.Credit(100, 1<<20)
	if p, err := r.Next(); err != nil || len(p.Ahead) != 1 {
		t.Errorf("%d answers ahead, %v", len(p.Ahead), err)
	}
}

// Outputs that no batch may have are for the engine to refuse, with a chain as without.
func TestChainOfRefusedOutputs(t *testing.T) {
	swells := &component{work: func(_ context.Context, call *sdk.Call) error {
		body := make([]byte, 1<<20) // the only one that travels
		outputs := make([]sdk.Record, maxData>>20+1)
		for i := range outputs {
			outputs[i] = sdk.Record{ID: fmt.Sprint(i), Body: body}
		}
		call.Answer(0, sdk.Emit(outputs...))
		return nil
	}}
	client, h := chained(t, Options{}, emits(), passes, swells, passes)
	for _, chain := range [][]uint64{nil, h[3:]} {
		var broken *ProtocolError
		err := client.Work(t.Context(), h[2], Work{Batch: FromRecords(numbered(1)), Chain: chain}, func(Answer) error { return nil })
		if !errors.As(err, &broken) {
			t.Errorf("chain %v: %v", chain, err)
		}
	}
	answers := 0
	if err := client.Work(t.Context(), h[1], Work{Batch: FromRecords(numbered(1)), Chain: h[2:]}, func(a Answer) error {
		answers = len(a.Ahead)
		return nil
	}); err != nil || answers != 0 {
		t.Errorf("%d answers ahead, %v", answers, err)
	}
}

// … nor may outputs inherit so much.
func TestChainOfRefusedHeirs(t *testing.T) {
	splits := &component{work: func(_ context.Context, call *sdk.Call) error {
		outputs := make([]sdk.Record, maxData>>20+1)
		for i := range outputs {
			outputs[i] = call.Rows[0].Record
			outputs[i].ID = fmt.Sprint(i)
		}
		call.Answer(0, sdk.Emit(outputs...))
		return nil
	}}
	large := numbered(1)
	large[0].Body = make([]byte, 1<<20)
	client, h := chained(t, Options{}, emits(), passes, splits, passes)
	for _, chain := range [][]uint64{nil, h[3:]} {
		var broken *ProtocolError
		err := client.Work(t.Context(), h[2], Work{Batch: FromRecords(large), Chain: chain}, func(Answer) error { return nil })
		if !errors.As(err, &broken) {
			t.Errorf("chain %v: %v", chain, err)
		}
	}
}

// What a chain makes travels in one message with the rows. It is left out where that could become too large to be read.
func TestChainOfLargeRows(t *testing.T) {
	doubles := &step{silence: time.Minute, transform: &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			r := call.Rows[i].Record
			r.Body = slices.Concat(r.Body, r.Body)
			call.Answer(i, sdk.Emit(r))
		}
		return nil
	}}}
	large := numbered(2)
	for size, want := range map[int]int{maxAhead / 8: 2, maxAhead: 0} { // 1, 2 and 4 eighths are less than all
		large[0].Body = make([]byte, size)
		stages, err := chain{doubles, doubles, doubles}.apply(t.Context(), FromRecords(large), time.Now(), time.Second, func() {})
		if len(stages) != want || err != nil {
			t.Errorf("%d bytes: %d answers ahead, %v, want %d", size, len(stages), err, want)
		}
	}
}

// A page that its source gives up, because others are still being worked on, gives its credit back.
func TestCreditOfPageGivenUp(t *testing.T) {
	n := runtime.GOMAXPROCS(0)
	going := make(chan struct{})
	slow := &component{work: func(ctx context.Context, call *sdk.Call) error {
		<-going
		return passes.work(ctx, call)
	}}
	source := &component{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error {
		for range n {
			if err := out.Emit(ctx, sdk.Page{Records: numbered(1)}); err != nil {
				return err
			}
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		err := out.Emit(short, sdk.Page{Records: numbered(1)})
		close(going)
		if err == nil {
			return errors.New("there was room")
		}
		return out.Emit(ctx, sdk.Page{Records: numbered(1)})
	}}
	client, h := chained(t, Options{Silence: 2 * time.Second}, source, slow)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := client.Read(ctx, h[0], nil, h[1])
	if err != nil {
		t.Fatal(err)
	}
	r.Credit(n+1, 1<<20)
	pages := 0
	for ; err == nil; pages++ {
		_, err = r.Next()
	}
	if pages != n+2 || err != io.EOF {
		t.Errorf("%d pages, want %d, %v", pages-1, n+1, err)
	}
}

// passes is a transform that changes nothing.
var passes = &component{work: func(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		call.Answer(i, sdk.Emit(call.Rows[i].Record))
	}
	return nil
}}

// A transform that hangs takes nobody's time for longer than its limit; what the step before it has answered stands.
func TestChainHangs(t *testing.T) {
	good := &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			call.Answer(i, sdk.Emit(call.Rows[i].Record))
		}
		return nil
	}}
	hangs := &component{work: func(context.Context, *sdk.Call) error { select {} }}
	client, h := chained(t, Options{}, emits(numbered(5), numbered(5)), good, hangs)
	var silent *SilentError
	answers := 0
	err := client.Work(t.Context(), h[1], Work{Batch: FromRecords(numbered(5)), Chain: h[2:]}, func(a Answer) error { answers += a.Runs[0].Count; return nil })
	if !errors.As(err, &silent) || answers != 5 {
		t.Errorf("work: %d rows answered, %v", answers, err)
	}
	r, err := client.Read(t.Context(), h[0], nil, h[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	r.Credit(100, 1<<20)
	if p, err := r.Next(); !errors.As(err, &silent) {
		t.Errorf("read: %+v, %v", p, err)
	}
}

// A handle that is not open, or is no transform, is refused before anything is done.
func TestBadChain(t *testing.T) {
	client, h := chained(t, Options{}, emits(numbered(5)), &component{})
	var broken *ProtocolError
	for _, bad := range []uint64{99, h[0]} {
		r, err := client.Read(t.Context(), h[0], nil, bad)
		if err == nil {
			_, err = r.Next()
		}
		if !errors.As(err, &broken) {
			t.Errorf("read with a chain of %d: %v", bad, err)
		}
		err = client.Work(t.Context(), h[1], Work{Batch: FromRecords(numbered(5)), Chain: []uint64{bad}}, func(Answer) error { return nil })
		if !errors.As(err, &broken) {
			t.Errorf("work with a chain of %d: %v", bad, err)
		}
	}
	if err := client.Close(t.Context(), h[1]); err != nil { // the refused calls hold nothing
		t.Error(err)
	}
}

// Answers ahead that break the contract are as good as none, and so are those behind them.
func TestRogueChains(t *testing.T) {
	done := func(n uint32) *pb.Outcome { return &pb.Outcome{Count: n, Verdict: pb.Verdict_VERDICT_DONE} }
	verdict := func(v pb.Verdict) *pb.Stage { return &pb.Stage{Outcomes: []*pb.Outcome{{Count: 2, Verdict: v}}} }
	id := &pb.Text{Data: []byte("x"), Len: []uint32{1}}
	all := &pb.Stage{Outcomes: []*pb.Outcome{done(2)}, Outputs: &pb.Batch{Rows: 2}, Parent: []uint32{0, 1}}
	for name, c := range map[string]struct {
		ahead []*pb.Stage
		want  int
	}{
		"good":                     {[]*pb.Stage{all, all}, 2},
		"more than were asked for": {[]*pb.Stage{all, all, all}, 2},
		"a row without an answer":  {[]*pb.Stage{all, {Outcomes: []*pb.Outcome{done(1)}}}, 1},
		"for no rows":              {[]*pb.Stage{verdict(pb.Verdict_VERDICT_DONE), all}, 1},
		"rows that are not there":  {[]*pb.Stage{{Outcomes: []*pb.Outcome{done(3)}}, all}, 0},
		"passed":                   {[]*pb.Stage{verdict(pb.Verdict_VERDICT_PASSED)}, 0},
		"held":                     {[]*pb.Stage{verdict(pb.Verdict_VERDICT_HELD)}, 0},
		"equal children":           {[]*pb.Stage{{Outcomes: []*pb.Outcome{done(2)}, Outputs: &pb.Batch{Rows: 2, Id: id}, Parent: []uint32{0, 0}}}, 0},
		"nothing":                  {[]*pb.Stage{{}}, 0},
	} {
		b := FromRecords(numbered(2))
		client := dial(t, &rogue{pages: []*pb.ReadResponse{{Number: 1, Batch: b.toWire(), Ahead: c.ahead}, {Number: 2, Ahead: c.ahead}},
			answers: []*pb.WorkResponse{{Outcomes: []*pb.Outcome{done(2)}, Outputs: &pb.Batch{Rows: 2}, Parent: []uint32{0, 1}, Ahead: c.ahead}}}, Options{})
		h, _ := client.Open(t.Context(), Step{Address: "source.any.x"}, "")
		r, err := client.Read(t.Context(), h, nil, 7, 8)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{c.want, 0} { // the second page has no rows
			if p, err := r.Next(); err != nil || len(p.Ahead) != want {
				t.Errorf("read: %s: %d answers ahead, %v, want %d", name, len(p.Ahead), err, want)
			}
		}
		err = client.Work(t.Context(), h, Work{Batch: b, Chain: []uint64{7, 8}}, func(a Answer) error {
			if len(a.Ahead) != c.want {
				t.Errorf("work: %s: %d answers ahead, want %d", name, len(a.Ahead), c.want)
			}
			return nil
		})
		if err != nil {
			t.Errorf("work: %s: %v", name, err)
		}
		if err := client.Work(t.Context(), h, Work{Batch: b}, func(a Answer) error { // nobody has asked
			if a.Ahead != nil {
				t.Errorf("work: %s: answers ahead without a chain", name)
			}
			return nil
		}); err != nil {
			t.Errorf("work: %s: %v", name, err)
		}
	}
}
