package kintonesim

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Call is one request that the server saw, in the order in which they ended.
type Call struct {
	At     time.Time
	Name   string // method and endpoint: "PUT records.json"
	App    int64
	Rows   int    // records written or returned
	Status int    // 0 when the connection was broken without an answer and nothing was done
	Code   string // of a refusal
}

// Counters are totals since the start.
type Counters struct {
	Calls   map[string]int // by name and status: "PUT records.json 200"
	Refused map[string]int // by code
	Most    int            // requests at once
	Running int            // requests under way at this moment

	Inserted int // rows
	Updated  int // rows, those of Repeated included
	Repeated int // rows that were written again as they stood, files of equal name and content included

	Uploaded      int   // files
	UploadedBytes int64 // without the multipart frame
	Attached      int   // files that a row took
	Unattached    int   // files that were uploaded and that no row ever took
	Doubled       int   // files that stand in one field of one row more than once, by name and content, at this moment
}

type stats struct {
	mu     sync.Mutex
	calls  []Call
	total  Counters
	errors int64
}

// moved is what one transaction adds to the counters.
type moved struct {
	inserted, updated, repeated, uploaded, attached int
	bytes                                           int64
}

func (s *stats) commit(m moved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total.Inserted += m.inserted
	s.total.Updated += m.updated
	s.total.Repeated += m.repeated
	s.total.Uploaded += m.uploaded
	s.total.UploadedBytes += m.bytes
	s.total.Attached += m.attached
}

func (s *stats) add(c *call, running int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total.Calls == nil {
		s.total.Calls, s.total.Refused = map[string]int{}, map[string]int{}
	}
	s.calls = append(s.calls, Call{At: c.at, Name: c.name, App: c.app, Rows: c.rows, Status: c.status, Code: c.code})
	s.total.Calls[c.name+" "+strconv.Itoa(c.status)]++
	if c.code != "" {
		s.total.Refused[c.code]++
	}
	s.total.Most = max(s.total.Most, int(running))
}

func (s *stats) nextError() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors++
	return s.errors
}

// Calls returns what was asked so far.
func (s *Server) Calls() []Call {
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	return slices.Clone(s.stats.calls)
}

// Counters returns the totals so far.
func (s *Server) Counters() Counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.mu.Lock()
	defer s.stats.mu.Unlock()
	total := s.stats.total
	total.Running = int(s.running.Load())
	total.Calls, total.Refused = maps.Clone(total.Calls), maps.Clone(total.Refused)
	for _, f := range s.files {
		if !f.spent {
			total.Unattached++
		}
	}
	for _, a := range s.apps {
		for _, r := range a.records {
			for _, v := range r.values {
				files, _ := v.([]*attachment)
				seen := map[string]bool{}
				for _, f := range files {
					content := f.file.name + "\x00" + f.file.sha256
					if seen[content] {
						total.Doubled++
					}
					seen[content] = true
				}
			}
		}
	}
	return total
}
