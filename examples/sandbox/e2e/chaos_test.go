package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// numbers is a site without a company: a pipeline of three plugins that writes numbered records into a file, each once.
func numbers(t *testing.T, count, rate int) *site {
	t.Helper()
	c := settle(t, "")
	c.pipeline = filepath.Join(c.root, "numbers.hcl")
	text := `
weir {
  name      = "numbers"
  state_key = env("WEIR_STATE_KEY")
}
variable "count" { type = number }
variable "rate" { type = number }
variable "out" { type = string }
source "generate" "numbers" {
  count = var.count
  size  = 512
  rate  = var.rate
}
transform "md5" "summed" { input = source.generate.numbers }
sink "file" "lines" {
  input = transform.md5.summed
  path  = var.out
}
`
	if err := os.WriteFile(c.pipeline, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c.variables = map[string]string{
		"WEIR_STATE_KEY": "c2FuZGJveC1zdGF0ZS1rZXktb2YtMzItYnl0ZXMhISE=", "WEIR_VAR_count": strconv.Itoa(count),
		"WEIR_VAR_rate": strconv.Itoa(rate), "WEIR_VAR_out": filepath.Join(c.root, "out"),
	}
	return c
}

// written counts the lines of the file, complete or not.
func (c *site) written() int {
	b, _ := os.ReadFile(c.variables["WEIR_VAR_out"])
	return bytes.Count(b, []byte("\n"))
}

// begun waits until so many lines are written.
func (c *site) begun(lines int) {
	c.t.Helper()
	until(c.t, time.Minute, fmt.Sprint(lines, " lines"), func() bool { return c.written() >= lines })
}

// complete lets weir work to the end, without any hindrance, and fails unless every record stands in the file once and nothing is left.
func (c *site) complete() {
	c.t.Helper()
	c.variables["WEIR_VAR_rate"] = "0"
	e := c.start(run{})
	if code := e.code(2 * time.Minute); code != 0 {
		c.t.Fatalf("weir: exit %d, want 0\n%s", code, tail(e.log, 20))
	}
	c.once()
}

// once fails unless every record stands in the file once.
func (c *site) once() {
	c.t.Helper()
	b, err := os.ReadFile(c.variables["WEIR_VAR_out"])
	if err != nil {
		c.t.Fatal(err)
	}
	count, _ := strconv.Atoi(c.variables["WEIR_VAR_count"])
	seen := make([]int, count+1)
	for line := range strings.Lines(string(b)) {
		var record struct{ N int }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.N < 1 || record.N > count {
			c.t.Fatalf("a line is no record: %.100q, %v", line, err)
		}
		seen[record.N]++
	}
	wrong := 0
	for n := 1; n <= count; n++ {
		if seen[n] != 1 {
			if wrong++; wrong <= 5 {
				c.t.Errorf("record %d was written %d times", n, seen[n])
			}
		}
	}
	if wrong > 0 {
		c.t.Errorf("%d of %d records are missing or doubled", wrong, count)
	}
	c.noOrphans()
}

// noOrphans fails when a process of this site is left two seconds after its engine.
func (c *site) noOrphans() {
	c.t.Helper()
	var left []process
	deadline := time.Now().Add(patience * 2 * time.Second)
	for {
		if left = c.processes(); len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			c.t.Errorf("processes are left over: %v", left)
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// said fails unless the engine has ended with this exit code and said these words since the log had this length.
func (e *engine) said(code int, words ...string) {
	e.t.Helper()
	if got := e.code(time.Minute); got != code {
		e.t.Fatalf("weir: exit %d, want %d\n%s", got, code, tail(e.log, 20))
	}
	last := tail(e.log, 12)
	for _, w := range words {
		if !strings.Contains(last, w) {
			e.t.Errorf("weir does not say %q:\n%s", w, last)
		}
	}
}

// Plugins that are killed as soon as they appear, which is before they have shaken hands, and then one after the other with rows in hand.
func TestKilledPlugins(t *testing.T) {
	t.Parallel()
	c := numbers(t, 30000, 6000)
	e := c.start(run{})
	early := map[int]bool{}
	until(t, time.Minute, "plugins to be killed in their start-up", func() bool {
		for _, p := range c.plugins(e) {
			if !early[p.pid] {
				early[p.pid] = true
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		return len(early) >= 6 // three plugins, twice
	})
	if n := c.written(); n > 0 {
		t.Errorf("%d lines were written by plugins that had not started", n)
	}
	c.begun(1)
	for _, p := range c.plugins(e) {
		c.begun(c.written() + 100)
		c.replaced(e, p, syscall.SIGKILL)
	}
	if code := e.code(2 * time.Minute); code != 0 {
		t.Fatalf("weir: exit %d, want 0\n%s", code, tail(e.log, 20))
	}
	c.once()
}

// A service manager ends a service by a SIGTERM to all its processes at once.
func TestTerminated(t *testing.T) {
	t.Parallel()
	for _, forever := range []bool{true, false} {
		c := numbers(t, 20000, 4000)
		e := c.start(run{forever: forever})
		c.begun(1000)
		for _, p := range c.processes() {
			syscall.Kill(p.pid, syscall.SIGTERM)
		}
		began := time.Now()
		if forever {
			e.said(0)
		} else {
			e.said(1, "interrupted before it was done; the next run goes on from here")
		}
		if took := time.Since(began); took > patience*5*time.Second {
			t.Errorf("it took %s to end", took)
		}
		c.noOrphans()
		if lines := warnings(e.log, 10); lines != "" {
			t.Errorf("an orderly end is no trouble, but the log says\n%s", lines)
		}
		if n := c.written(); n == 20000 {
			t.Error("it was done before it was ended")
		}
		c.complete()
	}
}

// A disk that is full, of the data directory and then of the destination, is said; with room again nothing is lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 { // nobody else may mount a small disk
		limited(t, "-f 64", "file too large")
		return
	}
	t.Run("data", func(t *testing.T) {
		c := numbers(t, 20000, 4000)
		disk := volume(t, c.data, 160<<20)
		e := c.start(run{})
		c.begun(1000)
		disk.fill(t)
		e.said(1, "the disk is full", c.data, "MiB are free")
		c.noOrphans()
		e = c.start(run{})
		e.said(1, "the disk is full", c.data, "MiB are free")
		disk.empty(t)
		c.complete()
	})
	t.Run("destination", func(t *testing.T) {
		c := numbers(t, 20000, 4000)
		shelf := filepath.Join(c.root, "shelf")
		c.variables["WEIR_VAR_out"] = filepath.Join(shelf, "out")
		disk := volume(t, shelf, 32<<20)
		e := c.start(run{})
		c.begun(1000)
		disk.fill(t)
		until(t, time.Minute, "the sink to be down", func() bool { return c.status().owed("sink.file.lines") > 1000 })
		disk.empty(t)
		if code := e.code(time.Minute); code != 0 {
			t.Fatalf("weir: exit %d, want 0\n%s", code, tail(e.log, 20))
		}
		if log := warnings(e.log, 10); !strings.Contains(log, "FILE_UNWRITABLE") {
			t.Errorf("the log does not say what is wrong:\n%s", log)
		}
		c.complete()
	})
}

// disk is a small file system.
type disk struct{ dir, ballast string }

// volume mounts a small file system on a folder.
func volume(t *testing.T, dir string, size int) disk {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount a small file system: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return disk{dir, filepath.Join(dir, "ballast")}
}

// fill leaves no byte.
func (d disk) fill(t *testing.T) {
	t.Helper()
	f, err := os.Create(d.ballast)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func (d disk) empty(t *testing.T) {
	t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		t.Fatal(err)
	}
}

// A data directory that cannot be written is said, and is not called damaged.
func TestReadOnlyData(t *testing.T) {
	t.Parallel()
	c := numbers(t, 2000, 0)
	lock, words := func(on bool) error {
		mode := map[bool]os.FileMode{true: 0o500, false: 0o700}[on]
		return errors.Join(os.Chmod(c.data, mode), os.Chmod(filepath.Join(c.data, "state", "db"), mode))
	}, "permission denied"
	if os.Getuid() == 0 { // who may write everywhere
		volume(t, c.data, 160<<20)
		lock, words = func(on bool) error {
			flags := map[bool]uintptr{true: syscall.MS_REMOUNT | syscall.MS_RDONLY, false: syscall.MS_REMOUNT}[on]
			return syscall.Mount("tmpfs", c.data, "tmpfs", flags, "")
		}, "read-only file system"
	}
	c.complete()
	if err := lock(true); err != nil {
		t.Fatal(err)
	}
	e := c.start(run{})
	e.said(1, c.data, words)
	if strings.Contains(tail(e.log, 5), "is damaged") {
		t.Errorf("it is not damaged:\n%s", tail(e.log, 5))
	}
	c.noOrphans()
	if err := lock(false); err != nil {
		t.Fatal(err)
	}
	c.complete()
}

// Limits of the shell: with few descriptors, or small files, weir works or says why it does not.
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, limit := range []struct{ flag, words string }{
		{"-n 10", "too many open files"}, {"-n 14", "too many open files"}, {"-n 24", "too many open files"}, {"-n 64", ""}, {"-n 256", ""},
		{"-f 64", "file too large"}, {"-f 20000", "file too large"},
	} {
		limited(t, limit.flag, limit.words)
	}
}

// limited runs weir under a limit of the shell, and then without it. Words that it is to say mean that it cannot work.
func limited(t *testing.T, flag, words string) {
	t.Helper()
	c := numbers(t, 2000, 0)
	e := c.start(run{through: []string{"/bin/sh", "-c", "ulimit " + flag + ` && exec "$@"`, "limited"}})
	code := e.code(time.Minute)
	text := tail(e.log, 20)
	if words == "" && code != 0 || words != "" && (code != 1 || !strings.Contains(text, words)) || strings.Contains(text, "is damaged") {
		t.Errorf("ulimit %s: exit %d; want %q to be said:\n%s", flag, code, words, text)
	}
	c.noOrphans()
	c.complete()
}

// The second engine on a data directory is refused, by whatever path it comes, and does the first no harm.
func TestTwoEngines(t *testing.T) {
	t.Parallel()
	c := numbers(t, 20000, 8000)
	first := c.start(run{})
	c.begun(500)
	other := filepath.Join(c.root, "other")
	if err := os.Symlink(c.data, other); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{c.data, other} {
		cmd := c.command(nil, "run", "--once", "--data-dir", dir, c.pipeline)
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "another engine uses this state") || !strings.Contains(string(out), dir) {
			t.Errorf("the second engine on %s: %v\n%s", dir, err, out)
		}
	}
	if code := first.code(time.Minute); code != 0 {
		t.Fatalf("weir: exit %d, want 0\n%s", code, tail(first.log, 20))
	}
	c.once()
}

// A damaged state is refused with a way back: moved away, the sources are read again.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	c := numbers(t, 2000, 0)
	c.complete()
	if err := os.WriteFile(filepath.Join(c.data, "state", "db", "MANIFEST"), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	e := c.start(run{})
	e.said(1, "is damaged", filepath.Join(c.data, "state"), "back-up")
	c.noOrphans()
	if err := os.Rename(filepath.Join(c.data, "state"), filepath.Join(c.root, "damaged")); err != nil {
		t.Fatal(err)
	}
	c.complete() // the sink knows what it has written
}

// An engine whose clock was three hours late, and one whose clock was three hours ahead of everybody else's, have done no harm once it is
// right again.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "41")
	told := c.truth()
	right := c.variables["WEIR_CLOCK"]
	for _, jump := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		part := strings.Split(right, ",")
		simulated, err := time.Parse(time.RFC3339Nano, part[1])
		if err != nil {
			t.Fatal(err)
		}
		part[1], part[3] = simulated.Add(jump).Format(time.RFC3339Nano), told.Holds.Add(24*time.Hour).Format(time.RFC3339Nano)
		before := c.look()
		e := c.start(run{env: []string{"WEIR_CLOCK=" + strings.Join(part, ",")}})
		until(t, time.Minute, "some work", func() bool {
			now := c.look()
			return now.Kintone.Inserted > before.Kintone.Inserted+50 && now.WeCom.Shards > before.WeCom.Shards
		})
		e.kill()
	}
	c.start(run{}).finish(3 * time.Minute)
	c.equal()
}

// Memory is bounded: 200,000 records in a control group that kills whoever takes more, where the machine has such.
func TestMemory(t *testing.T) {
	t.Parallel()
	const limit = 400 << 20 // for four processes
	c := numbers(t, 200000, 0)
	group, through := "", []string(nil)
	for root, file := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		dir := filepath.Join(root, "weir-"+strconv.Itoa(os.Getpid()))
		if os.Mkdir(dir, 0o755) != nil {
			continue
		}
		t.Cleanup(func() { os.Remove(dir) })
		if os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0o644) == nil {
			group = dir
			through = []string{"/bin/sh", "-c", "echo $$ > " + dir + `/cgroup.procs && exec "$@"`, "limited"}
			break
		}
	}
	e := c.start(run{through: through})
	var m meter
	for running := true; running; {
		m.read(c)
		select {
		case <-e.ended:
			running = false
		case <-time.After(50 * time.Millisecond):
		}
	}
	if code := e.code(time.Minute); code != 0 {
		t.Fatalf("weir: exit %d, want 0\n%s", code, tail(e.log, 20))
	}
	t.Logf("%s; limited by %q", &m, group)
	if m.most > limit {
		t.Errorf("%s, want at most %d MiB", &m, limit>>20)
	}
	c.once()
}

// meter remembers the most memory that the processes of a site took together: what each has for itself, and its share of the rest.
type meter struct {
	most, engine, plugin int64 // bytes of all, of the engine and of the largest plugin
	times                int
}

func (m *meter) read(c *site) {
	var sum int64
	for _, p := range c.processes() {
		b, err := os.ReadFile(filepath.Join("/proc", p.id(), "smaps_rollup"))
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), "\nPss:")
		kib, _ := strconv.ParseInt(strings.Fields(rest + " 0")[0], 10, 64)
		sum += kib << 10
		if strings.Contains(p.command, "plugin-serve") {
			m.plugin = max(m.plugin, kib<<10)
		} else {
			m.engine = max(m.engine, kib<<10)
		}
	}
	m.most = max(m.most, sum)
	m.times++
}

func (m *meter) String() string {
	return fmt.Sprintf("at most %d MiB for all processes, %d for the engine, %d for a plugin (looked at %d times)",
		m.most>>20, m.engine>>20, m.plugin>>20, m.times)
}

// A release has no failpoints.
func TestNoFailpointsInARelease(t *testing.T) {
	t.Parallel()
	release := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.Command("go", "build", "-o", release, "github.com/weir-etl/weir/engine/cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for path, want := range map[string]bool{release: false, filepath.Join(built, "weir"): true} {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(b, []byte("WEIR_FAILPOINT")); got != want {
			t.Errorf("%s reads WEIR_FAILPOINT: %v, want %v", path, got, want)
		}
	}
}
