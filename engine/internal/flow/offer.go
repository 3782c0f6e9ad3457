package flow

// offer brings rows of b to steps: first those that wait for nothing, and in a second call those that wait for sinks.
func (m *Machine) offer(b *batch, rows []int32, steps []int, waiting bool) {
	for _, c := range steps {
		if len(m.steps[c].After) > 0 != waiting || !b.lot.allows(c) {
			continue
		}
		if m.steps[c].Ordered {
			for i := range count(b, rows) {
				m.approach(c, b, pick(rows, i))
			}
			continue
		}
		if !waiting {
			m.admit(c, b, rows)
			continue
		}
		for i := range count(b, rows) {
			m.await(c, b, pick(rows, i))
		}
	}
}

func count(b *batch, rows []int32) int32 {
	if rows == nil {
		return int32(len(b.rows))
	}
	return int32(len(rows))
}

func pick(rows []int32, i int32) int32 {
	if rows == nil {
		return i
	}
	return rows[i]
}

// await lets a row go on to a step as soon as the sinks before it have said their word.
func (m *Machine) await(c int, b *batch, row int32) {
	l, root := b.lot, b.rootOf(row)
	for _, a := range m.chained[c] {
		if l.left[a][root] > 0 {
			m.wait(&place{l, root}, a, waiter{c, b, row})
			return
		}
	}
	if len(m.others[c]) > 0 && !m.steps[c].Disabled { // that one sends nothing: it must not be waited for in turn
		id, at := b.rows[row].ID, &place{l, root}
		if m.steps[c].About {
			id = m.content.About(c, Ref{b.id, row})
			at = m.inFlight[id]
		}
		for _, a := range m.others[c] {
			if id == 0 {
				break
			}
			coming := at != nil && at.lot.left[a][at.root] > 0 && !(at.lot == l && m.above[a].has(c))
			if coming && (m.stalled(l) || !m.stalled(at.lot)) {
				m.wait(at, a, waiter{c, b, row})
				return
			}
			if coming || m.owed.blocks(a, id) || at != nil && at.lot.owed[aboutKey{a, id}] {
				m.owe(c, b, row, Run{Verdict: Retry, Cause: CauseAbout, about: id, aboutAt: a})
				return
			}
		}
	}
	id := b.rows[row].ID
	if rp := l.replay; rp != nil && rp.chained(m, c) {
		s := l.state[rp.step][root]
		if s == None || s == StateDisabled || l.owed[aboutKey{rp.step, id}] && (s != StateKept || rp.kept) {
			return // nothing new from the sink: its entry goes on carrying this step
		}
	}
	for _, a := range m.chained[c] {
		if !m.steps[a].OnOwedPass && m.carries(l, a, id) {
			switch rp := l.replay; {
			case rp != nil && rp.step == c && rp.group.wantsBytes(): // the sink's replay may bring none: this entry waits for its end
				m.owe(c, b, row, Run{Verdict: Retry, Cause: CauseAbout, about: id, aboutAt: a})
			case m.awaited[c]:
				l.owed[aboutKey{c, id}] = true
				m.settleState(c, l, root, StateOwed)
			}
			return
		}
	}
	m.admit(c, b, []int32{row})
}

// carries reports whether an entry of a sink is to bring a record of a lot to the steps chained to it.
func (m *Machine) carries(l *lot, sink int, id uint64) bool {
	if l.allows(sink) {
		return l.owed[aboutKey{sink, id}]
	}
	return m.owed.blocks(sink, id)
}

// wait opens a unit for a row that waits until no unit of another row is left at a sink or before it.
func (m *Machine) wait(at *place, sink int, w waiter) {
	k := waitKey{sink, at.root}
	at.lot.waiters[k] = append(at.lot.waiters[k], w)
	m.open(w.step, w.b, []int32{w.row})
}

// admit sorts rows at the door of a step: wanted ones are queued, the others pass by.
func (m *Machine) admit(c int, b *batch, rows []int32) {
	s, st := &m.steps[c], &m.states[c]
	n := count(b, rows)
	once := s.Once && (b.lot.replay == nil || b.lot.replay.step != c)
	var wanted, past []int32
	for i := range n {
		row := pick(rows, i)
		if b.root != nil && b.root[row] < 0 {
			continue // a row of another lot
		}
		ok, code := m.content.Wants(c, Ref{b.id, row})
		switch {
		case code != "":
			m.reject(c, b, row, code, "")
		case !ok && s.Kind == Sink:
			m.settleState(c, b.lot, b.rootOf(row), StatePassed)
			m.delivered(c, b.lot, b, row)
		case s.Disabled && s.Kind == Sink:
			m.settleState(c, b.lot, b.rootOf(row), StateDisabled)
			if s.FilesOnly && b.rows[row].Deadline.After(m.now) {
				m.owe(c, b, row, Run{Verdict: Retry, Cause: CauseDisabled})
			}
		case !ok, s.Disabled:
			past = append(past, row)
			m.delivered(c, b.lot, b, row)
		case once: // it must be durable that it is to be done before anybody does it
			m.owe(c, b, row, Run{Verdict: Retry, Cause: CauseOnce})
		default:
			wanted = append(wanted, row)
		}
	}
	if len(past) > 0 {
		m.pastBy(c, b, past)
	}
	if len(wanted) == 0 {
		return
	}
	st.Stats.In += uint64(len(wanted))
	m.open(c, b, wanted)
	it := &item{b: b, rows: wanted, n: int32(len(wanted)), since: m.now}
	if len(wanted) == len(b.rows) {
		it.rows = nil
	}
	if r := b.lot.replay; r != nil {
		it.attempt, it.final = r.attempt, r.final
	}
	m.push(c, it)
}

// pastBy lets rows go past a transform unchanged.
func (m *Machine) pastBy(c int, b *batch, rows []int32) {
	m.lastAlias++
	a := Alias{New: m.lastAlias, Of: b.id, Rows: rows}
	o := &batch{id: a.New, lot: b.lot, producer: c, rows: make([]Row, len(rows)), root: make([]int32, len(rows)), from: b, fromRow: rows}
	for i, row := range rows {
		o.rows[i], o.root[i] = b.rows[row], b.rootOf(row)
	}
	m.content.Announce(a)
	m.share(a.New, b.lot)
	b.lot.units++
	m.offer(o, nil, m.consumers[c], false)
	m.offer(o, nil, m.consumers[c], true)
	m.unhold(b.lot)
}
