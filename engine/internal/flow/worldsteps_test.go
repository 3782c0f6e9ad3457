package flow

import (
	"hash/fnv"
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
