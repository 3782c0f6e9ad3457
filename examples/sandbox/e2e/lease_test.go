//go:build failpoints || real

package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// withLease makes the main job take its lease.
var withLease = []string{"WEIR_VAR_app_lease=103"}

// folder is a data directory beside the test's own.
func (c *company) folder(name string) string { return filepath.Join(filepath.Dir(c.data), name) }

// on runs weir on another data directory, with the lease.
func (c *company) on(name string, args ...string) *engine {
	c.t.Helper()
	return c.start(run{args: append(args, "--data-dir", c.folder(name)), env: withLease})
}

// ends waits for the end of an engine and returns its exit code.
func (e *engine) ends(most time.Duration) int {
	e.t.Helper()
	select {
	case <-e.ended:
	case <-time.After(most):
		e.t.Fatalf("weir does not end\n%s", tail(e.log, 20))
	}
	return e.command.ProcessState.ExitCode()
}

// mentions counts lines of the log that all engines of a test write.
func (e *engine) mentions(text string) int {
	b, err := os.ReadFile(e.log)
	if err != nil {
		return 0
	}
	return strings.Count(string(b), text)
}

// Engines on data directories of their own, as on machines of their own: one runs. An engine that was killed has its lease back at once,
// another gets it when its hold has ended, and a third takes it over. In the end nothing is missing and nothing is there twice.
func TestEnginesOnTwoMachines(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "31", "--span", "50m", "--speed", "60") // a hold is ten seconds
	a := c.on("a")
	until(t, time.Minute, "the first engine to write", func() bool { return c.look().Kintone.Inserted > 0 })

	b := c.on("b")
	if code := b.ends(time.Minute); code != 1 {
		t.Fatalf("the second engine: exit %d, want 1\n%s", code, tail(b.log, 20))
	}
	if b.mentions("another engine runs pipeline") != 1 || b.mentions(c.folder("a")) == 0 || b.mentions("--takeover") == 0 {
		t.Errorf("the refusal does not say what to do:\n%s", tail(b.log, 10))
	}

	a.kill()
	held := a.mentions("the lease is ours")
	a = c.on("a")
	until(t, time.Minute, "the killed engine to have its lease back", func() bool { return a.mentions("the lease is ours") > held })
	if a.mentions("another engine runs pipeline") != 1 {
		t.Errorf("an engine's own lease was refused:\n%s", tail(a.log, 10))
	}

	a.kill()
	killed := c.clock()
	held = a.mentions("the lease is ours")
	until(t, 2*time.Minute, "the end of the hold", func() bool {
		b = c.on("b")
		until(t, time.Minute, "a refusal, or the lease", func() bool {
			select {
			case <-b.ended:
				return true
			default:
				return b.mentions("the lease is ours") > held
			}
		})
		return b.mentions("the lease is ours") > held
	})
	if after := c.clock().Sub(killed); after < 6*time.Minute { // it had renewed at most 3 min 20 s before it was killed
		t.Errorf("the lease of a killed engine was taken after %s", after)
	}

	taker := c.on("c", "--takeover")
	if code := b.ends(time.Minute); code != 1 || b.mentions("another engine has taken") != 1 {
		t.Errorf("the engine that lost its lease: exit %d, want 1\n%s", code, tail(b.log, 10))
	}
	taker.finish(5 * time.Minute)
	c.equal()
}

// Two engines that start at the same moment: one runs, the other is refused, again and again.
func TestOneOfTwoEngines(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "37", "--span", "8h", "--speed", "60")
	for round := range 10 {
		var mu sync.Mutex
		var both sync.WaitGroup
		codes := map[int]int{}
		over := make(chan struct{}, 2)
		var running []*exec.Cmd
		for i := range 2 {
			dir := c.folder(fmt.Sprint("race", round, "-", i))
			cmd := c.command(withLease, "run", "--data-dir", dir, pipeline(t, mainJob))
			log, err := os.Create(dir + ".log")
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdout, cmd.Stderr = log, log
			running = append(running, cmd)
		}
		for _, cmd := range running {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			both.Go(func() {
				err := cmd.Wait()
				var exit *exec.ExitError
				code := 0
				if errors.As(err, &exit) {
					code = exit.ExitCode()
				}
				mu.Lock()
				codes[code]++
				mu.Unlock()
				over <- struct{}{}
			})
		}
		select {
		case <-over: // the one that was refused
		case <-time.After(time.Minute):
			t.Errorf("round %d: both run", round)
		}
		time.Sleep(200 * time.Millisecond) // time to be refused for the other one, if it should be
		for _, cmd := range running {
			cmd.Process.Signal(syscall.SIGTERM)
		}
		both.Wait()
		if codes[1] != 1 || codes[0] != 1 {
			t.Fatalf("round %d: exit codes %v, want one 1 and one 0", round, codes)
		}
	}
}
