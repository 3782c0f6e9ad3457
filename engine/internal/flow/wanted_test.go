package flow

import (
	"testing"
	"time"
)

// short is a graph of a source and a sink.
func short() []Step {
	return []Step{{Address: "chat", Kind: Source}, {Address: "raw", Kind: Sink, Inputs: []int{0}}}
}

// What falls due while the service is away is tried when the service is back.
func TestDueDuringAnOutage(t *testing.T) {
	w := newWorld(t, short(), records(10))
	away, busy := true, true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case r.id == "m1" && busy:
			busy = false
			return answer{Run: Run{Verdict: Retry, Code: "busy", After: 10 * time.Minute}}
		case away:
			return down("503")
		}
		return ok(r)
	}
	w.start()
	w.advance(20 * time.Minute)
	away = false
	w.advance(10 * time.Minute)
	if got := len(w.done["raw"]); got != 10 {
		t.Errorf("delivered %d records, want 10", got)
	}
	w.clean()
}

// An operator who says that the service is back is believed at once, dead letters included.
func TestWantedDuringAnOutage(t *testing.T) {
	w := newWorld(t, short(), records(10))
	away := true
	w.do = func(w *world, step string, r rec, c Call) answer {
		switch {
		case r.id == "m1" && away:
			return answer{Run: Run{Verdict: Reject, Code: "bad"}}
		case away:
			return down("503")
		}
		return ok(r)
	}
	w.start()
	w.advance(time.Hour)
	away = false
	w.event(Wanted{Step: 1, Dead: true})
	w.event(Wanted{Step: 1})
	if got := len(w.done["raw"]); got != 10 {
		t.Errorf("delivered %d records, want 10", got)
	}
	w.clean()
}

// What is asked of a row that went past a transform, or of one whose sink has just answered, is asked when the shell knows of it.
func TestQuestionsFollowWhatTheyDependOn(t *testing.T) {
	w := newWorld(t, []Step{
		{Address: "chat", Kind: Source},
		{Address: "decrypt", Kind: Transform, Inputs: []int{0}},
		{Address: "oss", Kind: Sink, Inputs: []int{1}},
		{Address: "log", Kind: Sink, Inputs: []int{1}, After: []int{2}},
	}, records(10))
	w.wants = func(step string, r rec) bool {
		if step == "log" {
			return w.states[r.lot][Ref{2, r.root}] == StateDelivered // as a "when" that mentions the receipt
		}
		return step != "decrypt" || r.id == "m3"
	}
	w.start()
	w.advance(time.Minute)
	if got := len(w.done["log"]); got != 10 {
		t.Errorf("the log took %d records, want 10", got)
	}
	w.clean()
}
