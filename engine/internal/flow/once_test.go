package flow

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// mailing is a graph with a sink whose effect is once.
func mailing(resend bool) []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}},
		2: {Address: "raw", Kind: Sink, Inputs: []int{1}},
		3: {Address: "mail", Kind: Sink, Inputs: []int{1}, Once: true, Resend: resend},
	}
}

// posts holds every call to the mail sink to what it was promised, and counts calls by record.
func posts(w *world) map[string]int {
	sent := map[string]int{}
	do := w.do
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "mail" {
			if k := (Mark{Step: c.Step, ID: r.identity()}); c.Rows != 1 || w.disk.marks[k] == 0 {
				w.t.Errorf("%s was sent in a call of %d rows, with %d marks on disk", r.id, c.Rows, w.disk.marks[k])
			}
			sent[r.id]++
		}
		return do(w, step, r, c)
	}
	return sent
}

func (w *world) unmarked() {
	w.t.Helper()
	if len(w.disk.marks) > 0 || len(w.m.marks) > 0 {
		w.t.Errorf("marks are left: %v on disk, %v in the machine", w.disk.marks, w.m.marks)
	}
}

func TestOnceIsSentFromTheStateAlone(t *testing.T) {
	w := newWorld(t, mailing(false), records(50))
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "mail" && r.id == "m7" && c.Attempt < 3 {
			return retry(0, "busy") // that is known: it was not sent
		}
		return ok(r)
	}
	sent := posts(w)
	w.start()
	w.advance(time.Hour)
	for i := range 50 {
		want := 1
		if i+1 == 7 {
			want = 3
		}
		if id := fmt.Sprintf("m%d", i+1); sent[id] != want {
			t.Errorf("%s was sent %d times, want %d", id, sent[id], want)
		}
	}
	w.clean()
	w.unmarked()
}

// Of a record that was under way when the engine was killed, or its plugin, nobody knows whether it was sent.
func TestOnceUnderWay(t *testing.T) {
	for _, how := range []string{"engine", "plugin", "answer"} {
		for _, resend := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/resend=%v", how, resend), func(t *testing.T) {
				w := newWorld(t, mailing(resend), records(20))
				first := true
				w.do = func(w *world, step string, r rec, c Call) answer {
					if step == "mail" && r.id == "m5" && first {
						first = false
						switch how {
						case "plugin":
							return answer{dies: true}
						case "answer":
							return answer{Run: Run{Verdict: Retry, Unknown: true, Code: "lost"}}
						}
					}
					return ok(r)
				}
				sent := posts(w)
				if how == "engine" {
					w.ready = func(w *world, c Call) bool {
						hangs := w.cfg.Steps[c.Step].Address == "mail" && first && w.rowsOf(c)[0].id == "m5"
						if hangs {
							sent["m5"]++
							first = false
						}
						return !hangs
					}
				}
				w.start()
				w.advance(time.Minute)
				if how == "engine" {
					if len(w.hung) != 1 {
						t.Fatalf("%d calls hang, want 1", len(w.hung))
					}
					w.start()
				}
				w.advance(time.Hour)
				want, wantDead := 1, 1
				if resend {
					want, wantDead = 2, 0
				}
				for i := range 20 {
					id, n := fmt.Sprintf("m%d", i+1), 1
					if id == "m5" {
						n = want
					}
					if sent[id] != n {
						t.Errorf("%s was sent %d times, want %d", id, sent[id], n)
					}
				}
				live, dead := w.owed("mail")
				if live != 0 || dead != wantDead {
					t.Errorf("owed %d, dead %d; want 0, %d", live, dead, wantDead)
				}
				w.unmarked()
				w.idle()
			})
		}
	}
}

// A strike is durable before the try: a record that kills its plugin and the engine with it is found all the same.
func TestStrikesOutliveTheEngine(t *testing.T) {
	w := newWorld(t, short(), records(40))
	calls := 0
	w.do = func(w *world, step string, r rec, c Call) answer {
		if r.id == "m13" {
			return answer{dies: true}
		}
		return ok(r)
	}
	w.ready = func(w *world, c Call) bool { // alone it takes the engine with it
		list := w.rowsOf(c)
		if len(list) == 1 && list[0].id == "m13" {
			calls++
			return false
		}
		return true
	}
	w.start()
	for range 10 {
		w.advance(time.Minute)
		if len(w.hung) == 0 {
			break
		}
		w.start()
	}
	w.advance(time.Minute)
	if calls != strikes {
		t.Errorf("it was called alone %d times, want %d", calls, strikes)
	}
	if live, dead := w.owed("raw"); live != 0 || dead != 1 {
		t.Errorf("owed %d, dead %d; want 0, 1", live, dead)
	}
	took := map[string]bool{}
	for _, r := range w.done["raw"] {
		took[r.id] = true
	}
	if len(took) != 39 || took["m13"] {
		t.Errorf("%d records were delivered, want all 39 others", len(took))
	}
	w.unmarked()
	w.idle()
}

// A page may hold a record twice. The mark of the call that is under way for one of them is no strike against the other.
func TestAMarkUnderWayIsNoStrike(t *testing.T) {
	w := newWorld(t, []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}, MaxRows: 1},
		2: {Address: "raw", Kind: Sink, Inputs: []int{1}},
	}, append(records(1), records(1)...))
	w.disk.marks[Mark{Step: 2, ID: hashOf("m1")}] = strikes - 1
	w.ready = func(w *world, c Call) bool { return w.cfg.Steps[c.Step].Address != "parse" }
	w.start()
	w.slow = true
	for _, c := range w.hung { // the second comes to raw when the first is about to be called there
		for _, e := range w.answer(c) {
			w.event(e)
		}
	}
	w.slow = false
	w.drain()
	if n := len(w.done["raw"]); n != 2 {
		t.Errorf("it was delivered %d times, want 2", n)
	}
	w.clean()
	w.unmarked()
}

// packing is a graph with a sink that packs many records into one object.
func packing() []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}},
		2: {Address: "pack", Kind: Sink, Inputs: []int{1}, Holds: true, HoldRows: 300, MaxRows: 50, MaxInFlight: 1},
		3: {Address: "log", Kind: Sink, Inputs: []int{1}, After: []int{2}},
	}
}

// packs lets a sink hold what it gets, and checks that a flush is about just that.
func packs(w *world, flush func(r rec) answer) (objects *[][]string) {
	objects = &[][]string{}
	var held, flushed []string
	do := w.do
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step != "pack":
			return do(w, step, r, c)
		case !c.Flush:
			held = append(held, r.id)
			return answer{Run: Run{Verdict: Held}}
		}
		if len(held) == 0 || held[0] != r.id {
			w.t.Errorf("flush of %s, but the sink holds %v", r.id, held)
		} else {
			held = held[1:]
		}
		flushed = append(flushed, r.id)
		if len(flushed) == 1 { // all of it or nothing
			for _, x := range w.rowsOf(c) {
				if a := flush(x); a.dies {
					held, flushed = nil, nil
					return a
				}
			}
		}
		a := flush(r)
		if len(flushed) == c.Rows {
			*objects = append(*objects, flushed)
			flushed = nil
		}
		return a
	}
	return objects
}

func TestHeldUntilFlush(t *testing.T) {
	w := newWorld(t, packing(), records(1000))
	w.page = 40
	objects := packs(w, ok)
	w.start()
	if got := len(*objects); got != 3 {
		t.Errorf("%d objects, want 3 of some 300 records", got)
	}
	if w.disk.position >= 1000 || len(w.done["log"]) >= 1000 {
		t.Errorf("checkpoint %d, %d rows in the log: what is held is not delivered", w.disk.position, len(w.done["log"]))
	}
	w.advance(2 * time.Minute)
	var all []string
	for _, o := range *objects {
		all = append(all, o...)
	}
	if len(*objects) != 4 || len(all) != 1000 || w.disk.position != 1000 || len(w.done["log"]) != 1000 {
		t.Errorf("%d records in %d objects, checkpoint %d, %d in the log", len(all), len(*objects), w.disk.position, len(w.done["log"]))
	}
	w.clean()
}

// A source without credit waits for the flush, and the flush does not wait for the source.
func TestFlushWhenNothingMoreCanCome(t *testing.T) {
	for _, limits := range []Limits{{FreshRows: 100}, {Brief: true}} {
		w := newWorld(t, packing(), records(500))
		w.cfg.Limits = limits
		w.page = 10
		objects := packs(w, ok)
		w.start()
		if len(*objects) == 0 || w.disk.position < 400 {
			t.Errorf("limits %+v: %d objects and checkpoint %d at the first instant", limits, len(*objects), w.disk.position)
		}
	}
}

func TestTheSinkDiesWhileItHolds(t *testing.T) {
	w := newWorld(t, packing(), records(200))
	poison := "m77"
	objects := packs(w, func(r rec) answer {
		if r.id == poison {
			return answer{dies: true}
		}
		return ok(r)
	})
	w.start()
	w.advance(time.Hour)
	var all []string
	for _, o := range *objects {
		all = append(all, o...)
	}
	if slices.Contains(all, poison) || len(all) != 199 {
		t.Errorf("%d records were packed, want all but %s", len(all), poison)
	}
	if live, dead := w.owed("pack"); live != 0 || dead != 1 {
		t.Errorf("owed %d, dead %d; want 0, 1", live, dead)
	}
	w.unmarked()
	w.idle()
}

// A mark ends with the entries that lead to its step, when no call of it ended it: here an engine was killed with a record under way, and
// then a probe finds that record at the sink, or somebody drops it.
func TestMarksGoWithTheirEntries(t *testing.T) {
	for _, how := range []string{"probe", "drop"} {
		t.Run(how, func(t *testing.T) {
			w := newWorld(t, []Step{
				0: {Address: "chat", Kind: Source},
				1: {Address: "media", Kind: Transform, Inputs: []int{0}, MakesFiles: true},
				2: {Address: "oss", Kind: Sink, Inputs: []int{1}, Probes: true},
				3: {Address: "md5", Kind: Sink, Inputs: []int{1}, Probes: true},
			}, withFiles(records(1), true))
			away := map[string]bool{"oss": true, "md5": true}
			w.do = func(w *world, step string, r rec, c Call) answer {
				switch {
				case away[step]:
					return down("503")
				case step == "media":
					return ok(media(r))
				}
				return ok(r) // a lost answer: it is there
			}
			w.start()
			id := w.source[0].identity()
			for step := 1; step <= 3; step++ {
				w.disk.marks[Mark{Step: step, ID: id}] = strikes - 1
			}
			w.start()
			for step := 2; step <= 3; step++ {
				if how == "drop" {
					w.event(Wanted{Step: step, Drop: true})
				}
				away[w.cfg.Steps[step].Address] = how == "drop"
				w.advance(time.Hour)
				if step == 2 && (len(w.disk.marks) != 2 || w.disk.marks[Mark{Step: 2, ID: id}] > 0) {
					t.Errorf("marks %v, want those of media, to which md5 leads, and of md5", w.disk.marks)
				}
			}
			w.clean()
			w.unmarked()
		})
	}
}

// That a record may have been sent is known as long as it may be sent again: of a dead letter, too.
func TestADeadLetterKeepsTheMarkOfOnce(t *testing.T) {
	w := newWorld(t, []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "media", Kind: Transform, Inputs: []int{0}, MakesFiles: true},
		2: {Address: "oss", Kind: Sink, Inputs: []int{1}, Once: true},
	}, withFiles(records(1), true))
	sent, gone := 0, false
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "oss":
			sent++
			return answer{Run: Run{Verdict: Done}}
		case gone:
			return answer{Run: Run{Verdict: Reject, Code: "bad"}}
		}
		return ok(media(r))
	}
	w.ready = func(w *world, c Call) bool { return c.Step != 2 }
	w.start()
	w.advance(time.Minute)
	if len(w.hung) != 1 {
		t.Fatalf("%d calls hang, want 1", len(w.hung))
	}
	gone = true // the file, for the next engine
	w.start()
	w.advance(time.Hour)
	if _, dead := w.owed("oss"); dead != 1 || len(w.disk.marks) != 1 {
		t.Errorf("%d dead, marks %v; want 1 and its mark", dead, w.disk.marks)
	}
	gone, w.ready = false, nil
	w.event(Wanted{Step: 2, Dead: true})
	w.advance(time.Hour)
	if f := w.facts[len(w.facts)-1]; sent != 0 || f.Code != CodeUnknown {
		t.Errorf("it was sent %d times again, and its last word is %q, want %s", sent, f.Code, CodeUnknown)
	}
	w.unmarked()
}
