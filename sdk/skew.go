package sdk

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// skewed is how far two clocks may be apart before somebody is told: signatures, deadlines and the order of what two systems say depend
// on it, and a machine that has its time from the network is never a minute off.
const skewed = time.Minute

// Skew compares the machine's clock with that of a service, by the Date of its answers. The zero value is ready; its methods may be called
// from any goroutine.
type Skew struct {
	mu   sync.Mutex
	off  time.Duration // the service's clock minus ours, at its last answer
	told time.Time     // real
}

// See takes an answer that has just come.
func (s *Skew) See(h http.Header) {
	at, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off = time.Until(at).Round(time.Second)
}

// Event tells of clocks that differ by more than a minute, once an hour. A clock that is not the real one is meant to differ.
func (s *Skew) Event(clock *Clock) (Event, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !clock.Real() || s.off.Abs() <= skewed || !s.told.IsZero() && time.Since(s.told) < time.Hour {
		return Event{}, false
	}
	s.told = time.Now()
	return Event{Code: "CLOCK_SKEW", Severity: Warning, Attrs: map[string]string{
		"ahead_seconds": strconv.Itoa(int(-s.off.Seconds())), "remedy": "set this machine's clock by the network",
	}}, true
}
