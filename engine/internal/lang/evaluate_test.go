package lang_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
)

// record is a view of a record.
type record struct{ r sdk.Record }

func (v record) ID() string              { return v.r.ID }
func (v record) Seq() uint64             { return v.r.Seq }
func (v record) Key() string             { return v.r.Key }
func (v record) Kind() string            { return v.r.Kind }
func (v record) Time() time.Time         { return v.r.Time }
func (v record) Body() []byte            { return v.r.Body }
func (v record) Meta(name string) string { return v.r.Meta[name] }
func (v record) Files() []sdk.File       { return v.r.Files }

func message() record {
	return record{sdk.Record{
		ID: "m1", Seq: 1500, Key: "alice|bob", Kind: "chat.message/1", Time: time.Date(2020, 10, 27, 17, 30, 0, 5e6, time.UTC),
		Body: []byte(`{"msgtype":"image","from":"alice","tolist":["bob"],"roomid":"","content":"hi <b>\u4f60\n","msgtime_ms":1603819800005.10,"action":"send"}`),
		Meta: map[string]string{"flags": "FIELD_MISSING"},
		Files: []sdk.File{
			{Index: 0, Name: "a/b.jpg", SizeClaimed: 5, Size: 6, MD5: "0a", Spool: "f-1", SHA256: "ff"},
			{Index: 1, Name: "big.mp4", SizeClaimed: 20 << 20, Size: -1},
			{Index: 2, SizeClaimed: -1, Size: -1},
		},
	}}
}

func receipts(state string, files ...int) lang.Receipts {
	return func(address string) lang.Receipt {
		if address != "sink.oss.large" {
			return lang.Receipt{}
		}
		return lang.Receipt{State: state, URLs: []string{"oss://b/2", "oss://b/1"}, Files: files}
	}
}

func TestMainJob(t *testing.T) {
	p, _, _ := mainPipeline(t, oss)
	rec := message()

	large := p.Step("sink.oss.large")
	if wants, err := large.Wants(rec, nil); err != nil || !wants {
		t.Errorf("oss wants: got %v, %v", wants, err)
	}
	same(t, large, rec, nil, `{"files":[1],"key":["ww1/2020/10/28/alice|bob/1500-1_big.mp4"],"metadata":[{"msgid":"m1","md5":""}]}`)
	files, err := large.WantedFiles(rec, nil)
	if diff := cmp.Diff([]int{1}, files); diff != "" || err != nil {
		t.Errorf("wanted files: %v %s", err, diff)
	}
	none := message()
	none.r.Files = nil
	if wants, err := large.Wants(none, nil); err != nil || wants {
		t.Errorf("oss wants a record without files: got %v, %v", wants, err)
	}

	log := p.Step("sink.kintone.log")
	if wants, err := log.Wants(none, nil); err != nil || !wants {
		t.Errorf("log wants: got %v, %v", wants, err)
	}
	same(t, log, rec, receipts(status.Owed, 1), `{"app":201,"key":{"msgid":"m1"},"files":{"file":[0,2]},"fields":{
		"msgtime":"2020-10-27T17:30:00.005Z","msgtime_ms":1603819800005.10,"status":"FILE_WAITING","to":"bob","tolist":"bob",
		"content":"hi <b>\u4f60\n","filename":"a/b.jpg","filesize":6,"storage_url":"oss://b/2\noss://b/1"}}`)
	same(t, log, none, receipts(status.Passed), `{"app":201,"key":{"msgid":"m1"},"files":{"file":[]},"fields":{
		"msgtime":"2020-10-27T17:30:00.005Z","msgtime_ms":1603819800005.10,"status":"FIELD_MISSING","to":"bob","tolist":"bob",
		"content":"hi <b>\u4f60\n","filename":"","filesize":null,"storage_url":"oss://b/2\noss://b/1"}}`)
	bare := record{sdk.Record{ID: "m2", Body: []byte(`{}`)}}
	bare.r.Seq = 1
	same(t, log, bare, receipts(status.Passed), `{"app":201,"key":{"msgid":"m2"},"files":{"file":[]},"fields":{
		"msgtime":null,"msgtime_ms":null,"status":"FINISHED","to":"","tolist":"","content":null,"filename":"","filesize":null,
		"storage_url":"oss://b/2\noss://b/1"}}`)

	raw := record{sdk.Record{ID: "m1", Seq: 999, Body: []byte(`{"publickey_ver":3}`), Meta: map[string]string{"fetched_at": "x"}}}
	same(t, p.Step("sink.kintone.raw"), raw, nil, `{"app":101,"key":{"seq":999},"fields":{"msgid":"m1","publickey_ver":3,"fetched_at":"x","decode_status":"RAW_STORED"}}`)
	raw.r.Seq = 1000
	if got := args(t, p.Step("sink.kintone.raw"), raw, nil); !strings.Contains(got, `"app":131`) {
		t.Errorf("from seq 1000 on: got %s", got)
	}
	raw.r.Seq = 0
	if _, err := p.Step("sink.kintone.raw").RowArgs(raw, nil); err == nil || !strings.HasSuffix(err.Error(), "main.hcl:68: sink.kintone.raw: app: since() needs a number, and this record has none") {
		t.Errorf("without seq: got %v", err)
	}

	recalled := p.Step("sink.kintone.recalled")
	if wants, err := recalled.Wants(rec, nil); err != nil || wants {
		t.Errorf("recalled wants a message: got %v, %v", wants, err)
	}
	rec.r.Body = []byte(`{"action":"recall"}`)
	rec.r.Meta = map[string]string{"ref_msgid": "m0"}
	if wants, err := recalled.Wants(rec, nil); err != nil || !wants {
		t.Errorf("recalled wants a recall: got %v, %v", wants, err)
	}
	if id, err := recalled.About(rec); err != nil || id != "m0" {
		t.Errorf("about: got %q, %v", id, err)
	}
	same(t, recalled, rec, nil, `{"app":{"1":201},"key":{"msgid":"m0"},"fields":{"revoked":["revoked"],"revoked_at":"2020-10-27T17:30:00.005Z"}}`)

	event := record{sdk.Record{ID: "e1", Kind: lang.EventKind, Body: []byte(`{"code":"KEY","subject":{"source":"source.wecom_chat.chat","id":"m7","seq":1001}}`),
		Meta: map[string]string{"step": "transform.decrypt.plain", "code": "KEY", "recovered": "true"}}}
	state := p.Step("sink.kintone.raw_state")
	if wants, err := state.Wants(event, nil); err != nil || !wants {
		t.Errorf("raw_state wants: got %v, %v", wants, err)
	}
	if id, err := state.About(event); err != nil || id != "m7" {
		t.Errorf("about an object: got %q, %v", id, err)
	}
	same(t, state, event, nil, `{"app":131,"key":{"seq":1001},"fields":{"decode_status":"DECODED","error":"KEY"}}`)
	event.r.Body = []byte(`{"code":"KEY"}`)
	if id, err := state.About(event); err != nil || id != "" {
		t.Errorf("about nothing: got %q, %v", id, err)
	}
	if got, err := p.Step("transform.parse.message").RowArgs(rec, nil); got != nil || err != nil {
		t.Errorf("no per-record arguments: got %s, %v", got, err)
	}
}

// A disabled step still says what it would have wanted.
func TestDisabledWants(t *testing.T) {
	p, _, _ := mainPipeline(t, nil)
	if wants, err := p.Step("sink.oss.large").Wants(message(), nil); err != nil || !wants {
		t.Errorf("got %v, %v, want true", wants, err)
	}
	files, err := p.Step("transform.wecom_media.got").WantedFiles(message(), nil)
	if diff := cmp.Diff([]int{0, 2}, files); diff != "" || err != nil {
		t.Errorf("without object storage only small files are wanted: %v %s", err, diff)
	}
}

func args(t *testing.T, s *lang.Step, rec lang.Record, r lang.Receipts) string {
	t.Helper()
	got, err := s.RowArgs(rec, r)
	if err != nil {
		t.Fatalf("%s: %v", s.Address, err)
	}
	if !json.Valid(got) {
		t.Fatalf("%s: no JSON: %s", s.Address, got)
	}
	return string(got)
}

// same compares arguments by their text, so that no digit and no order is lost; white space between lines is ours.
func same(t *testing.T, s *lang.Step, rec lang.Record, r lang.Receipts, want string) {
	t.Helper()
	want = strings.NewReplacer("\n\t\t", "").Replace(want)
	if diff := cmp.Diff(want, args(t, s, rec, r)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", s.Address, diff)
	}
}

// line evaluates one expression for a record of a source whose bodies nobody describes.
func line(t *testing.T, expr string, rec record) (string, error) {
	t.Helper()
	text := "weir {\n  name = \"t\"\n  timezone = \"Asia/Tokyo\"\n}\nsource \"file\" \"s\" { path = \"x\" }\ntransform \"parse\" \"p\" { input = source.file.s }\n" +
		"sink \"file\" \"f\" {\n  input = [source.file.s, transform.parse.p]\n  path = \"x\"\n  line = " + expr + "\n}\n"
	name := write(t, text)
	put(t, filepath.Join(filepath.Dir(name), "note.txt"), "text")
	if strings.Contains(expr, "keyring") {
		put(t, filepath.Join(filepath.Dir(name), "v1.pem"), key(t, true))
	}
	p, diags := lang.Load([]string{name}, lang.Options{Plugins: plugins(), Getenv: environment(map[string]string{"HOME_OF_TEST": "here"})})
	got, err := must(t, p, diags).Step("sink.file.f").RowArgs(rec, nil)
	if err != nil {
		return "", err
	}
	var v struct{ Line json.RawMessage }
	if err := json.Unmarshal(got, &v); err != nil {
		t.Fatalf("%s: no JSON: %s", expr, got)
	}
	return string(v.Line), nil
}

func TestExpressions(t *testing.T) {
	const nfd, nfc = "Cafe\u0301 \uFA19", "Caf\u00e9 \u795e" // FA19 is a compatibility ideograph of Japanese names
	rec := record{sdk.Record{ID: "i", Seq: 1<<53 + 1, Key: nfd, Kind: "k/1", Meta: map[string]string{"flags": "x"},
		Body: []byte(`{"n":0.10,"big":12345678901234567890.123456789,"huge":1e999999,"t":"a\"b","nfd":"` + nfd + `","list":[1,{"a":null}],"o":{"p":{"q":true}},` +
			`"odd name":1,"a.b":2,"dup":1,"dup":2,"html":"<>&","sur":"\ud800x","null":null,"e":{},"l":[]}`),
		Files: []sdk.File{{Name: nfd, Size: -1, SizeClaimed: 7, Ref: sdk.NewSecret("sdkfileid")}}}}
	rows := []struct{ expr, want string }{
		{`record.id`, `"i"`},
		{`record.seq`, `9007199254740993`},
		{`record.time`, `null`},
		{`record.key`, `"` + nfd + `"`},
		{`[record.key, record.kind]`, `["` + nfd + `","k/1"]`},
		{`"${record.key}!"`, `"` + nfc + `!"`},
		{`record.body.n`, `0.10`},
		{`[record.body.n]`, `[0.1]`},
		{`record.body.n + 0.2`, `0.3`},
		{`record.body.big`, `12345678901234567890.123456789`},
		{`[record.body.big]`, `[12345678901234567890.123456789]`},
		{`[record.body.huge]`, `["1e999999"]`},
		{`1 / 3 * record.body.n`, `0.03333333333333333`},
		{`record.body.t`, `"a\"b"`},
		{`record.body.nfd`, `"` + nfd + `"`},
		{`record.body.nfd == record.key ? record.body.nfd : ""`, `"` + nfd + `"`},
		{`record.body.list`, `[1,{"a":null}]`},
		{`[for x in record.body.list : x]`, `[1,{"a":null}]`},
		{`length(record.body.list)`, `2`},
		{`record.body.o.p.q`, `true`},
		{`record.body.o.p.q ? 1 : 2`, `1`},
		{`record.body.o.x`, `null`},
		{`record.body.x.y.z`, `null`},
		{`record.body.x.y.z == null`, `true`},
		{`[record.body.t.below]`, `[null]`},
		{`record.body.o.p.x == null && record.body.o != null`, `true`},
		{`record.body["odd name"]`, `1`},
		{`record.body["a.b"]`, `2`},
		{`record.body.dup`, `2`},
		{`record.body.html`, `"<>&"`},
		{`record.body.null`, `null`},
		{`coalesce(record.body.null, "other")`, `"other"`},
		{`{ a = record.body.e, b = record.body.l }`, `{"a":{},"b":[]}`},
		{`[record.body.e, record.body.l]`, `[{},[]]`},
		{`{ "${record.id}" = record.body.n }`, `{"i":0.1}`},
		{`{ (record.id) = 1 }`, `{"i":1}`},
		{`{ a = { b = record.body.n }, c = 1 }`, `{"a":{"b":0.10},"c":1}`},
		{`record.meta.flags`, `"x"`},
		{`record.meta.ref_msgid`, `""`},
		{`keys(record.meta)`, `["flags","ref_msgid"]`},
		{`[for f in record.files : f.name]`, `["` + nfd + `"]`},
		{`record.files[*].size`, `[7]`},
		{`record.files[0].has_bytes`, `false`},
		{`try(record.files[1].name, "none")`, `"none"`},
		{`status(record)`, `"FILE_WAITING"`},
		{`jsonencode(record.body.list)`, `"[1,{\"a\":null}]"`},
		{`length(keys(record))`, `8`},
		{`strcontains(jsonencode(record), "sdkfileid")`, `false`},
		{`"constant"`, `"constant"`},
		{`record.id == "i" ? null : 1`, `null`},
	}
	for _, row := range rows {
		got, err := line(t, row.expr, rec)
		if err != nil || strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(got, `\u003c`, "<"), `\u003e`, ">"), `\u0026`, "&") != row.want {
			t.Errorf("%s: got %s, %v, want %s", row.expr, got, err, row.want)
		}
	}
}

// What goes wrong with a record is an error with its place, and holds nothing of the record.
func TestRecordErrors(t *testing.T) {
	rec := record{sdk.Record{ID: "private-id", Body: []byte(`{"t":"private-text","deep":` + strings.Repeat("[", 300) + strings.Repeat("]", 300) + `}`)}}
	for _, row := range []struct{ expr, want string }{
		{`tonumber(record.body.t)`, "tonumber() cannot work with these arguments"},
		{`record.body.t + 1`, "invalid operand"},
		{`record.body.t.x.y`, ""},
		{`formatdate("YYYY", record.body.t)`, "this is not a time"},
		{`jsondecode(record.body.t)`, "jsondecode() cannot work with these arguments"},
		{`{ for x in [1, 2] : record.id => x }`, "duplicate object key"},
		{`regex("x", record.id)`, "regex() cannot work with these arguments"},
		{`[record.body.deep]`, "nested more than 200 levels deep"},
	} {
		got, err := line(t, row.expr, rec)
		if row.want == "" {
			if err != nil || got != "null" {
				t.Errorf("%s: got %s, %v", row.expr, got, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "p.hcl:10: sink.file.f: line: ") || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "private") {
			t.Errorf("%s: got %v, want %s", row.expr, err, row.want)
		}
	}
	for _, body := range []string{"", "not json", `{"t":`, "\xff\xfe", `[1]`, `"t"`, `null`} {
		got, err := line(t, `{ a = record.body.t, b = [record.body.t.u], c = record.id }`, record{sdk.Record{ID: "i", Body: []byte(body)}})
		if err != nil || got != `{"a":null,"b":[null],"c":"i"}` {
			t.Errorf("body %q: got %s, %v", body, got, err)
		}
	}
}

func TestFilesMustBeFiles(t *testing.T) {
	text := head + "connection \"oss\" \"o\" {\n  endpoint = \"e\"\n  bucket = \"b\"\n}\nsink \"oss\" \"o\" {\n  connection = connection.oss.o\n  input = source.generate.gen\n  key = file.name\n  %s\n}\n"
	env := environment(map[string]string{"S": "s", "WEIR_VAR_apps": "x"})
	step := func(line string) *lang.Step {
		p, diags := lang.Load([]string{write(t, fmt.Sprintf(text, line))}, lang.Options{Plugins: plugins(), Getenv: env})
		return must(t, p, diags).Step("sink.oss.o")
	}
	rec := message()
	same(t, step(""), rec, nil, `{"files":[0,1,2],"key":["a/b.jpg","big.mp4",""]}`)
	same(t, step("files = record.files"), rec, nil, `{"files":[0,1,2],"key":["a/b.jpg","big.mp4",""]}`)
	same(t, step("files = reverse(slice(record.files, 0, 2))"), rec, nil, `{"files":[1,0],"key":["big.mp4","a/b.jpg"]}`)
	same(t, step("files = record.id == \"x\" ? record.files : null"), rec, nil, `{"files":[],"key":[]}`)
	for _, bad := range []string{"[for f in record.files : f.name]", "[for f in record.files : { index = 7 }]", "[record.id]", "{ a = record.files }"} {
		if _, err := step("files = "+bad).RowArgs(rec, nil); err == nil || !strings.Contains(err.Error(), "wants elements of record.files") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// Expressions are evaluated from many goroutines.
func TestConcurrent(t *testing.T) {
	p, _, _ := mainPipeline(t, oss)
	s := p.Step("sink.kintone.log")
	want := args(t, s, message(), receipts(status.Owed, 1))
	done := make(chan string)
	for range 8 {
		go func() {
			for range 50 {
				if got, err := s.RowArgs(message(), receipts(status.Owed, 1)); err != nil || string(got) != want {
					done <- fmt.Sprintf("got %s, %v", got, err)
					return
				}
			}
			done <- ""
		}()
	}
	for range 8 {
		if s := <-done; s != "" {
			t.Error(s)
		}
	}
}
