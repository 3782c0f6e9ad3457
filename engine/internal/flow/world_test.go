package flow

import (
	"cmp"
	"fmt"
	"hash"
	"hash/fnv"
	"maps"
	"slices"
	"testing"
	"time"
)

// rec is a record of the test world.
type rec struct {
	id       string
	hash     uint64 // of its identity; 0 = that of the id
	about    string
	aboutID  uint64 // 0 = the hash of about
	key      uint64
	group    uint64 // what the key is where it is set on the way
	size     int32  // 0 = 100
	large    bool   // its file goes to oss, else to the log
	file     bool
	bytes    bool // the file lies in the spool …
	spool    int  // … under this name
	kept     bool // … and will survive
	outcome  string
	deadline time.Time
	copies   int // how often media has made the file

	seen uint64 // transforms that it has passed
	door int    // of the replay that it is in; 0 = fresh
	lot  uint64
	root int32
}

func hashOf(id string) uint64 {
	if id == "" {
		return 0
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	return h.Sum64() | 1
}

// identity is the hash by which the machine knows a record.
func (r *rec) identity() uint64 {
	if r.hash != 0 {
		return r.hash
	}
	return hashOf(r.id)
}

// answer is what a scripted step says of a row; out is what a transform makes of it, outs where that is not one record.
type answer struct {
	Run
	out  rec
	outs []rec
	dies bool
}

// durable is what survives a crash.
type durable struct {
	parcels  map[uint64]stored
	holdings map[owingKey]Holding
	marks    map[Mark]int // tries, by a mark without them
	position int          // of the only source, where the world reads it by itself
	last     uint64
}

// owingKey names a holding as the state does: by address, not by number.
type owingKey struct {
	step   string
	parcel uint64
}

func (k owingKey) compare(o owingKey) int {
	return cmp.Or(cmp.Compare(k.parcel, o.parcel), cmp.Compare(k.step, o.step))
}

type stored struct {
	at, last []rec
	receipts map[int][]State
}

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

func (w *world) load(a Load) Event {
	p, ok := w.disk.parcels[a.Parcel]
	if !ok {
		w.t.Fatalf("owed entries never orphaned: parcel %d is gone but owed", a.Parcel)
	}
	pick := func(rows []rec) Batch {
		var out []rec
		for _, r := range a.Rows {
			out = append(out, rows[r])
		}
		b := w.hold(out)
		w.place(b, a.Lot, a.Door)
		return b
	}
	e := Loaded{Lot: a.Lot, At: pick(p.at), Receipts: map[int][]State{}}
	for i := range a.Rows {
		if r := &w.batches[e.At][i]; r.bytes {
			w.store(r) // a second name for what is kept
		}
	}
	for sink, states := range p.receipts {
		for i, r := range a.Rows {
			e.Receipts[sink] = append(e.Receipts[sink], states[r])
			w.state(a.Lot)[Ref{Batch(sink), int32(i)}] = states[r]
		}
	}
	if p.last != nil {
		e.Last = pick(p.last)
		e.LastRows = w.rows(e.Last)
	}
	e.Rows = w.rows(e.At)
	return e
}

func (w *world) rows(b Batch) []Row {
	rows := make([]Row, 0, len(w.batches[b]))
	for i := range w.batches[b] {
		r := &w.batches[b][i]
		row := Row{ID: r.identity(), Key: r.key, Size: 100, Deadline: r.deadline}
		if r.size > 0 {
			row.Size = r.size
		}
		rows = append(rows, row)
	}
	return rows
}

func (w *world) call(c Call) {
	w.calls++
	if !w.m.states[c.Step].up {
		w.t.Fatalf("only what is up is called: %s was called though its process is down", w.cfg.Steps[c.Step].Address)
	}
	if w.ready != nil && !w.ready(w, c) {
		w.hung = append(w.hung, c)
		return
	}
	w.ops = append(w.ops, op{kind: calling, call: c, end: func() []Event { return w.answer(c) }})
}

// rowsOf are the records of a call.
func (w *world) rowsOf(c Call) []rec {
	list := make([]rec, 0, c.Rows)
	for _, p := range c.Parts {
		if p.Rows == nil {
			list = append(list, w.batches[p.Batch]...)
		}
		for _, row := range p.Rows {
			list = append(list, *w.row(Ref{p.Batch, row}))
		}
	}
	if len(list) != c.Rows {
		w.t.Fatalf("each row is answered once: a call of %d rows has %d records", c.Rows, len(list))
	}
	return list
}

// answer lets a step work on a call.
func (w *world) answer(c Call) []Event {
	list := w.rowsOf(c)
	positions := make([]int32, len(list))
	for i := range positions {
		positions[i] = int32(i)
	}
	e, died := w.answerSome(c, list, positions)
	ret := Returned{Call: c.ID}
	if died {
		ret.Failure = Died
	}
	return []Event{e, ret}
}

// answerSome lets a step work on some rows of a call, as one message.
func (w *world) answerSome(c Call, list []rec, positions []int32) (e Answered, died bool) {
	s := w.cfg.Steps[c.Step]
	e = Answered{Call: c.ID}
	var out []rec
	for _, pos := range positions {
		r := list[pos]
		w.check(c, &r)
		var a answer
		if w.chance != nil {
			a = w.chance.does(&r, c)
		} else {
			a = w.do(w, s.Address, r, c)
		}
		if a.dies {
			died = true
			break
		}
		a.First, a.Count = pos, 1
		if n := len(e.Runs); n > 0 && e.Runs[n-1].goesOn(a.Run) {
			e.Runs[n-1].Count++
		} else {
			e.Runs = append(e.Runs, a.Run)
		}
		switch {
		case a.Verdict != Done:
		case s.Kind == Sink:
			if w.chance == nil {
				w.done[s.Address] = append(w.done[s.Address], r)
			}
		default:
			if a.outs == nil {
				a.outs = []rec{a.out}
			}
			for _, o := range a.outs {
				o.seen, o.door, o.lot, o.root = r.seen|1<<c.Step, r.door, r.lot, r.root
				if s.MakesFiles && o.bytes {
					w.store(&o)
				}
				out = append(out, o)
				e.Parent = append(e.Parent, pos)
			}
		}
	}
	if len(out) > 0 {
		e.Out = w.hold(out)
		e.Rows = w.rows(e.Out)
	}
	return e, died
}

// goesOn reports whether n says of the next row what r says.
func (r Run) goesOn(n Run) bool {
	n.First, n.Count = r.First, n.First-r.First
	return r == n
}

// check holds every call to what is always true: no transform before a step was left out, a replay never goes back before its door, and
// the bytes that a row promises are there.
func (w *world) check(c Call, r *rec) {
	if w.chance != nil {
		w.chance.called(c, r)
		return
	}
	for u, s := range w.cfg.Steps {
		if s.Kind == Transform && !s.Disabled && w.m.above[c.Step].has(u) && w.wants(s.Address, *r) && r.seen&(1<<u) == 0 {
			w.t.Errorf("no transform is skipped: %s reached %s without having passed %s", r.id, w.cfg.Steps[c.Step].Address, s.Address)
		}
	}
	if r.door > 0 && w.m.above[r.door].has(c.Step) {
		w.t.Errorf("%s was replayed at %s, which is before its door %s", r.id, w.cfg.Steps[c.Step].Address, w.cfg.Steps[r.door].Address)
	}
	if r.bytes && !c.Probe && !w.spool[r.spool] {
		w.t.Errorf("bytes are there when promised: %s reached %s when its file was gone", r.id, w.cfg.Steps[c.Step].Address)
	}
}

// prepare takes everything that a commit needs, as the loop does; what it returns makes it durable, later.
func (w *world) prepare(c Commit) (write func()) {
	w.facts = append(w.facts, c.Facts...)
	parcels := map[uint64]stored{}
	var keep []rec
	for _, p := range c.Parcels {
		s := stored{receipts: map[int][]State{}}
		for i, r := range p.Rows {
			x := *w.row(r)
			facts := x
			if p.Facts != nil {
				facts = *w.row(p.Facts[i])
			}
			x.outcome, x.copies = facts.outcome, facts.copies
			x.kept = p.Keep
			x.bytes = x.bytes && p.Keep
			if x.bytes {
				keep = append(keep, x)
			}
			s.at = append(s.at, x)
			if p.Last != nil {
				y := *w.row(p.Last[i])
				y.bytes = false
				s.last = append(s.last, y)
			}
			for sink := range w.cfg.Steps {
				s.receipts[sink] = append(s.receipts[sink], w.state(p.Lot)[Ref{Batch(sink), p.Roots[i]}])
			}
		}
		parcels[p.ID] = s
	}
	position, settled := 0, func() {}
	switch {
	case c.Source >= 0 && w.chance != nil:
		settled = w.chance.settled(c.Source, c.Batch)
	case c.Source >= 0:
		position = len(w.batches[c.Batch])
	}
	return func() {
		if w.chance != nil {
			w.chance.writes(c, parcels)
		}
		for _, x := range keep {
			if !w.spool[x.spool] {
				w.t.Errorf("bytes are there when promised: the file of %s was to be kept, but is gone", x.id)
			}
		}
		for id, s := range parcels {
			w.disk.parcels[id] = s
			w.disk.last = max(w.disk.last, id)
		}
		for _, h := range c.Owing {
			k := owingKey{w.cfg.Steps[h.Step].Address, h.Parcel}
			if len(h.Groups) == 0 {
				delete(w.disk.holdings, k)
			} else {
				w.disk.holdings[k] = h
			}
		}
		for _, p := range c.Drop {
			if _, fresh := parcels[p]; !fresh { // what a change both drops and writes is written
				delete(w.disk.parcels, p)
			}
		}
		for _, mark := range c.Marks {
			k := Mark{Step: mark.Step, ID: mark.ID}
			if w.disk.marks[k] = mark.Tries; mark.Tries == 0 {
				delete(w.disk.marks, k)
			}
		}
		w.disk.position += position
		settled()
		if w.chance != nil {
			w.chance.written(c)
		}
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
