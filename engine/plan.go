package engine

import (
	"slices"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
)

// Plan is a pipeline as it would run. It holds no values of arguments, so that it can be shown to anybody.
type Plan struct {
	Pipeline string        `json:"pipeline"`
	Steps    []PlannedStep `json:"steps"` // in the order in which records meet them
	Since    *Since        `json:"since,omitempty"`
}

// PlannedStep is one step of a plan.
type PlannedStep struct {
	Address    string   `json:"address"`
	Kind       string   `json:"kind"`
	Component  string   `json:"component"`
	Plugin     string   `json:"plugin"`
	Process    string   `json:"process"`         // steps of one process share it
	Ahead      string   `json:"ahead,omitempty"` // the step in whose process this transform is applied where that can be; its own is for the rest
	Connection string   `json:"connection,omitempty"`
	Inputs     []string `json:"inputs,omitempty"`
	After      []string `json:"after,omitempty"`
	OnOwed     string   `json:"on_owed,omitempty"` // of a sink: "wait" or "pass", what comes after it does meanwhile
	Order      string   `json:"order,omitempty"`   // "key": records of one key go one after the other
	Effect     string   `json:"effect,omitempty"`  // "once": a second delivery does harm
	OnUnknown  string   `json:"on_unknown,omitempty"`
	Holds      bool     `json:"holds,omitempty"` // it packs many records into one object
	When       bool     `json:"when,omitempty"`
	About      bool     `json:"about,omitempty"`
	PerRecord  []string `json:"per_record,omitempty"` // arguments that are evaluated for each record
	Enabled    bool     `json:"enabled"`
}

// NewPlan describes a pipeline.
func NewPlan(pipe *lang.Pipeline) Plan {
	p := Plan{Pipeline: pipe.Name, Steps: []PlannedStep{}}
	for _, s := range pipe.Steps {
		n := PlannedStep{Address: s.Address, Kind: string(s.Kind), Component: s.Type, Plugin: s.Plugin, Process: processName(s),
			Inputs: s.Inputs, After: s.After, When: s.HasWhen, About: s.HasAbout, PerRecord: s.PerRecord(), Enabled: s.Enabled}
		if s.Connection != nil {
			n.Connection = s.Connection.Address
		}
		for first := s.Behind; first != nil; first = first.Behind {
			n.Ahead = first.Address
		}
		if s.Kind == sdk.KindSink {
			n.OnOwed = "wait"
			if s.OnOwedPass {
				n.OnOwed = "pass"
			}
		}
		n.Order, n.Effect, n.OnUnknown = manners(s)
		n.Holds = s.Component.Holds
		p.Steps = append(p.Steps, n)
	}
	return p
}

// manners says how a step is to be called, where that is not the usual way.
func manners(s *lang.Step) (order, effect, onUnknown string) {
	if s.Ordered {
		order = "key"
	}
	if s.Once {
		effect, onUnknown = "once", "dead"
		if s.Resend {
			onUnknown = "resend"
		}
	}
	return order, effect, onUnknown
}

// Outline is what the state has to know of a pipeline to compare itself with it.
type Outline struct {
	Steps   []Outlined  `json:"steps"`
	Moved   []lang.Move `json:"moved,omitempty"`
	Removed []string    `json:"removed,omitempty"`
}

// Outlined is a step of an Outline. The fingerprint is a hash that covers secrets: it goes to our own engine or state only. It is
// empty where the configuration is not wholly known.
type Outlined struct {
	Address     string `json:"address"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// NewOutline takes the outline of a pipeline.
func NewOutline(pipe *lang.Pipeline) Outline {
	o := Outline{Moved: pipe.Moved, Removed: pipe.Removed}
	for _, s := range pipe.Steps {
		n := Outlined{Address: s.Address}
		if s.Args != nil {
			n.Fingerprint = s.Fingerprint
		}
		o.Steps = append(o.Steps, n)
	}
	return o
}

// Since is what the next run finds, address by address: first those of the pipeline in its order, then those that only the state has.
type Since struct {
	Addresses []Standing `json:"addresses"`
}

// Standing is what the state knows of an address, and how the pipeline has changed.
type Standing struct {
	Address string        `json:"address"`
	Change  Change        `json:"change,omitempty"`
	From    string        `json:"from,omitempty"` // where it moves from
	Owed    int           `json:"owed,omitempty"`
	Dead    int           `json:"dead,omitempty"`
	Read    *SourceStatus `json:"read,omitempty"` // the checkpoint of a source
}

// Change says how an address differs from the last run.
type Change string

// Changes.
const (
	Same     Change = ""
	New      Change = "new"
	Changed  Change = "changed" // configured otherwise: what waits there for a cause is tried again
	Moved    Change = "moved"
	Removed  Change = "removed"  // its entries and checkpoint are no longer looked at
	Stranded Change = "stranded" // run refuses until the file or weir owed drop says what becomes of it
)

func (o Outline) since(s state.Snapshot) Since {
	var list []Standing
	at := func(address string) *Standing {
		from := ""
		for _, m := range o.Moved {
			if m.From == address {
				from, address = address, m.To
			}
		}
		i := slices.IndexFunc(list, func(x Standing) bool { return x.Address == address })
		if i < 0 {
			i = len(list)
			list = append(list, Standing{Address: address, Change: Stranded})
			if slices.Contains(o.Removed, address) {
				list[i].Change = Removed
			}
		}
		if from != "" {
			list[i].Change, list[i].From = Moved, from
		}
		return &list[i]
	}
	for _, step := range o.Steps {
		list = append(list, Standing{Address: step.Address, Change: New})
	}
	for _, known := range s.Steps {
		i := slices.IndexFunc(o.Steps, func(x Outlined) bool { return x.Address == known.Address })
		if i < 0 {
			continue // only remembered: that strands nobody
		}
		list[i].Change = Same
		if now := o.Steps[i].Fingerprint; now != "" && now != string(known.ConfigHash) {
			list[i].Change = Changed
		}
	}
	for _, c := range s.Checkpoints {
		if q, err := readSeqs(c.Stats); err == nil && c.Source != lang.Events {
			read := q.status(c.Source, false)
			at(c.Source).Read = &read
		}
	}
	for _, owing := range s.Owing {
		x := at(owing.Step)
		for _, g := range owing.Groups {
			if g.Dead {
				x.Dead += len(g.Rows)
			} else {
				x.Owed += len(g.Rows)
			}
		}
	}
	return Since{list}
}
