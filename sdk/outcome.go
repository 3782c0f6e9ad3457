package sdk

import (
	"encoding/json"
	"errors"
	"sync"
	"time"
)

// Row is one record of a call.
type Row struct {
	Record
	Args json.RawMessage // values of the per-record arguments, a JSON object; nil when the component has none
	// Attempt counts the earlier planned times this row was asked: 0 on its first pass, more on a revisit or replay. On a later attempt
	// that brings nothing new, answer [Retry]: what an earlier pass delivered stays as it is.
	Attempt int
	Final   bool // the deadline has passed: try once more, really, and answer for good
}

// Decode reads the row's arguments into v.
func (r *Row) Decode(v any) error {
	if len(r.Args) == 0 {
		return nil
	}
	return json.Unmarshal(r.Args, v)
}

// Call is a batch at the door of a transform or sink.
type Call struct {
	Rows []Row
	Now  time.Time // decides every deadline of this call
	// Probe asks a sink that declares Probes for each row: is it there already, with equal bytes, judged by arguments and file facts?
	// [Done] with a receipt = yes; [NeedBytes] = no, send it. The rows come without bytes.
	Probe bool

	ledger
}

// NewCall makes a call whose answers go to answer, each at most once and never two at a time. The wire adapter uses it, and so do
// tests of plugins that need no wire.
func NewCall(rows []Row, now time.Time, probe bool, answer func(row int, o Outcome)) *Call {
	return &Call{Rows: rows, Now: now, Probe: probe, ledger: ledger{answer: answer, answered: make([]bool, len(rows))}}
}

// Flush is all that a sink holds, see [Flusher].
type Flush struct {
	IDs []string  // of the rows held, in the order in which the engine knows that they were taken
	Now time.Time // decides every deadline of this flush

	ledger
}

// NewFlush makes a flush as [NewCall] makes a call.
func NewFlush(ids []string, now time.Time, answer func(row int, o Outcome)) *Flush {
	return &Flush{IDs: ids, Now: now, ledger: ledger{answer: answer, answered: make([]bool, len(ids))}}
}

// ledger sees to it that each row has one outcome.
type ledger struct {
	answer   func(row int, o Outcome)
	mu       sync.Mutex
	answered []bool
	events   []Event // of Tell
}

// Tell adds an event to the next answer: something that concerns no row of the call.
func (l *ledger) Tell(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

// Answer gives the outcome of a row. It may be called from any goroutine until Apply, Write or Flush returns. A second answer to a row
// is a bug and panics.
func (l *ledger) Answer(row int, o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.answered[row] {
		panic("sdk: a row was answered twice")
	}
	l.answered[row] = true
	o.Events = append(o.Events[:len(o.Events):len(o.Events)], l.events...)
	l.events = nil
	l.answer(row, o)
}

// Answered reports whether the row has its outcome.
func (l *ledger) Answered(row int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered[row]
}

// Verdict is the kind of an outcome.
type Verdict int

// Verdicts.
const (
	VerdictUnset  Verdict = iota
	VerdictDone           // transform: goes on as Outputs; sink: delivered
	VerdictPassed         // sink: nothing to do with this record, for good
	VerdictRetry          // not now
	VerdictReject         // never: a dead letter
	VerdictHeld           // sink that holds: taken, and answered for good by the next flush
)

// Outcome is the answer to one row. Make one with [Done], [Emit], [Drop], [Passed], [Hold], [Retry], [WaitFor], [Unknown],
// [Reject], [Down] or [NeedBytes].
type Outcome struct {
	Verdict Verdict
	Outputs []Record // transform, done: what goes on, in order
	Receipt *Receipt // sink, done or passed

	Code    string        // constant such as "CB_VA01"; stored readable, so never content
	Detail  string        // for people; stored sealed
	After   time.Duration // retry: not before; done: revisit
	Cause   string        // retry: what it waits for; "" = time
	Unknown bool          // retry: it may have been done, see [Unknown]
	Down    bool          // retry: the service is down, not the record bad: the step's breaker opens
	Alarm   bool          // with Down: waiting alone will not help (credentials, rights, configuration)
	Revisit bool          // done: pass this on now and ask me again
	Due     time.Time     // revisit: the deadline; after it the row comes with Final
	Events  []Event
}

// Receipt is what a sink says of a delivery.
type Receipt struct {
	URLs   []string       // where it lies; every version, newest first
	Files  []int          // indexes of the files that this delivery holds
	Fields map[string]any // as declared in [Component].Receipt
}

// Done of a sink: delivered and durable. A nil receipt is an empty one.
func Done(receipt *Receipt) Outcome { return Outcome{Verdict: VerdictDone, Receipt: receipt} }

// Emit of a transform: the row is replaced by these records; usually one, the row's own record, changed.
func Emit(outputs ...Record) Outcome { return Outcome{Verdict: VerdictDone, Outputs: outputs} }

// Drop of a transform: nothing goes on.
func Drop() Outcome { return Outcome{Verdict: VerdictDone} }

// Passed of a sink: this record does not concern it; code says why, "orphan" for an update whose target will never come.
func Passed(code string) Outcome { return Outcome{Verdict: VerdictPassed, Code: code} }

// Hold of a sink that declares Holds: the row is taken and nothing of it can be seen at the destination yet. It is answered for good by
// the next [Flusher].Flush.
func Hold() Outcome { return Outcome{Verdict: VerdictHeld} }

// Retry asks for the row again, not before after (0 = the engine's back-off).
func Retry(after time.Duration, code string, err error) Outcome {
	return Outcome{Verdict: VerdictRetry, After: after, Code: code, Detail: text(err)}
}

// WaitFor owes the row until the step's configuration changes, e.g. cause "key version 9". Alarmed at once, blocks nothing.
func WaitFor(cause, code string) Outcome {
	return Outcome{Verdict: VerdictRetry, Cause: cause, Code: code}
}

// NeedBytes answers a probe: not there.
func NeedBytes() Outcome { return Outcome{Verdict: VerdictRetry, Code: "need_bytes"} }

// Unknown of a sink whose effect is [Once]: the record was sent, and nothing tells whether it was accepted, as after a time-out. The
// pipeline's on_unknown decides whether it is sent again or becomes a dead letter.
func Unknown(code string, err error) Outcome {
	return Outcome{Verdict: VerdictRetry, Unknown: true, Code: code, Detail: text(err)}
}

// Reject makes the row a dead letter.
func Reject(code string, err error) Outcome {
	return Outcome{Verdict: VerdictReject, Code: code, Detail: text(err)}
}

// Down says that the service, not the record, is the trouble: the step's breaker opens and every row is owed. What err says is logged
// and told in an event, so it must not repeat what a record holds.
func Down(code string, err error) Outcome {
	return Outcome{Verdict: VerdictRetry, Down: true, Code: code, Detail: text(err)}
}

// DownAlarm is Down for trouble that waiting will not cure: wrong credentials, missing rights, a wrong field code.
func DownAlarm(code string, err error) Outcome {
	o := Down(code, err)
	o.Alarm = true
	return o
}

// AskAgain adds a planned second time to a done outcome: pass this on now, ask me again after d, until the deadline.
func (o Outcome) AskAgain(d time.Duration, deadline time.Time) Outcome {
	o.Revisit, o.After, o.Due = true, d, deadline
	return o
}

// With adds an event.
func (o Outcome) With(e Event) Outcome {
	o.Events = append(o.Events, e)
	return o
}

// Error carries an outcome as an error, for code that returns errors.
type Error struct{ Outcome Outcome }

func (e *Error) Error() string {
	switch {
	case e.Outcome.Code == unknown && e.Outcome.Detail != "":
		return e.Outcome.Detail
	case e.Outcome.Detail != "":
		return e.Outcome.Code + ": " + e.Outcome.Detail
	}
	return e.Outcome.Code
}

// Err turns a retry or reject outcome into an error.
func (o Outcome) Err() error { return &Error{o} }

// OutcomeOf is the outcome of rows that a failed call left unanswered: the one inside err, else a retry.
func OutcomeOf(err error) Outcome {
	var e *Error
	if errors.As(err, &e) {
		return e.Outcome
	}
	return Retry(0, unknown, err)
}

// unknown is the code of an error that has none; it adds nothing to its text.
const unknown = "error"

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
