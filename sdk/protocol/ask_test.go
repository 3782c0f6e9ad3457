package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

// oracle answers what it was asked, so that a field which the wire forgets shows.
type oracle struct {
	env    *sdk.Env
	lease  sdk.LeaseRequest
	survey sdk.SurveyRequest
	seq    uint64

	row   sdk.LeaseRow
	found sdk.Survey
	fails error
}

func (o *oracle) Open(_ context.Context, env *sdk.Env) error      { return nil }
func (o *oracle) Write(context.Context, *sdk.Call) error          { return nil }
func (o *oracle) Read(context.Context, []byte, sdk.Emitter) error { return nil }
func (o *oracle) Close(context.Context) error                     { return nil }
func (o *oracle) PositionAfter(_ context.Context, seq uint64) ([]byte, error) {
	o.seq = seq
	return []byte("behind"), o.fails
}
func (o *oracle) Survey(_ context.Context, r sdk.SurveyRequest) (sdk.Survey, error) {
	o.survey = r
	return o.found, o.fails
}
func (o *oracle) Lease(_ context.Context, env *sdk.Env, r sdk.LeaseRequest) (sdk.LeaseRow, error) {
	o.env, o.lease = env, r
	return o.row, o.fails
}

func TestRareCallsArriveWhole(t *testing.T) {
	at := time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC)
	o := &oracle{
		row: sdk.LeaseRow{Revision: "7/3", Holder: `{"host":"b"}`, Written: true, Changed: at, Now: at.Add(time.Second)},
		found: sdk.Survey{Rows: true, Where: "app 1", Since: at, First: 2, Last: 3, Old: 4, Fresh: 5,
			Waiting: []sdk.Waiting{{Status: "W", First: 6, Last: 7, Fresh: 8, Old: 9}}},
	}
	client := dial(t, newServer(sdk.Plugin{Name: "oracle", Components: []sdk.Component{
		{Kind: sdk.KindSink, Type: "oracle", NewSink: func() sdk.Sink { return o }},
		{Kind: sdk.KindSource, Type: "oracle", NewSource: func() sdk.Source { return o }},
	}}, io.Discard), Options{})
	step := Step{Address: "lease.oracle", Kind: KindLease, Type: "oracle", Args: json.RawMessage(`{"app":1}`), Connection: json.RawMessage(`{"url":"u"}`)}
	ask := sdk.LeaseRequest{Name: "p", Write: true, Revision: "7/2", Holder: "{}"}
	row, err := client.Lease(t.Context(), step, ask)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(row, o.row) + cmp.Diff(o.lease, ask) + cmp.Diff(string(o.env.Args), `{"app":1}`) + cmp.Diff(string(o.env.Connection), `{"url":"u"}`); d != "" {
		t.Errorf("lease:\n%s", d)
	}
	sink, err := client.Open(t.Context(), Step{Address: "sink.oracle.a", Kind: sdk.KindSink, Type: "oracle"}, "")
	if err != nil {
		t.Fatal(err)
	}
	source, err := client.Open(t.Context(), Step{Address: "source.oracle.a", Kind: sdk.KindSource, Type: "oracle"}, "")
	if err != nil {
		t.Fatal(err)
	}
	survey := sdk.SurveyRequest{Sample: json.RawMessage(`{"app":1}`), Seq: 1 << 62, Statuses: []string{"W", "X"}, Ago: time.Hour}
	found, err := client.Survey(t.Context(), sink, survey)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(found, o.found) + cmp.Diff(o.survey, survey); d != "" {
		t.Errorf("survey:\n%s", d)
	}
	position, err := client.PositionAfter(t.Context(), source, 1<<62)
	if err != nil || string(position) != "behind" || o.seq != 1<<62 {
		t.Errorf("position %q after %d, %v", position, o.seq, err)
	}

	o.fails = sdk.DownAlarm("NO", errors.New("why")).Err()
	_, err1 := client.Lease(t.Context(), step, ask)
	_, err2 := client.Survey(t.Context(), sink, survey)
	_, err3 := client.PositionAfter(t.Context(), source, 1)
	for _, err := range []error{err1, err2, err3} {
		var e *sdk.Error
		if !errors.As(err, &e) || e.Outcome.Code != "NO" || !e.Outcome.Alarm {
			t.Errorf("a failure arrives as %v", err)
		}
	}
	o.fails = nil
	if _, err := client.Lease(t.Context(), step, sdk.LeaseRequest{Name: "p"}); err == nil {
		t.Error("a lease that was only to be looked at may not be written")
	}
	var broken *ProtocolError
	if _, err := client.Survey(t.Context(), source, survey); !errors.As(err, &broken) {
		t.Errorf("a source was surveyed: %v", err)
	}
	if _, err := client.PositionAfter(t.Context(), sink, 1); !errors.As(err, &broken) {
		t.Errorf("a sink gave a position: %v", err)
	}
	step.Type = "other"
	if _, err := client.Lease(t.Context(), step, ask); !errors.As(err, &broken) {
		t.Errorf("a lease where there is none: %v", err)
	}
}
