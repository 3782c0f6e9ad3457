package kintone

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A sender chooses the name of a file, and a plugin its media type: neither adds a header to the form, nor ends it.
func TestHostileFileNames(t *testing.T) {
	var form []byte
	var contentType string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, _ = io.ReadAll(r.Body)
		contentType = r.Header.Get("Content-Type")
		io.WriteString(w, `{"fileKey":"k"}`)
	}))
	defer server.Close()
	client, err := New(Options{URL: server.URL, Token: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	long := strings.Repeat("长", 5000) + ".docx"
	for name, want := range map[string]string{
		"../../etc/passwd":              "../../etc/passwd", // kept: kintone knows no folders, and an archive keeps what was sent
		`..\..\windows\CON.txt`:         `..\..\windows\CON.txt`,
		`a"; name="app`:                 `a"; name="app`,
		"a\r\nContent-Type: text/html":  "a__Content-Type: text/html",
		"a\r\n\r\nbody\r\n--x--\r\n":    "a____body__--x--__",
		"a\nX: y":                       "a_X: y",
		"a\x00b\x1b[2Jc\x7f":            "a_b_[2Jc_",
		"a\u0085b\u2028c":               "a_b_c",
		"invoice_\u202egpj.exe":         "invoice_\u202egpj.exe",
		"half\xe4\xb8.txt":              "half_.txt",
		"trailing dots...":              "trailing dots...",
		`ends in a backslash\`:          `ends in a backslash\`,
		long:                            long,
		"=HYPERLINK(\"http://x\").csv":  "=HYPERLINK(\"http://x\").csv",
		"${var.corp_id} %0d%0aX: y.txt": "${var.corp_id} %0d%0aX: y.txt",
	} {
		for media, wantMedia := range map[string]string{
			"image/png": "image/png", "": "application/octet-stream", "text/plain; charset=utf-8": "text/plain; charset=utf-8",
			"text/html\r\nX-Evil: 1": "application/octet-stream", "text/plain; a=\"\r\n\"": "application/octet-stream", "画像": "application/octet-stream",
		} {
			if _, err := client.Upload(t.Context(), name, media, 5, strings.NewReader("bytes")); err != nil {
				t.Fatalf("%q: %v", name, err)
			}
			_, params, err := mime.ParseMediaType(contentType)
			if err != nil {
				t.Fatal(err)
			}
			// Read as bytes, not by the package that wrote it: exactly two headers, an empty line, the content, the end.
			lines := bytes.Split(form, []byte("\r\n"))
			escaped := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(want)
			got := []string{}
			for _, l := range lines {
				got = append(got, string(l))
			}
			b := "--" + params["boundary"]
			if len(got) != 7 || got[0] != b || got[1] != `Content-Disposition: form-data; name="file"; filename="`+escaped+`"` ||
				got[2] != "Content-Type: "+wantMedia || got[3] != "" || got[4] != "bytes" || got[5] != b+"--" || got[6] != "" {
				t.Errorf("%q, %q:\n%.500q", name, media, form)
			}
		}
	}
}

// Whoever answers may not be kintone: no answer holds a call for ever, fills the memory, or leads the token elsewhere.
func TestHostileAnswers(t *testing.T) {
	var sent, elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 128 {
		zip.Write(make([]byte, 1<<20))
	}
	zip.Close()
	endless := func(w http.ResponseWriter) {
		for piece := make([]byte, 1<<20); ; {
			n, err := w.Write(piece)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	}
	answers := map[string]func(w http.ResponseWriter, r *http.Request){
		"endless": func(w http.ResponseWriter, r *http.Request) { endless(w) },
		"endless refusal": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			endless(w)
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
	}
	for name, code := range map[string]string{
		"endless": "not_json", "endless refusal": "", "a byte now and then": "timeout", "no header": "timeout", "gzip bomb": "not_json",
		"long headers": "lost", "redirect": "",
	} {
		server := httptest.NewServer(http.HandlerFunc(answers[name]))
		answer := 10 * time.Second
		if code == "timeout" {
			answer = 300 * time.Millisecond
		}
		client, err := New(Options{URL: server.URL, Token: "t", Answer: answer})
		if err != nil {
			t.Fatal(err)
		}
		sent.Store(0)
		_, err = client.Find(t.Context(), 1, "msgid", []string{"a"}, []string{"$id"})
		var refused *Error
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("%s: got %v, want code %q", name, err, code)
		}
		if n := sent.Load(); n > maxAnswer+32<<20 || name == "endless refusal" && n > 32<<20 {
			t.Errorf("%s: took %d MiB", name, n>>20)
		}
		client.Close()
		server.CloseClientConnections()
		server.Close()
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests to another host", n)
	}
}

// A certificate that nobody vouches for is refused, and so is an old protocol.
func TestHostileTLS(t *testing.T) {
	for name, config := range map[string]*tls.Config{
		"protocol version": {MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"certificate":      {},
	} {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = config
		server.StartTLS()
		defer server.Close()
		o := Options{URL: server.URL, Token: "t"}
		if name == "protocol version" {
			pool := x509.NewCertPool()
			pool.AddCert(server.Certificate())
			o.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10}
		}
		client, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		_, err = client.Find(t.Context(), 1, "msgid", []string{"a"}, []string{"$id"})
		if inner := errors.Unwrap(err); inner == nil || !strings.Contains(inner.Error(), name) {
			t.Errorf("%s: got %v (%v)", name, err, inner)
		}
		if name == "certificate" && !strings.Contains(err.Error(), "the certificate is not accepted: x509: ") {
			t.Errorf("an operator reads no more than %q", err)
		}
	}
}

// What was not reached is named; what a server has written, and the query of the request, are not.
func TestUnreached(t *testing.T) {
	dns := &net.DNSError{Err: "no such host", Name: "shpo.cybozu.com", IsNotFound: true}
	for want, err := range map[string]error{
		"kintone: lost, dial tcp: lookup shpo.cybozu.com: no such host":         &net.OpError{Op: "dial", Net: "tcp", Err: dns},
		"kintone: lost, proxyconnect tcp: lookup shpo.cybozu.com: no such host": &net.OpError{Op: "proxyconnect", Net: "tcp", Err: dns},
		"kintone: lost, the proxy asks for a user and password":                 errors.New("Proxy Authentication Required"),
		"kintone: lost": errors.New(`malformed HTTP response "SECRET"`),
	} {
		if got := lost(&url.Error{Op: "Get", URL: "https://shpo.cybozu.com/?query=SECRET", Err: err}).Error(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
