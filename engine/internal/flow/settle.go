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
	before := rp.group.Group
	if r.Code == CodeOrphan && before.Deadline.IsZero() {
		before.Deadline = l.first.rows[root].Deadline
	}
	s := m.later(before, r.After)
	s.Rows, s.Code, s.Detail = nil, g.Code, g.Detail
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

// finish settles a lot that has no unit left; fresh lots in read order.
func (m *Machine) finish(l *lot) {
	if l.source < 0 {
		m.settle(l)
		return
	}
	queue := m.order[l.source]
	for len(queue) > 0 && queue[0].done {
		m.settle(queue[0])
		queue = queue[1:]
	}
	m.order[l.source] = queue
}

// settlement gathers the one commit of a lot.
type settlement struct {
	m       *Machine
	commit  Commit
	changed []*holding
	sinks   []aboutKey // entries that have left a sink
}

// settle decides what becomes of a lot and asks for its commit.
func (m *Machine) settle(l *lot) {
	s := &settlement{m: m, commit: Commit{Lot: l.id, Source: -1, Facts: l.facts}}
	if l.source >= 0 {
		s.commit.Source, s.commit.Batch = l.source, l.first.id
	}
	for i, id := range l.gone {
		s.supersede(l.at[i], id, l)
	}
	if l.replay != nil {
		s.worked(l)
	}
	s.store(l)
	for _, h := range s.changed {
		s.write(h)
	}
	m.do(s.commit)
	for _, k := range s.sinks {
		if !m.owed.has(k.step, k.id) {
			m.owed.resolved(k.step, k.id)
		}
	}
}

func (s *settlement) change(h *holding) {
	if !slices.Contains(s.changed, h) {
		s.changed = append(s.changed, h)
	}
}

// supersede removes the older entry of an identity at a step, unless another lot works on it: then that lot's end decides.
func (s *settlement) supersede(step int, id uint64, l *lot) {
	o := &s.m.owed
	e, ok := o.steps[step].byID[id]
	if !ok {
		return
	}
	for _, g := range e.h.groups {
		if !slices.Contains(g.Rows, e.row) {
			continue
		}
		if g.lot != nil {
			return
		}
		o.leave(g, []uint32{e.row})
		g.Rows = slices.DeleteFunc(slices.Clone(g.Rows), func(r uint32) bool { return r == e.row })
		s.change(e.h)
		s.sinks = append(s.sinks, aboutKey{step, id})
		return
	}
}

// worked takes the rows of a replay out of their group; those that stay owed go back under what they wait for now.
func (s *settlement) worked(l *lot) {
	r, o := l.replay, &s.m.owed
	g, h := r.group, r.group.h
	o.leave(g, g.Rows)
	for i, row := range r.rows {
		if _, stays := r.stays[int32(i)]; !stays && s.m.steps[r.step].Kind == Sink {
			s.sinks = append(s.sinks, aboutKey{r.step, h.ids[row]})
		}
	}
	g.Rows = nil
	h.groups = slices.DeleteFunc(h.groups, func(x *group) bool { return x == g })
	for i := range r.rows {
		if st, ok := r.stays[int32(i)]; ok {
			st.Rows = []uint32{r.rows[i]}
			ng := h.join(st)
			if ng == nil {
				ng = &group{Group: st, h: h}
				h.groups = append(h.groups, ng)
				l.born = append(l.born, ng)
				o.enter(ng)
			} else {
				o.joined(ng, r.rows[i])
			}
		}
	}
	s.change(h)
}

// join adds the rows of g to an equal group of the holding that no lot works on, if there is one.
func (h *holding) join(g Group) *group {
	for _, x := range h.groups {
		if x.lot == nil && !x.ready && x.same(&g) {
			x.Rows = append(x.Rows, g.Rows...)
			return x
		}
	}
	return nil
}

func (g *Group) same(o *Group) bool {
	a, b := *g, *o
	return a.Dead == b.Dead && a.Door == b.Door && a.Cause == b.Cause && a.Code == b.Code && a.About == b.About && a.AboutAt == b.AboutAt &&
		a.Due.Equal(b.Due) && a.Deadline.Equal(b.Deadline) && a.Tries == b.Tries && a.Kept == b.Kept && a.Revisit == b.Revisit &&
		a.Raised == b.Raised && a.Detail == b.Detail
}

// joined registers a row that was added to a group.
func (o *registry) joined(g *group, row uint32) {
	s := &o.steps[g.h.step]
	if g.Dead {
		s.dead++
		return
	}
	s.rows++
	s.byID[g.h.ids[row]] = entry{g.h, row}
}

type parcelKey struct {
	door int
	keep bool
}

// store writes the rows that the lot leaves owed into parcels, one for each door, and registers what is owed of them.
func (s *settlement) store(l *lot) {
	type stored struct {
		Parcel
		ids  []uint64
		rows map[[3]Ref]uint32
	}
	parcels := map[parcelKey]*stored{}
	var order []*stored
	row := make([]uint32, len(l.owe)) // in its parcel
	in := make([]*stored, len(l.owe))
	for i, w := range l.owe {
		k := parcelKey{w.door, w.keep}
		p := parcels[k]
		if p == nil {
			s.m.lastParcel++
			p = &stored{Parcel: Parcel{ID: s.m.lastParcel, Lot: l.id, Door: w.door, Keep: w.keep}, rows: map[[3]Ref]uint32{}}
			parcels[k] = p
			order = append(order, p)
		}
		key := [3]Ref{w.at, w.last, w.facts}
		r, ok := p.rows[key]
		if !ok {
			r = uint32(len(p.Rows))
			p.rows[key] = r
			p.Rows, p.Roots, p.ids = append(p.Rows, w.at), append(p.Roots, w.root), append(p.ids, w.id)
			p.Last, p.Facts = append(p.Last, w.last), append(p.Facts, w.facts)
		}
		in[i], row[i] = p, r
	}
	for i, w := range l.owe {
		if !w.group.Dead {
			s.supersede(w.step, w.id, l)
		}
		p := in[i]
		w.group.Door, w.group.Rows = w.door, []uint32{row[i]}
		if h := s.m.owed.steps[w.step].holdings[p.ID]; h != nil {
			if g := h.join(w.group); g != nil {
				s.m.owed.joined(g, row[i])
				continue
			}
		}
		g := s.m.owed.add(w.step, p.ID, p.ids, w.group)
		l.born = append(l.born, g)
		s.change(g.h)
	}
	for _, p := range order {
		p.trim()
		s.commit.Parcels = append(s.commit.Parcels, p.Parcel)
	}
}

// trim drops what says nothing.
func (p *Parcel) trim() {
	if slices.Equal(p.Last, p.Rows) {
		p.Last = nil
	}
	if slices.Equal(p.Facts, p.Rows) {
		p.Facts = nil
	}
}

// write adds the whole new value of a holding to the commit.
func (s *settlement) write(h *holding) {
	o := &s.m.owed
	v := Holding{Step: h.step, Parcel: h.parcel, IDs: h.ids}
	h.groups = slices.DeleteFunc(h.groups, func(g *group) bool { return len(g.Rows) == 0 })
	for _, g := range h.groups {
		c := g.Group
		c.Rows = slices.Clone(c.Rows)
		slices.Sort(c.Rows)
		v.Groups = append(v.Groups, c)
	}
	s.commit.Owing = append(s.commit.Owing, v)
	if len(h.groups) == 0 {
		delete(o.steps[h.step].holdings, h.parcel)
		if o.parcels[h.parcel]--; o.parcels[h.parcel] == 0 {
			delete(o.parcels, h.parcel)
			s.commit.Drop = append(s.commit.Drop, h.parcel)
		}
	}
}

// committed lets go of a lot: what it left owed may be replayed, its source may go on.
func (m *Machine) committed(id uint64) {
	l := m.lots[id]
	delete(m.lots, id)
	var bytes int64
	for _, r := range l.first.rows {
		bytes += int64(r.Size)
		if p := m.inFlight[r.ID]; p != nil && p.lot == l {
			delete(m.inFlight, r.ID)
		}
	}
	m.do(Forget{Lot: id, Batches: m.unshare(l)})
	if l.source >= 0 {
		m.do(Grant{Source: l.source, Rows: len(l.first.rows), Bytes: bytes})
	}
	if l.replay != nil {
		m.replays -= len(l.replay.rows)
	}
	for _, g := range l.born {
		g.live = true
		switch b := &m.states[g.h.step].breaker; {
		case g.Cause == CauseDown && !b.open, g.Cause == CauseAbout && !m.owed.has(g.AboutAt, g.About) && !m.aboutInFlight(g):
			m.owed.makeReady(g)
		case g.Cause == CauseDown && b.half:
			m.owed.probe(g.h.step)
		}
	}
	blocked := m.blocked
	m.blocked = nil
	for _, b := range blocked {
		if m.conflict(b) {
			m.blocked = append(m.blocked, b)
		} else {
			m.begin(b)
		}
	}
}

// aboutInFlight reports whether the record that a group waits for is still under way; its lot's end will look again.
func (m *Machine) aboutInFlight(g *group) bool {
	p := m.inFlight[g.About]
	return p != nil && p.lot.state[g.AboutAt] != nil && p.lot.state[g.AboutAt][p.root] >= StateKept
}

// wanted does what an operator asked for.
func (m *Machine) wanted(e Wanted) {
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
