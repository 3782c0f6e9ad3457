package flow

import (
	"cmp"
)

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
