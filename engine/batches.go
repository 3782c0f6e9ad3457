package engine

import (
	"slices"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// held is a batch that the machine knows by number.
type held struct {
	*protocol.Batch
	source int      // of its records; -1 = not known. Only where there is no origin
	origin []origin // of each row; nil = row i is row i of lot's first batch
	lot    uint64
	rows   []flow.Row
	shrunk bool // a row may have lost its body, which was too large

	ahead []protocol.Answer // what the transforms behind its maker have answered already: see chain.go
	maker *step             // only where ahead has something
}

// origin is the row of a lot's first batch that a row came from. A call may carry rows of several lots, and of several sources.
type origin struct {
	lot    uint64
	root   int32
	source int32
}

func (h *held) of(row int32) origin {
	if h.origin == nil {
		return origin{h.lot, row, int32(h.source)}
	}
	return h.origin[row]
}

// from is the source of a row, -1 = not known.
func (h *held) from(row int32) int { return int(h.of(row).source) }

// hold numbers a batch.
func (e *Engine) hold(h *held) flow.Batch {
	e.lastBatch++
	h.shrunk = slices.Contains(h.MetaNames(), shrunkMeta)
	e.batches[e.lastBatch] = h
	return e.lastBatch
}

// rows says of a batch what the machine has to know. parent gives the row of before that output i came from; identities that stayed
// are not hashed again.
func (e *Engine) rows(h *held, retention time.Duration, now time.Time, before func(i int) (*held, int32)) []flow.Row {
	n := h.Rows()
	rows := make([]flow.Row, n)
	for i := range n {
		r := &rows[i]
		r.Size = int32(len(h.Body(i)))
		id := h.ID(i)
		if before != nil {
			if b, row := before(i); b.ID(int(row)) == id {
				r.ID = b.rows[row].ID
			}
		}
		if r.ID == 0 {
			r.ID = e.identity(h.from(int32(i)), id)
		}
		if key := ""; e.ordered {
			if key = h.Key(i); key != "" && before != nil {
				if b, row := before(i); b.Key(int(row)) == key {
					r.Key = b.rows[row].Key
				}
			}
			if key != "" && r.Key == 0 {
				r.Key = e.key(h.from(int32(i)), key)
			}
		}
		if retention > 0 {
			r.Deadline = recordTime(h.Batch, i, now).Add(retention)
		}
	}
	h.rows = rows
	return rows
}

// recordTime is when a record happened; one without time counts from when it was fetched.
func recordTime(b *protocol.Batch, i int, now time.Time) time.Time {
	if t := b.Time(i); !t.IsZero() {
		return t
	}
	if t, err := time.Parse(time.RFC3339Nano, b.Meta("fetched_at", i)); err == nil {
		return t
	}
	return now
}

// alias makes a batch of rows that went past a transform.
func (e *Engine) alias(a flow.Alias) {
	of := e.batches[a.Of]
	h := &held{Batch: protocol.Gather(protocol.Part{Batch: of.Batch, Rows: a.Rows}), shrunk: of.shrunk}
	for _, row := range a.Rows {
		h.origin = append(h.origin, of.of(row))
		h.rows = append(h.rows, of.rows[row])
	}
	e.batches[a.New] = h
}

// view shows one row to expressions.
type view struct {
	b      *protocol.Batch
	i      int
	stored []int // files that the step has delivered in an earlier pass
}

var _ lang.Record = view{}

func (v view) ID() string              { return v.b.ID(v.i) }
func (v view) Seq() uint64             { return v.b.Seq(v.i) }
func (v view) Key() string             { return v.b.Key(v.i) }
func (v view) Kind() string            { return v.b.Kind(v.i) }
func (v view) Time() time.Time         { return v.b.Time(v.i) }
func (v view) Body() []byte            { return v.b.Body(v.i) }
func (v view) Meta(name string) string { return v.b.Meta(name, v.i) }

// Files are those of the row. One that is here no more, but was delivered by the step that asks, is stored.
func (v view) Files() []sdk.File {
	files := v.b.Files(v.i)
	for _, k := range v.stored {
		if k < len(files) && files[k].Outcome == "" && !files[k].HasBytes() && files[k].SHA256 != "" {
			files[k].Outcome = sdk.FileStored
		}
	}
	return files
}
