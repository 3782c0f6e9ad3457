package protocol

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Run is the outcome of Count rows from First on.
type Run struct {
	First, Count int
	Outcome      sdk.Outcome     // without Outputs and Receipt
	Receipt      json.RawMessage // of each of these rows; nil = none. See [ParseReceipt]
}

// receiptJSON is how a receipt travels.
type receiptJSON struct {
	URLs   []string       `json:"urls,omitempty"`
	Files  []int          `json:"files,omitempty"`
	Fields map[string]any `json:"fields,omitempty"`
}

// FormatReceipt writes {"urls":[…],"files":[…],"fields":{…}}, leaving out what is empty; nil for an empty receipt.
func FormatReceipt(r *sdk.Receipt) (json.RawMessage, error) {
	if empty(r) {
		return nil, nil
	}
	return json.Marshal(receiptJSON{r.URLs, r.Files, r.Fields})
}

func empty(r *sdk.Receipt) bool {
	return r == nil || len(r.URLs) == 0 && len(r.Files) == 0 && len(r.Fields) == 0
}

// ParseReceipt reads a receipt; nil for nothing. Numbers among its fields arrive as float64.
func ParseReceipt(text json.RawMessage) (*sdk.Receipt, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var r receiptJSON
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("receipt: %w", err)
	}
	return &sdk.Receipt{URLs: r.URLs, Files: r.Files, Fields: r.Fields}, nil
}

// writeOutcome leaves out Outputs, which travel as columns. A receipt that JSON cannot hold makes the outcome a rejection.
func writeOutcome(o *sdk.Outcome) *pb.Outcome {
	receipt, err := FormatReceipt(o.Receipt)
	if err != nil {
		bad := sdk.Reject("receipt", err)
		return writeOutcome(&bad)
	}
	w := &pb.Outcome{
		Verdict: pb.Verdict(o.Verdict), Down: o.Down, Alarm: o.Alarm, Revisit: o.Revisit, Unknown: o.Unknown,
		AfterMs: milliseconds(o.After), Due: nanos(o.Due),
		Code: utf8(o.Code), Detail: utf8(o.Detail), Cause: utf8(o.Cause), ReceiptJson: receipt,
	}
	for i := range o.Events {
		w.Events = append(w.Events, writeEvent(&o.Events[i]))
	}
	return w
}

func readOutcome(w *pb.Outcome) sdk.Outcome {
	o := sdk.Outcome{
		Down: w.GetDown(), Alarm: w.GetAlarm(), Revisit: w.GetRevisit(), Unknown: w.GetUnknown(),
		After: duration(w.GetAfterMs()),
		Code:  w.GetCode(), Detail: w.GetDetail(), Cause: w.GetCause(),
		Events: readEvents(w.GetEvents()),
	}
	if v := sdk.Verdict(w.GetVerdict()); v >= 0 && v <= sdk.VerdictHeld { // the same numbers on both sides; what is newer stays unset
		o.Verdict = v
	}
	if w.GetDue() != 0 {
		o.Due = time.Unix(0, w.GetDue()).UTC()
	}
	return o
}

// alike reports whether two outcomes may share a run.
func alike(a, b *sdk.Outcome) bool {
	return empty(a.Receipt) && empty(b.Receipt) && len(a.Events) == 0 && len(b.Events) == 0 &&
		a.Verdict == b.Verdict && a.Code == b.Code && a.Detail == b.Detail && a.After == b.After && a.Cause == b.Cause &&
		a.Down == b.Down && a.Unknown == b.Unknown && a.Alarm == b.Alarm && a.Revisit == b.Revisit && a.Due.Equal(b.Due)
}

func writeEvent(e *sdk.Event) *pb.Event {
	w := &pb.Event{Code: utf8(e.Code), Severity: utf8(string(e.Severity)), Cause: utf8(e.Cause)}
	if len(e.Attrs) > 0 {
		w.Attrs = make(map[string]string, len(e.Attrs))
		for k, v := range e.Attrs {
			w.Attrs[utf8(k)] = utf8(v)
		}
	}
	return w
}

func readEvents(list []*pb.Event) []sdk.Event {
	var events []sdk.Event
	for _, w := range list {
		events = append(events, sdk.Event{Code: w.GetCode(), Severity: sdk.Severity(w.GetSeverity()), Cause: w.GetCause(), Attrs: w.GetAttrs()})
	}
	return events
}

// milliseconds rounds up, so that nothing is asked again too early.
func milliseconds(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// duration undoes milliseconds, within what a Duration can hold: what overflows would be a pause that ends at once.
func duration(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), int64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

// utf8 makes vendor text fit a protobuf string, which would otherwise refuse the whole message.
func utf8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
