package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
)

// archived is the trailer that says what went wrong while an archive was sent.
const archived = "X-Weir-Archive"

// Backup writes an archive of the state and the kept files, beside the engine that runs.
func (c *Client) Backup(ctx context.Context, w io.Writer, a state.Audit) error {
	query := url.Values{"who": {a.Who}, "what": {a.What}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://weir/backup?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	long := http.Client{Transport: c.http.Transport} // as long as it takes
	resp, err := long.Do(req)
	if err != nil {
		return fmt.Errorf("ask the running engine: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		return errors.Join(errors.New(strings.TrimSpace(string(text))), err)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("the running engine gave up: %w", err)
	}
	if problem := resp.Trailer.Get(archived); problem != "" {
		return errors.New(problem)
	}
	return nil
}

// backup answers with an archive. What goes wrong on the way stands in the trailer.
func (e *Engine) backup(w http.ResponseWriter, r *http.Request) {
	a := state.Audit{When: e.Clock.Now().UTC(), Who: r.FormValue("who"), Verb: "backup", What: r.FormValue("what")}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(e.ctx, cancel)()
	w.Header().Set("Trailer", archived)
	_, err := e.db.Archive(ctx, w, keptRoot(e.Dir), a)
	if err == nil {
		err = e.db.Commit(ctx, &state.Change{Audit: []state.Audit{a}})
	}
	if err != nil {
		w.Header().Set(archived, strings.ReplaceAll(err.Error(), "\n", " "))
	}
}

// keptRoot is where the kept files of every pipeline lie.
func keptRoot(dir string) string { return filepath.Join(dir, "kept") }

// Backup writes an archive of the state and the kept files.
func (i *Idle) Backup(ctx context.Context, w io.Writer, a state.Audit) error {
	a.When = i.clock.Now().UTC()
	if _, err := i.db.Archive(ctx, w, keptRoot(i.dir), a); err != nil {
		return err
	}
	return i.db.Commit(ctx, &state.Change{Audit: []state.Audit{a}})
}

// Retire ends the life of the state here: no engine starts with it any more.
func (i *Idle) Retire(ctx context.Context, a state.Audit) error {
	a.When = i.clock.Now().UTC()
	return i.db.Retire(ctx, a)
}

// Check reads everything in the state.
func (i *Idle) Check(ctx context.Context) (state.Report, error) { return i.db.Check(ctx) }

// Restore makes the state of a data directory of an archive. Of the options Dir, Key, Clock and Log matter.
func Restore(o Options, r io.Reader, a state.Audit) (state.Archived, error) {
	so := state.Options{Key: o.Key}
	if o.Log != nil {
		so.Log = o.Log.Named("state").Trace
	}
	a.When = o.Clock.Now().UTC()
	return state.Restore(filepath.Join(o.Dir, "state"), keptRoot(o.Dir), r, so, a)
}

// Forgets says what a reset of the state will mean, address by address.
type Forgets struct {
	Address    string  `json:"address"`
	Checkpoint *string `json:"checkpoint,omitempty"` // position that is forgotten
	Records    uint64  `json:"records,omitempty"`    // read up to there
	Owed       int     `json:"owed,omitempty"`       // entries that will not be delivered
	Dead       int     `json:"dead,omitempty"`
	Marks      int     `json:"marks,omitempty"` // of records whose effect is not known
}

// Reset forgets all that the state holds of an address, or with "" of every address of the pipeline: the checkpoint of a source, what a
// step owes, and how it was configured. Without do it only says what that means.
func (i *Idle) Reset(address string, a state.Audit, do bool) ([]Forgets, error) {
	s, was, err := i.load()
	if err != nil {
		return nil, err
	}
	stored := func(address string) string { // where it moves from, as long as no run has moved it
		if old := was[address]; old != "" {
			return old
		}
		return address
	}
	list := []Forgets{}
	at := func(address string) *Forgets {
		k := slices.IndexFunc(list, func(f Forgets) bool { return f.Address == address })
		if k < 0 {
			k = len(list)
			list = append(list, Forgets{Address: address})
		}
		return &list[k]
	}
	meant := func(x string) bool { return address == "" || x == address }
	for _, c := range s.Checkpoints {
		if !meant(c.Source) {
			continue
		}
		f, position := at(c.Source), bookmark(c.Position)
		f.Checkpoint = &position
		if q, err := readSeqs(c.Stats); err == nil && c.Source != lang.Events {
			f.Records = q.status(c.Source, false).Records
		}
	}
	change := state.Change{Pipeline: i.pipe.Name}
	holds := map[uint64]int{} // of each parcel
	for _, o := range s.Owing {
		holds[o.Parcel]++
	}
	for _, o := range s.Owing {
		if !meant(o.Step) {
			continue
		}
		f := at(o.Step)
		for _, g := range o.Groups {
			if g.Dead {
				f.Dead += len(g.Rows)
			} else {
				f.Owed += len(g.Rows)
			}
		}
		change.DropOwing = append(change.DropOwing, state.OwingKey{Step: stored(o.Step), Parcel: o.Parcel})
		if holds[o.Parcel]--; holds[o.Parcel] == 0 {
			change.DropParcels = append(change.DropParcels, o.Parcel)
		}
	}
	for _, m := range s.Marks {
		if meant(m.Step) {
			at(m.Step).Marks++
		}
	}
	for _, step := range s.Steps {
		if meant(step.Address) {
			at(step.Address)
		}
	}
	if len(list) == 0 {
		if address == "" || i.pipe.Step(address) != nil {
			return list, nil
		}
		return nil, fmt.Errorf("%w: %s; weir state show tells what there is", ErrNoStep, address)
	}
	if !do {
		return list, nil
	}
	for _, f := range list {
		change.DropSteps = append(change.DropSteps, stored(f.Address))
	}
	if address == "" {
		change.TrimEvents = s.LastEvent
	}
	a.When = i.clock.Now().UTC()
	change.Audit = []state.Audit{a}
	if err := i.db.Commit(context.Background(), &change); err != nil {
		return nil, err
	}
	kept := spool{kept: keptFolder(i.dir, i.pipe.Name)}
	kept.drop(change.DropParcels)
	return list, nil
}

// Audits tells what people did to the state, oldest first.
func (i *Idle) Audits() ([]state.Audit, error) { return i.db.Audits() }

// Audits tells what people did to the state, oldest first.
func (c *Client) Audits() ([]state.Audit, error) {
	return call[[]state.Audit](c, "GET", "audit", nil, nil)
}

// keptBytes is what the kept files of a data directory take.
func keptBytes(dir string) (sum int64) {
	filepath.WalkDir(keptRoot(dir), func(_ string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil // no kept files, or gone meanwhile
	})
	return sum
}
