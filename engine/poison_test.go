package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// odd is a transform that cannot bear one record.
type odd struct {
	mortal
	Does string
}

func (p *odd) Open(_ context.Context, env *sdk.Env) error { return env.Decode(p) }

func (p *odd) Apply(ctx context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		if r.Seq == uint64(p.Poison) {
			switch p.Does {
			case "kill":
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			case "exit":
				os.Exit(0)
			case "panic":
				panic("cannot bear it")
			case "hang":
				select {}
			}
		}
		call.Answer(i, sdk.Emit(r))
	}
	return nil
}

// A record among 500 that kills, stops or hangs the plugin is found in seconds and becomes a dead letter; the others are delivered.
func TestPoison(t *testing.T) {
	for _, does := range []string{"kill", "exit", "panic", "hang"} {
		t.Run(does, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			list := filepath.Join(dir, "list")
			o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "poison" }
source "count" "in" {
  to   = 500
  page = 500
}
transform "odd" "on" {
  input  = source.count.in
  poison = 321
  does   = %q
}
sink "list" "out" {
  input = transform.odd.on
  path  = %q
}
`, does, list))
			o.Pipeline.Step("transform.odd.on").Retry.Silence = 500 * time.Millisecond
			log := logged(&o)
			began := time.Now()
			s := stepOf(t, finish(t, o), "transform.odd.on")
			t.Logf("found in %s", time.Since(began).Round(10*time.Millisecond))
			if told := strings.Contains(log.String(), calledOneByOne); told == (does == "panic") { // a panic leaves the process alive
				t.Errorf("the end of a chain was told: %v", told)
			}
			if s.Dead != 1 || s.Owed != 0 {
				t.Errorf("%+v", s)
			}
			seen := listed(t, list)
			for n := 1; n <= 500; n++ {
				if id := fmt.Sprint("n", n); seen[id] == 0 != (n == 321) {
					t.Errorf("%s arrived %d times", id, seen[id])
				}
			}
		})
	}
}

// marker puts its mark on every record, and tells who it is so that it can be killed. It is slow, and ends by itself now and then.
type marker struct{ mortal }

func (m *marker) Open(_ context.Context, env *sdk.Env) error {
	if err := env.Decode(m); err != nil {
		return err
	}
	return os.WriteFile(m.Path+".pid", []byte(strconv.Itoa(os.Getpid())), 0o600)
}

func (m *marker) Apply(ctx context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		r.SetMeta("marked", "yes")
		if i%50 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
		if end := map[uint64]int{700: 0, 1400: 3}; r.Seq == 700 || r.Seq == 1400 {
			if f, err := os.OpenFile(fmt.Sprint(m.Path, r.Seq), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
				f.Close()
				os.Exit(end[r.Seq])
			}
		}
		call.Answer(i, sdk.Emit(r))
	}
	return nil
}

// markedList lists what arrives, and whether it was marked.
type markedList struct{ mortal }

func (l *markedList) Write(_ context.Context, call *sdk.Call) error {
	f, err := os.OpenFile(l.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range call.Rows {
		r := &call.Rows[i]
		if _, err := fmt.Fprintln(f, r.ID+"="+r.Meta["marked"]); err != nil {
			return err
		}
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}

// No record passes a transform by because that is dead, has exited with or without an error, or is being started again.
func TestFailClosed(t *testing.T) {
	dir := t.TempDir()
	list, mark := filepath.Join(dir, "list"), filepath.Join(dir, "mark")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "closed" }
source "count" "in" {
  to   = 10000
  page = 500
}
transform "mark" "on" {
  input = source.count.in
  path  = %q
}
sink "marked" "out" {
  input = transform.mark.on
  path  = %q
}
`, mark, list))
	ctx, stop := context.WithCancel(t.Context())
	kills := make(chan int)
	go func() {
		n, last := 0, 0
		rng := rand.New(rand.NewPCG(1, 2))
		for ctx.Err() == nil && n < 25 {
			time.Sleep(time.Duration(20+rng.IntN(100)) * time.Millisecond)
			text, _ := os.ReadFile(mark + ".pid")
			if pid, err := strconv.Atoi(string(text)); err == nil && pid != last && syscall.Kill(pid, syscall.SIGKILL) == nil {
				n, last = n+1, pid
			}
		}
		kills <- n
	}()
	s := stepOf(t, finish(t, o), "transform.mark.on")
	stop()
	n := <-kills
	seen := listed(t, list)
	arrived := map[string]bool{}
	for line := range seen {
		id, marked, _ := strings.Cut(line, "=")
		if arrived[id] = true; marked != "yes" {
			t.Errorf("%s arrived without the transform's mark", id)
		}
	}
	t.Logf("%d kills, %d dead letters", n, s.Dead)
	if n < 3 {
		t.Errorf("only %d kills", n)
	}
	if len(arrived)+s.Dead != 10000 || s.Owed != 0 || s.Dead > n {
		t.Errorf("%d arrived, %d dead letters, %d owed", len(arrived), s.Dead, s.Owed)
	}
}

// keeper lists what arrives, puts some records off once, and dies at others.
type keeper struct{ mortal }

func (k *keeper) Write(_ context.Context, call *sdk.Call) error {
	f, err := os.OpenFile(k.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range call.Rows {
		r := &call.Rows[i]
		once := func(what string) bool {
			g, err := os.OpenFile(fmt.Sprint(k.Path, what, r.Seq), os.O_CREATE|os.O_EXCL, 0o600)
			if err == nil {
				g.Close()
			}
			return err == nil
		}
		switch {
		case r.Seq%97 == 0 && once("later"):
			call.Answer(i, sdk.Retry(20*time.Millisecond, "LATER", nil))
			continue
		case r.Seq%211 == 0 && once("due"):
			call.Answer(i, sdk.Retry(time.Minute, "MUCH_LATER", nil)) // beyond the in-line retries: owed
			continue
		case r.Seq == 300 && once("dies"):
			os.Exit(3)
		}
		if _, err := fmt.Fprintln(f, r.ID); err != nil {
			return err
		}
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}

// With order = "key" no record overtakes an earlier one of its key, whatever happens to that.
func TestOrderByKey(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "ordered" }
source "count" "in" {
  to   = 700
  page = 100
}
sink "keep" "out" {
  input = source.count.in
  path  = %q
  order = "key"
}
`, list))
	now := time.Now()
	o.Clock, o.Until = sdk.NewClock(now, now, 300), now.Add(10*time.Minute)
	s := stepOf(t, finish(t, o), "sink.keep.out")
	if s.Dead != 0 || s.Owed != 0 || s.Order != "key" {
		t.Errorf("%+v", s)
	}
	text, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	last, seen := map[int]int{}, map[int]bool{}
	for _, id := range strings.Fields(string(text)) {
		n, err := strconv.Atoi(strings.TrimPrefix(id, "n"))
		if err != nil {
			t.Fatal(err)
		}
		if !seen[n] && n < last[n%7] {
			t.Errorf("n%d came after n%d", n, last[n%7])
		}
		seen[n] = true
		last[n%7] = max(last[n%7], n)
	}
	if len(seen) != 700 {
		t.Errorf("%d of 700 records arrived", len(seen))
	}
}
