package flow

import (
	"container/heap"
	"slices"
	"time"
)

// registry is what is owed, by step: which rows of which parcels, and what they wait for. The bodies lie in the state.
type registry struct {
	m       *Machine
	steps   []stepOwed
	parcels map[uint64]int // holdings that refer to a parcel
	timed   timeline
	abouts  map[aboutKey][]*group
	freed   []aboutKey // by step and key: lines that an entry has left
}

type stepOwed struct {
	holdings map[uint64]*holding // by parcel
	byID     map[uint64]entry    // by identity; dead letters are not in it
	ready    []*group            // may be replayed now, oldest first
	lines    map[uint64][]placed // by key, where order matters
	rows     int
	dead     int
}

// entry is the place of an owed row.
type entry struct {
	h   *holding
	row uint32
}

type aboutKey struct {
	step int
	id   uint64
}

type holding struct {
	step   int
	parcel uint64
	ids    []uint64
	keys   []uint64 // with orders where order matters, else nil
	orders []uint64
	groups []*group
}

type group struct {
	Group
	h      *holding
	live   bool // its parcel is durable
	ready  bool // in the ready list
	missed bool // was ready when the breaker of its step was open
	lot    *lot // being replayed
}

func (o *registry) init(m *Machine, owed []Holding) {
	*o = registry{m: m, steps: make([]stepOwed, len(m.steps)), parcels: map[uint64]int{}, abouts: map[aboutKey][]*group{}}
	for i := range o.steps {
		o.steps[i] = stepOwed{holdings: map[uint64]*holding{}, byID: map[uint64]entry{}, lines: map[uint64][]placed{}}
	}
	slices.SortFunc(owed, func(a, b Holding) int { return int(int64(a.Parcel) - int64(b.Parcel)) })
	var all []*group
	for _, h := range owed {
		for _, g := range h.Groups {
			to := o.holding(h.Step, h.Parcel, h.IDs, h.Keys)
			if to.orders != nil && h.Orders != nil {
				copy(to.orders, h.Orders)
				m.lastOrder = max(m.lastOrder, slices.Max(h.Orders))
			}
			ng := o.add(to, g)
			ng.live = true
			all = append(all, ng)
		}
	}
	for _, g := range all { // what they waited for may have come while no engine ran: asking is cheap
		if g.Cause != "" && !(g.Cause == CauseAbout && o.blocks(g.AboutAt, g.About)) {
			o.makeReady(g)
		}
	}
}

// holding is what a step owes of a parcel, made if it is not there.
func (o *registry) holding(step int, parcel uint64, ids, keys []uint64) *holding {
	s := &o.steps[step]
	h := s.holdings[parcel]
	if h == nil {
		h = &holding{step: step, parcel: parcel, ids: ids}
		if o.m.keyed[step] {
			if h.keys = keys; keys == nil {
				h.keys = make([]uint64, len(ids)) // from before the step was ordered
			}
			h.orders = make([]uint64, len(ids))
		}
		s.holdings[parcel] = h
		o.parcels[parcel]++
	}
	return h
}

// add registers a group; its rows replace older entries of their identities, which must have been removed before.
func (o *registry) add(h *holding, g Group) *group {
	ng := &group{Group: g, h: h}
	h.groups = append(h.groups, ng)
	o.enter(ng)
	return ng
}

// enter makes a group findable by what it waits for.
func (o *registry) enter(g *group) {
	s := &o.steps[g.h.step]
	if g.Dead {
		s.dead += len(g.Rows)
		return
	}
	s.rows += len(g.Rows)
	for _, row := range g.Rows {
		s.byID[g.h.ids[row]] = entry{g.h, row}
		if o.lined(g) {
			o.line(g.h, row)
		}
	}
	o.await(g)
}

// await registers what a group waits for.
func (o *registry) await(g *group) {
	if g.Dead {
		return
	}
	if g.Cause == CauseAbout {
		k := aboutKey{g.AboutAt, g.About}
		o.abouts[k] = append(o.abouts[k], g)
	}
	if !g.Due.IsZero() {
		heap.Push(&o.timed, due{g.Due, g})
	}
}

// unawait forgets that a group waits for a record.
func (o *registry) unawait(g *group) {
	if g.Cause != CauseAbout {
		return
	}
	k := aboutKey{g.AboutAt, g.About}
	o.abouts[k] = slices.DeleteFunc(o.abouts[k], func(x *group) bool { return x == g })
	if len(o.abouts[k]) == 0 {
		delete(o.abouts, k)
	}
}

// leave is the opposite of enter, for rows of a group that are no longer owed there.
func (o *registry) leave(g *group, rows []uint32) {
	s := &o.steps[g.h.step]
	if g.Dead {
		s.dead -= len(rows)
		return
	}
	s.rows -= len(rows)
	for _, row := range rows {
		if o.lined(g) {
			o.unline(g.h, row)
		}
		if id := g.h.ids[row]; s.byID[id] == (entry{g.h, row}) {
			delete(s.byID, id)
		}
	}
}

func (o *registry) has(step int, id uint64) bool {
	_, ok := o.steps[step].byID[id]
	return ok
}

// leads reports whether an entry of a record, of whichever step, is to bring it to a step.
func (o *registry) leads(k aboutKey) bool {
	for c := range o.steps {
		if e, ok := o.steps[c].byID[k.id]; ok && o.m.paths(e.group().Door, c).has(k.step) {
			return true
		}
	}
	return false
}

// dead reports whether a record is a dead letter of a step. It looks at all that the step has.
func (o *registry) dead(k aboutKey) bool {
	for _, h := range o.steps[k.step].holdings {
		for _, g := range h.groups {
			if g.Dead && slices.ContainsFunc(g.Rows, func(row uint32) bool { return h.ids[row] == k.id }) {
				return true
			}
		}
	}
	return false
}

// owes reports whether a step owes a record, itself or because a sink that it waits for does.
func (o *registry) owes(step int, id uint64) bool { return o.has(step, id) || o.carried(step, id) }

// carried reports whether an entry of a sink is to bring a record to a step.
func (o *registry) carried(step int, id uint64) bool {
	return slices.ContainsFunc(o.m.chained[step], func(a int) bool { return !o.m.steps[a].OnOwedPass && o.blocks(a, id) })
}

// blocks reports whether those who wait for a sink have to wait. Nobody waits for what a disabled one owes itself: that may be for ever.
func (o *registry) blocks(sink int, id uint64) bool {
	if o.m.steps[sink].Disabled {
		return o.carried(sink, id)
	}
	return o.owes(sink, id)
}

// wantsBytes reports whether a step owes a record for the sake of bytes, which are kept or made again.
func (o *registry) wantsBytes(step int, id uint64) bool {
	e, ok := o.steps[step].byID[id]
	return ok && e.group().wantsBytes()
}

func (g *group) wantsBytes() bool { return g.Kept || g.Door != g.h.step }

func (e entry) group() *group {
	i := slices.IndexFunc(e.h.groups, func(g *group) bool { return slices.Contains(g.Rows, e.row) })
	return e.h.groups[i]
}

func (o *registry) makeReady(g *group) {
	if !g.ready && !g.Dead && g.lot == nil {
		g.ready, g.missed = true, false
		s := &o.steps[g.h.step]
		s.ready = append(s.ready, g)
	}
}

// split makes a group of its own of some rows of g, or is g if those are all.
func (o *registry) split(g *group, rows []uint32) *group {
	if len(rows) == len(g.Rows) {
		return g
	}
	part := &group{Group: g.Group, h: g.h, live: g.live, missed: g.missed}
	part.Rows = rows
	g.Rows = slices.DeleteFunc(slices.Clone(g.Rows), func(r uint32) bool { return slices.Contains(rows, r) })
	g.h.groups = append(g.h.groups, part)
	o.await(part)
	if g.ready {
		o.makeReady(part)
	}
	return part
}

// each calls f for the groups of a step, oldest parcel first.
func (o *registry) each(step int, f func(*group)) {
	s := &o.steps[step]
	parcels := make([]uint64, 0, len(s.holdings))
	for p := range s.holdings {
		parcels = append(parcels, p)
	}
	slices.Sort(parcels)
	for _, p := range parcels {
		for _, g := range slices.Clone(s.holdings[p].groups) {
			f(g)
		}
	}
}

// awaitsService reports whether a group is to be tried as soon as the service of its step is back: that is its cause, or what it
// waited for came meanwhile.
func (g *group) awaitsService() bool { return g.Cause == CauseDown || g.missed }

// up makes ready all that waited for the service of a step.
func (o *registry) up(step int) {
	o.each(step, func(g *group) {
		if g.awaitsService() {
			o.makeReady(g)
		}
	})
}

// probe makes ready the oldest group that waits for the service of a step: it will find out whether it is back.
func (o *registry) probe(step int) {
	s := &o.steps[step]
	if s.rows == 0 || len(s.ready) > 0 {
		return
	}
	var oldest *group
	for parcel, h := range s.holdings {
		if oldest != nil && parcel > oldest.h.parcel {
			continue
		}
		for _, g := range h.groups {
			if g.live && !g.Dead && g.lot == nil && len(g.Rows) > 0 && g.awaitsService() && !o.inLine(g) {
				oldest = g
				break
			}
		}
	}
	if oldest != nil {
		o.makeReady(oldest)
	}
}

// reconfigured makes ready what may now have another answer: the configuration of a step has changed.
func (o *registry) reconfigured(step int) {
	o.each(step, func(g *group) {
		if g.Cause != CauseAbout && (!g.Revisit || g.Cause != "") { // a second time that met a cause waits for that
			o.makeReady(g)
		}
	})
}

// look makes ready what waited for a record that a sink does not owe any more.
func (o *registry) look(k aboutKey) {
	list, ok := o.abouts[k]
	if !ok || o.blocks(k.step, k.id) {
		return
	}
	for _, g := range list {
		if g.Cause == CauseAbout && len(g.Rows) > 0 {
			o.makeReady(g)
		}
	}
	delete(o.abouts, k)
}

// due is an entry of the timeline; it is stale when its group's Due has changed since.
type due struct {
	at time.Time
	g  *group
}

type timeline []due

func (t timeline) Len() int           { return len(t) }
func (t timeline) Less(i, j int) bool { return t[i].at.Before(t[j].at) }
func (t timeline) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *timeline) Push(x any)        { *t = append(*t, x.(due)) }
func (t *timeline) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

func (d due) stale() bool { return !d.g.Due.Equal(d.at) || len(d.g.Rows) == 0 || d.g.Dead }

// nextDue is when the next group falls due; zero = none.
func (o *registry) nextDue() time.Time {
	for len(o.timed) > 0 && o.timed[0].stale() {
		heap.Pop(&o.timed)
	}
	if len(o.timed) == 0 {
		return time.Time{}
	}
	return o.timed[0].at
}

// fallDue makes ready what is due now.
func (o *registry) fallDue() {
	for t := o.nextDue(); !t.IsZero() && !t.After(o.m.horizon()); t = o.nextDue() {
		o.makeReady(heap.Pop(&o.timed).(due).g)
	}
}
