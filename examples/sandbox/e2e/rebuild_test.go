//go:build failpoints || real

package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// rebuilt is what `weir rebuild --json` says, as far as the test looks at it.
type rebuilt struct {
	Written bool
	Sources []struct {
		Address  string
		After    uint64 `json:"after_seq"`
		Position string
		Found    []struct {
			Step, Where, Skipped string
			First                uint64    `json:"first_seq"`
			Last                 uint64    `json:"last_seq"`
			Old                  uint64    `json:"last_old_seq"`
			Fresh                uint64    `json:"first_fresh_seq"`
			Since                time.Time `json:"since"`
			Waiting              []struct {
				Status      string
				AskedAgain  int `json:"asked_again"`
				Stay        int
				First, Last uint64
			}
		}
	}
}

// A data directory that is lost is begun again from what the destinations hold: the archive is whole in the end, also the files of rows
// that waited for them.
func TestRebuild(t *testing.T) {
	t.Run("on the first day", func(t *testing.T) { // WeCom still has everything
		t.Parallel()
		c := open(t, "--messages", "200", "--seed", "29", "--speed", "300")
		e := c.start(run{})
		until(t, 3*time.Minute, "rows that wait for their files", func() bool {
			n := c.archived()
			return n[truth.Waiting] > 0 && n[truth.Finished] > 50
		})
		e.kill()
		got := c.rebuild()
		s := got.Sources[0]
		if s.After != 0 || s.Position != "" {
			t.Errorf("the position %q is ahead of what a day proves", s.Position)
		}
		waiting := 0
		for _, f := range s.Found {
			for _, w := range f.Waiting {
				if f.Step == "sink.kintone.log" && w.Status == truth.Waiting {
					waiting += w.AskedAgain
				}
			}
		}
		if waiting == 0 {
			t.Errorf("no row waits for its file: %+v", s.Found)
		}
		c.start(run{}).finish(5 * time.Minute)
		c.equal()
		t.Logf("%d rows waited for their files when the state was lost", waiting)
	})
	t.Run("after a week", func(t *testing.T) { // longer than WeCom keeps anything
		t.Parallel()
		c := open(t, "--messages", "200", "--seed", "29", "--span", "156h", "--speed", "9600")
		start := c.truth().Starts
		e := c.start(run{})
		c.reach(start.Add(148*time.Hour), 10*time.Minute)
		if out, err := c.try("rebuild", "--yes"); err == nil || !strings.Contains(out, "another engine uses this state") {
			t.Errorf("rebuild beside an engine: %v\n%s", err, out)
		}
		e.kill()
		if out, err := c.try("rebuild", "--yes"); err == nil || !strings.Contains(out, "holds a state") {
			t.Errorf("rebuild over a state: %v\n%s", err, out)
		}
		before := c.look()
		s := c.rebuild().Sources[0]
		if s.After == 0 || s.Position == "" {
			t.Errorf("nothing is proven after 148 hours: %+v", s)
		}
		for _, f := range s.Found {
			if f.Skipped == "" && (s.After > f.Old || f.Fresh > 0 && s.After >= f.Fresh || f.Since.After(c.clock().Add(-144*time.Hour))) {
				t.Errorf("the position %d is ahead of what %s proves: %+v", s.After, f.Step, f)
			}
		}
		// What is read again here has its deadline within hours, and hours are seconds: that the archive is whole shows on the first day.
		if code := c.start(run{}).ends(5 * time.Minute); code != 0 && code != 3 {
			t.Errorf("the next run: exit %d", code)
		}
		if now := c.look(); now.WeCom.PagesAgain == before.WeCom.PagesAgain {
			t.Error("nothing was asked for again")
		}
	})
}

// rebuild loses the data directory and begins a new state.
func (c *company) rebuild() rebuilt {
	c.t.Helper()
	if err := os.RemoveAll(c.data); err != nil {
		c.t.Fatal(err)
	}
	before := c.look()
	if out, err := c.try("rebuild"); err == nil || !strings.Contains(out, "say --yes") {
		c.t.Errorf("rebuild without a word: %v\n%s", err, out)
	}
	if _, err := os.Stat(c.data); err == nil {
		c.t.Error("rebuild without --yes has made a data directory")
	}
	out := c.ask("rebuild", "--yes", "--json", "--log-level", "error")
	var got rebuilt
	if err := json.Unmarshal([]byte(out), &got); err != nil || !got.Written || len(got.Sources) != 1 {
		c.t.Fatalf("%v\n%s", err, out)
	}
	c.t.Logf("\n%s", out)
	if after := c.look(); after.Kintone.Inserted != before.Kintone.Inserted || after.Kintone.Updated != before.Kintone.Updated {
		c.t.Error("rebuild has written to kintone")
	}
	return got
}
