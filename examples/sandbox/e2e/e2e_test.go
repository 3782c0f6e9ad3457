// Package e2e runs the built binaries as a customer runs them: weir-sandbox as the company and its services, weir against it with the
// pipelines of the project, processes killed and services taken away. What counts in the end is the comparison of the archive with the
// truth; on the way only what anybody could see is looked at: the services' counters, weir's own commands, files and /proc.
//
// weir is built with the tag failpoints: see failpoint_on.go in engine/cmd/weir for the windows in which it can be stopped.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// built is the folder of the binaries; TestMain fills it.
var built string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, args := range [][]string{
		{"build", "-tags", "failpoints", "-o", filepath.Join(dir, "weir"), "github.com/weir-etl/weir/engine/cmd/weir"},
		{"build", "-o", filepath.Join(dir, "weir-sandbox"), "github.com/weir-etl/weir/examples/sandbox"},
	} {
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %v: %v\n%s", args, err, out)
			return 1
		}
	}
	built = dir
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == f.DefValue { // the tests wait for clocks most of the time
		f.Value.Set("4")
	}
	return m.Run()
}

// pipeline is the path of a pipeline of the project.
func pipeline(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("../../../pipelines", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

const mainJob = "wecom-kintone-oss.hcl"

// patience is how many times longer a test waits than it would on a machine that has nothing else to do.
const patience = 4

// until waits for a condition, or fails after a while of real time.
func until(t *testing.T, most time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience * most)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited %s in vain for %s", patience*most, what)
		}
	}
}
