package engine

import (
	"errors"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/state"
)

// A record that must not be delivered twice is announced in the state before it is sent: were the engine to die now, the next one would not
// know whether it was delivered. So a run that is told to end waits for what it is sending, and takes back what it has not begun to send.

// sendingKey is a record at a step whose effect is once.
type sendingKey struct {
	step int
	id   uint64
}

// announced is a record that the state says is being sent.
type announced struct {
	tries  int
	called bool // it has been handed to the step
	back   bool // it is being taken back
}

// announces reports whether a commit does nothing but say that a record is about to be sent once.
func (e *Engine) announces(a flow.Commit) bool {
	return a.Source < 0 && len(a.Marks) == 1 && a.Marks[0].Tries > 0 && e.steps[a.Marks[0].Step].Once &&
		len(a.Parcels) == 0 && len(a.Owing) == 0 && len(a.Drop) == 0
}

// announce makes it durable that a record is about to be sent, when the limits of its step and connection let it: what waits for those was
// not sent, whoever dies meanwhile.
func (e *Engine) announce(a flow.Commit) {
	m := a.Marks[0]
	s := e.steps[m.Step]
	put := func() {
		if e.ending { // the next run will send it
			return
		}
		e.sending[sendingKey{m.Step, m.ID}] = &announced{tries: m.Tries}
		c := commit{lot: a.Lot, change: state.Change{Pipeline: e.Pipeline.Name}}
		c.change.Marks = []state.Mark{{Step: s.address, ID: m.ID, Tries: m.Tries}}
		e.commits.put(c)
	}
	if s.pace == nil && s.proc.pace == nil {
		put()
		return
	}
	e.background.Go(func() {
		if e.paced(s) == nil {
			e.post(put)
		}
	})
}

// paced waits for the step's next turn.
func (e *Engine) paced(s *step) error {
	return errors.Join(s.pace.wait(e.begin), s.proc.pace.wait(e.begin))
}

// begins reports whether a call may be made, and notes what it sends.
func (e *Engine) begins(c flow.Call) bool {
	if !e.steps[c.Step].Once {
		return !e.ending
	}
	a := e.sending[e.sent(c)]
	if a == nil || a.back {
		return !e.ending // a probe, for one, is not announced
	}
	a.called = true
	return true
}

// sent is the record of a call of a step whose effect is once.
func (e *Engine) sent(c flow.Call) sendingKey {
	p := c.Parts[0]
	row := int32(0)
	if p.Rows != nil {
		row = p.Rows[0]
	}
	return sendingKey{c.Step, e.batches[p.Batch].rows[row].ID}
}

// unsent notes that a call did not reach the step.
func (e *Engine) unsent(c flow.Call) {
	if !e.steps[c.Step].Once {
		return
	}
	k := e.sent(c)
	if a := e.sending[k]; a != nil {
		a.called = false
		e.takeBack(k, a)
	}
}

// takeBack makes the state forget that a record is being sent, when it is not and the run ends.
func (e *Engine) takeBack(k sendingKey, a *announced) {
	if !e.ending || a.called || a.back {
		return
	}
	a.back = true
	c := commit{ended: []sendingKey{k}, change: state.Change{Pipeline: e.Pipeline.Name}}
	c.change.Marks = []state.Mark{{Step: e.steps[k.step].address, ID: k.id, Tries: a.tries - 1}}
	e.commits.put(c)
}

// endSending begins the end of a run.
func (e *Engine) endSending() {
	e.ending = true
	for k, a := range e.sending {
		e.takeBack(k, a)
	}
	if len(e.sending) > 0 {
		e.Log.Info("waiting for what is being sent and must not be sent twice", "records", len(e.sending))
	}
}
