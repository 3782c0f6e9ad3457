package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
)

// ErrNoState says that a pipeline has never run with this data directory.
var ErrNoState = errors.New("no state yet")

// Idle is a pipeline that no engine runs: its state, opened to be looked at or changed. Nobody else can open it meanwhile.
type Idle struct {
	pipe  *lang.Pipeline
	dir   string
	key   []byte
	clock *sdk.Clock
	db    *state.DB
}

// OpenIdle opens the state of a pipeline, of which only Pipeline, Dir, Key, Clock and Log matter; write allows changes. Errors are
// ErrNoState and those of state.Open: state.ErrInUse while an engine runs.
func OpenIdle(o Options, write bool) (*Idle, error) {
	if !HasState(o.Dir) {
		return nil, fmt.Errorf("%w in %s", ErrNoState, o.Dir)
	}
	so := state.Options{Key: o.Key, ReadOnly: !write}
	if o.Log != nil {
		so.Log = o.Log.Named("state").Trace
	}
	db, err := state.Open(filepath.Join(o.Dir, "state"), so)
	if err != nil {
		return nil, err
	}
	i := &Idle{pipe: o.Pipeline, dir: o.Dir, key: identityKey(o.Key), clock: o.Clock, db: db}
	if i.clock == nil {
		i.clock = &sdk.Clock{}
	}
	return i, nil
}

// HasState reports whether a data directory holds a state.
func HasState(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "state"))
	return !errors.Is(err, fs.ErrNotExist)
}

// Close lets the next engine or command in.
func (i *Idle) Close() error { return i.db.Close() }

// load reads the state as the next run will: what moves goes by its new address. was leads back to the old one.
func (i *Idle) load() (s state.Snapshot, was map[string]string, err error) {
	if s, err = i.db.Load(i.pipe.Name); err != nil {
		return s, nil, err
	}
	var places []*string
	for k := range s.Owing {
		places = append(places, &s.Owing[k].Step)
	}
	for k := range s.Checkpoints {
		places = append(places, &s.Checkpoints[k].Source)
	}
	was = map[string]string{}
	for _, m := range i.pipe.Moved {
		if slices.ContainsFunc(places, func(a *string) bool { return *a == m.To }) {
			continue // run will refuse
		}
		for _, a := range places {
			if *a == m.From {
				*a, was[m.To] = m.To, m.From
			}
		}
	}
	return s, was, nil
}

// ran answers ErrNoState where only other pipelines have a state: "nothing is owed" would be taken for an answer about them.
func (i *Idle) ran() error {
	if names := i.db.Pipelines(); len(names) > 0 && !slices.Contains(names, i.pipe.Name) {
		return fmt.Errorf("%w of pipeline %q in %s; it holds that of: %s", ErrNoState, i.pipe.Name, i.dir, strings.Join(names, ", "))
	}
	return nil
}

// Status is how the last run left the pipeline.
func (i *Idle) Status() (Status, error) {
	s, _, err := i.load()
	if err == nil {
		err = i.ran()
	}
	if err != nil {
		return Status{}, err
	}
	st := Status{Pipeline: i.pipe.Name, Now: i.clock.Now().UTC()}
	if st.Disk, err = i.disk(); err != nil {
		return st, err
	}
	info, err := i.db.Info()
	if err != nil {
		return st, err
	}
	st.Retired = info.Retired
	for _, c := range s.Checkpoints {
		if c.Source == lang.Events {
			continue
		}
		q, err := readSeqs(c.Stats)
		if err != nil {
			return st, err
		}
		st.Sources = append(st.Sources, q.status(c.Source, false))
	}
	lines := map[string]*StepStatus{}
	for _, step := range i.pipe.Steps {
		if step.Kind != sdk.KindSource {
			lines[step.Address] = &StepStatus{Address: step.Address, Kind: string(step.Kind), Enabled: step.Enabled}
		}
	}
	var gone []string
	for k := range s.Owing {
		o := &s.Owing[k]
		line := lines[o.Step]
		if line == nil {
			removed := slices.Contains(i.pipe.Removed, o.Step)
			line = &StepStatus{Address: o.Step, Stranded: !removed, Removed: removed}
			lines[o.Step], gone = line, append(gone, o.Step)
		}
		for g := range o.Groups {
			i.count(line, o, &o.Groups[g], &st)
		}
	}
	for _, step := range i.pipe.Steps {
		if line := lines[step.Address]; line != nil {
			st.Steps = append(st.Steps, *line)
		}
	}
	for _, address := range gone {
		st.Steps = append(st.Steps, *lines[address])
	}
	return st, nil
}

// disk is what the pipeline takes of it. How long it lasts only a running engine can tell.
func (i *Idle) disk() (d Disk, err error) {
	v := volumeOf(i.dir)
	d = Disk{Kept: folderSize(keptFolder(i.dir, i.pipe.Name)), Free: v.free, Known: v.known, StopsBelow: v.stopsBelow()}
	d.State, err = i.db.Size()
	return d, err
}

func (i *Idle) count(line *StepStatus, o *state.Owing, g *state.Group, st *Status) {
	n := len(g.Rows)
	if g.Dead {
		line.Dead += n
		return
	}
	line.Owed += n
	if line.Removed {
		return
	}
	st.NextDue = earlier(st.NextDue, g.Due)
	if !g.Kept && g.Door != o.Step && !g.Deadline.IsZero() && !st.Now.Before(g.Deadline.Add(-i.pipe.Rescue)) {
		line.NoRescue += n
	}
}

// Entries lists what is picked.
func (i *Idle) Entries(p Pick) (Listing, error) {
	s, _, err := i.pick(&p)
	if err == nil {
		err = i.ran()
	}
	if err != nil {
		return Listing{}, err
	}
	return p.list(s.Owing, func(id uint64) (*parcel, error) {
		stored, err := i.db.Parcel(id)
		if err != nil {
			return nil, err
		}
		return unpack(stored)
	})
}

// pick loads the state and makes p fit to select of it.
func (i *Idle) pick(p *Pick) (s state.Snapshot, was map[string]string, err error) {
	if s, was, err = i.load(); err != nil {
		return s, nil, err
	}
	addresses := []string{lang.Events}
	for _, step := range i.pipe.Steps {
		addresses = append(addresses, step.Address)
	}
	for _, m := range i.pipe.Moved {
		addresses = append(addresses, m.From)
	}
	for _, c := range s.Checkpoints {
		addresses = append(addresses, c.Source)
	}
	for _, o := range s.Owing {
		addresses = append(addresses, o.Step)
	}
	p.identify(i.key, addresses)
	return s, was, p.known(addresses...)
}

// Retry makes owed entries due at the start of the next run and gives dead letters another life.
func (i *Idle) Retry(p Pick) (Effect, error) {
	return i.change(p, func(g state.Group) []state.Group {
		g.Dead, g.Cause, g.About, g.AboutAt, g.Due = false, "", 0, "", i.clock.Now()
		return []state.Group{g}
	}, state.Audit{})
}

// Drop forgets what is picked: it will not be delivered. Owed entries of a step that the pipeline no longer has take its checkpoint
// with them. That it was done, by whom and to what is written down in the same transaction: nothing else would tell of it.
func (i *Idle) Drop(p Pick, a state.Audit) (Effect, error) {
	return i.change(p, func(state.Group) []state.Group { return nil }, a)
}

// change replaces what is picked, in one commit. A parcel of which nothing is owed any more goes, and with it the files kept for it.
func (i *Idle) change(p Pick, replace func(state.Group) []state.Group, a state.Audit) (Effect, error) {
	var done Effect
	s, was, err := i.pick(&p)
	if err != nil {
		return done, err
	}
	change := state.Change{Pipeline: i.pipe.Name}
	holds := map[uint64]int{} // of each parcel
	for _, o := range s.Owing {
		holds[o.Parcel]++
	}
	for k := range s.Owing {
		o := s.Owing[k]
		n := 0
		var groups []state.Group
		for _, g := range o.Groups {
			rows := p.rows(&o, &g)
			n += len(rows)
			rest, picked := g, g
			rest.Rows = slices.DeleteFunc(slices.Clone(g.Rows), func(r uint32) bool { return slices.Contains(rows, r) })
			if len(rest.Rows) > 0 {
				groups = append(groups, rest)
			}
			if picked.Rows = rows; len(rows) > 0 {
				groups = append(groups, replace(picked)...)
			}
		}
		if n == 0 {
			continue
		}
		done.Entries += n
		if old := was[o.Step]; old != "" {
			o.Step = old
		}
		if o.Groups = groups; len(groups) > 0 {
			change.Owing = append(change.Owing, o)
			continue
		}
		change.DropOwing = append(change.DropOwing, state.OwingKey{Step: o.Step, Parcel: o.Parcel})
		if holds[o.Parcel]--; holds[o.Parcel] == 0 {
			change.DropParcels = append(change.DropParcels, o.Parcel)
		}
	}
	if drop := replace(state.Group{}) == nil; drop && !p.Dead && p.ID == "" {
		done.Forgotten = i.forgotten(s, p.Step)
		change.DropSteps = done.Forgotten
	}
	if done.Entries == 0 && len(done.Forgotten) == 0 {
		return done, nil
	}
	if a.Verb != "" {
		a.When = i.clock.Now().UTC()
		for _, address := range done.Forgotten {
			a.What += "; the checkpoint of " + address
		}
		change.Audit = []state.Audit{a}
	}
	if err := i.db.Commit(context.Background(), &change); err != nil {
		return Effect{}, err
	}
	kept := spool{kept: keptFolder(i.dir, i.pipe.Name)}
	kept.drop(change.DropParcels)
	return done, nil
}

// forgotten are the sources among the picked addresses that the pipeline no longer has.
func (i *Idle) forgotten(s state.Snapshot, step string) (list []string) {
	for _, c := range s.Checkpoints {
		if i.pipe.Step(c.Source) == nil && c.Source != lang.Events && (step == "" || step == c.Source) {
			list = append(list, c.Source)
		}
	}
	return list
}

// State describes the state.
func (i *Idle) State() (StateInfo, error) { return describe(i.db, i.dir, i.pipe.Name) }

// Since compares a pipeline with the state.
func (i *Idle) Since(o Outline) (Since, error) {
	s, err := i.db.Load(i.pipe.Name)
	return o.since(s), err
}

// StateInfo describes a state without its content.
type StateInfo struct {
	Dir       string       `json:"dir"`
	Bytes     int64        `json:"bytes"` // on disk, without spool and kept files
	Kept      int64        `json:"kept_bytes"`
	Disk      state.Info   `json:"disk"`
	Pipelines []string     `json:"pipelines"`
	Pipeline  string       `json:"pipeline"`
	Events    uint64       `json:"events"` // ever told
	Sources   []Checkpoint `json:"sources"`
	Steps     []Held       `json:"steps"`
}

// Checkpoint is how far a source was read and settled.
type Checkpoint struct {
	SourceStatus
	Position string `json:"position"` // the source's own bookmark, quoted where it is no plain text
}

// Held is what the state holds for one step.
type Held struct {
	Address string     `json:"address"`
	Owed    int        `json:"owed"`
	Dead    int        `json:"dead"`
	Parcels int        `json:"parcels"`         // stored batches that the entries stand in
	Marks   int        `json:"marks,omitempty"` // records that were sent alone, and nothing tells yet how that ended
	Oldest  *time.Time `json:"oldest,omitempty"`
}

func describe(db *state.DB, dir, pipeline string) (StateInfo, error) {
	info := StateInfo{Dir: dir, Pipelines: db.Pipelines(), Pipeline: pipeline, Sources: []Checkpoint{}, Steps: []Held{}}
	s, err := db.Load(pipeline)
	if err != nil {
		return info, err
	}
	if info.Bytes, err = db.Size(); err != nil {
		return info, err
	}
	if info.Disk, err = db.Info(); err != nil {
		return info, err
	}
	info.Kept = keptBytes(dir)
	info.Events = s.LastEvent
	for _, c := range s.Checkpoints {
		q, err := readSeqs(c.Stats)
		if err != nil {
			return info, err
		}
		info.Sources = append(info.Sources, Checkpoint{q.status(c.Source, false), bookmark(c.Position)})
	}
	held := func(address string) *Held {
		k := slices.IndexFunc(info.Steps, func(h Held) bool { return h.Address == address })
		if k < 0 {
			k = len(info.Steps)
			info.Steps = append(info.Steps, Held{Address: address})
		}
		return &info.Steps[k]
	}
	for _, m := range s.Marks {
		held(m.Step).Marks++
	}
	for _, o := range s.Owing {
		h := held(o.Step)
		h.Parcels++
		for _, g := range o.Groups {
			if g.Dead {
				h.Dead += len(g.Rows)
			} else {
				h.Owed += len(g.Rows)
			}
			h.Oldest = earlier(h.Oldest, g.Since)
		}
	}
	return info, nil
}

// bookmark shows a position.
func bookmark(position []byte) string {
	quoted := fmt.Sprintf("%+q", position)
	if plain := quoted[1 : len(quoted)-1]; plain == string(position) {
		return plain
	}
	return quoted
}
