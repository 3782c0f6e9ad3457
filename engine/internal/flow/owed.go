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
}

type stepOwed struct {
	holdings map[uint64]*holding // by parcel
	byID     map[uint64]entry    // by identity; dead letters are not in it
	ready    []*group            // may be replayed now, oldest first
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
	groups []*group
}

type group struct {
	Group
	h     *holding
	live  bool // its parcel is durable
	ready bool // in the ready list
	lot   *lot // being replayed
}

func (o *registry) init(m *Machine, owed []Holding) {
	*o = registry{m: m, steps: make([]stepOwed, len(m.steps)), parcels: map[uint64]int{}, abouts: map[aboutKey][]*group{}}
	for i := range o.steps {
		o.steps[i] = stepOwed{holdings: map[uint64]*holding{}, byID: map[uint64]entry{}}
	}
	slices.SortFunc(owed, func(a, b Holding) int { return int(int64(a.Parcel) - int64(b.Parcel)) })
	for _, h := range owed {
		for _, g := range h.Groups {
			ng := o.add(h.Step, h.Parcel, h.IDs, g)
			ng.live = true
			if g.Cause == CauseAbout && !o.has(g.AboutAt, g.About) || g.Cause == CauseDown {
				o.makeReady(ng) // what it waited for may have come while no engine ran: asking is cheap
			}
		}
	}
	// An about whose holding is read later than it is owed all the same: judge again now that all are known.
	for k, gs := range o.abouts {
		if o.has(k.step, k.id) {
			for _, g := range gs {
				o.unready(g)
			}
		}
	}
}

// add registers a group; its rows replace older entries of their identities, which must have been removed before.
func (o *registry) add(step int, parcel uint64, ids []uint64, g Group) *group {
	s := &o.steps[step]
	h := s.holdings[parcel]
	if h == nil {
		h = &holding{step: step, parcel: parcel, ids: ids}
		s.holdings[parcel] = h
		o.parcels[parcel]++
	}
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
	}
	if g.Cause == CauseAbout {
		k := aboutKey{g.AboutAt, g.About}
		o.abouts[k] = append(o.abouts[k], g)
	}
	if !g.Due.IsZero() {
		heap.Push(&o.timed, due{g.Due, g})
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
		if id := g.h.ids[row]; s.byID[id] == (entry{g.h, row}) {
			delete(s.byID, id)
		}
	}
}

func (o *registry) has(step int, id uint64) bool {
	_, ok := o.steps[step].byID[id]
	return ok
}

func (o *registry) makeReady(g *group) {
	if !g.ready && !g.Dead && g.lot == nil {
		g.ready = true
		s := &o.steps[g.h.step]
		s.ready = append(s.ready, g)
	}
}

func (o *registry) unready(g *group) {
	if g.ready {
		g.ready = false
		s := &o.steps[g.h.step]
		s.ready = slices.DeleteFunc(s.ready, func(x *group) bool { return x == g })
	}
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

// up makes ready all that waited for the service of a step.
func (o *registry) up(step int) {
	o.each(step, func(g *group) {
		if g.Cause == CauseDown {
			o.makeReady(g)
		}
	})
}

// probe makes ready the oldest group that waits for the service of a step: it will find out whether it is back.
func (o *registry) probe(step int) {
	found := false
	o.each(step, func(g *group) {
		if !found && g.live && g.Cause == CauseDown && !g.Dead && g.lot == nil {
			found = true
			o.makeReady(g)
		}
	})
}

// reconfigured makes ready all that waits for a cause at a step: its configuration has changed.
func (o *registry) reconfigured(step int) {
	o.each(step, func(g *group) {
		if g.Cause != "" && g.Cause != CauseAbout {
			o.makeReady(g)
		}
	})
}

// resolved makes ready what waited for a record at a sink.
func (o *registry) resolved(step int, id uint64) {
	k := aboutKey{step, id}
	for _, g := range o.abouts[k] {
		if g.Cause == CauseAbout {
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
