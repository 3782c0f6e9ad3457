// Package flow is the heart of weir: the state machine that decides what becomes of every record.
//
// It is pure. [Machine.Step] takes an event and the instant at which it happened and returns what the shell has to do; there is no
// goroutine, clock, I/O or real randomness in it, so that a sequence of events replays exactly. It never sees a record's content: rows
// are references into batches that the shell holds, identities are hashes.
//
// # The words
//
// A lot is one journey of rows through the graph: a fresh page of a source, or rows of one stored parcel (a replay). In a lot, each
// (row, step) under way is a unit; when no unit is left the lot is done, and one commit writes what became of it: what is owed, what is
// dead, and for a fresh lot the checkpoint. Fresh lots of a source commit in read order.
//
// An owed row stands at a door: the step where its replay starts. That is the owed step itself, except where the step owes bytes: then it
// is the transform that makes them, because files are fetched again rather than kept. Entries are keyed by (owed step, identity), and the
// latest pass wins: whatever a later pass says of the same record at the same step replaces the older entry.
//
// A step that is after a sink and sees the same rows is chained to it: it needs no entry of its own while the sink owes, it runs in the
// sink's replay. A step that waits for another record (about) has an entry of its own, with that record as its cause.
package flow

import (
	"math/rand/v2"
	"time"
)

// Machine is the state of one pipeline. It is not safe for concurrent use.
type Machine struct {
	*graph
	limits  Limits
	content Content
	rng     *rand.Rand

	now  time.Time
	acts []Action

	states   []stepState
	shared   map[Batch]int // lots that need a batch of the shell
	lots     map[uint64]*lot
	order    [][]*lot // by source: fresh lots that are not committed, in read order
	drained  []bool   // by source
	calls    map[uint64]*call
	inFlight map[uint64]*place // identities in a lot
	blocked  []*lot            // fresh lots that wait until an identity of theirs has left another lot
	idle     []place           // rows that may have no unit left
	spoken   []spoken          // sinks that may have said all they had to of a row
	owed     registry
	replays  int // rows of replay lots in flight

	lastLot, lastCall, lastParcel uint64
	lastAlias                     Batch
}

// place is a row of a lot's first batch.
type place struct {
	lot  *lot
	root int32
}

// batch is rows of a lot at one point of the graph.
type batch struct {
	id       Batch
	lot      *lot
	producer int // the step that made them; -1 = a replay's first batch
	rows     []Row
	root     []int32 // rows of the lot's first batch; nil = the same rows
	from     *batch  // the batch it was made of
	fromRow  []int32
}

func (b *batch) rootOf(row int32) int32 {
	if b.root == nil {
		return row
	}
	return b.root[row]
}

// New makes a machine that remembers what an earlier one left owed.
func New(c Config, content Content, owed []Holding, lastParcel uint64, now time.Time) *Machine {
	c.defaults()
	m := &Machine{
		graph: newGraph(c.Steps), limits: c.Limits, content: content, now: now,
		rng:    rand.New(rand.NewPCG(c.Seed, 0x77656972)),
		shared: map[Batch]int{}, lots: map[uint64]*lot{}, calls: map[uint64]*call{}, inFlight: map[uint64]*place{},
		order: make([][]*lot, len(c.Steps)), drained: make([]bool, len(c.Steps)), states: make([]stepState, len(c.Steps)),
		lastAlias: 1 << 63, lastParcel: lastParcel,
	}
	for i := range m.states {
		m.states[i].up = true
	}
	m.owed.init(m, owed)
	return m
}

// Start grants the sources their first credit.
func (m *Machine) Start() []Action {
	m.acts = nil
	for i, s := range m.steps {
		if s.Kind == Source && !s.Disabled {
			m.do(Grant{Source: i, Rows: m.limits.FreshRows, Bytes: m.limits.FreshBytes})
		}
	}
	m.pump()
	return m.acts
}

// Step takes an event and returns what is to be done, in order. The slice is valid until the next call.
func (m *Machine) Step(now time.Time, e Event) []Action {
	m.acts = m.acts[:0]
	if now.After(m.now) {
		m.now = now
	}
	switch e := e.(type) {
	case Arrived:
		m.arrived(e)
	case Ended:
		m.drained[e.Source] = true
	case Answered:
		m.answered(e)
	case Returned:
		m.returned(e)
	case Available:
		m.states[e.Step].up = e.Up
	case Reconfigured:
		m.owed.reconfigured(e.Step)
	case Committed:
		m.committed(e.Lot)
	case Loaded:
		m.loaded(e)
	case Wanted:
		m.wanted(e)
	case Tick:
	}
	m.pump()
	return m.acts
}

// pump does what time and room allow now.
func (m *Machine) pump() {
	m.breakers()
	m.replay()
	for again := true; again; {
		m.wake()
		again = false
		for c := range m.states {
			again = m.dispatch(c) || again
		}
		again = again || len(m.spoken) > 0
	}
	m.release()
}

func (m *Machine) do(a Action) { m.acts = append(m.acts, a) }

func (m *Machine) arrived(e Arrived) {
	m.drained[e.Source] = e.Drained
	m.lastLot++
	l := m.newLot(m.lastLot, e.Source, e.Batch, e.Source, e.Rows)
	if e.Lot != nil {
		e.Lot(l.id)
	}
	m.order[e.Source] = append(m.order[e.Source], l)
	if m.conflict(l) {
		m.blocked = append(m.blocked, l)
		return
	}
	m.begin(l)
}

// conflict reports whether a row of l is under way in another lot: one pass at a time.
func (m *Machine) conflict(l *lot) bool {
	for _, r := range l.first.rows {
		if p := m.inFlight[r.ID]; p != nil && p.lot != l {
			return true
		}
	}
	for _, b := range m.blocked { // nor may it overtake one that waits
		if b == l {
			break
		}
		for _, r := range b.first.rows {
			for _, x := range l.first.rows {
				if r.ID == x.ID {
					return true
				}
			}
		}
	}
	return false
}

// begin sends a fresh lot on its way.
func (m *Machine) begin(l *lot) {
	for i, r := range l.first.rows {
		m.inFlight[r.ID] = &place{l, int32(i)}
	}
	l.units++ // held until everything is offered
	m.offer(l.first, nil, m.consumers[l.source], false)
	m.offer(l.first, nil, m.consumers[l.source], true)
	for i := range l.first.rows {
		if l.rowUnits[i] == 0 {
			m.idle = append(m.idle, place{l, int32(i)})
		}
	}
	m.unhold(l)
}

func (m *Machine) newBatch(id Batch, l *lot, producer int, rows []Row) *batch {
	m.share(id, l)
	return &batch{id: id, lot: l, producer: producer, rows: rows}
}

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
		m.serviceDown(c.step, r.Code, r.Alarm)
	}
}

// outcome is what a run says of some rows of one item. pos is the place of the first in the call.
func (m *Machine) outcome(c *call, p part, rows []int32, pos int32, r Run, out *outputs) {
	step, b, l := c.step, p.b, p.b.lot
	st := &m.states[step]
	l.units++ // held until everything that follows is under way
	switch {
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
		st.Stats.Rejected += uint64(len(rows))
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
	if c.suspect {
		st.proving = false
	}
	if c.left == 0 {
		return
	}
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

// unanswered rows of a failed call: sent again, with care when one of them may have killed the process.
func (m *Machine) unanswered(c *call, p part, rows []int32, e Returned) {
	st := &m.states[c.step]
	it := &item{b: p.b, rows: rows, n: int32(len(rows)), tries: p.tries, failed: p.failed, since: m.now, final: p.final, attempt: p.attempt, probe: p.probe}
	switch e.Failure {
	case Canceled:
		m.push(c.step, it)
	case Died:
		switch {
		case len(rows) > 1 && c.suspect: // halve what killed it
			half := len(rows) / 2
			a, z := *it, *it
			a.rows, a.n = rows[:half:half], int32(half)
			z.rows, z.n = rows[half:], int32(len(rows)-half)
			st.suspects = append([]*item{&a, &z}, st.suspects...)
		case len(rows) == 1 && c.suspect:
			if it.strikes = p.strikes + 1; it.strikes >= 2 {
				st.Stats.Rejected++
				m.reject(c.step, p.b, rows[0], "KILLED_ITS_PLUGIN", "")
				m.close(c.step, p.b, rows)
				return
			}
			st.suspects = append([]*item{it}, st.suspects...)
		default:
			st.suspects = append(st.suspects, it)
		}
	default:
		m.retry(c, p, rows, Run{Verdict: Retry, Code: e.Code})
	}
}
