package wecomsim

import (
	"maps"
	"time"
)

// A Fault makes the server misbehave from now on. Corp, Endpoint and FileID narrow it, Times ends it.
type Fault struct {
	Corp     string // "" for every one; a request for a token without a known corp belongs to none
	Endpoint string // gettoken, getchatdata or getchatmediadata; "" for every one
	FileID   string // media of this file alone
	Times    int    // how many requests it hits; 0 for all until it is lifted

	// What happens, the first that is set:
	Errcode int           // the service refuses with this errcode
	Body    string        // this body instead of an answer, for example HTML, with Status
	Status  int           // HTTP status; alone, with an empty body
	Revoke  bool          // the company's token is worth nothing from now on: 40014, until a new one is fetched
	Hang    bool          // no answer until the fault is lifted, the client leaves or the server closes
	Drop    bool          // the connection ends after the request
	Cut     bool          // the connection ends in the middle of a good answer
	Slow    time.Duration // a good answer, but later, in real time

	RetryAfter string // header of that name, with Body or Status
}

// fault is a Fault in force.
type fault struct {
	Fault
	left   int
	lifted chan struct{}
}

// Fault puts a fault into force. Lift ends it and may be called twice. Of several faults that fit, the oldest acts.
func (s *Server) Fault(f Fault) (lift func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	put := &fault{Fault: f, left: f.Times, lifted: make(chan struct{})}
	s.faults = append(s.faults, put)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.removeFault(put)
	}
}

func (s *Server) removeFault(f *fault) {
	for i, other := range s.faults {
		if other == f {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
			close(f.lifted)
			return
		}
	}
}

// faultFor returns the fault that acts on a request, and counts it.
func (s *Server) faultFor(corp, endpoint, fileID string) *fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if (f.Corp != "" && f.Corp != corp) || (f.Endpoint != "" && f.Endpoint != endpoint) ||
			(f.FileID != "" && f.FileID != fileID) {
			continue
		}
		if f.Times > 0 {
			if f.left--; f.left == 0 && !f.Hang {
				s.removeFault(f)
			}
			if f.left < 0 {
				continue
			}
		}
		return f
	}
	return nil
}

// Calls counts what a company's clients did.
type Calls struct {
	Tokens      int         // tokens fetched
	Pages       int         // pages answered, empty ones too
	Rows        int         // rows in them
	PagesAgain  int         // pages with rows that were answered before with the same cursor
	Shards      int         // shards answered
	ShardsAgain int         // shards that were answered before
	Refused     map[int]int // refusals by errcode

	Running map[string]int // requests under way at this moment by endpoint: "getchatmediadata"
}

// Calls returns what the company's clients did so far; the zero Calls for a company that is not there.
func (s *Server) Calls(corpID string) Calls {
	s.mu.Lock()
	c := s.corps[corpID]
	s.mu.Unlock()
	if c == nil {
		return Calls{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	calls.Refused, calls.Running = maps.Clone(calls.Refused), maps.Clone(c.busy)
	return calls
}
