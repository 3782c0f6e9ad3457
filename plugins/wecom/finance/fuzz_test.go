package finance

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// answers plays the service: the token, unless that is what is asked about, and one answer to everything else.
type answers struct {
	token, body, contentRange string
	status                    int
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	body := a.body
	if strings.HasSuffix(r.URL.Path, "/gettoken") {
		body = a.token
	}
	h := http.Header{}
	if a.contentRange != "" {
		h.Set("Content-Range", a.contentRange)
	}
	return &http.Response{StatusCode: a.status, Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// What must never be told.
const (
	fuzzSecret = "corp-secret-0123456789"
	fuzzToken  = "access-token-0123456789"
)

// errorForm is all that an error may say: our words and a code.
var errorForm = regexp.MustCompile(`^wecom (gettoken|getchatdata|getchatmediadata|randomkey|decrypt): code -?[0-9]{1,19}(: [a-z0-9', :-]{1,90})?$`)

func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got a %T: %v", err, err)
	}
	if text := err.Error(); !errorForm.MatchString(text) || strings.Contains(text, fuzzSecret) || strings.Contains(text, fuzzToken) {
		t.Errorf("an error says %q", text)
	}
	if w := e.Wait(); w < 0 || w > time.Minute {
		t.Errorf("%v: wait %v", err, w)
	}
}

func fuzzFileID(t testing.TB) string {
	packed := []byte{1<<3 | 2, 4, 'f', 'i', 'l', 'e', 2<<3 | 2, 4, 'a', 'u', 't', 'h', 3<<3 | 2, 32}
	return base64.StdEncoding.EncodeToString(append(packed, "000102030405060708090a0b0c0d0e0f"...))
}

// FuzzPlain answers the plain client: for a token, for a page, for a shard.
func FuzzPlain(f *testing.F) {
	pages, err := filepath.Glob("testdata/pages/*.json")
	if err != nil || len(pages) == 0 {
		f.Fatal("no pages", err)
	}
	more, _ := filepath.Glob("../wecomsim/testdata/*.json")
	good := `{"errcode":0,"errmsg":"ok","access_token":"` + fuzzToken + `","expires_in":7200}`
	f.Add(good, 200, "", "", fuzzFileID(f))
	for _, name := range append(pages, more...) {
		page, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(page), 200, "", "", fuzzFileID(f))
	}
	shard := `{"errcode":0,"content":"` + base64.StdEncoding.EncodeToString(make([]byte, 32)) + `"}`
	f.Add(shard, 200, "BYTES 0-31/64", "", fuzzFileID(f))
	f.Add(shard, 200, "bytes 9223372036854775775-9223372036854775806/9223372036854775807", "Range:bytes=9223372036854775775-9223372036854775807", fuzzFileID(f))
	f.Add(shard, 206, "", "Range:bytes=524288-1048575", "CgRmaWxl")
	f.Add(`{"errcode":42001,"errmsg":"expired `+fuzzToken+`"}`, 200, "", "", "")
	f.Add("<html>503 Service Unavailable</html>", 503, "", "", fuzzFileID(f))
	f.Add(`{"errcode":0,"access_token":"x","expires_in":-9223372036854775807}`, 200, "", "", "")
	options, err := Options{CorpID: "ww1", Secret: fuzzSecret}.withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body string, status int, contentRange, index, fileID string) {
		client := func(a *answers) *Plain {
			p := &Plain{options: options, http: &http.Client{Transport: a, CheckRedirect: noRedirect}, slots: make(slots, 1)}
			p.token.now, p.token.fetch = time.Now, p.fetchToken
			return p
		}
		ctx := context.Background()

		asked := client(&answers{token: body, body: body, status: status})
		token, lives, err := asked.fetchToken(ctx)
		if err != nil {
			checkError(t, err)
		} else if token == "" || !strings.Contains(decoded(body), token) || lives < 0 {
			t.Errorf("got token %q for %v of %q", token, lives, body)
		}

		p := client(&answers{token: good, body: body, status: status, contentRange: contentRange})
		page, err := p.ChatData(ctx, 0, MaxPage)
		if err != nil {
			checkError(t, err)
		} else if string(page) != body {
			t.Errorf("got page %q, want %q", page, body)
		}
		checkPageOf(t, []byte(body))
		checkQuick(t, []byte(body))
		checkRow(t, []byte(body))
		checkShard(t, []byte(body))

		shard, err := p.Media(ctx, fileID, index)
		if err != nil {
			checkError(t, err)
			return
		}
		first, _, err := parseIndex(index)
		if err != nil || len(shard.Data) > len(body) || shard.Done != (shard.Next == "") {
			t.Fatalf("got %d bytes of %d, next %q, done %v for index %q", len(shard.Data), len(body), shard.Next, shard.Done, index)
		}
		if !shard.Done { // what follows begins where this one ends: no loop, no hole
			next, last, err := parseIndex(shard.Next)
			if err != nil || len(shard.Data) == 0 || next != first+int64(len(shard.Data)) || last-next >= ShardSize {
				t.Errorf("after %d bytes from %d comes %q", len(shard.Data), first, shard.Next)
			}
		}
	})
}

// decoded is a JSON text with its escapes resolved.
func decoded(text string) string {
	var v map[string]any
	json.Unmarshal([]byte(text), &v)
	var b strings.Builder
	for _, value := range v {
		if s, ok := value.(string); ok {
			b.WriteString(s + "\n")
		}
	}
	return b.String()
}

// checkPageOf wants each row of a page as it stands there, in order, and nothing else.
func checkPageOf(t *testing.T, body []byte) {
	rows, err := ParsePage(body)
	if err != nil {
		checkError(t, err)
		return
	}
	var page struct {
		Errcode  int
		Chatdata []map[string]json.RawMessage
	}
	if err := json.Unmarshal(body, &page); err != nil || page.Errcode != 0 || len(page.Chatdata) != len(rows) {
		t.Fatalf("got %d rows, want %d of %d, %v", len(rows), len(page.Chatdata), page.Errcode, err)
	}
	rest := body
	for i, row := range rows {
		at := bytes.Index(rest, row.Raw)
		if at < 0 || row.MsgID == "" || !json.Valid(row.Raw) {
			t.Fatalf("row %d is %q, msgid %q", i, row.Raw, row.MsgID)
		}
		rest = rest[at+len(row.Raw):]
		want := page.Chatdata[i]
		var seq uint64
		var id string
		if raw, exact := want["seq"]; exact && len(want) <= 2 {
			if json.Unmarshal(raw, &seq); seq != row.Seq && string(raw) != "null" {
				t.Errorf("row %d: got seq %d, want %s", i, row.Seq, raw)
			}
		}
		if raw, exact := want["msgid"]; exact && len(want) <= 2 {
			if json.Unmarshal(raw, &id); id != row.MsgID && string(raw) != "null" {
				t.Errorf("row %d: got msgid %q, want %s", i, row.MsgID, raw)
			}
		}
	}
}
