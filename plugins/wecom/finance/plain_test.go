package finance_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

func TestPlainArchive(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	o := w.options()
	var dates atomic.Int32
	o.Answered = func(h http.Header) {
		if at, err := http.ParseTime(h.Get("Date")); err == nil && at.Sub(w.clock.Now()).Abs() < time.Minute {
			dates.Add(1)
		}
	}
	c := w.plain(t, o)
	checkArchive(t, w, c, finance.Decode)
	if dates.Load() < 3 {
		t.Errorf("the dates of %d answers were seen", dates.Load())
	}
	if calls := w.Calls("ww1"); calls.Tokens != 1 || len(calls.Refused) != 0 || calls.PagesAgain != 0 || calls.ShardsAgain != 0 {
		t.Errorf("got %+v, want one token and nothing refused or asked again", calls)
	}

	if _, err := rows(t, c, 0, 7); err != nil {
		t.Error(err)
	}
	if _, _, err := download(t.Context(), c, "long"); err != nil {
		t.Error(err)
	}
	if calls := w.Calls("ww1"); calls.PagesAgain != 1 || calls.ShardsAgain != 3 {
		t.Errorf("got %+v, want one page and three shards asked again", calls)
	}
}

// The same page twice is the same bytes, and what was not visible heals later.
func TestPlainPages(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	c := w.plain(t, w.options())
	first, err := c.ChatData(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.ChatData(t.Context(), 0, 1000); err != nil || string(again) != string(first) {
		t.Errorf("second page differs, error %v", err)
	}
	w.clock.Add(time.Minute)
	if got, err := rows(t, c, 0, 1000); err != nil || len(got) != 29 || got[4].MsgID != "m5" {
		t.Errorf("after the hole healed: got %d rows, error %v, want 29", len(got), err)
	}
	w.clock.Add(119*time.Hour + time.Minute)
	if got, err := rows(t, c, 0, 1000); err != nil || len(got) != 0 {
		t.Errorf("after 120 hours: got %d rows, error %v, want none", len(got), err)
	}
}

func TestPlainProxy(t *testing.T) {
	w := newWorld(t, wecomsim.Options{ProxyPassword: "user:p@ss"})
	o := w.options()
	o.BaseURL, o.Proxy = "", w.ProxyURL

	_, err := rows(t, w.plain(t, o), 0, 10)
	wantCode(t, "without password", err, finance.Network, finance.Config)
	o.ProxyPassword = "user:wrong"
	_, err = rows(t, w.plain(t, o), 0, 10)
	wantCode(t, "wrong password", err, finance.Network, finance.Config)
	o.ProxyPassword = "user:p@ss"
	if got, err := rows(t, w.plain(t, o), 0, 10); err != nil || len(got) != 10 {
		t.Errorf("got %d rows, error %v, want 10", len(got), err)
	}
	o.BaseURL = "https://other.invalid"
	_, err = rows(t, w.plain(t, o), 0, 10)
	wantCode(t, "proxy that refuses the host", err, finance.Network, finance.Retry)
	o.BaseURL, o.CA = "", nil
	_, err = rows(t, w.plain(t, o), 0, 10)
	wantCode(t, "unknown certificate", err, finance.Certificate, finance.Config)
}

func TestPlainOptions(t *testing.T) {
	good := finance.Options{CorpID: "a", Secret: "b"}
	for name, change := range map[string]func(*finance.Options){
		"no corp id": func(o *finance.Options) { o.CorpID = "" },
		"no secret":  func(o *finance.Options) { o.Secret = "" },
		"ca":         func(o *finance.Options) { o.CA = []byte("no pem") },
		"base url":   func(o *finance.Options) { o.BaseURL = "http://plain" },
		"proxy":      func(o *finance.Options) { o.Proxy = "10.0.0.1:8081" },
		"proxy user": func(o *finance.Options) { o.Proxy = "http://u:p@10.0.0.1:8081" },
		"proxy ftp":  func(o *finance.Options) { o.Proxy = "ftp://10.0.0.1" },
		"user only":  func(o *finance.Options) { o.Proxy, o.ProxyPassword = "socks5://10.0.0.1:1", "user" },
	} {
		o := good
		change(&o)
		_, err := finance.NewPlain(o)
		wantCode(t, name, err, finance.BadArgument, finance.Config)
	}
	if _, err := finance.NewPlain(good); err != nil {
		t.Errorf("good options: %v", err)
	}
}

func TestPlainRefusals(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	c := w.plain(t, w.options())
	for _, limit := range []int{-1, 0, 1001} {
		_, err := c.ChatData(t.Context(), 0, limit)
		wantCode(t, "limit", err, finance.BadArgument, finance.Permanent)
	}
	for _, id := range []string{"", "not a file id", "AAAA", wecomsim.SDKFileID("one", authKey, "00")} {
		_, err := c.Media(t.Context(), id, "")
		wantCode(t, "bad file id", err, finance.BadFileID, finance.Permanent)
	}
	for _, index := range []string{"x", "Range:bytes=5", "Range:bytes=9-3", "bytes=0-1"} {
		_, err := c.Media(t.Context(), sdkFileID("one"), index)
		wantCode(t, "bad index", err, finance.BadArgument, finance.Permanent)
	}
	_, err := c.Media(t.Context(), sdkFileID("one"), "Range:bytes=524288-600000")
	wantCode(t, "index behind the file", err, 40058, finance.Retry)
	_, err = c.Media(t.Context(), wecomsim.SDKFileID("one", "other", aesKey), "")
	wantCode(t, "other authkey", err, 40058, finance.Retry)
	_, err = c.Media(t.Context(), wecomsim.SDKFileID("one", authKey, strings.Repeat("ff", 16)), "")
	wantCode(t, "other aes key", err, finance.NotDecrypted, finance.Retry)
	_, _, err = download(t.Context(), c, "old")
	wantCode(t, "old media", err, finance.TooOld, finance.Permanent)
	_, _, err = download(t.Context(), c, "late")
	wantCode(t, "late media", err, -1, finance.Retry)
	w.clock.Add(40 * time.Minute)
	if _, _, err = download(t.Context(), c, "late"); err != nil {
		t.Errorf("late media after its time: %v", err)
	}

	o := w.options()
	o.Secret = "wrong"
	_, err = rows(t, w.plain(t, o), 0, 10)
	wantCode(t, "wrong secret", err, 40001, finance.Config)
	o.CorpID = "ww2"
	_, err = rows(t, w.plain(t, o), 0, 10)
	wantCode(t, "wrong corp", err, 40013, finance.Config)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ChatData(ctx, 0, 10); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: got %v", err)
	}
}

func TestPlainFaults(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	o := w.options()
	o.Timeout = time.Second // the hanging service costs two of them
	c := w.plain(t, o)
	tests := []struct {
		name  string
		fault wecomsim.Fault
		code  int
		class finance.Class
	}{
		{"frequency", wecomsim.Fault{Errcode: 45009}, 45009, finance.Throttled},
		{"concurrency", wecomsim.Fault{Errcode: 45033}, 45033, finance.Throttled},
		{"address", wecomsim.Fault{Errcode: 301042}, 301042, finance.Config},
		{"expired", wecomsim.Fault{Errcode: 301052}, 301052, finance.Config},
		{"busy", wecomsim.Fault{Errcode: -1}, -1, finance.Retry},
		{"html", wecomsim.Fault{Body: "<html>502</html>", Status: 502}, finance.NotParsed, finance.Retry},
		{"redirect", wecomsim.Fault{Status: 302}, finance.NotParsed, finance.Retry},
		{"500", wecomsim.Fault{Status: 500}, finance.NotParsed, finance.Retry},
		{"drop", wecomsim.Fault{Drop: true}, finance.Network, finance.Retry},
		{"cut", wecomsim.Fault{Cut: true}, finance.Network, finance.Retry},
		{"hang", wecomsim.Fault{Hang: true}, finance.Network, finance.Retry},
	}
	if _, err := rows(t, c, 0, 10); err != nil { // fetches the token
		t.Fatal(err)
	}
	for _, test := range tests {
		lift := w.Fault(test.fault)
		_, err := rows(t, c, 0, 10)
		wantCode(t, test.name, err, test.code, test.class)
		if test.code != 301042 { // for media the library has a code of its own
			_, _, err = download(t.Context(), c, "one")
			wantCode(t, test.name+", media", err, test.code, test.class)
		}
		for _, secret := range []string{"the-secret", "hint", "from ip", "access_token=", authKey, aesKey, sdkFileID("one"), w.URL} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: error %q tells %q", test.name, err, secret)
			}
		}
		lift()
	}
	if _, err := rows(t, c, 0, 10); err != nil {
		t.Errorf("after the faults: %v", err)
	}
	w.Fault(wecomsim.Fault{Slow: 50 * time.Millisecond, Times: 1})
	if _, err := rows(t, c, 0, 10); err != nil {
		t.Errorf("slow: %v", err)
	}
	w.Fault(wecomsim.Fault{Endpoint: "getchatmediadata", FileID: "long", Errcode: -1})
	if _, _, err := download(t.Context(), c, "one"); err != nil {
		t.Errorf("fault of another file: %v", err)
	}
}

func TestPlainToken(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	c := w.plain(t, w.options())
	tokens := func() int { return w.Calls("ww1").Tokens }
	ask := func(what string, code, want int) {
		t.Helper()
		_, err := rows(t, c, 0, 10)
		if code == 0 && err != nil {
			t.Errorf("%s: %v", what, err)
		} else if code != 0 {
			wantCode(t, what, err, code, finance.Retry)
		}
		if got := tokens(); got != want {
			t.Errorf("%s: got %d tokens, want %d", what, got, want)
		}
	}
	ask("first", 0, 1)
	ask("second", 0, 1)
	w.clock.Add(7199 * time.Second)
	ask("before it expires", 0, 1)
	w.clock.Add(time.Second)
	ask("after it expired", 0, 2)

	w.Fault(wecomsim.Fault{Revoke: true, Times: 1})
	ask("revoked", 0, 3)
	w.Fault(wecomsim.Fault{Revoke: true, Times: 1})
	ask("revoked again within a minute", 40014, 3)
	w.clock.Add(time.Minute)
	ask("a minute later", 0, 4)

	// A token that the client believes in and the service does not.
	w.clock.Add(time.Minute)
	w.Fault(wecomsim.Fault{Errcode: 42001, Times: 1})
	ask("expired early", 0, 5)
	w.clock.Add(time.Minute)
	w.Fault(wecomsim.Fault{Errcode: 42001, Endpoint: "getchatdata"})
	ask("never accepted", 42001, 6)
}

// A wrong secret must not hammer gettoken, and a new one is tried after a minute.
func TestPlainTokenRefused(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	c := w.plain(t, w.options())
	lift := w.Fault(wecomsim.Fault{Endpoint: "gettoken", Errcode: 40001})
	for range 5 {
		_, err := rows(t, c, 0, 10)
		wantCode(t, "wrong secret", err, 40001, finance.Config)
	}
	if got := w.Calls("ww1").Refused[40001]; got != 1 {
		t.Errorf("got %d calls of gettoken, want 1", got)
	}
	lift()
	w.clock.Add(time.Minute)
	if _, err := rows(t, c, 0, 10); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestPlainFrequency(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	c := w.plain(t, w.options())
	for range finance.PagesPerMinute {
		if _, err := rows(t, c, 100, 1); err != nil {
			t.Fatal(err)
		}
	}
	_, err := rows(t, c, 100, 1)
	wantCode(t, "call 601", err, 45009, finance.Throttled)
	if refusal := (*finance.Error)(nil); !errors.As(err, &refusal) || refusal.Wait() != time.Minute {
		t.Errorf("got %v, want a minute to wait", err)
	}
	w.clock.Add(time.Minute)
	if _, err := rows(t, c, 100, 1); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

// The client keeps to its slots; without them the service refuses.
func TestPlainParallel(t *testing.T) {
	w := newWorld(t, wecomsim.Options{Concurrent: 2})
	storm := func(parallel int) (refused int) {
		o := w.options()
		o.Parallel = parallel
		c := w.plain(t, o)
		if _, err := rows(t, c, 0, 10); err != nil {
			t.Fatal(err)
		}
		lift := w.Fault(wecomsim.Fault{Slow: 100 * time.Millisecond})
		defer lift()
		before := w.Calls("ww1").Refused[45033]
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() { rows(t, c, 0, 10) })
		}
		wg.Wait()
		return w.Calls("ww1").Refused[45033] - before
	}
	if got := storm(2); got != 0 {
		t.Errorf("2 slots: got %d refusals, want none", got)
	}
	if got := storm(6); got == 0 {
		t.Error("6 slots: got no refusal")
	}
}

// The service closes the connection after each answer. Whoever it was that showed a certificate, it need not be looked at again.
func TestSessionIsTakenUpAgain(t *testing.T) {
	var resumed []bool
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resumed = append(resumed, r.TLS.DidResume)
		w.Header().Set("Connection", "close")
		io.WriteString(w, `{"errcode":0,"errmsg":"ok","access_token":"t","expires_in":7200,"chatdata":[]}`)
	}))
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	p, err := finance.NewPlain(finance.Options{CorpID: "c", Secret: "s", BaseURL: server.URL, CA: ca})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 {
		if _, err := p.ChatData(t.Context(), 0, finance.MaxPage); err != nil {
			t.Fatal(err)
		}
	}
	if want := []bool{false, true, true}; !slices.Equal(resumed, want) { // the token, and two pages
		t.Errorf("got %v, want %v", resumed, want)
	}
}
