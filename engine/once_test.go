package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/sdk"
)

// mailer sends each record for good: a line in a file that cannot be taken back.
type mailer struct {
	mortal
	Answer string
}

func (m *mailer) Open(_ context.Context, env *sdk.Env) error { return env.Decode(m) }

func (m *mailer) Write(ctx context.Context, call *sdk.Call) error {
	if len(call.Rows) != 1 {
		return sdk.Reject("MANY", nil).Err()
	}
	r := &call.Rows[0]
	f, err := os.OpenFile(m.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	switch {
	case m.Answer == "slow":
		fmt.Fprintln(f, "begin-"+r.ID)
		time.Sleep(time.Second)
	case m.Answer == "retry" && r.Seq == 3 && !m.seen("r3"):
		return sdk.Retry(10*time.Millisecond, "NOT_NOW", nil).Err() // it was not sent
	}
	fmt.Fprintln(f, r.ID)
	switch {
	case m.Answer == "unknown" && r.Seq%5 == 0:
		return sdk.Unknown("TIMEOUT", errors.New("no answer")).Err()
	case m.Answer == "dies" && r.Seq%5 == 0 && !m.seen(r.ID):
		os.Exit(3)
	case m.Answer == "panics" && r.Seq%5 == 0 && !m.seen(r.ID):
		panic("after it was sent")
	}
	call.Answer(0, sdk.Done(nil))
	return nil
}

// seen reports whether it was asked before, by any process.
func (m *mailer) seen(what string) bool {
	f, err := os.OpenFile(m.Path+"."+what, os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		f.Close()
	}
	return err != nil
}

func mailing(t *testing.T, onUnknown, answer string, to, atOnce int) (o Options, dir, sent string) {
	t.Helper()
	dir = t.TempDir()
	sent = filepath.Join(dir, "sent")
	return mortalRun(t, dir, fmt.Sprintf(`
weir { name = "mailing" }
source "count" "in" {
  to   = %d
  page = 5
}
sink "mail" "out" {
  input      = source.count.in
  path       = %q
  answer     = %q
  on_unknown = %q
  limit { concurrency = %d }
}
`, to, sent, answer, onUnknown, atOnce)), dir, sent
}

// The engine is killed in every window around the sending of records, of which two are under way at once. With on_unknown = "dead" nothing
// is sent twice, and what was not sent is a dead letter; with "resend" everything is sent that did not end unknown three times, and nothing
// more often than somebody died.
func TestOnceThroughKills(t *testing.T) {
	const records = 25
	windows := []struct {
		name string
		n    int
	}{
		{"fetch", 2}, {"commit.before", 1}, {"commit.after", 1}, {"commit.before", 2}, {"commit.after", 2}, {"sink.mail.out.call", 1},
		{"sink.mail.out.call", 3}, {"sink.mail.out.answer", 1}, {"sink.mail.out.answer", 2}, {"commit.before", 5}, {"commit.after", 6}, {"commit.before", 8},
	}
	for _, policy := range []string{"dead", "resend"} {
		t.Run(policy, func(t *testing.T) {
			o, dir, sent := mailing(t, policy, "", records, 2)
			kills := 0
			for _, w := range windows {
				if killedIn(t, dir, w.name, w.n) {
					kills++
				}
			}
			sum := finish(t, o)
			s := stepOf(t, sum, "sink.mail.out")
			if left := marksOf(t, o); left != 0 {
				t.Errorf("the state still says of %d records that they are being sent", left)
			}
			seen := listed(t, sent)
			missing, again := 0, 0
			for n := 1; n <= records; n++ {
				switch k := seen[fmt.Sprint("n", n)]; {
				case k == 0:
					missing++
				case k > 1:
					again += k - 1
				}
			}
			if kills < 10 || s.Owed != 0 {
				t.Errorf("%d kills, %+v", kills, s)
			}
			switch {
			case policy == "dead" && (again > 0 || missing > s.Dead || s.Dead == 0 || s.Dead > 2*kills):
				t.Errorf("%d sent again, %d not at all, %d dead letters after %d kills", again, missing, s.Dead, kills)
			case policy == "resend" && (missing > s.Dead || s.Dead > 2 || again == 0 || again > 2*kills):
				t.Errorf("%d sent again, %d not at all, %d dead letters after %d kills", again, missing, s.Dead, kills)
			}
		})
	}
}

// marksOf counts what the state says is being sent.
func marksOf(t *testing.T, o Options) int {
	t.Helper()
	o.Log = hclog.NewNullLogger()
	db, err := openState(o)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	snapshot, err := db.Load(o.Pipeline.Name)
	if err != nil {
		t.Fatal(err)
	}
	return len(snapshot.Marks)
}

// A process that dies or panics after it has sent, and a vendor that leaves it open, are unknown ends, too; a retry is not.
func TestOnceWithUnknownEnds(t *testing.T) {
	for _, c := range []struct {
		answer, policy string
		dead, again    int
	}{
		{"dies", "dead", 2, 0}, {"dies", "resend", 0, 2},
		{"panics", "dead", 2, 0}, {"panics", "resend", 0, 2},
		{"unknown", "dead", 2, 0},
		{"retry", "dead", 0, 0},
	} {
		t.Run(c.answer+" "+c.policy, func(t *testing.T) {
			o, _, sent := mailing(t, c.policy, c.answer, 10, 1)
			s := stepOf(t, finish(t, o), "sink.mail.out")
			for range 20 { // what was put off may be due in a moment: a run with an end does not wait for it
				if s.Owed == 0 {
					break
				}
				time.Sleep(100 * time.Millisecond)
				s = stepOf(t, finish(t, o), "sink.mail.out")
			}
			again := 0
			seen := listed(t, sent)
			for n := 1; n <= 10; n++ {
				again += seen[fmt.Sprint("n", n)] - 1
			}
			if s.Dead != c.dead || s.Owed != 0 || again != c.again {
				t.Errorf("%d sent again, want %d; %d dead letters, want %d; %d owed", again, c.again, s.Dead, c.dead, s.Owed)
			}
		})
	}
}

// A run that is told to end lets what it is sending come to its end, so that it is known.
func TestStoppedWhileSending(t *testing.T) {
	o, _, sent := mailing(t, "dead", "slow", 3, 2)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if text, _ := os.ReadFile(sent); len(text) > 0 {
				cancel()
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	seen, begun := listed(t, sent), 0 // two at once, in any order
	for n := 1; n <= 3; n++ {
		id := fmt.Sprint("n", n)
		begun += seen["begin-"+id]
		if seen[id] != seen["begin-"+id] {
			t.Errorf("stopped after %v", seen)
		}
	}
	if begun < 1 || begun > 2 {
		t.Errorf("%d were begun", begun)
	}
	s := stepOf(t, finish(t, o), "sink.mail.out")
	seen = listed(t, sent)
	for n := 1; n <= 3; n++ {
		if seen[fmt.Sprint("n", n)] != 1 {
			t.Errorf("n%d was sent %d times", n, seen[fmt.Sprint("n", n)])
		}
	}
	if s.Dead != 0 || s.Owed != 0 {
		t.Errorf("%+v", s)
	}
}

// What waits for its turn was not sent, and the state does not say otherwise: here the step may send one record an hour.
func TestStoppedBeforeSending(t *testing.T) {
	o, _, sent := mailing(t, "dead", "", 3, 2)
	s := o.Pipeline.Step("sink.mail.out")
	s.Limit.Count, s.Limit.Per = 1, time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o.Failpoint = func(name string) {
		if name == "sink.mail.out.call" {
			time.AfterFunc(300*time.Millisecond, cancel)
		}
	}
	began := time.Now()
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > lastWait/2 {
		t.Errorf("it waited for %s", took)
	}
	if seen := listed(t, sent); len(seen) != 1 {
		t.Errorf("sent %v", seen)
	}
	s.Limit.Count, o.Failpoint = 0, nil
	if s := stepOf(t, finish(t, o), "sink.mail.out"); s.Dead != 0 || s.Owed != 0 {
		t.Errorf("%+v", s)
	}
	seen := listed(t, sent)
	for n := 1; n <= 3; n++ {
		if seen[fmt.Sprint("n", n)] != 1 {
			t.Errorf("n%d was sent %d times", n, seen[fmt.Sprint("n", n)])
		}
	}
}
