package protocol

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Work is one batch for a transform or sink.
type Work struct {
	Batch    *Batch
	Args     []json.RawMessage // per row the values of the per-record arguments, a JSON object; nil = the component has none
	Attempts []uint32          // per row how often it was asked before, see [sdk.Row].Attempt; nil = all 0
	Final    []uint32          // rows past their deadline
	Now      time.Time         // decides every deadline of the call
	Probe    bool              // ask only what is there already
	Flush    bool              // the rows are all that the step holds, in the order in which it took them; only their ids are sent
	Chain    []uint64          // transforms of the process, see [Client.Chains]: each may answer for what comes out of the one before it
}

// Answer is what a plugin said at once: rows that it had not answered before.
type Answer struct {
	Runs    []Run
	Outputs *Batch   // transform: what goes on, complete; nil = nothing
	Parent  []uint32 // per output the row of the call that it comes from; each is a done row of this answer
	Ahead   []Answer // of the first few of the chain: each for all outputs of the answer before it. An answer in Ahead has none
}

// Work hands over a batch and calls on for each answer, from this goroutine, until every row is answered. An answer that breaks the
// contract is not handed on and ends the call with a [ProtocolError]; answers before it stand. An error of on ends the call too.
func (c *Client) Work(ctx context.Context, handle uint64, work Work, on func(Answer) error) error {
	opened := c.step(handle)
	step := opened.Address
	req := &pb.WorkRequest{Step: handle, Batch: work.Batch.toWire(), Final: work.Final, Now: nanos(work.Now), Probe: work.Probe, Flush: work.Flush,
		Chain: work.Chain}
	if work.Flush {
		req.Batch = &pb.Batch{Rows: req.Batch.GetRows(), Id: req.Batch.GetId()}
	}
	if work.Attempts != nil {
		req.Attempt = packNumbers(len(work.Attempts), func(i int) uint32 { return work.Attempts[i] })
	}
	if work.Args != nil {
		req.Args = pack(len(work.Args), func(i int) []byte { return work.Args[i] })
	}
	watch := c.watch(ctx, step)
	defer watch.cancel(nil)
	stream, err := c.rpc.Work(watch.ctx, req, grpc.ForceCodecV2(newCodec()))
	if err != nil {
		return c.failure(watch.ctx, step, err)
	}
	check := answerCheck{batch: work.Batch, answered: make([]bool, work.Batch.Rows()), left: work.Batch.Rows(),
		mayHold: opened.Holds && !work.Flush && !work.Probe, sends: opened.Kind == sdk.KindTransform}
	for {
		w, err := receive(watch, stream.Recv)
		if errors.Is(err, io.EOF) {
			if check.left > 0 {
				return c.broken(step, fmt.Sprintf("%d of %d rows were not answered", check.left, work.Batch.Rows()))
			}
			return nil
		}
		if err != nil {
			return c.failure(watch.ctx, step, err)
		}
		if w.GetLost() {
			return &SilentError{c.options.Plugin, step, cmp.Or(opened.Silence, silence)}
		}
		if len(w.GetOutcomes()) == 0 && len(w.GetParent()) == 0 { // still working
			continue
		}
		a, err := check.read(w)
		if err != nil {
			return c.broken(step, err.Error())
		}
		a.Ahead = readAhead(a.Outputs, w.GetAhead(), len(work.Chain))
		if err := on(a); err != nil {
			return err
		}
	}
}

// readAhead reads what a chain of up to most transforms answers for the rows of a batch, which may be nil. It stops before an answer that
// breaks the contract: that transform is called then, and refused by its own name.
func readAhead(b *Batch, stages []*pb.Stage, most int) (list []Answer) {
	for _, w := range stages[:min(len(stages), most)] {
		if b == nil {
			return list
		}
		check := answerCheck{batch: b, answered: make([]bool, b.Rows()), left: b.Rows(), sends: true}
		a, err := check.read(&pb.WorkResponse{Outcomes: w.GetOutcomes(), Outputs: w.GetOutputs(), Parent: w.GetParent()})
		if err != nil || check.left > 0 {
			return list
		}
		list, b = append(list, a), a.Outputs
	}
	return list
}

// answerCheck holds a plugin to the contract: every row exactly once, outputs only of done rows, each with an id.
type answerCheck struct {
	batch    *Batch
	answered []bool
	left     int
	mayHold  bool // HELD is an answer
	sends    bool // a transform: PASSED is none, for the row would go nowhere
}

func (k *answerCheck) read(w *pb.WorkResponse) (Answer, error) {
	a := Answer{Runs: make([]Run, 0, len(w.GetOutcomes())), Parent: w.GetParent()}
	rows := uint64(k.batch.Rows())
	for _, o := range w.GetOutcomes() {
		first, count := uint64(o.GetFirst()), uint64(o.GetCount())
		if count == 0 || first+count > rows {
			return a, fmt.Errorf("outcome for %d rows from row %d in a call of %d", count, first, rows)
		}
		run := Run{First: int(first), Count: int(count), Outcome: readOutcome(o), Receipt: o.GetReceiptJson()}
		switch {
		case run.Outcome.Verdict == sdk.VerdictUnset:
			return a, fmt.Errorf("row %d: unknown verdict %d", first, o.GetVerdict())
		case run.Outcome.Verdict == sdk.VerdictHeld && !k.mayHold:
			return a, fmt.Errorf("row %d: held, by a step that holds nothing or has been told to flush", first)
		case run.Outcome.Verdict == sdk.VerdictPassed && k.sends:
			return a, fmt.Errorf("row %d: passed, by a transform: the record would go nowhere", first)
		case len(run.Receipt) > 0 && !json.Valid(run.Receipt):
			return a, fmt.Errorf("row %d: receipt is not JSON", first)
		}
		for i := run.First; i < run.First+run.Count; i++ {
			if k.answered[i] {
				return a, fmt.Errorf("row %d was answered twice", i)
			}
			k.answered[i] = true
		}
		k.left -= run.Count
		a.Runs = append(a.Runs, run)
	}
	if err := k.outputs(w, &a); err != nil {
		return a, err
	}
	return a, nil
}

func (k *answerCheck) outputs(w *pb.WorkResponse, a *Answer) error {
	if len(a.Parent) != int(w.GetOutputs().GetRows()) {
		return fmt.Errorf("%d outputs with %d parents", w.GetOutputs().GetRows(), len(a.Parent))
	}
	if len(a.Parent) == 0 {
		return nil
	}
	done := make([]bool, k.batch.Rows())
	for _, r := range a.Runs {
		for i := r.First; i < r.First+r.Count; i++ {
			done[i] = r.Outcome.Verdict == sdk.VerdictDone
		}
	}
	for _, p := range a.Parent {
		if int(p) >= len(done) || !done[p] {
			return fmt.Errorf("an output of row %d, which is not a done row of this answer", p)
		}
	}
	outputs, err := k.batch.outputs(w.GetOutputs(), a.Parent)
	if err != nil {
		return fmt.Errorf("outputs: %w", err)
	}
	a.Outputs = outputs
	if err := a.Outputs.checkIDs(); err != nil {
		return fmt.Errorf("outputs: %w", err)
	}
	return distinct(a.Outputs, a.Parent)
}

// distinct refuses two outputs of one row with one id: the second would be taken for a repetition of the first.
func distinct(b *Batch, parent []uint32) error {
	type child struct {
		parent uint32
		id     string
	}
	for i := 1; ; i++ { // usually rows have one child each, in order, and there is nothing to compare
		if i >= len(parent) {
			return nil
		}
		if parent[i] <= parent[i-1] {
			break
		}
	}
	seen := make(map[child]bool, len(parent))
	for i, p := range parent {
		k := child{p, b.ID(i)}
		if seen[k] {
			return fmt.Errorf("row %d has two outputs with one id", p)
		}
		seen[k] = true
	}
	return nil
}
