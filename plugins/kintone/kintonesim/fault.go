package kintonesim

import (
	"strings"
	"sync"
	"time"
)

// FaultKind is a way to fail.
type FaultKind int

const (
	// Refuse closes the port and every connection.
	Refuse FaultKind = iota + 1
	// Hang takes the request and says nothing until the fault is lifted; then the connection breaks.
	Hang
	// Maintenance answers 503 with an HTML page.
	Maintenance
	// Lost carries the request out and breaks the connection instead of answering.
	Lost
	// Locked answers 400 GAIA_DA02.
	Locked
	// Busy answers 429 GAIA_TO04.
	Busy
	// Slow waits Delay in real time, and then does what it is asked. It counts as running all the while.
	Slow
)

// Fault says which calls fail and how.
type Fault struct {
	Kind FaultKind
	// Method and Path limit the fault to calls of this method, and to paths that end in Path ("/records.json"); empty = all.
	Method, Path string
	// Every makes each n-th matching call fail; 0 and 1 mean all of them. Refuse ignores it, and Method, Path and Count.
	Every int
	// Count lifts the fault after so many failures; 0 = it stays.
	Count int
	// Delay is for Slow.
	Delay time.Duration
	// RetryAfter is the header of that name on the answers of Maintenance and Busy; empty = none.
	RetryAfter string
}

// Fault switches a fault on, and returns what switches it off. Several may be on; the first that matches a call decides.
func (s *Server) Fault(f Fault) (lift func()) {
	if f.Kind == Refuse {
		s.hangUp()
		return sync.OnceFunc(func() {
			select {
			case <-s.closed:
			default:
				if err := s.listen(); err != nil {
					panic("kintonesim: cannot listen again: " + err.Error())
				}
			}
		})
	}
	on := &fault{Fault: f, lifted: make(chan struct{})}
	s.faults.mu.Lock()
	s.faults.on = append(s.faults.on, on)
	s.faults.mu.Unlock()
	return sync.OnceFunc(func() { s.faults.lift(on) })
}

type fault struct {
	Fault
	seen, hits int
	lifted     chan struct{} // closed by lift
}

type faults struct {
	mu sync.Mutex
	on []*fault
}

// meet returns the failure that befalls a call, if its Kind is not 0, and what is closed when the fault is lifted.
func (f *faults) meet(method, path string) (Fault, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, on := range f.on {
		if on.Method != "" && on.Method != method || !strings.HasSuffix(path, on.Path) {
			continue
		}
		on.seen++
		if on.Every > 1 && on.seen%on.Every != 0 {
			continue
		}
		on.hits++
		if on.Count > 0 && on.hits >= on.Count {
			f.remove(i)
		}
		return on.Fault, on.lifted
	}
	return Fault{}, nil
}

func (f *faults) lift(gone *fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, on := range f.on {
		if on == gone {
			f.remove(i)
			break
		}
	}
	close(gone.lifted)
}

func (f *faults) remove(i int) { f.on = append(f.on[:i:i], f.on[i+1:]...) }
