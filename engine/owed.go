package engine

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/weir-etl/weir/engine/internal/state"
)

// Pick selects owed entries or, with Dead, dead letters.
type Pick struct {
	Dead  bool
	Step  string // address; "" = every step
	ID    string // of a record; "" = every record
	Body  bool   // a listing tells the bodies too
	Limit int    // of the entries in a listing, all of which are counted; 0 = 1000, negative = none

	ids map[uint64]bool // what ID may be hashed to; nil = every record
}

// maxEntries bounds a listing of no other limit.
const maxEntries = 1000

// ErrNoStep is the answer to an address that neither the pipeline nor its state knows.
var ErrNoStep = errors.New("no such step")

// Listing is what a Pick finds.
type Listing struct {
	Total   int     `json:"total"`
	Groups  []Waits `json:"groups"`
	Entries []Entry `json:"entries"` // of each step the oldest first
}

// Waits counts entries of one step that wait for the same thing.
type Waits struct {
	Step     string     `json:"step"`
	Cause    string     `json:"cause,omitempty"` // "" = a time
	Code     string     `json:"code,omitempty"`
	Planned  bool       `json:"planned,omitempty"`
	Entries  int        `json:"entries"`
	Since    time.Time  `json:"since"` // the oldest
	Due      *time.Time `json:"due,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"` // the next
}

// Entry is one owed record or dead letter.
type Entry struct {
	Step       string     `json:"step"`
	Door       string     `json:"door,omitempty"` // the step at which it starts again, where that is another one
	Source     string     `json:"source,omitempty"`
	ID         string     `json:"id"`
	Seq        uint64     `json:"seq,omitempty"`
	Kind       string     `json:"kind,omitempty"`
	Dead       bool       `json:"dead,omitempty"`
	Cause      string     `json:"cause,omitempty"`
	Code       string     `json:"code,omitempty"`
	Detail     string     `json:"detail,omitempty"`
	Since      time.Time  `json:"since"`
	Due        *time.Time `json:"due,omitempty"`
	Deadline   *time.Time `json:"deadline,omitempty"`
	Tries      int        `json:"tries,omitempty"`
	Kept       bool       `json:"kept,omitempty"`        // its files are kept here
	Planned    bool       `json:"planned,omitempty"`     // a second time that the step itself asked for
	Body       string     `json:"body,omitempty"`        // at the door; only when asked for
	BodyBase64 string     `json:"body_base64,omitempty"` // where it is no text
}

// Effect is what became of picked entries.
type Effect struct {
	Entries   int      `json:"entries"`
	Forgotten []string `json:"forgotten,omitempty"` // addresses that the pipeline no longer has, with the checkpoint they left
}

// rows are the rows of a group that are picked.
func (p *Pick) rows(o *state.Owing, g *state.Group) []uint32 {
	switch {
	case p.Dead != g.Dead || p.Step != "" && p.Step != o.Step:
		return nil
	case p.ids == nil:
		return g.Rows
	}
	var rows []uint32
	for _, r := range g.Rows {
		if int(r) < len(o.IDs) && p.ids[o.IDs[r]] {
			rows = append(rows, r)
		}
	}
	return rows
}

func (p *Pick) count(owings []state.Owing) (n int) {
	for i := range owings {
		for k := range owings[i].Groups {
			n += len(p.rows(&owings[i], &owings[i].Groups[k]))
		}
	}
	return n
}

// list tells what is picked of owings. A parcel that read no longer finds was settled meanwhile.
func (p *Pick) list(owings []state.Owing, read func(parcel uint64) (*parcel, error)) (Listing, error) {
	l := Listing{Groups: []Waits{}, Entries: []Entry{}}
	limit := p.Limit
	if limit == 0 {
		limit = maxEntries
	}
	for i := range owings {
		o := &owings[i]
		var stored *parcel
		for k := range o.Groups {
			g := &o.Groups[k]
			rows := p.rows(o, g)
			if len(rows) == 0 {
				continue
			}
			l.Total += len(rows)
			l.add(o.Step, g, len(rows))
			for _, row := range rows[:max(0, min(len(rows), limit-len(l.Entries)))] {
				if stored == nil {
					var err error
					if stored, err = read(o.Parcel); errors.Is(err, state.ErrNotFound) {
						break
					} else if err != nil {
						return l, err
					}
				}
				l.Entries = append(l.Entries, p.entry(o.Step, g, stored, int(row)))
			}
		}
	}
	return l, nil
}

// add counts rows of a group under what they wait for.
func (l *Listing) add(step string, g *state.Group, n int) {
	i := slices.IndexFunc(l.Groups, func(w Waits) bool {
		return w.Step == step && w.Cause == g.Cause && w.Code == g.Code && w.Planned == g.Revisit
	})
	if i < 0 {
		i = len(l.Groups)
		l.Groups = append(l.Groups, Waits{Step: step, Cause: g.Cause, Code: g.Code, Planned: g.Revisit, Since: g.Since})
	}
	w := &l.Groups[i]
	w.Entries += n
	if g.Since.Before(w.Since) {
		w.Since = g.Since
	}
	w.Due, w.Deadline = earlier(w.Due, g.Due), earlier(w.Deadline, g.Deadline)
}

func earlier(a *time.Time, b time.Time) *time.Time {
	if b.IsZero() || a != nil && !b.Before(*a) {
		return a
	}
	return &b
}

func (p *Pick) entry(step string, g *state.Group, stored *parcel, row int) Entry {
	at := stored.at
	if stored.last != nil {
		at = stored.last
	}
	n := Entry{Step: step, Source: stored.source, ID: at.ID(row), Seq: at.Seq(row), Kind: at.Kind(row), Dead: g.Dead, Cause: g.Cause, Code: g.Code,
		Detail: g.Detail, Since: g.Since, Due: earlier(nil, g.Due), Deadline: earlier(nil, g.Deadline), Tries: g.Tries, Kept: g.Kept, Planned: g.Revisit}
	if g.Door != step {
		n.Door = g.Door
	}
	if p.Body {
		if body := stored.at.Body(row); utf8.Valid(body) {
			n.Body = string(body)
		} else {
			n.BodyBase64 = base64.StdEncoding.EncodeToString(body)
		}
	}
	return n
}

// known refuses a step that is not among addresses, which name what the pipeline or its state has.
func (p *Pick) known(addresses ...string) error {
	if p.Step == "" || slices.Contains(addresses, p.Step) {
		return nil
	}
	return fmt.Errorf("%w: %s; weir plan shows what there is", ErrNoStep, p.Step)
}

// identify hashes the id that is picked. Its source is not named: any of these may be it.
func (p *Pick) identify(key []byte, sources []string) {
	if p.ID == "" {
		return
	}
	p.ids = map[uint64]bool{}
	for _, s := range append(sources, "") {
		p.ids[identity(key, s, p.ID)] = true
	}
}
