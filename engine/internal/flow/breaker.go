package flow

import "time"

// breaker of a step: open while its service is down.
type breaker struct {
	open, half bool // half: one call may try
	code       string
	alarm      bool
	probe      time.Time     // when it opens halfway
	wait       time.Duration // until the next probe
}

// serviceDown opens the breaker of a step. What waits in its queue is owed.
func (m *Machine) serviceDown(c int, code string, alarm bool) {
	b := &m.states[c].breaker
	switch {
	case !b.open:
		*b = breaker{open: true, wait: m.limits.ProbeAfter}
		m.do(Breaker{Step: c, Open: true, Code: code, Alarm: alarm})
	case b.half:
		b.wait = min(2*b.wait, m.limits.ProbeAtMost)
	default:
		return // other calls of the same outage
	}
	b.half, b.code, b.alarm = false, code, alarm
	b.probe = m.now.Add(m.jitter(b.wait))
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

// breakers opens halfway what is due.
func (m *Machine) breakers() {
	for c := range m.states {
		b := &m.states[c].breaker
		if b.open && !b.half && !b.probe.After(m.horizon()) {
			b.half = true
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
