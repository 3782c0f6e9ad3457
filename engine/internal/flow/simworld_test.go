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
