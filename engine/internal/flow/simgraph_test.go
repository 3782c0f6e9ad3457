package flow

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// trait says what a step of a simulated pipeline does.
type trait struct {
	when     uint64 // of a hundred records it wants so many; 0 = all
	drops    bool   // transform: some records go no further
	splits   bool   // … or become several
	keyed    bool   // … or wait for a key that comes when everything is healthy
	late     bool   // … or are passed on now and asked about again later
	judges   bool   // … whose file differs are fetched again
	takes    int    // sink: largeFiles, smallFiles
	fileOnly bool   // … and nothing else
}

const (
	largeFiles = 1 << iota
	smallFiles
)

// takesFile reports whether a step takes the file of a record.
func (t *trait) takesFile(r *rec) bool {
	return r.file && (r.large && t.takes&largeFiles != 0 || !r.large && t.takes&smallFiles != 0)
}

// named are graphs that stand for something: the main job and what it could have been.
var named = []string{"archive", "waits", "disabled", "mates", "two", "object", "branch"}

// namedGraph is one of them.
func namedGraph(name string) ([]Step, []trait) {
	steps := archive()
	switch name {
	case "waits":
		steps[6].OnOwedPass = false
	case "disabled":
		steps[6].Disabled, steps[6].FilesOnly = true, true
	case "mates":
		for _, i := range []int{1, 7, 8} {
			steps[i].Process = 1
		}
	case "two":
		steps = slices.Insert(steps, 7, Step{Address: "s3", Kind: Sink, Inputs: []int{5}})
		steps[8].After = []int{6, 7}
		steps[9].After = []int{8}
		steps = append(steps, Step{Address: "mail", Kind: Sink, Inputs: []int{5}, After: []int{8}})
	case "object":
		steps = object()
		steps[4].Once = true
	case "branch":
		steps = []Step{
			0: {Address: "chat", Kind: Source},
			1: {Address: "decrypt", Kind: Transform, Inputs: []int{0}, Process: 1},
			2: {Address: "parse", Kind: Transform, Inputs: []int{1}, Process: 1},
			3: {Address: "s3", Kind: Sink, Inputs: []int{1}},
			4: {Address: "raw", Kind: Sink, Inputs: []int{2}, After: []int{3}},
			5: {Address: "recalled", Kind: Sink, Inputs: []int{2}, After: []int{4}, About: true},
		}
	}
	traits := make([]trait, len(steps))
	for i, s := range steps {
		switch s.Address {
		case "decrypt":
			traits[i].keyed = true
		case "parse":
			traits[i].drops, traits[i].splits = true, true
		case "md5":
			traits[i].judges = true
		case "oss":
			traits[i].takes, traits[i].fileOnly = largeFiles, true
		case "log":
			traits[i].takes = smallFiles
		}
	}
	return steps, traits
}

// randomGraph grows a graph: sources, transforms behind them, sinks behind both. A record reaches every step by one way only.
func randomGraph(rng *rand.Rand) ([]Step, []trait) {
	chance := func(percent int) bool { return rng.IntN(100) < percent }
	var steps []Step
	var traits []trait
	var past []uint64 // of each producer: itself and those before it
	var maker []bool  // … makes files
	var again []bool  // … plans second times
	add := func(s Step, t trait) int {
		steps, traits = append(steps, s), append(traits, t)
		return len(steps) - 1
	}
	inputs := func() []int {
		in := []int{rng.IntN(len(past))}
		if chance(50) {
			in[0] = len(past) - 1
		}
		if chance(25) {
			for other := range past {
				if past[other]&past[in[0]] == 0 {
					in = append(in, other)
					slices.Sort(in)
					break
				}
			}
		}
		return in
	}
	files := func(in []int) bool { return slices.ContainsFunc(in, func(i int) bool { return maker[i] }) }
	twice := func(in []int) bool { return slices.ContainsFunc(in, func(i int) bool { return again[i] }) }
	for i := range 1 + rng.IntN(20)/13 {
		past, maker, again = append(past, 1<<i), append(maker, false), append(again, false)
		add(Step{Address: fmt.Sprintf("source%d", i), Kind: Source}, trait{})
	}
	for i := range rng.IntN(5) {
		in := inputs()
		s, t := Step{Address: fmt.Sprintf("transform%d", i), Kind: Transform, Inputs: in}, trait{}
		here := files(in)
		switch {
		case !here && chance(35):
			s.MakesFiles, here = true, true
		case here && chance(40):
			t.judges = true
		default:
			t.splits, t.drops, t.keyed, t.late, s.Disabled = chance(25), chance(25), chance(20), chance(30), chance(8)
			if chance(25) {
				t.when = 50
			}
		}
		s.Ordered = chance(15)
		n := add(s, t)
		again = append(again, twice(in) || here || t.late)
		before := uint64(1) << n
		for _, j := range in {
			before |= past[j]
		}
		past, maker = append(past, before), append(maker, here)
	}
	producers := len(steps)
	for i := range 1 + rng.IntN(4) {
		in := inputs()
		s, t := Step{Address: fmt.Sprintf("sink%d", i), Kind: Sink, OnOwedPass: chance(50)}, trait{}
		if sinks := len(steps) - producers; sinks > 0 && chance(60) {
			for range 1 + rng.IntN(2) {
				if a := producers + rng.IntN(sinks); !slices.Contains(s.After, a) {
					s.After = append(s.After, a)
				}
			}
			if chance(70) { // chained
				in = steps[s.After[0]].Inputs
			}
			s.About = chance(25)
		}
		s.Inputs = in
		if chance(20) {
			t.when = 60
		}
		if files(in) && chance(70) {
			t.takes, t.fileOnly, s.Probes = 1+rng.IntN(3), chance(50), chance(50)
			s.FilesOnly = t.fileOnly && chance(50)
			s.Disabled = s.FilesOnly && chance(25)
		} else {
			s.Disabled = chance(6)
		}
		switch n := rng.IntN(10); {
		case t.takes > 0 || s.About:
		case n < 2:
			s.Holds = true
		case n < 5 && !twice(in):
			s.Once, s.Resend = true, chance(30)
			for a := range steps { // else it runs again when one of them has delivered
				steps[a].OnOwedPass = false
			}
		}
		s.Ordered = chance(25)
		if s.About {
			t.when, t.fileOnly, s.FilesOnly, s.Disabled = 0, false, false, false
		}
		add(s, t)
	}
	if chance(30) {
		for i := range steps {
			if chance(50) {
				steps[i].Process = 1
			}
		}
	}
	return steps, traits
}

// tune gives the steps of a world their limits.
func tune(rng *rand.Rand, steps []Step) {
	for i := range steps {
		s := &steps[i]
		s.MaxRows = []int{0, 1, 3, 10}[rng.IntN(4)]
		s.MaxBytes = []int64{0, 0, 150, 1000}[rng.IntN(4)]
		s.MaxInFlight = 1 + rng.IntN(3)
		s.MaxWait = []time.Duration{0, 0, 10 * time.Second}[rng.IntN(3)]
		s.Tries = rng.IntN(4)
		switch s.Address { // of the named ones; the others have it already
		case "raw", "log", "row":
			s.Ordered, s.Holds = rng.IntN(4) == 0, rng.IntN(5) == 0 && s.Address != "log"
		case "mail":
			s.Resend = rng.IntN(3) == 0
		}
		s.HoldRows = rng.IntN(8)
		s.HoldBytes = []int64{0, 500}[rng.IntN(2)]
		s.HoldFor = []time.Duration{0, time.Second, 10 * time.Minute}[rng.IntN(3)]
	}
}

// fate is what becomes of a record at a step however healthy that is.
type fate int

const (
	well     fate = iota
	rejected      // a dead letter
	killer        // the same, after it has killed the process often enough
	passed        // sink: it is not for this one
	dropped       // transform: it goes no further
	splits        // … it becomes several
	caused        // … it waits for a key
	differs       // … its file is not what was promised, the first time
)

// mix is a hash of some numbers.
func mix(a, b, c uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 ^ b*0xbf58476d1ce4e5b9 ^ c*0x94d049bb133111eb
	for range 2 {
		x ^= x >> 30
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 27
		x *= 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}

func (s *sim) fate(step int, id uint64) fate {
	t := &s.traits[step]
	h := mix(s.seed, uint64(step), id) % 1000
	switch {
	case h < 8:
		return rejected
	case h < 16 && s.killers:
		return killer
	case h < 40 && s.cfg.Steps[step].Kind == Sink:
		return passed
	case h < 100 && t.drops:
		return dropped
	case h >= 100 && h < 200 && t.splits:
		return splits
	case h >= 200 && h < 300 && t.keyed:
		return caused
	case h >= 300 && h < 600 && t.judges:
		return differs
	}
	return well
}

// children is what a record becomes where it is split: one with its file, and others.
func (s *sim) children(step int, r *rec) []rec {
	out := make([]rec, 1+mix(s.seed, uint64(step), r.hash+1)%3)
	for i := range out {
		c := *r
		c.id, c.hash = fmt.Sprintf("%s/%d", r.id, i), mix(r.hash, uint64(i), 5)|1
		if i > 0 {
			c.file, c.about, c.aboutID = false, "", 0
		}
		out[i] = c
	}
	return out
}

// expect is what a step must have said of a record in the end.
type expect struct {
	step  int
	rec   rec
	line  []uint64 // its identity, and those of the records that it was split from
	dead  bool
	file  bool // sink: it takes the file, and somebody makes it
	split bool // there are others of the same root
}

// root is a record of a source.
type root struct {
	rec     rec
	feed    *feed
	at      int // its place in the feed
	expect  []expect
	dropped bool // an operator has dropped an entry of it: nothing is promised any more
	retried bool // … or has asked for an entry again, or the source has sent it again: what is to happen once may happen again
}

// foretell works out what is to become of a record of a source.
func (s *sim) foretell(r *root) {
	s.roots[r.rec.hash] = r
	for _, c := range s.graph.consumers[r.feed.source] {
		s.travel(r, c, r.rec, []uint64{r.rec.hash}, 0, false, false)
	}
}

func (s *sim) travel(root *root, step int, r rec, line []uint64, seen uint64, made, split bool) {
	st := &s.cfg.Steps[step]
	s.roots[r.hash] = root
	onward := func(r rec, line []uint64, made, split bool) {
		for _, c := range s.graph.consumers[step] {
			s.travel(root, c, r, line, seen, made, split)
		}
	}
	if !s.wants(step, &r) || st.Disabled && st.Kind == Transform {
		onward(r, line, made, split)
		return
	}
	s.must[step][r.hash] = seen
	s.lines[step].add(s, step, &r, line, seen)
	seen |= 1 << step
	e := expect{step: step, rec: r, line: line, split: split, file: made && s.traits[step].takesFile(&r)}
	f := s.fate(step, r.hash)
	e.dead = f == rejected || f == killer
	if e.dead || st.Kind == Sink {
		root.expect = append(root.expect, e)
		return
	}
	switch f {
	case dropped:
	case splits:
		for _, c := range s.children(step, &r) {
			onward(c, append(slices.Clone(line), c.hash), made, true)
		}
	default:
		onward(r, line, made || st.MakesFiles, split)
	}
}

// wants reports whether a step is for a record. It depends on the record alone.
func (s *sim) wants(step int, r *rec) bool {
	t := &s.traits[step]
	switch {
	case s.cfg.Steps[step].About:
		return r.about != ""
	case t.fileOnly:
		return t.takesFile(r)
	case t.when > 0:
		return mix(s.seed, uint64(step), r.hash+2)%100 < t.when
	}
	return true
}

// needs reports whether a step takes the bytes that a row has. A transform looks at all files.
func (s *sim) needs(step int, r *rec) bool {
	return s.cfg.Steps[step].Kind == Transform || s.traits[step].takesFile(r)
}
