package sdk_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-etl/weir/sdk"
)

func TestSkew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sdk.Skew
		see := func(off time.Duration) {
			s.See(http.Header{"Date": {time.Now().Add(off).UTC().Format(http.TimeFormat)}})
		}
		want := func(what, ahead string) {
			t.Helper()
			ev, ok := s.Event(nil)
			if ok != (ahead != "") || ev.Attrs["ahead_seconds"] != ahead || ok && ev.Code != "CLOCK_SKEW" {
				t.Errorf("%s: got %v %+v, want %q", what, ok, ev, ahead)
			}
		}
		want("nothing seen", "")
		see(59 * time.Second)
		want("a minute is nothing", "")
		see(-2 * time.Hour)
		s.See(http.Header{"Date": {"soon"}})
		s.See(nil)
		if _, ok := s.Event(sdk.NewClock(time.Now(), time.Now().Add(time.Hour), 1)); ok {
			t.Error("a clock that is not the real one was told of")
		}
		want("two hours ahead of the service", "7200")
		want("told already", "")
		time.Sleep(time.Hour)
		see(2 * time.Hour)
		want("an hour later", "-7200")
		time.Sleep(time.Hour)
		see(0)
		want("set right", "")
	})
}

func TestTell(t *testing.T) {
	var got [2]int
	call := sdk.NewCall(make([]sdk.Row, 2), time.Now(), false, func(row int, o sdk.Outcome) { got[row] = len(o.Events) })
	call.Tell(sdk.Event{Code: "A"})
	call.Answer(1, sdk.Done(nil).With(sdk.Event{Code: "B"}))
	call.Answer(0, sdk.Done(nil))
	if got != [2]int{0, 2} {
		t.Errorf("got %v events, want both with the first answer", got)
	}
}
