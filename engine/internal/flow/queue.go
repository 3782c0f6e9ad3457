package flow

import (
	"sort"
	"time"
)

// stepState is what the machine keeps of a step.
type stepState struct {
	up       bool // its process can be called
	units    int  // rows at the step, over all lots
	fresh    []*item
	replays  []*item
	turn     bool // the replays are next
	inFlight int  // calls
	breaker  breaker

	suspects []*item // one of them may have killed the process: called one at a time
	proving  bool    // a suspect is in the call under way

	Stats Stats
}

// Stats counts rows of a step since the start.
type Stats struct{ In, Done, Passed, Retried, Owed, Rejected uint64 }

// item is rows of one batch at the door of a step.
type item struct {
	b       *batch
	rows    []int32 // nil = all
	n       int32
	since   time.Time // in the queue
	at      time.Time // not before; zero = now
	failed  time.Time // first in-line failure
	tries   int
	strikes int
	attempt int
	final   bool
	probe   bool
}

func (it *item) row(i int32) int32 { return pick(it.rows, i) }

// call is what a step works on.
type call struct {
	id       uint64
	step     int
	parts    []part
	answered []bool
	left     int
	probe    bool
	suspect  bool
	outs     map[outKey]*batch
}

// part is an item, or some of it, in a call from position first on.
type part struct {
	*item
	first int32
}

// partOf finds the part that holds a position of the call.
func (c *call) partOf(pos int32) part {
	i := sort.Search(len(c.parts), func(i int) bool { return c.parts[i].first+c.parts[i].n > pos })
	return c.parts[i]
}

// push queues rows at a step whose units are open; while its breaker is open they are owed at once.
func (m *Machine) push(c int, it *item) {
	st := &m.states[c]
	if st.breaker.open && !st.breaker.half {
		m.owedDown(c, it)
		return
	}
	if it.b.lot.replay != nil {
		st.replays = append(st.replays, it)
	} else {
		st.fresh = append(st.fresh, it)
	}
}

// owedDown owes the rows of an item because the service of its step is down.
func (m *Machine) owedDown(c int, it *item) {
	rows := make([]int32, it.n)
	for i := range it.n {
		rows[i] = it.row(i)
		m.owe(c, it.b, rows[i], Run{Verdict: Retry, Down: true, Code: m.states[c].breaker.code})
	}
	m.close(c, it.b, rows)
}

// dispatch makes one call to a step if there is work, room and reason. It reports whether it did.
func (m *Machine) dispatch(c int) bool {
	s, st := &m.steps[c], &m.states[c]
	if !st.up || st.proving || st.breaker.open && (!st.breaker.half || st.inFlight > 0) {
		return false
	}
	if len(st.suspects) > 0 {
		if st.inFlight > 0 {
			return false
		}
		it := st.suspects[0]
		st.suspects = st.suspects[1:]
		st.proving = true
		m.call(c, []*item{it}, true)
		return true
	}
	if st.inFlight >= s.MaxInFlight {
		return false
	}
	queue := &st.fresh
	if m.ready(st.replays) && (st.turn || !m.ready(st.fresh)) {
		queue = &st.replays
	}
	items, rest := m.take(c, *queue)
	if len(items) == 0 {
		return false
	}
	*queue = rest
	st.turn = queue == &st.fresh
	m.call(c, items, false)
	return true
}

// ready reports whether something in a queue may be called now.
func (m *Machine) ready(q []*item) bool {
	for _, it := range q {
		if !it.at.After(m.now) {
			return true
		}
	}
	return false
}

// take gathers items of a queue for one call, as many as fit together. It takes nothing while a fuller call is worth waiting for.
func (m *Machine) take(c int, q []*item) (items, rest []*item) {
	s := &m.steps[c]
	var head *item
	var rows int32
	var bytes int64
	full := false
	for _, it := range q {
		if full || it.at.After(m.now) || head != nil && !it.goesWith(head) {
			rest = append(rest, it)
			continue
		}
		n, size := it.fit(int32(s.MaxRows)-rows, s.MaxBytes-bytes, head == nil)
		if n == 0 {
			full = true
			rest = append(rest, it)
			continue
		}
		if head == nil {
			head = it
		}
		if n < it.n { // the call takes the front, the rest keeps its place
			front, back := *it, *it
			front.rows, front.n = it.span(0, n), n
			back.rows, back.n = it.span(n, it.n), it.n-n
			rest = append(rest, &back)
			it, full = &front, true
		}
		items = append(items, it)
		rows, bytes = rows+n, bytes+size
		full = full || int(rows) >= s.MaxRows || bytes >= s.MaxBytes
	}
	if head == nil || !full && head.since.Add(s.MaxWait).After(m.now) && m.coming(c) {
		return nil, q
	}
	return items, rest
}

// goesWith reports whether both may travel in one call.
func (it *item) goesWith(o *item) bool {
	return it.probe == o.probe && it.final == o.final && it.attempt == o.attempt
}

// span is the rows from i to j of an item.
func (it *item) span(i, j int32) []int32 {
	if it.rows != nil {
		return it.rows[i:j:j]
	}
	out := make([]int32, 0, j-i)
	for ; i < j; i++ {
		out = append(out, i)
	}
	return out
}

// fit is how many rows of the item go into a call with this much room; the first row of a call always does.
func (it *item) fit(rows int32, bytes int64, first bool) (n int32, size int64) {
	for n < it.n && n < rows {
		s := int64(it.b.rows[it.row(n)].Size)
		if size+s > bytes && !(first && n == 0) {
			break
		}
		size += s
		n++
	}
	return n, size
}

// coming reports whether more rows for the step are on their way to it.
func (m *Machine) coming(c int) bool {
	for u := range m.states {
		if m.above[c].has(u) && m.states[u].units > 0 {
			return true
		}
	}
	return false
}

// call sends items to a step.
func (m *Machine) call(c int, items []*item, suspect bool) {
	m.lastCall++
	k := &call{id: m.lastCall, step: c, suspect: suspect, probe: items[0].probe}
	a := Call{ID: k.id, Step: c, Final: items[0].final, Probe: items[0].probe, Attempt: items[0].attempt}
	for _, it := range items {
		k.parts = append(k.parts, part{it, int32(k.left)})
		p := Part{Batch: it.b.id, Rows: it.rows}
		if it.rows == nil && int(it.n) != len(it.b.rows) {
			panic("flow: an item without rows is not the whole batch")
		}
		a.Parts = append(a.Parts, p)
		k.left += int(it.n)
	}
	k.answered = make([]bool, k.left)
	a.Rows = k.left
	m.calls[k.id] = k
	m.states[c].inFlight++
	m.do(a)
}

// breaker of a step: open while its service is down.
type breaker struct {
	open, half bool // half: one call may try
	code       string
	alarm      bool
	probe      time.Time     // when it opens halfway
	wait       time.Duration // until the next probe
}

// serviceDown opens the breaker of a step. What waits in its queue is owed.
func (m *Machine) serviceDown(c int, code string, alarm bool) {
	b := &m.states[c].breaker
	switch {
	case !b.open:
		*b = breaker{open: true, wait: m.limits.ProbeAfter}
		m.do(Breaker{Step: c, Open: true, Code: code, Alarm: alarm})
	case b.half:
		b.wait = min(2*b.wait, m.limits.ProbeAtMost)
	default:
		return // other calls of the same outage
	}
	b.half, b.code, b.alarm = false, code, alarm
	b.probe = m.now.Add(m.jitter(b.wait))
	st := &m.states[c]
	queued := append(append(st.fresh, st.replays...), st.suspects...)
	st.fresh, st.replays, st.suspects = nil, nil, nil
	for _, it := range queued {
		l := it.b.lot
		l.units++
		m.owedDown(c, it)
		m.unhold(l)
	}
}

// serviceUp closes the breaker of a step: it has answered.
func (m *Machine) serviceUp(c int) {
	b := &m.states[c].breaker
	if !b.open {
		return
	}
	*b = breaker{}
	m.do(Breaker{Step: c})
	m.owed.up(c)
}

// breakers opens halfway what is due.
func (m *Machine) breakers() {
	for c := range m.states {
		b := &m.states[c].breaker
		if b.open && !b.half && !b.probe.After(m.horizon()) {
			b.half = true
			m.owed.probe(c)
		}
	}
}

// horizon is up to when things fall due: now, unless the machine's time is over.
func (m *Machine) horizon() time.Time {
	if u := m.limits.Until; !u.IsZero() && u.Before(m.now) {
		return u
	}
	return m.now
}

// Next is the instant at which the machine wants a [Tick], zero = none.
func (m *Machine) Next() time.Time {
	var next time.Time
	at := func(t time.Time) {
		if !t.IsZero() && t.After(m.now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for c := range m.states {
		st, s := &m.states[c], &m.steps[c]
		if st.breaker.open && !st.breaker.half {
			at(st.breaker.probe)
		}
		for _, q := range [][]*item{st.fresh, st.replays} {
			for _, it := range q {
				at(it.at)
			}
			if len(q) > 0 && s.MaxWait > 0 {
				at(q[0].since.Add(s.MaxWait))
			}
		}
	}
	at(m.owed.nextDue())
	return next
}
