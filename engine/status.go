package engine

import (
	"context"
	"encoding/json"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

// Status is a look at a run.
type Status struct {
	Pipeline string         `json:"pipeline"`
	Running  bool           `json:"running"`
	Now      time.Time      `json:"now"`
	Started  time.Time      `json:"started,omitzero"` // zero = not running; then steps count what is owed and nothing else
	NextDue  *time.Time     `json:"next_due,omitempty"`
	Disk     Disk           `json:"disk"`
	Sources  []SourceStatus `json:"sources"`
	Steps    []StepStatus   `json:"steps"`
	Retired  *state.Audit   `json:"retired,omitempty"` // the state was moved away: no engine starts with it here
}

// SourceStatus says how far a source is read.
type SourceStatus struct {
	Address string    `json:"address"`
	Records uint64    `json:"records"`
	First   uint64    `json:"first_seq,omitempty"`
	Last    uint64    `json:"last_seq,omitempty"`
	Missing uint64    `json:"missing"` // numbers that never came
	Holes   []span    `json:"holes,omitempty"`
	Fetched time.Time `json:"fetched"`
	Down    string    `json:"down,omitempty"` // why it cannot be read now
	Drained bool      `json:"drained"`
}

// StepStatus counts what a step did since the start, and what it owes.
type StepStatus struct {
	Address  string `json:"address"`
	Kind     string `json:"kind"`
	Enabled  bool   `json:"enabled"`
	In       uint64 `json:"in"`
	Done     uint64 `json:"done"`
	Passed   uint64 `json:"passed"`
	Retried  uint64 `json:"retried"`
	Rejected uint64 `json:"rejected"`
	Owed     int    `json:"owed"`
	Dead     int    `json:"dead"`
	Down     string `json:"down,omitempty"`   // code of the outage while its breaker is open, or why it cannot be opened
	Detail   string `json:"detail,omitempty"` // of the outage
	Units    int    `json:"under_way"`
	Held     int    `json:"held,omitempty"`  // of Units: the sink has them and has not answered for them yet
	Order    string `json:"order,omitempty"` // "key"
	Effect   string `json:"effect,omitempty"`
	Stranded bool   `json:"stranded,omitempty"`  // the pipeline no longer has this step
	Removed  bool   `json:"removed,omitempty"`   // … and says so: nobody looks at what it owes
	NoRescue int    `json:"no_rescue,omitempty"` // of Owed: so near to the deadline that a running engine would fetch and keep their files
}

// status looks at everything; of the loop.
func (e *Engine) status() Status {
	st := Status{Pipeline: e.Pipeline.Name, Running: true, Now: e.Clock.Now().UTC(), Started: e.started.UTC(), Disk: e.disk.now}
	if due := e.machine.NextDue(); !due.IsZero() {
		st.NextDue = &due
	}
	for _, s := range e.steps {
		if s.Step == nil {
			continue
		}
		if s.source != nil {
			line := s.source.seen.status(s.address, e.machine.Drained(s.index))
			if e.news.down(s) {
				line.Down = s.trouble
			}
			st.Sources = append(st.Sources, line)
			continue
		}
		w := e.machine.Watch(s.index)
		line := StepStatus{Address: s.address, Kind: string(s.Kind), Enabled: s.Enabled, In: w.In, Done: w.Done, Passed: w.Passed,
			Retried: w.Retried, Rejected: w.Rejected, Owed: w.Owed, Dead: w.Dead, Units: w.Units, Held: w.Held}
		line.Order, line.Effect, _ = manners(s.Step)
		if w.BreakerOpen {
			line.Down, line.Detail = w.BreakerCode, s.trouble
		} else if e.news.down(s) {
			line.Down = s.trouble
		}
		st.Steps = append(st.Steps, line)
	}
	return st
}

// status is what a source's count says.
func (q *seqs) status(address string, drained bool) SourceStatus {
	return SourceStatus{Address: address, Records: q.Records, First: q.First, Last: q.Last, Missing: q.missing(), Holes: q.Holes, Fetched: q.Fetched, Drained: drained}
}

// readSeqs reads what a checkpoint says beside its position.
func readSeqs(stats []byte) (q seqs, err error) {
	if len(stats) > 0 {
		err = json.Unmarshal(stats, &q)
	}
	return q, err
}

func (e *Engine) summary() Summary {
	s := Summary{Status: e.status()}
	s.Running = false
	for _, step := range s.Steps {
		s.Open = s.Open || step.Dead > 0
	}
	for _, src := range s.Sources {
		s.Open = s.Open || src.Missing > 0
	}
	return s
}

// changedSteps lists the steps whose configuration is another than in the last run, and remembers the new one: what waits there for a
// cause is due.
func (e *Engine) changedSteps(snapshot state.Snapshot) error {
	known := map[string]string{}
	for _, s := range snapshot.Steps {
		known[s.Address] = string(s.ConfigHash)
	}
	change := state.Change{Pipeline: e.Pipeline.Name}
	for _, s := range e.steps {
		if s.Step == nil || known[s.address] == s.Fingerprint {
			continue
		}
		if known[s.address] != "" {
			e.changed = append(e.changed, s.index)
		}
		change.Steps = append(change.Steps, state.StepState{Address: s.address, ConfigHash: []byte(s.Fingerprint)})
	}
	if len(change.Steps) == 0 {
		return nil
	}
	return e.db.Commit(context.Background(), &change)
}
