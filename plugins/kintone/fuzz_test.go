package kintone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weir-etl/weir/sdk"
)

const fuzzToken = "api-token-0123456789"

// answers plays kintone: it knows the form of app 7, and gives one answer to everything else.
type answers struct {
	t       *testing.T
	form    string // "" = asked for the form it gives the answer too
	status  int
	body    string
	header  http.Header
	asked   int
	uploads []upload
}

type upload struct{ name, media, content string }

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.asked++; a.asked > 100 {
		a.t.Fatalf("%d requests for three rows", a.asked)
	}
	status, body := a.status, a.body
	switch {
	case strings.HasSuffix(r.URL.Path, "/form/fields.json") && a.form != "":
		status, body = http.StatusOK, a.form
	case strings.HasSuffix(r.URL.Path, "/file.json"):
		a.uploads = append(a.uploads, a.read(r))
		if a.form != "" && a.header.Get("X-Cybozu-Error") == "" {
			status, body = http.StatusOK, `{"fileKey":"key"}`
		}
	case r.Body != nil:
		io.Copy(io.Discard, r.Body)
	}
	return &http.Response{StatusCode: status, Header: a.header, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// read takes an upload apart as a server does.
func (a *answers) read(r *http.Request) (u upload) {
	body, err := io.ReadAll(r.Body)
	if err != nil || int64(len(body)) != r.ContentLength {
		a.t.Fatalf("got %d bytes, %v, want %d", len(body), err, r.ContentLength)
	}
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		a.t.Fatal(err)
	}
	form := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	part, err := form.NextPart()
	if err != nil {
		a.t.Fatalf("%v in %q", err, body)
	}
	if len(part.Header) != 2 {
		a.t.Errorf("got headers %q", part.Header)
	}
	_, params, err = mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	content, readErr := io.ReadAll(part)
	if err != nil || readErr != nil {
		a.t.Fatalf("%v, %v in %q", err, readErr, body)
	}
	if _, err := form.NextPart(); err != io.EOF {
		a.t.Errorf("a second part, %v, in %q", err, body)
	}
	return upload{params["filename"], part.Header.Get("Content-Type"), string(content)}
}

const fuzzForm = `{"properties":{
	"msgid":{"type":"SINGLE_LINE_TEXT","code":"msgid","unique":true,"maxLength":"64"},"content":{"type":"MULTI_LINE_TEXT","code":"content"},
	"size":{"type":"NUMBER","code":"size"},"file":{"type":"FILE","code":"file"}},"revision":"3"}`

// FuzzKintone answers the client and the sink, and converts a value for a field.
func FuzzKintone(f *testing.F) {
	for _, s := range []struct {
		status                int
		body, code, field, to string
	}{
		{200, `{"records":[{"id":"1","revision":"1","operation":"INSERT"},{"id":2,"revision":2,"operation":"UPDATE"},{"id":"3","revision":"1","operation":"INSERT"}]}`, "", `{"type":"NUMBER","code":"n"}`, `-12.50`},
		{200, `{"records":[{"id":"<b>1</b>","revision":{},"operation":"said in confidence"},{},{}]}`, "", `{"type":"NUMBER","code":"n"}`, `1e31`},
		{200, fuzzForm, "", `{"type":"SINGLE_LINE_TEXT","maxLength":"-5"}`, `"a\r\nb"`},
		{200, `{"fileKey":"c15b3870-7505-4ab6-9d8d-b9bdbc74f5d6"}`, "", `{"type":"SINGLE_LINE_TEXT","unique":true}`, `["a",1,true,null]`},
		{400, `{"code":"CB_VA01","id":"x","message":"入力内容が正しくありません。","errors":{"records[1].msgid.value":{"messages":["x"]},"records[2][size].value":{}}}`, "", `{"type":"MULTI_LINE_TEXT","maxLength":120}`, `"` + strings.Repeat("長", 300) + `"`},
		{400, `{"code":"CB_VA01","errors":{"what somebody wrote\n":{},"records[99999999999999999999].a":{}}}`, "", `{"type":"DATETIME"}`, `"2026-11-22T23:59:59+14:00"`},
		{400, `{"results":[{},{"code":"GAIA_RE20","message":"m"}]}`, "", `{"type":"CHECK_BOX"}`, `["a","",3]`},
		{400, `{"code":"GAIA_BL01"}`, "", `{"type":"TIME"}`, `"15:04"`},
		{413, "", "", `{"type":"DATE"}`, `"9999-12-31T23:00:00-05:00"`},
		{503, "<html><title>503 Service Unavailable</title></html>", "", `{"type":"DROP_DOWN"}`, `{}`},
		{520, "", "GAIA_TM12", `{"type":"LINK"}`, `{"a":[1.0,"x"]}`},
		{400, `{"code":"said in confidence","message":"x"}`, "said in confidence", `{"type":"RICH_TEXT"}`, `12345678901234567890.5`},
		{404, `{"code":"GAIA_AP01"}`, "", `{"type":"NUMBER"}`, `"0x10"`},
	} {
		f.Add(s.status, []byte(s.body), s.code, "9999999999", []byte(s.field), []byte(s.to), "報告 \"1\"\\.pdf\r\n", "text/plain\r\nX-Evil: 1")
	}
	spool := sdk.OpenSpool(f.TempDir())
	stored := sdk.File{Index: 0, Size: -1, SizeClaimed: -1}
	w, err := spool.Create(&stored)
	if err != nil {
		f.Fatal(err)
	}
	io.WriteString(w, "the file's bytes")
	if err := w.Commit(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, status int, body []byte, code, running string, field, value []byte, name, media string) {
		header := http.Header{"X-Concurrencylimit-Running": {running}, "X-Concurrencylimit-Limit": {"100"}, "X-Cybozu-Error": {code}}
		checkRefused(t, refusal(status, header, body))
		checkConvert(t, field, value)

		dial := func(form string) (*sink, *answers) {
			a := &answers{t: t, form: form, status: status, body: string(body), header: header}
			s := &sink{}
			if err := s.Open(t.Context(), &sdk.Env{
				Args: []byte(`{"token":"` + fuzzToken + `"}`), Connection: []byte(`{"url":"https://example.cybozu.com"}`),
				Clock: sdk.NewClock(time.Now(), time.Now(), 1e6), Log: slog.New(slog.DiscardHandler), Spool: spool,
			}); err != nil {
				t.Fatal(err)
			}
			s.client.http.Transport = a
			return s, a
		}
		s, _ := dial("")
		checkCalls(t, s.client, status, body)
		s, a := dial(fuzzForm)
		checkSink(t, s, a, stored, name, media)
	})
}

// safe fails unless a text may be stored and logged: bounded, readable, in one line.
func safe(t *testing.T, what, text string) {
	t.Helper()
	if len(text) > 10_000 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || strings.Contains(text, fuzzToken) {
		t.Errorf("%s of %d bytes: %.200q", what, len(text), text)
	}
}

var rowURL = regexp.MustCompile(`^https://example\.cybozu\.com/k/7/show#record=[0-9]{1,20}$`)

var outcomeCode = regexp.MustCompile(`^[A-Za-z_0-9-]{1,40}$`)

func checkRefused(t *testing.T, e *Error) {
	safe(t, "error", e.Error())
	if !outcomeCode.MatchString(e.name()) {
		t.Errorf("got code %q", e.name())
	}
	last := -1
	for _, row := range e.Rows() {
		if row <= last {
			t.Errorf("got rows %v", e.Rows())
		}
		last = row
		for _, p := range e.RowPaths(row) {
			safe(t, "path", p)
		}
	}
	if e.Class() == BadRows && last < 0 {
		t.Error("bad rows without a row")
	}
}

func checkCalls(t *testing.T, c *Client, status int, body []byte) {
	ctx := context.Background()
	failed := func(err error) bool {
		var e *Error
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("got a %T: %v", err, err)
		} else if err != nil {
			checkRefused(t, e)
		} else if status != http.StatusOK || !json.Valid(body) {
			t.Errorf("status %d with %q is a success", status, body)
		}
		return err != nil
	}
	_, err := c.Fields(ctx, 7)
	failed(err)
	rows := []Row{{Field: "msgid", Key: "m", Values: map[string]any{"content": "x"}}}
	if results, err := c.Put(ctx, 7, Upsert, rows); !failed(err) {
		for _, r := range results {
			if len(results) != 1 || r.ID == "" || strings.Trim(string(r.ID), "0123456789") != "" || r.Operation != "" && r.Operation != "INSERT" && r.Operation != "UPDATE" {
				t.Errorf("got results %q", results)
			}
		}
	}
	if found, err := c.Find(ctx, 7, "msgid", []string{"m"}, nil); !failed(err) {
		for _, r := range found {
			for code := range r {
				r.Text(code)
			}
		}
	}
}

func checkSink(t *testing.T, s *sink, a *answers, stored sdk.File, name, media string) {
	stored.Name, stored.MediaType = name, media
	rows := make([]sdk.Row, 3)
	for i := range rows {
		rows[i].ID = fmt.Sprint("m", i)
		rows[i].Args = fmt.Appendf(nil, `{"app":7,"key":{"msgid":"m%d"},"fields":{"content":"x","size":%d},"files":{}}`, i, i)
	}
	rows[1].Files = []sdk.File{stored}
	rows[1].Args = []byte(`{"app":7,"key":{"msgid":"m1"},"fields":{"content":"x"},"files":{"file":[0]}}`)
	outcomes := map[int]sdk.Outcome{}
	start := time.Now()
	err := s.Write(t.Context(), sdk.NewCall(rows, time.Now(), false, func(row int, o sdk.Outcome) { outcomes[row] = o }))
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("three rows took %v", took)
	}
	if err == nil && len(outcomes) != len(rows) {
		t.Errorf("%d of %d rows are answered", len(outcomes), len(rows))
	}
	if err != nil {
		outcomes[-1] = sdk.OutcomeOf(err)
	}
	for i, o := range outcomes {
		safe(t, "detail", o.Detail)
		if o.Verdict != sdk.VerdictDone && !outcomeCode.MatchString(o.Code) {
			t.Errorf("row %d: got code %q", i, o.Code)
		}
		if o.Verdict == sdk.VerdictDone {
			if a.status != http.StatusOK || len(o.Receipt.URLs) != 1 {
				t.Errorf("row %d is done by status %d: %+v", i, a.status, o.Receipt)
			}
			if !rowURL.MatchString(o.Receipt.URLs[0]) {
				t.Errorf("row %d lies at %q", i, o.Receipt.URLs[0])
			}
		}
	}
	for _, u := range a.uploads {
		if u.content != "the file's bytes" || strings.ContainsFunc(u.media, unicode.IsControl) {
			t.Errorf("uploaded %q as %q", u.content, u.media)
		}
		if want := fileName("m1", &stored); u.name != want {
			t.Errorf("uploaded as %q, want %q", u.name, want)
		}
	}
}

var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// checkConvert holds a converted value against the promises of its type.
func checkConvert(t *testing.T, field, value []byte) {
	var f Field
	var v any
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	if json.Unmarshal(field, &f) != nil || d.Decode(&v) != nil {
		return
	}
	const limit = 1000
	var reject *rejection
	if key, err := convertKey(f, v); err != nil && !errors.As(err, &reject) {
		t.Errorf("key: got a %T: %v", err, err)
	} else if err == nil && (key == "" || utf8.RuneCountInString(key) > 64 && f.Type != "NUMBER" || strings.ContainsAny(key, "\r\n") && f.Type != "NUMBER") {
		t.Errorf("got key %q", key)
	}
	got, whole, err := convert(f, v, limit)
	if err != nil {
		if !errors.As(err, &reject) {
			t.Errorf("got a %T: %v", err, err)
		}
		return
	}
	text, _ := got.(string)
	list, isList := got.([]string)
	switch f.Type {
	case "CHECK_BOX", "MULTI_SELECT":
		for _, s := range list {
			if s == "" {
				t.Errorf("got choices %q", list)
			}
		}
		if !isList {
			t.Errorf("got a %T, want a list", got)
		}
	case "NUMBER":
		was, _ := scalar(v)
		if text != "" {
			a, ok1 := new(big.Rat).SetString(text)
			b, ok2 := new(big.Rat).SetString(strings.TrimSpace(was))
			if !plainNumber.MatchString(text) || !ok1 || !ok2 || a.Cmp(b) != 0 {
				t.Errorf("%s became %q", value, text)
			}
		}
		if len(text) > maxDigits+2 {
			t.Errorf("got %q", text)
		}
	case "DATETIME":
		if _, err := time.Parse("2006-01-02T15:04:00Z", text); text != "" && err != nil {
			t.Errorf("%s became %q", value, text)
		}
	case "DATE":
		if _, err := time.Parse("2006-01-02", text); text != "" && err != nil {
			t.Errorf("%s became %q", value, text)
		}
	case "TIME":
		if _, err := time.Parse("15:04", text); text != "" && err != nil {
			t.Errorf("%s became %q", value, text)
		}
	case "DROP_DOWN", "RADIO_BUTTON":
	default:
		if !utf8.ValidString(text) || utf16Len(text) > limit || f.Type != "MULTI_LINE_TEXT" && f.Type != "RICH_TEXT" && strings.ContainsAny(text, "\r\n") {
			t.Errorf("got a text of %d: %.200q", utf16Len(text), text)
		}
		if whole != "" && len(whole) <= len(text) && utf16Len(whole) <= limit && f.MaxLength == "" {
			t.Errorf("%q was cut to %q", whole, text)
		}
	}
}
