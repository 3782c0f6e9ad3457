package md5

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

func apply(t testing.TB, args string, now time.Time, rows ...sdk.Row) []sdk.Outcome {
	t.Helper()
	tr := Plugin().Components[0].NewTransform()
	if err := tr.Open(context.Background(), &sdk.Env{Args: json.RawMessage(args)}); err != nil {
		t.Fatal(err)
	}
	got := make([]sdk.Outcome, len(rows))
	call := sdk.NewCall(rows, now, false, func(i int, o sdk.Outcome) { got[i] = o })
	if err := tr.Apply(context.Background(), call); err != nil {
		t.Fatal(err)
	}
	return got
}

var sent = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func TestBodyOfARecordWithoutFiles(t *testing.T) {
	got := apply(t, `{}`, sent, sdk.Row{Record: sdk.Record{ID: "a", Body: []byte("weir")}})[0]
	// printf weir | md5sum
	if sum := got.Outputs[0].Meta["md5"]; sum != "57c6838eabf401f73f6dd50093408e33" {
		t.Errorf("got md5 %s", sum)
	}
	if got.Revisit {
		t.Error("asked again for a record without files")
	}
}

func TestJudgement(t *testing.T) {
	const a, b = "0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f"
	here := func(claimed, found string, o sdk.FileOutcome) sdk.File {
		return sdk.File{MD5Claimed: claimed, MD5: found, Spool: "f-1", Outcome: o}
	}
	away := func(claimed string, o sdk.FileOutcome) sdk.File { return sdk.File{MD5Claimed: claimed, Outcome: o} }
	tests := []struct {
		name    string
		files   []sdk.File
		want    string
		outcome []sdk.FileOutcome
		again   bool
	}{
		{"matched", []sdk.File{here(a, a, "")}, Matched, []sdk.FileOutcome{""}, false},
		{"differs", []sdk.File{here(a, b, "")}, Mismatched, []sdk.FileOutcome{sdk.FileMismatched}, true},
		{"nothing claimed", []sdk.File{here("", b, "")}, NotCheckable, []sdk.FileOutcome{""}, false},
		{"waiting", []sdk.File{away(a, sdk.FileWaiting)}, "", []sdk.FileOutcome{sdk.FileWaiting}, false},
		{"expired", []sdk.File{away(a, sdk.FileExpired)}, "", []sdk.FileOutcome{sdk.FileExpired}, false},
		{"a better copy", []sdk.File{here(a, a, sdk.FileMismatched)}, Matched, []sdk.FileOutcome{""}, false},
		{"no new copy", []sdk.File{away(a, sdk.FileMismatched)}, Mismatched, []sdk.FileOutcome{sdk.FileMismatched}, true},
		{"worst wins", []sdk.File{here(a, a, ""), here(a, b, ""), here("", b, ""), away(a, sdk.FileWaiting)}, Mismatched,
			[]sdk.FileOutcome{"", sdk.FileMismatched, "", sdk.FileWaiting}, true},
		{"not checkable before matched", []sdk.File{here("", b, ""), here(a, a, "")}, NotCheckable, []sdk.FileOutcome{"", ""}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := sdk.Row{Record: sdk.Record{ID: "a", Time: sent, Files: test.files, Meta: map[string]string{"md5_outcome": "stale"}}}
			before := slices.Clone(test.files)
			got := apply(t, `{}`, sent.Add(time.Minute), in)[0]
			r := got.Outputs[0]
			if r.Meta["md5_outcome"] != test.want {
				t.Errorf("got md5_outcome %q, want %q", r.Meta["md5_outcome"], test.want)
			}
			for i, want := range test.outcome {
				if r.Files[i].Outcome != want {
					t.Errorf("file %d: got outcome %q, want %q", i, r.Files[i].Outcome, want)
				}
			}
			if got.Revisit != test.again {
				t.Errorf("got ask again %v, want %v", got.Revisit, test.again)
			}
			if diff := cmp.Diff(before, test.files, cmp.AllowUnexported(sdk.Secret{})); diff != "" {
				t.Errorf("the row was written into:\n%s", diff)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	tests := []struct {
		name  string
		args  string
		first time.Duration // age at the first pass
		want  []time.Duration
	}{
		{"default", `{}`, 0, hours("10m 2h10m 26h10m 50h10m 74h10m 98h10m 119h50m")},
		{"engine was away", `{}`, 100 * time.Hour, hours("100h10m 102h10m 119h50m")},
		{"last minutes", `{}`, 119*time.Hour + 55*time.Minute, nil},
		{"too late", `{}`, 121 * time.Hour, nil},
		{"other plan", `{"again":["1h"],"until":"4h"}`, 0, hours("1h 2h 3h")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []time.Duration
			for now := sent.Add(test.first); len(got) < 20; {
				row := sdk.Row{Attempt: len(got), Record: sdk.Record{ID: "a", Time: sent, Files: []sdk.File{{MD5Claimed: "x", MD5: "y", Spool: "f"}}}}
				o := apply(t, test.args, now, row)[0]
				if !o.Revisit {
					break
				}
				if o.After <= 0 || now.Add(o.After).After(o.Due) {
					t.Fatalf("asks again after %v, with deadline %v", o.After, o.Due)
				}
				now = now.Add(o.After)
				got = append(got, now.Sub(sent))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("instants after the message (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNothingNewChangesNothing(t *testing.T) {
	row := sdk.Row{Attempt: 1, Record: sdk.Record{ID: "a", Time: sent, Files: []sdk.File{{MD5Claimed: "x", Outcome: sdk.FileMismatched}}}}
	if o := apply(t, `{}`, sent, row)[0]; o.Verdict != sdk.VerdictRetry || o.After != 2*time.Hour {
		t.Errorf("got verdict %d after %v, want a retry after 2h", o.Verdict, o.After)
	}
	if o := apply(t, `{}`, sent.Add(120*time.Hour), row)[0]; o.Verdict != sdk.VerdictDone || o.Revisit {
		t.Errorf("at the deadline: got verdict %d, revisit %v, want it done", o.Verdict, o.Revisit)
	}
}

func hours(text string) (all []time.Duration) {
	for field := range strings.FieldsSeq(text) {
		d, err := time.ParseDuration(field)
		if err != nil {
			panic(err)
		}
		all = append(all, d)
	}
	return all
}

func TestDeadlineCountsFromFetchWithoutTime(t *testing.T) {
	file := []sdk.File{{MD5Claimed: "x", MD5: "y", Spool: "f"}}
	fetched := map[string]string{"fetched_at": sent.Format(time.RFC3339Nano)}
	got := apply(t, `{}`, sent, sdk.Row{Record: sdk.Record{ID: "a", Files: file, Meta: fetched}}, sdk.Row{Record: sdk.Record{ID: "b", Files: file}})
	if want := sent.Add(120 * time.Hour); !got[0].Revisit || !got[0].Due.Equal(want) {
		t.Errorf("got deadline %v, want %v", got[0].Due, want)
	}
	if got[1].Revisit {
		t.Error("asked again without any deadline")
	}
}

func TestFinalIsForGood(t *testing.T) {
	row := sdk.Row{Final: true, Record: sdk.Record{ID: "a", Time: sent, Files: []sdk.File{{MD5Claimed: "x", MD5: "y", Spool: "f"}}}}
	if o := apply(t, `{}`, sent, row)[0]; o.Revisit || o.Outputs[0].Files[0].Outcome != sdk.FileMismatched {
		t.Errorf("got revisit %v, outcome %q", o.Revisit, o.Outputs[0].Files[0].Outcome)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, args := range []string{`{"again":[]}`, `{"again":["1ms"]}`, `{"again":["soon"]}`, `{"until":"120"}`} {
		if err := Plugin().Components[0].NewTransform().Open(context.Background(), &sdk.Env{Args: json.RawMessage(args)}); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

// BenchmarkBodies: one operation is one record of 1 KiB without files.
func BenchmarkBodies(b *testing.B) {
	tr := Plugin().Components[0].NewTransform()
	if err := tr.Open(context.Background(), &sdk.Env{}); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1024)
	rows := make([]sdk.Row, 500)
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(rows) {
		for i := range rows {
			rows[i] = sdk.Row{Record: sdk.Record{ID: "a", Body: body}}
		}
		tr.Apply(context.Background(), sdk.NewCall(rows, sent, false, func(int, sdk.Outcome) {}))
	}
}
