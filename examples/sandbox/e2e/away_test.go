package e2e

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// truth reads what the company's archive must hold.
func (c *company) truth() *truth.Truth {
	c.t.Helper()
	told, err := truth.Read(filepath.Join(c.dir, "truth.json"))
	if err != nil {
		c.t.Fatal(err)
	}
	return told
}

// reach waits for an instant of the company's clock.
func (c *company) reach(at time.Time, most time.Duration) {
	c.t.Helper()
	until(c.t, most, "the company's clock", func() bool { return !c.clock().Before(at) })
}

// While kintone is away for the first half of a run, in each way in which it can be, weir goes on: it fetches, keeps OSS up to date and
// says what it owes; a kill changes nothing, and nothing that people wrote can be read on the machine. Then all arrives.
func TestKintoneAway(t *testing.T) {
	t.Parallel()
	for _, how := range []struct {
		fault string
		args  []string
	}{
		{"refuse", []string{"--speed", "200"}}, // a minute and a half, so that a busy machine keeps up
		{"html503", []string{"--speed", "200"}},
		{"lost", []string{"--speed", "200"}}, // carried out, never answered
		{"hang", []string{"--speed", "100"}}, // a socket may be silent for a minute of real time
	} {
		t.Run(how.fault, func(t *testing.T) {
			t.Parallel()
			c := open(t, append([]string{"--messages", "200", "--seed", "11"}, how.args...)...)
			c.fault("kintone", how.fault)
			e := c.start(run{})
			until(t, 3*time.Minute, "messages and large files to be fetched, and kintone to be owed", func() bool {
				now := c.look()
				return now.WeCom.Rows >= 180 && now.OSS.Stored >= 4 && c.status().owed("sink.kintone.log") > 100
			})
			if list := c.ask("owed", "list"); !strings.Contains(list, "sink.kintone.raw") || !strings.Contains(list, "sink.kintone.log") {
				t.Errorf("weir owed list does not tell what kintone is owed:\n%s", list)
			}
			e.kill()
			c.hidden()
			e = c.start(run{})
			told := c.truth()
			c.reach(told.Starts.Add(told.Holds.Sub(told.Starts)/2), 3*time.Minute)
			c.hidden()
			c.fault("kintone", "off")
			e.finish(5 * time.Minute)
			c.equal()
		})
	}
}

// kintoneAway121Hours lives through an outage that is longer than WeCom keeps a file: small files are fetched once more before their
// deadline and kept, sealed, until kintone is back.
func kintoneAway121Hours(t *testing.T, args ...string) {
	c := open(t, append([]string{"--span", "130h", "--speed", "3600", "--seed", "13"}, args...)...)
	c.fault("kintone", "refuse")
	e := c.start(run{})
	start := c.truth().Starts
	c.reach(start.Add(60*time.Hour), 5*time.Minute)
	e.kill() // in the middle of it
	e = c.start(run{})
	c.reach(start.Add(121*time.Hour), 5*time.Minute)
	if kept := files(t, filepath.Join(c.data, "kept")); kept < 10 {
		t.Errorf("%d files are kept after 121 hours, want most of the small ones", kept)
	}
	c.hidden()
	c.fault("kintone", "off")
	e.finish(10 * time.Minute)
	c.equal("--spool", filepath.Join(c.data, "kept"))
}

// files counts those in a folder and below.
func files(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestKintoneAway121Hours(t *testing.T) {
	t.Parallel()
	kintoneAway121Hours(t, "--messages", "200")
}
