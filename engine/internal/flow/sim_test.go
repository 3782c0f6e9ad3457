package flow

import (
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds  = flag.Int("seeds", 1000, "how many random worlds TestRandomWorlds lives through")
	budget = flag.Duration("for", 0, "… or for how long, instead")
	from   = flag.Uint64("from", 1, "the seed of its first world")
	seed   = flag.Uint64("seed", 0, "live through this random world alone, and tell it")
)

// TestRandomWorlds lets machines live through weeks of trouble: steps that retry, refuse, reject, wait for a cause, plan a second time or
// are away; plugins that die in the middle of a call; records that kill them; sources that send records twice; engines that are killed
// with anything under way, before, in and after each write; disks that fail, clocks that jump. Then everything is healthy again, and every
// record must be where its fate says. What a world is made of: simgraph_test.go (steps and fates), simsources_test.go, simsteps_test.go,
// simchaos_test.go (what goes wrong, and when). The laws are in simlaws_test.go; each failure begins with the name of the one that is broken.
func TestRandomWorlds(t *testing.T) {
	if *seed != 0 {
		for _, broken := range judge(t, *seed, true).broken {
			t.Error(broken)
		}
		return
	}
	start := time.Now()
	var next atomic.Uint64
	var stop atomic.Bool
	next.Store(*from)
	var mu sync.Mutex
	var sum rare
	var failed []verdict
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			var mine rare
			for !stop.Load() {
				n := next.Add(1) - 1
				if *budget > 0 && time.Since(start) >= *budget || *budget == 0 && n >= *from+uint64(*seeds) {
					break
				}
				v := judge(t, n, false)
				mine.add(&v.rare)
				if len(v.broken) > 0 {
					mu.Lock()
					failed = append(failed, v)
					mu.Unlock()
					stop.Store(true) // the others end what they have begun
				}
			}
			mu.Lock()
			sum.add(&mine)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.SortFunc(failed, func(a, b verdict) int { return int(a.seed) - int(b.seed) })
	for _, v := range failed {
		for _, broken := range v.broken[:min(len(v.broken), 5)] {
			t.Error(broken)
		}
		t.Errorf("this world comes again, and is told, with: go test ./engine/internal/flow -run TestRandomWorlds -seed %d", v.seed)
	}
	sum.print(t.Output())
	took := time.Since(start)
	fmt.Fprintf(t.Output(), "%v for %d worlds: %v each and core\n", took.Round(time.Millisecond), sum[nWorlds],
		(took * time.Duration(runtime.GOMAXPROCS(0)) / time.Duration(max(sum[nWorlds], 1))).Round(time.Microsecond))
	if sum[nWorlds] >= 1000 && !t.Failed() {
		for i, n := range sum {
			if n == 0 {
				t.Errorf("every rare state is reached: in %d worlds it never came to: %s", sum[nWorlds], rareNames[i])
			}
		}
	}
}

// TestAWorldComesAgain holds the machine to its purity: the same events bring the same actions.
func TestAWorldComesAgain(t *testing.T) {
	for n := range uint64(20) {
		_, a := simulate(t, n+1, false, true)
		_, b := simulate(t, n+1, false, true)
		if a != b {
			t.Fatalf("the same again: world %d took another way the second time", n+1)
		}
	}
}

// verdict is what came of a world.
type verdict struct {
	seed   uint64
	rare   rare
	broken []string
}

// judge lives through a world. Each has a court of its own, so that many can be lived through at once.
func judge(t testing.TB, n uint64, tell bool) (v verdict) {
	c := &court{TB: t}
	v.seed = n
	defer func() {
		if p := recover(); p != nil && p != any(c) {
			c.Errorf("the machine does not panic: %v\n%s", p, debug.Stack())
		}
		v.broken = c.broken
	}()
	v.rare, _ = simulate(c, n, tell, false)
	return v
}

// court collects what is broken in one world.
type court struct {
	testing.TB
	broken []string
}

func (c *court) Helper()      {}
func (c *court) Failed() bool { return len(c.broken) > 0 }

func (c *court) Errorf(format string, args ...any) {
	c.broken = append(c.broken, fmt.Sprintf(format, args...))
}

func (c *court) Fatalf(format string, args ...any) {
	c.Errorf(format, args...)
	panic(c)
}
