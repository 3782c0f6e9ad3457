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
	"slices"
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
	marks    map[aboutKey]int // by step and identity: calls alone whose end nothing durable tells
	pending  map[aboutKey]int // by step and key: rows that lots under way are about to leave owed, where order matters
	credit   []credit         // by source
	replays  int              // rows of replay lots in flight

	lastLot, lastCall, lastParcel, lastOrder uint64
	lastAlias                                Batch
}

// credit is the room of a source that is not used up.
type credit struct {
	rows  int
	bytes int64
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

// New makes a machine that remembers what an earlier one left owed. No step is called before [Available] says that it can be.
func New(c Config, content Content, owed []Holding, marks []Mark, lastParcel uint64, now time.Time) *Machine {
	c.defaults()
	m := &Machine{
		graph: newGraph(c.Steps), limits: c.Limits, content: content, now: now,
		rng:    rand.New(rand.NewPCG(c.Seed, 0x77656972)),
		shared: map[Batch]int{}, lots: map[uint64]*lot{}, calls: map[uint64]*call{}, inFlight: map[uint64]*place{},
		order: make([][]*lot, len(c.Steps)), drained: make([]bool, len(c.Steps)), states: make([]stepState, len(c.Steps)),
		lastAlias: 1 << 63, lastParcel: lastParcel,
		marks: map[aboutKey]int{}, pending: map[aboutKey]int{}, credit: make([]credit, len(c.Steps)),
	}
	for _, k := range marks {
		m.marks[aboutKey{k.Step, k.ID}] = k.Tries
	}
	for _, c := range m.ordered {
		m.states[c].line = lineOf{lines: map[uint64][]unit{}, units: map[unit]int32{}}
	}
	m.owed.init(m, owed)
	return m
}

// Start grants the sources their first credit.
func (m *Machine) Start() []Action {
	m.acts = nil
	for i, s := range m.steps {
		if s.Kind == Source && !s.Disabled {
			m.grant(i, m.limits.FreshRows, m.limits.FreshBytes)
		}
	}
	m.pump()
	return m.acts
}

func (m *Machine) grant(source, rows int, bytes int64) {
	m.credit[source].rows += rows
	m.credit[source].bytes += bytes
	m.do(Grant{Source: source, Rows: rows, Bytes: bytes})
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
		m.available(e)
	case Reconfigured:
		m.reconfigured(e.Step)
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
		m.lineUp()
		again = false
		for c := range m.states {
			again = m.dispatch(c) || again
		}
		again = again || len(m.spoken) > 0 || slices.ContainsFunc(m.ordered, func(c int) bool { return m.states[c].line.stale })
	}
	m.release()
}

func (m *Machine) do(a Action) { m.acts = append(m.acts, a) }

func (m *Machine) arrived(e Arrived) {
	m.drained[e.Source] = e.Drained
	m.credit[e.Source].rows -= len(e.Rows)
	for _, r := range e.Rows {
		m.credit[e.Source].bytes -= int64(r.Size)
	}
	l := m.newLot(e.Source, len(e.Rows))
	l.first = m.newBatch(e.Batch, l, e.Source, e.Rows)
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

// available notes whether a step can be called. What a process held is gone with it.
func (m *Machine) available(e Available) {
	m.states[e.Step].up = e.Up
	if !e.Up {
		m.takeBack(e.Step)
	}
}

// reconfigured makes due what a step owes, and what lots under way are about to leave owed there.
func (m *Machine) reconfigured(step int) {
	m.owed.reconfigured(step)
	for _, l := range m.lots {
		if l.stale == nil {
			l.stale = newBits(len(m.steps))
		}
		l.stale.add(step)
	}
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
	places := make([]place, len(l.first.rows)) // one object, not one for each row
	for i, r := range l.first.rows {
		places[i] = place{l, int32(i)}
		m.inFlight[r.ID] = &places[i]
	}
	l.begun = true
	for _, c := range m.ordered {
		m.states[c].line.stale = true
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
