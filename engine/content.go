package engine

import (
	"encoding/json"
	"slices"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// The engine answers the machine's questions about rows: it is its flow.Content.

// Wants reports whether a step is for a row.
func (e *Engine) Wants(i int, r flow.Ref) (bool, string) {
	s := e.steps[i]
	b := e.batches[r.Batch]
	if from := b.from(r.Row); from >= 0 && e.steps[from].address == lang.Events && b.Meta("step", int(r.Row)) == s.address {
		return false, "" // an event about a sink never goes to that sink
	}
	if b.shrunk && shrunk(b.Batch, int(r.Row)) != "" {
		return false, codeTooLarge
	}
	if !s.onlySome {
		return true, ""
	}
	ok, err := s.Wants(view{b: b.Batch, i: int(r.Row)}, e.receiptsOf(s, b, r.Row))
	if err != nil {
		e.Log.Warn("expression cannot be evaluated", "step", s.address, "error", err)
		return false, "EXPRESSION"
	}
	return ok, ""
}

// NeedsBytes reports whether a step wants files of the row that lie in the spool. A transform behind a maker of files judges them all.
func (e *Engine) NeedsBytes(i int, r flow.Ref) bool {
	s := e.steps[i]
	b := e.batches[r.Batch]
	if !b.HasFiles() || s.Step == nil {
		return false
	}
	files := b.Files(int(r.Row))
	if s.Kind == sdk.KindTransform {
		for k := range files {
			if files[k].HasBytes() {
				return true
			}
		}
		return false
	}
	wanted, err := s.WantedFiles(view{b: b.Batch, i: int(r.Row)}, e.receiptsOf(s, b, r.Row))
	if err != nil {
		return false
	}
	for _, k := range wanted {
		if k < len(files) && files[k].HasBytes() {
			return true
		}
	}
	return false
}

// About is the identity that a row is about.
func (e *Engine) About(i int, r flow.Ref) uint64 {
	s := e.steps[i]
	b := e.batches[r.Batch]
	id, err := s.About(view{b: b.Batch, i: int(r.Row)})
	if err != nil || id == "" {
		return 0
	}
	source := b.from(r.Row)
	if source >= 0 && e.steps[source].address == lang.Events {
		var event struct {
			Subject struct {
				Source string `json:"source"`
			} `json:"subject"`
		}
		json.Unmarshal(b.Body(int(r.Row)), &event) // our own event: it is JSON
		source = -1
		if j, ok := e.byName[event.Subject.Source]; ok {
			source = j
		}
	}
	return e.identity(source, id)
}

// Announce does what the machine decides about rows and asks about next.
func (e *Engine) Announce(a flow.Action) {
	switch a := a.(type) {
	case flow.Alias:
		e.alias(a)
	case flow.Receipt:
		e.lot(a.Lot).receipt(a.Sink, a.Root).state = a.State
	}
}

// lotFacts is what the shell keeps of a lot beside its batches.
type lotFacts struct {
	receipts map[cellKey]*cell
	spooled  map[int32][]string // spool files by row of the first batch
}

type cellKey struct {
	sink int
	root int32
}

// cell is what a sink says of a record so far.
type cell struct {
	state   flow.State
	code    string
	receipt *sdk.Receipt // of deliveries: urls add up, newest first
}

func (e *Engine) lot(id uint64) *lotFacts {
	l := e.lots[id]
	if l == nil {
		l = &lotFacts{}
		e.lots[id] = l
	}
	return l
}

func (l *lotFacts) receipt(sink int, root int32) *cell {
	k := cellKey{sink, root}
	c := l.receipts[k]
	if c == nil {
		if l.receipts == nil {
			l.receipts = map[cellKey]*cell{}
		}
		c = &cell{}
		l.receipts[k] = c
	}
	return c
}

// delivered writes a receipt into its cell. A later delivery adds its URLs and files to those of earlier ones.
func (c *cell) delivered(r *sdk.Receipt, code string) {
	c.code = code
	if r == nil {
		return
	}
	if c.receipt != nil {
		for _, u := range c.receipt.URLs {
			if !slices.Contains(r.URLs, u) {
				r.URLs = append(r.URLs, u)
			}
		}
		for _, f := range c.receipt.Files {
			if !slices.Contains(r.Files, f) {
				r.Files = append(r.Files, f)
			}
		}
	}
	c.receipt = r
}

// receiptsOf reads the receipts that a step mentions, as they stand now.
func (e *Engine) receiptsOf(s *step, b *held, row int32) lang.Receipts {
	if len(s.awaits) == 0 {
		return nil
	}
	o := b.of(row)
	cells := make(map[string]cell, len(s.awaits))
	for _, a := range s.awaits {
		if l := e.lots[o.lot]; l != nil {
			if c := l.receipts[cellKey{a, o.root}]; c != nil {
				cells[e.steps[a].address] = *c
			}
		}
	}
	return e.readReceipts(cells, b.Batch, int(row))
}

// readReceipts turns cells into what expressions see. The files of a sink that has not delivered are those it wants.
func (e *Engine) readReceipts(cells map[string]cell, b *protocol.Batch, row int) lang.Receipts {
	return func(address string) lang.Receipt {
		c := cells[address]
		r := lang.Receipt{Code: c.code}
		if c.state != flow.None {
			r.State = c.state.String()
		}
		if c.receipt != nil {
			r.URLs, r.Files, r.Fields = c.receipt.URLs, c.receipt.Files, c.receipt.Fields
		}
		if c.state > flow.StateDelivered {
			if files, err := e.steps[e.byName[address]].WantedFiles(view{b: b, i: row}, nil); err == nil {
				r.Files = files
			}
		}
		return r
	}
}
