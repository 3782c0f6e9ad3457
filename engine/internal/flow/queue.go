package flow

import (
	"slices"
	"sort"
	"time"
)

// stepState is what the machine keeps of a step.
type stepState struct {
	up       bool // its process can be called
	units    int  // rows at the step, over all lots
	fresh    []*item
	replays  []*item
	suspects []*item // one of them may have killed the process: called alone
	proving  bool    // such a call is under way
	turn     bool    // the replays are next
	inFlight int     // calls
	marking  int     // items whose marks are on their way to the disk
	held     heldRows
	flushing bool // what it is sent meanwhile would be held with the rows of the flush, or with the next ones: nobody could tell
	line     lineOf
	breaker  breaker

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
	attempt int
	final   bool
	probe   bool
	alone   bool // suspected since an earlier engine
	marked  bool // its mark is durable
}

func (it *item) row(i int32) int32 { return pick(it.rows, i) }

// call is what a step works on.
type call struct {
	id       uint64
	step     int
	parts    []part
	answered []bool
	left     int
	rows     int
	probe    bool
	flush    bool
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
	if it = m.apart(c, it); it != nil {
		m.queue(c, it)
	}
}

func (m *Machine) queue(c int, it *item) {
	st := &m.states[c]
	switch {
	case it.alone && !m.steps[c].Ordered:
		st.suspects = append(st.suspects, it)
	case it.b.lot.replay != nil:
		st.replays = append(st.replays, it)
	default:
		st.fresh = append(st.fresh, it)
	}
}

// suspect queues rows that may have killed the process of a step, before those that are suspected already.
func (m *Machine) suspect(c int, it *item) {
	st := &m.states[c]
	if st.breaker.open && !st.breaker.half {
		m.owedDown(c, it)
		return
	}
	st.suspects = append([]*item{it}, st.suspects...)
}

// owedDown owes the rows of an item because the service of its step is down.
func (m *Machine) owedDown(c int, it *item) {
	m.withdraw(c, it)
	rows := make([]int32, it.n)
	for i := range it.n {
		rows[i] = it.row(i)
		m.owe(c, it.b, rows[i], Run{Verdict: Retry, Down: true, Code: m.states[c].breaker.code})
	}
	m.close(c, it.b, rows)
}

// dispatch makes one call to a step if there is work, room and reason. It reports whether it did. While there are suspects in a process it
// gets one call at a time, of suspects alone, so that it is known who kills it.
func (m *Machine) dispatch(c int) bool {
	st := &m.states[c]
	if !st.up || st.flushing {
		return false
	}
	if called, wait := m.flush(c); called || wait {
		return called
	}
	if st.breaker.open && (!st.breaker.half || st.inFlight+st.marking > 0) {
		return false
	}
	yielded := false
	for m.yield(c) { // each time others become the first of their lines
		yielded = true
	}
	suspects, calls := false, 0
	for _, mate := range m.mates[c] {
		suspects = suspects || m.states[mate].proving || len(m.states[mate].suspects) > 0
		calls += m.states[mate].inFlight + m.states[mate].marking
	}
	switch {
	case suspects && (calls > 0 || len(st.suspects) == 0):
		return yielded
	case suspects:
		it := st.suspects[0]
		st.suspects = st.suspects[1:]
		if !m.convict(c, it) {
			st.proving = true
			m.call(c, []*item{it}, true)
		}
		return true
	case st.inFlight+st.marking >= m.steps[c].MaxInFlight:
		return yielded
	}
	queues := [...]*[]*item{&st.fresh, &st.replays}
	if st.turn {
		slices.Reverse(queues[:])
	}
	for _, q := range queues {
		if items, rest := m.take(c, *q); len(items) > 0 {
			*q = rest
			st.turn = q == &st.fresh
			m.call(c, items, false)
			return true
		}
	}
	return yielded
}

// take gathers items of a queue for one call, as many as fit together. It takes nothing while a fuller call is worth waiting for.
func (m *Machine) take(c int, q []*item) (items, rest []*item) {
	s := &m.steps[c]
	var head *item
	var rows int32
	var bytes int64
	full := false
	for _, it := range q {
		if full || it.at.After(m.now) || head != nil && !it.goesWith(head) || !m.first(c, it) {
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
	if head == nil || !full && head.since.Add(s.MaxWait).After(m.now) && m.filling(c) {
		return nil, q
	}
	return items, rest
}

// goesWith reports whether both may travel in one call.
func (it *item) goesWith(o *item) bool {
	return it.probe == o.probe && it.final == o.final && it.attempt == o.attempt && it.client() == o.client()
}

// client is the sink on whose behalf the rows of a replay are asked, -1 = every step behind is to have them.
func (it *item) client() int {
	if r := it.b.lot.replay; r != nil {
		return r.step
	}
	return -1
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

// filling reports whether more rows for the step are on their way to it.
func (m *Machine) filling(c int) bool {
	for u := range m.states {
		if m.above[c].has(u) && m.states[u].units > 0 {
			return true
		}
	}
	return false
}

// call sends items to a step, or makes their marks durable first.
func (m *Machine) call(c int, items []*item, suspect bool) {
	if m.needsMark(c, items[0], suspect) {
		m.mark(c, items[0], suspect)
		return
	}
	a := Call{Final: items[0].final, Probe: items[0].probe, Attempt: items[0].attempt, For: -1}
	if r := items[0].b.lot.replay; r.passing(m, c) {
		a.For = r.step
	}
	m.send(c, items, a, suspect)
}

func (m *Machine) send(c int, items []*item, a Call, suspect bool) {
	m.lastCall++
	k := &call{id: m.lastCall, step: c, suspect: suspect, probe: a.Probe, flush: a.Flush}
	a.ID, a.Step = k.id, c
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
	k.rows, a.Rows = k.left, k.left
	m.calls[k.id] = k
	m.states[c].inFlight++
	m.do(a)
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
		if st.held.rows > 0 {
			at(st.held.since.Add(s.HoldFor))
		}
		for _, q := range [][]*item{st.fresh, st.replays} {
			for _, it := range q {
				at(it.at)
				at(it.since.Add(s.MaxWait))
			}
		}
	}
	at(m.owed.nextDue())
	return next
}
