package engine

import (
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
)

// A transform that is behind another step runs in the process of that one (lang.Step.Behind says when). With each page or answer the
// process sends what the transforms behind make of it, so that rows cross the wire once and not once for each step. To the machine nothing
// is different: it asks for a call as ever, and the shell has the answer already. Whatever is not as usual, such as a replay, a row that was
// refused or a transform that panicked, is a call.
//
// When the process dies or hangs meanwhile nobody knows which of the chain it was. For a while its steps are then called one by one, and
// the machine finds the record that did it.

// unfused is how long the steps of a process are called one by one after it has ended in the middle of a chain, in real time.
const unfused = 10 * time.Minute

// unfuse has the steps called one by one.
func (p *process) unfuse(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.e.ctx.Err() == nil && !time.Now().Before(p.apart) {
		p.log.Warn("the process ended in the middle of a chain: its steps are called one by one", "process", p.name, "error", why, "for", unfused)
	}
	p.apart = time.Now().Add(unfused)
}

// chain is the handles of the transforms behind a step in one life of its process; nil = none is to answer ahead.
func (p *process) chain(l *life, s *step) []uint64 {
	if s.behind == nil || !l.client.Chains() {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var handles []uint64
	for s = s.behind; s != nil && time.Now().After(p.apart); s = s.behind {
		handles = append(handles, l.handles[s])
	}
	return handles
}

// usual reports whether a call is like those that a chain answers.
func usual(c flow.Call) bool {
	return !c.Probe && !c.Flush && !c.Final && c.Attempt == 0 && c.For < 0
}

// answeredAhead answers a call from what has come with its rows already. It reports whether that was all of it.
func (e *Engine) answeredAhead(c flow.Call) bool {
	if !usual(c) {
		return false
	}
	parts := make([]*held, len(c.Parts))
	for k, p := range c.Parts {
		h := e.batches[p.Batch]
		if p.Rows != nil || len(h.ahead) == 0 || h.maker == nil || h.maker.behind != e.steps[c.Step] {
			return false
		}
		parts[k] = h
	}
	j := e.job(c)
	e.soon = append(e.soon, func() {
		e.Failpoint(j.step.address + ".call")
		for k, h := range parts {
			a := h.ahead[0]
			a.Ahead, h.ahead = h.ahead[1:], nil
			position := all(h.Rows())
			for i := range position {
				position[i] += uint32(j.first[k])
			}
			e.Failpoint(j.step.address + ".answer")
			e.step(e.answered(j, a, position))
		}
		e.step(flow.Returned{Call: c.ID})
	})
	return true
}
