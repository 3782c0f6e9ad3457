//go:build failpoints || real

package e2e

import (
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process that is stopped holds its socket and says nothing. A plugin that is silent for longer than a minute is replaced; an engine
// that was stopped as long goes on, whatever it thinks of the time that has passed.
func TestStopped(t *testing.T) {
	t.Parallel()
	c := numbers(t, 1_000_000, 300)
	e := c.start(run{})
	c.begun(300)
	plugins := c.plugins(e)
	for _, p := range plugins {
		if !strings.HasSuffix(p.command, " md5") {
			continue
		}
		began := time.Now()
		c.replaced(e, p, syscall.SIGSTOP)
		t.Logf("%s was replaced %s after it had stopped", p, time.Since(began).Round(time.Second))
		if syscall.Kill(p.pid, syscall.SIGCONT) == nil {
			t.Errorf("%s is still there", p)
		}
	}
	c.begun(c.written() + 300)

	syscall.Kill(e.command.Process.Pid, syscall.SIGSTOP)
	time.Sleep(70 * time.Second) // the longest silence is a minute
	syscall.Kill(e.command.Process.Pid, syscall.SIGCONT)
	c.begun(c.written() + 1000)
	e.command.Process.Signal(syscall.SIGTERM)
	e.said(1, "interrupted before it was done")
	c.noOrphans()
	c.variables["WEIR_VAR_count"] = strconv.Itoa(c.written() + 5000)
	c.complete()
}
