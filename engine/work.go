package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// job is a call on its way to a plugin.
type job struct {
	call  flow.Call
	step  *step
	parts []*held
	first []int32 // position of each part's first row in the call
	batch *protocol.Batch
	cells []map[string]cell // receipts that the step mentions, per row; nil = none
}

// call gathers the rows of a call and sends them off, unless they are answered already.
func (e *Engine) call(c flow.Call) {
	if e.answeredAhead(c) {
		return
	}
	j := e.job(c)
	e.background.Go(func() { e.work(j) })
}

// job gathers the rows of a call and the receipts that its step mentions.
func (e *Engine) job(c flow.Call) *job {
	s := e.steps[c.Step]
	j := &job{call: c, step: s}
	var parts []protocol.Part
	n := int32(0)
	for _, p := range c.Parts {
		h := e.batches[p.Batch]
		j.parts, j.first = append(j.parts, h), append(j.first, n)
		parts = append(parts, protocol.Part{Batch: h.Batch, Rows: p.Rows})
		if p.Rows == nil {
			n += int32(h.Rows())
		} else {
			n += int32(len(p.Rows))
		}
	}
	j.batch = protocol.Gather(parts...)
	if len(s.awaits) > 0 {
		j.cells = make([]map[string]cell, n)
		for pos := range n {
			h, row := j.row(pos)
			o := h.of(row)
			for _, a := range s.awaits {
				if c := e.lot(o.lot).receipts[cellKey{a, o.root}]; c != nil {
					if j.cells[pos] == nil {
						j.cells[pos] = map[string]cell{}
					}
					j.cells[pos][e.steps[a].address] = *c
				}
			}
		}
	}
	return j
}

// row finds the batch and row at a position of the call.
func (j *job) row(pos int32) (*held, int32) {
	k := len(j.first) - 1
	for j.first[k] > pos {
		k--
	}
	i := pos - j.first[k]
	if rows := j.call.Parts[k].Rows; rows != nil {
		i = rows[i]
	}
	return j.parts[k], i
}

// work runs one call: arguments are evaluated, the plugin is asked, and every answer goes to the loop as it comes.
func (e *Engine) work(j *job) {
	s := j.step
	w := protocol.Work{Batch: j.batch, Now: e.Clock.Now(), Probe: j.call.Probe, Flush: j.call.Flush}
	if j.call.Attempt > 0 {
		w.Attempts = []uint32{uint32(j.call.Attempt)}
	}
	if j.call.Final {
		w.Final = all(j.batch.Rows())
	}
	position := all(j.batch.Rows()) // in the call, of each row sent
	var args []json.RawMessage
	var bad map[int32]refusal
	if !w.Flush { // else the plugin has the rows
		args, bad = e.arguments(j)
	}
	if len(bad) > 0 {
		good := []int32{} // never nil: that would be all rows
		var goodArgs []json.RawMessage
		a := flow.Answered{Call: j.call.ID}
		position = position[:0]
		for i := range int32(j.batch.Rows()) {
			if r, is := bad[i]; is {
				e.Log.Debug("row cannot be sent", "step", s.address, "code", r.code, "error", r.err)
				a.Runs = append(a.Runs, flow.Run{First: i, Count: 1, Verdict: flow.Reject, Code: r.code, Detail: r.err.Error()})
				continue
			}
			good, position = append(good, i), append(position, uint32(i))
			if args != nil {
				goodArgs = append(goodArgs, args[i])
			}
		}
		e.post(func() { e.step(a) })
		w.Batch, args = protocol.Gather(protocol.Part{Batch: j.batch, Rows: good}), goodArgs
		if len(w.Final) > 0 {
			w.Final = all(len(good))
		}
	}
	w.Args = args
	var err error
	sent := false
	if w.Batch.Rows() > 0 && (!s.Once || w.Probe) { // what is sent once has waited before it was announced
		err = e.paced(s)
	}
	if w.Batch.Rows() > 0 && err == nil {
		e.Failpoint(s.address + ".call")
		if w.Flush {
			e.Failpoint(s.address + ".flush")
		}
		sent = true
		err = e.allowed(s, func(ctx context.Context) error {
			return s.proc.work(ctx, s, w, usual(j.call), func(a protocol.Answer) error {
				e.Failpoint(s.address + ".answer")
				e.post(func() { e.answer(j, a, position) })
				return nil
			})
		})
	}
	if errors.Is(err, errNoLease) {
		if w.Flush {
			s.proc.drop(s, err)
		}
		e.withheld(j, position)
		err = nil
	}
	ret := flow.Returned{Call: j.call.ID, Failure: failure(err)}
	if err != nil && !sent {
		ret.Failure = flow.Unsent
	}
	if err != nil {
		ret.Code = "PLUGIN_FAILED"
		if e.ctx.Err() == nil && (sent || e.begin.Err() == nil) && !errors.Is(err, errStarts) { // else the run is ending, and this call with it
			e.Log.Warn("call failed", "step", s.address, "rows", j.batch.Rows(), "error", err)
		}
	}
	e.post(func() {
		if ret.Failure == flow.Unsent {
			e.unsent(j.call)
		}
		e.step(ret)
	})
}

func failure(err error) flow.Failure {
	var gone *protocol.GoneError
	var silent *protocol.SilentError
	var broken *protocol.BrokenError
	switch {
	case err == nil:
		return flow.Fine
	case errors.As(err, &gone), errors.As(err, &silent), errors.As(err, &broken): // perhaps because of one of its rows
		return flow.Died
	case errors.Is(err, errDown):
		return flow.Unsent
	case errors.Is(err, context.Canceled):
		return flow.Canceled
	}
	return flow.Refused
}

func all(n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = uint32(i)
	}
	return list
}

// refusal says why a row is not sent: it becomes a dead letter.
type refusal struct {
	code string
	err  error
}

// arguments evaluates the per-record arguments of a call's rows; nil when the component has none.
func (e *Engine) arguments(j *job) ([]json.RawMessage, map[int32]refusal) {
	s := j.step
	args, none := make([]json.RawMessage, j.batch.Rows()), false
	alike := s.evenArgs && !j.batch.HasFiles() // what is evaluated for one row is so for all
	var first json.RawMessage
	var bad map[int32]refusal
	refuse := func(row int, code string, err error) {
		if bad == nil {
			bad = map[int32]refusal{}
		}
		bad[int32(row)] = refusal{code, err}
	}
	for i := range args {
		if size := shrunk(j.batch, i); size != "" {
			refuse(i, codeTooLarge, tooLarge(size))
			continue
		}
		if none || first != nil {
			args[i] = first
			continue
		}
		var receipts lang.Receipts
		v := view{b: j.batch, i: i}
		if j.cells != nil {
			receipts = e.readReceipts(j.cells[i], j.batch, i)
			if own := j.cells[i][s.address].receipt; own != nil {
				v.stored = own.Files
			}
		}
		a, err := s.RowArgs(v, receipts)
		if err == nil && j.call.For >= 0 && s.choosy() {
			a, err = e.narrow(a, e.steps[j.call.For], j.batch, i)
		}
		if err != nil {
			refuse(i, "EXPRESSION", err)
		}
		none = a == nil && err == nil
		args[i] = a
		if alike {
			first = a
		}
	}
	if none {
		args = nil
	}
	return args, bad
}

// choosy reports whether a maker of files can be asked for some files alone.
func (s *step) choosy() bool {
	return s.Component.MakesFiles && slices.ContainsFunc(s.Component.Args, func(a sdk.Arg) bool { return a.Name == "files" && a.PerRecord })
}

// narrow asks the maker of files for those alone that were here before and that the owed step wants again. Others have a plan of their own.
func (e *Engine) narrow(args json.RawMessage, owed *step, b *protocol.Batch, row int) (json.RawMessage, error) {
	wanted, err := owed.WantedFiles(view{b: b, i: row}, nil)
	if err != nil {
		return nil, err
	}
	known := []int{}
	files := b.Files(row)
	for _, i := range wanted {
		if i < len(files) && files[i].SHA256 != "" {
			known = append(known, i)
		}
	}
	switch {
	case len(wanted) == 0:
		return args, nil
	case len(known) == 0: // the step was disabled: nobody has asked for them yet
		known = wanted
	}
	object := map[string]json.RawMessage{}
	if err := json.Unmarshal(args, &object); err != nil {
		return nil, fmt.Errorf("arguments: %w", err)
	}
	if object["files"], err = json.Marshal(known); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}

// answer takes what a plugin said of rows of a call. position maps the rows it was sent to those of the call.
func (e *Engine) answer(j *job, a protocol.Answer, position []uint32) {
	e.step(e.answered(j, a, position))
}

func (e *Engine) answered(j *job, a protocol.Answer, position []uint32) flow.Answered {
	ev := flow.Answered{Call: j.call.ID}
	s := j.step
	a, large := refuseLarge(a)
	for _, r := range a.Runs {
		run := flow.Run{First: int32(position[r.First]), Verdict: verdict(r.Outcome.Verdict), Down: r.Outcome.Down, Revisit: r.Outcome.Revisit,
			After: r.Outcome.After, Due: r.Outcome.Due, Cause: r.Outcome.Cause, Code: r.Outcome.Code, Alarm: r.Outcome.Alarm,
			Detail: r.Outcome.Detail, Unknown: r.Outcome.Unknown}
		if r.Outcome.Down {
			s.trouble = r.Outcome.Detail
		} else {
			e.news.answered(s)
		}
		for k := range r.Count { // positions may have gaps where rows were refused before the call
			pos := int32(position[r.First+k])
			if pos != run.First+run.Count {
				ev.Runs = append(ev.Runs, run)
				run.First, run.Count = pos, 0
			}
			run.Count++
			if s.mentioned && (run.Verdict == flow.Done || run.Verdict == flow.Passed) {
				if receipt, err := protocol.ParseReceipt(r.Receipt); err == nil {
					h, row := j.row(pos)
					o := h.of(row)
					e.lot(o.lot).receipt(s.index, o.root).delivered(receipt, r.Outcome.Code)
				}
			}
		}
		ev.Runs = append(ev.Runs, run)
		e.news.told(s, r.Outcome.Events)
	}
	if len(large) > 0 {
		at := map[int32]string{}
		for row, size := range large {
			at[int32(position[row])] = size
		}
		ev.Runs = rejectLarge(ev.Runs, at)
	}
	if a.Outputs != nil {
		e.outputs(j, a, position, &ev)
	}
	return ev
}

// outputs registers what a transform made.
func (e *Engine) outputs(j *job, a protocol.Answer, position []uint32, ev *flow.Answered) {
	h := &held{Batch: a.Outputs, origin: make([]origin, a.Outputs.Rows()), maker: j.step, ahead: a.Ahead}
	ev.Parent = make([]int32, len(a.Parent))
	for i, p := range a.Parent {
		ev.Parent[i] = int32(position[p])
		b, row := j.row(ev.Parent[i])
		h.origin[i] = b.of(row)
	}
	ev.Out = e.hold(h)
	ev.Rows = e.rows(h, j.step.retention, e.Clock.Now(), func(i int) (*held, int32) { return j.row(ev.Parent[i]) })
	if a.Outputs.HasFiles() {
		for i := range a.Outputs.Rows() {
			for _, f := range a.Outputs.Files(i) {
				if f.HasBytes() {
					e.lot(h.origin[i].lot).spool(h.origin[i].root, f.Spool)
				}
			}
		}
	}
}

func verdict(v sdk.Verdict) flow.Verdict {
	switch v {
	case sdk.VerdictDone:
		return flow.Done
	case sdk.VerdictPassed:
		return flow.Passed
	case sdk.VerdictRetry:
		return flow.Retry
	case sdk.VerdictReject:
		return flow.Reject
	case sdk.VerdictHeld:
		return flow.Held
	}
	panic("engine: the wire let an outcome without verdict pass")
}
