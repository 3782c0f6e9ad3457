package flow

import (
	"slices"
	"strings"
	"time"
)

// look is what is always true of a machine.
func (s *sim) look() {
	m := s.m
	if m.now.Before(s.latest) {
		s.t.Errorf("time never goes back: the machine went from %v to %v", s.latest, m.now)
	}
	s.latest = m.now
	for _, t := range []time.Time{s.now, m.now} {
		if t.After(s.furthest) {
			s.furthest = t
		}
	}
	if len(m.blocked) > s.blocked {
		s.rare[nBlockedLots]++
	}
	s.blocked = len(m.blocked)
	for i := range m.states {
		b := &m.states[i].breaker
		if b.open && s.waits[i] > 0 && b.wait > s.waits[i] {
			s.rare[nVainProbes]++
		}
		s.waits[i] = b.wait
	}
	if s.loaded > 0 {
		most := 0
		for _, st := range m.steps {
			most = max(most, min(st.MaxRows, m.limits.ReplayRows))
		}
		if s.loaded >= m.limits.ReplayRows+most {
			s.t.Errorf("bounded memory: %d rows of replays in flight, the limit is %d", s.loaded, m.limits.ReplayRows)
		}
		if s.loaded >= m.limits.ReplayRows {
			s.rare[nReplaysExhausted]++
		}
	}
}

// past takes leave of a machine.
func (s *sim) past() {
	for i := range s.m.states {
		s.rare[nRetried] += int(s.m.states[i].Stats.Retried)
	}
}

// asked looks at what the machine asks for.
func (s *sim) asked(a Action) {
	switch a := a.(type) {
	case Call:
		s.askedCall(&a)
	case Alias:
		s.rare[nAliases] += len(a.Rows)
	case Load:
		s.rare[nReplays]++
		s.loads[a.Lot] = len(a.Rows)
		s.loaded += len(a.Rows)
		if r := s.m.lots[a.Lot].replay; r.keep {
			s.rare[nRescues]++
		}
	case Forget:
		s.loaded -= s.loads[a.Lot]
		delete(s.loads, a.Lot)
	case Breaker:
		if s.rare[nClosedAgain]++; a.Open {
			s.rare[nClosedAgain]--
			s.rare[nOpened]++
		}
		s.plain("a breaker", a.Code)
	case Commit:
		s.askedCommit(&a)
	}
}

func (s *sim) askedCall(c *Call) {
	s.rare[nCalls]++
	if c.Final {
		s.rare[nFinals]++
	}
	if s.cfg.Steps[c.Step].Disabled {
		s.t.Errorf("only what is up is called: %s is disabled", s.name(c.Step))
	}
	if c.Flush {
		s.rare[nFlushes]++
	}
	list := s.rowsOf(*c)
	s.marked(c, list)
	s.orderly(c, list)
	if c.Flush && !slices.EqualFunc(list, s.held[c.Step], func(r rec, id uint64) bool { return r.hash == id }) {
		s.t.Errorf("a flush is for what is held: %s was asked for %v, but holds other rows or in another order", s.name(c.Step), ids(list))
	}
	var lots, sources bool
	var first *rec
	for _, p := range c.Parts {
		row := int32(0)
		if p.Rows != nil {
			row = p.Rows[0]
		}
		if r := s.row(Ref{p.Batch, row}); first == nil {
			first = r
		} else {
			lots = lots || r.lot != first.lot
			sources = sources || s.roots[r.hash].feed != s.roots[first.hash].feed
		}
	}
	if lots {
		s.rare[nCallsOfLots]++
	}
	if sources {
		s.rare[nCallsOfSources]++
	}
}

// marked holds a call to what must be durable before it.
func (s *sim) marked(c *Call, list []rec) {
	st, call := &s.cfg.Steps[c.Step], s.m.calls[c.ID]
	switch {
	case c.Probe:
	case st.Once && len(list) != 1:
		s.t.Errorf("once: %s is called for %d rows together", st.Address, len(list))
	case st.Once && s.disk.marks[Mark{Step: c.Step, ID: list[0].hash}] == 0:
		s.t.Errorf("once: %s is to be sent by %s, and that is not durable", list[0].id, st.Address)
	case st.Once && !st.Resend && s.unsure[entryKey{c.Step, list[0].hash}] && !s.roots[list[0].hash].retried && s.roots[list[0].hash].feed.overlap == 0:
		s.t.Errorf("once: %s is sent by %s again, though it may have been", list[0].id, st.Address)
	case call.suspect && !call.flush && len(list) == 1 && s.disk.marks[s.markOf(c, &list[0])] == 0:
		s.t.Errorf("strikes are durable: %s is tried alone by %s, and that is not", list[0].id, st.Address)
	}
}

// markOf is the mark of a record that is called alone. At the door of an entry that is not the record's own, but that of the owed one, which
// a transform behind the door makes of it, perhaps with others: a row of a replay has that identity there, and has it again in the next
// engine.
func (s *sim) markOf(c *Call, r *rec) Mark {
	k := Mark{Step: c.Step, ID: r.hash}
	if call, l := s.m.calls[c.ID], s.m.lots[r.lot]; call != nil && c.Rows == 1 && l.replay != nil {
		if owed := l.first.rows[r.root].ID; call.parts[0].key(c.Step).id == owed {
			k.ID = owed
		}
	}
	return k
}

// keyLine is the order of an ordered step: by key, and the place of each record in it.
type keyLine struct {
	list map[uint64][]placeInLine
	at   map[uint64]int
}

type placeInLine struct {
	id   uint64
	line []uint64
	name string
}

func (l *keyLine) add(s *sim, step int, r *rec, line []uint64, seen uint64) {
	if f := s.fate(step, r.hash); !s.cfg.Steps[step].Ordered || f == rejected || f == killer || s.keyer >= 0 && seen&(1<<s.keyer) == 0 {
		return
	}
	l.at[r.hash] = len(l.list[r.group])
	l.list[r.group] = append(l.list[r.group], placeInLine{r.hash, line, r.id})
}

// orderly holds a call of an ordered step to the order of keys: no record goes before an earlier one that may still come. One that has
// waited where its key was not yet known holds back nobody.
func (s *sim) orderly(c *Call, list []rec) {
	if !s.cfg.Steps[c.Step].Ordered || c.Probe || c.Flush {
		return
	}
	line := &s.lines[c.Step]
	for i := range list {
		r := &list[i]
		at, ok := line.at[r.hash]
		if !ok || s.spoke[c.Step][r.hash] || s.went[entryKey{c.Step, r.hash}] {
			continue
		}
		s.went[entryKey{c.Step, r.hash}] = true
		for _, e := range line.list[r.group][:at] {
			if s.roots[e.id] == s.roots[r.hash] && s.m.lots[r.lot].replay != nil {
				continue // what a replay makes of one record has one place
			}
			if !s.through(c.Step, e) {
				s.t.Errorf("order per key: %s calls %s before %s, which may still come", s.name(c.Step), r.id, e.name)
			}
		}
	}
}

// through reports whether a record will not come to an ordered step any more, or not before somebody wants it to.
func (s *sim) through(step int, e placeInLine) bool {
	root := s.roots[e.id]
	if s.spoke[step][e.id] || s.unsure[entryKey{step, e.id}] || root.dropped {
		return true
	}
	if s.graph.steps[step].Disabled && root.rec.deadline.Before(s.furthest) {
		return true // it was let go before anybody had set the step up
	}
	if root.retried || s.keyer >= 0 && root.feed.overlap > 0 {
		return true // a source that sends it twice has no order for it; what has no key yet does not find its place
	}
	keyed := s.keyer < 0
	for _, id := range e.line {
		keyed = keyed || s.keyed[id]
		for _, u := range s.brings[step] {
			n := s.index[entryKey{u, id}]
			if n.dead > 0 || s.late[id] {
				return true
			}
			keyed = keyed || n.live > 0
		}
	}
	return !keyed
}

func (s *sim) askedCommit(c *Commit) {
	s.rare[nCommits]++
	s.rare[nParcelsDropped] += len(c.Drop)
	l := s.m.lots[c.Lot]
	if l.replay != nil && len(l.replay.over) > 0 {
		s.rare[nOvertaken]++
	}
	for _, f := range c.Facts {
		s.plain("a fact", f.Code, f.Cause)
		switch {
		case f.Dead:
			if s.rare[nDeadLetters]++; f.Code == "KILLED_ITS_PLUGIN" {
				s.rare[nPoison]++
			}
			if f.Code == CodeUnknown {
				s.rare[nOutcomeUnknown]++
			}
		case f.Recovered:
			s.rare[nRecoveries]++
		}
	}
	s.rare[nMarks] += len(c.Marks)
	for _, p := range c.Parcels {
		if p.Keep {
			s.rare[nKeptRows] += len(p.Rows)
		}
	}
	for _, h := range c.Owing {
		for _, g := range h.Groups {
			s.plain("an entry", g.Cause, g.Code)
		}
		old := s.disk.holdings[owingKey{s.name(h.Step), h.Parcel}]
		if len(old.Groups) > 0 && !(l.replay != nil && l.replay.group.h.parcel == h.Parcel && l.replay.step == h.Step) && len(l.first.rows) > 0 {
			s.rare[nSuperseded]++
		}
	}
}

// plain fails when a word tells something of a record. Only details may: the shell seals them.
func (s *sim) plain(of string, words ...string) {
	for _, w := range words {
		switch w {
		case "", "bad", "key", "busy", "away", "blip", "person", "locked", "late", "failed", "KILLED_ITS_PLUGIN", "OUTCOME_UNKNOWN",
			CodeOrphan, CodeNeedBytes, CauseDown, CauseDisabled, CauseAbout, CauseOnce, CauseOrder:
		default:
			s.t.Errorf("content-free state: %s says %q", of, w)
		}
	}
}

// called looks at a row that a step works on.
func (s *sim) called(c Call, r *rec) {
	must, ok := s.must[c.Step][r.hash]
	if !ok && !c.Probe { // whether it wants what waited at its door is asked behind the transforms
		s.t.Errorf("no transform is skipped: %s reached %s, but never should", r.id, s.name(c.Step))
	}
	if missing := must &^ r.seen; missing != 0 {
		for u := range s.cfg.Steps {
			if missing&(1<<u) != 0 {
				s.t.Errorf("no transform is skipped: %s reached %s without having passed %s", r.id, s.name(c.Step), s.name(u))
			}
		}
	}
	if r.door > 0 && s.m.above[r.door].has(c.Step) {
		s.t.Errorf("replay from the door: %s was replayed at %s, which is before its door %s", r.id, s.name(c.Step), s.name(r.door))
	}
	if r.bytes && !c.Probe && !s.spool[r.spool] {
		s.t.Errorf("bytes are there when promised: %s reached %s when its file was gone", r.id, s.name(c.Step))
	}
	if c.Final && s.m.now.Before(r.deadline) {
		s.t.Errorf("final only after the deadline: %s at %s", r.id, s.name(c.Step))
	}
	id := s.m.lots[r.lot].first.rows[r.root].ID
	if other, ok := s.active[id]; ok && other != r.lot && s.m.lots[other] != nil {
		s.t.Errorf("one pass at a time: %s is under way in lot %d and in lot %d", r.id, other, r.lot)
	}
	s.active[id] = r.lot
	delete(s.planned, entryKey{c.Step, r.hash})
}

// writes looks at a change that is about to be on disk.
func (s *sim) writes(c Commit, parcels map[uint64]stored) {
	s.touched = s.touched[:0]
	for _, h := range c.Owing {
		old := s.disk.holdings[owingKey{s.name(h.Step), h.Parcel}]
		for _, g := range old.Groups {
			for _, row := range g.Rows {
				s.enter(h.Step, old.IDs[row], g.Dead, -1)
			}
		}
		if len(old.Groups) > 0 {
			s.refs[h.Parcel]--
		}
		p, ok := parcels[h.Parcel]
		if !ok {
			p, ok = s.disk.parcels[h.Parcel]
		}
		if !ok && len(h.Groups) > 0 {
			s.t.Errorf("owed entries never orphaned: %s owes rows of parcel %d, which does not exist", s.name(h.Step), h.Parcel)
			continue
		}
		for _, g := range h.Groups {
			for _, row := range g.Rows {
				if int(row) >= len(p.at) || s.roots[h.IDs[row]] != s.roots[p.at[row].identity()] {
					s.t.Errorf("owed entries never orphaned: row %d of parcel %d is not what %s owes", row, h.Parcel, s.name(h.Step))
					continue
				}
				s.enter(h.Step, h.IDs[row], g.Dead, 1)
				if s.keyer >= 0 && (h.Step == s.keyer || s.graph.above[s.keyer].has(h.Step)) {
					s.late[h.IDs[row]] = true
				}
				if g.Kept && !g.Dead {
					s.kept[h.Step][p.at[row].hash] = true
				}
				switch g.Cause {
				case CauseDisabled:
					s.rare[nDisabledOwed]++
				case CauseAbout:
					s.rare[nAboutOwed]++
				case CauseOrder:
					s.rare[nOrderWaits]++
				}
			}
		}
		if len(h.Groups) > 0 {
			s.refs[h.Parcel]++
		}
	}
	for _, p := range c.Drop {
		if s.refs[p] > 0 {
			s.t.Errorf("owed entries never orphaned: parcel %d is dropped, but still owed", p)
		}
	}
	for p := range parcels {
		if s.refs[p] == 0 {
			s.t.Errorf("owed entries never orphaned: parcel %d is written, but nobody owes it", p)
		}
	}
	if s.dropping[c.Lot] {
		for _, id := range s.touched {
			if r := s.roots[id]; r != nil {
				r.dropped = true
			}
		}
	}
}

// enter counts an entry.
func (s *sim) enter(step int, id uint64, dead bool, n int) {
	k := entryKey{step, id}
	c := s.index[k]
	if dead {
		c.dead += n
	} else {
		c.live += n
	}
	if s.index[k] = c; c == (entries{}) {
		delete(s.index, k)
	}
	s.touched = append(s.touched, id)
}

// written looks at the disk after a change: a checkpoint must not have passed a record of which a sink knows nothing.
func (s *sim) written(c Commit) {
	if s.tell {
		s.tellWrite(c)
	}
	for k, lot := range s.planned {
		if lot == c.Lot {
			s.planned[k] = 0
		}
	}
	for _, id := range s.touched {
		if r := s.roots[id]; r != nil && r.at < r.feed.far {
			s.accounted(r)
		}
	}
}

// tellWrite tells a change.
func (s *sim) tellWrite(c Commit) {
	if c.Source >= 0 {
		s.log("  lot %d: checkpoint of %s", c.Lot, s.name(c.Source))
	}
	for _, h := range c.Owing {
		s.log("  lot %d: %s owes of parcel %d", c.Lot, s.name(h.Step), h.Parcel)
		for _, g := range h.Groups {
			var names []string
			for _, row := range g.Rows {
				names = append(names, s.disk.parcels[h.Parcel].at[row].id)
			}
			s.log("    %v from %s: cause %q code %q due %s tries %d kept %v revisit %v dead %v", names, s.name(g.Door), g.Cause, g.Code,
				g.Due.Format("02 15:04:05"), g.Tries, g.Kept, g.Revisit, g.Dead)
		}
	}
	for _, k := range c.Marks {
		s.log("  lot %d: mark %d of %s at %s", c.Lot, k.Tries, s.roots[k.ID].rec.id, s.name(k.Step))
	}
}

// accounted fails unless everything that is to become of a record behind the checkpoint has come to be, or is owed.
func (s *sim) accounted(r *root) {
	if r.dropped {
		return
	}
next:
	for i := range r.expect {
		e := &r.expect[i]
		if s.cfg.Steps[e.step].Disabled || s.traits[e.step].fileOnly && s.graph.steps[e.step].Disabled || !e.dead && s.answered(e) {
			continue
		}
		for _, u := range s.brings[e.step] {
			for _, id := range e.line {
				if s.index[entryKey{u, id}] != (entries{}) {
					continue next
				}
			}
		}
		s.t.Errorf("checkpoint never ahead of settlement: it has passed %s, of which %s knows nothing", e.rec.id, s.name(e.step))
	}
}

// answered reports whether a sink has said something for good of a record.
func (s *sim) answered(e *expect) bool {
	return s.had[e.step][e.rec.hash] || s.fate(e.step, e.rec.hash) == passed
}

// verify holds the end to the contract.
func (s *sim) verify() {
	if s.t.Failed() {
		return
	}
	s.past()
	s.idle()
	for i, f := range s.feeds {
		switch {
		case f == nil:
		case f.position != len(f.recs):
			s.t.Errorf("comes to rest: the checkpoint of %s is %d of %d", s.name(i), f.position, len(f.recs))
		case f.rows != s.m.limits.FreshRows || f.bytes != s.m.limits.FreshBytes:
			s.t.Errorf("bounded memory: %s has credit for %d rows and %d bytes in the end, of %d and %d", s.name(i), f.rows, f.bytes,
				s.m.limits.FreshRows, s.m.limits.FreshBytes)
		}
	}
	var live, dead []int
	live, dead = make([]int, len(s.feeds)), make([]int, len(s.feeds))
	for k, n := range s.index {
		live[k.step] += n.live
		dead[k.step] += n.dead
		if n.live > 1 {
			s.t.Errorf("owed entries never orphaned: %s owes a record %d times", s.name(k.step), n.live)
		}
	}
	owed := 0
	for i := range s.cfg.Steps {
		w := s.m.Watch(i)
		if w.Owed != live[i] || w.Dead != dead[i] {
			s.t.Errorf("owed entries never orphaned: %s has %d owed and %d dead on disk, but the machine knows of %d and %d", s.name(i),
				live[i], dead[i], w.Owed, w.Dead)
		}
		if live[i] > 0 && !s.cfg.Steps[i].Disabled {
			s.t.Errorf("comes to rest: %s still owes %d", s.name(i), live[i])
		}
		owed += live[i]
	}
	for k := range s.disk.marks {
		if r := s.roots[k.ID]; !r.dropped {
			s.t.Errorf("bounded memory: a mark of %s at %s is left", r.rec.id, s.name(k.Step))
		}
	}
	if len(s.m.marks) != len(s.disk.marks) || len(s.m.pending) > 0 {
		s.t.Errorf("bounded memory: the machine has %d marks, the disk %d; %d keys wait for what is about to be owed", len(s.m.marks),
			len(s.disk.marks), len(s.m.pending))
	}
	for i := range s.m.states {
		if l := &s.m.states[i].line; len(l.lines)+len(l.units) > 0 {
			s.t.Errorf("bounded memory: %s has %d keys and %d rows in line in the end", s.name(i), len(l.lines), len(l.units))
		}
	}
	if n := len(s.m.owed.timed) + len(s.m.owed.abouts); owed == 0 && n > 0 {
		s.t.Errorf("bounded memory: nothing is owed, but %d things are waited for", n)
	}
	for _, f := range s.feeds {
		if f == nil {
			continue
		}
		for _, r := range f.recs {
			if root := s.roots[r.hash]; !root.dropped {
				s.arrived(root)
			}
		}
	}
	for _, k := range s.plans() {
		if r := s.roots[k.id]; !r.dropped {
			s.t.Errorf("no revisit is lost: %s asked for %s again, and never got it", s.name(k.step), r.rec.id)
		}
	}
}

// plans are the second times that never came, in order.
func (s *sim) plans() []entryKey {
	var list []entryKey
	for k := range s.planned {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b entryKey) int { return strings.Compare(s.name(a.step), s.name(b.step)) })
	return list
}

// arrived holds the end of one record to its fate.
func (s *sim) arrived(r *root) {
	const law = "each record ends as its fate says"
	for i := range r.expect {
		e := &r.expect[i]
		name, id := s.name(e.step), e.rec.hash
		late := e.rec.deadline.Before(s.healed.Add(3 * time.Hour)) // its file may have expired
		switch has := s.index[entryKey{e.step, id}]; {
		case s.cfg.Steps[e.step].Disabled, s.graph.steps[e.step].Disabled && late: // nobody has set it up, or not in time
			continue
		case e.dead && has.dead == 0:
			s.t.Errorf("%s: %s is no dead letter of %s", law, e.rec.id, name)
			continue
		case e.dead:
			continue
		case has.dead > 0 && s.unsure[entryKey{e.step, id}] && s.cfg.Steps[e.step].Once:
			continue
		case has.dead > 0 && late && s.setBack && s.traits[e.step].fileOnly: // its maker had its last word, and then it was not late any more
			continue
		case has.dead > 0:
			s.t.Errorf("%s: %s is a dead letter of %s for no reason", law, e.rec.id, name)
		case !s.answered(e):
			s.t.Errorf("%s: %s has not got %s", law, name, e.rec.id)
		case s.fate(e.step, id) == passed:
			continue
		case e.file && !s.full[e.step][id] && (!late || s.kept[e.step][id]):
			s.t.Errorf("%s: %s has %s without its file (kept: %v)", law, name, e.rec.id, s.kept[e.step][id])
		}
		for _, a := range s.graph.chained[e.step] {
			if late && s.graph.steps[a].Disabled {
				continue // whether it was set up in time is not known any more
			}
			if s.full[a][id] && !e.split && !s.unsure[entryKey{a, id}] && s.had[e.step][id] && s.told[e.step][toldKey{a, id}] != StateDelivered {
				s.t.Errorf("each receipt reaches its step: %s was last told that %s has %s %s, but it is there", name, s.name(a),
					s.told[e.step][toldKey{a, id}], e.rec.id)
			}
		}
	}
}
