package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// site is where one weir of a test lives: its folder, and what it is run with.
type site struct {
	t         *testing.T
	root      string            // all that belongs to the test
	data      string            // the data directory
	weir      string            // a link for this test alone, so that its processes can be told from others
	pipeline  string            // path
	variables map[string]string // environment
	engines   []*engine         // all that were started
	last      run               // how the last one was
	explained bool
}

// settle makes a site. It goes with the test, unless that has failed.
func settle(t *testing.T, pipeline string) *site {
	t.Helper()
	root, err := os.MkdirTemp("", "weir-"+strings.NewReplacer("/", "-", "#", "-").Replace(t.Name())+"-")
	if err != nil {
		t.Fatal(err)
	}
	c := &site{t: t, root: root, data: filepath.Join(root, "data"), weir: filepath.Join(root, "weir"), pipeline: pipeline}
	t.Cleanup(func() {
		if t.Failed() {
			c.explain()
		}
		c.end()
		if !t.Failed() {
			os.RemoveAll(root)
		}
	})
	if err := os.Link(filepath.Join(built, "weir"), c.weir); err != nil {
		t.Fatal(err)
	}
	return c
}

// end kills what still runs.
func (c *site) end() {
	for _, e := range c.engines {
		e.kill()
	}
}

// log is what all engines of the test have written.
func (c *site) log() string { return filepath.Join(c.root, "weir.log") }

// engine is a running weir.
type engine struct {
	t       *testing.T
	command *exec.Cmd
	log     string
	blocked chan string   // the window in which it stopped
	ended   chan struct{} // closed when it is over
	err     error         // of Wait, after ended
}

// run says how weir is run.
type run struct {
	pipeline string   // path; default: the site's
	stop     string   // WEIR_FAILPOINT
	args     []string // more flags
	env      []string // more environment
	forever  bool     // without --once
	through  []string // a command that executes the one behind it
}

// command is weir with the site's environment, and nothing else of ours.
func (c *site) command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(c.weir, args...)
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		cmd.Env = append(cmd.Env, name+"="+os.Getenv(name))
	}
	for name, value := range c.variables {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// start runs weir on the test's data directory. All engines of a test write one log.
func (c *site) start(o run) *engine {
	c.t.Helper()
	if o.pipeline == "" {
		o.pipeline = c.pipeline
	}
	c.last = o
	e := &engine{t: c.t, log: c.log(), blocked: make(chan string, 1), ended: make(chan struct{})}
	pipe := filepath.Join(c.root, "windows")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil && !errors.Is(err, os.ErrExist) {
		c.t.Fatal(err)
	}
	windows, err := os.OpenFile(pipe, os.O_RDWR, 0) // for writing too: so that it neither waits for the engine nor ends with it
	if err != nil {
		c.t.Fatal(err)
	}
	log, err := os.OpenFile(e.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	args := append([]string{"run", "--data-dir", c.data}, o.args...)
	if !o.forever {
		args = append(args, "--once")
	}
	e.command = c.command(append(o.env, "WEIR_FAILPOINT_LOG="+pipe, "WEIR_FAILPOINT="+o.stop), append(args, o.pipeline)...)
	if o.through != nil {
		e.command.Path, e.command.Args = o.through[0], append(slices.Clone(o.through), e.command.Args...)
	}
	e.command.Stdout, e.command.Stderr = log, log
	if err := e.command.Start(); err != nil {
		c.t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(windows)
		for lines.Scan() {
			if what, name, _ := strings.Cut(lines.Text(), " "); what == "blocked" {
				e.blocked <- name
			}
		}
	})
	go func() {
		e.err = e.command.Wait()
		log.Close()
		windows.Close()
		reading.Wait()
		close(e.ended)
	}()
	c.engines = append(c.engines, e)
	return e
}

// kill ends the engine as a power cut would.
func (e *engine) kill() {
	e.command.Process.Kill()
	<-e.ended
}

// stopped waits until the engine stops in its window.
func (e *engine) stopped(most time.Duration) {
	e.t.Helper()
	timer := time.NewTimer(patience * most)
	defer timer.Stop()
	select {
	case <-e.blocked:
	case <-e.ended:
		e.t.Fatalf("weir ended before its window: %v\n%s", e.err, tail(e.log, 20))
	case <-timer.C:
		e.t.Fatalf("weir never came to its window\n%s", tail(e.log, 20))
	}
}

// finish waits for the end of the run. The sandbox has holes and a letter that cannot be opened, so a good end is 3.
func (e *engine) finish(most time.Duration) {
	e.t.Helper()
	if code := e.code(most); code != 3 {
		e.t.Fatalf("weir: exit %d, want 3\n%s", code, tail(e.log, 20))
	}
}

// code waits for the end of the run and returns its exit code.
func (e *engine) code(most time.Duration) int {
	e.t.Helper()
	timer := time.NewTimer(patience * most)
	defer timer.Stop()
	select {
	case <-e.ended:
	case <-timer.C:
		e.t.Fatalf("weir does not end\n%s", tail(e.log, 20))
	}
	return e.command.ProcessState.ExitCode()
}

// status is what `weir status --json` says, as far as the tests look at it.
type status struct {
	Running bool
	Sources []struct {
		Records, Missing int
	}
	Steps []struct {
		Address           string
		Done, Owed, Dead  int
		Down              string
		UnderWay          int `json:"under_way"`
		Retried, Rejected int
	}
}

// ask runs a command of weir beside the running engine, or without one.
func (c *site) ask(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("weir %v: %v\n%s", args, err, out)
	}
	return out
}

func (c *site) try(args ...string) (string, error) {
	out, err := c.command(nil, append(args, "--data-dir", c.data, c.pipeline)...).CombinedOutput()
	return string(out), err
}

// status asks the running engine. Right after its start it may not answer yet: then Running is false.
func (c *site) status() (s status) {
	c.t.Helper()
	if out, err := c.try("status", "--json"); err == nil {
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			c.t.Fatalf("weir status: %v\n%s", err, out)
		}
	}
	return s
}

// owed is how many rows a step owes; -1 when nobody knows.
func (s status) owed(address string) int {
	for _, step := range s.Steps {
		if step.Address == address {
			return step.Owed
		}
	}
	return -1
}

// process is a process of this test's weir.
type process struct {
	pid, parent int
	command     string // arguments
}

func (p process) id() string { return strconv.Itoa(p.pid) }

func (p process) String() string { return fmt.Sprintf("%d %s", p.pid, p.command) }

// processes lists all that run this test's weir: engines and plugins.
func (c *site) processes() []process {
	c.t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		c.t.Fatal(err)
	}
	var list []process
	for _, link := range links {
		if exe, err := os.Readlink(link); err != nil || exe != c.weir {
			continue // also those that ended meanwhile
		}
		dir := filepath.Dir(link)
		arguments, err1 := os.ReadFile(filepath.Join(dir, "cmdline"))
		stat, err2 := os.ReadFile(filepath.Join(dir, "stat"))
		if err1 != nil || err2 != nil {
			continue
		}
		p := process{command: strings.TrimSpace(strings.ReplaceAll(string(arguments), "\x00", " "))}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		p.parent, _ = strconv.Atoi(fields[1])
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b process) int { return a.pid - b.pid })
	return list
}

// plugins lists the plugin processes of an engine.
func (c *site) plugins(e *engine) []process {
	c.t.Helper()
	return slices.DeleteFunc(c.processes(), func(p process) bool { return p.parent != e.command.Process.Pid })
}

// replaced ends a plugin process and waits until another has taken its place. No other process may change.
func (c *site) replaced(e *engine, victim process, signal syscall.Signal) {
	c.t.Helper()
	others := slices.DeleteFunc(c.plugins(e), func(p process) bool { return p == victim })
	if err := syscall.Kill(victim.pid, signal); err != nil {
		c.t.Fatal(err)
	}
	c.t.Logf("kill -%d %s", signal, victim)
	var fresh []process
	until(c.t, time.Minute, "another "+victim.command, func() bool {
		fresh = slices.DeleteFunc(c.plugins(e), func(p process) bool { return slices.Contains(others, p) || p == victim })
		return len(fresh) == 1 && fresh[0].command == victim.command
	})
	for _, p := range others {
		if !slices.Contains(c.plugins(e), p) {
			c.t.Errorf("%s is gone too", p)
		}
	}
}
