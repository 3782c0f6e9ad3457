package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// A lost data directory held a checkpoint, what was owed, and kept files. The first two can be found again as long as the source still
// has the records: it is enough to begin to read where nothing can be missing before. That place is behind the newest row that every
// destination has had for longer than the source keeps anything: what is older cannot be fetched again in any case, and what is newer
// is fetched again, all of it. A row that is there already is written again by its key, an object is found by key and hash; a row that
// waits for its file waits for a record that is not older than its deadline, so it is among them.
//
// Sinks are asked for that row ([sdk.Surveyor]), and the source for the position behind it ([sdk.Positioner]). Times are those at which
// the destination made its rows, by its own clock: a row is never older than its record.

// rebuildMargin is how much longer than the source keeps its records a row must have been there. What is asked for in vain costs nothing:
// the source begins with what it has.
const rebuildMargin = 24 * time.Hour

// Rebuild is what was found, and what a new state begins with.
type Rebuild struct {
	Pipeline string          `json:"pipeline"`
	Dir      string          `json:"data_dir"`
	Sources  []RebuildSource `json:"sources"`
	Written  bool            `json:"written"`
}

// RebuildSource is where one source will be read from.
type RebuildSource struct {
	Address  string  `json:"address"`
	After    uint64  `json:"after_seq"` // it is read behind this seq; 0 = from where a first run begins
	Position string  `json:"position"`  // the same in the source's own words, "" likewise
	Why      string  `json:"why"`
	Keeps    string  `json:"keeps,omitempty"` // how long the service keeps its records
	Found    []Found `json:"found"`

	position []byte
}

// Found is what one sink says of one place, such as an app.
type Found struct {
	Step    string         `json:"step"`
	Where   string         `json:"where,omitempty"`
	Skipped string         `json:"skipped,omitempty"` // why it says nothing
	First   uint64         `json:"first_seq,omitempty"`
	Last    uint64         `json:"last_seq,omitempty"`
	Since   time.Time      `json:"since,omitzero"` // what was written before is older than the source keeps
	Old     uint64         `json:"last_old_seq,omitempty"`
	Fresh   uint64         `json:"first_fresh_seq,omitempty"`
	Waiting []FoundWaiting `json:"waiting,omitempty"`
}

// FoundWaiting counts rows that are not finished.
type FoundWaiting struct {
	Status string `json:"status"`
	First  uint64 `json:"first_seq"`
	Last   uint64 `json:"last_seq"`
	Again  int    `json:"asked_again"` // of records that the source may still have
	Stay   int    `json:"stay"`        // too old: nobody will finish them
}

// ErrHasState says that a data directory is not empty.
var ErrHasState = errors.New("the data directory holds a state")

// FindRebuild asks the destinations of a pipeline where a new state has to begin. It changes nothing. Of the options Pipeline, Dir, Key,
// Clock, Executable and Log matter. Errors are ErrHasState, those of state.Open, and what destinations say.
func FindRebuild(ctx context.Context, o Options) (Rebuild, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = &sdk.Clock{}
	}
	r := Rebuild{Pipeline: o.Pipeline.Name, Dir: o.Dir, Sources: []RebuildSource{}}
	if HasState(o.Dir) {
		idle, err := OpenIdle(o, false)
		if err != nil {
			return r, err
		}
		defer idle.Close()
		if err := vacant(idle.db, o); err != nil {
			return r, err
		}
	}
	sockets, err := os.MkdirTemp("", "weir-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(sockets)
	a := &asker{o: o, sockets: sockets}
	for _, s := range o.Pipeline.Steps {
		if s.Kind != sdk.KindSource || !s.Enabled {
			continue
		}
		source, err := a.source(ctx, s)
		if err != nil {
			return r, err
		}
		r.Sources = append(r.Sources, source)
	}
	return r, nil
}

// vacant answers ErrHasState when a state knows anything of the pipeline.
func vacant(db *state.DB, o Options) error {
	s, err := db.Load(o.Pipeline.Name)
	if err != nil {
		return err
	}
	if len(s.Checkpoints)+len(s.Owing)+len(s.Steps) > 0 {
		return fmt.Errorf("%w of pipeline %q: %s", ErrHasState, o.Pipeline.Name, o.Dir)
	}
	return nil
}

// Write makes the state that r says, and notes who wanted it. The data directory must still be without one.
func (r *Rebuild) Write(ctx context.Context, o Options, a state.Audit) error {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	db, err := openState(o)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := vacant(db, o); err != nil {
		return err
	}
	a.When = o.Clock.Now().UTC() // a nil clock is the real one
	change := state.Change{Pipeline: o.Pipeline.Name, Audit: []state.Audit{a}}
	for _, s := range r.Sources {
		if len(s.position) > 0 {
			change.Checkpoints = append(change.Checkpoints, state.Checkpoint{Source: s.Address, Position: s.position})
		}
	}
	if err := db.Commit(ctx, &change); err != nil {
		return err
	}
	r.Written = true
	return nil
}

// asker asks plugins.
type asker struct {
	o       Options
	sockets string
}

// with opens a step in a process of its own.
func (a *asker) with(ctx context.Context, s *lang.Step, f func(c *protocol.Client, handle uint64) error) error {
	exe, err := executableOf(a.o, s.Plugin)
	if err != nil {
		return err
	}
	p, err := host.Start(ctx, exe, host.Options{Dir: a.sockets, Home: a.o.Pipeline.Folder, Log: a.o.Log, Clock: a.o.Clock})
	if err != nil {
		return err
	}
	defer p.Kill(ctx)
	open := protocol.Step{Address: s.Address, Kind: s.Kind, Type: s.Type, Args: s.Args}
	if s.Connection != nil {
		open.Connection = s.Connection.Args
	}
	handle, err := p.Client().Open(ctx, open, a.sockets)
	if err != nil {
		return fmt.Errorf("%s: %w", s.Address, err)
	}
	if err := f(p.Client(), handle); err != nil {
		return fmt.Errorf("%s: %w", s.Address, err)
	}
	return nil
}

// source finds where one source has to be read from.
func (a *asker) source(ctx context.Context, s *lang.Step) (RebuildSource, error) {
	r := RebuildSource{Address: s.Address, Found: []Found{}}
	keeps := s.Component.Retention
	switch {
	case !s.Component.Positions:
		r.Why = "it cannot tell a position from a seq: it is read from where a first run begins"
		return r, nil
	case keeps == 0:
		r.Why = "its service keeps everything: it is read from where a first run begins"
		return r, nil
	}
	r.Keeps = keeps.String()
	for _, sink := range a.o.Pipeline.Steps {
		if sink.Kind != sdk.KindSink || !sink.Enabled || !slices.Contains(sink.Sources, s.Address) {
			continue
		}
		found, err := a.survey(ctx, sink, keeps+rebuildMargin)
		if err != nil {
			return r, err
		}
		r.Found = append(r.Found, found...)
	}
	r.After, r.Why = behind(r.Found)
	if r.After == 0 {
		return r, nil
	}
	return r, a.with(ctx, s, func(c *protocol.Client, handle uint64) (err error) {
		r.position, err = c.PositionAfter(ctx, handle, r.After)
		r.Position = bookmark(r.position)
		return err
	})
}

// behind is the highest seq up to which every destination proves that nothing can be fetched again, 0 for none. A row that is fresh below
// it is believed rather than the order of all others.
func behind(found []Found) (after uint64, why string) {
	steps := map[string]uint64{}
	var names []string
	for _, f := range found {
		if f.Skipped != "" {
			continue
		}
		if _, seen := steps[f.Step]; !seen {
			names = append(names, f.Step)
		}
		steps[f.Step] = max(steps[f.Step], f.Old) // the places of a step, such as its apps, are one
	}
	if len(names) == 0 {
		return 0, "no sink can say what it holds: it is read from where a first run begins"
	}
	lowest := ""
	for _, name := range names {
		if lowest == "" || steps[name] < steps[lowest] {
			lowest = name
		}
	}
	after = steps[lowest]
	why = fmt.Sprintf("of all that %s holds, seq %d is the last that was written longer ago than the source keeps its records", lowest, after)
	for _, f := range found {
		if f.Skipped == "" && f.Fresh > 0 && f.Fresh <= after {
			after, lowest = f.Fresh-1, f.Step
			why = fmt.Sprintf("the row with seq %d was written to %s within the time for which the source keeps its records", f.Fresh, lowest)
		}
	}
	if after == 0 {
		return 0, fmt.Sprintf("%s holds no row that is older than what the source keeps: it is read from where a first run begins", lowest)
	}
	return after, why
}

// survey asks a sink about each of its places.
func (a *asker) survey(ctx context.Context, s *lang.Step, ago time.Duration) (list []Found, err error) {
	skip := func(why string) ([]Found, error) { return []Found{{Step: s.Address, Skipped: why}}, nil }
	switch {
	case !s.Component.Surveys:
		return skip("it cannot say what it holds; what is there is found again when it is written again")
	case len(s.Sources) > 1:
		return skip("its rows come from several sources")
	}
	err = a.with(ctx, s, func(c *protocol.Client, handle uint64) error {
		seen := map[string]bool{}
		for _, p := range places(s) {
			got, err := c.Survey(ctx, handle, sdk.SurveyRequest{Sample: p.sample, Seq: p.seq, Statuses: unfinished, Ago: ago})
			if err != nil {
				return err
			}
			if !got.Rows || seen[got.Where] {
				continue
			}
			seen[got.Where] = true
			f := Found{Step: s.Address, Where: got.Where, First: got.First, Last: got.Last, Since: got.Since, Old: got.Old, Fresh: got.Fresh}
			for _, w := range got.Waiting {
				f.Waiting = append(f.Waiting, FoundWaiting{Status: w.Status, First: w.First, Last: w.Last, Again: w.Fresh, Stay: w.Old})
			}
			list = append(list, f)
		}
		return nil
	})
	if err == nil && len(list) == 0 {
		return skip("it writes no seq, or adds no rows")
	}
	return list, err
}

// unfinished are the statuses of rows that somebody may still finish; the first is that of the sample.
var unfinished = []string{status.FileWaiting, status.FileUploadFailed, status.FileUndefined}

// place is a made-up record that a step would write somewhere.
type place struct {
	seq    uint64
	sample json.RawMessage
}

// maxSampleSeq is above every seq that a service can have got to.
const maxSampleSeq = 1 << 62

// places finds the places that a step writes to by seq, such as the apps of since(…): where two numbers give the same one, so do those
// between them.
func places(s *lang.Step) []place {
	var list []place
	at := func(seq uint64) place { return place{seq, s.Sample(madeUp(seq))} }
	var between func(lo, hi place)
	between = func(lo, hi place) {
		if hi.seq-lo.seq <= 1 || lo.shape() == hi.shape() {
			return
		}
		mid := at(lo.seq + (hi.seq-lo.seq)/2)
		between(lo, mid)
		if shape := mid.shape(); !slices.ContainsFunc(list, func(p place) bool { return p.shape() == shape }) {
			list = append(list, mid)
		}
		between(mid, hi)
	}
	lo, hi := at(1), at(maxSampleSeq)
	list = append(list, lo)
	if lo.shape() != hi.shape() {
		list = append(list, hi)
	}
	between(lo, hi)
	slices.SortFunc(list, func(a, b place) int {
		if a.seq < b.seq {
			return -1
		}
		return 1
	})
	return list
}

// shape is a sample in which the seq itself makes no difference.
func (p place) shape() string {
	dec := json.NewDecoder(bytes.NewReader(p.sample))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return string(p.sample)
	}
	seq := strconv.FormatUint(p.seq, 10)
	var blank func(v any) any
	blank = func(v any) any {
		switch v := v.(type) {
		case map[string]any:
			for k := range v {
				v[k] = blank(v[k])
			}
		case []any:
			for i := range v {
				v[i] = blank(v[i])
			}
		case json.Number:
			if v.String() == seq {
				return nil
			}
		case string:
			if v == seq {
				return nil
			}
		}
		return v
	}
	text, err := json.Marshal(blank(v))
	if err != nil {
		return string(p.sample)
	}
	return string(text)
}

// madeUp is a record of which only its seq is known, and that it waits for a file.
type madeUp uint64

// ID implements lang.Record, as the other methods do.
func (madeUp) ID() string         { return "weir-rebuild" }
func (m madeUp) Seq() uint64      { return uint64(m) }
func (madeUp) Key() string        { return "" }
func (madeUp) Kind() string       { return "" }
func (madeUp) Time() time.Time    { return time.Time{} }
func (madeUp) Body() []byte       { return nil }
func (madeUp) Meta(string) string { return "" }
func (madeUp) Files() []sdk.File {
	return []sdk.File{{Outcome: sdk.FileWaiting, Size: -1, SizeClaimed: -1}}
}
