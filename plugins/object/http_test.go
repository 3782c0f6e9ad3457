package object_test

import (
	"crypto/rand"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

type watched struct {
	io.Reader
	closed atomic.Bool
}

func (w *watched) Close() error {
	w.closed.Store(true)
	return nil
}

// After an early answer the body belongs to the caller again.
func TestBodyIsLeftAlone(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer server.Close()
	client, err := object.Transport{Silence: 5 * time.Second}.Client()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		body := &watched{Reader: io.LimitReader(rand.Reader, 64<<20)}
		req, _ := http.NewRequestWithContext(t.Context(), "PUT", server.URL, body)
		resp, err := client.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if !body.closed.Load() {
			t.Fatal("the body was still in use after the answer")
		}
	}
}

func TestSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // connections are accepted by the kernel and never answered
	client, err := object.Transport{Silence: 50 * time.Millisecond}.Client()
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Get("http://" + l.Addr().String())
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func TestProxyAndCA(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer secure.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, []byte(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proxied.Add(1)
		if r.Header.Get("Proxy-Authorization") != "Basic dTpw" { // u:p
			w.WriteHeader(http.StatusProxyAuthRequired)
		}
	}))
	defer proxy.Close()

	get := func(tr object.Transport, url string) error {
		client, err := tr.Client()
		if err != nil {
			return err
		}
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				err = errors.New(resp.Status)
			}
		}
		return err
	}
	if err := get(object.Transport{}, secure.URL); err == nil {
		t.Error("an unknown authority was trusted")
	}
	for _, ca := range []string{certificate, file} {
		if err := get(object.Transport{CA: sdk.NewSecret(ca)}, secure.URL); err != nil {
			t.Error(err)
		}
	}
	if err := get(object.Transport{Proxy: sdk.NewSecret("http://u:p@" + proxy.Listener.Addr().String())}, "http://store.invalid/k"); err != nil || proxied.Load() != 1 {
		t.Errorf("through the proxy: %v, %d requests", err, proxied.Load())
	}
}
