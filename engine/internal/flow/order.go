package flow

import (
	"cmp"
	"slices"
)

// An ordered step takes records of one key one after the other, in the order in which they were read. A row takes its place in the line of
// its key when no row that was read before it can still come, because keys may be set by transforms on the way. It is called when it is
// the first of its line, and it leaves the line when it has left the step. One that is owed goes on holding back its key, by its place
// among all that was ever owed: whoever comes later is owed, too, and follows when it has gone. A planned revisit holds back nobody.

// CauseOrder is what a row waits for that stands behind another one of its key.
const CauseOrder = "earlier record of its key"

// unit is a row of a batch at a step.
type unit struct {
	b   *batch
	row int32
}

func (u unit) key() uint64 { return u.b.rows[u.row].Key }

// path is where the row stands in each batch that it came through, from the lot's first on.
func (u unit) path() []int32 {
	var p []int32
	for b, row := u.b, u.row; ; b, row = b.from, b.fromRow[row] {
		p = append(p, row)
		if b.from == nil {
			break
		}
	}
	slices.Reverse(p)
	p[0] = u.b.rootOf(u.row)
	return p
}

// lineOf is the bookkeeping of an ordered step.
type lineOf struct {
	lines map[uint64][]unit // by key
	units map[unit]int32    // open at the step
	stale bool              // rows may take their places
}

// approach brings a row to an ordered step. A fresh one gets its place when all that was read before it has come or cannot come any more.
func (m *Machine) approach(c int, b *batch, row int32) {
	u := unit{b, row}
	m.open(c, b, []int32{row})
	if b.lot.replay != nil {
		m.takePlace(c, u)
		m.close(c, b, []int32{row})
		return
	}
	k := waitKey{c, b.rootOf(row)}
	b.lot.parked[k] = append(b.lot.parked[k], u)
	m.states[c].line.stale = true
}

// lineUp gives places to fresh rows, in the order in which they were read.
func (m *Machine) lineUp() {
	for _, c := range m.ordered {
		if !m.states[c].line.stale {
			continue
		}
		m.states[c].line.stale = false
		for _, queue := range m.order {
			for _, l := range slices.Clone(queue) {
				if !l.begun || !m.lineUpLot(c, l) {
					break
				}
			}
		}
	}
}

// lineUpLot reports whether all rows of a lot have passed the steps before c.
func (m *Machine) lineUpLot(c int, l *lot) bool {
	for n := int32(len(l.first.rows)); l.lined[c] < n; l.lined[c]++ {
		root := l.lined[c]
		if l.before[c][root] > 0 {
			return false
		}
		k := waitKey{c, root}
		us := l.parked[k]
		if us == nil {
			continue
		}
		delete(l.parked, k)
		slices.SortStableFunc(us, func(a, b unit) int { return slices.Compare(a.path(), b.path()) })
		l.units++
		for _, u := range us {
			m.takePlace(c, u)
			m.close(c, u.b, []int32{u.row})
		}
		m.unhold(l)
	}
	return true
}

// stalled reports whether rows of a lot may have to wait for their places behind a lot that was read before it and is blocked. A lot that is
// not stalled must not wait for them in turn, it may be what blocks: it leaves owed what has to.
func (m *Machine) stalled(l *lot) bool {
	if len(m.ordered) == 0 || l.source < 0 {
		return false
	}
	for _, x := range m.order[l.source] {
		if x == l {
			break
		}
		if !x.begun {
			return true
		}
	}
	return false
}

// takePlace puts a row that has a unit at an ordered step into the line of its key, and lets it go on.
func (m *Machine) takePlace(c int, u unit) {
	if k := u.key(); k != 0 {
		m.states[c].line.lines[k] = append(m.states[c].line.lines[k], u)
	}
	if len(m.steps[c].After) > 0 {
		m.await(c, u.b, u.row)
	} else {
		m.admit(c, u.b, []int32{u.row})
	}
}

// inLine counts units at an ordered step.
func (m *Machine) inLine(c int, b *batch, rows []int32) {
	for _, row := range rows {
		m.states[c].line.units[unit{b, row}]++
	}
}

// outOfLine takes rows whose last unit at an ordered step has gone out of their lines.
func (m *Machine) outOfLine(c int, b *batch, rows []int32) {
	line := &m.states[c].line
	for _, row := range rows {
		u := unit{b, row}
		if line.units[u]--; line.units[u] > 0 {
			continue
		}
		delete(line.units, u)
		k := u.key()
		if i := slices.Index(line.lines[k], u); i >= 0 {
			if line.lines[k] = slices.Delete(line.lines[k], i, i+1); len(line.lines[k]) == 0 {
				delete(line.lines, k)
			}
		}
	}
}

// first reports whether the rows of an item are the first of their lines.
func (m *Machine) first(c int, it *item) bool {
	if !m.steps[c].Ordered || it.probe {
		return true
	}
	for i := range it.n {
		u := unit{it.b, it.row(i)}
		if k := u.key(); k != 0 && m.states[c].line.lines[k][0] != u {
			return false
		}
	}
	return true
}

// yield owes rows that are the first of their lines, but behind one that is owed. It reports whether there were any.
func (m *Machine) yield(c int) bool {
	if !m.steps[c].Ordered {
		return false
	}
	st := &m.states[c]
	var back []unit
	for _, q := range []*[]*item{&st.fresh, &st.replays} {
		var stay []*item
		for _, it := range *q {
			if it.probe || it.marked || !m.first(c, it) {
				stay = append(stay, it)
				continue
			}
			var rows []int32
			for i := range it.n {
				if row := it.row(i); m.heldBack(c, it.b, row) {
					back = append(back, unit{it.b, row})
				} else {
					rows = append(rows, row)
				}
			}
			switch {
			case len(rows) == int(it.n) && it.alone: // what may have killed the process is called alone, in its turn
				st.suspects = append(st.suspects, it)
			case len(rows) == int(it.n):
				stay = append(stay, it)
			case len(rows) > 0:
				left := *it
				left.rows, left.n = rows, int32(len(rows))
				stay = append(stay, &left)
			}
		}
		*q = stay
	}
	for _, u := range back {
		l := u.b.lot
		l.units++
		m.owe(c, u.b, u.row, Run{Verdict: Retry, Cause: CauseOrder})
		m.close(c, u.b, []int32{u.row})
		m.unhold(l)
	}
	return len(back) > 0
}

// heldBack reports whether a row must not be called at an ordered step because an earlier one of its key is owed there or before.
func (m *Machine) heldBack(c int, b *batch, row int32) bool {
	key := b.rows[row].Key
	if key == 0 {
		return false
	}
	order := m.placeOf(b, row)
	if r := b.lot.replay; r != nil && r.group.Revisit && (order == 0 || !m.below[r.step].has(c)) {
		return false // it has had its turn; behind the step that planned this it may have been owed, and an operator dropped that
	}
	for _, s := range m.holders[c] {
		if m.owed.before(s, key, order) || order == 0 && m.pending[aboutKey{s, key}] > 0 {
			return true
		}
	}
	return false
}

// placeOf is the place in line that a row has from an earlier pass; 0 = none, it comes last.
func (m *Machine) placeOf(b *batch, row int32) uint64 {
	var place uint64
	if r := b.lot.replay; r != nil && r.group.h.orders != nil {
		place = r.group.h.orders[r.rows[b.rootOf(row)]] // one that the source sent again may have an older one, too
	}
	for _, id := range []uint64{b.rows[row].ID, b.lot.first.rows[b.rootOf(row)].ID} { // its own, or of what it was split from
		for s, is := range m.keyed {
			if e, ok := m.owed.steps[s].byID[id]; is && ok && !e.group().Revisit {
				if o := e.h.orders[e.row]; place == 0 || o < place {
					place = o
				}
			}
		}
	}
	return place
}

// place is an owed row in the line of its key.
type placed struct {
	order uint64
	entry
}

func byPlace(p placed, order uint64) int { return cmp.Compare(p.order, order) }

// lined reports whether entries of a group hold back their keys.
func (o *registry) lined(g *group) bool { return o.m.keyed[g.h.step] && !g.Dead && !g.Revisit }

// line puts an owed row into the line of its key.
func (o *registry) line(h *holding, row uint32) {
	k := h.keys[row]
	if k == 0 {
		return
	}
	s := &o.steps[h.step]
	list := s.lines[k]
	i, _ := slices.BinarySearchFunc(list, h.orders[row], byPlace)
	s.lines[k] = slices.Insert(list, i, placed{h.orders[row], entry{h, row}})
}

// unline is the opposite.
func (o *registry) unline(h *holding, row uint32) {
	k := h.keys[row]
	if k == 0 {
		return
	}
	s := &o.steps[h.step]
	list := s.lines[k]
	i, _ := slices.BinarySearchFunc(list, h.orders[row], byPlace)
	for ; i < len(list) && list[i].entry != (entry{h, row}); i++ {
	}
	if i == len(list) {
		return
	}
	if i == 0 {
		list = list[1:]
	} else {
		list = slices.Delete(list, i, i+1)
	}
	if s.lines[k] = list; len(list) == 0 {
		delete(s.lines, k)
	}
	o.freed = append(o.freed, aboutKey{h.step, k})
}

// before reports whether a step owes a row of a key from an earlier place; 0 = any.
func (o *registry) before(step int, key, order uint64) bool {
	list := o.steps[step].lines[key]
	return len(list) > 0 && (order == 0 || list[0].order < order)
}

// behind reports whether an owed row has to wait for an earlier one of its key.
func (o *registry) behind(h *holding, row uint32) bool {
	k := h.keys[row]
	return k != 0 && slices.ContainsFunc(o.m.holders[h.step], func(s int) bool { return o.before(s, k, h.orders[row]) })
}

// inLine reports whether every row of a group has to wait for an earlier one of its key.
func (o *registry) inLine(g *group) bool {
	return o.m.steps[g.h.step].Ordered && !g.Revisit && !o.m.rescues(g) &&
		!slices.ContainsFunc(g.Rows, func(row uint32) bool { return !o.behind(g.h, row) })
}

// inOrder leaves of a group that is to be replayed only what is the first of its line. The rest waits for that.
func (o *registry) inOrder(g *group) bool {
	if !o.m.steps[g.h.step].Ordered || g.Revisit || o.m.rescues(g) {
		return true
	}
	var wait []uint32
	for _, row := range g.Rows {
		if o.behind(g.h, row) {
			wait = append(wait, row)
		}
	}
	if len(wait) == 0 {
		return true
	}
	ready := g.ready
	g.ready = false
	part := o.split(g, wait)
	o.unawait(part)
	part.Cause = CauseOrder
	if o.m.now.Before(part.Deadline) {
		part.Due = o.m.before(part.Group, part.Deadline)
		o.await(part)
	}
	if part == g {
		return false
	}
	g.ready = ready
	return true
}

// next makes ready the rows that are now the first of lines out of which others have gone.
func (o *registry) next() {
	if len(o.freed) == 0 {
		return
	}
	freed := o.freed
	o.freed = nil
	rows := map[*group][]uint32{}
	var groups []*group
	seen := map[aboutKey]bool{}
	for _, f := range freed {
		for _, c := range o.m.ordered {
			k := aboutKey{c, f.id}
			list := o.steps[c].lines[f.id]
			if seen[k] || len(list) == 0 || !slices.Contains(o.m.holders[c], f.step) {
				continue
			}
			seen[k] = true
			e := list[0]
			if g := e.group(); g.live && g.lot == nil && g.Cause == CauseOrder && !o.behind(e.h, e.row) {
				if rows[g] == nil {
					groups = append(groups, g)
				}
				rows[g] = append(rows[g], e.row)
			}
		}
	}
	for _, g := range groups {
		o.makeReady(o.split(g, rows[g]))
	}
}

// turn makes ready what has become first in line while its commit was on its way.
func (o *registry) turn(g *group) {
	var rows []uint32
	for _, row := range g.Rows {
		if !o.behind(g.h, row) {
			rows = append(rows, row)
		}
	}
	if len(rows) > 0 {
		o.makeReady(o.split(g, rows))
	}
}
