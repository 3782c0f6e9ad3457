package kintone_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/kintone"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
)

const appLog = 7

func logApp() kintonesim.App {
	return kintonesim.App{ID: appLog, Token: "log", ReadToken: "log-view", Fields: []kintonesim.Field{
		{Code: "msgid", Type: "SINGLE_LINE_TEXT", Unique: true, Required: true},
		{Code: "seq", Type: "NUMBER"},
		{Code: "msgtime", Type: "DATETIME"},
		{Code: "status", Type: "DROP_DOWN", Options: []string{"FINISHED", "FILE_WAITING"}},
		{Code: "revoked", Type: "CHECK_BOX", Options: []string{"revoked"}},
		{Code: "from", Type: "SINGLE_LINE_TEXT"},
		{Code: "content", Type: "MULTI_LINE_TEXT"},
		{Code: "filesize", Type: "NUMBER"},
		{Code: "url", Type: "SINGLE_LINE_TEXT", Unique: true},
		{Code: "file", Type: "FILE"},
		{Code: "payload", Type: "FILE"},
	}}
}

func start(t *testing.T, edit ...func(*kintonesim.Options)) *kintonesim.Server {
	t.Helper()
	o := kintonesim.Options{Apps: []kintonesim.App{logApp(), {ID: 9, Token: "guest", Space: 3, Fields: []kintonesim.Field{{Code: "k", Type: "NUMBER", Unique: true}}}}}
	for _, e := range edit {
		e(&o)
	}
	srv, err := kintonesim.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

func dial(t *testing.T, o kintone.Options) *kintone.Client {
	t.Helper()
	c, err := kintone.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func row(key string, values map[string]any) kintone.Row {
	return kintone.Row{Field: "msgid", Key: key, Values: values}
}

func TestWriteAndFind(t *testing.T) {
	srv, ctx := start(t), context.Background()
	c := dial(t, kintone.Options{URL: srv.URL, Token: "log"})

	fields, err := c.Fields(ctx, appLog)
	if err != nil {
		t.Fatal(err)
	}
	if f := fields["msgid"]; !f.Unique || !f.Required || f.Type != "SINGLE_LINE_TEXT" || len(fields["status"].Options) != 2 || fields["更新日時"].Type != "UPDATED_TIME" {
		t.Errorf("got %+v", fields)
	}

	key, err := c.Upload(ctx, `截图 "日本語"\.png`, "image/png", 5, strings.NewReader("bytes"))
	if err != nil {
		t.Fatal(err)
	}
	results, err := c.Put(ctx, appLog, kintone.Upsert, []kintone.Row{
		row("a", map[string]any{"seq": "1", "file": []kintone.FileKey{{Key: key}}, "msgid": "a"}),
		row(`b\"`, nil),
	})
	if want := []kintone.Result{{ID: "1", Revision: "1", Operation: "INSERT"}, {ID: "2", Revision: "1", Operation: "INSERT"}}; !cmp.Equal(results, want) {
		t.Errorf("got %v, %v, want %v", results, err, want)
	}
	results, err = c.Put(ctx, appLog, kintone.Update, []kintone.Row{row("a", map[string]any{"revoked": []string{"revoked"}})})
	if want := []kintone.Result{{ID: "1", Revision: "2", Operation: "UPDATE"}}; !cmp.Equal(results, want) {
		t.Errorf("got %v, %v, want %v", results, err, want)
	}

	// 300 keys make a query that no URL can hold.
	keys := []string{"a", `b\"`}
	for i := range 300 {
		keys = append(keys, fmt.Sprintf("%060d", i))
	}
	found, err := c.Find(ctx, appLog, "msgid", keys, []string{"$id", "msgid", "seq"})
	if err != nil || len(found) != 2 || found[0].Text("msgid") != "a" || found[1].Text("$id") != "2" || found[1].Text("msgid") != `b\"` {
		t.Errorf("got %v, %v", found, err)
	}
	if files := srv.Rows(appLog)[0].Values["file"].([]kintonesim.File); files[0].Name != `截图 "日本語"\.png` || string(files[0].Content) != "bytes" || files[0].MediaType != "image/png" {
		t.Errorf("got %+v", files[0])
	}
	if running, limit := c.Load(); running != 1 || limit != 100 {
		t.Errorf("load: got %d of %d, want 1 of 100", running, limit)
	}
}

// TestClasses provokes what kintone answers and looks at what the caller is told to do.
func TestClasses(t *testing.T) {
	many := func(n int) []kintone.Row {
		rows := make([]kintone.Row, n)
		for i := range rows {
			rows[i] = row(fmt.Sprint("m", i), nil)
		}
		return rows
	}
	spoil := func(rows []kintone.Row, at ...int) []kintone.Row {
		for _, i := range at {
			rows[i].Values = map[string]any{"status": "SECRET"}
		}
		return rows
	}
	tests := []struct {
		name  string
		fault kintonesim.FaultKind
		token string
		app   int64
		mode  kintone.Mode
		rows  []kintone.Row
		class kintone.Class
		text  string
	}{
		{name: "101 rows", rows: many(101), class: kintone.Permanent, text: "kintone: 400 CB_VA01 at records"},
		{name: "bad rows", rows: spoil(many(5), 1, 3), class: kintone.BadRows, text: "kintone: 400 CB_VA01 at records[1].status.value, records[3].status.value"},
		{name: "missing row", mode: kintone.Update, rows: many(2), class: kintone.NoRecord, text: "kintone: 404 GAIA_RE20"},
		{name: "unknown file", rows: []kintone.Row{row("a", map[string]any{"file": []kintone.FileKey{{Key: "SECRET"}}})}, class: kintone.NoFile, text: "kintone: 404 GAIA_BL01"},
		{name: "wrong token", token: "SECRET", rows: many(1), class: kintone.Denied, text: "kintone: 400 GAIA_IA02, the API token is not valid: generate it in the app, and update the app"},
		{name: "token that may only view", token: "log-view", rows: many(1), class: kintone.Denied, text: "kintone: 403 GAIA_NO01, the API token is of another app or lacks a right: view, add and edit are needed"},
		{name: "unknown app", app: 99, rows: many(1), class: kintone.Denied, text: "kintone: 404 GAIA_AP01, there is no such app"},
		{name: "too large", rows: []kintone.Row{row("a", map[string]any{"content": strings.Repeat("SECRET", 1<<18)})}, class: kintone.TooLarge, text: "kintone: 413"},
		{name: "lock", fault: kintonesim.Locked, rows: many(1), class: kintone.Locked, text: "kintone: 400 GAIA_DA02"},
		{name: "busy", fault: kintonesim.Busy, rows: many(1), class: kintone.Busy, text: "kintone: 429 GAIA_TO04"},
		{name: "maintenance", fault: kintonesim.Maintenance, rows: many(1), class: kintone.Down, text: "kintone: 503"},
		{name: "hang", fault: kintonesim.Hang, rows: many(1), class: kintone.Down, text: "kintone: timeout"},
		{name: "lost answer", fault: kintonesim.Lost, rows: many(1), class: kintone.Down, text: "kintone: lost"},
		{name: "refused", fault: kintonesim.Refuse, rows: many(1), class: kintone.Down, text: "kintone: refused, dial tcp ADDRESS: connect: connection refused"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := start(t)
			if test.fault != 0 {
				defer srv.Fault(kintonesim.Fault{Kind: test.fault})()
			}
			token, app := "log", int64(appLog)
			if test.token != "" {
				token = test.token
			}
			if test.app != 0 {
				app = test.app
			}
			c := dial(t, kintone.Options{URL: srv.URL, Token: token, Stall: 200 * time.Millisecond})
			_, err := c.Put(context.Background(), app, test.mode, test.rows)
			var e *kintone.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v, want an *Error", err)
			}
			if text := strings.Replace(e.Error(), strings.TrimPrefix(srv.URL, "http://"), "ADDRESS", 1); e.Class() != test.class || text != test.text {
				t.Errorf("got class %d %q, want class %d %q", e.Class(), e, test.class, test.text)
			}
		})
	}
}

// TestAnswers is about codes and bodies that the simulator does not give.
func TestAnswers(t *testing.T) {
	tests := []struct {
		status      int
		body, paths string
		class       kintone.Class
		code        string
	}{
		{400, `{"code":"GAIA_RE18","id":"x","message":"…"}`, "", kintone.Locked, "GAIA_RE18"},
		{400, `{"code":"GAIA_LT01"}`, "", kintone.Locked, "GAIA_LT01"},
		{409, `{"code":"GAIA_CO02"}`, "", kintone.Locked, "GAIA_CO02"},
		{429, `{"code":"GAIA_TM12"}`, "", kintone.Busy, "GAIA_TM12"},
		{429, `slow down`, "", kintone.Busy, ""},
		{520, `{"code":"GAIA_IA02"}`, "", kintone.Denied, "GAIA_IA02"},
		{401, `<html>`, "", kintone.Denied, ""},
		{400, `{"code":"GAIA_LO04","message":"値「SECRET」が…"}`, "", kintone.HiddenRow, "GAIA_LO04"},
		{404, `{"code":"GAIA_RE01"}`, "", kintone.NoRecord, "GAIA_RE01"},
		{400, `{"code":"CB_IJ01"}`, "", kintone.Permanent, "CB_IJ01"},
		{520, `<html>`, "", kintone.TooLarge, ""},
		{502, ``, "", kintone.Down, ""},
		{302, ``, "", kintone.Down, ""},
		{200, `<html>sign in`, "", kintone.Down, "not_json"},
		{200, `{"records":[]}`, "", kintone.Down, "not_json"},
		{400, `{"code":"our SECRET"}`, "", kintone.Permanent, ""},
		{409, `{"results":[{},{"code":"GAIA_CO02"},{}]}`, "", kintone.Locked, "GAIA_CO02"},
		{400, `{"code":"CB_VA01","errors":{"records[3][size].value":{},"records[10].a.value":{},"records[3].size.value":{},"records":{}}}`, "3 10", kintone.BadRows, "CB_VA01"},
	}
	for _, test := range tests {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/login")
			w.WriteHeader(test.status)
			io.WriteString(w, test.body)
		}))
		c := dial(t, kintone.Options{URL: srv.URL, Token: "x"})
		_, err := c.Put(context.Background(), 1, kintone.Upsert, []kintone.Row{row("a", nil)})
		srv.Close()
		var e *kintone.Error
		if !errors.As(err, &e) {
			t.Fatalf("%d %s: got %v", test.status, test.body, err)
		}
		if e.Class() != test.class || e.Code != test.code || strings.Trim(fmt.Sprint(e.Rows()), "[]") != test.paths {
			t.Errorf("%d %s: got class %d code %q rows %v, want %d %q %s", test.status, test.body, e.Class(), e.Code, e.Rows(), test.class, test.code, test.paths)
		}
		if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("the error repeats the vendor's text: %v", err)
		}
	}
	e := &kintone.Error{Paths: []string{"records[1].a.value", "records[10].b.value", "records[1][n].value"}}
	if diff := cmp.Diff([]string{"a.value", "[n].value"}, e.RowPaths(1)); diff != "" {
		t.Errorf("paths of row 1 (-want +got):\n%s", diff)
	}
}

func TestNoValueInErrors(t *testing.T) {
	c := dial(t, kintone.Options{URL: "http://127.0.0.1:1", Token: "TOKEN", Proxy: ""})
	_, err := c.Find(context.Background(), 1, "msgid", []string{"KEY"}, nil)
	if err == nil || strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), "KEY") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Fields(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled inside", err)
	}
}

func TestOptions(t *testing.T) {
	bad := []kintone.Options{
		{Token: "t"}, {URL: "example.cybozu.com", Token: "t"}, {URL: "https://user:SECRET@x", Token: "t"},
		{URL: "http://example.cybozu.com", Token: "t"}, {URL: "http://10.0.0.1/k", Token: "t"},
		{URL: "https://x"}, {URL: "https://x", Token: " , "}, {URL: "https://x", Token: "1,2,3,4,5,6,7,8,9,10"},
		{URL: "https://x", Token: "t", BasicAuth: "SECRET"}, {URL: "https://x", Token: "t", Proxy: "//u:SECRET@%%"},
	}
	for _, o := range bad {
		if _, err := kintone.New(o); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%+v: got %v", o, err)
		}
	}
}

// TestRoads reaches the site in every way that a configuration can ask for.
func TestRoads(t *testing.T) {
	ctx := context.Background()
	t.Run("base URL", func(t *testing.T) {
		srv := start(t)
		for _, path := range []string{"", "/", "/k", "/k/v1", "/k/v1/"} {
			if _, err := dial(t, kintone.Options{URL: srv.URL + path, Token: "log"}).Fields(ctx, appLog); err != nil {
				t.Errorf("%q: %v", path, err)
			}
		}
		for _, path := range []string{"/k/guest/3", "/k/guest/3/", "/k/guest/3/v1"} {
			if _, err := dial(t, kintone.Options{URL: srv.URL + path, Token: "log, guest"}).Fields(ctx, 9); err != nil {
				t.Errorf("%q: %v", path, err)
			}
		}
	})
	t.Run("basic auth", func(t *testing.T) {
		srv := start(t, func(o *kintonesim.Options) { o.BasicAuth = "site:pa:ss" })
		if _, err := dial(t, kintone.Options{URL: srv.URL, Token: "log", BasicAuth: "site:pa:ss"}).Fields(ctx, appLog); err != nil {
			t.Error(err)
		}
		var e *kintone.Error
		if _, err := dial(t, kintone.Options{URL: srv.URL, Token: "log"}).Fields(ctx, appLog); !errors.As(err, &e) || e.Class() != kintone.Denied {
			t.Errorf("without it: got %v", err)
		}
	})
	t.Run("proxy", func(t *testing.T) {
		srv := start(t)
		var seen string
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Get("Proxy-Authorization")
			r.RequestURI = ""
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			io.Copy(w, resp.Body)
		}))
		defer proxy.Close()
		with := strings.Replace(proxy.URL, "http://", "http://user:pass@", 1)
		if _, err := dial(t, kintone.Options{URL: srv.URL, Token: "log", Proxy: with}).Fields(ctx, appLog); err != nil || seen == "" {
			t.Errorf("got %v, proxy saw %q", err, seen)
		}
	})
}

// TestClientCertificate reaches a site that asks for one, as https://example.s.cybozu.com does.
func TestClientCertificate(t *testing.T) {
	pair, roots := certificate(t)
	srv := start(t, func(o *kintonesim.Options) {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert}
	})
	with := &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
	if _, err := dial(t, kintone.Options{URL: srv.URL, Token: "log", TLS: with}).Fields(context.Background(), appLog); err != nil {
		t.Error(err)
	}
	if _, err := dial(t, kintone.Options{URL: srv.URL, Token: "log", TLS: &tls.Config{RootCAs: roots}}).Fields(context.Background(), appLog); err == nil {
		t.Error("the site lets a client without certificate in: the test proves nothing")
	}
}

// certificate makes one that signs itself and serves both ends.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}

// source makes n bytes without holding them.
type source struct{ n int64 }

func (s *source) Read(p []byte) (int, error) {
	if s.n == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), s.n)]
	for i := range p {
		p[i] = byte(s.n >> (i % 8))
	}
	s.n -= int64(len(p))
	return len(p), nil
}

func TestUploadStreams(t *testing.T) {
	srv := start(t, func(o *kintonesim.Options) { o.KeepFiles = 1 })
	c := dial(t, kintone.Options{URL: srv.URL, Token: "log"})
	const size = 64 << 20
	sum := sha256.New()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	key, err := c.Upload(context.Background(), "big", "", size, io.TeeReader(&source{size}, sum))
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
		t.Errorf("%d bytes were allocated to upload %d", grown, size)
	}
	if _, err := c.Put(context.Background(), appLog, kintone.Upsert, []kintone.Row{row("a", map[string]any{"file": []kintone.FileKey{{Key: key}}})}); err != nil {
		t.Fatal(err)
	}
	if f := srv.Rows(appLog)[0].Values["file"].([]kintonesim.File)[0]; f.Size != size || f.SHA256 != hex.EncodeToString(sum.Sum(nil)) {
		t.Errorf("got %d bytes, sha256 %s", f.Size, f.SHA256)
	}
}

func TestUploadOfABrokenSource(t *testing.T) {
	srv := start(t)
	c := dial(t, kintone.Options{URL: srv.URL, Token: "log"})
	broken := errors.New("spool file is gone")
	for _, test := range []struct {
		r    io.Reader
		want error
	}{
		{bytes.NewReader([]byte("short")), io.ErrUnexpectedEOF},
		{io.MultiReader(strings.NewReader("short"), errorReader{broken}), broken},
	} {
		if _, err := c.Upload(context.Background(), "a", "", 10, test.r); !errors.Is(err, test.want) {
			t.Errorf("got %v, want %v", err, test.want)
		}
	}
	if n := srv.Counters().Uploaded; n != 0 {
		t.Errorf("%d files were kept", n)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }
