//go:build real

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// need reads a variable that make test-real sets.
func need(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set: make test-real does it", name)
	}
	return value
}

// The official library, loaded by weir in a process of its own, reads a whole company with its media. When it aborts its process, only
// that process starts again. It keeps real time, so the run takes three minutes.
func TestOfficialLibrary(t *testing.T) {
	c := open(t, "--messages", "200", "--seed", "31", "--library", need(t, "WEIR_WECOM_LIBRARY"))
	e := c.start(run{})
	until(t, 2*time.Minute, "the first media", func() bool { return c.look().WeCom.Shards > 10 })
	plugins := c.plugins(e)
	i := slices.IndexFunc(plugins, func(p process) bool { return strings.HasSuffix(p.command, " wecom") })
	if i < 0 {
		t.Fatalf("no process of the library among %v", plugins)
	}
	if maps, err := os.ReadFile(filepath.Join("/proc", plugins[i].id(), "maps")); err != nil || !strings.Contains(string(maps), "libWeWorkFinanceSdk_C") {
		t.Errorf("%s has not loaded the library (%v)", plugins[i], err)
	}
	c.replaced(e, plugins[i], syscall.SIGABRT)
	e.finish(10 * time.Minute)
	c.equal()
}

// The same company into a real S3 server.
func TestS3(t *testing.T) {
	c := open(t, "--messages", "200", "--seed", "37", "--s3", filepath.Join(need(t, "WEIR_VERSITYGW"), "versitygw"))
	c.start(run{pipeline: pipeline(t, "wecom-s3.hcl")}).finish(5 * time.Minute)
	c.equal("--s3")
}

func TestTwentyThousand(t *testing.T) {
	c := open(t, "--messages", "20000", "--seed", "7")
	c.start(run{}).finish(30 * time.Minute)
	c.equal()
}

func TestKintoneAway121HoursOf2000Messages(t *testing.T) {
	kintoneAway121Hours(t, "--messages", "2000")
}
