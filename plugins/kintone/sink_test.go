package kintone_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/kintone"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/sdk"
)

type object = map[string]any

// step is an opened sink with its spool.
type step struct {
	t     *testing.T
	sink  sdk.Sink
	spool *sdk.Spool
}

// open opens the sink against url. extra changes the step's arguments.
func open(t *testing.T, url string, extra object) *step {
	t.Helper()
	args := object{"token": "log", "mode": "upsert", "overflow": "", "max_text": 64_000, "max_request": 900_000}
	for k, v := range extra {
		args[k] = v
	}
	env := &sdk.Env{
		Address:    "sink.kintone.log",
		Args:       marshal(t, args),
		Connection: marshal(t, object{"url": url, "certificate": "", "basic_auth": "", "proxy": "", "stall": "2s"}),
		Clock:      &sdk.Clock{},
		Log:        slog.New(slog.DiscardHandler),
		Spool:      sdk.OpenSpool(t.TempDir()),
	}
	s := kintone.Plugin().Components[0].NewSink()
	if err := s.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return &step{t, s, env.Spool}
}

func marshal(t *testing.T, v any) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// record makes a row that writes fields under key msgid = id.
func (s *step) record(id string, fields object, files ...sdk.File) sdk.Row {
	s.t.Helper()
	indexes := []int{}
	for _, f := range files {
		indexes = append(indexes, f.Index)
	}
	return sdk.Row{
		Record: sdk.Record{ID: id, Files: files},
		Args:   marshal(s.t, object{"app": appLog, "key": object{"msgid": id}, "fields": fields, "files": object{"file": indexes}}),
	}
}

// file makes a file; content nil leaves it without bytes.
func (s *step) file(index int, name, content string, bytes bool) sdk.File {
	s.t.Helper()
	f := sdk.File{Index: index, Name: name, Size: -1, SizeClaimed: -1}
	if bytes {
		w, err := s.spool.Create(&f)
		if err != nil {
			s.t.Fatal(err)
		}
		io.WriteString(w, content)
		if err := w.Commit(); err != nil {
			s.t.Fatal(err)
		}
	}
	return f
}

// write sends rows in one call and returns an outcome for each, as the engine would see it.
func (s *step) write(rows ...sdk.Row) []sdk.Outcome {
	s.t.Helper()
	outcomes := make([]sdk.Outcome, len(rows))
	call := sdk.NewCall(rows, time.Now(), false, func(row int, o sdk.Outcome) { outcomes[row] = o })
	err := s.sink.Write(s.t.Context(), call)
	for i := range rows {
		switch {
		case call.Answered(i):
		case err == nil:
			s.t.Fatalf("row %d was not answered", i)
		default:
			outcomes[i] = sdk.OutcomeOf(err)
		}
	}
	return outcomes
}

// short writes outcomes as a few words.
func short(outcomes []sdk.Outcome) string {
	var words []string
	for _, o := range outcomes {
		w := map[sdk.Verdict]string{sdk.VerdictDone: "done", sdk.VerdictPassed: "passed", sdk.VerdictRetry: "retry", sdk.VerdictReject: "reject"}[o.Verdict]
		if o.Down {
			w = "down"
		}
		if o.Alarm {
			w = "alarm"
		}
		if o.Receipt != nil {
			w += fmt.Sprint(" ", o.Receipt.Fields["operation"])
		}
		w = strings.TrimSpace(w + " " + o.Code)
		if o.Down && o.After > 0 {
			w += " " + o.After.String()
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

func TestSinkWritesValuesAndFiles(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, object{"overflow": "payload"})
	long := strings.Repeat("全文", 40_000)
	row := s.record("m1", object{
		"seq": json.Number("999999999999"), "msgtime": "2026-11-22T09:02:59.5+08:00", "status": "FINISHED", "revoked": []any{"revoked", ""},
		"from": "two\nlines", "content": long, "filesize": nil, "url": "",
	}, s.file(0, "", "nameless", true), s.file(1, "截图\t日本語.png", "picture", true), s.file(2, "late.pdf", "", false))
	got := s.write(row)
	if short(got) != "done INSERT" {
		t.Fatalf("got %s: %s", short(got), got[0].Detail)
	}

	stored := srv.Rows(appLog)[0].Values
	files := stored["file"].([]kintonesim.File)
	payload := stored["payload"].([]kintonesim.File)[0]
	delete(stored, "file")
	delete(stored, "payload")
	content := stored["content"].(string)
	delete(stored, "content")
	want := object{"msgid": "m1", "seq": "999999999999", "msgtime": "2026-11-22T01:02:00Z", "status": "FINISHED", "revoked": []string{"revoked"}, "from": "two lines"}
	if diff := cmp.Diff(want, stored); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	if n := len([]rune(content)); n != 64_000 || !strings.HasSuffix(content, "… [cut, 80000 characters in all]") {
		t.Errorf("got %d characters ending in %q", n, content[len(content)-40:])
	}
	zip, err := gzip.NewReader(bytes.NewReader(payload.Content))
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]string
	if err := json.NewDecoder(zip).Decode(&whole); err != nil || whole["content"] != long || !strings.HasSuffix(payload.Name, ".json.gz") {
		t.Errorf("%s holds %d characters, %v", payload.Name, len(whole["content"]), err)
	}
	if len(files) != 2 || !regexp.MustCompile(`^[A-Z0-9]{20}$`).MatchString(files[0].Name) || files[1].Name != "截图_日本語.png" || string(files[1].Content) != "picture" {
		t.Errorf("got %+v", files)
	}
	r := got[0].Receipt
	if diff := cmp.Diff([]int{0, 1}, r.Files); diff != "" {
		t.Errorf("files of the receipt (-want +got):\n%s", diff)
	}
	if r.Fields["record_id"] != "1" || r.URLs[0] != srv.URL+"/k/7/show#record=1" || len(r.Fields["files"].([]any)) != 3 {
		t.Errorf("got %+v", r)
	}

	// The same row again changes nothing, whatever the name of the file is made from.
	if got := s.write(row); short(got) != "done UPDATE" {
		t.Errorf("again: got %s", short(got))
	}
	if c := srv.Counters(); c.Repeated != 1 || c.Doubled != 0 || c.Unattached != 0 || len(srv.Rows(appLog)) != 1 {
		t.Errorf("again: %+v", c)
	}
}

// TestLateFileJoins delivers the second of two files after the first one's bytes are gone.
func TestLateFileJoins(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, nil)
	first, second := s.file(0, "a.png", "one", true), s.file(1, "b.png", "two", true)
	noFirst, noSecond := first, second
	noFirst.Spool, noSecond.Spool = "", ""
	s.write(s.record("m", nil, first, noSecond))
	got := s.write(s.record("m", nil, noFirst, second))
	if diff := cmp.Diff([]int{0, 1}, got[0].Receipt.Files); diff != "" {
		t.Errorf("the receipt's files (-want +got):\n%s", diff)
	}
	var names []string
	for _, f := range srv.Rows(appLog)[0].Values["file"].([]kintonesim.File) {
		names = append(names, f.Name+" "+string(f.Content))
	}
	if diff := cmp.Diff([]string{"b.png two", "a.png one"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	// Nothing new: the list is left alone.
	s.write(s.record("m", object{"from": "x"}, noFirst, noSecond))
	if n := len(srv.Rows(appLog)[0].Values["file"].([]kintonesim.File)); n != 2 {
		t.Errorf("%d files are left of 2", n)
	}
}

func TestBadRowsSpareTheirNeighbours(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, nil)
	s.write(s.record("other", object{"url": "taken"}))
	var rows []sdk.Row
	for i := range 100 {
		fields := object{"seq": i}
		switch i {
		case 7:
			fields["status"] = "SECRET"
		case 20:
			fields["seq"] = "SECRET"
		case 50:
			fields["seq"] = 1763773323000
		case 80:
			fields["url"] = "taken"
		}
		rows = append(rows, s.record(fmt.Sprint("m", i), fields))
	}
	rows[99].Args = marshal(t, object{"app": appLog, "key": object{"msgid": strings.Repeat("x", 65)}})
	got := s.write(rows...)
	for i, want := range map[int]string{
		7: "reject CB_VA01 kintone: 400 CB_VA01 at status.value", 20: "reject BAD_VALUE field seq: not a number of at most 30 digits",
		50: "reject CB_VA01 kintone: 400 CB_VA01 at seq.value", 80: "reject CB_VA01 kintone: 400 CB_VA01 at url.value",
		99: "reject BAD_KEY field msgid: the key is longer than 64 characters", 8: "done INSERT",
	} {
		if text := strings.TrimSpace(short(got[i:i+1]) + " " + got[i].Detail); text != want {
			t.Errorf("row %d: got %q, want %q", i, text, want)
		}
	}
	if n := len(srv.Rows(appLog)); n != 96 {
		t.Errorf("got %d rows, want 96", n)
	}
	if n := srv.Counters().Calls["PUT records.json 400"]; n != 1 {
		t.Errorf("%d calls were refused, want 1", n)
	}
}

func TestOrphans(t *testing.T) {
	srv := start(t)
	all := open(t, srv.URL, nil)
	var rows []sdk.Row
	for i := range 20 {
		rows = append(rows, all.record(fmt.Sprint("m", i), nil))
	}
	all.write(append(rows[:5:5], rows[6:]...)...) // m5 is missing
	s := open(t, srv.URL, object{"mode": "update"})
	rows = rows[:0]
	for i := range 20 {
		rows = append(rows, s.record(fmt.Sprint("m", i), object{"revoked": []any{"revoked"}}))
	}
	got := s.write(rows...)
	for i, o := range got {
		want := "done UPDATE"
		if i == 5 {
			want = "retry orphan"
		}
		if text := short([]sdk.Outcome{o}); text != want {
			t.Errorf("row %d: got %s, want %s", i, text, want)
		}
	}
	rows[5].Final = true
	if got := short(s.write(rows[5])); got != "passed orphan" {
		t.Errorf("final: got %s, want passed orphan", got)
	}
	if n := len(srv.Rows(appLog)); n != 19 {
		t.Errorf("%d rows: an update has inserted one", n)
	}
}

func TestOneKeyTwice(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, nil)
	got := s.write(s.record("a", object{"from": "first"}), s.record("b", nil), s.record("A", object{"from": "other"}), s.record("a", object{"from": "last"}))
	if short(got) != "done INSERT, done INSERT, done INSERT, done UPDATE" {
		t.Errorf("got %s", short(got))
	}
	if srv.Rows(appLog)[0].Values["from"] != "last" {
		t.Errorf("the earlier row was written last: %+v", srv.Rows(appLog))
	}
	// While the first of two has to be asked again, the second waits with it.
	gone := s.file(0, "a", "x", true)
	gone.Spool += "-gone"
	got = s.write(s.record("c", object{"from": "first"}, gone), s.record("d", nil), s.record("c", object{"from": "last"}))
	if short(got) != "retry NO_BYTES, done INSERT, retry NO_BYTES" {
		t.Errorf("got %s", short(got))
	}
}

func TestRequestsAreSplit(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, nil)
	var rows []sdk.Row
	for i := range 101 {
		rows = append(rows, s.record(fmt.Sprint("n", i), nil))
	}
	s.write(rows...)
	if c := srv.Counters(); c.Calls["PUT records.json 200"] != 2 || c.Inserted != 101 {
		t.Errorf("101 rows: got %v", c.Calls)
	}
	rows = nil
	for i := range 30 {
		rows = append(rows, s.record(fmt.Sprint("m", i), object{"content": strings.Repeat("字", 60_000)}))
	}
	for i, o := range s.write(rows...) {
		if o.Verdict != sdk.VerdictDone {
			t.Errorf("row %d: %s", i, short([]sdk.Outcome{o}))
		}
	}
	if c := srv.Counters(); c.Calls["PUT records.json 413"] != 0 || c.Calls["PUT records.json 200"] != 10 {
		t.Errorf("got %v", c.Calls)
	}
	// Where the site takes less than was said, halves find what fits.
	small := start(t, func(o *kintonesim.Options) { o.MaxBody = 200_000 })
	s = open(t, small.URL, nil)
	for i, o := range s.write(rows[:3]...) {
		if o.Verdict != sdk.VerdictDone {
			t.Errorf("row %d: %s", i, short([]sdk.Outcome{o}))
		}
	}
	if got := short(s.write(s.record("big", object{"content": strings.Repeat("字", 60_000), "from": strings.Repeat("字", 60_000)}))); got != "reject HTTP_413" {
		t.Errorf("got %s", got)
	}
}

func TestTroubles(t *testing.T) {
	tests := []struct {
		name  string
		fault kintonesim.Fault
		args  object
		want  string
	}{
		{name: "maintenance", fault: kintonesim.Fault{Kind: kintonesim.Maintenance}, want: "down HTTP_503"},
		{name: "refused", fault: kintonesim.Fault{Kind: kintonesim.Refuse}, want: "down refused"},
		{name: "hang", fault: kintonesim.Fault{Kind: kintonesim.Hang}, want: "down timeout"},
		{name: "lost answer", fault: kintonesim.Fault{Kind: kintonesim.Lost, Method: "PUT"}, want: "down lost"},
		{name: "lock", fault: kintonesim.Fault{Kind: kintonesim.Locked, Method: "PUT"}, want: "retry GAIA_DA02"},
		{name: "busy", fault: kintonesim.Fault{Kind: kintonesim.Busy}, want: "retry GAIA_TO04"},
		{name: "busy for a while", fault: kintonesim.Fault{Kind: kintonesim.Busy, RetryAfter: "90"}, want: "down GAIA_TO04 1m30s"},
		{name: "maintenance for a while", fault: kintonesim.Fault{Kind: kintonesim.Maintenance, RetryAfter: "600"}, want: "down HTTP_503 10m0s"},
		{name: "upload fails", fault: kintonesim.Fault{Kind: kintonesim.Maintenance, Path: "file.json"}, want: "down HTTP_503"},
		{name: "wrong token", args: object{"token": "nobody"}, want: "alarm GAIA_IA02"},
		{name: "no right to write", args: object{"token": "log-view"}, want: "alarm GAIA_NO01"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			srv := start(t)
			s := open(t, srv.URL, test.args)
			rows := []sdk.Row{s.record("a", nil), s.record("b", nil, s.file(0, "f", "bytes", true)), s.record("a", nil)}
			lift := func() {}
			if test.fault.Kind != 0 {
				lift = srv.Fault(test.fault)
			}
			if got, want := short(s.write(rows...)), strings.Join([]string{test.want, test.want, test.want}, ", "); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			lift()
			if test.args != nil {
				return
			}
			if got := short(s.write(rows...)); !strings.HasPrefix(got, "done ") || strings.Contains(got, "retry") {
				t.Errorf("afterwards: got %s", got)
			}
			c := srv.Counters()
			if rows := srv.Rows(appLog); len(rows) != 2 || c.Doubled != 0 || len(rows[1].Values["file"].([]kintonesim.File)) != 1 {
				t.Errorf("afterwards: got %+v", rows)
			}
		})
	}
}

// Calls that find kintone hanging notice it together, not one after the other.
func TestHangIsNoticedOnce(t *testing.T) {
	srv := start(t)
	srv.Fault(kintonesim.Fault{Kind: kintonesim.Hang})
	s := open(t, srv.URL, nil)
	var calls sync.WaitGroup
	for i := range 5 {
		calls.Go(func() {
			if got := short(s.write(s.record(fmt.Sprint(i), nil))); got != "down timeout" {
				t.Errorf("got %s", got)
			}
		})
	}
	calls.Wait()
	n := 0
	for end := time.Now().Add(5 * time.Second); n == 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		n = srv.Counters().Calls["GET app/form/fields.json 0"] // counted when the simulator is through with it
	}
	if n != 1 {
		t.Errorf("%d calls hung, want one for all", n)
	}
}

// TestWrongMapping gives an alarm that names app and codes before anything is written.
func TestWrongMapping(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, object{"overflow": "payloda"})
	row := s.record("a", object{"stauts": "x", "file": "x", "作成日時": "x"})
	row.Args = marshal(t, object{"app": appLog, "key": object{"from": "a"}, "fields": object{"stauts": "x", "file": "x", "作成日時": "2026-11-22T00:00:00Z"}, "files": object{"content": []int{}}})
	got := s.write(s.record("b", nil), row)
	want := `app 7: key field "from" is not a text or number field that prohibits duplicates; field "file" is of type FILE, which cannot be written as a value; ` +
		`field "stauts" does not exist; field "作成日時" is of type CREATED_TIME, which cannot be written as a value; ` +
		`field "content" is of type MULTI_LINE_TEXT, want FILE; FILE field "payloda" does not exist`
	if short(got[1:]) != "alarm FIELD_CODES" {
		t.Fatalf("got %s", short(got))
	}
	if !strings.HasSuffix(want, strings.TrimPrefix(got[0].Detail, "app 7: ")) {
		t.Errorf("got %s", got[0].Detail)
	}
	s = open(t, srv.URL, nil)
	s.write(s.record("b", nil)) // from here on the form is known
	if got := s.write(row); got[0].Detail+`; FILE field "payloda" does not exist` != want {
		t.Errorf("got  %s\nwant %s", got[0].Detail, want)
	}
	if n := srv.Counters().Calls["PUT records.json 200"]; n != 1 {
		t.Errorf("%d calls have written, want 1", n)
	}
}

// TestInsertRace is about a key that another call inserts between our two calls.
func TestInsertRace(t *testing.T) {
	there := true
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "fields.json"):
			io.WriteString(w, `{"properties":{"msgid":{"type":"SINGLE_LINE_TEXT","code":"msgid","unique":true}}}`)
		case r.Method == "PUT":
			w.WriteHeader(400)
			io.WriteString(w, `{"code":"CB_VA01","errors":{"records[0].msgid.value":{"messages":["x"]}}}`)
		case there:
			io.WriteString(w, `{"records":[{"$id":{"type":"__ID__","value":"1"}}]}`)
		default:
			io.WriteString(w, `{"records":[]}`)
		}
	}))
	defer srv.Close()
	s := open(t, srv.URL, nil)
	row := s.record("a", nil)
	row.Args = marshal(t, object{"app": appLog, "key": object{"msgid": "a"}})
	if got := short(s.write(row)); got != "retry CB_VA01" {
		t.Errorf("got %s, want retry CB_VA01", got)
	}
	there = false
	if got := short(s.write(row)); got != "reject CB_VA01" {
		t.Errorf("got %s, want reject CB_VA01", got)
	}
}

// TestFileKeysThatExpire lets three days pass between two uploads and the write.
func TestFileKeysThatExpire(t *testing.T) {
	base, asked := time.Now(), 0
	srv := start(t, func(o *kintonesim.Options) {
		o.Now = func() time.Time {
			if asked++; asked < 4 { // the form, a file, a file
				return base
			}
			return base.Add(72 * time.Hour)
		}
	})
	s := open(t, srv.URL, nil)
	got := s.write(s.record("a", nil, s.file(0, "1", "one", true)), s.record("b", nil), s.record("c", nil, s.file(0, "2", "two", true)))
	if short(got) != "done INSERT, done INSERT, done INSERT" {
		t.Errorf("got %s", short(got))
	}
	if c := srv.Counters(); c.Refused["GAIA_BL01"] != 1 || c.Uploaded != 4 || c.Attached != 2 {
		t.Errorf("got %+v, want one refusal and both files uploaded again", c)
	}
}

func TestOpen(t *testing.T) {
	bad := map[string]struct{ args, connection object }{
		"unknown argument":      {object{"token": "t", "colour": "red"}, object{"url": "https://x"}},
		"url":                   {object{"token": "t"}, object{"url": "x"}},
		"certificate not there": {object{"token": "t"}, object{"url": "https://x", "certificate": "/nowhere.pem"}},
		"max_text":              {object{"token": "t", "max_text": 3}, object{"url": "https://x"}},
	}
	for name, b := range bad {
		env := &sdk.Env{Args: marshal(t, b.args), Connection: marshal(t, b.connection), Clock: &sdk.Clock{}}
		if err := kintone.Plugin().Components[0].NewSink().Open(t.Context(), env); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestClockSkew(t *testing.T) {
	srv := start(t)
	site, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(site)
	proxy.ModifyResponse = func(r *http.Response) error {
		r.Header.Set("Date", time.Now().Add(2*time.Hour).UTC().Format(http.TimeFormat))
		return nil
	}
	server := httptest.NewServer(proxy)
	defer server.Close()
	s := open(t, server.URL, nil)
	var events []sdk.Event
	for i := range 3 {
		for _, o := range s.write(s.record(fmt.Sprint(i), nil)) {
			events = append(events, o.Events...)
		}
	}
	if len(events) != 1 || events[0].Code != "CLOCK_SKEW" || !strings.HasPrefix(events[0].Attrs["ahead_seconds"], "-7") {
		t.Errorf("got %+v, want one of two hours", events)
	}
}
