package flow

import (
	"cmp"
	"fmt"
	"hash"
	"maps"
	"slices"
	"testing"
	"time"
)

// op is something that the shell has under way. Of a kind that is ordered, one ends after the other.
type op struct {
	kind opKind
	call Call
	end  func() []Event
}

type opKind int

const (
	calling opKind = iota
	loading
	arriving // ordered
	writing  // ordered
	telling  // ordered: a write is durable and the machine does not know it
)

// world is a shell without processes: steps are functions, time stands still until advance. What is under way ends at once and in order,
// unless the test takes it out of ops itself.
type world struct {
	t      testing.TB
	cfg    Config
	m      *Machine
	now    time.Time
	source []rec
	page   int
	read   int

	do     func(w *world, step string, r rec, c Call) answer
	ready  func(w *world, c Call) bool // false = the call hangs for now
	hung   []Call
	wants  func(step string, r rec) bool
	chance chance                   // what a simulation does in place of all these; nil = this is no simulation
	states map[uint64]map[Ref]State // by lot: (sink, root)

	slow     bool // ops end when the test says so
	ops      []op
	draining bool
	batches  map[Batch][]rec
	next     Batch
	names    int
	spool    map[int]bool
	files    map[uint64]map[int32][]int // names in the spool by lot and root
	disk     durable
	done     map[string][]rec // what sinks took, in order
	facts    []Fact
	breakers []Breaker
	calls    int
	trace    hash.Hash64 // of the actions; nil = nobody asks
}

// chance is the part of a world that a simulation plays: what steps think of rows, how sources are read, and who looks at everything.
type chance interface {
	wants(step int, r *rec) bool
	needs(step int, r *rec) bool // whether it takes the bytes that the row has
	does(r *rec, c Call) answer
	granted(g Grant)
	settled(source int, b Batch) (durable func()) // a checkpoint is about to move

	asked(a Action)                             // by the machine
	called(c Call, r *rec)                      // a step works on a row
	writes(c Commit, parcels map[uint64]stored) // before a change is on disk …
	written(c Commit)                           // … and after it
}

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t testing.TB, steps []Step, source []rec) *world {
	w := &world{t: t, cfg: Config{Steps: steps, Seed: 1}, now: epoch, source: source, page: 500, done: map[string][]rec{},
		disk: durable{parcels: map[uint64]stored{}, holdings: map[owingKey]Holding{}, marks: map[Mark]int{}}}
	w.wants = func(string, rec) bool { return true }
	w.do = func(w *world, step string, r rec, c Call) answer { return answer{Run: Run{Verdict: Done}, out: r} }
	return w
}

func (w *world) step(address string) int {
	for i, s := range w.cfg.Steps {
		if s.Address == address {
			return i
		}
	}
	w.t.Fatalf("no step %s", address)
	return -1
}

// Wants, NeedsBytes and About make the world the machine's Content.
func (w *world) Wants(step int, r Ref) (bool, string) {
	if w.chance != nil {
		return w.chance.wants(step, w.row(r)), ""
	}
	return w.wants(w.cfg.Steps[step].Address, *w.row(r)), ""
}

func (w *world) NeedsBytes(step int, r Ref) bool {
	x := w.row(r)
	if w.chance != nil {
		return x.bytes && w.chance.needs(step, x)
	}
	switch w.cfg.Steps[step].Address {
	case "oss":
		return x.bytes && x.large
	case "log":
		return x.bytes && !x.large
	case "md5":
		return x.bytes
	}
	return false
}

func (w *world) About(step int, r Ref) uint64 {
	x := w.row(r)
	if x.aboutID != 0 {
		return x.aboutID
	}
	return hashOf(x.about)
}

// Announce does what the machine asks about next.
func (w *world) Announce(a Action) {
	w.note(a)
	switch a := a.(type) {
	case Alias:
		rows := make([]rec, 0, len(a.Rows))
		for _, r := range a.Rows {
			rows = append(rows, *w.row(Ref{a.Of, r}))
		}
		w.batches[a.New] = rows
	case Receipt:
		w.state(a.Lot)[Ref{Batch(a.Sink), a.Root}] = a.State
	}
}

// note tells those who want to know what the machine asks for.
func (w *world) note(a Action) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%T%+v\n", a, a)
	}
	if w.chance != nil {
		w.chance.asked(a)
	}
}

func (w *world) row(r Ref) *rec {
	b, ok := w.batches[r.Batch]
	if !ok || int(r.Row) >= len(b) {
		w.t.Fatalf("rows live while they are needed: row %v is asked for, which nobody holds", r)
	}
	return &b[r.Row]
}

// start brings up an engine on what the disk holds; what was in flight is gone.
func (w *world) start() {
	w.batches, w.states, w.ops, w.hung, w.draining = map[Batch][]rec{}, map[uint64]map[Ref]State{}, nil, nil, false
	w.spool, w.files = map[int]bool{}, map[uint64]map[int32][]int{}
	var owed []Holding
	for _, k := range slices.SortedFunc(maps.Keys(w.disk.holdings), owingKey.compare) {
		h := w.disk.holdings[k]
		h.Groups = slices.Clone(h.Groups)
		for i := range h.Groups {
			h.Groups[i].Rows = slices.Clone(h.Groups[i].Rows)
		}
		owed = append(owed, h)
	}
	var marks []Mark
	for k, tries := range w.disk.marks {
		k.Tries = tries
		marks = append(marks, k)
	}
	slices.SortFunc(marks, func(a, b Mark) int { return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.ID, b.ID)) })
	w.m = New(w.cfg, w, owed, marks, w.disk.last, w.now)
	w.read = w.disk.position
	w.act(w.m.Start())
	w.drain()
	for i, s := range w.cfg.Steps {
		if s.Kind != Source && !s.Disabled {
			w.event(Available{i, true})
		}
	}
}

func (w *world) event(e Event) {
	w.act(slices.Clone(w.m.Step(w.now, e)))
	w.drain()
}

// drain ends what is under way, and what follows from it.
func (w *world) drain() {
	if w.slow || w.draining {
		return
	}
	w.draining = true
	for len(w.ops) > 0 {
		w.finish(0)
	}
	w.draining = false
}

// finish ends one op.
func (w *world) finish(i int) {
	o := w.ops[i]
	w.ops = slices.Delete(w.ops, i, i+1)
	for _, e := range o.end() {
		w.event(e)
	}
}

// act begins what the machine asks for.
func (w *world) act(acts []Action) {
	for _, a := range acts {
		w.note(a)
		switch a := a.(type) {
		case Grant:
			if w.chance != nil {
				w.chance.granted(a)
				continue
			}
			for room := a.Rows; room > 0 && w.read < len(w.source); {
				n := min(room, w.page, len(w.source)-w.read)
				rows := slices.Clone(w.source[w.read : w.read+n])
				w.read += n
				room -= n
				last := w.read == len(w.source)
				w.ops = append(w.ops, op{kind: arriving, end: func() []Event {
					b := w.hold(rows)
					return []Event{Arrived{Source: 0, Batch: b, Rows: w.rows(b), Drained: last, Lot: func(lot uint64) { w.place(b, lot, 0) }}}
				}})
			}
		case Call:
			w.call(a)
		case Load:
			w.ops = append(w.ops, op{kind: loading, end: func() []Event { return []Event{w.load(a)} }})
		case Commit:
			write := w.prepare(a)
			w.ops = append(w.ops, op{kind: writing, end: func() []Event {
				write()
				told := op{kind: telling, end: func() []Event { return []Event{Committed{a.Lot}} }}
				if w.slow {
					w.ops = append(w.ops, told)
				} else {
					w.ops = slices.Insert(w.ops, 0, told)
				}
				return nil
			}})
		case Release:
			for _, name := range w.files[a.Lot][a.Root] {
				delete(w.spool, name)
			}
			delete(w.files[a.Lot], a.Root)
		case Forget:
			for _, b := range a.Batches {
				delete(w.batches, b)
			}
			for _, names := range w.files[a.Lot] {
				for _, name := range names {
					delete(w.spool, name)
				}
			}
			delete(w.files, a.Lot)
			delete(w.states, a.Lot)
		case Breaker:
			w.breakers = append(w.breakers, a)
		}
	}
}

func (w *world) state(lot uint64) map[Ref]State {
	if w.states[lot] == nil {
		w.states[lot] = map[Ref]State{}
	}
	return w.states[lot]
}

func (w *world) hold(rows []rec) Batch {
	w.next++
	w.batches[w.next] = rows
	return w.next
}

// place notes where the rows of a lot's first batch are.
func (w *world) place(b Batch, lot uint64, door int) {
	for i := range w.batches[b] {
		r := &w.batches[b][i]
		r.lot, r.root, r.door = lot, int32(i), door
	}
}

// store puts a file into the spool.
func (w *world) store(r *rec) {
	w.names++
	r.spool = w.names
	w.spool[r.spool] = true
	if w.files[r.lot] == nil {
		w.files[r.lot] = map[int32][]int{}
	}
	w.files[r.lot][r.root] = append(w.files[r.lot][r.root], r.spool)
}

// advance lives through d, tick by tick.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for range 100000 {
		next := w.m.Next()
		if next.IsZero() || next.After(end) {
			w.now = end
			w.event(Tick{})
			return
		}
		w.now = next
		w.event(Tick{})
	}
	w.t.Fatal("the machine ticks without end")
}
