package host

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
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

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// buffer is a log that several goroutines write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func bundled(t *testing.T) Executable {
	t.Helper()
	exe, err := Bundled("probe")
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func folder(t *testing.T) string {
	t.Helper()
	dir, err := Folder(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func started(t *testing.T, o Options) *Process {
	t.Helper()
	if o.Dir == "" {
		o.Dir = folder(t)
	}
	p, err := Start(t.Context(), bundled(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		p.Kill(ctx)
	})
	return p
}

func open(t *testing.T, p *Process, kind sdk.ComponentKind, typ, args string) uint64 {
	t.Helper()
	h, err := p.Client().Open(t.Context(), protocol.Step{Address: string(kind) + "." + typ + ".x", Kind: kind, Type: typ, Args: json.RawMessage(args)}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRoundTrip(t *testing.T) {
	t.Setenv("WEIR_TEST_SECRET", "must not be seen")
	var log buffer
	clock := sdk.NewClock(time.Now(), time.Date(1999, 6, 1, 0, 0, 0, 0, time.UTC), 1)
	dir := folder(t)
	p := started(t, Options{Dir: dir, Clock: clock, Env: []string{"EXTRA=1"}, Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Debug})})
	if got := p.Plugin(); got.Name != "probe" || len(got.Components) != 3 {
		t.Errorf("described itself as %+v", got)
	}

	r, err := p.Client().Read(t.Context(), open(t, p, sdk.KindSource, "env", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Credit(1, 1)
	page, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"PATH", "LANG", "TZ", "TMPDIR", "EXTRA", "WEIR_PLUGIN", "PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR"}
	for i := range page.Batch.Rows() {
		name, value, _ := strings.Cut(string(page.Batch.Body(i)), "=")
		if !slices.Contains(allowed, name) {
			t.Errorf("the plugin sees %s", name)
		}
		if name == "TMPDIR" && filepath.Dir(value) != dir {
			t.Errorf("TMPDIR is %s, want a folder in %s", value, dir)
		}
	}

	var bodies []string
	err = p.Client().Work(t.Context(), open(t, p, sdk.KindTransform, "upper", ""), protocol.Work{Batch: page.Batch, Now: time.Now()}, func(a protocol.Answer) error {
		for i := range a.Outputs.Rows() {
			bodies = append(bodies, string(a.Outputs.Body(i)))
		}
		return nil
	})
	if err != nil || !slices.Contains(bodies, "EXTRA=1") || len(bodies) != page.Batch.Rows() {
		t.Errorf("transform: %q, %v", bodies, err)
	}

	closed := filepath.Join(t.TempDir(), "closed")
	args, _ := json.Marshal(map[string]string{"closed": closed})
	delivered := 0
	one := protocol.Gather(protocol.Part{Batch: page.Batch, Rows: []int32{0}})
	err = p.Client().Work(t.Context(), open(t, p, sdk.KindSink, "slow", string(args)), protocol.Work{Batch: one, Now: time.Now()}, func(a protocol.Answer) error {
		delivered += a.Runs[0].Count
		return nil
	})
	if err != nil || delivered != 1 {
		t.Errorf("sink: %d delivered, %v", delivered, err)
	}

	r.Close()
	if err := p.Kill(t.Context()); err != nil {
		t.Errorf("kill: %v", err)
	}
	if b, err := os.ReadFile(closed); err != nil || string(b) != "closed" {
		t.Errorf("the sink was not closed before the end: %v", err)
	}
	if err := p.Err(); errors.Unwrap(err) != nil {
		t.Errorf("it ended with %v, want exit status 0", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left in the folder for sockets: %v", left)
	}
	for _, want := range []string{"[WARN]  probe: reading: clock=1999 step=source.env.x", "line=printed"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log lacks %q:\n%s", want, log.String())
		}
	}
}

func TestCloseFails(t *testing.T) {
	p := started(t, Options{})
	open(t, p, sdk.KindSink, "slow", "")
	if err := p.Kill(t.Context()); err == nil || !strings.Contains(err.Error(), "close sink.slow.x: nowhere to write") {
		t.Errorf("kill: %v", err)
	}
}

// callTwo sends two rows, of which the plugin answers one, and reports the end of the call; began is closed by the first answer.
func callTwo(t *testing.T, p *Process) (began chan struct{}, ended chan error) {
	t.Helper()
	h := open(t, p, sdk.KindSink, "slow", "")
	began, ended = make(chan struct{}), make(chan error, 1)
	batch := protocol.FromRecords([]sdk.Record{{ID: "1"}, {ID: "2"}})
	go func() {
		ended <- p.Client().Work(context.Background(), h, protocol.Work{Batch: batch}, func(protocol.Answer) error { close(began); return nil })
	}()
	return began, ended
}

func TestKilledPlugin(t *testing.T) {
	p := started(t, Options{})
	r, err := p.Client().Read(t.Context(), open(t, p, sdk.KindSource, "env", ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	began, ended := callTwo(t, p)
	<-began
	syscall.Kill(p.PID(), syscall.SIGKILL)
	<-p.Done()
	var gone *protocol.GoneError
	if err := <-ended; !errors.As(err, &gone) || gone.Step != "sink.slow.x" {
		t.Errorf("work: %v", err)
	}
	if _, err := r.Next(); !errors.As(err, &gone) {
		t.Errorf("read: %v", err)
	}
	var exit *ExitError
	if !errors.As(p.Err(), &exit) || !strings.Contains(p.Err().Error(), "killed") {
		t.Errorf("process: %v", p.Err())
	}
}

// A stopped process holds its socket open and says nothing.
func TestFrozenPlugin(t *testing.T) {
	p := started(t, Options{Silence: 200 * time.Millisecond})
	began, ended := callTwo(t, p)
	<-began
	syscall.Kill(p.PID(), syscall.SIGSTOP)
	var silent *protocol.SilentError
	if err := <-ended; !errors.As(err, &silent) {
		t.Errorf("work: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p.Kill(ctx)
	<-p.Done()
}

func TestNoOrphans(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("host killed", func(t *testing.T) {
		host := exec.Command(path, "host", folder(t))
		line := start(t, host)
		pid, err := strconv.Atoi(line)
		if err != nil {
			t.Fatalf("the host printed %q", line)
		}
		host.Process.Kill()
		if !gone(pid) {
			t.Errorf("plugin %d outlived its host", pid)
		}
	})
	t.Run("standard input ends", func(t *testing.T) { // without the help of the kernel
		child := exec.Command(path, ServeArg, "probe")
		h := protocol.Handshake()
		child.Env = []string{h.MagicCookieKey + "=" + h.MagicCookieValue, "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR=" + folder(t)}
		stdin, err := child.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if line := start(t, child); !strings.HasPrefix(line, "1|1|unix|") {
			t.Errorf("it printed %q", line)
		}
		stdin.Close()
		if !gone(child.Process.Pid) {
			t.Error("the plugin outlived its host")
		}
	})
}

func TestRunByHand(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(path, ServeArg, "probe").CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), `plugin "probe"`) {
		t.Errorf("%v, %s", err, out)
	}
}

func TestBadExecutables(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, exe := range map[string]Executable{
		"missing":      {Name: "x", Path: "/nowhere/x"},
		"relative":     {Name: "x", Path: "x"},
		"not a plugin": {Name: "x", Path: path, Args: []string{"-test.run=^$"}},
		"mute":         {Name: "x", Path: path, Args: []string{"mute"}},
		"on a port":    {Name: "x", Path: path, Args: []string{"says", "1|1|tcp|127.0.0.1:1|grpc|"}},
		"elsewhere":    {Name: "x", Path: path, Args: []string{"says", "1|1|unix|/tmp/socket|grpc|"}},
	} {
		wait := 10 * time.Second
		if name == "mute" {
			wait = 300 * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(t.Context(), wait)
		defer cancel()
		if p, err := Start(ctx, exe, Options{Dir: folder(t)}); err == nil {
			p.Kill(ctx)
			t.Errorf("%s: started", name)
		} else if (name == "on a port" || name == "elsewhere") && !strings.Contains(err.Error(), "it listens on ") {
			t.Errorf("%s: %v", name, err)
		} else if name == "mute" && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSupervise(t *testing.T) {
	var pids []int
	var why []error
	var waits []time.Duration
	o := Options{Dir: folder(t)}
	err := Supervise(t.Context(), bundled(t), o, func(ctx context.Context, p *Process) error {
		pids = append(pids, p.PID())
		switch len(pids) {
		case 1: // it dies
			syscall.Kill(p.PID(), syscall.SIGKILL)
			<-ctx.Done()
			return ctx.Err()
		case 2: // the caller has enough of it
			return errors.New("enough")
		}
		return nil
	}, func(err error, wait time.Duration) { why, waits = append(why, err), append(waits, wait) })
	if err != nil {
		t.Error(err)
	}
	var exit *ExitError
	if len(why) != 2 || !errors.As(why[0], &exit) || why[1].Error() != "enough" {
		t.Errorf("ended by %v", why)
	}
	if !slices.Equal(waits, []time.Duration{firstWait, 2 * firstWait}) {
		t.Errorf("waits %v", waits)
	}
	for _, pid := range pids {
		if !gone(pid) {
			t.Errorf("process %d is left", pid)
		}
	}
}

// A process that dies of calls comes back at once, until it is clear that no call will ever come back whole.
func TestSuperviseOfDeadlyCalls(t *testing.T) {
	var waits []time.Duration
	lives := 0
	err := Supervise(t.Context(), bundled(t), Options{Dir: folder(t)}, func(_ context.Context, p *Process) error {
		switch lives++; lives {
		case 10: // one call of this life came back, the other did not
			p.Called()(true)
		case swift + 5:
			return nil
		}
		p.Called()
		return errors.New("died of it")
	}, func(_ error, wait time.Duration) { waits = append(waits, wait) })
	if err != nil {
		t.Error(err)
	}
	var want []time.Duration
	for range swift + 1 {
		want = append(want, 0)
	}
	want = append(want, firstWait, 2*firstWait, 4*firstWait)
	if !slices.Equal(waits, want) {
		t.Errorf("waits %v, want %v", waits, want)
	}
}

func TestFolder(t *testing.T) {
	data := t.TempDir()
	os.MkdirAll(filepath.Join(data, "run", "stale"), 0o700)
	dir, err := Folder(data)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if left, _ := os.ReadDir(filepath.Join(data, "run")); len(left) > 0 {
		t.Error("what a dead engine left is still there")
	}
	long, err := Folder(filepath.Join(data, strings.Repeat("x", 100)))
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(long)
	for _, d := range []string{dir, long} {
		if st, err := os.Stat(d); err != nil || st.Mode().Perm() != 0o700 || len(d) > 60 {
			t.Errorf("%s: %v, %v", d, st, err)
		}
	}
}

// Where neither folder will do the error says what would.
func TestFolderForSocketsIsTooLong(t *testing.T) {
	far := filepath.Join(t.TempDir(), strings.Repeat("y", 60))
	if err := os.Mkdir(far, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", far)
	dir, err := Folder(filepath.Join(far, "data"))
	if err == nil || !strings.Contains(err.Error(), "set TMPDIR to a shorter one") {
		t.Errorf("%s, %v", dir, err)
	}
	if left, _ := os.ReadDir(far); len(left) > 0 {
		t.Errorf("%v are left behind", left)
	}
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	l := newLines(hclog.New(&hclog.LoggerOptions{Output: &out, Level: hclog.Debug, DisableTime: true}))
	l.read(io.MultiReader(strings.NewReader(
		`{"@level":"info","@message":"hello","@timestamp":"x","b":1,"a":"s"}`+"\n"+
			`{"@level":"info","@message":"\u001b[2J\nfake","\u001bkey\u202e":"\u001b[31m\nred"}`+"\n"+
			`{"@level":"info","@message":7}`+"\n"+ // go-plugin's own reader would panic
			strings.Repeat("x", 2*lineBytes)+"\n"+
			"plain\n"+
			"panic: boom\ngoroutine 1\n"),
		strings.NewReader(strings.Repeat("more\n", 2*linesAtOnce))))
	got := out.String()
	for _, want := range []string{"[INFO]  hello: a=s b=1\n", `[DEBUG] plugin wrote: line="{`, "line=plain\n", "[ERROR] plugin died: line=\"panic: boom\"", "[ERROR] plugin died: line=\"goroutine 1\""} {
		if !strings.Contains(got, want) {
			t.Errorf("log lacks %q:\n%.2000s", want, got)
		}
	}
	if i := strings.IndexFunc(got, func(r rune) bool { return r == 0x1b || r == 0x202e }); i >= 0 || strings.Contains(got, "\nfake") || strings.Contains(got, "\nred") {
		t.Errorf("a plugin steers the terminal:\n%.2000q", got)
	}
	if n := strings.Count(got, "\n"); n > linesAtOnce+linesPerSecond {
		t.Errorf("%d lines of %d went through", n, 2*linesAtOnce)
	}
}
