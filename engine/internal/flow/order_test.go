package flow

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// ordering is a graph whose sink is ordered, behind one whose entries carry it.
func ordering() []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}, MaxRows: 7, MaxInFlight: 4},
		2: {Address: "object", Kind: Sink, Inputs: []int{1}, MaxRows: 5},
		3: {Address: "log", Kind: Sink, Inputs: []int{1}, After: []int{2}, Ordered: true, MaxRows: 20},
		4: {Address: "talk", Kind: Sink, Inputs: []int{1}, Ordered: true, MaxRows: 20},
	}
}

func conversations(n, keys int) []rec {
	rs := records(n)
	for i := range rs {
		rs[i].key = uint64(1 + i%keys)
	}
	return rs
}

// inOrder fails unless a sink took the records of each key in the order in which they were read, each once.
func inOrder(t *testing.T, w *world, step string, want int) {
	t.Helper()
	last := map[uint64]int{}
	for _, r := range w.done[step] {
		var n int
		fmt.Sscanf(r.id, "m%d", &n)
		if n <= last[r.key] {
			t.Errorf("%s took m%d of key %d after m%d", step, n, r.key, last[r.key])
		}
		last[r.key] = n
	}
	if got := len(w.done[step]); got != want {
		t.Errorf("%s took %d records, want %d", step, got, want)
	}
}

func TestOrderOfKeys(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, ordering(), conversations(200, 1+rng.IntN(12)))
		w.page = 1 + rng.IntN(30)
		w.slow = true
		trouble := 0.2
		w.do = func(w *world, step string, r rec, c Call) answer {
			if rng.Float64() < trouble && (step != "parse" || rng.IntN(4) == 0) {
				switch rng.IntN(5) {
				case 0:
					return down("503")
				case 1:
					return retry(time.Minute, "busy")
				case 2:
					if step != "parse" { // what waits before its key is known comes later
						return retry(0, "busy")
					}
				}
				return retry(time.Second, "busy")
			}
			return ok(r)
		}
		w.start()
		for i := range 100000 {
			if i == 3000 {
				trouble = 0
			}
			if trouble > 0 && rng.IntN(300) == 0 {
				w.start()
			}
			if len(w.ops) > 0 && rng.IntN(20) > 0 {
				// calls end in any order, the rest in theirs
				k := 0
				if w.ops[0].kind == calling || w.ops[0].kind == loading {
					k = rng.IntN(len(w.ops))
					for w.ops[k].kind != calling && w.ops[k].kind != loading {
						k--
					}
				}
				w.finish(k)
				continue
			}
			next := w.m.Next()
			if next.IsZero() && len(w.ops) == 0 {
				break
			}
			if !next.IsZero() {
				w.now = next
			}
			w.event(Tick{})
		}
		for _, step := range []string{"log", "talk"} {
			first(w, step)
			inOrder(t, w, step, 200)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		w.clean()
	}
}

// first leaves of what a sink took the first delivery of each record: a later one is a repetition.
func first(w *world, step string) {
	had := map[string]bool{}
	var list []rec
	for _, r := range w.done[step] {
		if !had[r.id] {
			list = append(list, r)
		}
		had[r.id] = true
	}
	w.done[step] = list
}

// A record that is owed holds back its key, and no other.
func TestAnOwedRecordHoldsBackItsKey(t *testing.T) {
	w := newWorld(t, ordering(), conversations(100, 10))
	waits := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "talk" && r.id == "m13" && waits {
			return answer{Run: Run{Verdict: Retry, Cause: "key version 9", Code: "key"}}
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Hour)
	if live, _ := w.owed("talk"); live != 9 {
		t.Errorf("%d records are owed, want m13 and the 8 after it", live)
	}
	if len(w.done["log"]) != 100 {
		t.Errorf("the log took %d, want 100: another step's line is its own", len(w.done["log"]))
	}
	w.start() // the line is durable
	w.advance(time.Minute)
	waits = false
	w.event(Reconfigured{4})
	w.advance(time.Minute)
	inOrder(t, w, "talk", 100)
	w.clean()
}

// A second time that a step has planned brings a record to those behind it, which may not have had it yet: not before its turn, even where
// an operator has dropped what was owed of it there.
func TestASecondTimeKeepsItsPlaceInLine(t *testing.T) {
	w := newWorld(t, ordering(), conversations(2, 1))
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "parse" && r.id == "m1" && c.Attempt == 0:
			return retry(2*time.Hour, "busy")
		case step == "parse" && r.id == "m2" && c.Attempt == 0:
			return answer{Run: Run{Verdict: Done, Revisit: true, After: time.Hour}, out: r}
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Minute)
	for _, step := range []int{3, 4} {
		w.event(Wanted{Step: step, Drop: true})
	}
	w.start() // its place is durable
	w.advance(3 * time.Hour)
	for _, step := range []string{"log", "talk"} {
		inOrder(t, w, step, 2)
	}
	w.clean()
}

// A page waits because a record of it is replayed, the next page waits for its place behind it, and what is replayed is about a record of
// that one.
func TestAReplayDoesNotWaitForALotBehindOneThatItBlocks(t *testing.T) {
	w := newWorld(t, []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}},
		2: {Address: "raw", Kind: Sink, Inputs: []int{1}, Ordered: true},
		3: {Address: "recalled", Kind: Sink, Inputs: []int{1}, After: []int{2}, About: true},
	}, []rec{{id: "m1", about: "m2", key: 1}})
	w.wants = func(step string, r rec) bool { return step != "recalled" || r.about != "" }
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "parse" && r.id == "m1" && w.now.Equal(epoch) {
			return retry(time.Minute, "busy")
		}
		return ok(r)
	}
	w.start()
	w.slow = true
	w.advance(2 * time.Minute)
	if len(w.ops) != 1 || w.ops[0].kind != loading {
		t.Fatalf("%v is under way, want a load", w.ops)
	}
	load := w.ops[0]
	w.ops, w.slow, w.page = nil, false, 1
	w.source = append(w.source, w.source[0], rec{id: "m2", key: 2})
	w.act([]Action{Grant{Rows: 2}})
	w.drain()
	w.ops = append(w.ops, load)
	w.drain()
	w.advance(time.Hour)
	if w.disk.position != 3 || len(w.done["recalled"]) == 0 {
		t.Errorf("checkpoint %d, recalled took %v; want 3 and m1", w.disk.position, ids(w.done["recalled"]))
	}
	w.clean()
}
