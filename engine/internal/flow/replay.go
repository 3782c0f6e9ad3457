package flow

import "slices"

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
	over    []uint32        // rows that a later pass has settled meanwhile: they do not stay
}

// chained reports whether step c runs in this replay only because it is chained to the owed sink.
func (r *replay) chained(m *Machine, c int) bool { return slices.Contains(m.also[r.step], c) }

// passing reports whether rows only pass a step on their way to the owed one. Such a pass is for the owed step alone: it asks the makers of
// files for what that step wants, and what the steps on the way owe of the record, for all who stand behind them, stays owed.
func (r *replay) passing(m *Machine, step int) bool { return r != nil && m.above[r.step].has(step) }

// replay starts what is ready, while there is room.
func (m *Machine) replay() {
	m.owed.fallDue()
	for c := range m.steps {
		s := &m.owed.steps[c]
		queue := s.ready
		s.ready = nil
		var later []*group
		i := 0
		for ; i < len(queue) && m.replays < m.limits.ReplayRows; i++ {
			switch g := queue[i]; {
			case g.lot != nil || g.Dead || len(g.Rows) == 0:
				g.ready = false
			case !g.live:
				later = append(later, g)
			case m.closed(g):
				g.ready, g.missed = false, true // the breaker's next probe, or its closing, makes it ready again
			case !m.startReplay(g):
				later = append(later, g)
			}
		}
		// What stays goes back in its place, before what has not been looked at: after an outage a hundred thousand groups may stand here,
		// and this runs with every event.
		i -= copy(queue[i-len(later):i], later)
		clear(queue[:i]) // the array lives on
		s.ready = append(queue[i:], s.ready...)
	}
}

// startReplay takes rows of a group on their way. It reports false when none can go now because another lot works on the same records.
func (m *Machine) startReplay(g *group) bool {
	if !m.owed.inOrder(g) {
		return true
	}
	var rows []uint32
	limit := min(m.steps[g.h.step].MaxRows, m.limits.ReplayRows)
	for _, row := range g.Rows {
		if len(rows) < limit && m.inFlight[g.h.ids[row]] == nil {
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		return false
	}
	if len(rows) < len(g.Rows) { // what stays behind is a group of its own, ready as before
		m.owed.split(g, slices.DeleteFunc(slices.Clone(g.Rows), func(r uint32) bool { return slices.Contains(rows, r) }))
	}
	g.ready = false
	r := &replay{step: g.h.step, door: g.Door, group: g, rows: rows, attempt: g.Tries + 1, stays: map[int32]Group{}, kept: g.Kept,
		final: !g.Deadline.IsZero() && !m.now.Before(g.Deadline), keep: m.rescues(g), allow: m.paths(g.Door, g.h.step)}
	l := m.newLot(-1, len(rows))
	l.replay, g.lot = r, l
	l.first = &batch{lot: l, producer: -1, rows: make([]Row, len(rows))}
	m.replays += len(rows)
	for i, row := range rows {
		l.first.rows[i].ID = g.h.ids[row]
		m.inFlight[g.h.ids[row]] = &place{l, int32(i)}
	}
	if b := &m.states[r.step].breaker; b.half && b.prober == 0 {
		b.prober = l.id
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
			r.stays[int32(i)] = m.later(l, r.group.Group, 0)
		}
		m.unhold(l)
		return
	}
	for i, row := range l.first.rows { // the identity is that of the owed row
		e.Rows[i].ID = row.ID
	}
	l.first.id, l.first.rows = e.At, e.Rows
	m.share(e.At, l)
	if e.Last != 0 {
		for i := range e.LastRows {
			key := e.LastRows[i].Key // it may have been set on the way
			e.LastRows[i] = e.Rows[i]
			e.LastRows[i].Key = key
		}
		r.last = m.newBatch(e.Last, l, -1, e.LastRows)
		r.last.from, r.last.fromRow = l.first, l.first.all()
	}
	m.receipts(l, e.Receipts)
	switch {
	case m.steps[r.step].Disabled: // nobody has set it up in time: it has passed
	case r.probes(m):
		m.open(r.step, r.last, r.last.all())
		m.push(r.step, &item{b: r.last, n: int32(len(r.rows)), since: m.now, attempt: r.attempt, probe: true})
	default:
		m.enter(l, l.first.all())
	}
	m.unhold(l)
}

// probes reports whether the sink is asked first what it has already. That brings no bytes to the steps which its entry carries.
func (r *replay) probes(m *Machine) bool {
	s := &m.steps[r.step]
	return s.Probes && r.last != nil && r.door != r.step && !r.final && !r.keep && (s.OnOwedPass || len(m.also[r.step]) == 0)
}

// receipts takes what sinks said of the rows of a replay in earlier passes. Those that it runs again will say it anew; what another one
// owed then and does not now, it has delivered. So has one that was set up since, as long as files may come.
func (m *Machine) receipts(l *lot, said map[int][]State) {
	for sink, is := range m.awaited {
		if !is || said[sink] == nil || l.replay.allow.has(sink) {
			continue
		}
		copy(l.state[sink], said[sink])
		for root, s := range said[sink] {
			row := &l.first.rows[root]
			set := s == StateDisabled && !m.steps[sink].Disabled && m.steps[sink].FilesOnly && row.Deadline.After(m.now)
			if (s >= StateKept || set) && !m.owed.owes(sink, row.ID) {
				l.state[sink][root] = StateDelivered
				m.content.Announce(Receipt{Lot: l.id, Root: int32(root), Sink: sink, State: StateDelivered})
			}
		}
	}
}

func (b *batch) all() []int32 {
	rows := make([]int32, len(b.rows))
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}

// enter offers rows of a replay to the door. At a sink's own door stand the steps that are chained to it, too.
func (m *Machine) enter(l *lot, rows []int32) {
	r := l.replay
	door := []int{r.door}
	if r.door == r.step {
		door = append(door, m.also[r.step]...)
	}
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
			m.offer(p.b, rows, []int{also}, true)
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
