package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/serve"
)

// The test binary is also the plugins, an engine that is killed, and the engine of the crash table.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "run-engine" {
		runUntilKilled(os.Args[2], os.Args[3], os.Args[4])
	}
	if len(os.Args) == 3 && os.Args[1] == host.ServeArg {
		if p, ok := serve.Together(os.Args[2], mortals()); ok {
			serve.Main(p)
		}
	}
	if len(os.Args) == 4 && os.Args[1] == crashArg {
		os.Exit(crashEngine(os.Args[2], os.Args[3]))
	}
	os.Exit(m.Run())
}

// mortals are plugins that die when they are told to.
func mortals() []sdk.Plugin {
	str := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.String} }
	num := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.Number, Required: true} }
	sink := func(name string, args ...sdk.Arg) sdk.Component {
		return sdk.Component{Kind: sdk.KindSink, Type: name, Args: append(args, str("path"), str("dies"))}
	}
	pack, mail, keep, marked := sink("pack"), sink("mail", str("answer")), sink("keep"), sink("marked")
	pack.Holds, pack.NewSink = true, func() sdk.Sink { return &packer{} }
	mail.Effect, mail.NewSink = sdk.Once, func() sdk.Sink { return &mailer{} }
	keep.NewSink = func() sdk.Sink { return &keeper{} }
	marked.NewSink = func() sdk.Sink { return &markedList{} }
	return append(append(leasePlugins(), surveyPlugins()...), []sdk.Plugin{
		{Name: "pack", Components: []sdk.Component{pack}},
		{Name: "mail", Components: []sdk.Component{mail}},
		{Name: "keep", Components: []sdk.Component{keep}},
		{Name: "marked", Components: []sdk.Component{marked}},
		{Name: "odd", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "odd",
			Args: []sdk.Arg{str("path"), num("poison"), str("does")}, NewTransform: func() sdk.Transform { return &odd{} }}}},
		{Name: "mark", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "mark",
			Args: []sdk.Arg{str("path")}, NewTransform: func() sdk.Transform { return &marker{} }}}},
		{Name: "deadly", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "deadly",
			Args: []sdk.Arg{str("path")}, NewTransform: func() sdk.Transform { return &deadly{} }}}},
		{Name: "twins", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "twins", NewTransform: func() sdk.Transform { return &twins{} }}}},
		{Name: "garbler", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "garbler", NewTransform: func() sdk.Transform { return &garbler{} }}}},
		{Name: "big", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "big", Emits: []string{"n/1"},
			Fields: []sdk.Field{{Name: "body.n", Type: sdk.Number}}, NewSource: func() sdk.Source { return &bigger{} }}}},
		{Name: "swell", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "swell", NewTransform: func() sdk.Transform { return &sweller{} }}}},
		{Name: "count", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "count", Emits: []string{"n/1"},
			Args: []sdk.Arg{num("to"), num("page"), str("dies")}, NewSource: func() sdk.Source { return &counter{} }}}},
		{Name: "pass", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "pass",
			Args: []sdk.Arg{str("dies"), num("poison")}, NewTransform: func() sdk.Transform { return &passer{} }}}},
		{Name: "list", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "list",
			Args: []sdk.Arg{str("path"), str("dies")}, NewSink: func() sdk.Sink { return &lister{} }}}},
		{Name: "fall", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "fall", Emits: []string{"n/1"},
			Args: []sdk.Arg{str("path"), str("does")}, NewSource: func() sdk.Source { return &faller{} }}}},
		{Name: "half", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "half_fetch", MakesFiles: true,
			Args: []sdk.Arg{str("path")}, NewTransform: func() sdk.Transform { return &halfFetch{} }}}},
		{Name: "opens", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "opens",
			Args: []sdk.Arg{str("path"), {Name: "files", Type: sdk.Files, PerRecord: true}}, NewSink: func() sdk.Sink { return &opener{} }}}},
		{Name: "ring", Components: []sdk.Component{{Kind: sdk.KindTransform, Type: "ring",
			Args:         []sdk.Arg{str("path"), {Name: "keys", Type: sdk.StringMap, Secret: true}},
			NewTransform: func() sdk.Transform { return &ringer{} }}}},
		crashPlugin(), laterPlugin(),
	}...)
}

// mortal dies once, when it comes to something: the file remembers that it has.
type mortal struct {
	To, Page, Poison int
	Path, Dies       string
}

func (m *mortal) Open(_ context.Context, env *sdk.Env) error { return env.Decode(m) }
func (m *mortal) Close(context.Context) error                { return nil }

// reach dies at two numbers, once at each.
func (m *mortal) reach(n uint64) {
	mark := fmt.Sprint(m.Dies, n)
	if _, err := os.Stat(mark); m.Dies == "" || n != 2000 && n != 5000 || err == nil {
		return
	}
	os.WriteFile(mark, nil, 0o600)
	os.Exit(3)
}

// counter emits the numbers up to To, in pages that may be larger than all credit.
type counter struct{ mortal }

func (c *counter) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	n := 0
	if len(position) == 8 {
		n = int(binary.BigEndian.Uint64(position))
	}
	for n < c.To {
		var p sdk.Page
		for range min(c.Page, c.To-n) {
			n++
			p.Records = append(p.Records, sdk.Record{ID: fmt.Sprint("n", n), Seq: uint64(n), Key: fmt.Sprint(n % 7), Kind: "n/1", Body: []byte(fmt.Sprint(n))})
		}
		p.Position = binary.BigEndian.AppendUint64(nil, uint64(n))
		if err := out.Emit(ctx, p); err != nil {
			return err
		}
		c.reach(uint64(n))
	}
	return nil
}

type passer struct{ mortal }

func (p *passer) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := &call.Rows[i].Record
		if p.reach(r.Seq); r.Seq == uint64(p.Poison) {
			os.Exit(4)
		}
		call.Answer(i, sdk.Emit(*r))
	}
	return nil
}

type lister struct{ mortal }

func (l *lister) Write(_ context.Context, call *sdk.Call) error {
	f, err := os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range call.Rows {
		if _, err := fmt.Fprintln(f, call.Rows[i].ID); err != nil {
			return err
		}
		l.reach(call.Rows[i].Seq)
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}

// mortalRun loads a pipeline of mortals and says how to run it.
func mortalRun(t testing.TB, dir, text string) Options {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "p.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := mortalOptions(dir)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func mortalOptions(dir string) (Options, error) {
	pipe, diags := lang.Load([]string{filepath.Join(dir, "p.hcl")}, lang.Options{Plugins: mortals()})
	if diags.HasErrors() {
		return Options{}, diags[0]
	}
	return Options{Pipeline: pipe, Dir: filepath.Join(dir, "data"), Key: make([]byte, 32), Once: true}, nil
}

// runUntilKilled runs the pipeline of dir as an engine of its own, which is killed when it enters a window for the n-th time.
func runUntilKilled(dir, window, n string) {
	o, err := mortalOptions(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	var left atomic.Int32
	if k, err := strconv.Atoi(n); err == nil {
		left.Store(int32(k))
	}
	o.Failpoint = func(name string) {
		if name == window && left.Add(-1) == 0 {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	if _, err := Run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// killedIn runs an engine until it is killed in a window, and reports whether it was: else it came to its end before.
func killedIn(t *testing.T, dir, window string, n int) bool {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "run-engine", dir, window, strconv.Itoa(n)).CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return false
	case ctx.Err() != nil || !errors.As(err, &exit) || exit.ExitCode() != -1:
		t.Fatalf("%s:%d: %v %s", window, n, err, out)
	}
	return true
}

// finish runs what an engine has left to do, and returns how it stands then.
func finish(t *testing.T, o Options) Summary {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	sum, err := Run(ctx, o)
	if err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v: %+v", err, ctx.Err(), sum)
	}
	return sum
}

// stepOf is the line of a step in a summary.
func stepOf(t *testing.T, sum Summary, address string) StepStatus {
	t.Helper()
	for _, s := range sum.Steps {
		if s.Address == address {
			return s
		}
	}
	t.Fatalf("no step %s in %+v", address, sum)
	return StepStatus{}
}

// listed counts how often each record arrived.
func listed(t *testing.T, path string) map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, id := range strings.Fields(string(text)) {
		seen[id]++
	}
	return seen
}

func TestARunOutlivesItsPlugins(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "mortal" }
source "count" "in" {
  to   = 10000
  page = 5000 # more than the machine grants at once
  dies = %q
}
transform "pass" "on" {
  input  = source.count.in
  dies   = %q
  poison = 4321
}
sink "list" "out" {
  input = transform.pass.on
  path  = %q
  dies  = %q
}
`, dir+"/s", dir+"/t", list, dir+"/l"))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sum, err := Run(ctx, o)
	if err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v: %+v", err, ctx.Err(), sum)
	}
	seen := listed(t, list)
	for n := 1; n <= 10000; n++ {
		if id := fmt.Sprint("n", n); seen[id] == 0 != (n == 4321) {
			t.Errorf("%s arrived %d times", id, seen[id])
		}
	}
	for _, s := range sum.Steps {
		if want := map[string]int{"transform.pass.on": 1}[s.Address]; s.Dead != want || s.Owed != 0 {
			t.Errorf("%s: %d dead letters and %d owed, want %d and 0", s.Address, s.Dead, s.Owed, want)
		}
	}
}

// An engine that is stopped while it writes goes on where its state stands.
func TestAStoppedEngineGoesOn(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "stopped" }
source "count" "in" {
  to   = 4000
  page = 100
}
transform "pass" "on" {
  input  = source.count.in
  poison = 0
}
sink "list" "out" {
  input = transform.pass.on
  path  = %q
}
`, list))
	for life := range 4 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		var left atomic.Int32
		left.Store(int32(3 + 5*life))
		o.Failpoint = func(name string) {
			if name == "commit.after" && life < 3 && left.Add(-1) == 0 {
				cancel()
			}
		}
		_, err := Run(ctx, o)
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		cancel()
	}
	seen := listed(t, list)
	twice := 0
	for n := 1; n <= 4000; n++ {
		switch id := fmt.Sprint("n", n); seen[id] {
		case 0:
			t.Errorf("%s is missing", id)
		case 1:
		default:
			twice++
		}
	}
	if twice > 3*4000/2 {
		t.Errorf("%d records arrived again: the checkpoint does not move", twice)
	}
}
