package object_test

import (
	"encoding/json"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// open makes a sink over b whose spool holds files with these contents.
func open(t *testing.T, b *bucket, args string, contents ...string) (*object.Sink, []sdk.File) {
	t.Helper()
	spool := sdk.OpenSpool(t.TempDir())
	var files []sdk.File
	for i, content := range contents {
		f := sdk.File{Index: i, Name: "n.txt", Size: -1, MediaType: "text/plain"}
		w, err := spool.Create(&f)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, content)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	s := &object.Sink{Connect: func(*sdk.Env, object.Step) (object.Store, error) { return b, nil }}
	if err := s.Open(t.Context(), &sdk.Env{Args: json.RawMessage(args), Spool: spool}); err != nil {
		t.Fatal(err)
	}
	return s, files
}

// write sends rows and returns their outcomes.
func write(t *testing.T, s *object.Sink, probe bool, rows ...sdk.Row) []sdk.Outcome {
	t.Helper()
	got := make([]sdk.Outcome, len(rows))
	call := sdk.NewCall(rows, time.Now(), probe, func(i int, o sdk.Outcome) { got[i] = o })
	if err := s.Write(t.Context(), call); err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		if !call.Answered(i) {
			t.Errorf("row %d was not answered", i)
		}
	}
	return got
}

func row(files []sdk.File, args string) sdk.Row {
	return sdk.Row{Record: sdk.Record{ID: "r", Body: []byte(`{"a":1}`), Files: files}, Args: json.RawMessage(args)}
}

func TestFilesAndBody(t *testing.T) {
	b := newBucket(t)
	s, files := open(t, b, `{"parallel":2}`, "zero", "one", "two")
	const args = `{"files":[0,2],"key":["a/0.txt","a/2.txt"],"metadata":[{"m":"x"},null],"body_key":"a/body.json"}`
	for _, again := range []bool{false, true} {
		got := write(t, s, false, row(files, args))[0]
		if got.Verdict != sdk.VerdictDone || len(got.Events) != 0 {
			t.Fatalf("again %v: got %+v", again, got)
		}
		if d := cmp.Diff(got.Receipt.URLs, []string{"mem://a/0.txt", "mem://a/2.txt", "mem://a/body.json"}); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(got.Receipt.Files, []int{0, 2}); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(got.Receipt.Fields["key"], []string{"a/0.txt", "a/2.txt", "a/body.json"}); d != "" {
			t.Error(d)
		}
	}
	if b.stored["a/2.txt"].content != "two" || b.stored["a/body.json"].content != `{"a":1}` {
		t.Errorf("got %v", b.stored)
	}

	// A later copy that differs: newest first, and an event.
	s, other := open(t, b, `{}`, "other")
	got := write(t, s, false, row(other, `{"files":[0],"key":["a/0.txt"]}`))[0]
	if d := cmp.Diff(got.Receipt.URLs, []string{"mem://a/0-v2.txt", "mem://a/0.txt"}); d != "" {
		t.Error(d)
	}
	if len(got.Events) != 1 || got.Events[0].Code != "OBJECT_DIFFERS" {
		t.Errorf("events: got %+v", got.Events)
	}
}

func TestRowsWithoutWork(t *testing.T) {
	b := newBucket(t)
	s, _ := open(t, b, `{}`)
	waiting := []sdk.File{{Index: 0, Size: -1, Outcome: sdk.FileWaiting}}
	got := write(t, s, false, row(nil, `{"files":[],"key":[]}`), row(waiting, `{"files":[0],"key":["k"]}`), row(nil, `{"files":[0],"key":["k"]}`), row(nil, `{"files":5}`))
	for i, want := range []struct {
		verdict sdk.Verdict
		code    string
	}{{sdk.VerdictPassed, "no_files"}, {sdk.VerdictPassed, "no_bytes"}, {sdk.VerdictReject, "bad_arguments"}, {sdk.VerdictReject, "bad_arguments"}} {
		if got[i].Verdict != want.verdict || got[i].Code != want.code {
			t.Errorf("row %d: got %d %s, want %d %s", i, got[i].Verdict, got[i].Code, want.verdict, want.code)
		}
	}
	if len(b.calls) != 0 {
		t.Errorf("the store was asked: %v", b.calls)
	}
}

func TestProbe(t *testing.T) {
	b := newBucket(t)
	s, files := open(t, b, `{}`, "zero", "one")
	const args = `{"files":[0,1],"key":["k0","k1"]}`
	bare := []sdk.File{files[0], files[1]}
	for i := range bare {
		bare[i].Spool = ""
	}
	if got := write(t, s, true, row(bare, args))[0]; got.Code != "need_bytes" || got.Verdict != sdk.VerdictRetry {
		t.Errorf("nothing there: got %+v", got)
	}
	// A row whose bytes went away is treated the same outside a probe.
	if got := write(t, s, false, row(bare, args))[0]; got.Code != "need_bytes" {
		t.Errorf("bytes gone: got %+v", got)
	}
	write(t, s, false, row(files, args))
	for _, probe := range []bool{true, false} {
		got := write(t, s, probe, row(bare, args))[0]
		if got.Verdict != sdk.VerdictDone || len(got.Receipt.Files) != 2 {
			t.Errorf("probe %v, all there: got %+v", probe, got)
		}
	}
	gone := []sdk.File{files[0], files[1]}
	gone[1].Spool = "f-swept"
	gone[1].SHA256 = "0000000000000000000000000000000000000000000000000000000000000000"
	if got := write(t, s, false, row(gone, `{"files":[1],"key":["k9"]}`))[0]; got.Code != "need_bytes" {
		t.Errorf("spool file swept: got %+v", got)
	}
}

// When the service is down, one row finds out, and the others are owed without being tried.
func TestDownStopsTheCall(t *testing.T) {
	b := newBucket(t)
	s, files := open(t, b, `{"parallel":1}`, "zero")
	b.fail["put"] = sdk.Down("ServiceUnavailable", errors.New("x")).Err()
	rows := make([]sdk.Row, 50)
	for i := range rows {
		rows[i] = row(files, `{"files":[0],"key":["k"]}`)
	}
	for i, o := range write(t, s, false, rows...) {
		if !o.Down || o.Code != "ServiceUnavailable" {
			t.Fatalf("row %d: got %+v", i, o)
		}
	}
	if len(b.calls) != 1 {
		t.Errorf("got %d calls, want 1", len(b.calls))
	}
}

func TestUnknownArgument(t *testing.T) {
	s := &object.Sink{Connect: func(*sdk.Env, object.Step) (object.Store, error) { return newBucket(t), nil }}
	if err := s.Open(t.Context(), &sdk.Env{Args: json.RawMessage(`{"colour":"red"}`)}); err == nil {
		t.Error("got no error for an unknown argument")
	}
}
