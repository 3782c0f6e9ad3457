package osssim

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"time"
)

// A Call is one answered request.
type Call struct {
	At        time.Time
	Op        string // OSS name; empty when the simulator does not know the operation
	Bucket    string
	Key       string
	Status    int
	Code      string // of a refusal
	RequestID string
	Bytes     int64 // body bytes received
}

// Counts sum up what happened since Start.
type Counts struct {
	Requests    int
	Refused     int            // answers of 400 and above
	Stored      int            // objects written: puts and completed uploads
	Repeated    int            // writes of a key that already held equal bytes, refused or not
	Overwritten int            // writes that replaced different bytes
	ByOp        map[string]int // requests by OSS name
	Running     int            // requests under way at this moment
}

// An Upload is a multipart upload neither completed nor aborted.
type Upload struct {
	Bucket, Key, ID string
	Started         time.Time
	Parts           int
}

func (s *Server) record(c Call) {
	s.mu.Lock()
	s.calls = append(s.calls, c)
	s.counts.Requests++
	if c.Status >= 400 {
		s.counts.Refused++
	}
	if s.counts.ByOp == nil {
		s.counts.ByOp = map[string]int{}
	}
	s.counts.ByOp[c.Op]++
	s.mu.Unlock()
	s.opt.Log.Debug("oss request", "op", c.Op, "bucket", c.Bucket, "key", c.Key, "status", c.Status, "code", c.Code)
}

// Calls are all answered requests in the order of their end.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Counts so far.
func (s *Server) Counts() Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.counts
	c.ByOp, c.Running = maps.Clone(c.ByOp), s.running
	return c
}

// Objects are all objects, ordered by bucket and key. Bytes are shared: do not
// change them.
func (s *Server) Objects() []Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Object
	for _, b := range s.buckets {
		for _, o := range b.objects {
			list = append(list, *o)
		}
	}
	slices.SortFunc(list, func(a, b Object) int {
		if c := strings.Compare(a.Bucket, b.Bucket); c != 0 {
			return c
		}
		return strings.Compare(a.Key, b.Key)
	})
	return list
}

// Object returns one object, and whether it exists.
func (s *Server) Object(bucketName, key string) (Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucketName]; b != nil && b.objects[key] != nil {
		return *b.objects[key], true
	}
	return Object{}, false
}

// Replace stores o as it is, behind the back of every check: for tests that
// tamper. The bucket must exist.
func (s *Server) Replace(o Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.Bytes = bytes.Clone(o.Bytes)
	s.buckets[o.Bucket].objects[o.Key] = &o
}

// Remove takes an object away, behind the back of every check.
func (s *Server) Remove(bucketName, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.buckets[bucketName]; b != nil {
		delete(b.objects, key)
	}
}

// Uploads are the unfinished multipart uploads, ordered by bucket, key and id.
func (s *Server) Uploads() []Upload {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Upload
	for _, b := range s.buckets {
		for _, u := range b.uploads {
			list = append(list, Upload{b.Name, u.key, u.id, u.started, len(u.parts)})
		}
	}
	slices.SortFunc(list, func(a, b Upload) int {
		return strings.Compare(a.Bucket+"\x00"+a.Key+"\x00"+a.ID, b.Bucket+"\x00"+b.Key+"\x00"+b.ID)
	})
	return list
}
