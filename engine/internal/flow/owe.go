package flow

import (
	"slices"
	"time"
)

// CodeOrphan is the code of a retry that means: the record which this one updates is not there. Such an entry has the deadline of its row.
const CodeOrphan = "orphan"

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
}

// owe leaves a row owed by a step. Its unit is closed by the caller.
func (m *Machine) owe(step int, b *batch, row int32, r Run) {
	l, root, ref := b.lot, b.rootOf(row), Ref{b.id, row}
	m.states[step].Stats.Owed++
	g := Group{Cause: r.Cause, Code: r.Code, Since: m.now, Detail: r.Detail, About: r.about, AboutAt: r.aboutAt}
	if r.Down {
		g.Cause = CauseDown
	}
	g.Raised = r.Alarm || g.Cause != "" && g.Cause != CauseDown && g.Cause != CauseDisabled && g.Cause != CauseAbout
	deadline := b.rows[row].Deadline
	bytes := m.content.NeedsBytes(step, ref)
	keep := bytes && m.steps[step].Kind == Sink && !deadline.IsZero() && !m.now.Before(deadline.Add(-m.limits.Rescue))

	if rp := l.replay; rp != nil && !keep && (step == rp.step || m.above[rp.step].has(step)) {
		m.stay(l, step, root, g, r)
		return
	}
	o := owing{step: step, door: step, at: ref, last: ref, facts: ref, root: root, id: b.rows[row].ID, group: g, keep: keep}
	switch {
	case keep:
		o.group.Kept = true
		if l.keeps == nil {
			l.keeps = map[int32]bool{}
		}
		l.keeps[root] = true
		m.settleState(step, l, root, StateKept)
	case bytes && m.maker[step] >= 0:
		o.door = m.maker[step]
		o.at = m.climb(b, row, o.door)
		o.group.Deadline = deadline
	case g.Cause == CauseDisabled, r.Code == CodeOrphan:
		o.group.Deadline = deadline
	}
	if !keep && m.steps[step].Kind == Sink && g.Cause != CauseDisabled {
		m.settleState(step, l, root, StateOwed)
	}
	o.group.Due = m.dueOf(o.group, o.door != step, r.After)
	if g.Raised {
		l.facts = append(l.facts, Fact{Step: step, Ref: ref, Code: r.Code, Cause: g.Cause, Alarm: r.Alarm})
	}
	l.owe = append(l.owe, o)
}

// stay leaves the entry that a replay works on as it is, but for what it waits for now.
func (m *Machine) stay(l *lot, step int, root int32, g Group, r Run) {
	rp := l.replay
	s := m.later(rp.group.Group, r.After)
	s.Rows, s.Code, s.Detail = nil, g.Code, g.Detail
	if r.Code == CodeOrphan && s.Deadline.IsZero() {
		s.Deadline = l.first.rows[root].Deadline
		s.Due = m.before(s, s.Due)
	}
	if step == rp.step && g.Cause != "" {
		s.Cause, s.About, s.AboutAt = g.Cause, g.About, g.AboutAt
	}
	if s.Cause != "" {
		s.Due = m.dueOf(s, s.Door != rp.step, 0)
	}
	s.Raised = rp.group.Raised || g.Raised
	if g.Raised && !rp.group.Raised {
		l.facts = append(l.facts, Fact{Step: step, Ref: Ref{l.first.id, root}, Code: r.Code, Cause: g.Cause, Alarm: r.Alarm})
	}
	if m.steps[rp.step].Kind == Sink && step == rp.step {
		m.settleState(step, l, root, StateOwed)
	}
	rp.stays[root] = s
}

// dueOf is when a group must be looked at: time-bound ones after their back-off, those that wait for a cause only for rescue and deadline.
func (m *Machine) dueOf(g Group, bytes bool, after time.Duration) time.Time {
	if g.Cause == "" {
		if after == 0 {
			after = m.backoff(1)
		}
		return m.before(g, m.now.Add(after))
	}
	switch {
	case g.Deadline.IsZero():
		return time.Time{}
	case bytes && g.Cause != CauseDisabled:
		return m.before(g, g.Deadline)
	}
	return g.Deadline
}

// climb finds the row of a batch as it stood at the door of a step before.
func (m *Machine) climb(b *batch, row int32, door int) Ref {
	for b.from != nil && !slices.Contains(m.steps[door].Inputs, b.producer) {
		b, row = b.from, b.fromRow[row]
	}
	return Ref{b.id, row}
}

// revisit plans the second time that a transform asked for.
func (m *Machine) revisit(step int, b *batch, rows []int32, out *batch, outRows []int32, r Run) {
	l := b.lot
	tries := 0
	if l.replay != nil {
		tries = l.replay.attempt
	}
	for _, row := range rows {
		o := owing{step: step, door: step, at: Ref{b.id, row}, last: Ref{b.id, row}, root: b.rootOf(row), id: b.rows[row].ID}
		o.facts = o.at
		for _, i := range outRows {
			if out.fromRow[i] == row {
				o.facts = Ref{out.id, i}
				break
			}
		}
		if !m.steps[step].MakesFiles && m.maker[step] >= 0 && m.content.NeedsBytes(step, o.last) {
			o.door = m.maker[step]
			o.at = m.climb(b, row, o.door)
		}
		o.group = Group{Revisit: true, Code: r.Code, Since: m.now, Deadline: r.Due, Tries: tries}
		if o.group.Deadline.IsZero() {
			o.group.Deadline = b.rows[row].Deadline
		}
		after := r.After
		if after == 0 {
			after = m.backoff(tries + 1)
		}
		o.group.Due = m.before(o.group, m.now.Add(after))
		l.owe = append(l.owe, o)
	}
}

// reject makes a row a dead letter of a step.
func (m *Machine) reject(step int, b *batch, row int32, code, detail string) {
	l, root, ref := b.lot, b.rootOf(row), Ref{b.id, row}
	m.settleState(step, l, root, StateRejected)
	l.facts = append(l.facts, Fact{Step: step, Ref: ref, Code: code, Dead: true})
	g := Group{Dead: true, Code: code, Detail: detail, Since: m.now, Raised: true}
	if rp := l.replay; rp != nil && (step == rp.step || m.above[rp.step].has(step)) {
		d := rp.group.Group
		d.Rows, d.Dead, d.Raised, d.Code, d.Detail, d.Cause, d.Due = nil, true, true, code, detail, "", time.Time{}
		rp.stays[root] = d
		return
	}
	o := owing{step: step, door: step, at: ref, last: ref, facts: ref, root: root, id: b.rows[row].ID, group: g}
	if m.maker[step] >= 0 && m.content.NeedsBytes(step, ref) {
		o.door = m.maker[step]
		o.at = m.climb(b, row, o.door)
	}
	l.owe = append(l.owe, o)
}

// delivered notes that a row has left a step for good: an older entry of its identity there is settled with it.
func (m *Machine) delivered(step int, l *lot, b *batch, row int32) {
	if rp := l.replay; rp != nil && step == rp.step {
		if rp.group.Raised {
			l.facts = append(l.facts, Fact{Step: step, Ref: Ref{b.id, row}, Code: rp.group.Code, Cause: rp.group.Cause, Recovered: true})
		}
		return
	}
	if s := &m.owed.steps[step]; len(s.byID) > 0 {
		if id := b.rows[row].ID; m.owed.has(step, id) {
			l.gone, l.at = append(l.gone, id), append(l.at, step)
		}
	}
}
