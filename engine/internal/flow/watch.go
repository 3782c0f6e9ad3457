package flow

import "time"

// Busy reports whether anything is under way or can start now. What waits for a time or a cause is not.
func (m *Machine) Busy() bool {
	if len(m.lots) > 0 || len(m.blocked) > 0 {
		return true
	}
	for c := range m.owed.steps {
		for _, g := range m.owed.steps[c].ready {
			if g.live && !m.closed(g) {
				return true
			}
		}
	}
	return false
}

// Drained reports whether a source has no more for now.
func (m *Machine) Drained(source int) bool { return m.drained[source] }

// NextDue is when the next owed entry falls due; zero = none waits for a time.
func (m *Machine) NextDue() time.Time { return m.owed.nextDue() }

// Watch is a look at one step.
type Watch struct {
	Stats
	Owed, Dead  int // rows in the state
	Units       int // rows under way
	Calls       int // calls in flight
	Held        int // rows that the sink holds until its next flush
	BreakerOpen bool
	BreakerCode string
}

// Watch looks at a step.
func (m *Machine) Watch(step int) Watch {
	st, o := &m.states[step], &m.owed.steps[step]
	return Watch{Stats: st.Stats, Owed: o.rows, Dead: o.dead, Units: st.units, Calls: st.inFlight, Held: st.held.rows,
		BreakerOpen: st.breaker.open, BreakerCode: st.breaker.code}
}

// Holdings is what a step owes, for listing.
func (m *Machine) Holdings(step int) []Holding {
	var list []Holding
	var last *holding
	m.owed.each(step, func(g *group) {
		if g.h != last {
			last = g.h
			list = append(list, Holding{Step: step, Parcel: g.h.parcel, IDs: g.h.ids})
		}
		h := &list[len(list)-1]
		h.Groups = append(h.Groups, g.Group)
	})
	return list
}
