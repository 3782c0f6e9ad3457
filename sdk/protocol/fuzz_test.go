package protocol

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// allocated is what has been allocated so far, in bytes.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// bounded fails when reading size bytes has allocated out of proportion: an empty file of two bytes becomes a struct of 250, and one
// number can stand for the files of maxRows rows.
func bounded(t *testing.T, before uint64, size int) {
	t.Helper()
	if took, most := allocated()-before, uint64(1000*size+8*maxRows); took > most {
		t.Errorf("%d bytes made the reader allocate %d, want at most %d", size, took, most)
	}
}

func FuzzBatch(f *testing.F) {
	for _, n := range []int{0, 1, 2, 9} {
		data, err := FromRecords(mixed(n)).Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{3, 4, 5, 5, 0})
	}
	one := &pb.Text{Data: []byte("shared"), Len: []uint32{6}}
	for _, w := range []*pb.Batch{
		{Rows: maxRows, Id: one, Body: one, Files: &pb.Files{Count: []uint32{0}}},
		{Rows: 3, Id: one, Body: &pb.Text{Data: []byte("abcdef"), Len: []uint32{2}}, Seq: &pb.Numbers{Value: []uint64{7}}, Meta: []*pb.Meta{{Name: "m", Value: one}}},
		{Rows: 2, Id: one, Files: &pb.Files{Count: []uint32{1}, File: []*pb.File{{Spool: "../../outside"}, {Spool: "f-1"}}}},
		{Rows: maxRows, Id: one, Body: &pb.Text{Data: make([]byte, 1<<12), Len: []uint32{1 << 12}}},
	} {
		data, err := proto.Marshal(w)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, []byte{0, 2, 1})
	}
	f.Fuzz(func(t *testing.T, data, choice []byte) {
		before := allocated()
		b, err := Unmarshal(data)
		bounded(t, before, len(data))
		if err != nil {
			return
		}
		checkBatch(t, b)
		if b.Rows() == 0 || b.Rows() > 64 {
			return
		}
		all := records(b)
		sum := 0
		for i := range all {
			sum += len(all[i].Body)
		}
		if sum != b.BodyBytes() {
			t.Errorf("got %d bytes of bodies, want %d", b.BodyBytes(), sum)
		}
		equal(t, "made of its records", FromRecords(all), all)
		again, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		other, err := Unmarshal(again)
		if err != nil {
			t.Fatalf("its own form is refused: %v", err)
		}
		equal(t, "written and read", other, all)
		rest, body, err := b.SplitBody()
		if err != nil {
			t.Fatal(err)
		}
		if other, err = JoinBody(rest, body); err != nil {
			t.Fatalf("parted from its bodies it is refused: %v", err)
		}
		equal(t, "parted and joined", other, all)

		rows := make([]int32, min(len(choice), 32))
		parent := make([]uint32, len(rows))
		chosen := make([]sdk.Record, len(rows))
		for i := range rows {
			rows[i] = int32(int(choice[i]) % b.Rows())
			parent[i], chosen[i] = uint32(rows[i]), all[rows[i]]
		}
		equal(t, "gathered", Gather(Part{b, rows}), chosen)
		equal(t, "gathered of two", Gather(Part{b, rows}, Part{other, nil}), slices.Concat(chosen, all))
		equal(t, "inherited", b.Inherit(nil, parent), chosen)
		for _, r := range records(b.WithoutBytes()) {
			for _, file := range r.Files {
				if file.HasBytes() || !file.SpoolKey.IsZero() {
					t.Errorf("the place of the bytes is left in %+v", file)
				}
			}
		}
	})
}

// checkBatch reads what rows of a batch that was accepted say.
func checkBatch(t *testing.T, b *Batch) {
	t.Helper()
	if logical := b.BodyBytes(); logical < 0 || logical > math.MaxInt32 {
		t.Errorf("bodies of %d bytes are accepted", logical)
	}
	for i := range min(b.Rows(), 64) {
		for _, f := range b.Record(i).Files {
			if f.Spool != "" && (filepath.Base(f.Spool) != f.Spool || f.Spool == "." || f.Spool == "..") {
				t.Errorf("a file of the spool is called %q", f.Spool)
			}
		}
	}
	if b.Rows() > 0 {
		b.Record(b.Rows() - 1)
	}
}

func equal(t *testing.T, what string, got *Batch, want []sdk.Record) {
	t.Helper()
	list := records(got)
	if len(list) != len(want) {
		t.Fatalf("%s: got %d rows, want %d", what, len(list), len(want))
	}
	for i := range list {
		a, b := list[i], want[i]
		if string(a.Body) != string(b.Body) {
			t.Errorf("%s: row %d: got body %q, want %q", what, i, a.Body, b.Body)
		}
		a.Body, b.Body = nil, nil
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: row %d: got %+v, want %+v", what, i, a, b)
		}
	}
}

// FuzzWire reads a message as everything that a plugin may answer, and as what an engine may ask.
func FuzzWire(f *testing.F) {
	c := newCodec()
	c.apart = 1
	for _, m := range messages(100) {
		data, err := c.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data.Materialize())
	}
	b := FromRecords(mixed(4))
	done := &pb.Outcome{Count: 4, Verdict: pb.Verdict_VERDICT_DONE, Code: "c", AfterMs: 5, Due: 7, ReceiptJson: []byte(`{"urls":["u"],"files":[0,2],"fields":{"n":1.5}}`)}
	var declared sdk.Plugin
	fill(reflect.ValueOf(&declared).Elem(), 2)
	description, err := writeDescription(&declared)
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []proto.Message{
		description,
		&pb.WorkResponse{Outcomes: []*pb.Outcome{done}, Outputs: &pb.Batch{Rows: 2, Id: &pb.Text{Data: []byte("ab"), Len: []uint32{1}}}, Parent: []uint32{0, 2}},
		&pb.WorkResponse{Outcomes: []*pb.Outcome{done}, Outputs: b.toWire(), Parent: []uint32{3, 2, 1, 0}},
		&pb.WorkResponse{Outcomes: []*pb.Outcome{{First: 3, Count: math.MaxUint32, Verdict: 1}, {Count: 1, Verdict: -1}}},
		&pb.WorkResponse{Outcomes: []*pb.Outcome{{Count: 1, Verdict: pb.Verdict_VERDICT_RETRY, Down: true, AfterMs: math.MaxInt64, Events: []*pb.Event{{Code: "E", Attrs: map[string]string{"a": "b"}}}}}},
		&pb.ReadResponse{Number: 1, Batch: b.toWire(), Position: []byte("p"), Events: []*pb.Event{{Code: "E"}}},
		&pb.ReadResponse{Number: 1, Failure: &pb.Outcome{Verdict: 3, Code: "X", Detail: "d"}},
		&pb.WorkResponse{Outcomes: []*pb.Outcome{{Count: 2, Verdict: pb.Verdict_VERDICT_HELD}}},
		&pb.LeaseResponse{Revision: "2", Holder: "{}", Written: true, Changed: 5, Now: -5}, &pb.LeaseResponse{Written: true}, &pb.LeaseResponse{Failure: done},
		&pb.SurveyResponse{Rows: true, Where: "app 7", Since: 3, First: 1, Last: 9, Waiting: []*pb.Waiting{{Status: "FILE_WAITING", First: 1, Last: 9, Fresh: math.MaxUint64, Old: 2}}},
		&pb.PositionResponse{Position: []byte("7")},
		&pb.OpenResponse{Step: 1, Failure: done}, &pb.CloseResponse{Failure: done},
		&pb.Hello{Clock: "2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,500", LogLevel: -4}, &pb.Hello{Clock: "2026-01-01T00:00:00Z,2026-02-01T00:00:00Z,NaN"},
	} {
		data, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		before := allocated()
		for _, v := range []proto.Message{&pb.WorkRequest{}, &pb.WorkResponse{}, &pb.ReadResponse{}, &pb.Description{}, &pb.OpenResponse{}, &pb.CloseResponse{}, &pb.Hello{},
			&pb.LeaseResponse{}, &pb.SurveyResponse{}, &pb.PositionResponse{}} {
			if !readMessage(t, c, message, v) {
				continue
			}
			switch v := v.(type) {
			case *pb.WorkResponse:
				checkAnswer(t, v, false)
				checkAnswer(t, v, true)
			case *pb.ReadResponse:
				checkPage(t, v)
			case *pb.Description:
				checkDescription(t, v)
			case *pb.OpenResponse:
				checkOutcome(t, readOutcome(v.GetFailure()))
			case *pb.CloseResponse:
				checkOutcome(t, readOutcome(v.GetFailure()))
			case *pb.Hello:
				checkClock(t, v.GetClock())
			case *pb.LeaseResponse:
				checkLease(t, v)
			case *pb.SurveyResponse:
				checkSurvey(t, v)
			case *pb.PositionResponse:
				got, err := NewClient(nil, Options{}).with(told{position: v}).PositionAfter(t.Context(), 1, 7)
				if (err != nil) != (v.GetFailure() != nil) || err == nil && string(got) != string(v.GetPosition()) {
					t.Errorf("got position %q, %v of %v", got, err, v)
				}
			}
		}
		bounded(t, before, 30*len(message))
	})
}

// readMessage holds our codec against plain protobuf.
func readMessage(t *testing.T, c codec, message []byte, v proto.Message) bool {
	want := v.ProtoReflect().New().Interface()
	plain, ours := proto.Unmarshal(message, want), c.Unmarshal(framed(message), v)
	if (plain == nil) != (ours == nil) {
		t.Fatalf("%T: got error %v, want %v", v, ours, plain)
	}
	if plain == nil && !proto.Equal(want, v) {
		t.Errorf("got %v, want %v", v, want)
	}
	return plain == nil
}

// checkAnswer is the contract of an answer, told once more.
func checkAnswer(t *testing.T, w *pb.WorkResponse, mayHold bool) {
	call := FromRecords(mixed(4))
	check := answerCheck{batch: call, answered: make([]bool, 4), left: 4, mayHold: mayHold}
	a, err := check.read(w)
	if err != nil {
		return
	}
	verdict := map[int]sdk.Verdict{}
	for _, r := range a.Runs {
		for i := r.First; i < r.First+r.Count; i++ {
			if _, twice := verdict[i]; twice || i < 0 || i > 3 {
				t.Errorf("row %d is answered, again: %v", i, twice)
			}
			verdict[i] = r.Outcome.Verdict
		}
		if v := r.Outcome.Verdict; v < sdk.VerdictDone || v > sdk.VerdictHeld || v == sdk.VerdictHeld && !mayHold {
			t.Errorf("verdict %d is accepted, may hold: %v", v, mayHold)
		}
		checkOutcome(t, r.Outcome)
		receipt, err := ParseReceipt(r.Receipt)
		if err != nil {
			continue
		}
		text, err := FormatReceipt(receipt)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseReceipt(text); err != nil || !empty(receipt) && !reflect.DeepEqual(again, receipt) {
			t.Errorf("receipt: got %+v, want %+v", again, receipt)
		}
	}
	if check.left != 4-len(verdict) {
		t.Errorf("%d rows are left of which %d are answered", check.left, len(verdict))
	}
	if len(verdict) > 0 {
		if _, err := check.read(w); err == nil {
			t.Error("the same rows can be answered twice")
		}
	}
	if a.Outputs == nil {
		if len(a.Parent) > 0 {
			t.Errorf("%d parents of no output", len(a.Parent))
		}
		return
	}
	if a.Outputs.Rows() != len(a.Parent) {
		t.Fatalf("%d outputs of %d parents", a.Outputs.Rows(), len(a.Parent))
	}
	checkBatch(t, a.Outputs)
	seen := map[string]bool{}
	for i := range min(a.Outputs.Rows(), 256) {
		p := int(a.Parent[i])
		got, from := a.Outputs.Record(i), call.Record(p)
		name := fmt.Sprint(p, " ", got.ID)
		if verdict[p] != sdk.VerdictDone || got.ID == "" || seen[name] {
			t.Errorf("output %q of row %d, whose verdict is %d, again: %v", got.ID, p, verdict[p], seen[name])
		}
		seen[name] = true
		changed := w.GetOutputs()
		if changed.GetId() == nil && got.ID != from.ID || changed.GetKey() == nil && got.Key != from.Key || changed.GetKind() == nil && got.Kind != from.Kind ||
			changed.GetBody() == nil && string(got.Body) != string(from.Body) || changed.GetSeq() == nil && got.Seq != from.Seq ||
			changed.GetTime() == nil && !got.Time.Equal(from.Time) || changed.GetFiles() == nil && !reflect.DeepEqual(got.Files, from.Files) ||
			len(changed.GetMeta()) == 0 && !reflect.DeepEqual(got.Meta, from.Meta) {
			t.Errorf("output %d: got %+v, which inherits otherwise from %+v", i, got, from)
		}
	}
}

func checkPage(t *testing.T, w *pb.ReadResponse) {
	if w.GetFailure() != nil {
		checkOutcome(t, readOutcome(w.GetFailure()))
	}
	r := &Reader{}
	p, err := r.page(w)
	if err != nil {
		return
	}
	if p.Number != 1 {
		t.Errorf("page %d is accepted as the first", p.Number)
	}
	if p.Batch == nil {
		return
	}
	checkBatch(t, p.Batch)
	for i := range min(p.Batch.Rows(), 256) {
		if p.Batch.ID(i) == "" {
			t.Errorf("row %d has no id", i)
		}
	}
	if _, err := r.page(w); err == nil {
		t.Error("the same page is accepted twice")
	}
}

// checkOutcome wants pauses that can be waited for.
func checkOutcome(t *testing.T, o sdk.Outcome) {
	if o.After < 0 || o.Verdict < sdk.VerdictUnset || o.Verdict > sdk.VerdictHeld {
		t.Errorf("pause %v, verdict %d", o.After, o.Verdict)
	}
}

// told answers what is asked outside of streams.
type told struct {
	pb.PluginClient
	lease    *pb.LeaseResponse
	survey   *pb.SurveyResponse
	position *pb.PositionResponse
}

func (c *Client) with(rpc pb.PluginClient) *Client {
	c.rpc = rpc
	return c
}

func (a told) Lease(context.Context, *pb.LeaseRequest, ...grpc.CallOption) (*pb.LeaseResponse, error) {
	return a.lease, nil
}

func (a told) Survey(context.Context, *pb.SurveyRequest, ...grpc.CallOption) (*pb.SurveyResponse, error) {
	return a.survey, nil
}

func (a told) PositionAfter(context.Context, *pb.PositionRequest, ...grpc.CallOption) (*pb.PositionResponse, error) {
	return a.position, nil
}

// checkLease looks at a lease and writes it: only a write may have written, and leaves a revision.
func checkLease(t *testing.T, w *pb.LeaseResponse) {
	for _, write := range []bool{false, true} {
		row, err := NewClient(nil, Options{}).with(told{lease: w}).Lease(t.Context(), Step{Address: "lease.kintone"}, sdk.LeaseRequest{Name: "n", Write: write})
		if err == nil && (w.GetFailure() != nil || row.Written && (!write || row.Revision == "")) {
			t.Errorf("write %v: got %+v", write, row)
		}
	}
}

// checkSurvey wants numbers of rows that can be.
func checkSurvey(t *testing.T, w *pb.SurveyResponse) {
	s, err := NewClient(nil, Options{}).with(told{survey: w}).Survey(t.Context(), 1, sdk.SurveyRequest{})
	if (err != nil) != (w.GetFailure() != nil) {
		t.Errorf("got %v of %v", err, w)
	}
	for _, x := range s.Waiting {
		if x.Fresh < 0 || x.Old < 0 {
			t.Errorf("%d fresh rows and %d old ones are waiting", x.Fresh, x.Old)
		}
	}
}

func checkDescription(t *testing.T, w *pb.Description) {
	p, err := readDescription(w)
	if err != nil {
		return
	}
	for _, c := range p.Components {
		if c.Retention < 0 || c.MaxBytes < 0 || c.MaxRecords < 0 || c.MaxInFlight < 0 {
			t.Errorf("%s: retention %v, at most %d records, %d bytes, %d calls", c.Type, c.Retention, c.MaxRecords, c.MaxBytes, c.MaxInFlight)
		}
	}
	again, err := writeDescription(&p)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readDescription(again); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("got %+v, %v, want %+v", got, err, p)
	}
}

func checkClock(t *testing.T, text string) {
	c, err := sdk.ParseClock(text)
	if err != nil {
		return
	}
	if speed := c.Speed(); !(speed > 0) || math.IsInf(speed, 0) {
		t.Errorf("clock %q has speed %v", text, speed)
	}
	if d := c.Wall(time.Second); d < 0 {
		t.Errorf("clock %q: a second takes %v", text, d)
	}
}
