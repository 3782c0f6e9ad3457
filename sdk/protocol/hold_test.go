package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// packer is a sink that holds everything and does as it is told when it flushes.
type packer struct {
	component
	flush func(f *sdk.Flush) error
}

func (p *packer) Flush(_ context.Context, f *sdk.Flush) error { return p.flush(f) }

// packing opens a step of a component that holds.
func packing(t *testing.T, p *packer) (*Client, uint64) {
	t.Helper()
	if p.work == nil {
		p.work = func(_ context.Context, call *sdk.Call) error {
			for i := range call.Rows {
				call.Answer(i, sdk.Hold())
			}
			return nil
		}
	}
	plugin := sdk.Plugin{Name: "test", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "pack", Holds: true, NewSink: func() sdk.Sink { return p }}}}
	client := dial(t, newServer(plugin, io.Discard), Options{})
	h, err := client.Open(t.Context(), Step{Address: "sink.pack.x", Kind: sdk.KindSink, Type: "pack", Holds: true}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return client, h
}

func TestFlush(t *testing.T) {
	var asked []string
	p := &packer{flush: func(f *sdk.Flush) error {
		asked = append(asked, strings.Join(f.IDs, " "))
		f.Answer(2, sdk.Passed("empty"))
		f.Answer(0, sdk.Done(&sdk.Receipt{URLs: []string{"u"}}))
		return sdk.Down("AWAY", nil).Err()
	}}
	client, h := packing(t, p)
	b := FromRecords(mixed(5))
	for range 2 { // after a flush nothing is held
		for _, rows := range [][]int32{{0, 1}, {2, 3, 4}} {
			got, _, _, _, err := work(t, client, h, Work{Batch: Gather(Part{Batch: b, Rows: rows})})
			if err != nil || len(got) != len(rows) || slices.ContainsFunc(got, func(o sdk.Outcome) bool { return o.Verdict != sdk.VerdictHeld }) {
				t.Fatalf("%+v, %v", got, err)
			}
		}
		got, _, _, _, err := work(t, client, h, Work{Flush: true, Batch: Gather(Part{Batch: b, Rows: []int32{3, 0, 1, 2, 4}})})
		if err != nil {
			t.Fatal(err)
		}
		if got[0].Receipt.URLs[0] != "u" || got[1].Code != "AWAY" || got[2].Code != "empty" || !got[3].Down || !got[4].Down {
			t.Errorf("got %+v", got)
		}
	}
	want := strings.Join([]string{b.ID(3), b.ID(0), b.ID(1), b.ID(2), b.ID(4)}, " ")
	if !slices.Equal(asked, []string{want, want}) {
		t.Errorf("asked for %q, want %q twice", asked, want)
	}
}

func TestUnknown(t *testing.T) {
	c := &component{work: func(context.Context, *sdk.Call) error { return sdk.Unknown("TIMEOUT", errors.New("sent")).Err() }}
	client, h := opened(t, c, sdk.KindSink, Options{})
	got, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(1))})
	if err != nil || !got[0].Unknown || got[0].Verdict != sdk.VerdictRetry || got[0].Code != "TIMEOUT" {
		t.Errorf("%+v, %v", got, err)
	}
}

// An engine that is older than effects would send many rows at once, and all of them again.
func TestOnceIsOneByOne(t *testing.T) {
	c := &component{work: func(_ context.Context, call *sdk.Call) error { call.Answer(0, sdk.Done(nil)); return nil }}
	p := c.plugin()
	p.Components[2].Effect = sdk.Once
	client := dial(t, newServer(p, io.Discard), Options{})
	h, err := client.Open(t.Context(), Step{Address: "sink.any.x", Kind: sdk.KindSink, Type: "any"}, "")
	if err != nil {
		t.Fatal(err)
	}
	var broken *ProtocolError
	if _, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(2))}); !errors.As(err, &broken) || !strings.Contains(broken.Problem, "2 rows at once") {
		t.Errorf("two rows: %v", err)
	}
	if _, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(1))}); err != nil {
		t.Errorf("one row: %v", err)
	}
}

// What both sides take for held must be the same, to the row.
func TestFlushOfOtherRows(t *testing.T) {
	b := FromRecords(mixed(5))
	for name, c := range map[string]struct {
		rows []int32
		want string
	}{
		"too few":  {[]int32{0, 1}, "of 2 rows, but 3 are held"},
		"too many": {[]int32{0, 1, 2, 3}, "of 4 rows, but 3 are held"},
		"others":   {[]int32{0, 1, 4}, "row 2 is not held"},
		"twice":    {[]int32{0, 1, 1}, "row 2 is not held"},
	} {
		client, h := packing(t, &packer{flush: func(*sdk.Flush) error { t.Errorf("%s: flushed", name); return nil }})
		if _, _, _, _, err := work(t, client, h, Work{Batch: Gather(Part{Batch: b, Rows: []int32{0, 1, 2}})}); err != nil {
			t.Fatal(err)
		}
		_, _, _, _, err := work(t, client, h, Work{Flush: true, Batch: Gather(Part{Batch: b, Rows: c.rows})})
		var broken *ProtocolError
		if !errors.As(err, &broken) || !strings.Contains(broken.Problem, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	client, h := opened(t, &component{}, sdk.KindSink, Options{})
	_, _, _, _, err := work(t, client, h, Work{Flush: true, Batch: b})
	if err == nil || !strings.Contains(err.Error(), "does not hold rows") {
		t.Errorf("a sink that does not hold: %v", err)
	}
}

// A flush is answered row by row like any other call, and by nothing that holds on.
func TestRogueFlushes(t *testing.T) {
	run := func(first, count uint32, v pb.Verdict) *pb.WorkResponse {
		return &pb.WorkResponse{Outcomes: []*pb.Outcome{{First: first, Count: count, Verdict: v}}}
	}
	const done, held = pb.Verdict_VERDICT_DONE, pb.Verdict_VERDICT_HELD
	for name, c := range map[string]struct {
		holds   bool
		work    Work
		answers []*pb.WorkResponse
		want    string
	}{
		"held":                   {true, Work{}, []*pb.WorkResponse{run(0, 3, held)}, ""},
		"held in part":           {true, Work{}, []*pb.WorkResponse{run(0, 1, held), run(1, 2, done)}, ""},
		"held, not declared":     {false, Work{}, []*pb.WorkResponse{run(0, 3, held)}, "row 0: held"},
		"held by a flush":        {true, Work{Flush: true}, []*pb.WorkResponse{run(0, 2, done), run(2, 1, held)}, "row 2: held"},
		"held in a probe":        {true, Work{Probe: true}, []*pb.WorkResponse{run(0, 3, held)}, "row 0: held"},
		"held and then done":     {true, Work{}, []*pb.WorkResponse{run(0, 3, held), run(1, 1, done)}, "row 1 was answered twice"},
		"too few of a flush":     {true, Work{Flush: true}, []*pb.WorkResponse{run(0, 2, done)}, "1 of 3 rows were not answered"},
		"too many of a flush":    {true, Work{Flush: true}, []*pb.WorkResponse{run(0, 4, done)}, "in a call of 3"},
		"a flush answered twice": {true, Work{Flush: true}, []*pb.WorkResponse{run(0, 3, done), run(0, 3, done)}, "row 0 was answered twice"},
	} {
		client := dial(t, &rogue{answers: c.answers}, Options{})
		h, _ := client.Open(t.Context(), Step{Address: "sink.any.x", Holds: c.holds}, "")
		c.work.Batch = FromRecords(mixed(3))
		_, _, _, _, err := work(t, client, h, c.work)
		var broken *ProtocolError
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &broken) || !strings.Contains(broken.Problem, c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Bodies stay at home: the sink has them.
func TestFlushSendsIDsAlone(t *testing.T) {
	srv := &listening{}
	client := dial(t, srv, Options{})
	h, _ := client.Open(t.Context(), Step{Address: "sink.any.x", Holds: true}, "")
	work(t, client, h, Work{Batch: FromRecords(mixed(3)), Flush: true})
	if w := srv.got; !w.GetFlush() || w.GetBatch().GetRows() != 3 || w.GetBatch().GetId() == nil || w.GetBatch().GetBody() != nil || w.GetBatch().GetMeta() != nil || w.GetBatch().GetFiles() != nil {
		t.Errorf("sent %v", w)
	}
}

type listening struct {
	rogue
	got *pb.WorkRequest
}

func (l *listening) Work(w *pb.WorkRequest, _ workStream) error {
	l.got = w
	return status.Error(codes.Internal, "heard")
}

func TestHoldsNeedsAFlusher(t *testing.T) {
	plugin := sdk.Plugin{Components: []sdk.Component{{Kind: sdk.KindSink, Type: "any", Holds: true, NewSink: func() sdk.Sink { return &component{} }}}}
	_, err := dial(t, newServer(plugin, io.Discard), Options{}).Open(t.Context(), Step{Kind: sdk.KindSink, Type: "any"}, "")
	if err == nil || !strings.Contains(err.Error(), "has no Flush") {
		t.Errorf("opened: %v", err)
	}
}

// An effect that this side does not know may do harm, and so may a promise that only sinks can make.
func TestDeclarationsThatAreRefused(t *testing.T) {
	for want, c := range map[string]*pb.Component{
		`unknown effect "twice"`:      {Kind: "sink", Type: "x", Effect: "twice"},
		"effect and holds are for si": {Kind: "transform", Type: "x", Effect: "once"},
		"x: effect and holds are for": {Kind: "source", Type: "x", Holds: true},
	} {
		_, err := readDescription(&pb.Description{Components: []*pb.Component{c}})
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
