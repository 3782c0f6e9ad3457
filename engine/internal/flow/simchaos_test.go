package flow

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// sim is a world in which everything goes wrong that can, as a seed has it. It plays the plugins, the sources, the disk and the clock.
type sim struct {
	*world
	rng    *rand.Rand
	seed   uint64
	tell   bool
	graph  *graph // with everything enabled
	traits []trait
	feeds  []*feed // by step; nil = it is no source
	rare   rare

	roots map[uint64]*root    // by every identity that comes to be
	must  []map[uint64]uint64 // by step and identity: the transforms that it has passed when it comes there

	healthy bool
	killers bool
	long    bool    // clocks jump by hours
	trouble float64 // how often a row gets another answer than its fate
	drops   bool    // operators drop entries
	away    []bool  // by step: its service
	slow    []bool  // … it takes its time
	healed  time.Time

	had, full, kept []map[uint64]bool // by step and identity: it has it; with its file; the engine keeps its bytes
	told            []map[toldKey]State
	spoke           []map[uint64]bool   // … it has said something for good
	unsure          map[entryKey]bool   // of effect = once: it is not known whether it was sent
	sent            map[entryKey]int    // … how often it was
	held            [][]uint64          // by step: what it holds, in the order in which it took it
	lines           []keyLine           // by ordered step
	keyer           int                 // the transform that sets the key; -1 = the source does
	keyed           map[uint64]bool     // it has, since the engine started
	late            map[uint64]bool     // records that have waited before it
	went            map[entryKey]bool   // records that an ordered step has been called for since then
	planned         map[entryKey]uint64 // steps that asked to be asked again and were not yet, in which lot; 0 = that is durable
	index           map[entryKey]entries
	refs            map[uint64]int // holdings of a parcel
	brings          [][]int        // by step: those whose entries bring a record there
	active          map[uint64]uint64
	loads           map[uint64]int // rows of replays under way
	loaded          int
	blocked         int             // lots
	waits           []time.Duration // of breakers
	touched         []uint64        // identities whose entries a write changes
	dropping        map[uint64]bool // lots that write what an operator dropped

	instant  time.Time
	busy     int // operations at this instant
	latest   time.Time
	furthest time.Time // that any clock has shown
	setBack  bool      // a clock has gone backward
}

// toldKey is a sink that a record was told of.
type toldKey struct {
	of int
	id uint64
}

// entryKey is a record at a step.
type entryKey struct {
	step int
	id   uint64
}

// entries is how many entries there are.
type entries struct{ live, dead int }

// feed is a source: a list that grows, read in pages as far as its credit goes.
type feed struct {
	source   int
	recs     []rec // a record may come again
	there    int   // so many can be read by now
	overlap  int   // so many before its checkpoint are read again
	read     int
	rows     int // credit
	bytes    int64
	position int // durable
	far      int // … at its best
	granted  int // since the engine started
	durable  int // rows behind checkpoints that have moved since then
	ends     map[Batch]int
}

// simulate lives through one world. It returns what was rare in it and, if that is wanted, a hash of all that the machine asked for.
func simulate(t testing.TB, n uint64, tell, trace bool) (rare, uint64) {
	s := newSim(t, n, tell)
	if trace {
		s.trace = fnv.New64a()
	}
	s.begin()
	s.chaos()
	s.heal()
	s.verify()
	s.rare[nWorlds]++
	if trace {
		return s.rare, s.trace.Sum64()
	}
	return s.rare, 0
}

func newSim(t testing.TB, n uint64, tell bool) *sim {
	rng := rand.New(rand.NewPCG(n, 7))
	var steps []Step
	var traits []trait
	if n%2 == 0 {
		steps, traits = namedGraph(named[n/2%uint64(len(named))])
	} else {
		steps, traits = randomGraph(rng)
	}
	tune(rng, steps)
	s := &sim{
		rng: rng, seed: n, tell: tell, traits: traits, feeds: make([]*feed, len(steps)), roots: map[uint64]*root{},
		away: make([]bool, len(steps)), slow: make([]bool, len(steps)), planned: map[entryKey]uint64{}, index: map[entryKey]entries{},
		refs: map[uint64]int{}, killers: rng.IntN(3) > 0, trouble: []float64{0.02, 0.1, 0.3}[rng.IntN(3)], drops: rng.IntN(10) == 0,
	}
	s.world = newWorld(t, steps, nil)
	s.world.chance, s.world.slow = s, true
	for range steps {
		s.must = append(s.must, map[uint64]uint64{})
		s.had = append(s.had, map[uint64]bool{})
		s.full = append(s.full, map[uint64]bool{})
		s.kept = append(s.kept, map[uint64]bool{})
		s.told = append(s.told, map[toldKey]State{})
		s.spoke = append(s.spoke, map[uint64]bool{})
		s.lines = append(s.lines, keyLine{list: map[uint64][]placeInLine{}, at: map[uint64]int{}})
	}
	s.late = map[uint64]bool{}
	s.held, s.unsure, s.sent, s.keyer = make([][]uint64, len(steps)), map[entryKey]bool{}, map[entryKey]int{}, -1
	for i, st := range steps {
		if st.Kind == Transform && rng.IntN(4) == 0 {
			s.keyer = i
		}
	}
	s.page = 1 + rng.IntN(20)
	s.cfg.Seed = n
	s.cfg.Limits = Limits{FreshRows: 1 + rng.IntN(60), ReplayRows: 1 + rng.IntN(40), Brief: rng.IntN(4) == 0}
	if rng.IntN(3) == 0 {
		s.cfg.Limits.FreshBytes = int64(1 + rng.IntN(2000))
	}
	if rng.IntN(8) == 0 {
		s.cfg.Limits.Until = epoch.Add(time.Duration(rng.IntN(600)) * time.Minute)
	}
	s.graph = newGraph(slices.Clone(steps))
	for c := range steps {
		var from []int
		for u := range steps {
			if steps[u].Kind != Source && (u == c || s.graph.above[c].has(u) || slices.Contains(s.graph.also[u], c)) {
				from = append(from, u)
			}
		}
		s.brings = append(s.brings, from)
	}
	s.fill()
	for i, st := range s.cfg.Steps {
		s.log("step %d: %+v %+v sets keys %v", i, st, s.traits[i], i == s.keyer)
	}
	return s
}

// fill writes what the sources are to send.
func (s *sim) fill() {
	short := s.rng.IntN(4) == 0 // so that rescue and deadline fall into the time of trouble
	s.long = short || s.rng.IntN(10) == 0
	for i, st := range s.cfg.Steps {
		if st.Kind != Source {
			continue
		}
		f := &feed{source: i}
		s.feeds[i] = f
		keys := uint64(1 + s.rng.IntN(8))
		for n := range 3 + s.rng.IntN(40) {
			if n > 0 && s.rng.IntN(25) == 0 { // it sends a record again
				f.recs = append(f.recs, f.recs[s.rng.IntN(n)])
				s.roots[f.recs[n].hash].retried = true
				s.rare[nDuplicates]++
				continue
			}
			r := record(n + 1)
			r.id = fmt.Sprintf("%c%d", 'm'+rune(i), n+1)
			r.hash = mix(uint64(i), uint64(n), 11) | 1
			r.size = int32(1 + s.rng.IntN(300))
			if short {
				r.deadline = epoch.Add(time.Duration(25+s.rng.IntN(20)) * time.Hour)
			}
			if r.group = uint64(i)*100 + 1 + s.rng.Uint64N(keys); s.keyer < 0 {
				r.key = r.group
			}
			r.file, r.large = s.rng.IntN(3) == 0, s.rng.IntN(2) == 0
			if n > 0 && s.rng.IntN(6) == 0 {
				o := f.recs[s.rng.IntN(n)]
				r.about, r.aboutID = o.id, o.hash
			}
			s.foretell(&root{rec: r, feed: f, at: n})
			f.recs = append(f.recs, r)
		}
		if s.rng.IntN(3) == 0 {
			f.overlap = s.rng.IntN(8)
		}
		f.there = len(f.recs)
		if s.rng.IntN(3) == 0 {
			f.there = s.rng.IntN(len(f.recs))
		}
	}
}

func (s *sim) log(format string, args ...any) {
	if s.tell {
		fmt.Fprintf(os.Stderr, "%s ", s.now.Format("02 15:04:05"))
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

func (s *sim) name(step int) string { return s.cfg.Steps[step].Address }

// begin starts an engine on what the disk holds. A source may send again what lies some way before its checkpoint.
func (s *sim) begin() {
	s.active, s.loads, s.loaded, s.dropping, s.latest = map[uint64]uint64{}, map[uint64]int{}, 0, map[uint64]bool{}, time.Time{}
	for _, f := range s.feeds {
		if f != nil {
			f.read, f.rows, f.bytes, f.granted, f.durable, f.ends = max(0, f.position-f.overlap), 0, 0, 0, 0, map[Batch]int{}
			if f.read < f.position {
				s.rare[nOverlaps]++
			}
		}
	}
	maps.DeleteFunc(s.planned, func(_ entryKey, lot uint64) bool { return lot != 0 })
	for k := range s.disk.marks {
		s.unsure[entryKey{k.Step, k.ID}] = true
	}
	clear(s.held)
	s.blocked, s.waits = 0, make([]time.Duration, len(s.cfg.Steps))
	s.keyed, s.went = map[uint64]bool{}, map[entryKey]bool{}
	if s.m != nil {
		s.past()
	}
	s.start()
}

// granted gives a source credit.
func (s *sim) granted(g Grant) {
	f := s.feeds[g.Source]
	f.granted += g.Rows
	if over := f.granted - s.cfg.Limits.FreshRows - f.durable; s.cfg.Limits.FreshRows > 0 && over > 0 {
		s.t.Errorf("acknowledged only when durable: %s has credit for %d rows whose checkpoint is not", s.name(g.Source), over)
	}
	f.rows += g.Rows
	f.bytes += g.Bytes
	s.fetch(f)
}

// fetch sends the pages for which there is credit.
func (s *sim) fetch(f *feed) {
	for f.read < f.there {
		switch {
		case f.rows <= 0:
			s.rare[nRowsExhausted]++
			return
		case f.bytes <= 0:
			s.rare[nBytesExhausted]++
			return
		}
		n := min(f.rows, s.page, f.there-f.read)
		if !s.healthy && s.rng.IntN(20) == 0 {
			n = 0 // a position alone
			s.rare[nEmptyPages]++
		}
		rows := make([]rec, 0, n)
		for _, r := range f.recs[f.read : f.read+n] {
			rows = append(rows, r)
			f.rows--
			f.bytes -= int64(r.size)
			if f.read++; f.bytes <= 0 {
				break
			}
		}
		end, last := f.read, f.read == len(f.recs)
		s.ops = append(s.ops, op{kind: arriving, end: func() []Event {
			b := s.hold(rows)
			f.ends[b] = end
			s.rare[nPages]++
			s.rare[nRecords] += len(rows)
			return []Event{Arrived{Source: f.source, Batch: b, Rows: s.rows(b), Drained: last, Lot: func(lot uint64) { s.place(b, lot, 0) }}}
		}})
	}
}

// settled moves a checkpoint.
func (s *sim) settled(source int, b Batch) (durable func()) {
	f, n := s.feeds[source], len(s.batches[b])
	end := f.ends[b]
	return func() {
		from := f.far
		f.position, f.far, f.durable = end, max(f.far, end), f.durable+n
		s.rare[nCheckpoints]++
		for i := from; i < f.far; i++ {
			s.touched = append(s.touched, f.recs[i].hash)
		}
	}
}

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
