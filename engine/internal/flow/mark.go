package flow

import "slices"

// Codes of dead letters that the machine itself makes.
const (
	CodeKilled  = "KILLED_ITS_PLUGIN" // the process of the step died again and again when it had nothing but this record, or nobody lived to tell
	CodeUnknown = "OUTCOME_UNKNOWN"   // effect = once: the record was sent, and it is not known how that ended
)

// strikes is how many calls of one record alone have to end with a death, or without anybody to see how, because the engine died as well,
// to be a verdict. A process that something else kills now and then must not cost a record that takes long; one more try costs a start.
const strikes = 5

// marked is an item whose mark is on its way to the disk.
type marked struct {
	step    int
	it      *item
	suspect bool
}

// needsMark reports whether it must be durable that an item is about to be called: where that is to happen once, and where a record alone
// is suspected.
func (m *Machine) needsMark(c int, it *item, suspect bool) bool {
	return !it.marked && !it.probe && (m.steps[c].Once || suspect && it.n == 1)
}

func (it *item) key(c int) aboutKey { return aboutKey{c, it.b.rows[it.row(0)].ID} }

// mark makes it durable that a record is about to be sent alone. The call follows when it is.
func (m *Machine) mark(c int, it *item, suspect bool) {
	k := it.key(c)
	m.marks[k]++
	l := m.newLot(-1, 0)
	l.first, l.done, l.marked = &batch{lot: l}, true, &marked{c, it, suspect}
	m.states[c].marking++
	m.states[c].proving = m.states[c].proving || suspect
	m.do(Commit{Lot: l.id, Source: -1, Marks: []Mark{{c, k.id, m.marks[k]}}})
}

// marked puts an item whose mark is durable before all others.
func (m *Machine) marked(w *marked) {
	st, l := &m.states[w.step], w.it.b.lot
	st.marking--
	st.proving = st.proving && !w.suspect
	w.it.marked = true
	l.units++
	switch {
	case st.breaker.open && !st.breaker.half:
		m.owedDown(w.step, w.it)
	case w.suspect:
		st.suspects = append([]*item{w.it}, st.suspects...)
	default:
		st.replays = append([]*item{w.it}, st.replays...)
	}
	m.unhold(l)
}

// withdraw takes back the mark of a record that was not sent after all.
func (m *Machine) withdraw(c int, it *item) {
	if !it.marked {
		return
	}
	it.marked = false
	k := it.key(c)
	if m.marks[k]--; m.marks[k] <= 0 {
		delete(m.marks, k)
	}
	m.unmark(it.b.lot, k)
}

// unmark makes it durable that a mark has changed. What was sent once says so with the commit of its lot, by which it is known how that ended.
// A strike goes at once: an engine that dies before its lot is done, of something else, must not find it again.
func (m *Machine) unmark(l *lot, k aboutKey) {
	if m.steps[k.step].Once {
		l.unmark = append(l.unmark, k)
		return
	}
	own := m.newLot(-1, 0)
	own.first, own.done = &batch{lot: own}, true
	m.do(Commit{Lot: own.id, Source: -1, Marks: []Mark{{k.step, k.id, m.marks[k]}}})
}

// ended forgets the mark of a record: it is known how its call ended.
func (m *Machine) ended(c int, b *batch, row int32) {
	k := aboutKey{c, b.rows[row].ID}
	if _, is := m.marks[k]; is {
		delete(m.marks, k)
		m.unmark(b.lot, k)
	}
}

// outlived forgets what is marked of records whose entries leave their steps with a lot, though no call ended it: a probe has found them
// there, a later pass has settled them, somebody has dropped them. A mark stays while another entry leads to its step, or another lot is
// about its record; and whether a dead letter may have been sent, once it is tried again, nobody but its mark tells.
func (m *Machine) outlived(l *lot, left []aboutKey) {
	for _, e := range left {
		if p := m.inFlight[e.id]; len(m.marks) == 0 || p != nil && p.lot != l {
			continue
		}
		for c := range m.steps {
			k := aboutKey{c, e.id}
			if _, is := m.marks[k]; is && !m.goesAlone(k, l) && !m.owed.leads(k) && !(m.steps[c].Once && m.owed.dead(k)) {
				delete(m.marks, k)
				l.unmark = append(l.unmark, k)
			}
		}
	}
}

// goesAlone reports whether a step works on a record alone, or is about to, in another lot than l. That may be a record that a transform has
// made, in a lot of the one that it was made of.
func (m *Machine) goesAlone(k aboutKey, l *lot) bool {
	is := func(it *item) bool { return it.b.lot != l && it.n == 1 && it.key(k.step) == k }
	for _, x := range m.lots {
		if w := x.marked; w != nil && w.step == k.step && is(w.it) {
			return true
		}
	}
	for _, c := range m.calls {
		if c.step == k.step && slices.ContainsFunc(c.parts, func(p part) bool { return is(p.item) }) {
			return true
		}
	}
	st := &m.states[k.step]
	return slices.ContainsFunc(st.suspects, is) || slices.ContainsFunc(st.replays, is)
}

// unmarked is what a lot has to say of marks when it settles.
func (m *Machine) unmarked(l *lot) []Mark {
	var list []Mark
	told := map[aboutKey]bool{}
	for _, k := range l.unmark {
		if !told[k] {
			told[k] = true
			list = append(list, Mark{k.step, k.id, m.marks[k]})
		}
	}
	return list
}

// convict makes a record a dead letter whose calls alone have ended badly often enough, and reports whether it did. It is asked when it is
// the record's turn to be called, not when it comes to the step: a page may hold a record twice, and the mark of the call that is under way
// for one of them is no strike against the other.
func (m *Machine) convict(c int, it *item) bool {
	if it.marked || it.n > 1 || m.marks[it.key(c)] < strikes {
		return false
	}
	code := CodeKilled
	if m.steps[c].Once {
		code = CodeUnknown
	}
	b, row := it.b, it.row(0)
	b.lot.units++
	m.ended(c, b, row)
	m.reject(c, b, row, code, "")
	m.close(c, b, []int32{row})
	m.unhold(b.lot)
	return true
}

// apart takes the rows out of an item that an earlier call, whose end is not known, was about: they are called alone, or not any more.
// It returns what is left, nil if nothing is.
func (m *Machine) apart(c int, it *item) *item {
	if len(m.marks) == 0 || it.marked || it.alone {
		return it
	}
	var alone, rest []int32
	for i := range it.n {
		row := it.row(i)
		if m.marks[aboutKey{c, it.b.rows[row].ID}] > 0 {
			alone = append(alone, row)
		} else {
			rest = append(rest, row)
		}
	}
	if len(alone) == 0 {
		return it
	}
	l := it.b.lot
	l.units++
	for _, row := range alone {
		if s := &m.steps[c]; s.Once && !s.Resend {
			m.unknown(c, it.b, []int32{row})
			continue
		}
		one := *it
		one.rows, one.n, one.alone = []int32{row}, 1, true
		m.queue(c, &one)
	}
	m.unhold(l)
	if len(rest) == 0 {
		return nil
	}
	left := *it
	left.rows, left.n = rest, int32(len(rest))
	return &left
}
