package flow

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// retry is an answer that asks for a row again after d.
func retry(d time.Duration, code string) answer {
	return answer{Run: Run{Verdict: Retry, After: d, Code: code}}
}

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

// object is a graph whose sinks take the record itself: what they owe stands at their own door.
func object() []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}},
		2: {Address: "s3", Kind: Sink, Inputs: []int{1}},
		3: {Address: "row", Kind: Sink, Inputs: []int{1}, After: []int{2}},
		4: {Address: "mail", Kind: Sink, Inputs: []int{1}, After: []int{3}},
	}
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

func TestAFileExpiresWhileItsSinkIsAway(t *testing.T) {
	w := newWorld(t, archive(), withFiles(records(10), false))
	w.wants = wantsArchive
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && c.Final:
			r.outcome = "expired"
			return ok(r)
		case step == "media" && c.Attempt > 0:
			return retry(0, "vendor away") // so that nothing can be rescued
		case step == "media":
			return ok(media(r))
		case step == "log" && away:
			return down("refused")
		}
		return ok(r)
	}
	w.start()
	w.advance(119 * time.Hour)
	before := w.calls
	w.advance(10 * time.Hour)
	if n := w.calls - before; n > 400 {
		t.Errorf("%d calls around the deadline of 10 records", n)
	}
	away = false
	w.advance(2 * time.Hour)
	for _, r := range w.done["log"] {
		if r.outcome != "expired" {
			t.Errorf("the log was told %q of %s, want expired", r.outcome, r.id)
		}
	}
	if got := len(w.done["log"]); got != 10 {
		t.Errorf("the log took %d, want 10", got)
	}
	w.clean()
}

func TestASinkThatMissesBytesGetsThemFromTheMaker(t *testing.T) {
	w := newWorld(t, archive(), records(2))
	w.source[0].file, w.source[0].large = true, true // m1 goes to oss and then to the log
	w.wants = wantsArchive
	away := true
	var doors []string
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "oss" && away:
			return down("503")
		case step == "oss" && c.Probe:
			return ok(r) // a lost answer: it is there
		case step == "media":
			if r.id == "m1" && c.Attempt > 0 {
				doors = append(doors, w.cfg.Steps[r.door].Address)
			}
			return ok(media(r))
		case step == "log" && c.Attempt > 0 && !r.bytes:
			return retry(0, CodeNeedBytes)
		}
		return ok(r)
	}
	w.start()
	away = false
	w.advance(time.Hour)
	if !slices.Equal(doors, []string{"media"}) {
		t.Errorf("media made the file again from the doors %v, want media once", doors)
	}
	if last := w.done["log"][len(w.done["log"])-1]; last.id != "m1" || !last.bytes {
		t.Errorf("the log took %+v last, want m1 with bytes", last)
	}
	w.clean()
}

func TestBytesThatNobodyCanBringAreADeadLetter(t *testing.T) {
	w := newWorld(t, object(), records(1))
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "s3" {
			return retry(0, CodeNeedBytes)
		}
		return ok(r)
	}
	w.start()
	w.advance(5 * time.Hour)
	if live, dead := w.owed("s3"); live != 0 || dead != 1 {
		t.Errorf("s3 owes %d and has %d dead letters, want 0 and 1", live, dead)
	}
}

func TestADisabledSinkOfFilesComesToLife(t *testing.T) {
	steps := archive()
	steps[6].FilesOnly, steps[6].Disabled = true, true
	steps[1].Disabled = true // raw: not of files, so nothing is parked
	w := newWorld(t, steps, withFiles(records(10), true))
	w.wants = wantsArchive
	var told []State
	made := 0
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "oss" && c.Probe:
			return retry(0, CodeNeedBytes)
		case step == "media":
			made++
			return ok(media(r))
		case step == "log" && r.id == "m1":
			told = append(told, w.states[r.lot][Ref{Batch(w.step("oss")), r.root}])
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Hour)
	w.start()
	w.event(Wanted{Step: 6})
	w.advance(time.Hour)
	if oss, _ := w.owed("oss"); oss != 10 {
		t.Errorf("oss owes %d while it is disabled, want 10", oss)
	}
	if raw, _ := w.owed("raw"); raw != 0 {
		t.Errorf("raw owes %d while it is disabled, want 0", raw)
	}
	if made != 10 {
		t.Errorf("media made %d files for a sink that nobody has set up, want 10", made)
	}
	w.cfg.Steps[6].Disabled = false
	w.start() // and is killed before the shell could tell that the configuration has changed
	w.advance(time.Hour)
	if want := []State{StateDisabled, StateDelivered}; !slices.Equal(told, want) {
		t.Errorf("the log was told %v of oss, want %v", told, want)
	}
	w.clean()
}

func TestADisabledSinkNobodySetsUpInTime(t *testing.T) {
	steps := archive()
	steps[6].FilesOnly, steps[6].Disabled = true, true
	w := newWorld(t, steps, withFiles(records(10), true))
	w.wants = wantsArchive
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "media" {
			return ok(media(r))
		}
		return ok(r)
	}
	w.start()
	w.advance(121 * time.Hour)
	if got := len(w.done["log"]); got != 10 {
		t.Errorf("the log took %d, want 10", got)
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

func TestAKeptFileIsKeptOnce(t *testing.T) {
	w := newWorld(t, archive(), withFiles(records(1), false))
	w.wants = wantsArchive
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && r.file:
			return ok(media(r))
		case step == "log" && away:
			return retry(0, "locked")
		}
		return ok(r)
	}
	w.start()
	w.advance(100 * time.Hour)
	parcel := func() uint64 {
		for id, p := range w.disk.parcels {
			if p.at[0].kept {
				return id
			}
		}
		return 0
	}
	first, calls := parcel(), w.calls
	w.advance(48 * time.Hour)
	if first == 0 || parcel() != first {
		t.Errorf("the file was kept in parcel %d, then in %d", first, parcel())
	}
	if n := w.calls - calls; n > 60 {
		t.Errorf("%d calls in 48 hours for one record", n)
	}
	away = false
	w.advance(2 * time.Hour)
	if got := w.done["log"]; len(got) != 1 || !got[0].bytes {
		t.Errorf("the log took %+v, want m1 with bytes", got)
	}
	w.clean()
}

func TestAPassWithoutBytesDoesNotReplaceKeptOnes(t *testing.T) {
	w := newWorld(t, archive(), withFiles(records(1), false))
	w.wants = wantsArchive
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && !w.now.Before(r.deadline):
			r.outcome = "gone" // and WeCom has nothing any more
			return ok(r)
		case step == "media":
			return ok(media(r))
		case step == "md5" && !c.Final: // this copy differs: it wants another one until the deadline
			return answer{Run: Run{Verdict: Done, Revisit: true, After: 24 * time.Hour, Due: r.deadline}, out: r}
		case step == "log" && away:
			return down("refused")
		}
		return ok(r)
	}
	w.start()
	w.advance(130 * time.Hour)
	away = false
	w.advance(time.Hour)
	if !slices.ContainsFunc(w.done["log"], func(r rec) bool { return r.bytes }) {
		t.Errorf("the log took %+v, want m1 with the bytes that were kept", w.done["log"])
	}
	w.clean()
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

// A record has two files: one is here, and owed by the log; the other is late, and media has a plan for it. The log's replay passes media for
// the sake of the log alone: the plan stays.
func TestAReplayForASinkLeavesThePlansOnItsWay(t *testing.T) {
	w := newWorld(t, archive(), records(10))
	for i := range w.source {
		w.source[i].file = true
	}
	w.wants = wantsArchive
	away := true
	whole := 0
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && c.For == w.step("log"):
			return ok(media(r))
		case step == "media" && w.now.Before(epoch.Add(2*time.Hour)):
			if c.Attempt > 0 {
				return answer{Run: Run{Verdict: Retry, After: time.Hour, Code: "late"}}
			}
			return answer{Run: Run{Verdict: Done, Revisit: true, After: time.Hour, Due: r.deadline}, out: media(r)}
		case step == "media":
			whole++
			return ok(media(r))
		case step == "log" && away:
			return down("refused")
		}
		return ok(r)
	}
	w.start()
	w.advance(10 * time.Minute)
	away = false
	w.advance(10 * time.Minute)
	live, _ := w.owed("media")
	if got := len(w.done["log"]); got != 10 || live != 10 {
		t.Errorf("the log took %d and media plans %d, want 10 and 10", got, live)
	}
	w.advance(3 * time.Hour)
	if got := len(w.done["log"]); whole != 10 || got != 20 {
		t.Errorf("the late file came for %d records and the log took %d, want 10 and 20", whole, got)
	}
	w.clean()
}

func TestADisabledSinkIsSetUpInTime(t *testing.T) {
	steps := archive()
	steps[6].Disabled, steps[6].FilesOnly = true, true
	w := newWorld(t, steps, records(10))
	for i := range w.source {
		w.source[i].file, w.source[i].large = i < 4, i < 4
	}
	w.wants = wantsArchive
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && c.For < 0 && r.large:
			return ok(r) // nobody would take it
		case step == "media":
			return ok(media(r))
		case step == "oss" && c.Probe:
			return answer{Run: Run{Verdict: Retry, Code: CodeNeedBytes}}
		case step == "oss" && !r.bytes:
			t.Errorf("oss was called for %s without bytes", r.id)
		}
		return ok(r)
	}
	w.start()
	w.advance(2 * time.Hour)
	if live, _ := w.owed("oss"); live != 4 || len(w.done["oss"]) != 0 || len(w.done["log"]) != 10 {
		t.Errorf("disabled: oss is owed %d and took %d, the log took %d; want 4, 0, 10", live, len(w.done["oss"]), len(w.done["log"]))
	}
	w.cfg.Steps[6].Disabled = false
	w.start()
	w.event(Reconfigured{w.step("oss")})
	w.advance(time.Hour)
	if len(w.done["oss"]) != 4 || len(w.done["log"]) != 14 {
		t.Errorf("set up: oss took %d, the log %d; want 4, 14", len(w.done["oss"]), len(w.done["log"]))
	}
	w.clean()
}
