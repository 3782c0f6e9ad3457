package flow

import (
	"slices"
	"time"
)

// CodeOrphan is the code of a retry that means: the record which this one updates is not there. Such an entry has the deadline of its row.
const CodeOrphan = "orphan"

// CodeNeedBytes is the code of a retry that means: a file of the row is not there, and its bytes are not here.
const CodeNeedBytes = "need_bytes"

// owing is a row that a lot leaves owed, or dead.
type owing struct {
	step, door int
	at         Ref // at the door
	last       Ref // at the step
	facts      Ref // where the facts about its files are
	root       int32
	id         uint64
	group      Group
	keep       bool
	bytes      bool   // there were bytes for the step, or are to be
	unit       unit   // the row at the step
	place      uint64 // in line, where order matters
}

// owe leaves a row owed by a step. Its unit is closed by the caller.
func (m *Machine) owe(step int, b *batch, row int32, r Run) {
	l, root, ref := b.lot, b.rootOf(row), Ref{b.id, row}
	rp, s := l.replay, &m.steps[step]
	again := rp != nil && step == rp.step
	here := m.needsBytes(step, ref)
	bytes := here || r.Code == CodeNeedBytes || r.Cause == CauseDisabled // nobody has asked for what a disabled step would take
	deadline := b.rows[row].Deadline
	o := owing{step: step, door: step, at: ref, last: ref, facts: ref, root: root, id: b.rows[row].ID, unit: unit{b, row}}
	if bytes {
		m.climb(&o, b, row)
	}
	o.bytes = bytes && (here || o.door != step) // who only misses them replaces nobody who will bring them
	if r.Code == CodeNeedBytes && !here && (rp != nil && rp.final || o.door == step && !m.coming(step, o.id, deadline)) {
		m.reject(step, b, row, r.Code, r.Detail) // who could bring them has been asked for the last time, or cannot be asked
		return
	}

	m.states[step].Stats.Owed++
	if m.awaited[step] && r.Cause != CauseDisabled {
		l.owed[aboutKey{step, o.id}] = true
	}
	g := Group{Cause: r.Cause, Code: r.Code, Since: m.now, Detail: r.Detail, About: r.about, AboutAt: r.aboutAt}
	if r.Down {
		g.Cause = CauseDown
	}
	g.Raised = r.Alarm || g.Cause != "" && !ours(g.Cause)
	lost := o.door == step && m.maker[step] >= 0 // a replay from behind the maker: it cannot be asked for the bytes again
	o.keep = here && (g.Cause != CauseDisabled || lost) && !(again && rp.kept) &&
		(o.door == step || s.Kind == Sink && !deadline.IsZero() && !m.now.Before(deadline.Add(-m.limits.Rescue)))

	// An entry of a replay stays as it is, unless this pass has brought something new: bytes to keep, or word from the maker of the files
	// that there are none. (A probe brings neither.)
	if rp != nil && m.above[rp.step].has(step) || again && !o.keep && (rp.kept || rp.door == step || bytes || b == rp.last) {
		m.stay(l, step, root, g, r)
		return
	}
	if again {
		g.Since, g.Tries = rp.group.Since, rp.group.Tries+1
	}
	raised := g.Raised && !(again && rp.group.Raised)
	g.Raised = g.Raised || again && rp.group.Raised
	state := StateOwed
	switch {
	case o.keep:
		o.door, o.at, g.Kept, state = step, ref, true, StateKept
		if g.Cause == CauseDisabled {
			g.Deadline = deadline // of being set up
		}
	case o.door != step:
		g.Deadline = deadline
	case g.Cause == CauseDisabled, r.Code == CodeOrphan:
		g.Deadline = deadline
	}
	if s.Kind == Sink && g.Cause != CauseDisabled {
		m.settleState(step, l, root, state)
	}
	g.Due = m.dueOf(l, g, o.door != step, r.After)
	o.group = g
	if raised {
		l.facts = append(l.facts, Fact{Step: step, Ref: ref, Code: r.Code, Cause: g.Cause, Alarm: r.Alarm})
	}
	m.leave(l, o)
}

// needsBytes reports whether a step, or one that its entry would carry, wants files of a row whose bytes are here.
func (m *Machine) needsBytes(step int, ref Ref) bool {
	return m.content.NeedsBytes(step, ref) || !m.steps[step].OnOwedPass &&
		slices.ContainsFunc(m.also[step], func(c int) bool { return m.content.NeedsBytes(c, ref) })
}

// coming reports whether the bytes that a step misses may come with another entry of the same record, from the maker.
func (m *Machine) coming(step int, id uint64, deadline time.Time) bool {
	maker := m.maker[step]
	return maker >= 0 && (m.now.Before(deadline) || m.owed.has(maker, id))
}

func (m *Machine) leave(l *lot, o owing) {
	if k := o.lineKey(m); k.id != 0 {
		m.pending[k]++
	}
	if o.keep {
		if l.keeps == nil {
			l.keeps = map[int32]bool{}
		}
		l.keeps[o.root] = true
	}
	l.owe = append(l.owe, o)
}

// lineKey is the line that an owed row is about to hold back, if it does.
func (o *owing) lineKey(m *Machine) aboutKey {
	if !m.keyed[o.step] || o.group.Dead || o.group.Revisit {
		return aboutKey{}
	}
	return aboutKey{o.step, o.unit.key()}
}

// stay leaves the entry that a replay works on as it is, but for what it waits for now.
func (m *Machine) stay(l *lot, step int, root int32, g Group, r Run) {
	rp := l.replay
	s := m.later(l, rp.group.Group, r.After)
	s.Code, s.Detail = g.Code, g.Detail
	if r.Code == CodeOrphan {
		s.Deadline = l.first.rows[root].Deadline
	}
	if step == rp.step && g.Cause != "" { // trouble on the way to it has causes of its own: such a row waits for its time
		s.Cause, s.About, s.AboutAt = g.Cause, g.About, g.AboutAt
		s.Due = m.dueOf(l, s, s.Door != rp.step, 0)
		if s.Cause == CauseOrder {
			s.Tries = rp.group.Tries // it was not tried
		}
	}
	s.Raised = rp.group.Raised || g.Raised
	if g.Raised && !rp.group.Raised {
		l.facts = append(l.facts, Fact{Step: step, Ref: Ref{l.first.id, root}, Code: r.Code, Cause: g.Cause, Alarm: r.Alarm})
	}
	if m.awaited[rp.step] {
		l.owed[aboutKey{rp.step, l.first.rows[root].ID}] = true
		m.settleState(rp.step, l, root, StateOwed)
	}
	rp.stays[root] = s
}

// dueOf is when a group must be looked at: time-bound ones after their back-off, those that wait for a cause only for rescue and deadline.
func (m *Machine) dueOf(l *lot, g Group, bytes bool, after time.Duration) time.Time {
	switch {
	case g.Cause == "":
		if after == 0 {
			after = l.backoff(g.Tries + 1)
		}
		return m.before(g, m.now.Add(after))
	case g.Deadline.IsZero():
		return time.Time{}
	case !m.now.Before(g.Deadline): // the cause came in the way of the last try
		return m.now.Add(l.backoff(g.Tries + 1))
	case bytes && g.Cause != CauseDisabled:
		return m.before(g, g.Deadline)
	}
	return g.Deadline
}

// later is a group after another vain try: it waits for its time.
func (m *Machine) later(l *lot, g Group, after time.Duration) Group {
	g.Rows, g.Cause, g.About, g.AboutAt = nil, "", 0, 0
	g.Tries++
	if after == 0 {
		after = l.backoff(g.Tries + 1)
	}
	g.Due = m.before(g, m.now.Add(after))
	return g
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

// backoff of owed entries: from a minute to an hour, spread by lot, so that what failed together stays together but apart from others.
func (l *lot) backoff(tries int) time.Duration {
	steps := [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}
	return time.Duration(float64(steps[min(max(tries, 1), len(steps))-1]) * l.spread)
}

// climb moves the door of an owed row up to the maker of its files, if the lot has seen the row there.
func (m *Machine) climb(o *owing, b *batch, row int32) {
	door := m.maker[o.step]
	if door < 0 {
		return
	}
	for b.from != nil && !slices.Contains(m.steps[door].Inputs, b.producer) {
		b, row = b.from, b.fromRow[row]
	}
	rp := b.lot.replay
	if slices.Contains(m.steps[door].Inputs, b.producer) || rp != nil && b == b.lot.first && rp.door == door {
		o.door, o.at = door, Ref{b.id, row}
	}
}

// revisit plans the second time that a transform asked for.
func (m *Machine) revisit(step int, b *batch, rows []int32, out *batch, outRows []int32, r Run) {
	l := b.lot
	tries := 0
	if l.replay != nil {
		tries = l.replay.attempt
	}
	for _, row := range rows {
		if l.replay.passing(m, step) && m.owed.has(step, b.rows[row].ID) {
			continue // it has its plan
		}
		o := owing{step: step, door: step, at: Ref{b.id, row}, last: Ref{b.id, row}, root: b.rootOf(row), id: b.rows[row].ID, bytes: true,
			unit: unit{b, row}}
		o.facts = o.at
		for _, i := range outRows {
			if out.fromRow[i] == row {
				o.facts = Ref{out.id, i}
				break
			}
		}
		if !m.steps[step].MakesFiles && m.content.NeedsBytes(step, o.last) {
			m.climb(&o, b, row)
		}
		o.group = Group{Revisit: true, Code: r.Code, Since: m.now, Deadline: r.Due, Tries: tries}
		if o.group.Deadline.IsZero() {
			o.group.Deadline = b.rows[row].Deadline
		}
		after := r.After
		if after == 0 {
			after = l.backoff(tries + 1)
		}
		o.group.Due = m.before(o.group, m.now.Add(after))
		m.leave(l, o)
	}
}

// reject makes a row a dead letter of a step.
func (m *Machine) reject(step int, b *batch, row int32, code, detail string) {
	l, root, ref := b.lot, b.rootOf(row), Ref{b.id, row}
	m.states[step].Stats.Rejected++
	m.settleState(step, l, root, StateRejected)
	l.facts = append(l.facts, Fact{Step: step, Ref: ref, Code: code, Dead: true})
	if rp := l.replay; rp != nil && (step == rp.step || m.above[rp.step].has(step)) {
		if s, ok := rp.stays[root]; ok && !s.Dead {
			return // another row of the same root is to come again, and this one with it
		}
		d := rp.group.Group
		d.Rows, d.Dead, d.Raised, d.Code, d.Detail, d.Cause, d.Due = nil, true, true, code, detail, "", time.Time{}
		rp.stays[root] = d
		return
	}
	o := owing{step: step, door: step, at: ref, last: ref, facts: ref, root: root, id: b.rows[row].ID, unit: unit{b, row}}
	o.group = Group{Dead: true, Code: code, Detail: detail, Since: m.now, Raised: true}
	if o.bytes = m.needsBytes(step, ref); o.bytes {
		m.climb(&o, b, row)
	}
	m.leave(l, o)
}

// delivered notes that a row has left a step for good: an older entry of its identity there is settled with it.
func (m *Machine) delivered(step int, l *lot, b *batch, row int32) {
	if rp := l.replay; rp != nil && step == rp.step {
		if rp.group.Raised {
			l.facts = append(l.facts, Fact{Step: step, Ref: Ref{b.id, row}, Code: rp.group.Code, Cause: rp.group.Cause, Recovered: true})
		}
		return
	}
	if l.replay.passing(m, step) {
		return // on its way to the owed step only: what this one owes stays
	}
	if id := b.rows[row].ID; m.owed.has(step, id) {
		ref := Ref{b.id, row}
		l.gone = append(l.gone, gone{aboutKey{step, id}, ref, m.needsBytes(step, ref)})
	}
}
