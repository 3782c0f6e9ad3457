// Package kintonesim is a kintone site on the loopback interface: apps, records and files behind the real service's REST API,
// with its limits, its refusals and its oddities, for tests and for the sandbox.
//
// It is never kinder than the service. What it imitates, and from where:
//   - shapes: the official OpenAPI, kintone/rest-api-spec 20250423000000;
//   - limits and rules: kintone.dev/en/docs/kintone/rest-api (records, files, cursors, bulkRequest, limitations) and the help pages;
//   - codes, texts and paths of errors: bodies recorded on the real service by others (2026-04), and the end-to-end tests of the
//     official cli-kintone for tokens (400 GAIA_IA02, 400 GAIA_DA03, 403 GAIA_NO01) and cursors (404 GAIA_CN01).
//
// Where nothing is known it refuses, and the comment says "assumed". Not simulated: forms and deployment, lookups, tables, users,
// process management, comments, "like" and the date functions of the query language.
//
// Faults can be switched on while it runs (Server.Fault); what happened is counted (Server.Counters, Server.Calls) and what is
// stored can be read and tampered with (Server.Rows, Server.Tamper).
package kintonesim

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures a Server. Only Apps is required.
type Options struct {
	Apps []App
	// Addr is where to listen, on loopback; empty means a free port of 127.0.0.1. The official JavaScript client speaks plain
	// HTTP only to the host name "localhost", which this address answers to.
	Addr string
	// Now is the clock of record times, cursors and temporary files; nil means time.Now.
	Now func() time.Time
	// Log gets one debug line per call; nil means none.
	Log *slog.Logger
	// TLS makes the server speak https, with client certificates if it asks for them.
	TLS *tls.Config
	// BasicAuth ("user:password") puts Basic authentication in front of everything.
	BasicAuth string
	// Concurrency is how many requests may run at once; 0 means kintone's 100 per domain.
	Concurrency int
	// MaxBody is the largest JSON body in bytes; 0 means 1 MiB. The real limit is not documented; 1 MB was reported once.
	MaxBody int64
	// MaxText is the most characters of a text field; 0 means 65,535. Assumed: no page states one for fields.
	MaxText int
	// MaxFile is the largest file in bytes; 0 means 1 GiB (help, "添付ファイル").
	MaxFile int64
	// KeepFiles is the largest content in bytes that is kept whole; of a larger file size, SHA-256 and MD5 are kept, and its
	// download answers 410 with these in headers (see download). 0 keeps everything.
	KeepFiles int64
	// FoldCase treats unique values that differ in case alone as equal. Whether the service does so is unknown.
	FoldCase bool
}

// Server is a running site.
type Server struct {
	// URL is the site's address, without a path: "http://127.0.0.1:8080".
	URL string

	o       Options
	addr    string
	running atomic.Int64
	closed  chan struct{}

	listening sync.Mutex
	http      *http.Server // nil while connections are refused
	port      net.Listener
	serving   sync.WaitGroup

	faults faults
	stats  stats

	mu      sync.Mutex
	apps    map[int64]*app
	files   map[string]*file       // uploaded, by temporary key
	held    map[string]*attachment // attached to a record, by download key
	cursors map[string]*cursor
	serial  int64 // of keys and error ids
}

// Start checks the apps and listens.
func Start(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Concurrency == 0 {
		o.Concurrency = 100
	}
	if o.MaxBody == 0 {
		o.MaxBody = 1 << 20
	}
	if o.MaxText == 0 {
		o.MaxText = 65_535
	}
	if o.MaxFile == 0 {
		o.MaxFile = 1 << 30
	}
	s := &Server{
		o:       o,
		closed:  make(chan struct{}),
		apps:    map[int64]*app{},
		files:   map[string]*file{},
		held:    map[string]*attachment{},
		cursors: map[string]*cursor{},
	}
	for _, def := range o.Apps {
		a, err := newApp(def)
		if err != nil {
			return nil, err
		}
		if s.apps[def.ID] != nil {
			return nil, fmt.Errorf("app %d is defined twice", def.ID)
		}
		s.apps[def.ID] = a
	}
	s.addr = o.Addr
	if err := s.listen(); err != nil {
		return nil, err
	}
	scheme := "http://"
	if o.TLS != nil {
		scheme = "https://"
	}
	s.URL = scheme + s.addr
	return s, nil
}

// Close stops the server and ends every call, also those that hang.
func (s *Server) Close() error {
	close(s.closed)
	s.hangUp()
	s.serving.Wait()
	return nil
}

// listen opens the address; the port found by the first call is kept for good.
func (s *Server) listen() error {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.http != nil {
		return nil
	}
	var l net.Listener
	var err error
	if s.addr == "" {
		l, err = quietPort()
	} else {
		l, err = net.Listen("tcp", s.addr)
	}
	if err != nil {
		return err
	}
	s.addr = l.Addr().String()
	if s.o.TLS != nil {
		l = tls.NewListener(l, s.o.TLS)
	}
	server := &http.Server{Handler: http.HandlerFunc(s.serve), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	s.http, s.port = server, l
	s.serving.Go(func() { server.Serve(l) })
	return nil
}

// quietPort listens on a port below the ports that systems hand out by themselves (from 32768 on Linux, higher elsewhere):
// while connections are refused the port is closed, and no other program must get it by chance.
func quietPort() (net.Listener, error) {
	for range 100 {
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12768))); err == nil {
			return l, nil
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// hangUp closes the port and all connections: the next attempt to connect is refused.
func (s *Server) hangUp() {
	s.listening.Lock()
	defer s.listening.Unlock()
	if s.http != nil {
		s.port.Close() // the server knows its port only once Serve has begun
		s.http.Close()
		s.http = nil
	}
}

// serve is the way of every request: site-wide limits and faults first, then who asks, then what.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	running := s.running.Add(1)
	leave := sync.OnceFunc(func() { s.running.Add(-1) })
	defer leave()
	c := &call{s: s, w: w, r: r, lang: language(r), at: s.o.Now(), leave: leave}
	w.Header().Set("Date", c.at.UTC().Format(http.TimeFormat)) // of the clock that its records have
	// On every answer, not only on the refusal (kintone.dev, "X-ConcurrencyLimit-Limit").
	w.Header().Set("X-ConcurrencyLimit-Limit", strconv.Itoa(s.o.Concurrency))
	w.Header().Set("X-ConcurrencyLimit-Running", strconv.FormatInt(running, 10))

	endpoint := r.URL.Path[strings.LastIndex(r.URL.Path, "/v1/")+1:]
	c.name = r.Method + " " + strings.TrimPrefix(endpoint, "v1/")
	fault, lifted := s.faults.meet(r.Method, r.URL.Path)
	if fault.RetryAfter != "" && (fault.Kind == Maintenance || fault.Kind == Busy) {
		w.Header().Set("Retry-After", fault.RetryAfter)
	}
	switch fault.Kind {
	case Hang:
		io.Copy(io.Discard, r.Body) // a server notices that its peer is gone only once the request is read
		select {
		case <-lifted:
		case <-s.closed:
		case <-r.Context().Done():
		}
		s.stats.add(c, running)
		panic(http.ErrAbortHandler)
	case Maintenance:
		c.html(http.StatusServiceUnavailable, "Service Unavailable", "Sorry, kintone is under maintenance.")
	case Locked:
		c.refuse(locked())
	case Busy:
		c.refuse(tooManyRequests())
	default:
		if running > int64(s.o.Concurrency) {
			c.refuse(tooManyRequests())
			break
		}
		if fault.Kind == Slow {
			select {
			case <-time.After(fault.Delay):
			case <-lifted:
			case <-s.closed:
			}
		}
		if fault.Kind == Lost {
			c.w = nowhere{http.Header{}} // carried out in full, never answered
		}
		c.handle()
		if fault.Kind == Lost {
			s.stats.add(c, running)
			panic(http.ErrAbortHandler)
		}
	}
	io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20)) // so that the connection stays usable for small bodies
	s.stats.add(c, running)
	s.o.Log.Debug("kintone call", "method", r.Method, "path", r.URL.Path, "status", c.status, "code", c.code)
}

// nowhere is the answer that never arrives.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header       { return n.header }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}
