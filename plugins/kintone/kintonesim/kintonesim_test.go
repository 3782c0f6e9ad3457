package kintonesim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
)

const (
	log, raw, guest = 7, 8, 9
)

var start = time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)

func options() kintonesim.Options {
	return kintonesim.Options{
		Now: func() time.Time { return start },
		Apps: []kintonesim.App{
			{ID: log, Token: "log", ReadToken: "log-view", Fields: []kintonesim.Field{
				{Code: "msgid", Type: "SINGLE_LINE_TEXT", Unique: true, Required: true},
				{Code: "seq", Type: "NUMBER", Unique: true},
				{Code: "size", Type: "NUMBER"},
				{Code: "msgtime", Type: "DATETIME"},
				{Code: "day", Type: "DATE"},
				{Code: "status", Type: "DROP_DOWN", Options: []string{"FINISHED", "FILE_WAITING"}},
				{Code: "revoked", Type: "CHECK_BOX", Options: []string{"revoked"}},
				{Code: "content", Type: "MULTI_LINE_TEXT"},
				{Code: "from", Type: "SINGLE_LINE_TEXT"},
				{Code: "file", Type: "FILE"},
			}},
			{ID: raw, Token: "raw", Fields: []kintonesim.Field{{Code: "seq", Type: "NUMBER", Unique: true}}, Precision: kintonesim.Precision{Digits: 20}},
			{ID: guest, Token: "guest", Space: 3, Fields: []kintonesim.Field{{Code: "a", Type: "SINGLE_LINE_TEXT"}}},
		},
	}
}

func run(t *testing.T, edit func(*kintonesim.Options)) *kintonesim.Server {
	t.Helper()
	o := options()
	if edit != nil {
		edit(&o)
	}
	srv, err := kintonesim.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	text   string
	body   map[string]any
}

// paths are those of a CB_VA01.
func (r reply) paths() string {
	errs, _ := r.body["errors"].(map[string]any)
	return strings.Join(slices.Sorted(maps.Keys(errs)), " ")
}

func (r reply) code() string { s, _ := r.body["code"].(string); return s }

// ask sends one hand-written request. Headers are given as "Name: value"; the token is "log" where none is given.
func ask(t *testing.T, srv *kintonesim.Server, method, path, body string, headers ...string) reply {
	t.Helper()
	req, err := http.NewRequest(method, srv.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("X-Cybozu-API-Token", "log")
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	r := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
	json.Unmarshal(text, &r.body)
	return r
}

func records(app int, rows ...string) string {
	return fmt.Sprintf(`{"app":%d,"records":[%s]}`, app, strings.Join(rows, ","))
}

func upsert(app int, rows ...string) string {
	return fmt.Sprintf(`{"app":"%d","upsert":true,"records":[%s]}`, app, strings.Join(rows, ","))
}

func keyed(field, value, record string) string {
	return fmt.Sprintf(`{"updateKey":{"field":%q,"value":%q},"record":%s}`, field, value, record)
}

func many(n int, row func(i int) string) []string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = row(i)
	}
	return rows
}

func msgid(i int) string { return fmt.Sprintf(`{"msgid":{"value":"m%d"}}`, i) }

// upload sends one file by hand and returns its key.
func upload(t *testing.T, srv *kintonesim.Server, name, content string) string {
	t.Helper()
	body := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" + name + "\"\r\n\r\n" + content + "\r\n--b--\r\n"
	r := ask(t, srv, "POST", "/k/v1/file.json", body, "Content-Type: multipart/form-data; boundary=b")
	key, _ := r.body["fileKey"].(string)
	if key == "" {
		t.Fatalf("upload: %d %s", r.status, r.text)
	}
	return key
}

func attach(keys ...string) string {
	var list []string
	for _, k := range keys {
		list = append(list, `{"fileKey":"`+k+`"}`)
	}
	return `{"file":{"value":[` + strings.Join(list, ",") + `]}}`
}

// TestValues shows what becomes of values that are accepted.
func TestValues(t *testing.T) {
	srv := run(t, nil)
	r := ask(t, srv, "POST", "/k/v1/record.json", `{"app":"7","record":{
		"msgid":{"value":"a"}, "seq":{"value":123456789012}, "size":{"value":" 1.5e1 "},
		"msgtime":{"value":"2026-11-22T09:02:59+08:00"}, "revoked":{"value":["revoked","revoked"]},
		"typo":{"value":"lost without a word"}}}`)
	if want := map[string]any{"id": "1", "revision": "1"}; !cmp.Equal(r.body, want) {
		t.Fatalf("got %s, want %v", r.text, want)
	}
	r = ask(t, srv, "GET", "/k/v1/record.json?app=7&id=1", "")
	got := map[string]any{}
	for code, cell := range r.body["record"].(map[string]any) {
		got[code] = cell.(map[string]any)["value"]
	}
	want := map[string]any{
		"msgid": "a", "seq": "123456789012", "size": "15", "msgtime": "2026-11-22T01:02:00Z", "revoked": []any{"revoked"},
		"day": nil, "status": nil, "content": "", "from": "", "file": []any{},
		"$id": "1", "$revision": "1", "レコード番号": "1", "作成日時": "2026-11-22T01:02:00Z", "更新日時": "2026-11-22T01:02:00Z",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	if ask(t, srv, "POST", "/k/v1/record.json", `{"app":8,"record":{"seq":{"value":"12345678901234567890"}}}`, "X-Cybozu-API-Token: raw").status != 200 {
		t.Error("20 digits refused by an app that is set to 20")
	}
	numbers := map[string]string{"0.00005": "0", "0.00015": "0.0002", "-0.00025": "-0.0002", "1.23456": "1.2346", "+7.": "7", ".5": "0.5", "-0": "0", "999999999999.9999": "999999999999.9999"}
	for in, want := range numbers {
		ask(t, srv, "PUT", "/k/v1/record.json", `{"app":7,"id":1,"record":{"size":{"value":"`+in+`"}}}`)
		if got := srv.Rows(log)[0].Values["size"]; got != want {
			t.Errorf("number %q became %v, want %q", in, got, want)
		}
	}
}

func TestUpsert(t *testing.T) {
	srv := run(t, nil)
	r := ask(t, srv, "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", "a", `{"size":{"value":1}}`), keyed("seq", "5.0", `{"msgid":{"value":"b"}}`)))
	want := []any{map[string]any{"id": "1", "revision": "1", "operation": "INSERT"}, map[string]any{"id": "2", "revision": "1", "operation": "INSERT"}}
	if diff := cmp.Diff(want, r.body["records"]); diff != "" {
		t.Errorf("insert (-want +got):\n%s%s", diff, r.text)
	}
	r = ask(t, srv, "PUT", "/k/v1/records.json", upsert(log, keyed("seq", "5", `{"size":{"value":2}}`), keyed("msgid", "a", `{"size":{"value":1}}`)))
	want = []any{map[string]any{"id": "2", "revision": "2", "operation": "UPDATE"}, map[string]any{"id": "1", "revision": "2", "operation": "UPDATE"}}
	if diff := cmp.Diff(want, r.body["records"]); diff != "" {
		t.Errorf("update (-want +got):\n%s", diff)
	}
	// An unknown id is added under a new one, and a plain update says no operation.
	ask(t, srv, "PUT", "/k/v1/records.json", upsert(log, `{"id":77,"record":{"msgid":{"value":"c"}}}`))
	r = ask(t, srv, "PUT", "/k/v1/records.json", records(log, `{"id":"3","revision":"-1","record":{"size":{"value":""}}}`))
	if diff := cmp.Diff([]any{map[string]any{"id": "3", "revision": "2"}}, r.body["records"]); diff != "" {
		t.Errorf("plain update (-want +got):\n%s", diff)
	}
	c := srv.Counters()
	if c.Inserted != 3 || c.Updated != 3 || c.Repeated != 2 {
		t.Errorf("got %d inserted, %d updated, %d repeated, want 3, 3, 2", c.Inserted, c.Updated, c.Repeated)
	}
	if r := ask(t, srv, "PUT", "/k/v1/records.json", records(log)); r.status != 200 {
		t.Errorf("an empty list is refused: %s", r.text)
	}
}

func TestFiles(t *testing.T) {
	now := start
	srv := run(t, func(o *kintonesim.Options) {
		o.Now = func() time.Time { return now }
		o.KeepFiles = 8
	})
	ask(t, srv, "POST", "/k/v1/records.json", records(log, msgid(0), msgid(1)))
	put := func(id int, record string) reply {
		return ask(t, srv, "PUT", "/k/v1/record.json", fmt.Sprintf(`{"app":7,"id":%d,"record":%s}`, id, record))
	}
	first := upload(t, srv, "截图 日本語.png", "12345678")
	if r := ask(t, srv, "GET", "/k/v1/file.json?fileKey="+first, ""); r.code() != "GAIA_BL01" {
		t.Errorf("a temporary key downloads: %d %s", r.status, r.text)
	}
	if r := put(1, attach(first)); r.status != 200 {
		t.Fatal(r.text)
	}
	if r := put(2, attach(first)); r.code() != "GAIA_BL01" {
		t.Errorf("a spent key is taken again: %d %s", r.status, r.text)
	}
	held := func() string {
		r := ask(t, srv, "GET", "/k/v1/record.json?app=7&id=1", "")
		list := r.body["record"].(map[string]any)["file"].(map[string]any)["value"].([]any)
		return list[0].(map[string]any)["fileKey"].(string)
	}
	r := ask(t, srv, "GET", "/k/v1/file.json?fileKey="+held(), "")
	if r.text != "12345678" || r.header.Get("X-Sim-Size") != "8" {
		t.Errorf("download: got %q %v", r.text, r.header)
	}
	if r := ask(t, srv, "GET", "/k/v1/file.json?fileKey="+held(), "", "X-Cybozu-API-Token: raw"); r.code() != "GAIA_NO01" {
		t.Errorf("another app's token downloads: %d", r.status)
	}

	// A PUT replaces the list; a key that the field holds stays, and does not serve another row.
	second := upload(t, srv, "b", "123456789")
	if r := put(2, attach(held())); r.code() != "GAIA_BL01" {
		t.Errorf("a download key is attached elsewhere: %d %s", r.status, r.text)
	}
	if r := put(1, attach(held(), second)); r.status != 200 {
		t.Error(r.text)
	}
	if files := srv.Rows(log)[0].Values["file"].([]kintonesim.File); len(files) != 2 || files[0].Name != "截图 日本語.png" || files[1].Content != nil {
		t.Errorf("got %+v", files)
	}
	if r := put(1, `{"file":{"value":[]}}`); r.status != 200 || srv.Rows(log)[0].Values["file"] != nil {
		t.Errorf("the list is not emptied: %s", r.text)
	}

	// Above KeepFiles only digests are kept, and said so.
	put(1, attach(upload(t, srv, "c", "123456789")))
	r = ask(t, srv, "GET", "/k/v1/file.json?fileKey="+held(), "")
	if r.status != 410 || r.header.Get("X-Sim-Sha256") != "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225" || r.header.Get("X-Sim-Md5") != "25f9e794323b453885f5181f1b624d0b" {
		t.Errorf("got %d %v", r.status, r.header)
	}

	// A batch with one bad key changes nothing, and its good keys stay good.
	good := upload(t, srv, "d", "x")
	body := records(log, `{"id":2,"record":`+attach(good)+`}`, `{"id":1,"record":`+attach("nope")+`}`)
	if r := ask(t, srv, "PUT", "/k/v1/records.json", body); r.code() != "GAIA_BL01" {
		t.Errorf("got %d %s", r.status, r.text)
	}
	if r := put(2, attach(good)); r.status != 200 {
		t.Errorf("a key is spent by a refused call: %s", r.text)
	}
	// Temporary files go after three days.
	late := upload(t, srv, "e", "x")
	now = now.Add(72 * time.Hour)
	if r := put(2, attach(late)); r.code() != "GAIA_BL01" {
		t.Errorf("a file of three days is attached: %d", r.status)
	}
	c := srv.Counters()
	if c.Uploaded != 5 || c.Attached != 4 || c.Unattached != 1 || c.Doubled != 0 {
		t.Errorf("got %d uploaded, %d attached, %d unattached, %d doubled, want 5, 4, 1, 0", c.Uploaded, c.Attached, c.Unattached, c.Doubled)
	}
	put(1, attach(upload(t, srv, "f", "x"), upload(t, srv, "f", "x")))
	if c := srv.Counters(); c.Doubled != 1 {
		t.Errorf("got %d doubled, want 1", c.Doubled)
	}
}

func TestQuery(t *testing.T) {
	srv := run(t, nil)
	var rows []string
	for i := range 20 {
		rows = append(rows, fmt.Sprintf(`{"msgid":{"value":"m%02d"},"seq":{"value":%d},"status":{"value":%q},"msgtime":{"value":"2026-11-22T00:%02d:00Z"}}`,
			i, 100-i*5, []string{"FINISHED", "FILE_WAITING"}[i%2], i))
	}
	rows = append(rows, `{"msgid":{"value":"a\"b\\\tc"}}`)
	if r := ask(t, srv, "POST", "/k/v1/records.json", records(log, rows...)); r.status != 200 {
		t.Fatal(r.text)
	}
	tests := []struct{ query, want string }{
		{``, "21 20 19 18 17 16 15 14 13 12 11 10 9 8 7 6 5 4 3 2 1"},
		{`limit 2`, "21 20"},
		{`order by $id asc limit 2 offset 3`, "4 5"},
		{`$id > 18 order by $id asc limit 500`, "19 20 21"},
		{`$id > "18" and $id < 20`, "19"},
		{`msgid = "m03"`, "4"},
		{`msgid in ("m03", "m05","nope") order by msgid asc`, "4 6"},
		{`seq > 80 order by seq asc`, "4 3 2 1"},
		{`seq >= "80" and status in ("FINISHED") order by seq desc`, "1 3 5"},
		{`seq = 100 or (seq = 95 or seq = 90) and status not in ("FINISHED")`, "2 1"},
		{"msgtime　<=　\"2026-11-22T08:01:30+08:00\"\n order by msgtime desc", "2 1"},
		{`msgid = "a\"b\\\tc"`, "21"},
		{`status in ("")`, "21"},
		{`msgid != "m00" and $id <= 2`, "2"},
	}
	for _, test := range tests {
		// Every query goes both ways: in the URL, and in the body of a POST that stands for a GET.
		body, _ := json.Marshal(map[string]any{"app": log, "query": test.query, "fields": []string{"$id"}, "totalCount": true})
		long := ask(t, srv, "POST", "/k/v1/records.json", string(body), "X-HTTP-Method-Override: GET")
		req, _ := http.NewRequest("GET", srv.URL, nil)
		q := req.URL.Query()
		q.Set("query", test.query)
		short := ask(t, srv, "GET", "/k/v1/records.json?app=7&fields[0]=$id&totalCount=true&"+q.Encode(), "")
		if !cmp.Equal(long.body, short.body) {
			t.Errorf("%s: GET %s and POST %s differ", test.query, short.text, long.text)
		}
		var ids []string
		list, _ := short.body["records"].([]any)
		for _, r := range list {
			ids = append(ids, r.(map[string]any)["$id"].(map[string]any)["value"].(string))
		}
		if got := strings.Join(ids, " "); got != test.want {
			t.Errorf("%s: got %s, want %s (%s)", test.query, got, test.want, short.text)
		}
	}
	if r := ask(t, srv, "GET", "/k/v1/records.json?app=7&totalCount=true&query=limit+1", ""); r.body["totalCount"] != "21" {
		t.Errorf("total: %s", r.text)
	}
	if r := ask(t, srv, "GET", "/k/v1/records.json?app=7&query=limit+1", ""); r.body["totalCount"] != nil {
		t.Errorf("total that nobody asked for: %s", r.text)
	}
}

func TestCursors(t *testing.T) {
	now := start
	srv := run(t, func(o *kintonesim.Options) { o.Now = func() time.Time { return now } })
	ask(t, srv, "POST", "/k/v1/records.json", records(log, many(5, msgid)...))
	open := func() reply {
		return ask(t, srv, "POST", "/k/v1/records/cursor.json", `{"app":7,"fields":["msgid"],"query":"order by $id asc","size":3}`)
	}
	r := open()
	id, _ := r.body["id"].(string)
	if r.body["totalCount"] != "5" {
		t.Errorf("got %s", r.text)
	}
	for _, want := range []struct {
		rows int
		next bool
	}{{3, true}, {2, false}} {
		r = ask(t, srv, "GET", "/k/v1/records/cursor.json?id="+id, "")
		if list, _ := r.body["records"].([]any); len(list) != want.rows || r.body["next"] != want.next {
			t.Errorf("got %s, want %+v", r.text, want)
		}
	}
	if r := ask(t, srv, "GET", "/k/v1/records/cursor.json?id="+id, ""); r.code() != "GAIA_CN01" {
		t.Errorf("a cursor that was read to its end answers %d", r.status)
	}
	for range 10 {
		open()
	}
	if r := open(); r.status != 429 || r.code() != "GAIA_TM12" {
		t.Errorf("the eleventh cursor: got %d %s", r.status, r.code())
	}
	now = now.Add(10 * time.Minute)
	if r := open(); r.status != 200 {
		t.Errorf("cursors do not expire: %s", r.text)
	}
	if r := ask(t, srv, "DELETE", "/k/v1/records/cursor.json?id="+open().body["id"].(string), ""); r.status != 200 {
		t.Errorf("got %s", r.text)
	}
}

func TestBulkRequest(t *testing.T) {
	srv := run(t, nil)
	request := func(method, api, payload string) string {
		return fmt.Sprintf(`{"method":%q,"api":"/k/v1/%s","payload":%s}`, method, api, payload)
	}
	good := []string{
		request("POST", "record.json", `{"app":7,"record":`+msgid(1)+`}`),
		request("POST", "records.json", records(raw, `{"seq":{"value":1}}`)),
		request("PUT", "records.json", upsert(log, keyed("msgid", "m1", "{}"))),
	}
	bad := append(slices.Clone(good), request("PUT", "record.json", `{"app":7,"id":1,"revision":9,"record":{}}`), good[1])
	tokens := "X-Cybozu-API-Token: log,raw"
	r := ask(t, srv, "POST", "/k/v1/bulkRequest.json", `{"requests":[`+strings.Join(bad, ",")+`]}`, tokens)
	results, _ := r.body["results"].([]any)
	if r.status != 409 || len(results) != 5 || results[3].(map[string]any)["code"] != "GAIA_CO02" || len(results[0].(map[string]any)) != 0 {
		t.Errorf("got %d %s", r.status, r.text)
	}
	if n := len(srv.Rows(log)) + len(srv.Rows(raw)); n != 0 {
		t.Errorf("%d rows are left of a transaction that failed", n)
	}
	if c := srv.Counters(); c.Inserted+c.Updated != 0 {
		t.Errorf("what was rolled back is counted: %+v", c)
	}
	r = ask(t, srv, "POST", "/k/v1/bulkRequest.json", `{"requests":[`+strings.Join(good, ",")+`]}`, tokens)
	if r.status != 200 || len(srv.Rows(log)) != 1 || srv.Rows(log)[0].Revision != 2 || len(srv.Rows(raw)) != 1 {
		t.Errorf("got %d %s", r.status, r.text)
	}
	if r := ask(t, srv, "POST", "/k/v1/bulkRequest.json", `{"requests":[`+request("GET", "records.json", `{"app":7}`)+`]}`); r.status != 400 {
		t.Errorf("a read in a bulkRequest: got %d %s", r.status, r.text)
	}
}

func TestLanguages(t *testing.T) {
	srv := run(t, nil)
	tests := []struct{ header, want string }{
		{"", "入力内容が正しくありません。"}, {"*", "入力内容が正しくありません。"}, {"ja", "入力内容が正しくありません。"}, {"en-US,ja;q=0.5", "Missing or invalid input."},
	}
	for _, test := range tests {
		r := ask(t, srv, "POST", "/k/v1/record.json", `{"app":7,"record":{}}`, "Accept-Language: "+test.header)
		if r.body["message"] != test.want {
			t.Errorf("%q: got %v, want %v", test.header, r.body["message"], test.want)
		}
	}
	defer srv.Fault(kintonesim.Fault{Kind: kintonesim.Busy})()
	if r := ask(t, srv, "GET", "/k/v1/records.json?app=7", ""); r.status != 429 || r.body["message"] != "The number of concurrent API requests exceeds the limit." {
		t.Errorf("got %s", r.text)
	}
}

func TestGuestSpaceAndBasicAuth(t *testing.T) {
	srv := run(t, func(o *kintonesim.Options) { o.BasicAuth = "site:pass" })
	if r := ask(t, srv, "GET", "/k/v1/records.json?app=7", ""); r.status != 401 || r.body != nil {
		t.Errorf("without basic auth: got %d %s", r.status, r.text)
	}
	r := ask(t, srv, "POST", "/k/guest/3/v1/record.json", `{"app":9,"record":{"a":{"value":"x"}}}`, "X-Cybozu-API-Token: guest", "Authorization: Basic c2l0ZTpwYXNz")
	if r.status != 200 {
		t.Errorf("got %d %s", r.status, r.text)
	}
}

func TestAppsThatCannotBe(t *testing.T) {
	field := func(f kintonesim.Field) kintonesim.App {
		return kintonesim.App{ID: 1, Token: "t", Fields: []kintonesim.Field{f}}
	}
	for name, app := range map[string]kintonesim.App{
		"no token":       {ID: 1},
		"table":          field(kintonesim.Field{Code: "a", Type: "SUBTABLE"}),
		"digit first":    field(kintonesim.Field{Code: "1a", Type: "NUMBER"}),
		"no options":     field(kintonesim.Field{Code: "a", Type: "DROP_DOWN"}),
		"system field":   field(kintonesim.Field{Code: "作成日時", Type: "DATETIME"}),
		"31 digits":      {ID: 1, Token: "t", Precision: kintonesim.Precision{Digits: 31}},
		"field is twice": {ID: 1, Token: "t", Fields: []kintonesim.Field{{Code: "a", Type: "LINK"}, {Code: "a", Type: "LINK"}}},
	} {
		if srv, err := kintonesim.Start(kintonesim.Options{Apps: []kintonesim.App{app}}); err == nil {
			srv.Close()
			t.Errorf("%s: accepted", name)
		}
	}
	// unique is dropped without a word where a type cannot have it.
	srv, err := kintonesim.Start(kintonesim.Options{Apps: []kintonesim.App{field(kintonesim.Field{Code: "a", Type: "MULTI_LINE_TEXT", Unique: true})}})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	r := ask(t, srv, "GET", "/k/v1/app/form/fields.json?app=1", "", "X-Cybozu-API-Token: t")
	properties, _ := r.body["properties"].(map[string]any)
	a, _ := properties["a"].(map[string]any)
	if _, has := a["unique"]; has || a["type"] != "MULTI_LINE_TEXT" || properties["レコード番号"] == nil {
		t.Errorf("got %s", r.text)
	}
}
