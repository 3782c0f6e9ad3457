package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/sdk"
)

// logged makes a log that can be read afterwards.
func logged(o *Options) *lockedBuffer {
	b := &lockedBuffer{}
	o.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: b})
	return b
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

const calledOneByOne = "its steps are called one by one"

// The same pipeline with its transforms ahead and as processes of their own: the same file, the same counts, other processes.
func TestAheadIsAsCalled(t *testing.T) {
	text := func(dir, isolate string) string {
		return fmt.Sprintf(`
weir { name = "ahead" }
source "count" "in" {
  to   = 3000
  page = 70
}
transform "mark" "a" {
  input = source.count.in
  path  = %[1]q
  %[2]s
}
transform "pass" "b" {
  input  = transform.mark.a
  poison = 0
  %[2]s
}
transform "pass" "beside" {
  input  = source.count.in
  poison = 0
}
sink "marked" "out" {
  input = transform.pass.b
  path  = %[3]q
}
sink "list" "direct" {
  input = transform.pass.beside
  path  = %[4]q
}
`, dir+"/mark", isolate, dir+"/marked", dir+"/list")
	}
	run := func(isolate string) (Summary, string, []string) {
		dir := t.TempDir()
		for _, n := range []string{"700", "1400"} { // mark is not to end here
			if err := os.WriteFile(dir+"/mark"+n, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o := mortalRun(t, dir, text(dir, isolate))
		log := logged(&o)
		sum := finish(t, o)
		text, err := os.ReadFile(filepath.Join(dir, "marked"))
		if err != nil {
			t.Fatal(err)
		}
		marked := strings.Fields(string(text))
		slices.Sort(marked)
		if n := len(listed(t, dir+"/list")); n != 3000 {
			t.Errorf("isolate %q: %d of 3000 records arrived past the branch", isolate, n)
		}
		return sum, log.String(), marked
	}
	ahead, log, got := run("")
	called, otherLog, want := run("isolate = true")
	if !slices.Equal(got, want) || len(got) != 3000 {
		t.Errorf("%d records arrived, by calls %d", len(got), len(want))
	}
	for _, s := range called.Steps {
		if a := stepOf(t, ahead, s.Address); a.In != s.In || a.Done != s.Done || s.In != 3000 {
			t.Errorf("%s: %d in and %d done ahead, %d and %d called", s.Address, a.In, a.Done, s.In, s.Done)
		}
	}
	const mark = "plugin process runs: process=mark "
	if !strings.Contains(otherLog, strings.Replace(mark, "=mark ", `="mark transform.mark.a" `, 1)) || strings.Contains(log, mark) {
		t.Errorf("processes ahead:\n%s\nby calls:\n%s", log, otherLog)
	}
}

// A process that is ended from outside while it applies a chain loses nothing, and what was ahead of a call is called then.
func TestKilledWhileAhead(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "killed" }
source "count" "in" {
  to   = 10000
  page = 500
  dies = %q
}
transform "pass" "on" {
  input  = source.count.in
  dies   = %q
  poison = 0
}
sink "list" "out" {
  input = transform.pass.on
  path  = %q
}
`, dir+"/s", dir+"/t", list))
	log := logged(&o)
	s := stepOf(t, finish(t, o), "transform.pass.on")
	if s.Dead != 0 || s.Owed != 0 || s.Done < 10000 {
		t.Errorf("%+v", s)
	}
	seen := listed(t, list)
	for n := 1; n <= 10000; n++ {
		if id := fmt.Sprint("n", n); seen[id] == 0 {
			t.Errorf("%s is missing", id)
		}
	}
	if n := strings.Count(log.String(), calledOneByOne); n != 1 {
		t.Errorf("the end of a chain was told %d times:\n%s", n, log)
	}
	if !strings.Contains(log.String(), "plugin process runs: process=pass ") {
		t.Errorf("the transform was never called:\n%s", log)
	}
}

// A transform that ends its process when it is opened takes the source along once.
func TestOpensDeadly(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "deadly" }
source "count" "in" {
  to   = 100
  page = 50
}
transform "deadly" "on" {
  input = source.count.in
  path  = %q
}
sink "list" "direct" {
  input = source.count.in
  path  = %q
}
sink "list" "out" {
  input = transform.deadly.on
  path  = %q
}
`, dir+"/opened", list, list+"2"))
	log := logged(&o)
	if s := stepOf(t, finish(t, o), "transform.deadly.on"); s.Done != 100 {
		t.Errorf("%+v", s)
	}
	if len(listed(t, list)) != 100 || len(listed(t, list+"2")) != 100 {
		t.Error("records are missing")
	}
	if n := strings.Count(log.String(), "plugin process runs: process=count "); n != 1 {
		t.Errorf("the source's process came up %d times, want once, behind one that died:\n%s", n, log)
	}
}

// deadly ends its process at its first three openings.
type deadly struct{ mortal }

func (d *deadly) Open(_ context.Context, env *sdk.Env) error {
	if err := env.Decode(d); err != nil {
		return err
	}
	for n := range 3 {
		if f, err := os.OpenFile(fmt.Sprint(d.Path, n), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.Close()
			os.Exit(5)
		}
	}
	return nil
}

func (d *deadly) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		call.Answer(i, sdk.Emit(call.Rows[i].Record))
	}
	return nil
}

// A transform that breaks the contract is refused as if it had been called, and does not keep its source from being read.
func TestAheadIsRefused(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "refused" }
source "count" "in" {
  to   = 1500
  page = 500 # as much as a call: pages are not called together
}
transform "twins" "on" {
  input = source.count.in
  retry { tries = 1 }
}
sink "list" "direct" {
  input = source.count.in
  path  = %q
}
sink "list" "out" {
  input = transform.twins.on
  path  = %q
}
`, list, list+"2"))
	log := logged(&o)
	if s := stepOf(t, finish(t, o), "transform.twins.on"); s.Done != 1000 || s.Owed != 500 {
		t.Errorf("%+v", s)
	}
	if n := len(listed(t, list)); n != 1500 {
		t.Errorf("%d of 1500 records went past the transform", n)
	}
	if n := len(listed(t, list+"2")); n != 1000 {
		t.Errorf("%d records went through it, want the 1000 of two good pages", n)
	}
	if !strings.Contains(log.String(), "transform.twins.on: broke the protocol: row 32 has two outputs with one id") {
		t.Errorf("the step is not named:\n%s", log)
	}
}

// twins makes two records with one id of number 33.
type twins struct{ mortal }

func (d *twins) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		if r := call.Rows[i].Record; r.Seq == 33 {
			call.Answer(i, sdk.Emit(r, r))
		} else {
			call.Answer(i, sdk.Emit(r))
		}
	}
	return nil
}

// A page that cannot be sent with what a transform makes of it is read without: a record that one step cannot bear holds up no source.
func TestAheadCannotBeSent(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "garbled" }
source "count" "in" {
  to   = 1500
  page = 500 # as much as a call: pages are not called together
}
transform "garbler" "on" {
  input = source.count.in
  retry { tries = 1 }
}
sink "list" "out" {
  input = transform.garbler.on
  path  = %q
}
`, list))
	log := logged(&o)
	if s := stepOf(t, finish(t, o), "transform.garbler.on"); s.Done != 1000 || s.Owed != 500 {
		t.Errorf("%+v", s)
	}
	if n := len(listed(t, list)); n != 1000 {
		t.Errorf("%d records arrived, want the 1000 of two good pages", n)
	}
	if n := strings.Count(log.String(), calledOneByOne); n != 1 {
		t.Errorf("the end of a chain was told %d times:\n%s", n, log)
	}
}

// garbler gives number 33 what no message can hold.
type garbler struct{ mortal }

func (g *garbler) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		if r.Seq == 33 {
			r.SetMeta("\xff", "no name")
		}
		call.Answer(i, sdk.Emit(r))
	}
	return nil
}

// After a while the process is given a chain again.
func TestChainComesBack(t *testing.T) {
	p := &process{apart: time.Now().Add(-time.Second)}
	a, b := &step{}, &step{}
	a.follower = b
	l := &life{ahead: map[*step]uint64{b: 7}}
	if got := p.chainOf(l, a); len(got) != 1 || got[0] != 7 {
		t.Errorf("chain %v", got)
	}
	p.apart = time.Now().Add(time.Minute)
	if got := p.chainOf(l, a); got != nil {
		t.Errorf("chain %v, where steps are called one by one", got)
	}
	if got := p.chainOf(&life{}, a); got != nil {
		t.Errorf("chain %v of a step that is not open", got)
	}
}
