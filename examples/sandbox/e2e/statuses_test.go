package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// archived counts the rows of the chat log by status, as the report found them.
func (c *company) archived(args ...string) map[string]int {
	c.t.Helper()
	counts := map[string]int{}
	for _, s := range c.compare(args...).Sum {
		counts[s.Status] = s.Count
	}
	return counts
}

// A trial without OSS: large files are not fetched, and their rows say so.
func TestWithoutOSS(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "17", "--no-oss")
	c.start(run{}).finish(3 * time.Minute)
	c.equal()
	if n := c.archived()[truth.OSSUndefined]; n == 0 {
		t.Errorf("no row is %s", truth.OSSUndefined)
	}
	if n := c.look().OSS.Stored; n != 0 {
		t.Errorf("%d objects are in OSS", n)
	}
}

// OSS away to the end: rows are written, large files wait, and those that WeCom will soon forget are kept.
func TestOSSAway(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "19")
	c.fault("oss", "refuse")
	c.start(run{}).finish(3 * time.Minute)
	c.equal("--oss", "away")
	if n := c.archived("--oss", "away"); n[truth.UploadFailed] == 0 || n[truth.Waiting] == 0 {
		t.Errorf("statuses are %v, want some %s and some %s", n, truth.UploadFailed, truth.Waiting)
	}
}

// A private key that is added while the pipeline runs opens what waited for it.
func TestLateKey(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "23", "--late-key")
	late := 0
	for _, m := range c.truth().Messages {
		if m.Raw == truth.Decoded {
			late++
		}
	}
	if late == 0 {
		t.Fatal("the corpus has no message for the late key")
	}
	e := c.start(run{})
	until(t, time.Minute, "the messages that wait for the key", func() bool {
		return c.status().owed("transform.decrypt.plain") == late
	})
	if list := c.ask("owed", "list"); !strings.Contains(list, "key version 5") {
		t.Errorf("weir owed list does not name the key:\n%s", list)
	}
	c.control(http.MethodPost, "/key", nil)
	e.finish(3 * time.Minute)
	c.equal()
}

// The pages whose rows the official library has confirmed.
func TestCorpusPages(t *testing.T) {
	t.Parallel()
	c := open(t, "--corp", "pages")
	c.start(run{}).finish(3 * time.Minute)
	c.equal()
}

// show runs the demo and returns what it printed.
func show(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"demo", "--weir", filepath.Join(built, "weir"), "--dir", t.TempDir(), "--pipeline", pipeline(t, mainJob),
		"--slower", fmt.Sprintf("%.1f", slowness())}, args...)
	out, err := exec.CommandContext(t.Context(), filepath.Join(built, "weir-sandbox"), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("\n%s", out)
	return string(out)
}

func TestDemo(t *testing.T) {
	t.Parallel()
	out := show(t)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if strings.Count(out, "  kill -9") != 3 || !strings.Contains(out, "outage") || len(lines) < 2 ||
		lines[len(lines)-2] != "  archive equals truth: 200 of 200" || !strings.HasPrefix(lines[len(lines)-1], "  Doubt it?") {
		t.Error("want three kills, an outage, and the last words")
	}
}

func TestTamper(t *testing.T) {
	t.Parallel()
	if out := show(t, "--tamper"); strings.Count(out, "\n  RED ") < 6 {
		t.Error("want every way of spoiling the archive to be noticed")
	}
}
