package protocol

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// rogue is a plugin without our adapter.
type rogue struct {
	pb.UnimplementedPluginServer
	answers []*pb.WorkResponse
	pages   []*pb.ReadResponse
	hang    bool
}

func (r *rogue) Open(context.Context, *pb.OpenRequest) (*pb.OpenResponse, error) {
	return &pb.OpenResponse{Step: 1}, nil
}
func (r *rogue) Work(_ *pb.WorkRequest, s workStream) error {
	for _, w := range r.answers {
		s.Send(w)
	}
	if r.hang {
		<-s.Context().Done()
	}
	return nil
}
func (r *rogue) Read(s readStream) error {
	for _, w := range r.pages {
		s.Send(w)
	}
	if r.hang {
		<-s.Context().Done()
	}
	return nil
}

func TestRogueAnswers(t *testing.T) {
	done := func(first, count uint32) *pb.Outcome {
		return &pb.Outcome{First: first, Count: count, Verdict: pb.Verdict_VERDICT_DONE}
	}
	retry := &pb.Outcome{First: 2, Count: 1, Verdict: pb.Verdict_VERDICT_RETRY}
	ids := func(id string, n int) *pb.Batch {
		return &pb.Batch{Rows: uint32(n), Id: &pb.Text{Data: []byte(id), Len: []uint32{uint32(len(id))}}}
	}
	msg := func(o ...*pb.Outcome) *pb.WorkResponse { return &pb.WorkResponse{Outcomes: o} }
	out := func(b *pb.Batch, parent []uint32, o ...*pb.Outcome) *pb.WorkResponse {
		return &pb.WorkResponse{Outcomes: o, Outputs: b, Parent: parent}
	}
	for name, c := range map[string]struct {
		answers []*pb.WorkResponse
		want    string
	}{
		"twice in a message":    {[]*pb.WorkResponse{msg(done(0, 2), done(1, 2))}, "row 1 was answered twice"},
		"twice in two messages": {[]*pb.WorkResponse{msg(done(0, 3)), msg(done(2, 1))}, "row 2 was answered twice"},
		"out of range":          {[]*pb.WorkResponse{msg(done(1, 3))}, "3 rows from row 1 in a call of 3"},
		"overflow":              {[]*pb.WorkResponse{msg(done(1<<32-1, 2))}, "in a call of 3"},
		"a run of none":         {[]*pb.WorkResponse{msg(done(1, 0))}, "outcome for 0 rows"},
		"no verdict":            {[]*pb.WorkResponse{msg(&pb.Outcome{Count: 3})}, "unknown verdict 0"},
		"held":                  {[]*pb.WorkResponse{msg(&pb.Outcome{Count: 3, Verdict: 5})}, "row 0: held, by a step that holds nothing"},
		"newer than we know":    {[]*pb.WorkResponse{msg(&pb.Outcome{Count: 3, Verdict: 6})}, "unknown verdict 6"},
		"missing":               {[]*pb.WorkResponse{msg(done(0, 2))}, "1 of 3 rows were not answered"},
		"receipt":               {[]*pb.WorkResponse{msg(&pb.Outcome{Count: 3, Verdict: 1, ReceiptJson: []byte("{")})}, "receipt is not JSON"},
		"parent of a retry":     {[]*pb.WorkResponse{out(ids("x", 1), []uint32{2}, done(0, 2), retry)}, "output of row 2, which is not"},
		"parent out of range":   {[]*pb.WorkResponse{out(ids("x", 1), []uint32{3}, done(0, 3))}, "output of row 3"},
		"parent of before":      {[]*pb.WorkResponse{msg(done(0, 1)), out(ids("x", 1), []uint32{0}, done(1, 2))}, "output of row 0"},
		"outputs alone":         {[]*pb.WorkResponse{out(ids("x", 1), []uint32{0})}, "output of row 0"},
		"more outputs":          {[]*pb.WorkResponse{out(ids("x", 2), []uint32{0}, done(0, 3))}, "2 outputs with 1 parents"},
		"empty id":              {[]*pb.WorkResponse{out(&pb.Batch{Rows: 1, Id: &pb.Text{}}, []uint32{0}, done(0, 3))}, "row 0 has no id"},
		"equal children":        {[]*pb.WorkResponse{out(ids("x", 2), []uint32{0, 0}, done(0, 3))}, "two outputs with one id"},
		"bad column":            {[]*pb.WorkResponse{out(&pb.Batch{Rows: 1, Id: &pb.Text{Data: []byte("x")}}, []uint32{0}, done(0, 3))}, "column id"},
	} {
		client := dial(t, &rogue{answers: c.answers}, Options{})
		h, _ := client.Open(t.Context(), Step{Address: "sink.any.x"}, "")
		_, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(3))})
		var broken *ProtocolError
		if !errors.As(err, &broken) || !strings.Contains(broken.Problem, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A transform that says PASSED would drop records in silence.
func TestTransformPasses(t *testing.T) {
	passed := []*pb.WorkResponse{{Outcomes: []*pb.Outcome{{Count: 3, Verdict: pb.Verdict_VERDICT_PASSED}}}}
	for kind, refused := range map[sdk.ComponentKind]bool{sdk.KindTransform: true, sdk.KindSink: false} {
		client := dial(t, &rogue{answers: passed}, Options{})
		h, _ := client.Open(t.Context(), Step{Address: string(kind) + ".any.x", Kind: kind}, "")
		_, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(3))})
		var broken *ProtocolError
		if errors.As(err, &broken) != refused || refused && !strings.Contains(broken.Problem, "passed, by a transform") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestRoguePages(t *testing.T) {
	good := FromRecords(mixed(2)).toWire()
	spooled := func(name string) *pb.Batch {
		w := FromRecords(mixed(1)).toWire()
		w.Files = &pb.Files{Count: []uint32{1}, File: []*pb.File{{Spool: name}}}
		return w
	}
	for name, c := range map[string]struct {
		pages []*pb.ReadResponse
		want  string
	}{
		"a file of the state": {[]*pb.ReadResponse{{Number: 1, Batch: spooled("../state/MANIFEST")}}, "a spool name is no name of a file"},
		"a path":              {[]*pb.ReadResponse{{Number: 1, Batch: spooled("/etc/passwd")}}, "a spool name is no name of a file"},
		"the folder":          {[]*pb.ReadResponse{{Number: 1, Batch: spooled("..")}}, "a spool name is no name of a file"},
		"the folder itself":   {[]*pb.ReadResponse{{Number: 1, Batch: spooled(".")}}, "a spool name is no name of a file"},
		"no id":               {[]*pb.ReadResponse{{Number: 1, Batch: &pb.Batch{Rows: 1}}}, "row 0 has no id"},
		"number jumps":        {[]*pb.ReadResponse{{Number: 1, Batch: good}, {Number: 3, Batch: good}}, "page 3 after page 1"},
		"bad column":          {[]*pb.ReadResponse{{Number: 1, Batch: &pb.Batch{Rows: 1, Id: &pb.Text{Len: []uint32{4}}}}}, "column id"},
	} {
		client := dial(t, &rogue{pages: c.pages}, Options{})
		h, _ := client.Open(t.Context(), Step{Address: "source.any.x"}, "")
		r, err := client.Read(t.Context(), h, nil)
		for err == nil {
			_, err = r.Next()
		}
		var broken *ProtocolError
		if !errors.As(err, &broken) || !strings.Contains(broken.Problem, c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestSilence(t *testing.T) {
	client := dial(t, &rogue{hang: true}, Options{Silence: 50 * time.Millisecond})
	h, _ := client.Open(t.Context(), Step{Address: "sink.any.x"}, "")
	var silent *SilentError
	if _, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(3))}); !errors.As(err, &silent) || silent.Step != "sink.any.x" {
		t.Errorf("work: %v", err)
	}
	r, err := client.Read(t.Context(), h, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); !errors.As(err, &silent) {
		t.Errorf("read: %v", err)
	}
}
