package flow

import "slices"

// wanted does what an operator asked for, durably. What a lot works on, or has yet to write, is left to it. Who asks for another try is
// believed that the service may be back.
func (m *Machine) wanted(e Wanted) {
	if b := &m.states[e.Step].breaker; b.open && !b.half && !e.Drop {
		b.probe = m.now
	}
	s := &settlement{m: m, commit: Commit{Source: -1}}
	m.owed.each(e.Step, func(g *group) {
		if !g.live || g.lot != nil || g.Dead != e.Dead || len(g.Rows) == 0 {
			return
		}
		if e.ID != 0 {
			i := slices.IndexFunc(g.Rows, func(r uint32) bool { return g.h.ids[r] == e.ID })
			if i < 0 {
				return
			}
			g = m.owed.split(g, []uint32{g.Rows[i]})
		}
		s.change(g.h)
		m.owed.leave(g, g.Rows)
		if e.Drop {
			for _, row := range g.Rows {
				s.sinks = append(s.sinks, aboutKey{e.Step, g.h.ids[row]})
			}
			g.Rows = nil
			return
		}
		if !m.steps[e.Step].Disabled { // that one goes on waiting for its cause
			m.owed.unawait(g)
			g.Cause, g.About, g.AboutAt = "", 0, 0
			g.Due = m.now
		}
		g.Dead = false
		m.owed.enter(g)
		m.owed.makeReady(g)
	})
	if len(s.changed) == 0 {
		return
	}
	l := m.newLot(-1, 0)
	l.first, l.done, s.commit.Lot = &batch{lot: l}, true, l.id
	m.outlived(l, s.sinks)
	s.commit.Marks = m.unmarked(l)
	s.end()
}
