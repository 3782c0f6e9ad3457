package flow

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"testing"
	"time"
)

// rec is a record of the test world.
type rec struct {
	id       string
	about    string
	large    bool // its file goes to oss, else to the log
	file     bool
	bytes    bool // the file lies in the spool
	kept     bool // … and will survive
	outcome  string
	deadline time.Time
	copies   int // how often media has made the file
}

func hash(id string) uint64 {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64() | 1
}

// answer is what a scripted step says of a row; out is what a transform makes of it.
type answer struct {
	Run
	out  rec
	dies bool
}

// durable is what survives a crash.
type durable struct {
	parcels  map[uint64]stored
	holdings map[string]Holding // by step address and parcel
	position int
	last     uint64
}

type stored struct {
	at, last []rec
	receipts map[int][]State
}

// world is a shell without processes: steps are functions, time stands still until advance.
type world struct {
	t      *testing.T
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
	states map[uint64]map[Ref]State // by lot: (sink, root)
	freed  map[Release]bool         // rows whose files are gone from the spool
	roots  map[uint64]Batch

	batches  map[Batch][]rec
	lots     map[Batch]uint64
	next     Batch
	disk     durable
	done     map[string][]rec // what sinks took, in order
	facts    []Fact
	breakers []Breaker
	calls    int
}

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, steps []Step, source []rec) *world {
	w := &world{t: t, cfg: Config{Steps: steps, Seed: 1}, now: epoch, source: source, page: 500, done: map[string][]rec{},
		disk: durable{parcels: map[uint64]stored{}, holdings: map[string]Holding{}}}
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
	return w.wants(w.cfg.Steps[step].Address, w.batches[r.Batch][r.Row]), ""
}

func (w *world) NeedsBytes(step int, r Ref) bool {
	x := w.batches[r.Batch][r.Row]
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

func (w *world) About(step int, r Ref) uint64 { return hash(w.batches[r.Batch][r.Row].about) }

// start brings up an engine on what the disk holds; what was in flight is gone.
func (w *world) start() {
	w.freed = map[Release]bool{}
	w.batches, w.states, w.roots, w.lots, w.hung = map[Batch][]rec{}, map[uint64]map[Ref]State{}, map[uint64]Batch{}, map[Batch]uint64{}, nil
	var owed []Holding
	for _, k := range slices.Sorted(maps.Keys(w.disk.holdings)) {
		owed = append(owed, w.disk.holdings[k])
	}
	w.m = New(w.cfg, w, owed, w.disk.last, w.now)
	w.read = w.disk.position
	w.act(w.m.Start())
}

func (w *world) event(e Event) { w.act(slices.Clone(w.m.Step(w.now, e))) }

// act does what the machine asks, answering at once.
func (w *world) act(acts []Action) {
	var later []Event
	for _, a := range acts {
		switch a := a.(type) {
		case Grant:
			if w.read < len(w.source) || w.read == 0 {
				n := min(a.Rows, w.page, len(w.source)-w.read)
				for n > 0 && a.Rows > 0 {
					w.next++
					b := w.next
					w.batches[b] = slices.Clone(w.source[w.read : w.read+n])
					w.read += n
					a.Rows -= n
					later = append(later, Arrived{Source: 0, Batch: b, Rows: w.rows(b), Drained: w.read == len(w.source)})
					n = min(a.Rows, w.page, len(w.source)-w.read)
				}
			}
		case Alias:
			for _, r := range a.Rows {
				w.batches[a.New] = append(w.batches[a.New], w.batches[a.Of][r])
			}
		case Receipt:
			if w.states[a.Lot] == nil {
				w.states[a.Lot] = map[Ref]State{}
			}
			w.states[a.Lot][Ref{Batch(a.Sink), a.Root}] = a.State
		case Call:
			w.calls++
			if w.ready != nil && !w.ready(w, a) {
				w.hung = append(w.hung, a)
				continue
			}
			later = append(later, w.answer(a)...)
		case Load:
			p, ok := w.disk.parcels[a.Parcel]
			if !ok {
				w.t.Fatalf("parcel %d is gone but owed", a.Parcel)
			}
			w.next++
			at := w.next
			e := Loaded{Lot: a.Lot, At: at, Receipts: map[int][]State{}}
			for _, r := range a.Rows {
				w.batches[at] = append(w.batches[at], p.at[r])
				for sink, s := range p.receipts {
					e.Receipts[sink] = append(e.Receipts[sink], s[r])
				}
			}
			if p.last != nil {
				w.next++
				e.Last = w.next
				for _, r := range a.Rows {
					w.batches[e.Last] = append(w.batches[e.Last], p.last[r])
				}
			}
			e.Rows = w.rows(at)
			later = append(later, e)
		case Release:
			w.freed[a] = true
		case Commit:
			w.commit(a)
			later = append(later, Committed{a.Lot})
		case Forget:
			for _, b := range a.Batches {
				delete(w.batches, b)
			}
		case Breaker:
			w.breakers = append(w.breakers, a)
		}
	}
	for _, a := range acts { // a file is kept some time after the machine has asked for it
		if c, ok := a.(Commit); ok {
			w.keeps(c)
		}
	}
	for _, e := range later {
		w.event(e)
	}
}

// keeps fails when the spool no longer has what a commit keeps.
func (w *world) keeps(c Commit) {
	for _, p := range c.Parcels {
		for i, r := range p.Rows {
			if p.Keep && w.freed[Release{p.Lot, p.Roots[i]}] {
				w.t.Errorf("the file of %s was taken away before it was kept", w.batches[r.Batch][r.Row].id)
			}
		}
	}
}

func (w *world) rows(b Batch) []Row {
	var rows []Row
	for _, r := range w.batches[b] {
		rows = append(rows, Row{ID: hash(r.id), Size: 100, Deadline: r.deadline})
	}
	return rows
}

func (w *world) answer(c Call) []Event {
	e := Answered{Call: c.ID}
	step := w.cfg.Steps[c.Step].Address
	var out []rec
	pos := int32(0)
	ret := Returned{Call: c.ID}
	for _, p := range c.Parts {
		n := count(&batch{rows: make([]Row, len(w.batches[p.Batch]))}, p.Rows)
		for i := range n {
			r := w.batches[p.Batch][pick(p.Rows, i)]
			a := w.do(w, step, r, c)
			if a.dies {
				ret.Failure = Died
				break
			}
			a.First, a.Count = pos, 1
			e.Runs = append(e.Runs, a.Run)
			if a.Verdict == Done && w.cfg.Steps[c.Step].Kind == Transform {
				out = append(out, a.out)
				e.Parent = append(e.Parent, pos)
			}
			if a.Verdict == Done && w.cfg.Steps[c.Step].Kind == Sink {
				w.done[step] = append(w.done[step], r)
			}
			pos++
		}
		if ret.Failure == Died {
			break
		}
	}
	if len(out) > 0 {
		w.next++
		e.Out = w.next
		w.batches[e.Out] = out
		e.Rows = w.rows(e.Out)
	}
	return []Event{e, ret}
}

func (w *world) commit(c Commit) {
	w.facts = append(w.facts, c.Facts...)
	for _, p := range c.Parcels {
		s := stored{receipts: map[int][]State{}}
		for i, r := range p.Rows {
			x := w.batches[r.Batch][r.Row]
			facts := x
			if p.Facts != nil {
				facts = w.batches[p.Facts[i].Batch][p.Facts[i].Row]
			}
			x.outcome, x.copies = facts.outcome, facts.copies
			x.kept = p.Keep
			x.bytes = x.bytes && p.Keep
			s.at = append(s.at, x)
			if p.Last != nil {
				y := w.batches[p.Last[i].Batch][p.Last[i].Row]
				y.bytes = false
				s.last = append(s.last, y)
			}
			for sink := range w.cfg.Steps {
				s.receipts[sink] = append(s.receipts[sink], w.states[p.Lot][Ref{Batch(sink), p.Roots[i]}])
			}
		}
		w.disk.parcels[p.ID] = s
		w.disk.last = max(w.disk.last, p.ID)
	}
	for _, h := range c.Owing {
		k := fmt.Sprint(w.cfg.Steps[h.Step].Address, " ", h.Parcel)
		if len(h.Groups) == 0 {
			delete(w.disk.holdings, k)
		} else {
			w.disk.holdings[k] = h
		}
	}
	for _, p := range c.Drop {
		delete(w.disk.parcels, p)
	}
	if c.Source >= 0 {
		w.disk.position += len(w.batches[c.Batch])
	}
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

// owed counts live entries of a step on disk, dead ones apart.
func (w *world) owed(step string) (live, dead int) {
	for _, h := range w.disk.holdings {
		if w.cfg.Steps[h.Step].Address == step {
			for _, g := range h.Groups {
				if g.Dead {
					dead += len(g.Rows)
				} else {
					live += len(g.Rows)
				}
			}
		}
	}
	return live, dead
}

// clean fails unless nothing is owed and no parcel is left.
func (w *world) clean() {
	w.t.Helper()
	if len(w.disk.holdings) > 0 || len(w.disk.parcels) > 0 {
		w.t.Errorf("left on disk: holdings %v, %d parcels", w.disk.holdings, len(w.disk.parcels))
	}
	if len(w.m.lots) > 0 || len(w.m.inFlight) > 0 || len(w.m.shared) > 0 {
		w.t.Errorf("left in the machine: %d lots, %d identities, %d batches", len(w.m.lots), len(w.m.inFlight), len(w.m.shared))
	}
	for c, st := range w.m.states {
		if st.units != 0 || st.inFlight != 0 {
			w.t.Errorf("%s: %d units, %d calls left", w.cfg.Steps[c].Address, st.units, st.inFlight)
		}
	}
}

func ids(rs []rec) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.id)
	}
	return out
}

func record(n int) rec { return rec{id: fmt.Sprintf("m%d", n), deadline: epoch.Add(120 * time.Hour)} }

func records(n int) []rec {
	var rs []rec
	for i := range n {
		rs = append(rs, record(i+1))
	}
	return rs
}

// archive is the graph of the main job.
func archive() []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "raw", Kind: Sink, Inputs: []int{0}, MaxRows: 100},
		2: {Address: "decrypt", Kind: Transform, Inputs: []int{0}},
		3: {Address: "parse", Kind: Transform, Inputs: []int{2}},
		4: {Address: "media", Kind: Transform, Inputs: []int{3}, MakesFiles: true},
		5: {Address: "md5", Kind: Transform, Inputs: []int{4}},
		6: {Address: "oss", Kind: Sink, Inputs: []int{5}, OnOwedPass: true, Probes: true},
		7: {Address: "log", Kind: Sink, Inputs: []int{5}, After: []int{6}, MaxRows: 100},
		8: {Address: "recalled", Kind: Sink, Inputs: []int{3}, After: []int{7}, About: true},
	}
}
