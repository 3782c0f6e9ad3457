package object

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Transport says how a service is reached.
type Transport struct {
	Proxy   sdk.Secret    // URL, with user and password if need be; empty = none
	CA      sdk.Secret    // PEM, or the path of a PEM file; empty = the system's
	Silence time.Duration // longest time in which no byte moves, in real time; default 60 s
	Answer  time.Duration // longest time that an answer takes once the request is sent, in real time; default 10 min
}

// What an answer may be at most. The largest is a list of a thousand uploads; objects are never read back.
const (
	maxHeader = 256 << 10
	maxAnswer = 16 << 20
)

// Client makes a client that follows no redirects, keeps up to 32 idle connections and bounds silence rather than duration: an upload
// of hours is fine, a peer that neither reads nor answers is not. Answers are bounded in time and size, as whoever answers may not be
// who was meant; they are not unpacked, so that a small one stays small.
func (t Transport) Client() (*http.Client, error) {
	if t.Silence <= 0 {
		t.Silence = time.Minute
	}
	if t.Answer <= 0 {
		t.Answer = 10 * time.Minute // S3 may take minutes to put parts together
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        t.Silence,
		TLSHandshakeTimeout:    t.Silence,
		ResponseHeaderTimeout:  t.Answer,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
	}
	dialer := net.Dialer{Timeout: min(t.Silence, 10*time.Second)}
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &boundedConn{c, t.Silence}, nil
	}
	if p := t.Proxy.Reveal(); p != "" {
		u, err := url.Parse(p)
		if err != nil || u.Host == "" {
			return nil, errors.New("proxy is not a URL such as http://user:password@host:3128")
		}
		transport.Proxy = http.ProxyURL(u)
	}
	if ca := t.CA.Reveal(); ca != "" {
		pem := []byte(ca)
		if !strings.Contains(ca, "-----BEGIN") {
			var err error
			if pem, err = os.ReadFile(ca); err != nil {
				return nil, fmt.Errorf("ca: %w", err)
			}
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("ca holds no certificate in PEM form")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{
		Transport:     patient{untilClosed{bounded{transport, t.Answer}}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// bounded bounds what is read of an answer, in bytes and time. A peer that sends a byte a minute is never silent.
type bounded struct {
	next   http.RoundTripper
	answer time.Duration
}

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{resp.Body, maxAnswer, time.Now().Add(b.answer)}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left  int
	until time.Time
}

var (
	errLarge = errors.New("the answer is too large")
	errSlow  = errors.New("the answer takes too long")
)

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, errLarge
	}
	if time.Now().After(b.until) {
		return 0, errSlow
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if b.left -= n; b.left < 0 {
		return 0, errLarge
	}
	return n, err
}

// untilClosed returns when nobody reads the request's body any more. net/http alone may go on reading after an early answer (a 503 in
// mid-upload), while the caller closes the file or begins again with it.
type untilClosed struct{ next http.RoundTripper }

func (t untilClosed) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return t.next.RoundTrip(r)
	}
	body := &closeSignal{ReadCloser: r.Body, closed: make(chan struct{})}
	r = r.WithContext(r.Context()) // a copy: a RoundTripper leaves its request alone
	r.Body = body
	resp, err := t.next.RoundTrip(r)
	<-body.closed // promised by http.RoundTripper; bounded by the connection's silence
	return resp, err
}

type closeSignal struct {
	io.ReadCloser
	once   sync.Once
	closed chan struct{}
}

func (c *closeSignal) Close() error {
	err := c.ReadCloser.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

// patient notes for how long an answer wants the service to be left alone, where the caller's context has a place for it: the vendors'
// errors do not hold the header.
type patient struct{ next http.RoundTripper }

func (p patient) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(r)
	if n, ok := r.Context().Value(notesKey{}).(*notes); ok && err == nil {
		n.skew.See(resp.Header)
		if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500 {
			n.wait.Store(int64(sdk.RetryAfter(resp.Header)))
		}
	}
	return resp, err
}

// notes is what the headers of answers to the calls of one row say.
type notes struct {
	wait atomic.Int64 // for how long the service wants to be left alone, says the last answer that refused something for now
	skew *sdk.Skew
}

type notesKey struct{}

func withNotes(ctx context.Context, skew *sdk.Skew) (context.Context, *notes) {
	n := &notes{skew: skew}
	return context.WithValue(ctx, notesKey{}, n), n
}

// boundedConn fails when a read or write takes longer than silence. A write also puts off the read deadline: while an upload runs, the
// answer is not due.
type boundedConn struct {
	net.Conn
	silence time.Duration
}

func (c *boundedConn) Read(p []byte) (int, error) {
	c.SetReadDeadline(time.Now().Add(c.silence))
	return c.Conn.Read(p)
}

func (c *boundedConn) Write(p []byte) (int, error) {
	deadline := time.Now().Add(c.silence)
	c.SetReadDeadline(deadline)
	c.SetWriteDeadline(deadline)
	return c.Conn.Write(p)
}
