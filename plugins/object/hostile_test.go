package object_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// read asks url as the services' clients do: the whole answer, into memory.
func read(t *testing.T, client *http.Client, url string) (int, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "credentials")
	resp, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	return int(n), err
}

// Whoever answers may not be who was meant: no answer holds a call for ever, or fills the memory.
func TestHostileAnswers(t *testing.T) {
	var sent, elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	zip.Write(make([]byte, 64<<20))
	zip.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("/endless", func(w http.ResponseWriter, r *http.Request) {
		for piece := make([]byte, 1<<20); ; {
			n, err := w.Write(piece)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		for http.NewResponseController(w).Flush(); r.Context().Err() == nil; time.Sleep(10 * time.Millisecond) {
			io.WriteString(w, " ")
			http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/bomb", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(bomb.Bytes())
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 1<<20))
	})
	mux.HandleFunc("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	client, err := object.Transport{Silence: 5 * time.Second, Answer: 300 * time.Millisecond}.Client()
	if err != nil {
		t.Fatal(err)
	}
	generous, err := object.Transport{}.Client()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/endless": "too large", "/headers": "exceeded"} {
		if _, err := read(t, generous, server.URL+path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	if n := sent.Load(); n > 40<<20 {
		t.Errorf("took %d MiB of an endless answer", n>>20)
	}
	if _, err := read(t, client, server.URL+"/drip"); err == nil || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("a byte now and then: %v", err)
	}
	if n, err := read(t, generous, server.URL+"/bomb"); err != nil || n != bomb.Len() {
		t.Errorf("%d bytes of %d unpacked (%v), want them as they come", n, bomb.Len(), err)
	}
	if _, err := read(t, client, server.URL+"/redirect"); err != nil || elsewhere.Load() != 0 {
		t.Errorf("a redirect: %v, %d requests to another host", err, elsewhere.Load())
	}

	// Headers that come a byte at a time.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				bufio.NewReader(c).ReadString('\n')
				for _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX-A: "); err == nil; _, err = c.Write([]byte("x")) {
					time.Sleep(10 * time.Millisecond)
				}
			}()
		}
	}()
	began := time.Now()
	if _, err := read(t, client, "http://"+l.Addr().String()); err == nil || time.Since(began) > 4*time.Second {
		t.Errorf("headers without end: %v after %v", err, time.Since(began))
	}
}

func TestOldTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.StartTLS()
	defer server.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	client, err := object.Transport{CA: sdk.NewSecret(ca)}.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(t, client, server.URL); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

// What senders write into names and plugins into media types neither leaves a bucket's folders nor adds a header.
func TestHostileNames(t *testing.T) {
	for key, ok := range map[string]bool{
		"ww1/5-0_a.txt": true, "ww1/议事録 (1).pdf": true, "ww1/..a..": true, "ww1/CON.txt": true, strings.Repeat("k", 1023): true,
		"../../etc/passwd": false, "a/../b": false, "a/./b": false, "/etc/passwd": false, "a//b": false, "a/": false, "..": false, "": false,
		"a\x00b": false, "a\r\nX: y": false, "a\x1b[2J": false, "a\u0085b": false, `\\server\share`: false, `a\..\b`: false, `..\b`: false, `a\b`: true,
		strings.Repeat("k", 1024): false,
	} {
		s, files := open(t, newBucket(t), `{}`, "content")
		args, _ := json.Marshal(map[string]any{"files": []int{0}, "key": []string{key}})
		got := write(t, s, false, row(files, string(args)))[0]
		if done := got.Verdict == sdk.VerdictDone; done != ok || !ok && (got.Verdict != sdk.VerdictReject || got.Code != "bad_key") {
			t.Errorf("%.40q: %v %s", key, got.Verdict, got.Code)
		}
	}
	for media, want := range map[string]string{
		"image/png": "image/png", "": "application/octet-stream", "text/html\r\nX-Evil: 1": "application/octet-stream", "画像": "application/octet-stream",
		"text/plain; a=\"\n\"": "application/octet-stream",
	} {
		if got := (&object.Object{MediaType: media}).ContentType(); got != want {
			t.Errorf("media type %q: got %q, want %q", media, got, want)
		}
	}
	for _, name := range []string{"a\r\nX-Evil: 1.txt", "a\"; filename=\"b", "a\x00b", "invoice_\u202egpj.exe", "../../etc/passwd"} {
		got := (&object.Object{Name: name}).Disposition()
		_, params, err := mime.ParseMediaType(got)
		if err != nil || params["filename"] != name || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("name %q: header %q", name, got)
		}
	}
}
