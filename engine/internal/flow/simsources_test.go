package flow

import (
	"fmt"
	"time"
)

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
