package wecom_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
	"github.com/weir-etl/weir/sdk"
)

// outcomes of the files of a record, "" being one whose bytes are here.
func fileOutcomes(r sdk.Record) string {
	var all []string
	for _, f := range r.Files {
		all = append(all, string(f.Outcome))
	}
	return strings.Join(all, " ")
}

// again makes the row of the next planned time: file facts of the outputs, no bytes.
func again(row sdk.Row, o sdk.Outcome) sdk.Row {
	next := row
	next.Attempt++
	if len(o.Outputs) == 1 {
		next.Record = o.Outputs[0]
		next.Files = append([]sdk.File(nil), next.Files...)
		for i := range next.Files {
			next.Files[i].Spool, next.Files[i].SpoolKey = "", sdk.Secret{}
		}
	}
	return next
}

func TestMediaFetches(t *testing.T) {
	w := newWorld(t, 1)
	long := bytes.Repeat([]byte("0123456789abc"), 100000) // 3 shards
	w.file("long", long, nil)
	w.file("empty", nil, nil)
	w.file("small", []byte("small"), nil)
	w.serve()
	outcomes, _ := w.apply(w.media(`{}`), w.row("a", "long", "empty"), w.row("b"), w.row("c", "small"))
	for i, want := range []map[string][]byte{{"long": long, "empty": nil}, {}, {"small": []byte("small")}} {
		o := outcomes[i]
		if o.Verdict != sdk.VerdictDone || o.Revisit || len(o.Outputs) != 1 || len(o.Outputs[0].Files) != len(want) {
			t.Fatalf("row %d: got %+v", i, o)
		}
		for _, f := range o.Outputs[0].Files {
			sum := md5.Sum(want[f.Name])
			if f.Outcome != "" || f.Size != int64(len(want[f.Name])) || f.MD5 != hex.EncodeToString(sum[:]) || f.SHA256 == "" {
				t.Errorf("%s: got %+v", f.Name, f)
			}
			if got := w.bytes(f); !bytes.Equal(got, want[f.Name]) {
				t.Errorf("%s: got %d bytes, want %d", f.Name, len(got), len(want[f.Name]))
			}
		}
	}
	if calls := w.Calls("ww1"); calls.ShardsAgain != 0 || calls.Shards != 5 {
		t.Errorf("got %+v, want 5 shards", calls)
	}
}

func TestMediaWanted(t *testing.T) {
	w := newWorld(t, 1)
	for _, name := range []string{"a", "b", "c"} {
		w.file(name, []byte(name), nil)
	}
	w.serve()
	row := w.row("r", "a", "b", "c", "d")
	row.Files[2].Outcome = sdk.FileStored
	row.Files[3].Ref = sdk.Secret{}
	row.Args = []byte(`{"files":[1,2,3]}`)
	outcomes, _ := w.apply(w.media(`{}`), row)
	files := outcomes[0].Outputs[0].Files
	for i, want := range []bool{false, true, false, false} {
		if files[i].HasBytes() != want {
			t.Errorf("file %d: bytes %v, want %v", i, files[i].HasBytes(), want)
		}
	}
	if outcomes[0].Revisit || w.Calls("ww1").Shards != 1 {
		t.Errorf("got %+v and %d shards", outcomes[0], w.Calls("ww1").Shards)
	}
	if row.Files[1].HasBytes() {
		t.Error("the row's own files were changed")
	}
}

// Rows without files do not wait, and a hanging file does not hold up the others. The download goes on, and the second time
// joins it: the service sees each shard asked once.
func TestMediaLateFile(t *testing.T) {
	w := newWorld(t, 1)
	release := make(chan struct{})
	w.file("slow", bytes.Repeat([]byte("x"), 1300000), func(m *wecomsim.Media) {
		m.Fail = func(int) int { <-release; return 0 }
	})
	w.file("fast", []byte("fast"), nil)
	w.serve()
	m := w.media(`{"wait":"2s","again":["1m","5m"]}`)
	row := w.row("a", "slow", "fast")
	outcomes, order := w.apply(m, row, w.row("b"), w.row("c", "fast"))
	if got := fmt.Sprint(order); got != "[1 2 0]" {
		t.Errorf("answered in order %s, want [1 2 0]", got)
	}
	o := outcomes[0]
	deadline := w.begin.Add(120 * time.Hour)
	if got := fileOutcomes(o.Outputs[0]); got != "waiting " || !o.Revisit || o.After != time.Minute || !o.Due.Equal(deadline) {
		t.Fatalf("got files %q, %+v", got, o)
	}
	if got := w.bytes(o.Outputs[0].Files[1]); string(got) != "fast" {
		t.Errorf("got %q", got)
	}

	close(release)
	row = again(row, o)
	for tries := 0; ; tries++ {
		outcomes, _ = w.apply(m, row)
		if outcomes[0].Verdict == sdk.VerdictDone {
			break
		}
		if o := outcomes[0]; o.Verdict != sdk.VerdictRetry || o.Code != "FILE_WAITING" || o.After != 5*time.Minute || tries > 20 {
			t.Fatalf("got %+v", o)
		}
	}
	if got := fileOutcomes(outcomes[0].Outputs[0]); got != " " || outcomes[0].Revisit {
		t.Errorf("second time: got files %q, %+v", got, outcomes[0])
	}
	if got := w.bytes(outcomes[0].Outputs[0].Files[0]); len(got) != 1300000 {
		t.Errorf("got %d bytes", len(got))
	}
	// "fast" of row a came twice: it had been delivered before, and the record goes on whole.
	if calls := w.Calls("ww1"); calls.Shards != 6 {
		t.Errorf("got %d shards, want 3 of slow and 3 of fast", calls.Shards)
	}
}

// A file that comes hours later, and one that never comes.
func TestMediaUntilTheDeadline(t *testing.T) {
	w := newWorld(t, 100000)
	w.file("hours", []byte("late"), func(m *wecomsim.Media) { m.AvailableFrom = w.begin.Add(30 * time.Hour) })
	w.file("never", []byte("never"), func(m *wecomsim.Media) { m.AvailableFrom = w.begin.Add(999 * time.Hour) })
	w.serve()
	m := w.media(`{"wait":"1h","again":["1m","5m","15m","1h"]}`)
	rows := map[string]sdk.Row{"hours": w.row("a", "hours"), "never": w.row("b", "never")}
	arrived := time.Time{}
	for pass := 0; len(rows) > 0; pass++ {
		for name, row := range rows {
			row.Final = !w.clock.Now().Before(w.begin.Add(120 * time.Hour))
			outcomes, _ := w.apply(m, row)
			o := outcomes[0]
			switch {
			case o.Verdict == sdk.VerdictRetry && row.Attempt > 0 && !row.Final:
				row.Attempt++
				rows[name] = row
			case o.Revisit && row.Attempt == 0:
				rows[name] = again(row, o)
			case o.Verdict == sdk.VerdictDone && name == "hours":
				arrived = w.clock.Now()
				if got := fileOutcomes(o.Outputs[0]); got != "" || string(w.bytes(o.Outputs[0].Files[0])) != "late" {
					t.Errorf("hours: got %q", got)
				}
				delete(rows, name)
			case o.Verdict == sdk.VerdictDone && row.Final:
				if got := fileOutcomes(o.Outputs[0]); got != "expired" || o.Revisit {
					t.Errorf("never: got %q, %+v", got, o)
				}
				delete(rows, name)
			default:
				t.Fatalf("%s, attempt %d, final %v: got %+v", name, row.Attempt, row.Final, o)
			}
			if o.After < 0 || o.After > time.Hour {
				t.Fatalf("%s: asks again after %v", name, o.After)
			}
			w.clock.Sleep(t.Context(), o.After)
		}
	}
	if at := arrived.Sub(w.begin); at < 30*time.Hour || at > 119*time.Hour {
		t.Errorf("the late file came after %v", at)
	}
}

// The last time really asks, and what has come by then is taken.
func TestMediaFinal(t *testing.T) {
	w := newWorld(t, 1)
	w.file("there", []byte("there"), nil)
	w.file("gone", []byte("gone"), func(m *wecomsim.Media) { m.Time = w.begin.Add(-121 * time.Hour) })
	w.serve()
	m := w.media(`{"wait":"0s"}`)

	final := w.row("a", "there", "gone")
	final.Final, final.Attempt = true, 7
	old := w.row("b", "gone")
	old.Time = w.begin.Add(-121 * time.Hour) // its deadline has passed before it came at all
	before := w.row("c", "gone")             // delivered once as mismatched, asked for again
	before.Files[0].SHA256, before.Files[0].Outcome = "ab", sdk.FileMismatched
	before.Final, before.Attempt = true, 3
	outcomes, _ := w.apply(m, final, old, before)
	for i, want := range []string{" expired", "expired", "mismatched"} {
		o := outcomes[i]
		if o.Verdict != sdk.VerdictDone || o.Revisit || fileOutcomes(o.Outputs[0]) != want {
			t.Errorf("row %d: got %q, %+v, want %q", i, fileOutcomes(o.Outputs[0]), o, want)
		}
	}
	if got := w.bytes(outcomes[0].Outputs[0].Files[0]); string(got) != "there" {
		t.Errorf("got %q", got)
	}
	if n := w.Calls("ww1").Refused[301048]; n != 3 {
		t.Errorf("the service was asked %d times for what is gone, want 3", n)
	}
}

// What can never come is asked for once more, at the deadline, and somebody is told once.
func TestMediaPermanent(t *testing.T) {
	w := newWorld(t, 1)
	w.file("gone", []byte("gone"), func(m *wecomsim.Media) { m.Time = w.begin.Add(-121 * time.Hour) })
	w.serve()
	m := w.media(`{}`)
	bad := w.row("b", "bad")
	bad.Files[0].Ref = sdk.NewSecret("no file id")
	outcomes, _ := w.apply(m, w.row("a", "gone"), bad)
	events := 0
	for i, o := range outcomes {
		left := w.begin.Add(120 * time.Hour).Sub(w.clock.Now())
		if fileOutcomes(o.Outputs[0]) != "waiting" || !o.Revisit || o.After < left || o.After > left+time.Minute {
			t.Errorf("row %d: got %q, %+v", i, fileOutcomes(o.Outputs[0]), o)
		}
		events += len(o.Events)
	}
	if events != 1 {
		t.Errorf("got %d events, want 1", events)
	}
	outcomes, _ = w.apply(m, w.row("c", "gone"))
	if n := len(outcomes[0].Events); n != 0 {
		t.Errorf("the same is told again: %+v", outcomes[0].Events)
	}
}

// On a later time files that never came are asked for first; without them what was delivered before is left alone.
func TestMediaLeavesDeliveredAlone(t *testing.T) {
	w := newWorld(t, 60)
	w.file("delivered", []byte("delivered"), nil)
	w.file("missing", []byte("missing"), func(m *wecomsim.Media) { m.AvailableFrom = w.begin.Add(time.Hour) })
	w.serve()
	row := w.row("a", "delivered", "missing")
	row.Files[0].SHA256, row.Files[1].Outcome, row.Attempt = "ab", sdk.FileWaiting, 2
	outcomes, _ := w.apply(w.media(`{}`), row)
	if o := outcomes[0]; o.Verdict != sdk.VerdictRetry || o.After != 15*time.Minute {
		t.Errorf("got %+v", o)
	}
	if n := w.Calls("ww1").Shards; n != 0 {
		t.Errorf("got %d shards of a file that was delivered", n)
	}
}

// A shard that fails is asked for again alone, also by a later call.
func TestMediaResumes(t *testing.T) {
	w := newWorld(t, 600)
	content := bytes.Repeat([]byte("0123456789"), 130000)
	w.file("f", content, func(m *wecomsim.Media) {
		m.Fail = func(call int) int {
			if call >= 3 && call <= 6 {
				return -1
			}
			return 0
		}
	})
	w.serve()
	m := w.media(`{"wait":"10m"}`)
	row := w.row("a", "f")
	outcomes, _ := w.apply(m, row)
	if got := fileOutcomes(outcomes[0].Outputs[0]); got != "waiting" {
		t.Fatalf("got %q, want waiting", got)
	}
	outcomes, _ = w.apply(m, again(row, outcomes[0]))
	if got := w.bytes(outcomes[0].Outputs[0].Files[0]); !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, want %d", len(got), len(content))
	}
	if calls := w.Calls("ww1"); calls.Shards != 3 || calls.ShardsAgain != 0 {
		t.Errorf("got %+v, want three shards, none twice", calls)
	}
}

// Four at a time, those with the nearest deadline first.
func TestMediaOrder(t *testing.T) {
	w := newWorld(t, 1)
	var rows []sdk.Row
	var asked []string
	done := make(chan string, 64)
	for i := range 20 {
		name := fmt.Sprintf("f%02d", i)
		w.file(name, []byte(name), func(m *wecomsim.Media) {
			m.Fail = func(int) int { done <- name; return 0 }
		})
		row := w.row(name, name)
		row.Time = w.begin.Add(-time.Duration(i) * time.Hour) // the later in the call, the sooner lost
		rows = append(rows, row)
	}
	w.serve()
	w.Fault(wecomsim.Fault{Endpoint: "getchatmediadata", Slow: 20 * time.Millisecond})
	w.apply(w.media(`{}`), rows...)
	close(done)
	for name := range done {
		asked = append(asked, name)
	}
	if n := w.Calls("ww1").Refused[45033]; len(asked) != 20 || n != 0 {
		t.Fatalf("got %d files asked, %d refusals", len(asked), n)
	}
	// The first four may start before the call stands in the queue as a whole; neighbours may swap.
	for i, name := range asked[4:] {
		place := 0
		fmt.Sscanf(name, "f%d", &place)
		if want := 19 - i; place > want+4 || place < want-8 {
			t.Errorf("place %d: got %s, want about f%02d", i+4, name, want)
		}
	}
}

// When the engine goes, downloads end and nothing is left in the spool but what was handed over.
func TestMediaClose(t *testing.T) {
	w := newWorld(t, 1)
	release := make(chan struct{})
	w.file("hang", bytes.Repeat([]byte("x"), 1300000), nil)
	w.file("unclaimed", []byte("unclaimed"), func(m *wecomsim.Media) {
		m.Fail = func(int) int { <-release; return 0 }
	})
	w.file("fast", []byte("fast"), nil)
	w.serve()
	w.Fault(wecomsim.Fault{FileID: "hang", Hang: true})
	m := component(t, "wecom_media").NewTransform()
	if err := m.Open(t.Context(), w.env(`{"wait":"2s"}`)); err != nil {
		t.Fatal(err)
	}
	w.apply(m, w.row("a", "hang"), w.row("b", "unclaimed"), w.row("c", "fast"))
	close(release)
	for w.Calls("ww1").Shards < 2 {
		time.Sleep(5 * time.Millisecond)
	}
	if err := m.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(w.dir)
	if err != nil || len(left) != 1 {
		t.Errorf("got %d files in the spool, error %v, want 1", len(left), err)
	}
}

func TestMediaCancelled(t *testing.T) {
	w := newWorld(t, 1)
	w.file("hang", []byte("x"), nil)
	w.serve()
	w.Fault(wecomsim.Fault{FileID: "hang", Hang: true})
	m := w.media(`{}`)
	ctx, cancel := context.WithCancel(t.Context())
	call := sdk.NewCall([]sdk.Row{w.row("a"), w.row("b", "hang")}, w.clock.Now(), false, func(row int, o sdk.Outcome) {
		if row != 0 {
			t.Errorf("row %d was answered: %+v", row, o)
		}
		cancel()
	})
	if err := m.Apply(ctx, call); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// A wrong secret does not stop rows, and is told.
func TestMediaServiceAway(t *testing.T) {
	w := newWorld(t, 60)
	w.file("f", []byte("f"), nil)
	w.serve()
	m := w.media(`{"wait":"10m"}`)
	w.Fault(wecomsim.Fault{Errcode: 40001, Endpoint: "gettoken"})
	outcomes, _ := w.apply(m, w.row("a", "f"), w.row("b"))
	if o := outcomes[0]; fileOutcomes(o.Outputs[0]) != "waiting" || !o.Revisit || o.Due.IsZero() ||
		len(o.Events) != 1 || o.Events[0].Code != "WECOM_40001" {
		t.Errorf("got %+v", o)
	}
}

// Trouble on the way to WeCom at the deadline is not its answer: the last request is made again.
func TestMediaFinalNeedsAnAnswer(t *testing.T) {
	w := newWorld(t, 60)
	w.file("f", []byte("f"), func(m *wecomsim.Media) { m.Time = w.begin.Add(-121 * time.Hour) })
	w.serve()
	m := w.media(`{"wait":"0s"}`)
	row := w.row("a", "f")
	row.Final, row.Attempt = true, 7
	lift := w.Fault(wecomsim.Fault{Errcode: 40001, Endpoint: "gettoken"})
	outcomes, _ := w.apply(m, row)
	if o := outcomes[0]; o.Verdict != sdk.VerdictRetry || o.After != 10*time.Minute {
		t.Errorf("with WeCom away: got %+v", o)
	}
	lift()
	outcomes, _ = w.apply(w.media(`{"wait":"0s"}`), row) // a process of its own: a refused secret is not tried again at once
	if o := outcomes[0]; o.Verdict != sdk.VerdictDone || fileOutcomes(o.Outputs[0]) != "expired" {
		t.Errorf("with WeCom back: got %+v", o)
	}
}

// A record without time counts from when it was fetched.
func TestMediaDeadlineWithoutTime(t *testing.T) {
	w := newWorld(t, 1)
	w.file("late", nil, func(m *wecomsim.Media) { m.AvailableFrom = w.begin.Add(time.Hour) })
	w.serve()
	row := w.row("a", "late")
	row.Time = time.Time{}
	row.Meta = map[string]string{"fetched_at": w.begin.Add(-time.Hour).Format("2006-01-02T15:04:05.000Z07:00")}
	outcomes, _ := w.apply(w.media(`{}`), row)
	if due := outcomes[0].Due; !due.Equal(w.begin.Add(119 * time.Hour)) {
		t.Errorf("got deadline %v", due)
	}
}

// The last two hours are asked more often, and the deadline is not overslept.
func TestMediaLastHours(t *testing.T) {
	w := newWorld(t, 60)
	w.file("late", nil, func(m *wecomsim.Media) { m.AvailableFrom = w.begin.Add(time.Hour) })
	w.serve()
	hour := w.row("a", "late")
	hour.Time = w.begin.Add(-119 * time.Hour)
	minutes := w.row("b", "late")
	minutes.Time = w.begin.Add(-119*time.Hour - 55*time.Minute)
	outcomes, _ := w.apply(w.media(`{"again":["1h"]}`), hour, minutes)
	if after := outcomes[0].After; after != 10*time.Minute {
		t.Errorf("an hour before the end: asks again after %v, want 10m", after)
	}
	if after := outcomes[1].After; after <= 0 || after > 5*time.Minute {
		t.Errorf("five minutes before the end: asks again after %v", after)
	}
}

func TestMediaArguments(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	for _, args := range []string{`{"again":[]}`, `{"again":["0s"]}`, `{"wait":"-1s"}`, `{"waits":"1s"}`} {
		m := component(t, "wecom_media").NewTransform()
		if err := m.Open(t.Context(), w.env(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
	}
	row := w.row("a", "x")
	row.Args = []byte(`{"files":"all"}`)
	outcomes, _ := w.apply(w.media(`{}`), row)
	if outcomes[0].Verdict != sdk.VerdictReject {
		t.Errorf("got %+v", outcomes[0])
	}
}
