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
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Transport says how a service is reached.
type Transport struct {
	Proxy   sdk.Secret    // URL, with user and password if need be; empty = none
	CA      sdk.Secret    // PEM, or the path of a PEM file; empty = the system's
	Silence time.Duration // longest time in which no byte moves, in real time; default 60 s
}

// Client makes a client that follows no redirects, keeps up to 32 idle connections and bounds silence rather than duration: an upload
// of hours is fine, a peer that neither reads nor answers is not.
func (t Transport) Client() (*http.Client, error) {
	if t.Silence <= 0 {
		t.Silence = time.Minute
	}
	transport := &http.Transport{
		MaxIdleConnsPerHost: 32,
		IdleConnTimeout:     t.Silence,
		TLSHandshakeTimeout: t.Silence,
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
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	return &http.Client{
		Transport:     untilClosed{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
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
