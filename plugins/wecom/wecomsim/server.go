// Package wecomsim imitates WeCom's chat archive as the official Finance SDK sees it: the three HTTPS endpoints that the
// library really calls, and a CONNECT proxy in front of them, because the library has its host name built in. Point the
// library's proxy parameter at [Server.ProxyURL], or a client with an address of its own at [Server.URL].
//
// The service is imitated from what the library's build 200215 sends and takes ("observed", with the page of
// developer.work.weixin.qq.com where one says it: "official"). What no source tells is marked "assumed". It is never kinder
// than the service: limits, tokens, the 120 hours and the concurrency are enforced, by an injected clock.
//
//	server, err := wecomsim.Start(wecomsim.Options{Now: clock.Now})
//	err = server.AddCorp(wecomsim.Corp{ID: "ww1", Secret: "s", Keys: keys, Messages: messages})
package wecomsim

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// host is the name that the library asks the proxy for (observed).
const host = "qyapi.weixin.qq.com"

// keeps is how long messages and media are handed out (official 91552).
const keeps = 120 * time.Hour

// Options shape a server. The zero value is a server on free loopback ports with the real time.
type Options struct {
	Now func() time.Time // default time.Now
	Log *slog.Logger     // one debug line per request; default none

	// ProxyPassword is "user:password" that the proxy asks for; "" lets everyone in.
	ProxyPassword string
	// Concurrent bounds the requests for one endpoint and company that are under way, beyond it comes 45033; default 5
	// (Tencent's staff, developers.weixin community). Negative: no bound.
	Concurrent int
	// TokenLives is how long a token lives; default 7200 s (official 91039).
	TokenLives time.Duration
}

// Server is a running simulator.
type Server struct {
	URL      string // https://127.0.0.1:port
	ProxyURL string // http://127.0.0.1:port
	CA       []byte // PEM of the certificate that signs the server's

	options Options
	service net.Listener // raw TCP; TLS is put on each connection
	proxy   net.Listener
	tls     *tls.Config
	closed  chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	corps  map[string]*corp // by id
	faults []*fault
	conns  map[net.Conn]bool
}

// Start listens on loopback. Close ends it.
func Start(o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Concurrent == 0 {
		o.Concurrent = 5
	}
	if o.TokenLives == 0 {
		o.TokenLives = 7200 * time.Second
	}
	s := &Server{options: o, closed: make(chan struct{}), corps: map[string]*corp{}, conns: map[net.Conn]bool{}}
	var err error
	if s.tls, s.CA, err = newCertificates(); err != nil {
		return nil, err
	}
	if s.service, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if s.proxy, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		s.service.Close()
		return nil, err
	}
	s.URL = "https://" + s.service.Addr().String()
	s.ProxyURL = "http://" + s.proxy.Addr().String()
	s.running.Go(func() { s.accept(s.service, s.serve) })
	s.running.Go(func() { s.accept(s.proxy, s.tunnel) })
	return s, nil
}

// AddCorp adds a company, or replaces the one with the same id; then its tokens and counters start anew.
func (s *Server) AddCorp(c Corp) error {
	added, err := newCorp(c)
	if err != nil {
		return err
	}
	if added.Now == nil {
		added.Now = s.options.Now
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corps[c.ID] = added
	return nil
}

// Close ends every connection and waits for what the server has under way.
func (s *Server) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	s.service.Close()
	s.proxy.Close()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

func (s *Server) accept(l net.Listener, handle func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if !s.track(conn) {
			conn.Close()
			return
		}
		s.running.Go(func() {
			defer s.forget(conn)
			handle(conn)
		})
	}
}

func (s *Server) track(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
	}
	s.conns[conn] = true
	return true
}

func (s *Server) forget(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// serve answers the one request of a connection, as HTTP/1.0 (observed). It writes the answer itself, because net/http
// would spell CONTENT-RANGE in its own way, which the library does not read.
func (s *Server) serve(raw net.Conn) {
	conn := tls.Server(raw, s.tls)
	in := bufio.NewReader(conn)
	request, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, 1<<20))
	if err != nil {
		return
	}
	gone := make(chan struct{}) // the client has left
	s.running.Go(func() {
		defer close(gone)
		in.ReadByte() // a client that still wants its answer sends nothing more
	})
	answer := s.answer(request, body, gone)
	if answer == nil {
		return
	}
	head := fmt.Sprintf("HTTP/1.0 %d %s\r\nDate: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n", answer.status,
		http.StatusText(answer.status), answer.date.UTC().Format(http.TimeFormat), answer.contentType(), len(answer.body))
	if answer.retryAfter != "" {
		head += "Retry-After: " + answer.retryAfter + "\r\n"
	}
	if answer.contentRange != "" {
		head += "CONTENT-RANGE: " + answer.contentRange + "\r\n"
	}
	sent := answer.body
	if answer.cut {
		sent = sent[:len(sent)/2]
	}
	io.WriteString(conn, head+"\r\n")
	conn.Write(sent)
	if !answer.cut {
		conn.Close()
	}
}

// newCertificates makes an authority and a certificate for the service, valid for any clock of a test.
func newCertificates() (*tls.Config, []byte, error) {
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial),
			Subject:      pkix.Name{CommonName: name},
			NotBefore:    time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
			NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	ca := template(1, "wecomsim")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	leaf := template(2, host)
	leaf.DNSNames, leaf.IPAddresses = []string{host, "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, nil, err
	}
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leafDER}, PrivateKey: key}}}
	return config, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), nil
}
