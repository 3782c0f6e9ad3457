package flow

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// asks notes when a sink that is away is called.
func asks(w *world, sink string, a func() answer) *[]time.Time {
	var at []time.Time
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step != sink {
			return ok(r)
		}
		if len(at) == 0 || !at[len(at)-1].Equal(w.now) {
			at = append(at, w.now)
		}
		return a()
	}
	return &at
}

// A service that names a time is left alone until then, and is not asked on the dot.
func TestProbesHeedTheService(t *testing.T) {
	w := newWorld(t, archive(), records(3000))
	w.wants = wantsArchive
	after := 10 * time.Minute
	asked := asks(w, "log", func() answer {
		a := down("503")
		a.After = after
		return a
	})
	w.start()
	w.advance(3 * time.Hour)
	list := *asked
	if len(list) < 10 {
		t.Fatalf("asked %d times in three hours, want some twenty", len(list))
	}
	onTheDot := 0
	for i := 2; i < len(list); i++ { // several calls find out together in the beginning
		gap := list[i].Sub(list[i-1])
		if gap < after {
			t.Fatalf("asked again after %v, the service wants to be left alone for %v", gap, after)
		}
		if gap == after {
			onTheDot++
		}
	}
	if onTheDot > 2 {
		t.Errorf("of %d probes %d came on the dot", len(list), onTheDot)
	}

	after = 0 // from then on it says nothing: the breaker's own times count, five minutes at most
	before := len(*asked)
	w.advance(time.Hour)
	if n := len(*asked) - before; n < 9 {
		t.Errorf("asked %d times in the hour after, want some eleven", n)
	}
}

// Probes of two steps and of two engines spread: what failed together does not come back together.
func TestProbesSpread(t *testing.T) {
	seen := map[time.Time]int{}
	for range 2 {
		for _, sink := range []string{"raw", "log"} {
			w := newWorld(t, archive(), records(10))
			w.cfg.Seed = uint64(len(seen))*7919 + 1
			w.wants = wantsArchive
			asked := asks(w, sink, func() answer { return down("503") })
			w.start()
			w.advance(30 * time.Minute)
			for _, at := range (*asked)[1:] { // after the first, which finds out
				seen[at]++
			}
		}
	}
	for at, n := range seen {
		if n > 1 {
			t.Errorf("%d probes at %v", n, at)
		}
	}
	if len(seen) < 30 {
		t.Errorf("%d probes, want some more", len(seen))
	}
}

// plain is a Content without questions.
type plain struct{}

func (plain) Wants(int, Ref) (bool, string) { return true, "" }
func (plain) NeedsBytes(int, Ref) bool      { return false }
func (plain) About(int, Ref) uint64         { return 0 }
func (plain) Announce(Action)               {}

// backlog is what a sink owes after an outage.
func backlog(rows, parcel int, due func(i int) time.Time) []Holding {
	var list []Holding
	for n := 0; n < rows; n += parcel {
		h := Holding{Step: 1, Parcel: uint64(n/parcel + 1)}
		g := Group{Door: 1, Cause: CauseDown, Code: "503", Since: epoch}
		if due != nil {
			g.Cause, g.Due = "", due(n/parcel)
		}
		for i := range parcel {
			h.IDs = append(h.IDs, hashOf(string(rune(n+i)))+uint64(n+i)<<20)
			g.Rows = append(g.Rows, uint32(i))
		}
		h.Groups = []Group{g}
		list = append(list, h)
	}
	return list
}

// serve plays a shell whose sink takes everything at once, until nothing happens any more. It returns how many rows the sink took.
func serve(m *Machine, now time.Time, acts []Action) (rows int) {
	next := Batch(1)
	queue := slices.Clone(acts)
	for len(queue) > 0 {
		var events []Event
		switch a := queue[0].(type) {
		case Load:
			next++
			events = append(events, Loaded{Lot: a.Lot, At: next, Rows: make([]Row, len(a.Rows))})
		case Call:
			rows += a.Rows
			events = append(events, Answered{Call: a.ID, Runs: []Run{{Count: int32(a.Rows), Verdict: Done}}}, Returned{Call: a.ID})
		case Commit:
			events = append(events, Committed{Lot: a.Lot})
		}
		queue = queue[1:]
		for _, e := range events {
			queue = append(queue, m.Step(now, e)...)
		}
	}
	return rows
}

// BenchmarkBacklog: what a million owed rows cost the machine, in large parcels and in small ones: to load them, to look for what is due,
// to probe in vain, and to deliver them.
func BenchmarkBacklog(b *testing.B) {
	for _, parcel := range []int{500, 10} {
		b.Run(fmt.Sprintf("parcel=%d", parcel), func(b *testing.B) {
			const rows = 1_000_000
			cfg := Config{Seed: 1, Steps: []Step{{Address: "source"}, {Address: "sink", Kind: Sink, Inputs: []int{0}}}}
			owed := backlog(rows, parcel, nil)
			for b.Loop() {
				b.ReportMetric(0, "ns/op")
				per := func(name string, began time.Time, n int) {
					b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(n)/1000, name)
				}
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				began := time.Now()
				m := New(cfg, plain{}, owed, nil, rows, epoch)
				per("load-µs/row", began, rows)
				runtime.GC()
				runtime.ReadMemStats(&after)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/rows, "B/row")

				now, away := epoch, Run{Verdict: Retry, Down: true, Code: "503"}
				acts := slices.Clone(m.Step(now, Available{Step: 1, Up: true}))
				refuse(m, now, acts, away)
				began = time.Now()
				for range 100 {
					now = now.Add(6 * time.Minute)
					refuse(m, now, slices.Clone(m.Step(now, Tick{})), away)
				}
				per("probe-µs", began, 100)
				began = time.Now()
				for range 100 {
					now = now.Add(time.Millisecond)
					m.Step(now, Tick{})
					m.Next()
					m.Busy()
				}
				per("idle-µs", began, 100)
				began = time.Now()
				now = now.Add(6 * time.Minute)
				n := serve(m, now, m.Step(now, Tick{}))
				if n != rows {
					b.Fatalf("%d rows were delivered, want %d", n, rows)
				}
				per("deliver-µs/row", began, rows)
				runtime.KeepAlive(owed)
			}
		})
	}
}

// refuse plays a shell whose sink is away.
func refuse(m *Machine, now time.Time, acts []Action, away Run) {
	next := Batch(1 << 40)
	for queue := acts; len(queue) > 0; queue = queue[1:] {
		switch a := queue[0].(type) {
		case Load:
			next++
			queue = append(queue, m.Step(now, Loaded{Lot: a.Lot, At: next, Rows: make([]Row, len(a.Rows))})...)
		case Call:
			away.Count = int32(a.Rows)
			queue = append(queue, m.Step(now, Answered{Call: a.ID, Runs: []Run{away}})...)
			queue = append(queue, m.Step(now, Returned{Call: a.ID})...)
		case Commit:
			queue = append(queue, m.Step(now, Committed{Lot: a.Lot})...)
		}
	}
}
