package osssim

import (
	"fmt"
	"net"
	"slices"
	"time"
)

// A FaultKind is a way to go wrong.
type FaultKind int

const (
	Fail500     FaultKind = iota + 1 // InternalError
	Fail503                          // ServiceUnavailable as XML
	Fail503HTML                      // 503 with an HTML page, as a load balancer gives it
	Deny                             // 403 AccessDenied
	Hang                             // no answer until the client goes away
	Slow                             // waits Delay first
	DropAfter                        // does the work, then closes the connection without an answer
	LieCRC                           // answers a wrong x-oss-hash-crc64ecma
)

// A Fault befalls requests until it has done so Count times, or until
// ClearFaults when Count is 0. The first fault that fits a request is used.
type Fault struct {
	Kind  FaultKind
	Op    string // OSS name, for example "PutObject"; empty for every operation
	Count int
	Delay time.Duration // for Slow

	RetryAfter string // header on the answers of Fail500, Fail503 and Fail503HTML; empty = none
}

// Inject adds faults.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

// ClearFaults removes all faults; requests already hanging go on hanging.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault is called with mu held.
func (s *Server) takeFault(op string) Fault {
	for i, f := range s.faults {
		if f.Op != "" && f.Op != op {
			continue
		}
		if f.Count == 1 {
			s.faults = slices.Delete(s.faults, i, i+1)
		} else if f.Count > 1 {
			s.faults[i].Count--
		}
		return f
	}
	return Fault{}
}

// Refuse closes the listening socket and every connection, or opens the same
// address again.
func (s *Server) Refuse(refuse bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return fmt.Errorf("osssim is closed")
	case refuse && s.listener != nil:
		s.listener = nil
		return s.http.Close()
	case !refuse && s.listener == nil:
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return err
		}
		s.listen(l)
	}
	return nil
}
