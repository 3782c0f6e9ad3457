package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// commit is a machine's Commit with everything that its durable form needs, taken in the loop and written by the writer.
type commit struct {
	lot     uint64 // 0 = events alone
	change  state.Change
	parcels []parcel
	drop    []uint64
	ended   []sendingKey
}

// parcel is rows to be stored.
type parcel struct {
	id       uint64
	at, last *protocol.Batch
	receipts []map[string]cell // per row; of a parcel that was read, only what reveal has decoded
	encoded  []json.RawMessage // receipts of a parcel that was read
	source   string            // address of the source that they come from, where it is known
	opaque   bool
	keep     bool
}

// commit hands a settlement to the writer. Commits reach the disk in the order of the machine.
func (e *Engine) commit(a flow.Commit) {
	if e.announces(a) {
		e.announce(a)
		return
	}
	c := commit{lot: a.Lot, drop: a.Drop, change: state.Change{Pipeline: e.Pipeline.Name, DropParcels: a.Drop}}
	if a.Source >= 0 {
		e.checkpoint(a, &c.change)
	}
	for _, p := range a.Parcels {
		c.parcels = append(c.parcels, e.parcel(p))
	}
	for _, h := range a.Owing {
		address := e.steps[h.Step].address
		if len(h.Groups) == 0 {
			c.change.DropOwing = append(c.change.DropOwing, state.OwingKey{Step: address, Parcel: h.Parcel})
			continue
		}
		c.change.Owing = append(c.change.Owing, e.owing(h))
	}
	for _, m := range a.Marks {
		c.change.Marks = append(c.change.Marks, state.Mark{Step: e.steps[m.Step].address, ID: m.ID, Tries: m.Tries})
		c.ended = append(c.ended, sendingKey{m.Step, m.ID})
	}
	e.news.facts(a, &c.change)
	e.commits.put(c)
}

// marks is the opposite of what commit makes of marks, for a whole state. One of a step that is gone says nothing to anybody.
func (e *Engine) marks(s state.Snapshot) []flow.Mark {
	var list []flow.Mark
	for _, m := range s.Marks {
		if i, ok := e.byName[m.Step]; ok {
			list = append(list, flow.Mark{Step: i, ID: m.ID, Tries: m.Tries})
		}
	}
	return list
}

// checkpoint adds how far a source is settled.
func (e *Engine) checkpoint(a flow.Commit, change *state.Change) {
	s := e.steps[a.Source]
	if s.source == nil { // weir.events
		last := e.news.settled(a.Batch)
		change.TrimEvents = last
		change.Checkpoints = append(change.Checkpoints, state.Checkpoint{Source: s.address, Position: binary.BigEndian.AppendUint64(nil, last)})
		return
	}
	p := s.source.pages[a.Batch]
	delete(s.source.pages, a.Batch)
	change.Checkpoints = append(change.Checkpoints, state.Checkpoint{Source: s.address, Position: p.position, Stats: p.stats})
}

// parcel gathers the rows of a parcel with the facts that are known of their files by now.
func (e *Engine) parcel(p flow.Parcel) parcel {
	out := parcel{id: p.ID, at: e.gather(p.Rows), keep: p.Keep}
	if p.Facts != nil {
		files := map[int][]sdk.File{}
		for i, r := range p.Facts {
			if b := e.batches[r.Batch]; b.HasFiles() {
				files[i] = b.Files(int(r.Row))
			}
		}
		if len(files) > 0 {
			out.at = out.at.WithFiles(files)
		}
	}
	if p.Last != nil {
		out.last = e.gather(p.Last)
	}
	if src := e.batches[p.Rows[0].Batch].from(p.Rows[0].Row); src >= 0 { // all rows of a lot are of one
		out.source = e.steps[src].address
	}
	byRoot := map[int32]map[string]cell{}
	for k, c := range e.lot(p.Lot).receipts {
		if byRoot[k.root] == nil {
			byRoot[k.root] = map[string]cell{}
		}
		byRoot[k.root][e.steps[k.sink].address] = *c
	}
	for _, root := range p.Roots {
		out.receipts = append(out.receipts, byRoot[root])
	}
	for _, in := range e.steps[p.Door].inputs() {
		if s := e.steps[e.byName[in]]; s.Step != nil && s.Component.Opaque {
			out.opaque = true
		}
	}
	return out
}

func (s *step) inputs() []string {
	if s.Step == nil {
		return nil
	}
	return s.Inputs
}

// gather makes one batch of rows that may lie in several.
func (e *Engine) gather(refs []flow.Ref) *protocol.Batch {
	var parts []protocol.Part
	for i := 0; i < len(refs); {
		p := protocol.Part{Batch: e.batches[refs[i].Batch].Batch}
		b := refs[i].Batch
		for ; i < len(refs) && refs[i].Batch == b; i++ {
			p.Rows = append(p.Rows, refs[i].Row)
		}
		parts = append(parts, p)
	}
	return protocol.Gather(parts...)
}

// owing translates what a step owes of a parcel.
func (e *Engine) owing(h flow.Holding) state.Owing {
	o := state.Owing{Step: e.steps[h.Step].address, Parcel: h.Parcel, Rows: len(h.IDs), IDs: h.IDs, Keys: h.Keys, Orders: h.Orders}
	for _, g := range h.Groups {
		s := state.Group{Rows: g.Rows, Dead: g.Dead, Door: e.steps[g.Door].address, Cause: g.Cause, Code: g.Code, Detail: g.Detail,
			Due: g.Due, Deadline: g.Deadline, Since: g.Since, Tries: g.Tries, Kept: g.Kept, Revisit: g.Revisit, Raised: g.Raised}
		if g.Cause == flow.CauseAbout {
			s.About, s.AboutAt = g.About, e.steps[g.AboutAt].address
		}
		o.Groups = append(o.Groups, s)
	}
	return o
}

// holdings is the opposite of owing, for a whole state.
func (e *Engine) holdings(s state.Snapshot) []flow.Holding {
	var list []flow.Holding
	for _, o := range s.Owing {
		i, ok := e.byName[o.Step]
		if !ok {
			continue // removed on purpose
		}
		h := flow.Holding{Step: i, Parcel: o.Parcel, IDs: o.IDs, Keys: o.Keys, Orders: o.Orders}
		for _, g := range o.Groups {
			door, ok := e.byName[g.Door]
			if !ok {
				door = i // the maker of its files is gone: ask the step itself
			}
			f := flow.Group{Rows: g.Rows, Dead: g.Dead, Door: door, Cause: g.Cause, Code: g.Code, Detail: g.Detail,
				Due: g.Due, Deadline: g.Deadline, Since: g.Since, Tries: g.Tries, Kept: g.Kept, Revisit: g.Revisit, Raised: g.Raised, About: g.About}
			if at, ok := e.byName[g.AboutAt]; ok {
				f.AboutAt = at
			} else if g.Cause == flow.CauseAbout {
				f.Cause, f.Due = "", e.Clock.Now()
			}
			h.Groups = append(h.Groups, f)
		}
		list = append(list, h)
	}
	return list
}

// commits is the queue to the writer. Putting never blocks, because the loop must not wait for the writer, who waits for the loop;
// credit bounds its length.
type commits struct {
	mu   sync.Mutex
	list []commit
	some chan struct{} // holds a token while the list may not be empty
}

func newCommits() *commits { return &commits{some: make(chan struct{}, 1)} }

func (q *commits) put(c commit) {
	q.mu.Lock()
	q.list = append(q.list, c)
	q.mu.Unlock()
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// take waits for commits and returns them all, oldest first; nil when ctx has ended.
func (q *commits) take(ctx context.Context) []commit {
	select {
	case <-q.some:
	case <-ctx.Done():
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.list
	q.list = nil
	return list
}

// write makes commits durable, one after the other, and only then tells the machine. What waits is written together: a synchronisation of
// the disk for each would let a sink with a million small parcels catch up at some hundred a second.
func (e *Engine) write(ctx context.Context) {
	for ctx.Err() == nil {
		for group := range slices.Chunk(e.commits.take(ctx), maxTogether) {
			if err := e.persistOrWait(ctx, group); err != nil {
				if ctx.Err() == nil {
					e.fail(fmt.Errorf("state: %w", err))
				}
				return
			}
			e.post(func() {
				for i := range group {
					e.news.written(group[i].change.Events)
					for _, k := range group[i].ended {
						delete(e.sending, k)
					}
					if lot := group[i].lot; lot != 0 {
						e.step(flow.Committed{Lot: lot})
					}
				}
			})
		}
	}
}

// maxTogether bounds what is packed and sealed before any of it is written.
const maxTogether = 64

// fullEvery is how often a full disk is looked at again, in real time.
const fullEvery = 5 * time.Second

// persistOrWait waits where the disk is full: nothing was written, and nothing is acknowledged meanwhile. A run that was asked for once is
// not kept waiting.
func (e *Engine) persistOrWait(ctx context.Context, group []commit) error {
	for said := false; ; {
		err := e.persist(ctx, group)
		full := errors.Is(err, state.ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
		if !full || e.Once && e.Until.IsZero() {
			if said && err == nil {
				e.Log.Info("there is room on the disk again")
			}
			return err
		}
		if !said {
			e.Log.Error("the disk is full: waiting for room, nothing is lost", "error", err)
			said = true
		}
		select {
		case <-time.After(fullEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// persist writes commits. Kept files are made durable before the parcel that names them.
func (e *Engine) persist(ctx context.Context, group []commit) error {
	changes := make([]*state.Change, len(group))
	for k := range group {
		c := &group[k]
		changes[k] = &c.change
		if c.parcels != nil {
			c.change.Parcels = nil // of an attempt that failed
		}
		for i := range c.parcels {
			p := c.parcels[i] // a copy: where this attempt fails, the next begins with the files that lie in the spool
			if p.keep {
				e.Failpoint("spool.keep")
				at, err := e.spool.keep(p.id, p.at)
				if err != nil {
					return err
				}
				p.at = at
			} else {
				p.at = p.at.WithoutBytes()
			}
			stored, err := p.pack()
			if err != nil {
				return err
			}
			c.change.Parcels = append(c.change.Parcels, stored)
		}
		c.parcels = nil // they are in the change
	}
	if err := e.db.Commit(ctx, changes...); err != nil {
		return err
	}
	var drop []uint64
	for i := range group {
		drop = append(drop, group[i].drop...)
		group[i].change.Parcels = nil
	}
	e.spool.drop(drop)
	return nil
}

// storedCell is a cell at rest.
type storedCell struct {
	State   flow.State   `json:"state"`
	Code    string       `json:"code,omitempty"`
	Receipt *sdk.Receipt `json:"receipt,omitempty"`
}

// pack writes a parcel: four parts, each with its length before it, in Rest, and the bodies at the door in Body.
func (p *parcel) pack() (state.Parcel, error) {
	rest, body, err := p.at.SplitBody()
	if err != nil {
		return state.Parcel{}, err
	}
	var last []byte
	if p.last != nil {
		if last, err = p.last.WithoutBytes().Marshal(); err != nil {
			return state.Parcel{}, err
		}
	}
	cells := make([]map[string]storedCell, len(p.receipts))
	for i, m := range p.receipts {
		for address, c := range m {
			if cells[i] == nil {
				cells[i] = map[string]storedCell{}
			}
			cells[i][address] = storedCell{c.state, c.code, c.receipt}
		}
	}
	receipts, err := json.Marshal(cells)
	if err != nil {
		return state.Parcel{}, err
	}
	var out []byte
	for _, part := range [][]byte{rest, last, receipts, []byte(p.source)} {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	return state.Parcel{ID: p.id, Rest: out, Body: body, Opaque: p.opaque}, nil
}

var errParcel = errors.New("a stored parcel cannot be read")

// unpack is the opposite of pack.
func unpack(s state.Parcel) (*parcel, error) {
	var parts [4][]byte
	rest := s.Rest
	for i := range parts {
		n, k := binary.Uvarint(rest)
		if k <= 0 || uint64(len(rest)-k) < n {
			return nil, errParcel
		}
		parts[i], rest = rest[k:k+int(n)], rest[k+int(n):]
	}
	p := &parcel{id: s.ID, opaque: s.Opaque, source: string(parts[3])}
	var err error
	if p.at, err = protocol.JoinBody(parts[0], s.Body); err != nil {
		return nil, fmt.Errorf("%w: %w", errParcel, err)
	}
	if len(parts[1]) > 0 {
		if p.last, err = protocol.Unmarshal(parts[1]); err != nil {
			return nil, fmt.Errorf("%w: %w", errParcel, err)
		}
	}
	if err := json.Unmarshal(parts[2], &p.encoded); err != nil {
		return nil, fmt.Errorf("%w: %w", errParcel, err)
	}
	return p, nil
}

// reveal decodes the receipts of rows of a parcel that was read. Replays want few rows of many.
func (p *parcel) reveal(rows []uint32) error {
	p.receipts = make([]map[string]cell, len(p.encoded))
	for _, r := range rows {
		var cells map[string]storedCell
		if int(r) >= len(p.encoded) {
			return fmt.Errorf("%w: row %d of %d", errParcel, r, len(p.encoded))
		}
		if err := json.Unmarshal(p.encoded[r], &cells); err != nil {
			return fmt.Errorf("%w: %w", errParcel, err)
		}
		row := make(map[string]cell, len(cells))
		for address, c := range cells {
			row[address] = cell{c.State, c.Code, c.Receipt}
		}
		p.receipts[r] = row
	}
	return nil
}

// loadsAtOnce bounds the parcels that stand in memory for replays: each is read and opened whole, be it for one row.
const loadsAtOnce = 4

// load reads rows of a parcel for a replay, beside the loop.
func (e *Engine) load(a flow.Load) {
	e.background.Go(func() {
		select {
		case e.loads <- struct{}{}:
		case <-e.ctx.Done():
			return
		}
		p, err := e.readParcel(a.Parcel)
		if err == nil {
			err = p.reveal(a.Rows)
		}
		if err == nil {
			err = e.spool.fetch(p, a.Rows)
		}
		e.post(func() {
			<-e.loads
			if err != nil {
				e.Log.Error("parcel cannot be read", "parcel", a.Parcel, "error", err)
				e.step(flow.Loaded{Lot: a.Lot, Err: true})
				return
			}
			e.loaded(a, p)
		})
	})
}

func (e *Engine) readParcel(id uint64) (*parcel, error) {
	s, err := e.db.Parcel(id)
	if err != nil {
		return nil, err
	}
	return unpack(s)
}

// loaded registers the rows of a replay.
func (e *Engine) loaded(a flow.Load, p *parcel) {
	rows := make([]int32, len(a.Rows))
	for i, r := range a.Rows {
		rows[i] = int32(r)
	}
	source, retention := -1, e.steps[a.Door].retention
	if i, ok := e.byName[p.source]; ok {
		source = i
	}
	at := &held{Batch: protocol.Gather(protocol.Part{Batch: p.at, Rows: rows}), source: source, lot: a.Lot}
	ev := flow.Loaded{Lot: a.Lot, At: e.hold(at), Receipts: map[int][]flow.State{}}
	ev.Rows = e.rows(at, retention, e.Clock.Now(), nil)
	if p.last != nil {
		last := &held{Batch: protocol.Gather(protocol.Part{Batch: p.last, Rows: rows}), source: source, lot: a.Lot}
		ev.Last = e.hold(last)
		ev.LastRows = e.rows(last, retention, e.Clock.Now(), func(i int) (*held, int32) { return at, int32(i) })
	}
	l := e.lot(a.Lot)
	for i, r := range a.Rows {
		for address, c := range p.receipts[r] {
			sink, ok := e.byName[address]
			if !ok {
				continue
			}
			*l.receipt(sink, int32(i)) = c
			if ev.Receipts[sink] == nil {
				ev.Receipts[sink] = make([]flow.State, len(a.Rows))
			}
			ev.Receipts[sink][i] = c.state
		}
		for _, f := range p.at.Files(int(r)) {
			if f.HasBytes() {
				l.spool(int32(i), f.Spool)
			}
		}
	}
	e.step(ev)
}
