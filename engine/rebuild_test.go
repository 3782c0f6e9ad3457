package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
)

func TestBehind(t *testing.T) {
	for _, row := range []struct {
		name  string
		found []Found
		want  uint64
		why   string
	}{
		{"nothing was asked", nil, 0, "no sink can say"},
		{"nothing can be said", []Found{{Step: "a", Skipped: "x"}}, 0, "no sink can say"},
		{"an empty destination", []Found{{Step: "a"}}, 0, "a holds no row that is older"},
		{"all is fresh", []Found{{Step: "a", First: 5, Last: 9, Fresh: 5}}, 0, "a holds no row that is older"},
		{"old and fresh", []Found{{Step: "a", First: 5, Last: 30, Old: 20, Fresh: 21}}, 20, "seq 20 is the last"},
		{"a hole between them may still be fetched", []Found{{Step: "a", First: 5, Last: 30, Old: 20, Fresh: 25}}, 20, "seq 20 is the last"},
		{"one that came late is fresh", []Found{{Step: "a", First: 5, Last: 30, Old: 20, Fresh: 12}}, 11, "seq 12 was written to a within"},
		{"the sink that proves least decides", []Found{{Step: "a", Last: 30, Old: 20, Fresh: 21}, {Step: "b", Last: 30, Old: 18, Fresh: 24}}, 18, "b holds, seq 18"},
		{"also when it proves nothing", []Found{{Step: "a", Last: 30, Old: 20, Fresh: 21}, {Step: "b"}}, 0, "b holds no row"},
		{"the places of a sink are one", []Found{{Step: "a", Where: "1", Last: 10, Old: 10}, {Step: "a", Where: "2", Last: 30, Old: 20, Fresh: 21}}, 20, "seq 20"},
		{"a new place proves nothing", []Found{{Step: "a", Where: "1", Last: 10, Old: 10}, {Step: "a", Where: "2"}}, 10, "seq 10"},
		{"the first row is fresh", []Found{{Step: "a", First: 1, Last: 30, Old: 20, Fresh: 1}}, 0, ""},
	} {
		got, why := behind(row.found)
		if got != row.want || !strings.Contains(why, row.why) {
			t.Errorf("%s: got %d, %q; want %d, %q", row.name, got, why, row.want, row.why)
		}
	}
}

// surveyPlugins are a source that keeps records for five days and a sink whose answers stand in a file, by app.
func surveyPlugins() []sdk.Plugin {
	per := func(name string, t sdk.Type) sdk.Arg { return sdk.Arg{Name: name, Type: t, PerRecord: true} }
	return []sdk.Plugin{{Name: "week", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "week", Emits: []string{"n/1"}, Positions: true, Retention: 120 * time.Hour, NewSource: func() sdk.Source { return &week{} }},
		{Kind: sdk.KindSource, Type: "ever", Emits: []string{"n/1"}, Positions: true, NewSource: func() sdk.Source { return &week{} }},
		{Kind: sdk.KindSink, Type: "week", Surveys: true, NewSink: func() sdk.Sink { return &weekSink{} },
			Args: []sdk.Arg{{Name: "answers", Type: sdk.String, Required: true}, per("app", sdk.Number), per("fields", sdk.AnyMap)}},
	}}}
}

type week struct{ mortal }

func (w *week) Read(context.Context, []byte, sdk.Emitter) error { return nil }
func (w *week) PositionAfter(_ context.Context, seq uint64) ([]byte, error) {
	return fmt.Append(nil, "behind ", seq), nil
}

type weekSink struct{ Answers string }

func (w *weekSink) Open(_ context.Context, env *sdk.Env) error { return env.Decode(w) }
func (w *weekSink) Close(context.Context) error                { return nil }
func (w *weekSink) Write(_ context.Context, call *sdk.Call) error {
	return errors.New("a survey writes nothing")
}

func (w *weekSink) Survey(_ context.Context, ask sdk.SurveyRequest) (sdk.Survey, error) {
	var sample struct {
		App    int
		Fields struct {
			Seq    uint64
			Status string
		}
	}
	if err := json.Unmarshal(ask.Sample, &sample); err != nil {
		return sdk.Survey{}, err
	}
	if sample.Fields.Seq != ask.Seq || sample.Fields.Status != ask.Statuses[0] || ask.Ago != 144*time.Hour {
		return sdk.Survey{}, fmt.Errorf("asked with %s and %+v", ask.Sample, ask)
	}
	text, err := os.ReadFile(w.Answers)
	if err != nil {
		return sdk.Survey{}, err
	}
	var answers map[string]sdk.Survey
	if err := json.Unmarshal(text, &answers); err != nil {
		return sdk.Survey{}, err
	}
	where := fmt.Sprint("app ", sample.App)
	answer, known := answers[where]
	if !known {
		return sdk.Survey{}, fmt.Errorf("there is no %s", where)
	}
	answer.Rows, answer.Where = true, where
	return answer, nil
}

func TestRebuild(t *testing.T) {
	dir := t.TempDir()
	file, answers := filepath.Join(dir, "p.hcl"), filepath.Join(dir, "answers")
	text := fmt.Sprintf(`
weir { name = "lost" }
variable "apps" { default = { "1" = 7, "1000" = 8, "5000" = 9 } }
source "week" "in" {}
source "ever" "more" {}
source "tick" "plain" { every = "1s" }
sink "week" "log" {
  input   = source.week.in
  answers = %q
  app     = since(var.apps, record.seq)
  fields  = { seq = record.seq, status = status(record), text = upper(record.body.text) }
}
sink "shelf" "files" {
  input  = source.week.in
  folder = "/"
  list   = "x"
}
`, answers)
	write := func(name string, v any) {
		t.Helper()
		b, ok := v.([]byte)
		if !ok {
			var err error
			if b, err = json.Marshal(v); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, []byte(text))
	write(answers, map[string]sdk.Survey{
		"app 7": {First: 1, Last: 999, Old: 999}, "app 9": {},
		"app 8": {First: 1000, Last: 1500, Old: 1200, Fresh: 1203, Waiting: []sdk.Waiting{{Status: "FILE_WAITING", First: 900, Last: 1400, Fresh: 3, Old: 2}}},
	})
	pipe, diags := lang.Load([]string{file}, lang.Options{Plugins: mortals()})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	o := Options{Pipeline: pipe, Dir: filepath.Join(dir, "data"), Key: make([]byte, 32)}
	r, err := FindRebuild(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(o.Dir); err == nil {
		t.Error("a look has made a data directory")
	}
	if len(r.Sources) != 3 || r.Sources[0].After != 1200 || r.Sources[0].Position != "behind 1200" || r.Sources[1].After != 0 || r.Sources[2].After != 0 {
		t.Fatalf("got %+v", r)
	}
	var where []string
	for _, f := range r.Sources[0].Found {
		where = append(where, f.Step+" "+f.Where)
	}
	if d := cmp.Diff(where, []string{"sink.week.log app 7", "sink.week.log app 8", "sink.week.log app 9", "sink.shelf.files "}); d != "" {
		t.Errorf("asked:\n%s", d)
	}
	if d := cmp.Diff(r.Sources[0].Found[1].Waiting, []FoundWaiting{{Status: "FILE_WAITING", First: 900, Last: 1400, Again: 3, Stay: 2}}); d != "" {
		t.Errorf("waiting:\n%s", d)
	}
	if err := r.Write(t.Context(), o, state.Audit{Verb: "rebuild"}); err != nil || !r.Written {
		t.Fatal(err)
	}
	idle, err := OpenIdle(o, false)
	if err != nil {
		t.Fatal(err)
	}
	info, err := idle.State()
	idle.Close()
	if err != nil || len(info.Sources) != 1 || info.Sources[0].Address != "source.week.in" || info.Sources[0].Position != "behind 1200" {
		t.Errorf("the state holds %+v, %v", info.Sources, err)
	}
	if err := r.Write(t.Context(), o, state.Audit{Verb: "rebuild"}); !errors.Is(err, ErrHasState) {
		t.Errorf("a second time over the state: %v", err)
	}
	if _, err := FindRebuild(t.Context(), o); !errors.Is(err, ErrHasState) {
		t.Errorf("a look at a state: %v", err)
	}
	write(answers, map[string]sdk.Survey{})
	o.Dir = filepath.Join(dir, "other")
	if _, err := FindRebuild(t.Context(), o); err == nil || !strings.Contains(err.Error(), "sink.week.log: ") {
		t.Errorf("a destination that fails: %v", err)
	}
}
