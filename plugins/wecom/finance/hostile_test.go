package finance_test

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
)

// Whoever answers may not be WeCom: no answer holds a call for ever, fills the memory, or leads the secret elsewhere.
func TestHostileAnswers(t *testing.T) {
	var sent, elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 64 {
		zip.Write(make([]byte, 1<<20))
	}
	zip.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for piece := make([]byte, 1<<20); ; {
				n, err := w.Write(piece)
				if sent.Add(int64(n)); err != nil {
					return
				}
			}
		},
		"a byte now and then": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				io.WriteString(w, " ")
				http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		},
		"no header": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"gzip bomb": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Write(bomb.Bytes())
		},
		"long headers": func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 1<<20)) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		},
		"a token for ever": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"errcode":0,"access_token":"`+strings.Repeat("x", 9<<20)+`"}`)
		},
	} {
		server := httptest.NewTLSServer(answer)
		ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		c, err := finance.NewPlain(finance.Options{CorpID: "a", Secret: "b", BaseURL: server.URL, CA: ca, Timeout: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		sent.Store(0)
		began := time.Now()
		_, err = c.ChatData(t.Context(), 0, 10)
		var refused *finance.Error
		if !errors.As(err, &refused) || time.Since(began) > 5*time.Second {
			t.Errorf("%s: got %v after %v", name, err, time.Since(began))
		}
		if n := sent.Load(); n > 32<<20 {
			t.Errorf("%s: took %d MiB for a token", name, n>>20)
		}
		c.Close()
		server.CloseClientConnections()
		server.Close()
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests to another host", n)
	}
}

func TestOldTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	c, err := finance.NewPlain(finance.Options{CorpID: "a", Secret: "b", BaseURL: server.URL, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.ChatData(t.Context(), 0, 10); err == nil {
		t.Error("TLS 1.1 was spoken")
	}
}
