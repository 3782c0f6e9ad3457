package flow

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// withFiles gives every record a file.
func withFiles(rs []rec, large bool) []rec {
	for i := range rs {
		rs[i].file, rs[i].large = true, large
	}
	return rs
}

func TestAnEntryThatFallsDueDuringAnOutageIsNotForgotten(t *testing.T) {
	w := newWorld(t, archive(), records(2))
	w.wants = wantsArchive
	away := false
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "log" && away:
			return down("refused")
		case step == "log" && r.id == "m1" && w.now.Before(epoch.Add(time.Minute)):
			return retry(2*time.Minute, "locked")
		}
		return ok(r)
	}
	w.start()
	away = true
	w.source = append(w.source, record(3))
	w.read = len(w.source) - 1
	w.act([]Action{Grant{Rows: 1}})
	w.drain()
	w.advance(30 * time.Minute) // m1 falls due while the breaker that m3 has opened is open
	away = false
	w.advance(30 * time.Minute)
	if got := len(w.done["log"]); got != 3 {
		t.Errorf("the log took %v, want three records", ids(w.done["log"]))
	}
	w.clean()
}

func TestStepsBehindASinkRunWhenItHasDelivered(t *testing.T) {
	for _, pass := range []bool{false, true} {
		t.Run(fmt.Sprint("pass=", pass), func(t *testing.T) {
			w := newWorld(t, object(), records(20))
			w.cfg.Steps[2].OnOwedPass = pass
			away := true
			var order []string
			w.do = func(w *world, step string, r rec, c Call) answer {
				if step == "s3" && away {
					return down("503")
				}
				if r.id == "m7" && step != "parse" {
					order = append(order, step)
				}
				return ok(r)
			}
			w.start()
			w.advance(time.Minute)
			var want []string
			if pass {
				want = []string{"row", "mail"}
			}
			if !slices.Equal(order, want) {
				t.Errorf("while s3 is away m7 went to %v, want %v", order, want)
			}
			w.start() // killed
			away = false
			w.advance(time.Hour)
			if want = append(want, "s3", "row", "mail"); !slices.Equal(order, want) {
				t.Errorf("m7 went to %v, want %v", order, want)
			}
			w.clean()
		})
	}
}

func TestARecordWaitsForAnotherThatIsCarriedByASinkBeforeIt(t *testing.T) {
	steps := append(object(), Step{Address: "recalled", Kind: Sink, Inputs: []int{1}, After: []int{3}, About: true})
	w := newWorld(t, steps, records(5))
	w.source[4].about = "m2"
	w.wants = func(step string, r rec) bool { return step != "recalled" || r.about != "" }
	away := true
	var order []string
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "s3" && away {
			return down("503")
		}
		if step == "row" && r.id == "m2" || step == "recalled" {
			order = append(order, step)
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Minute)
	away = false
	w.advance(time.Hour)
	if want := []string{"row", "recalled"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	w.clean()
}

func TestARecallGoesOnWhenItsOriginalIsDead(t *testing.T) {
	w := newWorld(t, archive(), records(10))
	w.source[7].about = "m3"
	w.wants = wantsArchive
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "log" && r.id == "m3" && c.Attempt == 0:
			return retry(time.Hour, "locked")
		case step == "log" && r.id == "m3":
			return answer{Run: Run{Verdict: Reject, Code: "bad"}}
		}
		return ok(r)
	}
	w.start()
	w.advance(2 * time.Hour)
	if live, _ := w.owed("recalled"); live != 0 || len(w.done["recalled"]) != 1 {
		t.Errorf("recalled owes %d and took %d, want 0 and 1", live, len(w.done["recalled"]))
	}
}

func TestAWaitForARecordWhoseReplayIsBeingLoaded(t *testing.T) {
	w := newWorld(t, archive(), records(1))
	w.wants = wantsArchive
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "media" && c.Attempt == 0 && r.id == "m1" {
			return answer{Run: Run{Verdict: Done, Revisit: true, After: time.Minute}, out: r}
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
	w.ops, w.slow = nil, false
	w.source = append(w.source, rec{id: "m2", about: "m1"})
	w.act([]Action{Grant{Rows: 1}})
	w.drain()
	w.ops = append(w.ops, load)
	w.drain()
	if got := ids(w.done["recalled"]); !slices.Equal(got, []string{"m2"}) {
		t.Errorf("recalled took %v, want m2", got)
	}
	w.clean()
}

func TestTroubleAtTheDoorWaitsForItsTime(t *testing.T) {
	w := newWorld(t, archive(), withFiles(records(10), true))
	w.wants = wantsArchive
	away, late := true, false
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "oss" && away:
			return down("503")
		case step == "oss" && c.Probe:
			return retry(0, CodeNeedBytes)
		case step == "media" && late:
			return retry(15*time.Minute, "late")
		case step == "media":
			return ok(media(r))
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Minute)
	away, late = false, true
	before := w.calls
	w.advance(2 * time.Hour)
	if n := w.calls - before; n > 40 {
		t.Errorf("%d calls in two hours for a file that comes late", n)
	}
	late = false
	w.advance(2 * time.Hour)
	if got := len(w.done["oss"]); got != 10 {
		t.Errorf("oss took %d, want 10", got)
	}
	w.clean()
}

func TestWhatADisabledStepOwesStaysOwed(t *testing.T) {
	w := newWorld(t, archive(), records(5))
	w.wants = wantsArchive
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "raw" {
			return down("503")
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Minute)
	w.cfg.Steps[1].Disabled = true
	w.start()
	w.advance(time.Hour)
	if live, _ := w.owed("raw"); live != 5 {
		t.Errorf("raw owes %d, want 5", live)
	}
}

func TestAnOrphanIsOwedUntilItsDeadline(t *testing.T) {
	w := newWorld(t, archive(), records(3))
	w.source[2].about = "m1"
	w.wants = wantsArchive
	final := 0
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "log" && r.id == "m1" && c.Attempt == 0:
			return retry(time.Hour, "locked")
		case step == "log" && r.id == "m1":
			return answer{Run: Run{Verdict: Passed}}
		case step == "recalled" && c.Final:
			final++
			return answer{Run: Run{Verdict: Passed, Code: CodeOrphan}}
		case step == "recalled":
			return retry(time.Hour, CodeOrphan)
		}
		return ok(r)
	}
	w.start()
	w.advance(122 * time.Hour)
	if final != 1 {
		t.Errorf("the orphan was asked %d times for good, want 1", final)
	}
	w.clean()
}

func TestAKillerDoesNotTakeOthersWithIt(t *testing.T) {
	w := newWorld(t, archive(), records(200))
	for _, step := range []string{"raw", "log", "recalled"} {
		w.cfg.Steps[w.step(step)].Process = 1
	}
	w.wants = wantsArchive
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "log" && r.id == "m17" {
			return answer{dies: true}
		}
		return ok(r)
	}
	w.slow = true
	w.start()
	for range 10000 {
		if len(w.ops) == 0 {
			break
		}
		// Calls of one process end together when it dies.
		o := w.ops[0]
		if o.kind != calling || w.cfg.Steps[o.call.Step].Process == 0 {
			w.finish(0)
			continue
		}
		evs := o.end()
		died := evs[1].(Returned).Failure == Died
		w.ops = w.ops[1:]
		if !died {
			w.event(evs[0])
			w.event(evs[1])
			continue
		}
		var lost []Call
		w.ops = slices.DeleteFunc(w.ops, func(x op) bool {
			mate := x.kind == calling && w.cfg.Steps[x.call.Step].Process == 1
			if mate {
				lost = append(lost, x.call)
			}
			return mate
		})
		for _, step := range []string{"raw", "log", "recalled"} {
			w.event(Available{w.step(step), false})
		}
		w.event(evs[0])
		w.event(evs[1])
		for _, c := range lost {
			w.event(Returned{Call: c.ID, Failure: Died})
		}
		for _, step := range []string{"raw", "log", "recalled"} {
			w.event(Available{w.step(step), true})
		}
	}
	for step, want := range map[string]int{"raw": 0, "log": 1, "recalled": 0} {
		if _, dead := w.owed(step); dead != want {
			t.Errorf("%s has %d dead letters, want %d", step, dead, want)
		}
	}
	if raw, log := len(w.done["raw"]), len(w.done["log"]); raw < 200 || log != 199 {
		t.Errorf("raw %d, log %d; want 200, 199", raw, log)
	}
	w.idle()
}

func TestABreakerProbesWhileOtherRowsWaitForAnotherSink(t *testing.T) {
	w := newWorld(t, archive(), withFiles(records(4), true))
	w.wants = func(step string, r rec) bool { return wantsArchive(step, r) && !(step == "oss" && r.id == "m1") }
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "log" && away:
			return down("refused")
		case step == "media":
			return ok(media(r))
		}
		return ok(r)
	}
	w.page = 1
	w.ready = func(w *world, c Call) bool { // oss hangs from the second record on
		return w.cfg.Steps[c.Step].Address != "oss" || w.calls < 6
	}
	w.start()
	away = false
	w.advance(10 * time.Minute)
	if !slices.Contains(ids(w.done["log"]), "m1") {
		t.Errorf("ten minutes after the log is back it took %v, want m1 among them", ids(w.done["log"]))
	}
}

func TestAnOperatorsWordIsDurable(t *testing.T) {
	for _, id := range []uint64{0, hashOf("m3")} {
		w := newWorld(t, archive(), records(5))
		w.wants = wantsArchive
		bad := true
		w.do = func(w *world, step string, r rec, c Call) answer {
			if step == "log" && bad {
				return answer{Run: Run{Verdict: Reject, Code: "bad"}}
			}
			return ok(r)
		}
		w.start()
		if _, dead := w.owed("log"); dead != 5 {
			t.Fatalf("%d dead letters, want 5", dead)
		}
		bad = false
		w.slow = true
		w.event(Wanted{Step: w.step("log"), Dead: true, ID: id})
		i := slices.IndexFunc(w.ops, func(o op) bool { return o.kind == writing })
		if i < 0 {
			t.Fatal("nothing is written")
		}
		w.finish(i)
		w.slow = false
		w.start() // killed with nothing but the word on disk
		w.advance(time.Minute)
		want := 5
		if id != 0 {
			want = 1
		}
		if got := len(w.done["log"]); got != want {
			t.Errorf("the log took %d, want %d", got, want)
		}
		w.idle()
		w.event(Wanted{Step: w.step("log"), Dead: true, Drop: true})
		w.clean()
	}
}
