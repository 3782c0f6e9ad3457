package flow

import (
	"slices"
	"testing"
	"time"
)

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

// An operator wants a dead letter of raw again when the file has expired, and the log's copy is kept. The entry of raw would carry the log,
// but it has no bytes.
func TestAnEntryWithBytesWaitsForTheSinkThatCarriesItsStep(t *testing.T) {
	w := newWorld(t, []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "media", Kind: Transform, Inputs: []int{0}, MakesFiles: true},
		2: {Address: "raw", Kind: Sink, Inputs: []int{1}},
		3: {Address: "log", Kind: Sink, Inputs: []int{1}, After: []int{2}},
	}, withFiles(records(1), false))
	w.now = epoch.Add(110 * time.Hour) // the rescue is due
	bad, away := true, true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && !w.now.Before(r.deadline):
			r.outcome = "expired"
			return ok(r)
		case step == "media":
			return ok(media(r))
		case step == "raw" && bad:
			return answer{Run: Run{Verdict: Reject, Code: "bad"}}
		case step == "raw" && away:
			return retry(6*time.Hour, "busy")
		case step == "log" && away:
			return down("refused")
		}
		return ok(r)
	}
	w.start()
	w.advance(20 * time.Hour)
	bad = false
	w.event(Wanted{Step: 2, Dead: true})
	away = false // raw waits for its time, the log is tried before
	w.advance(time.Hour)
	if live, _ := w.owed("log"); live != 1 {
		t.Errorf("the log is owed %d, want the one whose bytes are kept", live)
	}
	w.advance(12 * time.Hour)
	if !slices.ContainsFunc(w.done["log"], func(r rec) bool { return r.bytes }) {
		t.Errorf("the log took %+v, want m1 with the bytes that were kept", w.done["log"])
	}
	w.clean()
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
