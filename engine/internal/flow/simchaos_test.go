package flow

import (
	"slices"
	"time"
)

// chaos lives through some time of trouble.
func (s *sim) chaos() {
	for range 80 + s.rng.IntN(400) {
		if s.t.Failed() {
			return
		}
		switch n := s.rng.IntN(1000); {
		case n < 700:
			s.finishOne()
		case n < 840:
			s.sleep()
		case n < 890:
			step := s.anyStep()
			if s.away[step] = !s.away[step]; s.away[step] {
				s.log("%s goes away", s.name(step))
			}
		case n < 905:
			step := s.anyStep()
			s.slow[step] = !s.slow[step]
		case n < 930:
			s.die(s.anyStep())
		case n < 955:
			s.crash()
		case n < 965:
			s.operate()
		case n < 975:
			step := s.anyStep()
			s.log("%s is reconfigured", s.name(step))
			if len(s.m.lots) > 0 {
				s.rare[nReconfigured]++
			}
			s.event(Reconfigured{step})
		case n < 980:
			s.jump()
		default:
			for range 20 {
				s.finishOne()
			}
		}
	}
}

// anyStep is a step that does something.
func (s *sim) anyStep() int {
	for {
		if step := s.rng.IntN(len(s.cfg.Steps)); s.cfg.Steps[step].Kind != Source {
			return step
		}
	}
}

// operate is a person's word.
func (s *sim) operate() {
	e := Wanted{Step: s.anyStep(), Dead: s.rng.IntN(2) == 0, Drop: s.drops && s.rng.IntN(2) == 0}
	if s.rng.IntN(2) == 0 {
		var ids []uint64
		for _, h := range s.m.Holdings(e.Step) {
			for _, g := range h.Groups {
				for _, row := range g.Rows {
					if g.Dead == e.Dead {
						ids = append(ids, h.IDs[row])
					}
				}
			}
		}
		if len(ids) > 0 {
			e.ID = ids[s.rng.IntN(len(ids))]
		}
	}
	s.log("an operator wants %+v", e)
	s.retries(e)
	before := s.m.lastLot
	s.event(e)
	if s.m.lastLot > before {
		if s.rare[nOperated]++; e.Drop {
			s.rare[nOperatorDrops]++
			s.dropping[before+1] = true
		}
	}
}

// retries notes whose entries an operator asks for again.
func (s *sim) retries(e Wanted) {
	for _, h := range s.m.Holdings(e.Step) {
		for _, id := range h.IDs {
			if e.ID == 0 || e.ID == id {
				s.roots[id].retried = true
			}
		}
	}
}

// jump sets the clock.
func (s *sim) jump() {
	d := time.Duration(1+s.rng.IntN(60)) * time.Minute
	if s.long {
		d *= 20
	}
	if s.rng.IntN(2) == 0 {
		s.rare[nJumpsBack]++
		d = -d
	} else {
		s.rare[nJumpsForward]++
	}
	s.setBack = s.setBack || d < 0
	s.log("the clock jumps by %v", d)
	s.now = s.now.Add(d)
	s.event(Tick{})
}

// crash kills the engine. Of the writes under way some may be durable: those before the one that was under way, and that one if it stands
// in the journal as a whole.
func (s *sim) crash() {
	if s.suspected() {
		return
	}
	var writes []op
	told := 0
	for _, o := range s.ops {
		switch o.kind {
		case writing:
			writes = append(writes, o)
		case telling:
			told++
		}
	}
	n := s.rng.IntN(len(writes) + 1)
	s.rare[nKills]++
	switch {
	case told > 0:
		s.rare[nKillsUnacknowledged]++
	case len(writes) == 0:
	case n == 0:
		s.rare[nKillsBeforeWrite]++
	}
	if n < len(writes) {
		s.rare[nTornDropped]++
	}
	if n > 0 {
		s.rare[nTornApplied]++
	}
	s.log("engine killed with %d under way; %d of %d writes are durable", len(s.ops), n, len(writes))
	for _, w := range writes[:n] {
		w.end()
	}
	s.begin()
}

// suspected reports whether an engine that ends now convicts a record: it died with that one alone too often. Such a death would have to be
// the record's doing.
func (s *sim) suspected() bool {
	innocent := func(step, tries int) bool {
		st := &s.cfg.Steps[step]
		return tries < strikes || st.Once && !st.Resend
	}
	for k, tries := range s.disk.marks {
		if !innocent(k.Step, tries) {
			return true
		}
	}
	for k, tries := range s.m.marks {
		if !innocent(k.step, tries) {
			return true
		}
	}
	return false
}

// diskError ends the engine: a write has not come to be, or nobody knows.
func (s *sim) diskError(write op) {
	s.rare[nDiskErrors]++
	durable := s.rng.IntN(4) == 0
	s.log("disk error, durable %v: the engine ends", durable)
	if durable {
		write.end()
	}
	s.begin()
}

// finishOne ends something that is under way: calls and loads in any order, arrivals, writes and what is told of them in theirs.
func (s *sim) finishOne() bool {
	if s.now != s.instant {
		s.instant, s.busy = s.now, 0
	}
	if s.busy++; s.busy > 20000 {
		s.t.Fatalf("does not spin: %d operations at one instant", s.busy)
	}
	var can []int
	var seen [telling + 1]bool
	for i, o := range s.ops {
		if o.kind < arriving || !seen[o.kind] {
			can = append(can, i)
		}
		seen[o.kind] = true
	}
	if len(can) == 0 {
		return false
	}
	i := can[s.rng.IntN(len(can))]
	o := s.ops[i]
	switch {
	case s.healthy:
	case o.kind == calling && s.slow[o.call.Step] && s.rng.IntN(10) > 0:
		s.rare[nSlowCalls]++
		return true
	case o.kind == writing && s.rng.IntN(300) == 0 && !s.suspected():
		s.ops = slices.Delete(s.ops, i, i+1)
		s.diskError(o)
		return true
	}
	s.ops = slices.Delete(s.ops, i, i+1)
	if o.kind == calling {
		s.work(o.call)
		return true
	}
	s.log("%s ends", [...]string{"call", "load", "page", "write", "word of a write"}[o.kind])
	for _, e := range o.end() {
		if e, is := e.(Loaded); is && !s.healthy && s.rng.IntN(20) == 0 {
			s.rare[nLoadErrors]++
			s.log("… in an error")
			s.drop(e)
			s.event(Loaded{Lot: e.Lot, Err: true})
			continue
		}
		s.event(e)
	}
	return true
}

// drop forgets what a load that fails has read.
func (s *sim) drop(e Loaded) {
	delete(s.batches, e.At)
	delete(s.batches, e.Last)
	delete(s.states, e.Lot)
}

// event is an event of the world, and a look at the machine.
func (s *sim) event(e Event) {
	s.world.event(e)
	s.look()
}

// sleep lets time pass: to the next tick, or some way towards it.
func (s *sim) sleep() {
	d := []time.Duration{time.Second, 10 * time.Second, time.Minute, 20 * time.Minute}[s.rng.IntN(4)]
	if s.long {
		d *= 30
	}
	if next := s.m.Next(); !next.IsZero() && next.Before(s.now.Add(d)) {
		d = next.Sub(s.now)
	}
	s.now = s.now.Add(max(d, 0))
	for _, f := range s.feeds {
		if f != nil && f.there < len(f.recs) {
			f.there = min(len(f.recs), f.there+s.rng.IntN(3))
			s.fetch(f)
		}
	}
	s.event(Tick{})
}

// heal ends all trouble, and waits until nothing is under way or due.
func (s *sim) heal() {
	if s.t.Failed() {
		return
	}
	s.log("healthy")
	s.healthy = true
	clear(s.away)
	restart := !s.cfg.Limits.Until.IsZero()
	s.cfg.Limits.Until = time.Time{}
	for i := range s.cfg.Steps {
		if st := &s.cfg.Steps[i]; st.Disabled && st.FilesOnly && s.rng.IntN(2) == 0 {
			st.Disabled, restart = false, true
		}
	}
	if restart {
		for s.suspected() && s.proceed() {
		}
		for k, tries := range s.disk.marks {
			if tries >= strikes { // its lot waits for something that this engine will not do
				s.roots[k.ID].dropped = true
			}
		}
		s.begin()
	}
	s.healed = s.furthest
	for i, st := range s.cfg.Steps {
		if st.Kind != Source && !st.Disabled {
			s.event(Reconfigured{i})
		}
		if f := s.feeds[i]; f != nil {
			f.there = len(f.recs)
			s.fetch(f)
		}
	}
	for range 100000 {
		if !s.proceed() {
			return
		}
	}
	s.t.Errorf("comes to rest: the machine does not")
}

// proceed does the next thing. It reports false when there is none.
func (s *sim) proceed() bool {
	if s.t.Failed() {
		return false
	}
	if s.finishOne() {
		return true
	}
	next := s.m.Next()
	if next.IsZero() {
		return false
	}
	s.now = next
	s.event(Tick{})
	return true
}
