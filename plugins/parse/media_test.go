package parse

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

// quote puts a JSON text into a JSON string.
func quote(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

func TestWhereFilesAre(t *testing.T) {
	image := func(id string) string { return `{"filesize":5,"sdkfileid":"` + id + `","md5sum":"ABC"}` }
	part := func(kind, content string) string { return `{"type":"` + kind + `","content":` + content + `}` }
	tests := []struct {
		name, body string
		refs       []string
		files      string
	}{
		{"parts in document order", head + `"msgtype":"mixed","mixed":{"item":[` + part("image", quote(image("A"))) + `,` + part("text", quote(`{"content":"x"}`)) + `,` +
			part("file", quote(`{"sdkfileid":"B","filename":"b.pdf","filesize":"7"}`)) + `]}}`,
			[]string{"A", "B"}, "?.jpg 5 abc image/jpeg, b.pdf 7  application/pdf"},
		{"a mixed part in a forwarded record", head + `"msgtype":"chatrecord","chatrecord":{"title":"t","item":[` +
			part("ChatRecordMixed", quote(`{"item":[`+part("ChatRecordVideo", quote(`{"sdkfileid":"A"}`))+`,`+part("ChatRecordVoice", quote(`{"sdkfileid":"B","voice_size":3}`))+`]}`)) + `]}}`,
			[]string{"A", "B"}, "?.mp4 -1  video/mp4, ?.amr 3  audio/amr"},
		{"a record in a record, with content as an object", head + `"msgtype":"chatrecord","chatrecord":{"title":"t","item":[` +
			part("chatrecord", `{"title":"u","item":[`+part("ChatRecordEmotion", quote(`{"sdkfileid":"A","type":2,"imagesize":9}`))+`]}`) + `]}}`,
			[]string{"A"}, "?.png 9  image/png"},
		{"a new kind of part", head + `"msgtype":"mixed","mixed":{"item":[` + part("hologram", quote(`{"x":[`+quote(image("A"))+`],"fileext":"HOL"}`)) + `]}}`,
			[]string{"A"}, "? 5 abc application/octet-stream"},
		{"an unknown type, in an array, in strings in strings", head + `"msgtype":"new","new":{"list":[` + quote(`{"deep":`+quote(`[`+image("A")+`,`+image("B")+`]`)+`}`) + `]},"sdkfileid":"C"}`,
			[]string{"A", "B", "C"}, "? 5 abc application/octet-stream, ? 5 abc application/octet-stream, ? -1  application/octet-stream"},
		{"a new field of a known type", head + `"msgtype":"image","image":{"filesize":1,"sdkfileid":"A"},"origin":` + quote(image("B")) + `}`,
			[]string{"A", "B"}, "?.jpg 1  image/jpeg, ?.jpg 5 abc image/jpeg"},
		{"what a person typed is a text", head + `"msgtype":"text","text":{"content":` + quote(image("A")) + `}}`, nil, ""},
		{"also as a part", head + `"msgtype":"mixed","mixed":{"item":[` + part("text", quote(`{"content":`+quote(image("A"))+`}`)) + `]}}`, nil, ""},
		{"other spelling", head + `"msgtype":"new","new":{"sdkFileId":"A","fileext":"PDF"}}`, []string{"A"}, "?.pdf -1  application/pdf"},
		{"a name in escapes", head + `"msgtype":"new","new":"{\"\\u0073dkfileid\":\"\\u0041\\ud83d\\ude00\"}"}`, []string{"A😀"}, "? -1  application/octet-stream"},
		{"no ids", head + `"msgtype":"new","new":{"sdkfileid":null,"a":{"sdkfileid":""},"b":{"sdkfileid":7}}}`, nil, ""},
		{"sizes that are none", head + `"msgtype":"new","a":{"sdkfileid":"A","filesize":-1},"b":{"sdkfileid":"B","filesize":99999999999999999999},"c":{"sdkfileid":"C","filesize":1.5}}`,
			[]string{"A", "B", "C"}, "? -1  application/octet-stream, ? -1  application/octet-stream, ? -1  application/octet-stream"},
		{"an extension that is none", head + `"msgtype":"file","file":{"sdkfileid":"A","fileext":"../x"}}`, []string{"A"}, "? -1  application/octet-stream"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !json.Valid([]byte(test.body)) {
				t.Fatalf("bad test: %s", test.body)
			}
			r, b := parsed(t, "m", test.body)
			var refs []string
			for _, f := range r.Files {
				refs = append(refs, f.Ref.Reveal())
			}
			if diff := cmp.Diff(test.refs, refs); diff != "" {
				t.Errorf("references (-want +got):\n%s", diff)
			}
			if got := describe(r.Files); got != test.files {
				t.Errorf("got files %q, want %q", got, test.files)
			}
			if files := again(t, b.Message); len(files) != 0 {
				t.Errorf("an id is left in %s", b.Message)
			}
			if len(refs) == 0 && string(b.Message) != test.body {
				t.Errorf("got message %s, want %s", b.Message, test.body)
			}
		})
	}
}

// again looks for files in a message whose ids were taken out.
func again(t testing.TB, message []byte) []sdk.File {
	t.Helper()
	m, ok := readMessage("m", message)
	if !ok {
		t.Fatalf("not a message any more: %s", message)
	}
	return m.files
}

func TestOnlyTheIDIsTaken(t *testing.T) {
	const body = `{ "msgtype":"mixed", "mixed":{"item":[{"type":"image","content":"{ \"e\":\"\ud83d\ude00\ud83d\u0041\u00e9\", \"w\":\"\\u4f60\\n\\\/\", \"\u0073dkfileid\":\"CgR\\u002babc\",\"h\" : 1e2}"}]},"é":"é"}`
	const want = `{ "msgtype":"mixed", "mixed":{"item":[{"type":"image","content":"{ \"e\":\"\ud83d\ude00\ud83d\u0041\u00e9\", \"w\":\"\\u4f60\\n\\\/\", \"\u0073dkfileid\":\"\",\"h\" : 1e2}"}]},"é":"é"}`
	r, b := parsed(t, "m", body)
	if string(b.Message) != want {
		t.Errorf("got  %s\nwant %s", b.Message, want)
	}
	if got := r.Files[0].Ref.Reveal(); got != "CgR+abc" {
		t.Errorf("got reference %s", got)
	}
}

func TestMadeUpNamesStay(t *testing.T) {
	body := head + `"msgtype":"new","a":{"sdkfileid":"A"},"b":{"sdkfileid":"B"}}`
	one, _ := parsed(t, "m1", body)
	same, _ := parsed(t, "m1", body)
	other, _ := parsed(t, "m2", body)
	names := map[string]bool{one.Files[0].Name: true, one.Files[1].Name: true, other.Files[0].Name: true}
	if len(names) != 3 || one.Files[1].Name != same.Files[1].Name {
		t.Errorf("got names %v, and %s for the same file", names, same.Files[1].Name)
	}
}
