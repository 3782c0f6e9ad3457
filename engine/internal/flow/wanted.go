package flow

import "slices"

// wanted does what an operator asked for. Who asks for another try is believed that the service may be back.
func (m *Machine) wanted(e Wanted) {
	if b := &m.states[e.Step].breaker; b.open && !b.half && !e.Drop {
		b.probe = m.now
	}
	s := &settlement{m: m, commit: Commit{Source: -1}}
	m.owed.each(e.Step, func(g *group) {
		if g.lot != nil || !g.live || g.Dead != e.Dead {
			return
		}
		if e.ID != 0 {
			if g = m.owed.single(g, e.ID); g == nil {
				return
			}
		}
		switch {
		case e.Drop:
			m.owed.leave(g, g.Rows)
			for _, row := range g.Rows {
				s.sinks = append(s.sinks, aboutKey{e.Step, g.h.ids[row]})
			}
			g.Rows = nil
			s.change(g.h)
		case e.Dead:
			m.owed.leave(g, g.Rows)
			g.Dead, g.Cause, g.Due = false, "", m.now
			m.owed.enter(g)
			m.owed.makeReady(g)
		default:
			m.owed.makeReady(g)
		}
	})
	if len(s.changed) == 0 {
		return
	}
	m.lastLot++
	l := m.newLot(m.lastLot, -1, 0, -1, nil)
	m.unshare(l)
	l.batches, l.done, s.commit.Lot = nil, true, l.id
	for _, h := range s.changed {
		s.write(h)
	}
	m.do(s.commit)
	for _, k := range s.sinks {
		m.owed.resolved(k.step, k.id)
	}
}

// single splits the row of an identity off a group; nil when the group does not hold it.
func (o *registry) single(g *group, id uint64) *group {
	i := slices.IndexFunc(g.Rows, func(r uint32) bool { return g.h.ids[r] == id })
	if i < 0 {
		return nil
	}
	if len(g.Rows) == 1 {
		return g
	}
	one := &group{Group: g.Group, h: g.h, live: g.live}
	one.Rows = []uint32{g.Rows[i]}
	g.Rows = slices.Delete(slices.Clone(g.Rows), i, i+1)
	g.h.groups = append(g.h.groups, one)
	return one
}
