package flow

import "slices"

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
	s.places(l)
	for _, g := range l.gone {
		if old := s.supersede(g.step, g.id, l, g.bytes); old != nil && old.Raised {
			s.commit.Facts = append(s.commit.Facts, Fact{Step: g.step, Ref: g.ref, Code: old.Code, Cause: old.Cause, Recovered: true})
		}
	}
	if l.replay != nil {
		s.worked(l)
	}
	s.store(l)
	m.outlived(l, s.sinks)
	s.commit.Marks = m.unmarked(l)
	m.unproved(l)
	s.end()
}

// end asks for the commit, and wakes what waited for entries that it removes.
func (s *settlement) end() {
	m := s.m
	for _, h := range s.changed {
		s.write(h)
	}
	m.do(s.commit)
	m.owed.next()
	for _, k := range s.sinks {
		m.owed.look(k)
		for _, c := range m.also[k.step] {
			m.owed.look(aboutKey{c, k.id})
		}
	}
}

func (s *settlement) change(h *holding) {
	if !slices.Contains(s.changed, h) {
		s.changed = append(s.changed, h)
	}
}

// supersede removes the older entry of an identity at a step and returns what it waited for; nil when there is none to remove. An entry
// that owes bytes gives way only to a pass that had some. One that another lot works on is left to it, but does not stay owed when that
// ends.
func (s *settlement) supersede(step int, id uint64, l *lot, bytes bool) *group {
	o := &s.m.owed
	e, ok := o.steps[step].byID[id]
	if !ok {
		return nil
	}
	g := e.group()
	switch {
	case g.wantsBytes() && !bytes:
		return nil
	case g.lot == l:
		return nil // its own end takes it away
	case g.lot != nil:
		g.lot.replay.over = append(g.lot.replay.over, e.row)
		return nil
	}
	o.leave(g, []uint32{e.row})
	g.Rows = slices.DeleteFunc(slices.Clone(g.Rows), func(r uint32) bool { return r == e.row })
	s.change(e.h)
	s.sinks = append(s.sinks, aboutKey{step, id})
	return g
}

// worked takes the rows of a replay out of their group; those that stay owed go back under what they wait for now.
func (s *settlement) worked(l *lot) {
	r, o := l.replay, &s.m.owed
	g, h := r.group, r.group.h
	o.leave(g, g.Rows)
	o.unawait(g)
	g.Rows = nil
	h.groups = slices.DeleteFunc(h.groups, func(x *group) bool { return x == g })
	for i, row := range r.rows {
		st, stays := r.stays[int32(i)]
		stays = stays && !slices.Contains(r.over, row)
		if !stays || st.Dead {
			s.sinks = append(s.sinks, aboutKey{r.step, h.ids[row]})
		}
		if !stays {
			continue
		}
		st.Rows = []uint32{row}
		if ng := h.join(st); ng != nil {
			o.joined(ng, row)
			continue
		}
		ng := &group{Group: st, h: h}
		h.groups = append(h.groups, ng)
		l.born = append(l.born, ng)
		o.enter(ng)
	}
	s.change(h)
}

// join adds the rows of g to an equal group of the holding that no lot works on, if there is one.
func (h *holding) join(g Group) *group {
	for _, x := range h.groups {
		if x.lot == nil && !x.ready && !x.missed && x.same(&g) {
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
	if o.lined(g) {
		o.line(g.h, row)
	}
}

// places gives what a lot leaves owed its places in line: those of the entries that it replaces, or the last ones, in read order.
func (s *settlement) places(l *lot) {
	m := s.m
	if len(m.ordered) == 0 {
		return
	}
	var late []int
	for i, w := range l.owe {
		if m.keyed[w.step] {
			if l.owe[i].place = m.placeOf(w.unit.b, w.unit.row); l.owe[i].place == 0 {
				late = append(late, i)
			}
		}
	}
	slices.SortStableFunc(late, func(a, b int) int { return slices.Compare(l.owe[a].unit.path(), l.owe[b].unit.path()) })
	for _, i := range late {
		m.lastOrder++
		l.owe[i].place = m.lastOrder
	}
	first := map[aboutKey]uint64{} // a page may hold a record twice
	for i, w := range l.owe {
		k := aboutKey{w.step, w.id}
		if p, twice := first[k]; twice && p < w.place {
			l.owe[i].place = p
		}
		first[k] = l.owe[i].place
	}
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
		keys []uint64
		rows map[[3]Ref]uint32
	}
	for _, w := range l.owe {
		if k := w.lineKey(s.m); k.id != 0 {
			if s.m.pending[k]--; s.m.pending[k] == 0 {
				delete(s.m.pending, k)
			}
			s.m.owed.freed = append(s.m.owed.freed, k)
		}
	}
	l.owe = slices.DeleteFunc(l.owe, func(w owing) bool { return s.m.owed.wantsBytes(w.step, w.id) && !w.bytes })
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
			p.keys = append(p.keys, w.unit.key())
			p.Last, p.Facts = append(p.Last, w.last), append(p.Facts, w.facts)
		}
		in[i], row[i] = p, r
	}
	for i, w := range l.owe {
		s.supersede(w.step, w.id, l, w.bytes)
		p := in[i]
		w.group.Door, w.group.Rows = w.door, []uint32{row[i]}
		h := s.m.owed.holding(w.step, p.ID, p.ids, p.keys)
		if h.orders != nil {
			h.orders[row[i]] = w.place
		}
		if g := h.join(w.group); g != nil {
			s.m.owed.joined(g, row[i])
			continue
		}
		g := s.m.owed.add(h, w.group)
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
	v := Holding{Step: h.step, Parcel: h.parcel, IDs: h.ids, Keys: h.keys, Orders: h.orders}
	h.groups = slices.DeleteFunc(h.groups, func(g *group) bool {
		if len(g.Rows) == 0 {
			o.unawait(g)
		}
		return len(g.Rows) == 0
	})
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
			n := len(s.commit.Parcels) // one that this lot made and did not need after all is not written
			s.commit.Parcels = slices.DeleteFunc(s.commit.Parcels, func(p Parcel) bool { return p.ID == h.parcel })
			if len(s.commit.Parcels) == n {
				s.commit.Drop = append(s.commit.Drop, h.parcel)
			}
		}
	}
}

// committed lets go of a lot: what it left owed may be replayed, its source may go on.
func (m *Machine) committed(id uint64) {
	l := m.lots[id]
	delete(m.lots, id)
	if l.marked != nil {
		m.marked(l.marked)
	}
	var bytes int64
	for _, r := range l.first.rows {
		bytes += int64(r.Size)
		if p := m.inFlight[r.ID]; p != nil && p.lot == l {
			delete(m.inFlight, r.ID)
		}
	}
	m.do(Forget{Lot: id, Batches: m.unshare(l)})
	if l.source >= 0 {
		m.grant(l.source, len(l.first.rows), bytes)
	}
	if l.replay != nil {
		m.replays -= len(l.replay.rows)
	}
	for _, g := range l.born {
		g.live = true
		switch {
		case l.stale != nil && l.stale.has(g.h.step) && g.Cause != "" && g.Cause != CauseAbout,
			g.Cause == CauseDown && !m.states[g.h.step].breaker.open,
			g.Cause == CauseOnce,
			g.Cause == CauseAbout && !m.owed.blocks(g.AboutAt, g.About) && !m.aboutInFlight(g):
			m.owed.makeReady(g)
		case g.Cause == CauseOrder:
			m.owed.turn(g)
		}
	}
	if len(m.owed.abouts) > 0 {
		for sink, is := range m.awaited {
			for i := 0; is && i < len(l.first.rows); i++ {
				m.owed.look(aboutKey{sink, l.first.rows[i].ID})
			}
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

// aboutInFlight reports whether the record that a group waits for is about to be owed: then its entry will tell.
func (m *Machine) aboutInFlight(g *group) bool {
	p := m.inFlight[g.About]
	return p != nil && (p.lot.owed[aboutKey{g.AboutAt, g.About}] || p.lot.left[g.AboutAt][p.root] > 0)
}
