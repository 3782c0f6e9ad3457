package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

// leasePlugins are a source that never ends and a sink whose destination, a folder, keeps leases.
func leasePlugins() []sdk.Plugin {
	str := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.String, Required: true} }
	return []sdk.Plugin{
		{Name: "tick", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "tick", Emits: []string{"n/1"},
			Args: []sdk.Arg{{Name: "every", Type: sdk.Dur, Required: true}}, NewSource: func() sdk.Source { return &ticker{} }}}},
		{Name: "shelf", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "shelf",
			Args:  []sdk.Arg{str("folder"), str("list")},
			Lease: []sdk.Arg{str("folder"), {Name: "timeless", Type: sdk.Bool, Default: false}}, NewSink: func() sdk.Sink { return &shelf{} }}}},
	}
}

type ticker struct {
	env   *sdk.Env
	Every sdk.Duration
}

func (s *ticker) Open(_ context.Context, env *sdk.Env) error { s.env = env; return env.Decode(s) }
func (s *ticker) Close(context.Context) error                { return nil }

func (s *ticker) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	n, _ := strconv.Atoi(string(position))
	for {
		n++
		r := sdk.Record{ID: fmt.Sprint("n", n), Seq: uint64(n), Kind: "n/1", Body: []byte("0")}
		if err := out.Emit(ctx, sdk.Page{Records: []sdk.Record{r}, Position: []byte(strconv.Itoa(n))}); err != nil {
			return err
		}
		if s.env.Clock.Sleep(ctx, s.Every.Std()) != nil {
			return nil
		}
	}
}

// shelf writes a line for each record into a list. A file "away" in the folder takes the whole destination away, a file
// "leaseless" its lease alone.
type shelf struct {
	Folder, List string
	Timeless     bool
}

func (s *shelf) Open(_ context.Context, env *sdk.Env) error { return env.Decode(s) }
func (s *shelf) Close(context.Context) error                { return nil }

func (s *shelf) away(what string) error {
	if _, err := os.Stat(filepath.Join(s.Folder, what)); err == nil {
		return sdk.Down("AWAY", errors.New("the shelf is away")).Err()
	}
	return nil
}

func (s *shelf) Write(_ context.Context, call *sdk.Call) error {
	if err := s.away("away"); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.Folder, s.List), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range call.Rows {
		fmt.Fprintln(f, call.Rows[i].ID)
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}

// Lease keeps one row in a file, under a lock.
func (s *shelf) Lease(ctx context.Context, env *sdk.Env, ask sdk.LeaseRequest) (sdk.LeaseRow, error) {
	if err := env.Decode(s); err != nil {
		return sdk.LeaseRow{}, err
	}
	if err := s.away("leaseless"); err != nil {
		return sdk.LeaseRow{}, err
	}
	if err := s.away("away"); err != nil {
		return sdk.LeaseRow{}, err
	}
	if os.Remove(filepath.Join(s.Folder, "freeze")) == nil {
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // it takes effect in a moment
	}
	lock := filepath.Join(s.Folder, "lock")
	for {
		f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			f.Close()
			break
		}
		if ctx.Err() != nil {
			return sdk.LeaseRow{}, ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	defer os.Remove(lock)
	path := filepath.Join(s.Folder, "lease")
	var row sdk.LeaseRow
	text, err := os.ReadFile(path)
	if err == nil {
		if err := json.Unmarshal(text, &row); err != nil {
			return row, err
		}
	}
	row.Written = false
	if ask.Write && ask.Revision == row.Revision {
		n, _ := strconv.Atoi(row.Revision)
		row = sdk.LeaseRow{Revision: strconv.Itoa(n + 1), Holder: ask.Holder, Changed: env.Clock.Now()}
		if text, err = json.Marshal(row); err != nil {
			return row, err
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return row, err
		}
		row.Written = true
	}
	row.Now = env.Clock.Now()
	if s.Timeless {
		row.Now, row.Changed = time.Time{}, time.Time{}
	}
	return row, nil
}

// site is a destination and the engines that want it.
type site struct {
	t      *testing.T
	folder string
	clock  *sdk.Clock
	more   string // of the lease block
}

// speed makes a hold of 10 minutes pass in three seconds.
const speed = 200

func newSite(t *testing.T) *site {
	now := time.Now()
	return &site{t: t, folder: t.TempDir(), clock: sdk.NewClock(now, now, speed)}
}

// real is how long d of the site's clock takes.
func (s *site) real(d time.Duration) time.Duration { return s.clock.Wall(d) }

// rival is one engine.
type rival struct {
	s      *site
	name   string
	o      Options
	stop   context.CancelFunc
	ended  chan struct{}
	err    error
	lines  *lineLog
	listed string
}

// lineLog is a log that can be searched.
type lineLog struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lineLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lineLog) has(text string) bool { return l.count(text) > 0 }

func (l *lineLog) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), text)
}

// start runs an engine on a data directory of this name.
func (s *site) start(name string, edit ...func(*Options)) *rival {
	s.t.Helper()
	dir := filepath.Join(s.folder, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		s.t.Fatal(err)
	}
	file := filepath.Join(dir, "p.hcl")
	text := fmt.Sprintf(`
weir { name = "shared" }
lease "shelf" {
  folder = %q
  %s
}
source "tick" "in" { every = "10s" }
sink "shelf" "out" {
  input  = source.tick.in
  folder = %q
  list   = "list-%s"
  batch { max_wait = "1s" }
}
`, s.folder, s.more, s.folder, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	pipe, diags := lang.Load([]string{file}, lang.Options{Plugins: mortals()})
	if diags.HasErrors() {
		s.t.Fatal(diags)
	}
	r := &rival{s: s, name: name, ended: make(chan struct{}), lines: &lineLog{}, listed: filepath.Join(s.folder, "list-"+name)}
	r.o = Options{Pipeline: pipe, Dir: filepath.Join(dir, "data"), Key: make([]byte, 32), Clock: s.clock,
		Log: hclog.New(&hclog.LoggerOptions{Name: name, Output: r.lines, Level: hclog.Debug})}
	for _, e := range edit {
		e(&r.o)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		_, r.err = Run(ctx, r.o)
		close(r.ended)
	}()
	s.t.Cleanup(func() { stop(); <-r.ended })
	return r
}

// count is how many lines a rival has written.
func (r *rival) count() int {
	text, _ := os.ReadFile(r.listed)
	return strings.Count(string(text), "\n")
}

// wait waits for a condition, for real time.
func (r *rival) wait(what string, condition func() bool) {
	r.s.t.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			r.lines.mu.Lock()
			defer r.lines.mu.Unlock()
			r.s.t.Fatalf("%s: waited in vain for %s\n%s", r.name, what, r.lines.text.String())
		}
	}
}

// writes waits until a rival has written more.
func (r *rival) writes() {
	r.s.t.Helper()
	n := r.count()
	r.wait("lines", func() bool { return r.count() > n })
}

// end waits for the end of a run.
func (r *rival) end() error {
	r.s.t.Helper()
	r.wait("its end", func() bool {
		select {
		case <-r.ended:
			return true
		default:
			return false
		}
	})
	return r.err
}

// mark puts a file into the folder, or takes it out.
func (s *site) mark(name string, there bool) {
	s.t.Helper()
	path := filepath.Join(s.folder, name)
	err := os.Remove(path)
	if there {
		err = os.WriteFile(path, nil, 0o600)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
}

// whole fails unless a list holds every record from the first on.
func (r *rival) whole() {
	r.s.t.Helper()
	if n, of := r.missing(); n > 0 {
		r.s.t.Errorf("%s: record %d is missing of %d", r.name, n, of)
	}
}

// missing is the first record that is not there, of how many; 0 when none is missing.
func (r *rival) missing() (n, of int) {
	r.s.t.Helper()
	seen := listed(r.s.t, r.listed)
	for n := range len(seen) {
		if seen[fmt.Sprint("n", n+1)] == 0 {
			return n + 1, len(seen)
		}
	}
	return 0, len(seen)
}

func TestASecondEngineIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.more = `hold = "1h"` // so that no busy machine is late for it
	a := s.start("a")
	a.writes()
	b := s.start("b")
	var held *HeldError
	if err := b.end(); !errors.As(err, &held) {
		t.Fatalf("the second engine: %v", err)
	}
	for _, want := range []string{"another engine runs pipeline \"shared\"", a.o.Dir, "running since", " until 2", "lease.shelf"} {
		if !strings.Contains(held.Error(), want) {
			t.Errorf("%q does not say %q", held.Error(), want)
		}
	}
	if held.Until.Sub(held.Now) > time.Hour || !held.Until.After(held.Now) || held.Copy {
		t.Errorf("got %+v", held)
	}
	if n := b.count(); n != 0 {
		t.Errorf("the second engine has written %d lines", n)
	}
	a.stop() // a clean stop gives the lease back
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	began := s.clock.Now()
	b = s.start("b")
	b.writes()
	if took := s.clock.Now().Sub(began); took > 50*time.Minute {
		t.Errorf("the next engine waited %s for a lease that was given back", took)
	}
	a.whole()
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a")
	a.writes()
	b := s.start("b", func(o *Options) { o.Takeover = true })
	var lost *LostError
	if err := a.end(); !errors.As(err, &lost) || !strings.Contains(lost.Error(), b.o.Dir) {
		t.Fatalf("the first engine ends with %v", err)
	}
	n := a.count()
	b.writes()
	if !b.lines.has("the other engine has stopped") {
		t.Error("the new engine did not hear that the old one has stopped")
	}
	if a.count() != n {
		t.Error("the old engine has written after its end")
	}
	var held *HeldError
	if err := s.start("a").end(); !errors.As(err, &held) { // and is refused from now on
		t.Errorf("the old engine, started again: %v", err)
	}
	a.whole()
	b.whole()
}

// An engine that was killed keeps the lease to the end of its hold and no longer; its own data directory has it back at once.
func TestADeadEnginesLeaseEnds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.more = `hold = "1h"`
	a := s.start("a")
	a.writes()
	lease := filepath.Join(s.folder, "lease")
	text, err := os.ReadFile(lease)
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	a.end()
	killed := func(ago time.Duration) { // as if the engine had renewed its lease and died then
		t.Helper()
		var row sdk.LeaseRow
		if err := json.Unmarshal(text, &row); err != nil {
			t.Fatal(err)
		}
		row.Revision, row.Changed = "1000", s.clock.Now().Add(-ago)
		changed, err := json.Marshal(row)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(lease, changed, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	killed(10 * time.Minute)
	began := s.clock.Now()
	var held *HeldError
	if err := s.start("b").end(); !errors.As(err, &held) {
		t.Fatalf("while the dead engine's hold lasts: %v", err)
	}
	killed(10 * time.Minute)
	a = s.start("a")
	a.writes()
	if took := s.clock.Now().Sub(began); took > 50*time.Minute {
		t.Errorf("the engine's own lease came back after %s", took)
	}
	a.stop()
	a.end()
	killed(61 * time.Minute)
	s.start("b").writes()
	a.whole()
}

// Where the destination shows no time, the row has to be watched for as long as it is held.
func TestALeaseWithoutTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.more = "timeless = true"
	row := sdk.LeaseRow{Revision: "7", Holder: `{"engine":"other","run":"r","host":"elsewhere","hold":"10m"}`}
	text, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.folder, "lease"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	began := s.clock.Now()
	a := s.start("a")
	a.writes()
	if took := s.clock.Now().Sub(began); took < 10*time.Minute {
		t.Errorf("the lease of a dead engine was taken after %s", took)
	}
	var held *HeldError
	if err := s.start("b").end(); !errors.As(err, &held) || !held.Until.IsZero() || !strings.Contains(held.Error(), "within the last 10m") {
		t.Errorf("the lease of a living engine: %v", err)
	}
}

// A copied data directory is another engine.
func TestACopyIsAnotherEngine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a")
	a.writes()
	id, err := os.ReadFile(filepath.Join(a.o.Dir, identityFile))
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(s.folder, "b", "data")
	if err := os.MkdirAll(copied, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(copied, identityFile), id, 0o600); err != nil {
		t.Fatal(err)
	}
	var held *HeldError
	if err := s.start("b").end(); !errors.As(err, &held) || !held.Copy || !strings.Contains(held.Error(), "moved or copied") {
		t.Errorf("a copy: %v", err)
	}
	a.writes()
}

// While the row cannot be reached nothing is written and all is fetched; when it can and nobody has taken the lease, all of it arrives.
func TestAnEngineThatCannotRenew(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a")
	a.writes()
	s.mark("leaseless", true)
	a.wait("the end of its lease", func() bool { return a.lines.has("could not be renewed in time") })
	n := a.count()
	time.Sleep(s.real(10 * time.Minute))
	if a.count() != n {
		t.Error("it has written without a lease")
	}
	s.mark("leaseless", false)
	a.wait("what was owed", func() bool { // 10 minutes at one in 10 s, and beside them fresh ones
		gap, of := a.missing()
		return of > n+60 && gap == 0
	})
	a.stop()
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	a.whole()
}

// While one engine cannot reach the row another takes it: the first has stopped writing before, and ends when it hears of that.
func TestALeaseThatWasLostMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a")
	a.writes()
	s.mark("leaseless", true)
	a.wait("the end of its lease", func() bool { return a.lines.has("could not be renewed in time") })
	n := a.count()
	row := sdk.LeaseRow{Revision: "999", Changed: s.clock.Now(), Holder: `{"engine":"other","run":"r","host":"elsewhere","hold":"10m"}`}
	text, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.folder, "lease"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mark("leaseless", false)
	var lost *LostError
	if err := a.end(); !errors.As(err, &lost) || lost.Holder != "elsewhere" {
		t.Errorf("it ends with %v", err)
	}
	if a.count() != n {
		t.Errorf("it has written %d lines without a lease", a.count()-n)
	}
}

// A destination that is away at the start does not keep the source from being read; when it comes back, who holds the lease decides.
func TestAStartWithoutTheDestination(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.mark("away", true)
	a := s.start("a")
	a.wait("an outage", func() bool { return a.lines.has("cannot be had or renewed") })
	time.Sleep(s.real(5 * time.Minute))
	if n := a.count(); n != 0 {
		t.Errorf("it has written %d lines", n)
	}
	s.mark("away", false)
	a.wait("what was owed", func() bool { return a.count() > 30 })
	s.mark("away", true)
	b := s.start("b")
	b.wait("an outage", func() bool { return b.lines.has("cannot be had or renewed") })
	s.mark("away", false)
	var held *HeldError
	if err := b.end(); !errors.As(err, &held) {
		t.Errorf("the second one ends with %v", err)
	}
	if n := b.count(); n != 0 {
		t.Errorf("the second one has written %d lines", n)
	}
	a.writes()
	a.whole()
}

// When the process that keeps the lease is frozen, another one goes on.
func TestAFrozenLease(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a", func(o *Options) { o.silence = time.Second })
	a.writes()
	s.mark("freeze", true)
	a.wait("the end of the lease", func() bool { return a.lines.has("could not be renewed in time") })
	a.wait("another process", func() bool { return a.lines.count("the lease is ours") > 1 })
	a.writes()
	a.wait("what was owed", func() bool { n, _ := a.missing(); return n == 0 })
}

// A start that is interrupted while it takes over gives the lease back to the engine that had it.
func TestAnInterruptedTakeover(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a")
	a.writes()
	b := s.start("b", func(o *Options) { o.Takeover = true })
	b.wait("the takeover", func() bool { return b.lines.has("waiting for the other engine") })
	b.stop()
	b.end()
	if n := b.count(); n != 0 {
		t.Errorf("it has written %d lines", n)
	}
	n := a.count()
	over := func() bool {
		select {
		case <-a.ended:
			return true
		default:
			return false
		}
	}
	a.wait("its end, or many lines", func() bool { return over() || a.count() > n+150 }) // 25 minutes: two holds and a half
	if over() {                                                                          // it has heard of it already: then the lease is free
		s.start("c").writes()
	}
}
