package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/plain"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// news makes events, and is the source weir.events for the steps that listen to it. An event is durable with what it reports, and read
// from the state when there is credit, so that neither an outage of its sinks nor a crash loses it.
type news struct {
	e    *Engine
	on   bool   // something listens
	last uint64 // number of the newest event

	durable, read uint64 // newest event that is written, and newest that was sent
	reading       bool
	credit        int
	pages         map[flow.Batch]uint64
	count         map[string]*trouble // by step, code and cause: what is open
}

// trouble is what one cause has done so far.
type trouble struct {
	first time.Time
	count int
}

func newNews(e *Engine, s state.Snapshot) *news {
	n := &news{e: e, last: s.LastEvent, durable: s.LastEvent, pages: map[flow.Batch]uint64{}, count: map[string]*trouble{}}
	_, n.on = e.byName[lang.Events]
	n.remember(s)
	for _, c := range s.Checkpoints {
		if c.Source == lang.Events && len(c.Position) == 8 {
			n.read = binary.BigEndian.Uint64(c.Position)
		}
	}
	return n
}

// remember finds the outages that the last run has told of and not seen the end of: what a step owes because its service was away says so.
// Otherwise an outage that outlives its engine would never be over.
func (n *news) remember(s state.Snapshot) {
	for _, o := range s.Owing {
		i, ok := n.e.byName[o.Step]
		if !ok {
			continue
		}
		step := n.e.steps[i]
		for _, g := range o.Groups {
			if !g.Dead && g.Cause == flow.CauseDown && (step.downSince.IsZero() || g.Since.Before(step.downSince)) {
				step.downSince = g.Since
			}
		}
	}
}

// answered says that the service of a step has answered: an outage of which an earlier run has told is over.
func (n *news) answered(s *step) {
	if !s.downSince.IsZero() {
		n.recovered("SERVICE_DOWN", s)
	}
}

// event is the body of a record of kind weir.event/1.
type event struct {
	Code      string            `json:"code"`
	Severity  sdk.Severity      `json:"severity"`
	Step      string            `json:"step"`
	Cause     string            `json:"cause,omitempty"`
	Subject   *subject          `json:"subject,omitempty"`
	First     time.Time         `json:"first"`
	Count     int               `json:"count"`
	Recovered bool              `json:"recovered"`
	Attrs     map[string]string `json:"attrs,omitempty"`

	At time.Time `json:"at"`
}

type subject struct {
	Source string `json:"source"`
	ID     string `json:"id"`
	Seq    uint64 `json:"seq,omitempty"`
}

// raise counts an event, logs it and makes its durable form. The first of a cause keeps its severity, the ones after it are for the
// record: nobody is woken 10,000 times by one missing key.
func (n *news) raise(ev event) []state.Event {
	key := ev.Step + "\x00" + ev.Code + "\x00" + ev.Cause
	ev.At = n.e.Clock.Now().UTC()
	t := n.count[key]
	switch {
	case ev.Recovered:
		ev.Severity = sdk.Info
		if t == nil {
			t = &trouble{first: ev.At}
		}
		if t.count--; t.count <= 0 {
			delete(n.count, key)
		}
	case t == nil:
		t = &trouble{first: ev.At, count: 1}
		n.count[key] = t
	default:
		t.count++
		ev.Severity = sdk.Info
	}
	ev.First, ev.Count = t.first, max(t.count, 0)
	log := n.e.Log.Info
	switch {
	case ev.Severity == sdk.Critical:
		log = n.e.Log.Error
	case ev.Severity == sdk.Warning:
		log = n.e.Log.Warn
	case t.count > 1 || ev.Subject != nil:
		log = n.e.Log.Debug
	}
	log("event", ev.attributes()...)
	if !n.on {
		return nil
	}
	data, err := json.Marshal(ev)
	if err != nil {
		panic(err) // plain text always works
	}
	n.last++
	return []state.Event{{Number: n.last, Data: data}}
}

// attributes are what the log says of an event: no more than there is to say.
func (ev *event) attributes() []any {
	list := []any{"code", ev.Code, "step", ev.Step}
	if ev.Cause != "" {
		list = append(list, "cause", ev.Cause)
	}
	if ev.Recovered {
		list = append(list, "recovered", true)
	}
	if ev.Subject != nil { // which one to look for in weir owed show, weir dead show
		list = append(list, "id", plain.Line(ev.Subject.ID))
		if ev.Subject.Seq > 0 {
			list = append(list, "seq", ev.Subject.Seq)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(ev.Attrs)) {
		list = append(list, k, ev.Attrs[k])
	}
	return list
}

// tell raises an event of its own, outside any settlement.
func (n *news) tell(ev event) {
	if events := n.raise(ev); events != nil {
		n.e.commits.put(commit{change: state.Change{Pipeline: n.e.Pipeline.Name, Events: events}})
	}
}

// facts adds the events of a settlement to its change.
func (n *news) facts(c flow.Commit, change *state.Change) {
	for _, f := range c.Facts {
		b := n.e.batches[f.Ref.Batch]
		ev := event{Code: f.Code, Step: n.e.steps[f.Step].address, Cause: f.Cause, Recovered: f.Recovered, Severity: sdk.Warning}
		if f.Alarm || f.Cause != "" {
			ev.Severity = sdk.Critical
		}
		if b != nil {
			ev.Subject = &subject{ID: b.ID(int(f.Ref.Row)), Seq: b.Seq(int(f.Ref.Row))}
			if from := b.from(f.Ref.Row); from >= 0 {
				ev.Subject.Source = n.e.steps[from].address
				if ev.Subject.Source == lang.Events {
					continue // an event about an event would never end
				}
			}
		}
		change.Events = append(change.Events, n.raise(ev)...)
	}
}

// told passes on the events that a plugin reported.
func (n *news) told(s *step, events []sdk.Event) {
	for _, ev := range events {
		n.tell(event{Code: ev.Code, Severity: ev.Severity, Step: s.address, Cause: ev.Cause, Attrs: ev.Attrs})
	}
}

// breaker tells that the service of a step is away, or back.
func (n *news) breaker(b flow.Breaker) {
	s := n.e.steps[b.Step]
	if b.Open {
		ev := event{Code: "SERVICE_DOWN", Severity: sdk.Warning, Step: s.address, Attrs: map[string]string{"why": b.Code}}
		if b.Alarm {
			ev.Severity = sdk.Critical
		}
		if s.trouble != "" {
			ev.Attrs["detail"] = s.trouble
		}
		n.tell(ev)
		return
	}
	n.recovered("SERVICE_DOWN", s)
}

func (n *news) sourceFailed(s *step, err error) {
	s.trouble = err.Error()
	s.failures++
	if n.open("SOURCE_DOWN", s) {
		return
	}
	ev := event{Code: "SOURCE_DOWN", Severity: sdk.Warning, Step: s.address, Attrs: map[string]string{"detail": s.trouble}}
	if o := sdk.OutcomeOf(err); o.Code != "" {
		ev.Attrs["why"] = o.Code
		if o.Alarm {
			ev.Severity = sdk.Critical
		}
	}
	n.tell(ev)
}

func (n *news) sourceBack(s *step) {
	s.failures = 0
	n.recovered("SOURCE_DOWN", s)
}

func (n *news) openFailed(s *step, err error) {
	n.closed(s, err)
	if s.failures++; n.e.hopeless(s) {
		n.e.fail(fmt.Errorf("%s cannot be opened: %w", s.address, err))
	}
	n.e.Log.Error("step cannot be opened", "step", s.address, "error", err)
}

// closed notes that nobody can be called for a step, until it is opened.
func (n *news) closed(s *step, err error) {
	s.trouble = err.Error()
	if !n.open("OPEN_FAILED", s) {
		n.tell(event{Code: "OPEN_FAILED", Severity: sdk.Critical, Step: s.address, Attrs: map[string]string{"why": sdk.OutcomeOf(err).Code, "detail": s.trouble}})
	}
}

func (n *news) opened(s *step) {
	if n.open("OPEN_FAILED", s) {
		s.failures = 0
		n.recovered("OPEN_FAILED", s)
	}
}

func (n *news) open(code string, s *step) bool { return n.count[s.address+"\x00"+code+"\x00"] != nil }

// down reports whether a source cannot be read, or a step cannot be opened.
func (n *news) down(s *step) bool { return n.open("SOURCE_DOWN", s) || n.open("OPEN_FAILED", s) }

// recovered tells that an outage is over, if there was one.
func (n *news) recovered(code string, s *step) {
	key := s.address + "\x00" + code + "\x00"
	if code == "SERVICE_DOWN" && !s.downSince.IsZero() { // it began in an earlier run
		n.count[key] = &trouble{first: s.downSince, count: 1}
		s.downSince = time.Time{}
	}
	if n.open(code, s) {
		n.tell(event{Code: code, Step: s.address, Recovered: true})
	}
}

// written says that events are durable.
func (n *news) written(events []state.Event) {
	if len(events) > 0 {
		n.durable = max(n.durable, events[len(events)-1].Number)
		n.e.wakeNews()
	}
}

func (n *news) grant(rows int) {
	n.credit += rows
	n.e.wakeNews()
}

// behind reports whether events wait to be sent.
func (n *news) behind() bool { return n.on && (n.read < n.durable || n.reading || n.durable < n.last) }

// wakeNews sends what is durable, as far as there is credit.
func (e *Engine) wakeNews() {
	n := e.news
	if !n.on || n.reading || n.credit <= 0 || n.read >= n.durable {
		return
	}
	n.reading = true
	after, limit := n.read, min(n.credit, 500)
	e.background.Go(func() {
		events, err := e.db.Events(e.Pipeline.Name, after, limit)
		e.post(func() {
			n.reading = false
			if err != nil {
				e.fail(fmt.Errorf("state: %w", err))
				return
			}
			n.arrived(events)
		})
	})
}

func (n *news) arrived(events []state.Event) {
	if len(events) == 0 {
		n.read = n.durable // the rest are another pipeline's numbers
		return
	}
	records := make([]sdk.Record, len(events))
	for i, stored := range events {
		var ev event
		json.Unmarshal(stored.Data, &ev) // written by raise
		title, text := ev.text()
		records[i] = sdk.Record{ID: "event-" + strconv.FormatUint(stored.Number, 10), Kind: lang.EventKind, Time: ev.At, Body: stored.Data, Meta: map[string]string{
			"severity": string(ev.Severity), "step": ev.Step, "code": ev.Code, "recovered": strconv.FormatBool(ev.Recovered),
			"title": title, "text": text,
		}}
	}
	n.read = events[len(events)-1].Number
	n.credit -= len(events)
	h := &held{Batch: protocol.FromRecords(records), source: n.e.byName[lang.Events]}
	rows := n.e.rows(h, 0, n.e.Clock.Now(), nil)
	b := n.e.hold(h)
	n.pages[b] = n.read
	n.e.step(flow.Arrived{Source: h.source, Batch: b, Rows: rows, Drained: true, Lot: func(lot uint64) { h.lot = lot }})
	n.e.wakeNews()
}

// settled is the number of the last event of a page; the page is done.
func (n *news) settled(b flow.Batch) uint64 {
	last := n.pages[b]
	delete(n.pages, b)
	return last
}

// text says an event to people.
func (ev *event) text() (title, text string) {
	what := ev.Code
	if ev.Cause != "" {
		what += " (" + ev.Cause + ")"
	}
	if ev.Recovered {
		what += ": recovered"
	}
	title = ev.Step + ": " + what
	text = fmt.Sprintf("%s at %s", title, ev.At.Format(time.RFC3339))
	if ev.Subject != nil {
		text += fmt.Sprintf(", record %s of %s", ev.Subject.ID, ev.Subject.Source)
	}
	for _, k := range slices.Sorted(maps.Keys(ev.Attrs)) {
		text += ", " + k + " " + ev.Attrs[k]
	}
	if ev.Count > 1 {
		text += fmt.Sprintf("; %d times since %s", ev.Count, ev.First.Format(time.RFC3339))
	}
	return title, text
}
