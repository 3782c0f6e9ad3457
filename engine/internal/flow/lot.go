package flow

import "slices"

// lot is one journey of rows through the graph.
type lot struct {
	id      uint64
	source  int // -1 = a replay
	first   *batch
	batches []Batch

	units    int             // (row, step) under way, and holds
	rowUnits []int32         // the same by row of the first batch
	left     map[int][]int32 // by awaited sink and row: units at the sink or before it
	state    map[int][]State // by awaited sink and row
	waiters  map[waitKey][]waiter

	owe   []owing
	keeps map[int32]bool // rows whose files the commit keeps: they leave the spool with the lot, not before
	facts []Fact
	gone  []uint64 // identities whose older entry at a step is settled by this lot …
	at    []int    // … and those steps
	born  []*group // what it leaves owed: to be replayed once it is durable
	done  bool

	replay *replay
}

type waitKey struct {
	sink int
	root int32
}

// waiter is a row at a step that waits for a sink.
type waiter struct {
	step int
	b    *batch
	row  int32
}

func (m *Machine) newLot(id uint64, source int, first Batch, producer int, rows []Row) *lot {
	l := &lot{id: id, source: source, rowUnits: make([]int32, len(rows))}
	l.first = m.newBatch(first, l, producer, rows)
	for sink, is := range m.awaited {
		if is {
			if l.left == nil {
				l.left, l.state, l.waiters = map[int][]int32{}, map[int][]State{}, map[waitKey][]waiter{}
			}
			l.left[sink], l.state[sink] = make([]int32, len(rows)), make([]State, len(rows))
		}
	}
	m.lots[id] = l
	return l
}

// share makes a lot remember a batch of the shell. A call may carry rows of several lots, whose outputs are one batch: it is forgotten with
// the last of them.
func (m *Machine) share(id Batch, l *lot) {
	if !slices.Contains(l.batches, id) {
		l.batches = append(l.batches, id)
		m.shared[id]++
	}
}

// unshare lets go of a lot's batches and returns those that nobody needs any more.
func (m *Machine) unshare(l *lot) []Batch {
	var gone []Batch
	for _, id := range l.batches {
		if m.shared[id]--; m.shared[id] == 0 {
			delete(m.shared, id)
			gone = append(gone, id)
		}
	}
	return gone
}

func (l *lot) allows(step int) bool { return l.replay == nil || l.replay.allow.has(step) }

// open counts units of rows at a step.
func (m *Machine) open(step int, b *batch, rows []int32) {
	l := b.lot
	n := len(rows)
	l.units += n
	m.states[step].units += n
	for _, row := range rows {
		l.rowUnits[b.rootOf(row)]++
	}
	for sink, left := range l.left {
		if sink == step || m.above[sink].has(step) {
			for _, row := range rows {
				left[b.rootOf(row)]++
			}
		}
	}
}

// close ends units; rows that waited for a sink may go on.
func (m *Machine) close(step int, b *batch, rows []int32) {
	l := b.lot
	n := len(rows)
	m.states[step].units -= n
	for _, row := range rows {
		root := b.rootOf(row)
		if l.rowUnits[root]--; l.rowUnits[root] == 0 {
			m.idle = append(m.idle, place{l, root})
		}
	}
	for sink := range m.awaited { // not the map: order must not vary
		left := l.left[sink]
		if left == nil || !(sink == step || m.above[sink].has(step)) {
			continue
		}
		for _, row := range rows {
			root := b.rootOf(row)
			if left[root]--; left[root] == 0 {
				m.spoken = append(m.spoken, spoken{l, sink, root})
			}
		}
	}
	l.units -= n - 1 // one is kept as a hold, so that the lot ends in one place
	m.unhold(l)
}

func (m *Machine) unhold(l *lot) {
	if l.units--; l.units == 0 && !l.done {
		l.done = true
		m.finish(l)
	}
}

// spoken says that no unit of a row is left at a sink or before it, at least for a moment.
type spoken struct {
	lot  *lot
	sink int
	root int32
}

// wake lets rows go on that waited for sinks. It runs when an event is worked in whole: only then is a row without units at a sink really
// through with it.
func (m *Machine) wake() {
	for len(m.spoken) > 0 {
		list := m.spoken
		m.spoken = nil
		for _, s := range list {
			k := waitKey{s.sink, s.root}
			ws := s.lot.waiters[k]
			if ws == nil || s.lot.left[s.sink][s.root] > 0 {
				continue
			}
			delete(s.lot.waiters, k)
			for _, w := range ws {
				w.b.lot.units++
				m.await(w.step, w.b, w.row)
				m.close(w.step, w.b, []int32{w.row})
				m.unhold(w.b.lot)
			}
		}
	}
}

// release tells which rows no step works on any more.
func (m *Machine) release() {
	for _, p := range m.idle {
		if p.lot.rowUnits[p.root] == 0 && !p.lot.keeps[p.root] {
			m.do(Release{Lot: p.lot.id, Root: p.root})
		}
	}
	m.idle = m.idle[:0]
}

// settleState notes what a sink says of a row, for those who wait for it. Of several rows of one root the worst counts.
func (m *Machine) settleState(sink int, l *lot, root int32, s State) {
	if !m.awaited[sink] {
		return
	}
	if st := l.state[sink]; s > st[root] || l.replay != nil && st[root] >= StateKept {
		st[root] = s
		m.do(Receipt{Lot: l.id, Root: root, Sink: sink, State: s})
	}
}

// offer brings rows of b to steps: first those that wait for nothing, and in a second call those that wait for sinks.
func (m *Machine) offer(b *batch, rows []int32, steps []int, waiting bool) {
	for _, c := range steps {
		if len(m.steps[c].After) > 0 != waiting || !b.lot.allows(c) {
			continue
		}
		if !waiting {
			m.admit(c, b, rows)
			continue
		}
		for i := range count(b, rows) {
			m.await(c, b, pick(rows, i))
		}
	}
}

func count(b *batch, rows []int32) int32 {
	if rows == nil {
		return int32(len(b.rows))
	}
	return int32(len(rows))
}

func pick(rows []int32, i int32) int32 {
	if rows == nil {
		return i
	}
	return rows[i]
}

// await lets a row go on to a step as soon as the sinks before it have said their word.
func (m *Machine) await(c int, b *batch, row int32) {
	l, root := b.lot, b.rootOf(row)
	wait := func(at *lot, sink int, root int32) {
		k := waitKey{sink, root}
		at.waiters[k] = append(at.waiters[k], waiter{c, b, row})
		m.open(c, b, []int32{row})
	}
	for _, a := range m.chained[c] {
		if l.left[a][root] > 0 {
			wait(l, a, root)
			return
		}
	}
	if len(m.others[c]) > 0 {
		about := b.rows[row].ID
		if m.steps[c].About {
			about = m.content.About(c, Ref{b.id, row})
		}
		for _, a := range m.others[c] {
			if about == 0 {
				break
			}
			p := m.inFlight[about]
			if p != nil && p.lot.left[a][p.root] > 0 && !(p.lot == l && m.behind(c, a)) {
				wait(p.lot, a, p.root)
				return
			}
			if m.owed.has(a, about) || p != nil && p.lot.state[a][p.root] >= StateKept {
				m.owe(c, b, row, Run{Verdict: Retry, Cause: CauseAbout, about: about, aboutAt: a})
				return
			}
		}
	}
	if l.replay != nil && l.replay.chainedTo(m, c) {
		s := l.state[l.replay.step][root]
		if !(s == StateDelivered || s == StatePassed || s == StateRejected || s == StateKept && !l.replay.kept) {
			return // nothing new from the sink: its entry goes on carrying this step
		}
	} else {
		for _, a := range m.chained[c] {
			if s := l.state[a][root]; s >= StateKept && !m.steps[a].OnOwedPass {
				return // carried by the entry of the sink
			}
		}
	}
	m.admit(c, b, []int32{row})
}

// behind reports whether rows reach a only by way of c, so that c must not wait for it.
func (m *Machine) behind(c, a int) bool { return m.above[a].has(c) }

// admit sorts rows at the door of a step: wanted ones are queued, the others pass by.
func (m *Machine) admit(c int, b *batch, rows []int32) {
	s, st := &m.steps[c], &m.states[c]
	n := count(b, rows)
	var wanted, past []int32
	for i := range n {
		row := pick(rows, i)
		if b.root != nil && b.root[row] < 0 {
			continue // a row of another lot
		}
		ok, code := m.content.Wants(c, Ref{b.id, row})
		switch {
		case code != "":
			st.Stats.Rejected++
			m.reject(c, b, row, code, "")
		case !ok && s.Kind == Sink:
			m.settleState(c, b.lot, b.rootOf(row), StatePassed)
			m.delivered(c, b.lot, b, row)
		case s.Disabled && s.Kind == Sink:
			m.settleState(c, b.lot, b.rootOf(row), StateDisabled)
			if d := b.rows[row].Deadline; d.After(m.now) {
				m.owe(c, b, row, Run{Verdict: Retry, Cause: CauseDisabled})
			}
		case !ok, s.Disabled:
			past = append(past, row)
			m.delivered(c, b.lot, b, row)
		default:
			wanted = append(wanted, row)
		}
	}
	if len(past) > 0 {
		m.pastBy(c, b, past)
	}
	if len(wanted) == 0 {
		return
	}
	st.Stats.In += uint64(len(wanted))
	m.open(c, b, wanted)
	it := &item{b: b, rows: wanted, n: int32(len(wanted)), since: m.now}
	if len(wanted) == len(b.rows) {
		it.rows = nil
	}
	if r := b.lot.replay; r != nil {
		it.attempt, it.final = r.attempt, r.final
	}
	m.push(c, it)
}

// pastBy lets rows go past a transform unchanged.
func (m *Machine) pastBy(c int, b *batch, rows []int32) {
	m.lastAlias++
	a := Alias{New: m.lastAlias, Of: b.id, Rows: rows}
	o := &batch{id: a.New, lot: b.lot, producer: c, rows: make([]Row, len(rows)), root: make([]int32, len(rows)), from: b, fromRow: rows}
	for i, row := range rows {
		o.rows[i], o.root[i] = b.rows[row], b.rootOf(row)
	}
	m.do(a)
	m.share(a.New, b.lot)
	b.lot.units++
	m.offer(o, nil, m.consumers[c], false)
	m.offer(o, nil, m.consumers[c], true)
	m.unhold(b.lot)
}
