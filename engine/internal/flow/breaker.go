package flow

import "time"

// breaker of a step: open while its service is down.
type breaker struct {
	open, half bool // half: one call may try
	code       string
	alarm      bool
	probe      time.Time     // when it opens halfway
	wait       time.Duration // until the next probe
	after      time.Time     // the service does not want to be asked before
	prober     uint64        // replay that is on its way to try
}

// serviceDown opens the breaker of a step because of what it answered. What waits in its queue is owed.
func (m *Machine) serviceDown(c int, r Run) {
	b := &m.states[c].breaker
	if until := m.now.Add(r.After); r.After > 0 && until.After(b.after) {
		b.after = until
	}
	switch {
	case !b.open:
		*b = breaker{open: true, wait: m.limits.ProbeAfter, after: b.after}
		m.do(Breaker{Step: c, Open: true, Code: r.Code, Alarm: r.Alarm})
	case b.half:
		b.wait = min(2*b.wait, m.limits.ProbeAtMost)
	default: // other calls of the same outage
		m.heed(b)
		return
	}
	b.code, b.alarm = r.Code, r.Alarm
	m.shut(b)
	st := &m.states[c]
	queued := append(append(st.fresh, st.replays...), st.suspects...)
	st.fresh, st.replays, st.suspects = nil, nil, nil
	for _, it := range queued {
		l := it.b.lot
		l.units++
		m.owedDown(c, it)
		m.unhold(l)
	}
}

// shut closes the half-open breaker until its next probe.
func (m *Machine) shut(b *breaker) {
	b.half, b.prober = false, 0
	b.probe = m.now.Add(m.jitter(b.wait))
	m.heed(b)
}

// heed puts the next probe off until the service wants to be asked again, and a little further, so that not all who were told the same
// come at the same moment.
func (m *Machine) heed(b *breaker) {
	if b.probe.Before(b.after) {
		b.probe = b.after.Add(time.Duration(m.rng.Int64N(int64(m.limits.ProbeAfter))))
	}
}

// serviceUp closes the breaker of a step: it has answered.
func (m *Machine) serviceUp(c int) {
	b := &m.states[c].breaker
	if !b.open {
		return
	}
	*b = breaker{}
	m.do(Breaker{Step: c})
	m.owed.up(c)
}

// breakers opens halfway what is due, and finds somebody to try where no row is on its way.
func (m *Machine) breakers() {
	for c := range m.states {
		b := &m.states[c].breaker
		if b.open && !b.half && !b.probe.After(m.horizon()) {
			b.half = true
		}
		if b.half && b.prober == 0 && m.quiet(c) {
			m.owed.probe(c)
		}
	}
}

// horizon is up to when things fall due: now, unless the machine's time is over.
func (m *Machine) horizon() time.Time {
	if u := m.limits.Until; !u.IsZero() && u.Before(m.now) {
		return u
	}
	return m.now
}

// quiet reports whether nothing is called at a step or waits for it.
func (m *Machine) quiet(c int) bool {
	st := &m.states[c]
	return st.inFlight+st.marking == 0 && len(st.fresh)+len(st.replays)+len(st.suspects) == 0
}

// unproved ends the replay that was on its way to try a service. If it has not come so far, the next one waits its time.
func (m *Machine) unproved(l *lot) {
	if l.replay == nil {
		return
	}
	c := l.replay.step
	if b := &m.states[c].breaker; b.prober == l.id {
		b.prober = 0
		if m.quiet(c) {
			m.shut(b)
		}
	}
}

// closed reports whether it makes no sense to replay a group now: its step is disabled, or the breaker of its step is open and nothing
// else is to be done.
func (m *Machine) closed(g *group) bool {
	c := g.h.step
	if m.steps[c].Disabled {
		return g.Cause != CauseDisabled || m.now.Before(g.Deadline) // past it, nobody has set the step up in time
	}
	b := &m.states[c].breaker
	return b.open && !(b.half && b.prober == 0 && m.quiet(c)) && !m.rescues(g)
}

// rescues reports whether a group's files have to be fetched now though nobody takes them.
func (m *Machine) rescues(g *group) bool {
	return g.Door != g.h.step && !g.Kept && !g.Deadline.IsZero() && m.steps[g.h.step].Kind == Sink &&
		!m.now.Before(g.Deadline.Add(-m.limits.Rescue))
}
