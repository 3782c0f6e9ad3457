package parse

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

func newTransform(t testing.TB) sdk.Transform {
	t.Helper()
	tr := Plugin().Components[0].NewTransform()
	if err := tr.Open(context.Background(), &sdk.Env{Args: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	return tr
}

func apply(t testing.TB, tr sdk.Transform, rows ...sdk.Row) []sdk.Outcome {
	t.Helper()
	got := make([]sdk.Outcome, len(rows))
	call := sdk.NewCall(rows, time.Time{}, false, func(i int, o sdk.Outcome) { got[i] = o })
	if err := tr.Apply(context.Background(), call); err != nil {
		t.Fatal(err)
	}
	return got
}

func plain(id, body string) sdk.Row {
	return sdk.Row{Record: sdk.Record{ID: id, Seq: 7, Kind: KindPlain, Body: []byte(body), Meta: map[string]string{"fetched_at": "2026-11-22T10:00:00Z"}}}
}

// parsed is the record made of one message.
func parsed(t testing.TB, id, body string) (sdk.Record, bodyOf) {
	t.Helper()
	o := apply(t, newTransform(t), plain(id, body))[0]
	if o.Verdict != sdk.VerdictDone || len(o.Outputs) != 1 {
		t.Fatalf("%.80s: got verdict %d %s with %d outputs", body, o.Verdict, o.Code, len(o.Outputs))
	}
	var b bodyOf
	d := json.NewDecoder(bytes.NewReader(o.Outputs[0].Body))
	d.DisallowUnknownFields()
	if err := d.Decode(&b); err != nil {
		t.Fatalf("%v in %s", err, o.Outputs[0].Body)
	}
	return o.Outputs[0], b
}

type bodyOf struct {
	Msgtype, Action, From, Roomid, Content string
	Tolist                                 []string
	MsgtimeMS                              *int64 `json:"msgtime_ms"`
	Message                                json.RawMessage
}

// samples are the messages of the corpus as they stand in it.
func samples(t testing.TB) []json.RawMessage {
	t.Helper()
	raw, err := os.ReadFile("testdata/message_samples.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct{ Message json.RawMessage }
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	var messages []json.RawMessage
	for _, s := range all {
		messages = append(messages, s.Message)
	}
	return messages
}

// What the samples say, read by a person. Content is given where it is a text, else the first field of its JSON.
var sampleFacts = []struct{ msgtype, content, files, meta string }{
	{"text", "test", "", ""},
	{"text", "你好😀", "", "external"},
	{"image", "md5sum", "?.jpg 70961 865c0c0b4ab0e063e5caa3387c1a8741 image/jpeg", ""},
	{"revoke", "pre_msgid", "", "ref_msgid=14822339130656386894_1603875600"},
	{"agree", "userid", "", ""},
	{"disagree", "userid", "", ""},
	{"voice", "md5sum", "?.amr 6810 9e3669d19b675bd57058fd4664205d2a audio/amr", ""},
	{"video", "md5sum", "?.mp4 15169724 8f7d15a8d28ec153835ef4bfc428d5e4 video/mp4", ""},
	{"card", "corpname", "", ""},
	{"location", "longitude", "", ""},
	{"emotion", "type", "?.gif 962604 e1671797c52e15f763380b45e841ec32 image/gif", ""},
	{"file", "md5sum", "资料.docx 2287375645 8fa14cdd754f91cc6554c9e71929cce7 application/vnd.openxmlformats-officedocument.wordprocessingml.document", ""},
	{"link", "title", "", ""},
	{"weapp", "title", "", ""},
	{"chatrecord", "title", "?.jpg 1 08c7b0daa33b1e5e86a230c1801254c9 image/jpeg, a.pdf 9 bea2f3fe6ec7414cdf0bf233abba7ef0 application/pdf", "limited"},
	{"todo", "title", "", ""},
	{"vote", "msgid", "", ""},
	{"vote", "votetitle", "", ""},
	{"collect", "room_name", "", ""},
	{"redpacket", "type", "", ""},
	{"meeting", "topic", "", ""},
	{"meeting_notification", "content", "", ""},
	{"switch", "msgid", "", ""},
	{"docmsg", "title", "", "limited"},
	{"markdown", "请前往系统查看，谢谢。", "", ""},
	{"news", "item", "", ""},
	{"calendar", "title", "", ""},
	{"mixed", "item", "?.jpg 13177 3d26b0b17065c2cf29c06c010184c684 image/jpeg", ""},
	{"meeting_voice_call", "endtime", "? -1  application/octet-stream", ""},
	{"voip_doc_share", "filename", "欢迎使用微盘.pdf.pdf 4400654 51888604cf507f0d151b78db9eed4e30 application/pdf", ""},
	{"external_redpacket", "type", "", ""},
	{"sphfeed", "feed_type", "", "external"},
	{"voiptext", "callduration", "", ""},
	{"qydiskfile", "filename", "", "limited"},
	{"some_new_type", "k", "? -1  application/octet-stream", "flags=TYPE_UNKNOWN"},
}

var madeUp = regexp.MustCompile(`^[A-Z0-9]{20}(\.|$)`)

func TestSamples(t *testing.T) {
	all := samples(t)
	if len(all) != len(sampleFacts) {
		t.Fatalf("got %d samples, facts for %d", len(all), len(sampleFacts))
	}
	for i, want := range sampleFacts {
		t.Run(fmt.Sprint(i, " ", want.msgtype), func(t *testing.T) {
			var in struct {
				Msgid, Action, From, User, Roomid string
				Tolist                            []string
				Msgtime, Time                     int64
			}
			if err := json.Unmarshal(all[i], &in); err != nil {
				t.Fatal(err)
			}
			r, b := parsed(t, in.Msgid, string(all[i]))

			if r.ID != in.Msgid || r.Seq != 7 || r.Kind != "chat.message/1" || r.Meta["fetched_at"] != "2026-11-22T10:00:00Z" {
				t.Errorf("got id %s, seq %d, kind %s, meta %v", r.ID, r.Seq, r.Kind, r.Meta)
			}
			if got := in.Msgtime + in.Time; r.Time.UnixMilli() != got || *b.MsgtimeMS != got {
				t.Errorf("got time %v and %d, want %d", r.Time, *b.MsgtimeMS, got)
			}
			key := in.Roomid
			if key == "" && len(in.Tolist) == 1 {
				key = min(in.From, in.Tolist[0]) + "~" + max(in.From, in.Tolist[0])
			}
			if r.Key != key {
				t.Errorf("got key %s, want %s", r.Key, key)
			}
			if b.Msgtype != want.msgtype || r.Meta["msgtype"] != want.msgtype || b.Action != in.Action || b.From != in.From+in.User || b.Roomid != in.Roomid {
				t.Errorf("got %+v", b)
			}
			if diff := cmp.Diff(append([]string{}, in.Tolist...), b.Tolist); diff != "" {
				t.Errorf("tolist (-want +got):\n%s", diff)
			}
			if got := firstField(b.Content); got != want.content {
				t.Errorf("got content %q, want %q", b.Content, want.content)
			}
			if got := describe(r.Files); got != want.files {
				t.Errorf("got files %q, want %q", got, want.files)
			}
			var meta []string
			for _, name := range []string{"external", "flags", "limited", "missing_fields", "ref_msgid"} {
				switch v := r.Meta[name]; {
				case v == "true" || name == "limited" && v != "":
					meta = append(meta, name)
				case v != "":
					meta = append(meta, name+"="+v)
				}
			}
			if got := strings.Join(meta, " "); got != want.meta {
				t.Errorf("got meta %q, want %q", got, want.meta)
			}

			// The message is what came in, but for the ids, which lie in the files.
			ids := regexp.MustCompile(`(sdkfileid\\?"\s*:\s*\\?")(Cg[A-Za-z0-9+/=]+)`)
			if emptied := ids.ReplaceAll(all[i], []byte("$1")); !bytes.Equal(emptied, b.Message) {
				t.Errorf("got message %s\nwant %s", b.Message, emptied)
			}
			for k, found := range ids.FindAllSubmatch(all[i], -1) {
				if got := r.Files[k].Ref.Reveal(); got != string(found[2]) || r.Files[k].Index != k {
					t.Errorf("file %d: got index %d, reference %s", k, r.Files[k].Index, got)
				}
			}
			if bytes.Contains(r.Body, []byte("CgR")) {
				t.Errorf("an id is left in %s", r.Body)
			}
		})
	}
}

// firstField is the name of the first member of a JSON object, and any other text itself.
func firstField(content string) string {
	d := json.NewDecoder(strings.NewReader(content))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return content
	}
	name, _ := d.Token()
	return fmt.Sprint(name)
}

func describe(files []sdk.File) string {
	var all []string
	for _, f := range files {
		if f.Size != -1 || f.MD5 != "" || f.Outcome != "" {
			return "something was found already"
		}
		name := f.Name
		if madeUp.MatchString(name) {
			name = "?" + name[20:]
		}
		all = append(all, fmt.Sprintf("%s %d %s %s", name, f.SizeClaimed, f.MD5Claimed, f.MediaType))
	}
	return strings.Join(all, ", ")
}

const head = `{"msgid":"m","action":"send","from":"a","tolist":["b"],"roomid":"","msgtime":1603875600000,`

func TestFlags(t *testing.T) {
	tests := []struct{ name, body, flags, missing string }{
		{"all there", head + `"msgtype":"text","text":{"content":""}}`, "", ""},
		{"absent", head + `"msgtype":"text","text":{}}`, "FIELD_MISSING", "content"},
		{"null", head + `"msgtype":"text","text":{"content":null}}`, "FIELD_MISSING", "content"},
		{"no payload", head + `"msgtype":"image"}`, "FIELD_MISSING", "sdkfileid,filesize"},
		{"payload is no object", head + `"msgtype":"image","image":[1]}`, "FIELD_MISSING", "sdkfileid,filesize"},
		{"a file without id", head + `"msgtype":"image","image":{"sdkfileid":"","filesize":1}}`, "FIELD_MISSING", "sdkfileid"},
		{"md5 may be empty or absent", head + `"msgtype":"image","image":{"sdkfileid":"x","filesize":1}}`, "", ""},
		{"zero is a value", head + `"msgtype":"voiptext","info":{"callduration":0,"invitetype":0}}`, "", ""},
		{"nobody and never", `{"msgtype":"text","text":{"content":"x"}}`, "FIELD_MISSING", "from,tolist,msgtime"},
		{"time 0", `{"from":"a","tolist":[],"msgtime":0,"msgtype":"text","text":{"content":"x"}}`, "", ""},
		{"Userid", head + `"msgtype":"card","card":{"corpname":"c","Userid":"u"}}`, "", ""},
		{"old news", head + `"msgtype":"news","info":{"title":"t","url":"u"}}`, "", ""},
		{"top level todo", head + `"msgtype":"todo","title":"t","content":"c"}`, "", ""},
		{"top level vote", head + `"msgtype":"vote","votetitle":"t","voteitem":[],"votetype":101}`, "FIELD_MISSING", "voteid"},
		{"alias", head + `"msgtype":"meetingvoicecall","voiceid":"v","meeting_voice_call":{"endtime":1,"sdkfileid":"x"}}`, "", ""},
		{"alias as payload", head + `"msgtype":"voipdocshare","voipdocshare":{"filename":"f","filesize":1,"sdkfileid":"x"}}`, "", ""},
		{"no voiceid", head + `"msgtype":"meeting_voice_call","meeting_voice_call":{"voiceid":"v","endtime":1,"sdkfileid":"x"}}`, "FIELD_MISSING", "voiceid"},
		{"unknown", `{"msgtype":"hologram"}`, "TYPE_UNKNOWN", ""},
		{"no type", `{}`, "TYPE_UNKNOWN", ""},
		{"switch without user", `{"action":"switch","time":1}`, "FIELD_MISSING", "user"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, _ := parsed(t, "m", test.body)
			if r.Meta["flags"] != test.flags || r.Meta["missing_fields"] != test.missing {
				t.Errorf("got flags %q, missing %q; want %q, %q", r.Meta["flags"], r.Meta["missing_fields"], test.flags, test.missing)
			}
		})
	}
}

// Every required field of every type, taken away from its sample, is missed.
func TestEveryRequiredFieldIsMissed(t *testing.T) {
	tried := make(map[string]bool)
	for _, sample := range samples(t) {
		var message map[string]any
		json.Unmarshal(sample, &message)
		_, whole := parsed(t, "m", string(sample))
		known := typesByName[whole.Msgtype]
		if known == nil {
			continue
		}
		tried[known.name] = true
		for _, field := range known.required {
			field = strings.TrimPrefix(strings.Split(field, "|")[0], ".")
			without := regexp.MustCompile(`"`+field+`"(\s*:)`).ReplaceAll(sample, []byte(`"gone"$1`))
			r, _ := parsed(t, "m", string(without))
			if !strings.Contains(r.Meta["missing_fields"], field) || r.Meta["flags"] != FlagFieldMissing {
				t.Errorf("%s without %s: got flags %q, missing %q", known.name, field, r.Meta["flags"], r.Meta["missing_fields"])
			}
		}
	}
	for _, known := range knownTypes {
		if !tried[known.name] {
			t.Errorf("no sample of %s", known.name)
		}
	}
}

func TestMessagesOfAllShapes(t *testing.T) {
	tests := []struct {
		name, body, key, content string
		ms                       any
		time                     bool
	}{
		{"time 0", `{"from":"b","tolist":["a"],"msgtime":0,"msgtype":"text","text":{"content":"x"}}`, "a~b", "x", 0, false},
		{"time as text", `{"from":"b","tolist":["a"],"msgtime":"1603875600000","msgtype":"text","text":{"content":"x"}}`, "a~b", "x", 1603875600000, true},
		{"time with exponent", `{"from":"b","tolist":["a"],"msgtime":1.6038756e12,"msgtype":"text","text":{"content":"x"}}`, "a~b", "x", 1603875600000, true},
		{"time beyond int64", `{"from":"b","tolist":["a"],"msgtime":99999999999999999999,"msgtype":"text","text":{"content":"x"}}`, "a~b", "x", nil, false},
		{"last time", `{"from":"b","tolist":["a"],"msgtime":9223372036854,"msgtype":"text","text":{"content":"x"}}`, "a~b", "x", 9223372036854, true},
		{"time after the last", `{"from":"b","tolist":["a"],"msgtime":9223372036855,"msgtype":"text","text":{"content":"x"}}`, "a~b", "x", 9223372036855, false},
		{"time null", `{"from":"b","tolist":["a"],"msgtime":null,"msgtype":"text","text":{"content":"x"}}`, "a~b", "x", nil, false},
		{"room wins", head[:len(head)-1] + `,"roomid":"wr1","msgtype":"text","text":{"content":"x"}}`, "wr1", "x", 1603875600000, true},
		{"to oneself", `{"from":"a","tolist":["a"],"msgtype":"text","text":{"content":"x"}}`, "a~a", "x", nil, false},
		{"receiver without list", `{"from":"b","tolist":"a","msgtype":"text","text":{"content":"x"}}`, "a~b", "x", nil, false},
		{"nobody", `{"tolist":null,"msgtype":"text","text":{"content":"x"}}`, "", "x", nil, false},
		{"text that is no text", head + `"msgtype":"text","text":{"content":{"a":1}}}`, "a~b", `{"content":{"a":1}}`, 1603875600000, true},
		{"text without payload", head + `"msgtype":"text"}`, "a~b", head + `"msgtype":"text"}`, 1603875600000, true},
		{"unknown payload", head + `"msgtype":"new","new":{"n":12345678901234567890.10}}`, "a~b", `{"n":12345678901234567890.10}`, 1603875600000, true},
		{"escapes", head + `"msgtype":"text","text":{"content":"\u4f60\ud83d\ude00\ud800<&>\u0000\"\\\/\n"}}`, "a~b", "你😀\uFFFD<&>\x00\"\\/\n", 1603875600000, true},
		{"not UTF-8", head + "\"msgtype\":\"text\",\"text\":{\"content\":\"a\xff\xfeb\"}}", "a~b", "a\uFFFDb", 1603875600000, true},
		{"white space around", " \n" + head + `"msgtype":"text","text":{"content":"x"}}` + "\r\n", "a~b", "x", 1603875600000, true},
		{"name twice", head + `"msgtype":"image","msgtype":"text","text":{"content":"x"},"text":{"content":"y"}}`, "a~b", "y", 1603875600000, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, b := parsed(t, "m", test.body)
			if r.Key != test.key || b.Content != test.content {
				t.Errorf("got key %q, content %q; want %q, %q", r.Key, b.Content, test.key, test.content)
			}
			var ms any
			if b.MsgtimeMS != nil {
				ms = int(*b.MsgtimeMS)
			}
			if ms != test.ms || r.Time.IsZero() == test.time {
				t.Errorf("got msgtime_ms %v, time %v; want %v", ms, r.Time, test.ms)
			}
			if want := strings.TrimSpace(strings.ToValidUTF8(test.body, "\uFFFD")); string(b.Message) != want {
				t.Errorf("got message %s, want %s", b.Message, want)
			}
		})
	}
}

func TestCallWithoutRoom(t *testing.T) {
	call := func(from, to string) string {
		r, _ := parsed(t, "m", `{"from":"`+from+`","tolist":[`+to+`],"msgtype":"meeting_voice_call"}`)
		return r.Key
	}
	one := call("a", `"b","c"`)
	if len(one) != 33 || one != call("c", `"a","b"`) || one == call("c", `"a","d"`) {
		t.Errorf("got keys %s, %s, %s", one, call("c", `"a","b"`), call("c", `"a","d"`))
	}
}

func TestNotJSON(t *testing.T) {
	for _, body := range []string{"", " ", "{", "[]", `"{}"`, "null", "1", "{} {}", "\xef\xbb\xbf{}", "{\"a\":\x01}", "\x00\x93garbled"} {
		o := apply(t, newTransform(t), plain("m", body))[0]
		if o.Verdict != sdk.VerdictReject || o.Code != "NOT_JSON" || strings.Contains(o.Detail, "garbled") {
			t.Errorf("%q: got verdict %d %s %s, want NOT_JSON", body, o.Verdict, o.Code, o.Detail)
		}
	}
}

func TestUnknownTypeIsToldOnce(t *testing.T) {
	tr := newTransform(t)
	rows := []sdk.Row{plain("1", `{"msgtype":"new"}`), plain("2", `{"msgtype":"new"}`), plain("3", `{"msgtype":"text"}`), plain("4", `{"msgtype":"你\n"}`)}
	var told []string
	for range 2 {
		for _, o := range apply(t, tr, rows...) {
			for _, e := range o.Events {
				if e.Code != "TYPE_UNKNOWN" || e.Severity != sdk.Warning {
					t.Errorf("got event %+v", e)
				}
				told = append(told, e.Attrs["msgtype"])
			}
		}
	}
	if diff := cmp.Diff([]string{"new", "??"}, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestReferenceHasEveryType(t *testing.T) {
	doc := Plugin().Components[0].Doc
	for _, known := range knownTypes {
		if !strings.Contains(doc, "| "+known.name) {
			t.Errorf("no line for %s", known.name)
		}
	}
	if len(knownTypes) < 28 {
		t.Errorf("got %d types, want 28 and more", len(knownTypes))
	}
}

// BenchmarkParse: one operation is one mixed message with a picture.
func BenchmarkParse(b *testing.B) {
	tr := newTransform(b)
	row := plain("m", string(samples(b)[27]))
	rows := make([]sdk.Row, 100)
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(rows) {
		for i := range rows {
			rows[i] = row
		}
		tr.Apply(context.Background(), sdk.NewCall(rows, time.Time{}, false, func(int, sdk.Outcome) {}))
	}
}
