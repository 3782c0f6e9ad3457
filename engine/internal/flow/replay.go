package flow

import (
	"container/heap"
	"slices"
	"time"
)

// replay is what a lot knows when it works off owed rows.
type replay struct {
	step    int // that owes
	door    int // where the rows stand
	group   *group
	rows    []uint32 // of the parcel; row i of the lot's first batch is rows[i]
	allow   bits
	attempt int
	final   bool
	keep    bool // bytes that the step cannot take now are to be kept
	kept    bool // they have been
	last    *batch
	stays   map[int32]Group // rows that are owed as before, with what they wait for now
}

// chainedTo reports whether step c runs in this replay only because it is chained to the owed sink.
func (r *replay) chainedTo(m *Machine, c int) bool {
	return m.steps[r.step].Kind == Sink && c != r.step && slices.Contains(m.also[r.step], c)
}

// replay starts what is ready, while there is room.
func (m *Machine) replay() {
	m.owed.fallDue()
	for c := range m.steps {
		s := &m.owed.steps[c]
		if len(s.ready) == 0 {
			continue
		}
		queue := s.ready
		s.ready = nil
		var later []*group
		for i, g := range queue {
			if m.replays >= m.limits.ReplayRows {
				later = append(later, queue[i:]...)
				break
			}
			if g.lot != nil || g.Dead || len(g.Rows) == 0 {
				g.ready = false
				continue
			}
			if !g.live || m.closed(g) || !m.startReplay(g) {
				if g.live && m.closed(g) {
					g.ready = false // its breaker's next probe or closing makes it ready again
					continue
				}
				later = append(later, g)
			}
		}
		s.ready = append(later, s.ready...)
	}
}

// closed reports whether it makes no sense to replay a group now: the breaker of its step is open, and nothing else is to be done.
func (m *Machine) closed(g *group) bool {
	b := &m.states[g.h.step].breaker
	if !b.open || b.half && m.states[g.h.step].inFlight == 0 && m.states[g.h.step].units == 0 {
		return false
	}
	return !m.rescues(g)
}

// rescues reports whether a group's files have to be fetched now though nobody takes them.
func (m *Machine) rescues(g *group) bool {
	return g.Door != g.h.step && !g.Kept && !g.Deadline.IsZero() && m.steps[g.h.step].Kind == Sink &&
		!m.now.Before(g.Deadline.Add(-m.limits.Rescue))
}

// startReplay takes rows of a group on their way. It reports false when none can go now because another lot works on the same records.
func (m *Machine) startReplay(g *group) bool {
	var rows, busy []uint32
	limit := min(m.steps[g.h.step].MaxRows, m.limits.ReplayRows)
	for _, row := range g.Rows {
		if m.inFlight[g.h.ids[row]] != nil || len(rows) >= limit {
			busy = append(busy, row)
		} else {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return false
	}
	g.ready = false
	if len(busy) > 0 { // what stays behind is a group of its own, ready as before
		rest := &group{Group: g.Group, h: g.h, live: g.live}
		rest.Rows = busy
		g.Rows = rows
		g.h.groups = append(g.h.groups, rest)
		if !rest.Due.IsZero() {
			heap.Push(&m.owed.timed, due{rest.Due, rest})
		}
		if rest.Cause == CauseAbout {
			k := aboutKey{rest.AboutAt, rest.About}
			m.owed.abouts[k] = append(m.owed.abouts[k], rest)
		}
		m.owed.makeReady(rest)
	}
	m.lastLot++
	r := &replay{step: g.h.step, door: g.Door, group: g, rows: rows, attempt: g.Tries + 1, stays: map[int32]Group{}, kept: g.Kept,
		final: !g.Deadline.IsZero() && !m.now.Before(g.Deadline), keep: m.rescues(g)}
	r.allow = m.paths(g.Door, g.h.step)
	l := &lot{id: m.lastLot, source: -1, replay: r}
	g.lot = l
	m.lots[l.id] = l
	m.replays += len(rows)
	l.first = &batch{lot: l, producer: -1, rows: make([]Row, len(rows))}
	for i, row := range rows {
		l.first.rows[i].ID = g.h.ids[row]
		m.inFlight[g.h.ids[row]] = &place{l, int32(i)}
	}
	l.units++ // until it is loaded
	m.do(Load{Lot: l.id, Door: g.Door, Parcel: g.h.parcel, Rows: rows})
	return true
}

// loaded puts the rows of a replay at their door.
func (m *Machine) loaded(e Loaded) {
	l := m.lots[e.Lot]
	r := l.replay
	if e.Err {
		for i := range r.rows {
			r.stays[int32(i)] = m.later(r.group.Group, 0)
		}
		l.rowUnits = make([]int32, len(r.rows))
		m.unhold(l)
		return
	}
	for i, row := range r.rows { // the identity is that of the owed row
		e.Rows[i].ID = r.group.h.ids[row]
	}
	fresh := m.newLot(l.id, -1, e.At, -1, e.Rows)
	l.first, l.batches, l.rowUnits, l.left, l.state, l.waiters = fresh.first, fresh.batches, fresh.rowUnits, fresh.left, fresh.state, fresh.waiters
	l.first.lot = l
	m.lots[l.id] = l
	for sink, states := range e.Receipts {
		if l.state[sink] != nil {
			copy(l.state[sink], states)
		}
	}
	if r.group.Cause == CauseDisabled && r.final {
		m.unhold(l) // nobody set the step up in time: it has passed
		return
	}
	if e.Last != 0 {
		r.last = m.newBatch(e.Last, l, -1, e.Rows)
	}
	if r.last != nil && m.steps[r.step].Probes && r.door != r.step && !r.final && !r.keep {
		all := r.last.all()
		m.open(r.step, r.last, all)
		m.push(r.step, &item{b: r.last, n: int32(len(all)), since: m.now, attempt: r.attempt, probe: true})
	} else {
		m.enter(l, l.first.all())
	}
	m.unhold(l)
}

func (b *batch) all() []int32 {
	rows := make([]int32, len(b.rows))
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

// enter offers rows of a replay to the door.
func (m *Machine) enter(l *lot, rows []int32) {
	door := []int{l.replay.door}
	l.units++
	m.offer(l.first, rows, door, false)
	m.offer(l.first, rows, door, true)
	m.unhold(l)
}

// probed takes the answer of a sink that was asked whether it has the files already.
func (m *Machine) probed(c *call, p part, rows []int32, r Run) {
	l := p.b.lot
	switch {
	case r.Verdict == Done:
		for _, row := range rows {
			m.settleState(c.step, l, row, StateDelivered)
			m.delivered(c.step, l, p.b, row)
		}
		m.close(c.step, p.b, rows)
		// Steps chained to the sink see the record as it stood behind the transforms.
		for _, also := range m.also[c.step] {
			if l.allows(also) {
				for _, row := range rows {
					m.await(also, p.b, row)
				}
			}
		}
	case r.Verdict == Retry && r.Down:
		for _, row := range rows {
			m.owe(c.step, p.b, row, r)
		}
		m.close(c.step, p.b, rows)
	default: // not there, or it cannot say: send it
		m.enter(l, rows)
		m.close(c.step, p.b, rows)
	}
}

// later is what a group waits for after another vain try: for a time. What it waited for before has come, or it would not have been tried; to
// keep such a cause would try it again at once, and for ever.
func (m *Machine) later(g Group, after time.Duration) Group {
	g.Cause, g.About, g.AboutAt = "", 0, 0
	g.Tries++
	if after == 0 {
		after = m.backoff(g.Tries)
	}
	g.Due = m.before(g, m.now.Add(after))
	return g
}

// backoff of owed entries: from a minute to an hour.
func (m *Machine) backoff(tries int) time.Duration {
	steps := [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	return m.jitter(steps[min(max(tries, 1), len(steps))-1])
}

// before moves an instant so that neither the rescue nor the deadline of a group is overslept.
func (m *Machine) before(g Group, t time.Time) time.Time {
	if g.Deadline.IsZero() {
		return t
	}
	if r := g.Deadline.Add(-m.limits.Rescue); !g.Revisit && m.now.Before(r) && t.After(r) {
		return r
	}
	if m.now.Before(g.Deadline) && t.After(g.Deadline) {
		return g.Deadline
	}
	return t
}
