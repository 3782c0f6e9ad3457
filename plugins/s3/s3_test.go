package s3

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// What talks to a server is tested against a real one, see real_test.go.

func TestObjectURLs(t *testing.T) {
	for connection, want := range map[string]string{
		`{"bucket":"b","region":"eu-central-1"}`:                                      "https://b.s3.eu-central-1.amazonaws.com/a/%E6%96%87%201",
		`{"bucket":"b"}`:                                                              "https://b.s3.us-east-1.amazonaws.com/a/%E6%96%87%201",
		`{"bucket":"b","endpoint":"https://minio.example:9000"}`:                      "https://b.minio.example:9000/a/%E6%96%87%201",
		`{"bucket":"b","endpoint":"https://minio.example/s3/","path_style":true}`:     "https://minio.example/s3/b/a/%E6%96%87%201",
		`{"bucket":"b","endpoint":"http://127.0.0.1:7070","access_key_secret":"key"}`: "http://127.0.0.1:7070/b/a/%E6%96%87%201",
	} {
		made, err := connect(&sdk.Env{Connection: json.RawMessage(connection)}, object.Step{})
		if err != nil {
			t.Errorf("%s: %v", connection, err)
			continue
		}
		if got := made.(*store).info("a/文 1", nil, nil).URL; got != want {
			t.Errorf("%s: got %s, want %s", connection, got, want)
		}
	}
}

// A clock that is wrong is told, because signatures depend on it.
func TestClockSkew(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(-2*time.Hour).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<Error><Code>RequestTimeTooSkewed</Code></Error>")
	}))
	defer server.Close()
	sink := Plugin().Components[0].NewSink()
	env := &sdk.Env{Connection: fmt.Appendf(nil, `{"bucket":"b","endpoint":%q,"access_key_id":"a","access_key_secret":"s"}`, server.URL)}
	if err := sink.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	defer sink.Close(t.Context())
	var events []sdk.Event
	for range 2 {
		row := sdk.Row{Record: sdk.Record{ID: "1", Body: []byte("{}")}, Args: json.RawMessage(`{"body_key":"k"}`)}
		call := sdk.NewCall([]sdk.Row{row}, time.Now(), false, func(_ int, o sdk.Outcome) { events = append(events, o.Events...) })
		if err := sink.Write(t.Context(), call); err != nil {
			t.Fatal(err)
		}
	}
	if len(events) != 1 || events[0].Code != "CLOCK_SKEW" || !strings.HasPrefix(events[0].Attrs["ahead_seconds"], "720") {
		t.Errorf("got %+v, want one of two hours", events)
	}
}

// The client's errors do not hold the header: it is read on the way.
func TestRetryAfter(t *testing.T) {
	var after string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", after)
		w.WriteHeader(http.StatusServiceUnavailable)
		io.WriteString(w, "<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
	}))
	defer server.Close()
	sink := Plugin().Components[0].NewSink()
	env := &sdk.Env{Connection: fmt.Appendf(nil, `{"bucket":"b","endpoint":%q,"access_key_id":"a","access_key_secret":"s"}`, server.URL)}
	if err := sink.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	defer sink.Close(t.Context())
	for text, want := range map[string]time.Duration{
		"": 0, "90": 90 * time.Second,
		time.Now().Add(10*time.Minute + 30*time.Second).UTC().Format(http.TimeFormat): 10 * time.Minute,
	} {
		after = text
		var got sdk.Outcome
		row := sdk.Row{Record: sdk.Record{ID: "1", Body: []byte("{}")}, Args: json.RawMessage(`{"body_key":"k"}`)}
		call := sdk.NewCall([]sdk.Row{row}, time.Now(), false, func(_ int, o sdk.Outcome) { got = o })
		if err := sink.Write(t.Context(), call); err != nil {
			t.Fatal(err)
		}
		if want > 5*time.Minute { // the date is that of whole seconds, and time goes by
			got.After = got.After.Truncate(10 * time.Minute)
		}
		if !got.Down || got.Code != "SlowDown" || got.After != want {
			t.Errorf("Retry-After %q: got %+v, want %v", text, got, want)
		}
	}
}

func TestConnectionMistakes(t *testing.T) {
	for _, connection := range []string{
		`{"bucket":"b","endpoint":"minio.example:9000"}`,
		`{"bucket":"b","proxy":"not a proxy"}`,
		`{"bucket":"b","ca":"/nowhere/ca.pem"}`,
		`{"bucket":"b","ca":"-----BEGIN NOTHING-----"}`,
		`{"bucket":"b","silence":"soon"}`,
		`{"bucket":"b","colour":"red"}`,
	} {
		if _, err := connect(&sdk.Env{Connection: json.RawMessage(connection)}, object.Step{}); err == nil {
			t.Errorf("%s: got no error", connection)
		}
	}
}
