package flow

import (
	"slices"
	"time"
)

// holding step: what a sink has taken and not answered for. It is asked for all of it at once, by a call without rows to send.
type heldRows struct {
	items []*item
	rows  int
	bytes int64
	since time.Time
}

// hold notes that a sink holds rows until it is told to flush.
func (m *Machine) hold(c int, p part, rows []int32) {
	h := &m.states[c].held
	if h.rows == 0 {
		h.since = m.now
	}
	it := *p.item
	it.rows, it.n, it.marked = rows, int32(len(rows)), false
	h.items = append(h.items, &it)
	h.rows += len(rows)
	for _, row := range rows {
		h.bytes += int64(p.b.rows[row].Size)
	}
}

// takeBack queues again what a sink held: its process is gone, and what was held with it.
func (m *Machine) takeBack(c int) {
	items := m.states[c].held.items
	m.states[c].held = heldRows{}
	for _, it := range items {
		l := it.b.lot
		l.units++
		m.push(c, it)
		m.unhold(l)
	}
}

// flush asks a step for what it holds when that is due. It reports whether it did, and whether the step has to wait for it.
func (m *Machine) flush(c int) (called, wait bool) {
	st := &m.states[c]
	if !m.flushDue(c) {
		return false, false
	}
	if st.inFlight > 0 {
		return false, true // their rows would be held with the others, or with the next ones: nobody could tell
	}
	items := st.held.items
	st.held, st.flushing = heldRows{}, true
	m.send(c, items, Call{Flush: true, For: -1}, st.proving)
	return true, true
}

// flushDue reports whether a sink is full, has held rows for long enough, or stands in the way.
func (m *Machine) flushDue(c int) bool {
	st, s := &m.states[c], &m.steps[c]
	h := &st.held
	switch {
	case h.rows == 0:
		return false
	case st.proving, st.breaker.open, h.rows >= s.HoldRows, h.bytes >= s.HoldBytes, !h.since.Add(s.HoldFor).After(m.now):
		return true
	}
	return !m.filling(c) && st.inFlight == 0 && (m.quiet(c) && m.dry(c) || s.Ordered && m.stuck(c))
}

// dry reports whether no more rows can come to a step before it has flushed.
func (m *Machine) dry(c int) bool {
	if m.limits.Brief || len(m.blocked) > 0 || m.replays >= m.limits.ReplayRows {
		return true
	}
	for i, s := range m.steps {
		if s.Kind == Source && m.above[c].has(i) && (m.credit[i].rows <= 0 || m.credit[i].bytes <= 0) {
			return true
		}
	}
	return false
}

// stuck reports whether every row that waits at an ordered step waits for one that it holds.
func (m *Machine) stuck(c int) bool {
	st := &m.states[c]
	for _, q := range [][]*item{st.fresh, st.replays, st.suspects} {
		if slices.ContainsFunc(q, func(it *item) bool { return m.first(c, it) }) {
			return false
		}
	}
	return len(st.fresh)+len(st.replays)+len(st.suspects) > 0
}
