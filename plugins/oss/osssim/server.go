package osssim

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Options configure a Server. The zero value of a field is its default.
type Options struct {
	Now  func() time.Time // default time.Now; dates, retention and skew are judged by it
	Log  *slog.Logger     // default silent
	Addr string           // loopback address to listen on; default a free port of 127.0.0.1

	AccessKeyID     string // default "ossid"
	AccessKeySecret string // default "osssecret"
	SecurityToken   string // set: every request must carry it (STS)
	Region          string // what V4 signatures name; default "cn-hangzhou"

	// Skew is how far a request's date may be from Now, default 15 minutes as
	// documented. A simulation in which time runs N times faster multiplies it.
	Skew time.Duration

	Buckets []Bucket

	// KeepBytesUpTo is the largest object, in bytes, whose content is kept; of
	// larger ones only size, MD5, SHA-256 and CRC-64 remain, and GET answers 501.
	// 0 keeps everything, a negative number nothing.
	KeepBytesUpTo int64
}

// A Bucket exists from Start or AddBucket on.
type Bucket struct {
	Name         string
	StorageClass string        // default "Standard"
	Retention    time.Duration // above 0: a locked retention policy (WORM) of this length
}

// A Server is a running simulator.
type Server struct {
	URL string // endpoint, http://127.0.0.1:port

	opt    Options
	signer signer
	dir    string // temporary: parts of unfinished uploads

	http     *http.Server
	serving  sync.WaitGroup
	addr     string
	listener net.Listener // guarded by mu; nil while refusing

	mu      sync.Mutex
	buckets map[string]*bucket
	faults  []Fault
	calls   []Call
	counts  Counts
	running int // requests under way
	lastID  int
	closed  bool
	stop    chan struct{} // closed by Close, ends hanging requests
}

// A bucket's fields are guarded by Server.mu.
type bucket struct {
	Bucket
	created time.Time
	objects map[string]*Object
	uploads map[string]*upload
}

// Start listens and serves until Close.
func Start(opt Options) (*Server, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	opt.AccessKeyID = cmp.Or(opt.AccessKeyID, "ossid")
	opt.AccessKeySecret = cmp.Or(opt.AccessKeySecret, "osssecret")
	opt.Region = cmp.Or(opt.Region, "cn-hangzhou")
	opt.Skew = cmp.Or(opt.Skew, 15*time.Minute)

	s := &Server{opt: opt, buckets: map[string]*bucket{}, stop: make(chan struct{})}
	s.signer = signer{
		keyID: opt.AccessKeyID, secret: opt.AccessKeySecret, token: opt.SecurityToken,
		region: opt.Region, skew: opt.Skew, now: opt.Now,
	}
	for _, b := range opt.Buckets {
		s.AddBucket(b)
	}
	var l net.Listener
	var err error
	if opt.Addr == "" {
		l, err = quietPort()
	} else {
		l, err = net.Listen("tcp", opt.Addr)
	}
	if err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "osssim"); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s.addr = l.Addr().String()
	s.URL = "http://" + s.addr
	s.listen(l)
	return s, nil
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

func (s *Server) listen(l net.Listener) {
	s.listener = l
	s.http = &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug)}
	server := s.http
	s.serving.Go(func() { server.Serve(l) })
}

// Close ends all requests and removes what the server kept on disk.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	server := s.http
	s.mu.Unlock()
	err := server.Close()
	s.serving.Wait()
	return errors.Join(err, os.RemoveAll(s.dir))
}

// AddBucket creates a bucket, or does nothing when the name is taken.
func (s *Server) AddBucket(b Bucket) {
	b.StorageClass = cmp.Or(b.StorageClass, "Standard")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.buckets[b.Name] == nil {
		s.buckets[b.Name] = &bucket{Bucket: b, created: s.opt.Now(), objects: map[string]*Object{}, uploads: map[string]*upload{}}
	}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucketName, key := s.address(r)
	op := operation(r, bucketName, key)
	s.mu.Lock()
	s.running++
	s.lastID++
	id := fmt.Sprintf("%024X", s.lastID)
	fault := s.takeFault(op)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()

	h := w.Header()
	h.Set("Server", "AliyunOSS")
	h.Set("Date", s.opt.Now().UTC().Format(http.TimeFormat))
	h.Set("X-Oss-Request-Id", id)
	h.Set("X-Oss-Server-Time", "1")

	c := &call{Server: s, w: w, r: r, op: op, bucket: bucketName, key: key, fault: fault}
	err := c.serve()
	status, code := c.status, ""
	if err != nil {
		ref := &refusal{}
		if !errors.As(err, &ref) { // the client went away in mid-body
			ref = refuse(http.StatusBadRequest, "RequestTimeout", "", "Your socket connection to the server was not read from or written to within the timeout period.")
		}
		status, code = ref.status, ref.code
		writeRefusal(w, r, id, ref)
	}
	s.record(Call{At: s.opt.Now(), Op: op, Bucket: bucketName, Key: key, Status: cmp.Or(status, http.StatusOK), Code: code, RequestID: id, Bytes: c.bytes})
	if fault.Kind == DropAfter {
		panic(http.ErrAbortHandler) // the work is done, the answer is lost
	}
}

// address splits a request into bucket and key: virtual-host style when the
// first label of Host is a known bucket, else path style.
func (s *Server) address(r *http.Request) (bucketName, key string) {
	path := strings.TrimPrefix(r.URL.Path, "/")
	if label, _, ok := strings.Cut(r.Host, "."); ok {
		s.mu.Lock()
		_, known := s.buckets[label]
		s.mu.Unlock()
		if known {
			return label, path
		}
	}
	bucketName, key, _ = strings.Cut(path, "/")
	return bucketName, key
}

// operation names what a request asks for, as OSS names it; empty when the
// simulator does not know it.
func operation(r *http.Request, bucketName, key string) string {
	q := r.URL.Query()
	where := "Object"
	switch {
	case bucketName == "":
		where = "Service"
	case key == "":
		where = "Bucket"
	}
	what := ""
	for _, name := range []string{"uploads", "uploadId", "delete", "bucketInfo", "list-type"} {
		if q.Has(name) {
			what = " " + name
			break
		}
	}
	return map[string]string{
		"PUT Object":             "PutObject",
		"GET Object":             "GetObject",
		"HEAD Object":            "HeadObject",
		"DELETE Object":          "DeleteObject",
		"POST Object uploads":    "InitiateMultipartUpload",
		"PUT Object uploadId":    "UploadPart",
		"GET Object uploadId":    "ListParts",
		"POST Object uploadId":   "CompleteMultipartUpload",
		"DELETE Object uploadId": "AbortMultipartUpload",
		"GET Bucket":             "ListObjects",
		"GET Bucket list-type":   "ListObjectsV2",
		"GET Bucket uploads":     "ListMultipartUploads",
		"GET Bucket bucketInfo":  "GetBucketInfo",
		"POST Bucket delete":     "DeleteMultipleObjects",
	}[r.Method+" "+where+what]
}

// parameters are the query parameters that each operation takes.
func parameters(op string) []string {
	switch op {
	case "UploadPart":
		return []string{"uploadId", "partNumber"}
	case "CompleteMultipartUpload":
		return []string{"uploadId", "encoding-type"}
	case "AbortMultipartUpload":
		return []string{"uploadId"}
	case "ListParts":
		return []string{"uploadId", "max-parts", "part-number-marker", "encoding-type"}
	case "InitiateMultipartUpload":
		return []string{"uploads", "encoding-type"}
	case "ListObjects":
		return []string{"prefix", "marker", "delimiter", "max-keys", "encoding-type"}
	case "ListObjectsV2":
		return []string{"list-type", "prefix", "start-after", "continuation-token", "delimiter", "max-keys", "encoding-type", "fetch-owner"}
	case "ListMultipartUploads":
		return []string{"uploads", "prefix", "key-marker", "upload-id-marker", "max-uploads", "encoding-type"}
	case "GetBucketInfo":
		return []string{"bucketInfo"}
	case "DeleteMultipleObjects":
		return []string{"delete", "encoding-type"}
	}
	return nil
}
