package engine

import (
	"context"
	"slices"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
)

// A transform that is behind another step (lang.Step.Behind says when) is opened in the process of that one too. With each page or answer
// that process sends what the transforms behind make of it, so that rows cross the wire once and not once for each step. To the machine
// nothing is different: it asks for a call as ever, and the shell has the answer already. Whatever is not as usual, such as a replay, a row
// that was refused or a transform that panicked, is a call of the transform's own process, which starts when it is wanted.
//
// When a process dies or hangs while it opens or applies a chain nobody knows which step it was, nor when a page with answers cannot be sent
// or read. The next ones have none for a while, the transforms are called, and the machine finds the record that did it.

// unchained is how long a process has no chain after one has ended in the middle, in real time; its next start or Read then has one again.
const unchained = 10 * time.Minute

// chain tells the processes which transforms they apply ahead. Those that do nothing else wait until they are wanted.
func (e *Engine) chain() {
	for _, s := range e.steps {
		if s.proc == nil || s.Behind != nil {
			continue
		}
		for next := s.follower; next != nil; next = next.follower {
			s.proc.chained = append(s.proc.chained, next)
			if !slices.Contains(s.proc.plugins, next.Plugin) {
				s.proc.plugins = append(s.proc.plugins, next.Plugin)
			}
		}
	}
	for _, p := range e.procs {
		if !slices.ContainsFunc(p.steps, func(s *step) bool { return s.Behind == nil }) {
			p.wanted = make(chan struct{})
		}
	}
}

// openChained opens the transforms that a process is to apply ahead, before anybody can call it. One that cannot be opened is called, and
// its own process tells why. An error is the end of this one.
func (p *process) openChained(ctx context.Context, l *life) error {
	if !l.client.Chains() || p.isUnchained() {
		return nil
	}
	for _, s := range p.chained {
		handle, err := p.open(ctx, l.client, s)
		if err != nil && (lost(err) || ctx.Err() != nil) { // ctx ends with the process
			p.unchain(err)
			return err
		}
		if err != nil {
			p.log.Debug("step cannot be applied ahead", "step", s.address, "error", err)
			continue
		}
		l.ahead[s] = handle
	}
	return nil
}

// chainOf is the handles of the transforms behind a step in one life of its process, up to one that cannot be applied ahead.
func (p *process) chainOf(l *life, s *step) (handles []uint64) {
	if p.isUnchained() {
		return nil
	}
	for s = s.follower; s != nil; s = s.follower {
		h := l.ahead[s]
		if h == 0 {
			break
		}
		handles = append(handles, h)
	}
	return handles
}

// unchain gives the process no chain for a while.
func (p *process) unchain(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.e.ctx.Err() != nil {
		return
	}
	if !time.Now().Before(p.apart) {
		p.log.Warn("a chain ended in the middle: its steps are called one by one", "process", p.name, "error", why, "at_least_for", unchained)
	}
	p.apart = time.Now().Add(unchained)
}

func (p *process) isUnchained() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.apart)
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
	for _, p := range c.Parts {
		if h := e.batches[p.Batch]; p.Rows != nil || len(h.ahead) == 0 || h.maker.follower != e.steps[c.Step] {
			return false
		}
	}
	j := e.job(c)
	s := j.step
	e.soon = append(e.soon, func() {
		e.Failpoint(s.address + ".call")
		for k, h := range j.parts {
			a := h.ahead[0]
			a.Ahead, h.ahead = h.ahead[1:], nil
			position := all(h.Rows())
			for i := range position {
				position[i] += uint32(j.first[k])
			}
			e.Failpoint(s.address + ".answer")
			e.step(e.answered(j, a, position))
		}
		e.step(flow.Returned{Call: c.ID})
	})
	return true
}
