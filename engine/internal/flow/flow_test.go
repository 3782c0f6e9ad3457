package flow

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func wantsArchive(step string, r rec) bool {
	switch step {
	case "oss":
		return r.file && r.large
	case "recalled":
		return r.about != ""
	}
	return true
}

func TestEverythingIsDelivered(t *testing.T) {
	w := newWorld(t, archive(), records(2345))
	w.wants = wantsArchive
	w.start()
	w.advance(time.Minute)
	for step, n := range map[string]int{"raw": 2345, "log": 2345, "oss": 0, "recalled": 0} {
		if got := len(w.done[step]); got != n {
			t.Errorf("%s took %d records, want %d", step, got, n)
		}
	}
	if w.disk.position != 2345 {
		t.Errorf("checkpoint %d, want 2345", w.disk.position)
	}
	w.clean()
}

func TestSinkDownAnotherPassesOnEngineKilledSinkBackAfterThreeDays(t *testing.T) {
	w := newWorld(t, archive(), records(1000))
	for i := range w.source {
		w.source[i].file, w.source[i].large = i%10 == 0, i%20 == 0
	}
	w.wants = wantsArchive
	away := true
	statuses := map[string][]State{} // what the log said of oss, by record
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media":
			return ok(media(r))
		case step == "oss" && away:
			return down("503")
		case step == "oss" && c.Probe:
			return answer{Run: Run{Verdict: Retry, Code: "need_bytes"}}
		case step == "oss" && !r.bytes:
			t.Errorf("oss was called for %s without bytes", r.id)
		case step == "log" && r.file && r.large:
			s := StateDelivered
			if away {
				s = StateOwed
			}
			statuses[r.id] = append(statuses[r.id], s)
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Hour)
	if got := len(w.done["log"]); got != 1000 {
		t.Errorf("with oss away the log took %d records, want 1000", got)
	}
	if live, _ := w.owed("oss"); live != 50 {
		t.Errorf("oss owes %d, want 50", live)
	}
	if w.disk.position != 1000 {
		t.Errorf("checkpoint %d, want 1000: an outage must not stop fetching", w.disk.position)
	}
	w.now = w.now.Add(time.Minute)
	w.start() // killed
	w.advance(71 * time.Hour)
	away = false
	w.advance(time.Hour)
	if got := len(w.done["oss"]); got != 50 {
		t.Errorf("oss took %d files, want 50", got)
	}
	for id, s := range statuses {
		if !slices.Equal(s, []State{StateOwed, StateDelivered}) {
			t.Errorf("the log was told of %s: %v", id, s)
		}
	}
	if len(statuses) != 50 || len(w.done["log"]) != 1050 || len(w.done["raw"]) != 1000 {
		t.Errorf("%d statuses, log %d, raw %d; want 50, 1050, 1000", len(statuses), len(w.done["log"]), len(w.done["raw"]))
	}
	if len(w.breakers) < 2 || !w.breakers[0].Open {
		t.Errorf("breaker: %v", w.breakers)
	}
	w.clean()
}

func TestUnknownKeyAddedAfterTwoHours(t *testing.T) {
	w := newWorld(t, archive(), records(600))
	w.wants = wantsArchive
	known := false
	w.do = func(w *world, step string, r rec, c Call) answer {
		if n := hashOf(r.id) % 3; step == "decrypt" && n == 0 && !known {
			return answer{Run: Run{Verdict: Retry, Cause: "key version 9", Code: "KEY_VERSION_UNKNOWN"}}
		}
		return ok(r)
	}
	missing := 0
	for _, r := range w.source {
		if hashOf(r.id)%3 == 0 {
			missing++
		}
	}
	w.start()
	w.advance(2 * time.Hour)
	if got := len(w.done["log"]); got != 600-missing {
		t.Errorf("the log took %d, want %d: nothing else may be blocked", got, 600-missing)
	}
	if len(w.facts) != missing || w.facts[0].Cause != "key version 9" {
		t.Errorf("%d facts raised, want %d", len(w.facts), missing)
	}
	before := w.calls
	w.advance(time.Hour)
	if w.calls != before {
		t.Errorf("%d calls while waiting for a cause", w.calls-before)
	}
	known = true
	w.event(Reconfigured{w.step("decrypt")})
	w.advance(time.Minute)
	if got := len(w.done["log"]); got != 600 {
		t.Errorf("with the key the log has %d, want 600", got)
	}
	recovered := 0
	for _, f := range w.facts {
		if f.Recovered {
			recovered++
		}
	}
	if recovered != missing || len(w.done["raw"]) != 600 {
		t.Errorf("%d recovered, raw %d; want %d, 600: an owed entry is never a rerun from the source", recovered, len(w.done["raw"]), missing)
	}
	w.clean()
}

func TestMediaLateThenMD5DiffersThenMatches(t *testing.T) {
	w := newWorld(t, archive(), records(20))
	for i := range w.source {
		w.source[i].file = i%2 == 0
	}
	w.wants = wantsArchive
	var told []string
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch step {
		case "media":
			if !r.file {
				return ok(r)
			}
			if w.now.Before(epoch.Add(40 * time.Minute)) {
				if c.Attempt > 0 {
					return answer{Run: Run{Verdict: Retry, After: 15 * time.Minute, Code: "late"}}
				}
				r.outcome = "waiting"
				return answer{Run: Run{Verdict: Done, Revisit: true, After: time.Minute, Due: r.deadline}, out: r}
			}
			return ok(media(r))
		case "md5":
			if r.bytes && r.copies < 2 {
				r.outcome = "mismatched"
				return answer{Run: Run{Verdict: Done, Revisit: true, After: 10 * time.Minute, Due: r.deadline}, out: r}
			}
		case "log":
			if r.id == "m1" {
				told = append(told, r.outcome)
			}
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Second)
	if got := len(w.done["log"]); got != 20 {
		t.Errorf("the log took %d at once, want 20: rows do not wait for files", got)
	}
	w.advance(3 * time.Hour)
	if want := []string{"waiting", "mismatched", ""}; !slices.Equal(told, want) {
		t.Errorf("the log was told %q, want %q", told, want)
	}
	if got := len(w.done["raw"]); got != 20 {
		t.Errorf("raw took %d, want 20", got)
	}
	w.clean()
}

func TestSinkAway121HoursWithSmallFiles(t *testing.T) {
	w := newWorld(t, archive(), records(300))
	for i := range w.source {
		w.source[i].file = i%3 == 0
	}
	w.wants = wantsArchive
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && !w.now.Before(epoch.Add(120*time.Hour)):
			if r.file {
				t.Errorf("media was asked for %s after WeCom forgot it", r.id)
				r.outcome = "expired"
			}
			return ok(r)
		case step == "media":
			return ok(media(r))
		case (step == "log" || step == "raw") && away:
			return down("refused")
		case step == "log" && r.file && !r.bytes && !r.kept:
			t.Errorf("the log got %s without its file", r.id)
		}
		return ok(r)
	}
	w.start()
	w.advance(95 * time.Hour)
	fetched := 0
	for _, s := range w.disk.parcels {
		for _, r := range s.at {
			if r.bytes {
				fetched++
			}
		}
	}
	if fetched != 0 {
		t.Errorf("%d files are kept 25 h before the deadline, want 0", fetched)
	}
	w.advance(2 * time.Hour)
	kept := 0
	for _, s := range w.disk.parcels {
		for _, r := range s.at {
			if r.kept && r.bytes {
				kept++
			}
		}
	}
	if kept != 100 {
		t.Errorf("%d files are kept 23 h before the deadline, want 100", kept)
	}
	w.start() // killed meanwhile
	w.advance(24 * time.Hour)
	away = false
	w.advance(time.Hour)
	files := 0
	for _, r := range w.done["log"] {
		if r.file && r.kept {
			files++
		}
	}
	if len(w.done["log"]) != 300 || files != 100 || len(w.done["raw"]) != 300 {
		t.Errorf("log %d with %d kept files, raw %d; want 300, 100, 300", len(w.done["log"]), files, len(w.done["raw"]))
	}
	w.clean()
}

// A run with an end stops: what falls due later stays owed, though the service is still away.
func TestNothingStartsAfterTheEnd(t *testing.T) {
	w := newWorld(t, archive(), records(300))
	w.wants = wantsArchive
	w.cfg.Limits.Until = epoch.Add(5 * time.Hour)
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "log" || step == "raw" {
			return down("refused")
		}
		return ok(media(r))
	}
	w.start()
	w.advance(5 * time.Hour)
	calls := w.calls
	w.advance(time.Hour)
	if live, _ := w.owed("log"); w.calls != calls || w.m.Busy() || live != 300 {
		t.Errorf("after the end: %d calls more, busy %t, %d owed; want 0, false, 300", w.calls-calls, w.m.Busy(), live)
	}
}

func TestRecallWhoseOriginalIsStillOwed(t *testing.T) {
	w := newWorld(t, archive(), records(10))
	w.source[7].about = "m3"
	w.source[8].about = "m999" // never archived
	w.wants = wantsArchive
	away := true
	var order []string
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "log" && away && r.id == "m3":
			return answer{Run: Run{Verdict: Retry, After: time.Hour, Code: "GAIA_DA02"}}
		case step == "recalled" && r.about == "m999" && !c.Final:
			return answer{Run: Run{Verdict: Retry, After: time.Hour, Code: CodeOrphan}}
		case step == "recalled" && r.about == "m999":
			return answer{Run: Run{Verdict: Passed, Code: CodeOrphan}}
		case step == "log" && r.id == "m3", step == "recalled":
			order = append(order, step)
		}
		return ok(r)
	}
	w.start()
	w.advance(30 * time.Minute)
	if live, _ := w.owed("recalled"); live != 2 || len(order) != 0 {
		t.Errorf("recalled owes %d, done %v; want 2 and nothing", live, order)
	}
	w.start() // killed
	w.advance(10 * time.Minute)
	away = false
	w.advance(5 * time.Hour)
	if !slices.Equal(order, []string{"log", "recalled"}) {
		t.Errorf("order %v, want the original before its recall", order)
	}
	if live, _ := w.owed("recalled"); live != 1 {
		t.Errorf("recalled owes %d, want the orphan alone", live)
	}
	w.advance(120 * time.Hour)
	w.clean()
}

// What waited for a service, and then finds that its record is missing, waits for a time: it is not tried again at once, and for ever.
func TestOrphanAfterAnOutage(t *testing.T) {
	w := newWorld(t, archive(), records(10))
	w.source[7].about = "m999" // never archived
	w.wants = wantsArchive
	away := true
	asked := 0
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "recalled" && away:
			return down("refused")
		case step == "recalled" && c.Final:
			return answer{Run: Run{Verdict: Passed, Code: CodeOrphan}}
		case step == "recalled":
			if asked++; asked > 200 {
				t.Fatal("the sink is asked again without end")
			}
			return answer{Run: Run{Verdict: Retry, Code: CodeOrphan}}
		}
		return ok(r)
	}
	w.start()
	w.advance(30 * time.Minute)
	away = false
	w.advance(5 * time.Hour)
	if live, _ := w.owed("recalled"); live != 1 || asked == 0 || asked > 10 {
		t.Errorf("in five hours recalled was asked %d times and owes %d; want a few times and 1", asked, live)
	}
	w.advance(120 * time.Hour)
	w.clean()
}

func TestRestartWithOwedEntriesOfARenamedStep(t *testing.T) {
	w := newWorld(t, archive(), records(250))
	w.wants = wantsArchive
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "raw" && away {
			return down("refused")
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Minute)
	if live, _ := w.owed("raw"); live != 250 {
		t.Fatalf("raw owes %d, want 250", live)
	}
	// The new file calls the sink rows and has another sink in front of it: as the shell does, what is owed follows its address.
	steps := slices.Insert(archive(), 1, Step{Address: "first", Kind: Sink, Inputs: []int{0}})
	for i := range steps[2:] {
		s := &steps[2+i]
		for _, refs := range [][]int{s.Inputs, s.After} {
			for j := range refs {
				if refs[j] > 0 {
					refs[j]++
				}
			}
		}
	}
	steps[2].Address = "rows"
	w.cfg.Steps = steps
	for k, h := range w.disk.holdings {
		delete(w.disk.holdings, k)
		h.Step++
		for i := range h.Groups {
			h.Groups[i].Door++
		}
		w.disk.holdings[owingKey{"rows", k.parcel}] = h
	}
	away = false
	w.start()
	w.advance(time.Minute)
	if got := len(w.done["rows"]); got != 250 {
		t.Errorf("rows took %d, want 250", got)
	}
	w.clean()
}

func TestTransformKilledByRecord317(t *testing.T) {
	w := newWorld(t, archive(), records(2000))
	w.cfg.Steps[3].MaxInFlight = 4
	w.wants = wantsArchive
	deaths := 0
	w.ready = func(w *world, c Call) bool { return w.cfg.Steps[c.Step].Address != "parse" }
	w.do = func(w *world, step string, r rec, c Call) answer {
		if step == "parse" && r.id == "m317" {
			deaths++
			return answer{dies: true}
		}
		return ok(r)
	}
	w.start()
	if len(w.hung) != 4 {
		t.Fatalf("%d calls in flight, want 4", len(w.hung))
	}
	hung := w.hung
	w.hung, w.ready = nil, nil
	for _, c := range hung { // one process: all four die with it, the first after 316 answers
		evs := w.answer(c)
		ret := Returned{Call: c.ID, Failure: Died}
		if ret2 := evs[1].(Returned); ret2.Failure == Died {
			w.event(evs[0])
		}
		w.event(ret)
	}
	w.advance(time.Minute)
	if got := len(w.done["log"]); got != 1999 {
		t.Errorf("the log took %d, want 1999", got)
	}
	if slices.Contains(ids(w.done["log"]), "m317") {
		t.Error("the record that never passed the transform reached a sink")
	}
	if _, dead := w.owed("parse"); dead != 1 {
		t.Errorf("parse has %d dead letters, want 1", dead)
	}
	seen := map[string]int{}
	for _, r := range w.done["log"] {
		seen[r.id]++
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s arrived %d times", id, n)
		}
	}
	if deaths > 15 {
		t.Errorf("%d deaths to find one record of 500", deaths)
	}
	for id := range w.m.states {
		if w.m.states[id].proving || len(w.m.states[id].suspects) > 0 {
			t.Errorf("%s still suspects", w.cfg.Steps[id].Address)
		}
	}
	fmt.Fprintln(t.Output(), "deaths:", deaths)
}

func TestVainTriesAfterAnOutageWait(t *testing.T) {
	w := newWorld(t, archive(), records(10))
	w.source[3].about = "m999"
	for i := range w.source {
		w.source[i].file = i < 5
	}
	w.wants = wantsArchive
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case step == "media" && !away && c.Attempt > 0 && w.now.Before(epoch.Add(5*time.Hour)):
			return answer{Run: Run{Verdict: Retry, After: 10 * time.Minute, Code: "late"}}
		case step == "media":
			return ok(media(r))
		case (step == "log" || step == "recalled") && away:
			return down("refused")
		case step == "recalled" && !c.Final:
			return answer{Run: Run{Verdict: Retry, After: time.Hour, Code: CodeOrphan}}
		case step == "recalled":
			return answer{Run: Run{Verdict: Passed, Code: CodeOrphan}}
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Minute)
	away = false
	before := w.calls
	w.advance(2 * time.Hour)
	if n := w.calls - before; n > 100 {
		t.Errorf("%d calls in two hours: a vain try must wait for its time", n)
	}
	w.advance(130 * time.Hour)
	if got := len(w.done["log"]); got != 10 {
		t.Errorf("the log took %d, want 10", got)
	}
	w.clean()
}
