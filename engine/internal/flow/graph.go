package flow

import (
	"slices"
	"time"
)

// Kind says on which side of the graph a step stands.
type Kind uint8

// Kinds of step.
const (
	Source Kind = iota
	Transform
	Sink
)

// Step is what the machine has to know of a configured component. Steps are named by their index in [Config].Steps.
type Step struct {
	Address string
	Kind    Kind
	Inputs  []int // sources and transforms before it
	After   []int // sinks that it waits for

	About      bool // it waits for another record than its own: see [Content].About
	OnOwedPass bool // sink: while it owes, steps after it run now, and once more when it has delivered
	Disabled   bool
	MakesFiles bool
	FilesOnly  bool // sink: concerned with files alone; what a disabled one would have taken is owed until its deadline
	Probes     bool
	Process    int // steps of one process share a number above 0; 0 = a process of its own

	Ordered bool // records of one key go one after the other, in the order in which they came
	Once    bool // effect = once: called for one record that the state owes, with its intent durable first
	Resend  bool // … and called again when it is not known how a call ended; otherwise its record is dead

	Holds     bool          // sink: may answer Held, and is told when to flush what it holds
	HoldRows  int           // flush when it holds so many rows; 0 = 10,000
	HoldBytes int64         // … or body bytes; 0 = 64 MiB
	HoldFor   time.Duration // … or when it has held a row for so long; 0 = a minute

	MaxRows     int           // rows per call; 0 = 500
	MaxBytes    int64         // body bytes per call; 0 = 512 KiB
	MaxInFlight int           // calls at once; 0 = 2
	MaxWait     time.Duration // how long rows may wait for a fuller call while more are on their way; 0 = not at all

	Tries  int           // calls per row and pass before it is owed; 0 = 3
	Within time.Duration // in-line retries end this long after the first failure; 0 = 30 s
}

// Limits of a machine.
type Limits struct {
	FreshRows   int           // rows of fresh batches in flight per source; 0 = 4000
	FreshBytes  int64         // body bytes of fresh batches in flight per source; 0 = 16 MiB
	ReplayRows  int           // rows of replays in flight, a quarter beside the fresh ones; 0 = 1000
	Rescue      time.Duration // so long before its deadline a file that a sink still owes is fetched and kept; 0 = 24 h
	ProbeAfter  time.Duration // an open breaker probes after this; 0 = 5 s
	ProbeAtMost time.Duration // … and at most this, doubling; 0 = 5 min
	Brief       bool          // the run ends when nothing is left to do: what is held is flushed as soon as nothing more is on its way
	Until       time.Time     // what falls due later is left owed, and no breaker probes any more; zero = never
}

// Config of a machine.
type Config struct {
	Steps  []Step // in topological order: a step stands behind its Inputs and After
	Limits Limits
	Seed   uint64 // of the jitter of retries
}

func (c *Config) defaults() {
	l := &c.Limits
	set(&l.FreshRows, 4000)
	set(&l.FreshBytes, 16<<20)
	set(&l.ReplayRows, 1000)
	set(&l.Rescue, 24*time.Hour)
	set(&l.ProbeAfter, 5*time.Second)
	set(&l.ProbeAtMost, 5*time.Minute)
	for i := range c.Steps {
		s := &c.Steps[i]
		set(&s.MaxRows, 500)
		set(&s.MaxBytes, 512<<10)
		set(&s.MaxInFlight, 2)
		set(&s.Tries, 3)
		set(&s.Within, 30*time.Second)
		set(&s.HoldRows, 10_000)
		set(&s.HoldBytes, 64<<20)
		set(&s.HoldFor, time.Minute)
		if s.Once {
			s.MaxRows = 1
		}
	}
}

func set[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// graph is what follows from the steps alone.
type graph struct {
	steps     []Step
	consumers [][]int // by producer
	above     []bits  // every step that a row may pass before it reaches this one, by inputs only
	below     []bits  // every step that a row may reach from this one
	maker     []int   // nearest MakesFiles transform above, -1 = none
	chained   [][]int // sinks in After that see the same rows as the step itself
	others    [][]int // sinks in After that do not: awaited by identity
	also      [][]int // by sink: the steps chained behind it, and behind those
	mates     [][]int // steps of the same process, the step itself among them
	awaited   []bool  // sinks that stand in somebody's chained list
	ordered   []int   // steps that are Ordered
	holders   [][]int // by ordered step: those that hold back its keys while they owe
	keyed     []bool  // they, for any step
}

// bits is a set of steps.
type bits []uint64

func newBits(n int) bits      { return make(bits, (n+63)/64) }
func (b bits) add(i int)      { b[i/64] |= 1 << (i % 64) }
func (b bits) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bits) or(o bits) {
	for i := range b {
		b[i] |= o[i]
	}
}

func newGraph(steps []Step) *graph {
	n := len(steps)
	g := &graph{
		steps: steps, consumers: make([][]int, n), above: make([]bits, n), below: make([]bits, n), maker: make([]int, n),
		chained: make([][]int, n), others: make([][]int, n), also: make([][]int, n), awaited: make([]bool, n), mates: make([][]int, n),
		holders: make([][]int, n), keyed: make([]bool, n),
	}
	for i, s := range steps {
		for j := range steps {
			if i == j || s.Process > 0 && s.Process == steps[j].Process {
				g.mates[i] = append(g.mates[i], j)
			}
		}
		g.above[i], g.below[i], g.maker[i] = newBits(n), newBits(n), -1
		for _, in := range s.Inputs {
			if in >= i {
				panic("flow: steps are not in topological order")
			}
			g.consumers[in] = append(g.consumers[in], i)
			g.above[i].or(g.above[in])
			g.above[i].add(in)
			if m := in; steps[m].MakesFiles || g.maker[m] >= 0 {
				if !steps[m].MakesFiles {
					m = g.maker[m]
				}
				g.maker[i] = max(g.maker[i], m)
			}
		}
		for _, a := range s.After {
			if a >= i {
				panic("flow: a step stands before one that it is after")
			}
			if !s.About && slices.Equal(s.Inputs, steps[a].Inputs) {
				g.chained[i] = append(g.chained[i], a)
				for x := range g.also {
					if (x == a || slices.Contains(g.also[x], a)) && !slices.Contains(g.also[x], i) {
						g.also[x] = append(g.also[x], i)
					}
				}
			} else {
				g.others[i] = append(g.others[i], a)
			}
			g.awaited[a] = true
		}
	}
	for i, s := range steps {
		if s.Ordered {
			g.ordered = append(g.ordered, i)
			g.holders[i] = g.holdersOf(i)
			for _, h := range g.holders[i] {
				g.keyed[h] = true
			}
		}
	}
	for i := n - 1; i >= 0; i-- {
		for _, c := range g.consumers[i] {
			g.below[i].or(g.below[c])
			g.below[i].add(c)
		}
	}
	return g
}

// holdersOf lists the steps whose entries hold back the keys of an ordered step: itself, the transforms before it, and the sinks whose
// entries carry it.
func (g *graph) holdersOf(step int) []int {
	list := []int{step}
	for _, a := range g.chained[step] {
		if !g.steps[a].OnOwedPass {
			list = append(list, g.holdersOf(a)...)
		}
	}
	for u, s := range g.steps {
		if s.Kind == Transform && g.above[step].has(u) {
			list = append(list, u)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// paths is the set of steps to run when rows stand at the door of door and target is owed, with the steps chained behind it.
func (g *graph) paths(door, target int) bits {
	allow := newBits(len(g.steps))
	allow.add(door)
	if g.steps[target].Kind == Transform {
		allow.add(target)
		allow.or(g.below[target])
	}
	goals := append([]int{target}, g.also[target]...)
	for _, t := range goals {
		allow.add(t)
		for u := range g.steps {
			if g.above[t].has(u) && g.below[door].has(u) {
				allow.add(u)
			}
		}
	}
	return allow
}
