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

	owe    []owing
	owed   map[aboutKey]bool // records that awaited sinks owe after this pass, by their own entry or carried by that of another sink
	keeps  map[int32]bool    // rows whose bytes are to be kept: their files stay until that is durable
	facts  []Fact
	gone   []gone   // entries that this lot settles
	born   []*group // what it leaves owed: to be replayed once it is durable
	done   bool
	spread float64 // of its back-off, around 1
	stale  bits    // steps whose configuration has changed since it began

	begun  bool
	before map[int][]int32    // by ordered step and row: units at the steps before it
	lined  map[int]int32      // by ordered step: rows up to here have taken their places there
	parked map[waitKey][]unit // by ordered step and row: units that have not

	marked *marked    // the lot is about this one's mark alone
	unmark []aboutKey // marks that this lot ends or changes

	replay *replay
}

// gone is an identity that has left a step for good.
type gone struct {
	aboutKey
	ref   Ref
	bytes bool // with bytes
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

// newLot makes a lot of n rows. Its first batch is the caller's to bring.
func (m *Machine) newLot(source, n int) *lot {
	m.lastLot++
	l := &lot{id: m.lastLot, source: source, rowUnits: make([]int32, n), spread: 0.9 + m.rng.Float64()/5}
	for sink, is := range m.awaited {
		if is {
			if l.left == nil {
				l.left, l.state, l.waiters, l.owed = map[int][]int32{}, map[int][]State{}, map[waitKey][]waiter{}, map[aboutKey]bool{}
			}
			l.left[sink], l.state[sink] = make([]int32, n), make([]State, n)
		}
	}
	for _, c := range m.ordered {
		if source < 0 {
			break
		}
		if l.before == nil {
			l.before, l.lined, l.parked = map[int][]int32{}, map[int]int32{}, map[waitKey][]unit{}
		}
		l.before[c] = make([]int32, n)
	}
	m.lots[l.id] = l
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
	for c, before := range l.before {
		if m.above[c].has(step) {
			for _, row := range rows {
				before[b.rootOf(row)]++
			}
		}
	}
	if m.steps[step].Ordered {
		m.inLine(step, b, rows)
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
	for c, before := range l.before {
		if m.above[c].has(step) {
			for _, row := range rows {
				before[b.rootOf(row)]--
			}
			m.states[c].line.stale = true
		}
	}
	if m.steps[step].Ordered {
		m.outOfLine(step, b, rows)
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
	if st := l.state[sink]; s > st[root] {
		st[root] = s
		m.content.Announce(Receipt{Lot: l.id, Root: root, Sink: sink, State: s})
	}
}
