package flow

import "time"

// answered takes outcomes of a call.
func (m *Machine) answered(e Answered) {
	c := m.calls[e.Call]
	if c == nil {
		return // canceled: its rows were taken back
	}
	var out *outputs
	if len(e.Rows) > 0 {
		out = newOutputs(e)
	}
	for _, r := range e.Runs {
		m.run(c, r, out)
	}
}

// run applies one outcome to its rows, part by part.
func (m *Machine) run(c *call, r Run, out *outputs) {
	if !(r.Verdict == Retry && r.Down) {
		m.serviceUp(c.step)
	}
	end := r.First + r.Count
	for _, p := range c.parts {
		lo, hi := max(r.First, p.first), min(end, p.first+p.n)
		if lo >= hi {
			continue
		}
		rows := make([]int32, 0, hi-lo)
		for pos := lo; pos < hi; pos++ {
			if c.answered[pos] {
				panic("flow: a row was answered twice")
			}
			c.answered[pos] = true
			rows = append(rows, p.row(pos-p.first))
		}
		c.left -= len(rows)
		m.outcome(c, p, rows, lo, r, out)
	}
	if r.Verdict == Retry && r.Down {
		m.serviceDown(c.step, r)
	}
}

// outcome is what a run says of some rows of one item. pos is the place of the first in the call.
func (m *Machine) outcome(c *call, p part, rows []int32, pos int32, r Run, out *outputs) {
	step, b, l := c.step, p.b, p.b.lot
	st := &m.states[step]
	l.units++ // held until everything that follows is under way
	if r.Verdict != Held && len(m.marks) > 0 && !c.probe {
		for _, row := range rows {
			m.ended(step, b, row)
		}
	}
	switch {
	case r.Verdict == Held && m.steps[step].Holds && !c.flush:
		m.hold(step, p, rows)
	case c.probe:
		m.probed(c, p, rows, r)
	case r.Verdict == Done && m.steps[step].Kind == Transform:
		st.Stats.Done += uint64(len(rows))
		m.transformed(c, p, rows, pos, r, out)
	case r.Verdict == Done:
		st.Stats.Done += uint64(len(rows))
		for _, row := range rows {
			m.settleState(step, l, b.rootOf(row), StateDelivered)
			m.delivered(step, l, b, row)
		}
		m.close(step, b, rows)
	case r.Verdict == Passed:
		st.Stats.Passed += uint64(len(rows))
		for _, row := range rows {
			m.settleState(step, l, b.rootOf(row), StatePassed)
			m.delivered(step, l, b, row)
		}
		m.close(step, b, rows)
	case r.Verdict == Retry:
		m.retry(c, p, rows, r)
	case r.Verdict == Reject:
		for _, row := range rows {
			m.reject(step, b, row, r.Code, r.Detail)
		}
		m.close(step, b, rows)
	default:
		panic("flow: a run without verdict")
	}
	m.unhold(l)
}

// retry asks again in line while that helps, and owes the rows otherwise.
func (m *Machine) retry(c *call, p part, rows []int32, r Run) {
	s, st := &m.steps[c.step], &m.states[c.step]
	if r.Unknown && s.Once && !s.Resend {
		m.unknown(c.step, p.b, rows)
		return
	}
	first := p.failed
	if first.IsZero() {
		first = m.now
	}
	inline := !r.Down && r.Cause == "" && p.tries+1 < s.Tries && !p.final && p.attempt == 0
	wait := r.After
	if wait == 0 {
		wait = m.jitter(time.Second << p.tries)
	}
	if inline && m.now.Add(wait).Sub(first) <= s.Within {
		st.Stats.Retried += uint64(len(rows))
		m.push(c.step, &item{b: p.b, rows: rows, n: int32(len(rows)), tries: p.tries + 1, failed: first, at: m.now.Add(wait), since: m.now,
			final: p.final, attempt: p.attempt})
		return // the units stay open
	}
	for _, row := range rows {
		m.owe(c.step, p.b, row, r)
	}
	m.close(c.step, p.b, rows)
}

// unknown ends rows that may have been sent, where that must not happen twice.
func (m *Machine) unknown(step int, b *batch, rows []int32) {
	for _, row := range rows {
		m.ended(step, b, row)
		m.reject(step, b, row, CodeUnknown, "")
	}
	m.close(step, b, rows)
}

// jitter spreads d by a tenth to either side, so that what failed together does not come back together.
func (m *Machine) jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(m.rng.Int64N(int64(d/5)+1))
}

// outputs finds what a transform made of a row.
type outputs struct{ e Answered }

func newOutputs(e Answered) *outputs { return &outputs{e: e} }

// transformed sends the outputs of some rows on.
func (m *Machine) transformed(c *call, p part, rows []int32, pos int32, r Run, out *outputs) {
	b, l := p.b, p.b.lot
	var o *batch
	var outRows []int32
	if out != nil {
		o = m.outBatch(c, p, out)
		for i, parent := range out.e.Parent { // rows of this run and item only
			if parent >= pos && parent < pos+int32(len(rows)) {
				outRows = append(outRows, int32(i))
			}
		}
	}
	if r.Revisit {
		m.revisit(c.step, b, rows, o, outRows, r)
	}
	for _, row := range rows {
		m.delivered(c.step, l, b, row)
	}
	if len(outRows) > 0 {
		if len(outRows) == len(o.rows) {
			outRows = nil
		}
		m.offer(o, outRows, m.consumers[c.step], false)
		m.close(c.step, b, rows)
		m.offer(o, outRows, m.consumers[c.step], true)
		return
	}
	m.close(c.step, b, rows)
}

// outBatch is the machine's view of a call's outputs as rows of p's lot. A call may carry rows of several lots; their outputs are one batch
// of the shell, and each lot sees its own rows of it.
func (m *Machine) outBatch(c *call, p part, out *outputs) *batch {
	key := outKey{out.e.Out, p.b}
	if b := c.outs[key]; b != nil {
		return b
	}
	n := len(out.e.Rows)
	b := &batch{id: out.e.Out, lot: p.b.lot, producer: c.step, rows: out.e.Rows, root: make([]int32, n), from: p.b, fromRow: make([]int32, n)}
	for i := range b.root {
		b.root[i], b.fromRow[i] = -1, -1
	}
	for i, parent := range out.e.Parent {
		if q := c.partOf(parent); q.b == p.b {
			row := q.row(parent - q.first)
			b.root[i], b.fromRow[i] = p.b.rootOf(row), row
		}
	}
	if c.outs == nil {
		c.outs = map[outKey]*batch{}
	}
	c.outs[key] = b
	m.share(out.e.Out, p.b.lot)
	return b
}

type outKey struct {
	out  Batch
	from *batch
}

// returned ends a call; what it left unanswered is taken back.
func (m *Machine) returned(e Returned) {
	c := m.calls[e.Call]
	if c == nil {
		return
	}
	delete(m.calls, e.Call)
	st := &m.states[c.step]
	st.inFlight--
	st.flushing = st.flushing && !c.flush
	if c.suspect {
		st.proving = e.Failure == Fine && st.held.rows > 0 // its flush will tell
	}
	if c.left > 0 {
		m.leftOver(c, e)
	}
	if e.Failure == Died {
		for _, mate := range m.mates[c.step] {
			m.takeBack(mate)
		}
	}
}

// leftOver takes back the rows that a call left unanswered.
func (m *Machine) leftOver(c *call, e Returned) {
	for _, p := range c.parts {
		var rows []int32
		for i := range p.n {
			if !c.answered[p.first+i] {
				rows = append(rows, p.row(i))
			}
		}
		if len(rows) == 0 {
			continue
		}
		l := p.b.lot
		l.units++
		m.unanswered(c, p, rows, e)
		m.unhold(l)
	}
}

// unanswered rows of a failed call are sent again, with care when one of them may have killed the process.
func (m *Machine) unanswered(c *call, p part, rows []int32, e Returned) {
	it := *p.item
	it.rows, it.n, it.since, it.at, it.marked = rows, int32(len(rows)), m.now, time.Time{}, false
	s := &m.steps[c.step]
	switch {
	case e.Failure == Unsent:
		m.withdraw(c.step, p.item)
		m.again(c, &it)
	case s.Once && !s.Resend && !c.probe:
		m.unknown(c.step, p.b, rows)
	case e.Failure == Canceled:
		m.withdraw(c.step, p.item)
		m.again(c, &it)
	case e.Failure != Died:
		for _, row := range rows {
			m.ended(c.step, p.b, row)
		}
		m.retry(c, p, rows, Run{Verdict: Retry, Code: e.Code})
	case !c.suspect:
		m.suspect(c.step, &it)
	case len(rows) > 1: // halve what killed it
		half := len(rows) / 2
		a, z := it, it
		a.rows, a.n = rows[:half:half], int32(half)
		z.rows, z.n = rows[half:], int32(len(rows)-half)
		m.suspect(c.step, &z)
		m.suspect(c.step, &a)
	case c.rows == 1 && m.marks[it.key(c.step)] >= strikes:
		m.ended(c.step, p.b, rows[0])
		m.reject(c.step, p.b, rows[0], CodeKilled, "")
		m.close(c.step, p.b, rows)
	default:
		m.suspect(c.step, &it)
	}
}

// again sends rows as they were sent.
func (m *Machine) again(c *call, it *item) {
	if c.suspect {
		m.suspect(c.step, it)
	} else {
		m.push(c.step, it)
	}
}
