package engine

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// source reads one source. Pages go to the loop in order; credit comes back from it.
type source struct {
	e    *Engine
	step *step

	position []byte              // behind the last page received; of the reading goroutine
	seen     seqs                // of the loop
	pages    map[flow.Batch]page // not yet settled; of the loop

	mu     sync.Mutex
	room   credit // what the machine has granted and no page has used; below 0 after a page that was larger
	told   credit // … as far as the reader knows
	reader *protocol.Reader
}

// credit is room for records, and for bytes of their bodies.
type credit struct {
	rows  int
	bytes int64
}

// page is what a settlement has to know of a page.
type page struct {
	number   uint64
	position []byte
	stats    []byte
}

func newSource(e *Engine, s *step, snapshot state.Snapshot) (*source, error) {
	src := &source{e: e, step: s, pages: map[flow.Batch]page{}}
	for _, c := range snapshot.Checkpoints {
		if c.Source == s.address {
			src.position = c.Position
			var err error
			if src.seen, err = readSeqs(c.Stats); err != nil {
				return nil, err
			}
		}
	}
	return src, nil
}

// grant gives credit, now and to later readers.
func (s *source) grant(rows int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.rows += rows
	s.room.bytes += bytes
	s.tell()
}

// tell lets the reader know of room that it has not heard of; under mu.
func (s *source) tell() {
	rows, bytes := max(s.room.rows-s.told.rows, 0), max(s.room.bytes-s.told.bytes, 0)
	if s.reader == nil || rows == 0 && bytes == 0 {
		return
	}
	s.told.rows += rows
	s.told.bytes += bytes
	s.reader.Credit(rows, bytes) // an ended reader says so to Next
}

// use takes a page's share of the room.
func (s *source) use(b *protocol.Batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, bytes := b.Rows(), int64(b.BodyBytes())
	s.room.rows -= rows
	s.room.bytes -= bytes
	s.told.rows -= rows
	s.told.bytes -= bytes
}

// reading names the reader that is to hear of credit, nil = none.
func (s *source) reading(r *protocol.Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader, s.told = r, credit{}
	s.tell()
}

// run reads until ctx ends or the source has no more for ever.
func (s *source) run(ctx context.Context) {
	pause, deaths := 5*time.Second, 0
	for ctx.Err() == nil {
		life, handle, err := s.step.proc.await(ctx, s.step)
		if err != nil {
			return
		}
		chain := s.step.proc.chainOf(life, s.step)
		got, err := s.read(ctx, life.client, handle, chain)
		switch {
		case errors.Is(err, io.EOF):
			s.e.post(func() { s.e.step(flow.Ended{Source: s.step.index}) })
			return
		case ctx.Err() != nil:
			return
		}
		if got {
			pause, deaths = 5*time.Second, 0
		}
		if lost(err) { // another process comes
			s.step.proc.end(life, err)
		}
		var e *sdk.Error
		if said := errors.As(err, &e); len(chain) > 0 && !said { // perhaps because of what the chain made, which could not be sent or read
			s.step.proc.unchain(err)
			continue
		}
		if lost(err) {
			if deaths++; deaths >= manyDeaths {
				s.e.post(func() { s.e.news.sourceFailed(s.step, err) })
			}
			continue
		}
		wait := pause
		if e != nil && e.Outcome.After > 0 {
			wait = e.Outcome.After
		}
		s.e.post(func() { s.e.news.sourceFailed(s.step, err) })
		s.e.Log.Warn("source cannot be read", "step", s.step.address, "error", err, "again_in", wait)
		if s.e.Clock.Sleep(ctx, wait) != nil {
			return
		}
		pause = min(2*pause, 5*time.Minute)
	}
}

// manyDeaths is how often in a row a process may die while its source is read before that is told: one death has many reasons, and is soon
// forgotten.
const manyDeaths = 3

// read takes pages of one reader until it ends.
func (s *source) read(ctx context.Context, client *protocol.Client, handle uint64, chain []uint64) (got bool, err error) {
	r, err := client.Read(ctx, handle, s.position, chain...)
	if err != nil {
		return false, err
	}
	defer r.Close()
	s.reading(r)
	defer s.reading(nil)
	for {
		p, err := r.Next()
		if err != nil {
			return got, err
		}
		s.e.Failpoint("fetch")
		if p.Batch == nil {
			p.Batch = protocol.FromRecords(nil)
		}
		got = true
		before := s.position
		if p.Position == nil {
			p.Position = before
		}
		s.position = p.Position
		s.use(p.Batch)
		s.e.post(func() { s.arrived(p, before) })
	}
}

// arrived brings a page to the machine; before is the position behind the page before. One that is too large for one settlement comes in
// parts, and only the last of them moves the checkpoint: what is settled of the others by then comes again after a crash.
func (s *source) arrived(p protocol.Page, before []byte) {
	e := s.e
	e.news.sourceBack(s.step)
	e.news.told(s.step, p.Events)
	now := e.Clock.Now()
	parts := portions(shrink(p.Batch))
	stats := s.seen.json()
	for k, part := range parts {
		h := &held{Batch: part, source: s.step.index}
		if part == p.Batch { // whole, as the chain has seen it
			h.maker, h.ahead = s.step, p.Ahead
		}
		rows := e.rows(h, s.step.retention, now, nil)
		b := e.hold(h)
		for i := range rows {
			s.seen.add(part.Seq(i))
		}
		last := k == len(parts)-1
		if s.pages[b] = (page{number: p.Number, position: before, stats: stats}); last {
			s.seen.Fetched = now.UTC()
			s.pages[b] = page{number: p.Number, position: p.Position, stats: s.seen.json()}
		}
		e.step(flow.Arrived{Source: s.step.index, Batch: b, Rows: rows, Drained: p.Drained && last, Lot: func(lot uint64) { h.lot = lot }})
	}
}

// seqs counts what a source sent, by its own numbers. Holes are ranges of numbers that never came, oldest first; the newest maxHoles are
// remembered, of older ones only how many numbers they are.
type seqs struct {
	Records uint64    `json:"records"`
	First   uint64    `json:"first,omitempty"`
	Last    uint64    `json:"last,omitempty"`
	Holes   []span    `json:"holes,omitempty"`
	Older   uint64    `json:"older,omitempty"`
	Fetched time.Time `json:"fetched"` // last successful answer, with records or without
}

// maxHoles bounds what every settlement has to write of a source whose numbers have holes by nature.
const maxHoles = 1000

type span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// add counts a number; one that was a hole fills it, one that was seen counts once. Where holes are no longer remembered it counts as seen.
func (s *seqs) add(n uint64) {
	switch {
	case n == 0:
		s.Records++
	case s.Last == 0:
		s.Records, s.First, s.Last = s.Records+1, n, n
	case n > s.Last:
		if n > s.Last+1 {
			s.Holes = append(s.Holes, span{s.Last + 1, n - 1})
		}
		s.Last = n
		s.Records++
	case n < s.First: // read again from further back
		if n < s.First-1 {
			s.Holes = slices.Insert(s.Holes, 0, span{n + 1, s.First - 1})
		}
		s.First = n
		s.Records++
	default:
		s.fill(n)
	}
	if over := len(s.Holes) - maxHoles; over > 0 {
		for _, h := range s.Holes[:over] {
			s.Older += h.size()
		}
		s.Holes = slices.Delete(s.Holes, 0, over)
	}
}

func (h span) size() uint64 { return h.To - h.From + 1 }

// fill takes a number out of the hole that it is in, if it is in one.
func (s *seqs) fill(n uint64) {
	i := sort.Search(len(s.Holes), func(i int) bool { return s.Holes[i].To >= n })
	if i == len(s.Holes) || s.Holes[i].From > n {
		return
	}
	h, rest := s.Holes[i], []span(nil)
	if h.From < n {
		rest = append(rest, span{h.From, n - 1})
	}
	if n < h.To {
		rest = append(rest, span{n + 1, h.To})
	}
	s.Holes = slices.Replace(s.Holes, i, i+1, rest...)
	s.Records++
}

// missing is how many numbers are holes.
func (s *seqs) missing() uint64 {
	n := s.Older
	for _, h := range s.Holes {
		n += h.size()
	}
	return n
}

func (s *seqs) json() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // plain numbers always work
	}
	return b
}
