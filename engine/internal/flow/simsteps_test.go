package flow

import (
	"slices"
	"time"
)

// does is what a step says of a row, and does to it.
func (s *sim) does(r *rec, c Call) answer {
	a := s.thinks(r, c)
	st, k := &s.cfg.Steps[c.Step], entryKey{c.Step, r.hash}
	if c.Step == s.keyer && a.Verdict == Done {
		a.out.key = r.group
		for i := range a.outs {
			a.outs[i].key = r.group
		}
	}
	switch {
	case a.dies:
		return a
	case a.Verdict == Done || a.Verdict == Passed || a.Verdict == Reject:
		s.spoke[c.Step][r.hash] = true
	case st.Once && !c.Probe && !s.healthy && s.rng.IntN(4) == 0:
		a.Unknown, a.Down, a.Cause, s.unsure[k] = true, false, "", true
		s.rare[nUnknown]++
		if s.rng.IntN(2) == 0 {
			s.sends(k, r)
		}
	}
	if st.Once && a.Verdict == Done && !c.Probe {
		s.sends(k, r)
	}
	return a
}

// sends does what is to happen once.
func (s *sim) sends(k entryKey, r *rec) {
	s.had[k.step][r.hash] = true
	s.sent[k]++
	root := s.roots[r.hash]
	if s.sent[k] > 1 && !s.cfg.Steps[k.step].Resend && !root.retried && root.feed.overlap == 0 {
		s.t.Errorf("once: %s was sent by %s %d times", r.id, s.name(k.step), s.sent[k])
	}
}

// thinks is what a step says of a row.
func (s *sim) thinks(r *rec, c Call) answer {
	step, t, kind := c.Step, &s.traits[c.Step], s.cfg.Steps[c.Step].Kind
	chance := func(p float64) bool { return !s.healthy && s.rng.Float64() < p*s.trouble*3 }
	f := s.fate(step, r.hash)
	past := c.Final || !s.now.Before(r.deadline)
	switch {
	case s.away[step]:
		return down("away")
	case c.Probe:
		s.rare[nProbes]++
		there := s.full[step][r.hash]
		for _, a := range s.graph.chained[step] { // it has been asked with what is said of others now
			there = there && s.told[step][toldKey{a, r.hash}] == s.states[r.lot][Ref{Batch(a), r.root}]
		}
		if there {
			return ok(*r)
		}
		return retry(0, CodeNeedBytes)
	case f == killer && !(s.cfg.Steps[step].Holds && !c.Flush && r.hash%4 < 2):
		return answer{dies: true}
	case s.cfg.Steps[step].Holds && !c.Flush && (f == killer || s.rng.IntN(4) > 0 && !chance(0.3)):
		s.rare[nHeld]++
		s.held[step] = append(s.held[step], r.hash)
		return answer{Run: Run{Verdict: Held}}
	case f == rejected:
		return answer{Run: Run{Verdict: Reject, Code: "bad", Detail: "it is " + r.id}}
	case f == caused && !s.healthy:
		return answer{Run: Run{Verdict: Retry, Cause: "key", Code: "key", Detail: "of " + r.id}}
	case chance(0.3):
		return retry([]time.Duration{0, time.Second, time.Hour}[s.rng.IntN(3)], "busy")
	case chance(0.03):
		return down("blip")
	case chance(0.02):
		return answer{Run: Run{Verdict: Retry, Cause: "person", Code: "locked", Alarm: true, Detail: r.id}}
	case (!s.m.states[step].proving || s.disk.marks[s.markOf(&c, r)] < strikes) && chance(0.03):
		return answer{dies: true}
	case f == passed:
		return answer{Run: Run{Verdict: Passed, Code: "not_mine"}}
	case f == dropped:
		return answer{Run: Run{Verdict: Done}, outs: []rec{}}
	case f == splits:
		s.rare[nSplitRows]++
		return answer{Run: Run{Verdict: Done}, outs: s.children(step, r)}
	case s.cfg.Steps[step].MakesFiles:
		return s.makes(r, c, past, chance)
	case t.late && c.Attempt == 0 && chance(1):
		return s.again(step, *r, time.Duration(s.rng.IntN(3))*time.Minute)
	case t.judges && f == differs && r.bytes && r.copies < 2 && !past:
		r.outcome = "differs"
		return s.again(step, *r, 10*time.Minute)
	case kind == Sink:
		return s.takes(r, c, past)
	}
	return ok(*r)
}

// again passes a record on and plans a second time.
func (s *sim) again(step int, r rec, after time.Duration) answer {
	s.rare[nRevisits]++
	s.planned[entryKey{step, r.hash}] = r.lot
	return answer{Run: Run{Verdict: Done, Revisit: true, After: after, Due: r.deadline}, out: r}
}

// makes is what a maker of files says.
func (s *sim) makes(r *rec, c Call, past bool, chance func(float64) bool) answer {
	switch {
	case !r.file:
		return ok(*r)
	case past:
		if r.outcome != "differs" {
			r.outcome = "expired"
		}
		return ok(*r)
	case chance(0.5) && c.Attempt > 0:
		return retry(15*time.Minute, "late")
	case chance(0.5):
		r.outcome = "waiting"
		return s.again(c.Step, *r, time.Minute)
	}
	return ok(media(*r))
}

// takes is what a sink says.
func (s *sim) takes(r *rec, c Call, past bool) answer {
	step, t := c.Step, &s.traits[c.Step]
	if t.fileOnly && !r.bytes && !s.full[step][r.hash] {
		if r.copies > 0 && !past {
			s.rare[nNeedBytes]++
			return retry(0, CodeNeedBytes)
		}
		s.says(step, r)
		return answer{Run: Run{Verdict: Passed, Code: "no_bytes"}}
	}
	if s.cfg.Steps[step].About && !c.Final && s.rng.IntN(2) == 0 &&
		!slices.ContainsFunc(s.cfg.Steps[step].After, func(a int) bool { return s.had[a][r.aboutID] }) {
		s.rare[nOrphans]++
		return retry(time.Hour, CodeOrphan)
	}
	s.says(step, r)
	if !t.takesFile(r) || r.bytes {
		s.full[step][r.hash] = true
	}
	return ok(*r)
}

// says notes that a sink has its last word on a record as it stands, and what it was told of others by then.
func (s *sim) says(step int, r *rec) {
	s.had[step][r.hash] = true
	for _, a := range s.graph.chained[step] {
		s.told[step][toldKey{a, r.hash}] = s.states[r.lot][Ref{Batch(a), r.root}]
	}
}

// work answers a call, in one or more messages and not always in order; it may fail, or kill its process, after any of them.
func (s *sim) work(c Call) {
	list := s.rowsOf(c)
	s.log("call %d to %s: %v attempt %d final %v probe %v flush %v", c.ID, s.name(c.Step), ids(list), c.Attempt, c.Final, c.Probe, c.Flush)
	if c.Flush {
		s.held[c.Step] = nil
	}
	if !s.healthy && s.rng.IntN(100) == 0 && !c.Flush {
		s.log("  never sent")
		s.rare[nUnsent]++
		s.event(Returned{Call: c.ID, Failure: Unsent})
		return
	}
	order := make([]int32, len(list))
	for i := range order {
		order[i] = int32(i)
	}
	if s.rng.IntN(3) == 0 {
		s.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	for len(order) > 0 {
		n := 1 + s.rng.IntN(len(order))
		e, died := s.answerSome(c, list, order[:n])
		if s.cfg.Steps[c.Step].Once && !c.Probe && !died && !s.healthy && s.rng.IntN(12) == 0 { // the answer is lost
			s.rare[nLostAnswers]++
			if s.rng.IntN(2) == 0 {
				s.fails(c, list)
				return
			}
			died = true
		}
		if died && (s.cfg.Steps[c.Step].Once || s.rng.IntN(4) == 0) { // what it did before, nobody hears of
			delete(s.batches, e.Out)
			e.Runs = nil
		}
		if len(e.Runs) > 0 {
			s.heard(c, list, e.Runs)
			for _, r := range e.Runs {
				s.log("  %v: %s %s%s", ids(list[r.First:r.First+r.Count]), [...]string{"", "done", "passed", "retry", "reject", "held"}[r.Verdict],
					r.Code, map[bool]string{true: " and again"}[r.Revisit])
			}
			s.event(e)
		}
		if died {
			s.die(c.Step, c)
			return
		}
		if order = order[n:]; len(order) > 0 && !s.healthy && s.rng.IntN(50) == 0 {
			s.fails(c, list)
			return
		}
	}
	s.event(Returned{Call: c.ID})
}

// heard notes the keys that the machine is about to learn. One that was set in an answer which nobody hears gives no place in line.
func (s *sim) heard(c Call, list []rec, runs []Run) {
	if c.Step != s.keyer {
		return
	}
	for _, r := range runs {
		for i := r.First; r.Verdict == Done && i < r.First+r.Count; i++ {
			s.keyed[list[i].hash] = true
		}
	}
}

// fails breaks a call off.
func (s *sim) fails(c Call, list []rec) {
	f := []Failure{Refused, Canceled}[s.rng.IntN(2)]
	s.log("  fails: %v", f)
	s.rare[nBroken]++
	s.lost(c, list)
	s.event(Returned{Call: c.ID, Failure: f, Code: "failed"})
}

// lost notes of what was to happen once that nobody knows.
func (s *sim) lost(c Call, list []rec) {
	if s.cfg.Steps[c.Step].Once && !c.Probe {
		for _, r := range list {
			s.unsure[entryKey{c.Step, r.hash}] = true
		}
	}
}

// die ends the process of a step: all its calls are lost, some with answers under way.
func (s *sim) die(step int, under ...Call) {
	mates := s.m.mates[step]
	if s.cfg.Steps[step].Disabled || len(under) == 0 && slices.ContainsFunc(mates, func(i int) bool { return s.m.states[i].proving }) {
		return
	}
	s.log("process of %s dies", s.name(step))
	s.rare[nDeaths]++
	for _, i := range mates {
		s.event(Available{i, false})
	}
	s.ops = slices.DeleteFunc(s.ops, func(o op) bool {
		mine := o.kind == calling && slices.Contains(mates, o.call.Step)
		if mine {
			under = append(under, o.call)
		}
		return mine
	})
	if len(under) > 1 {
		s.rare[nDeathsOfMany]++
	}
	for _, i := range mates {
		if len(s.held[i]) > 0 {
			s.rare[nDeathsHolding]++
		}
		s.held[i] = nil
	}
	for _, c := range under {
		if s.m.states[c.Step].proving {
			s.rare[nDeathsAlone]++
		}
		s.lost(c, s.rowsOf(c))
		s.event(Returned{Call: c.ID, Failure: Died})
	}
	up := func() []Event {
		var evs []Event
		for _, i := range mates {
			if s.cfg.Steps[i].Kind != Source && !s.cfg.Steps[i].Disabled {
				evs = append(evs, Available{i, true})
			}
		}
		return evs
	}
	s.ops = append(s.ops, op{kind: loading, end: up})
}
