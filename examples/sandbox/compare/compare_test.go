package compare

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/examples/sandbox/corpus"
	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// generated is made once: its files are hashed, which takes half a second. No test changes it.
var generated = sync.OnceValues(func() (*truth.Truth, error) {
	start := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	_, tr, err := corpus.Generate(corpus.Options{Messages: corpus.Smallest, Seed: 9, Start: start, Until: start.Add(5 * time.Hour)})
	return tr, err
})

func newTruth(t *testing.T) *truth.Truth {
	t.Helper()
	tr, err := generated()
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// perfect is the archive that a truth asks for.
func perfect(tr *truth.Truth) *Archive {
	a := &Archive{}
	for i, m := range tr.Messages {
		seq := fmt.Sprint(m.Seq)
		a.Raw = append(a.Raw, Row{Number: fmt.Sprint(i + 1), Values: map[string]string{
			"seq": seq, "msgid": m.ID, "publickey_ver": fmt.Sprint(m.KeyVersion), "decode_status": m.Raw,
		}})
		if m.Row == nil {
			continue
		}
		r := m.Row
		row := Row{Number: fmt.Sprint(i + 1), Files: map[string][]Attachment{}, Values: map[string]string{
			"seq": seq, "msgid": m.ID, "msgtime": r.Time.Format("2006-01-02T15:04:05Z"), "msgtime_ms": fmt.Sprint(r.TimeMS),
			"from": r.From, "to": r.To, "roomid": r.RoomID, "tolist": strings.Join(r.ToList, "\n"), "msgtype": r.Type,
			"content": r.Content, "status": r.Status, "filename": r.FileName,
		}}
		if r.FileSize != nil {
			row.Values["filesize"] = fmt.Sprint(*r.FileSize)
		}
		for i, f := range m.Files {
			name := f.Name
			if name == "" {
				name = "ABCDEFGHIJ0123456789." + strings.ReplaceAll(f.Ext, "?", "png")
			}
			if i == 0 {
				row.Values["filename"] = name
			}
			switch f.To {
			case truth.Kintone:
				row.Files["file"] = append(row.Files["file"], Attachment{name, f.Size, f.SHA256})
			case truth.OSS:
				a.Objects = append(a.Objects, Object{
					Key: fmt.Sprintf("corp/2026/03/02/room/%d-%d_x", m.Seq, f.Index), Size: f.Size, CRC64: fmt.Sprint(f.CRC64), Noted: f.SHA256,
				})
			}
		}
		a.Log = append(a.Log, row)
	}
	return a
}

func TestPerfectArchiveEqualsTruth(t *testing.T) {
	tr := newTruth(t)
	r := Compare(tr, perfect(tr), Options{})
	if !r.Good() {
		t.Fatalf("got differences %v, adds up %v, %d of %d", r.Differences, r.AddsUp, r.Equal, r.Of)
	}
	r.Left = &Left{Of: 200}
	var out bytes.Buffer
	r.Print(&out)
	want := `  seq 1-203   203 = 192 FINISHED + 2 FILE_MD5SUM_UNMACHED + 2 FILE_EXPIRED + 1 FILE_WAITING
                  + 1 TYPE_UNKNOWN + 1 FIELD_MISSING + 1 DECRYPT_FAILED + 3 holes     adds up
                            expected  arrived  missing  twice  altered
  kintone Raw Data               200      200        0      0        0
  kintone Chat Log               199      199        0      0        0
  kintone files < 10 MiB          60       60        0      0        0
  OSS files >= 10 MiB              8        8        0      0        0
  Left on this machine: 0 files, 0 of 200 texts found in the state.
  archive equals truth: 200 of 200
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestEveryTamperingShows(t *testing.T) {
	tr := newTruth(t)
	withFile := func(a *Archive) *Row {
		return &a.Log[slices.IndexFunc(a.Log, func(r Row) bool { return len(r.Files["file"]) == 1 })]
	}
	finished := func(a *Archive) *Row {
		return &a.Log[slices.IndexFunc(a.Log, func(r Row) bool { return r.Values["status"] == truth.Finished })]
	}
	image := func(a *Archive) *Row {
		return &a.Log[slices.IndexFunc(a.Log, func(r Row) bool { return r.Values["msgtype"] == "image" && len(r.Files["file"]) == 1 })]
	}
	text := func(a *Archive) *Row {
		return &a.Log[slices.IndexFunc(a.Log, func(r Row) bool { return r.Values["msgtype"] == "text" })]
	}
	one := func(place string, kind Kind, field string) []string {
		return []string{fmt.Sprintf("%s %s %s", place, kind, field)}
	}
	cases := map[string]struct {
		tamper func(*Archive)
		want   []string // place, kind, field
	}{
		"status of a chat row": {func(a *Archive) { finished(a).Values["status"] = truth.Waiting }, one("log", Altered, "status")},
		"status of a raw row":  {func(a *Archive) { a.Raw[3].Values["decode_status"] = truth.DecryptFailed }, one("raw", Altered, "decode_status")},
		"missing raw row":      {func(a *Archive) { a.Raw = a.Raw[1:] }, one("raw", Missing, "")},
		"missing chat row":     {func(a *Archive) { a.Log = slices.Delete(a.Log, 9, 10) }, nil},
		"extra raw row":        {func(a *Archive) { a.Raw = append(a.Raw, Row{Values: map[string]string{"seq": "999", "msgid": "x"}}) }, one("raw", Extra, "")},
		"extra chat row": {func(a *Archive) {
			a.Log = append(a.Log, Row{Values: map[string]string{"seq": "999", "msgid": "x", "status": truth.Finished}})
		}, one("log", Extra, "")},
		"doubled raw row":         {func(a *Archive) { a.Raw = append(a.Raw, a.Raw[5]) }, one("raw", Twice, "record")},
		"doubled chat row":        {func(a *Archive) { a.Log = append(a.Log, a.Log[5]) }, one("log", Twice, "record")},
		"chat row without a raw":  {func(a *Archive) { a.Raw = a.Raw[:len(a.Raw)-1] }, one("raw", Missing, "")},
		"content":                 {func(a *Archive) { text(a).Values["content"] += " " }, one("log", Altered, "content")},
		"receiver":                {func(a *Archive) { finished(a).Values["tolist"] += "\nx" }, one("log", Altered, "tolist")},
		"minute":                  {func(a *Archive) { finished(a).Values["msgtime"] = "2026-03-02T01:01:00Z" }, one("log", Altered, "msgtime")},
		"millisecond":             {func(a *Archive) { finished(a).Values["msgtime_ms"] += "0" }, one("log", Altered, "msgtime_ms")},
		"size":                    {func(a *Archive) { withFile(a).Values["filesize"] += "1" }, one("log", Altered, "filesize")},
		"name of a nameless file": {func(a *Archive) { image(a).Values["filename"] = "image.jpg" }, []string{"kintone file altered name", "log altered filename"}},
		"name in the row only":    {func(a *Archive) { image(a).Values["filename"] = "ZZZZZZZZZZ0123456789.jpg" }, one("kintone file", Altered, "name")},
		"byte of an attachment":   {func(a *Archive) { withFile(a).Files["file"][0].SHA256 = "00" }, one("kintone file", Altered, "sha256")},
		"missing attachment":      {func(a *Archive) { withFile(a).Files["file"] = nil }, one("kintone file", Missing, "sha256")},
		"doubled attachment": {func(a *Archive) {
			r := withFile(a)
			r.Files["file"] = append(r.Files["file"], r.Files["file"][0])
		}, one("kintone file", Twice, "sha256")},
		"attachment nobody sent": {func(a *Archive) {
			r := withFile(a)
			r.Files["file"] = append(r.Files["file"], Attachment{"x", 1, "ff"})
		}, one("kintone file", Extra, "sha256")},
		"byte of an object":          {func(a *Archive) { a.Objects[2].CRC64 = "1" }, one("object", Altered, "crc64")},
		"recorded hash of an object": {func(a *Archive) { a.Objects[2].Noted = "ff" }, one("object", Altered, "noted sha256")},
		"length of an object":        {func(a *Archive) { a.Objects[2].Size++ }, one("object", Altered, "size")},
		"object without any sum":     {func(a *Archive) { a.Objects[2].CRC64 = "" }, one("object", Altered, "sum")},
		"missing object":             {func(a *Archive) { a.Objects = a.Objects[1:] }, one("object", Missing, "sha256")},
		"doubled object":             {func(a *Archive) { a.Objects = append(a.Objects, a.Objects[0]) }, one("object", Twice, "")},
		"extra object":               {func(a *Archive) { a.Objects = append(a.Objects, Object{Key: "readme.txt", CRC64: "1"}) }, one("object", Extra, "")},
		"sdkfileid in a row": {func(a *Archive) {
			i := slices.IndexFunc(tr.Messages, func(m truth.Message) bool { return len(m.References) > 0 })
			a.Log[0].Values["storage_url"] = "see " + tr.Messages[i].References[0]
		}, one("kintone", Altered, "storage_url")},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := perfect(tr)
			c.tamper(a)
			r := Compare(tr, a, Options{})
			if r.Good() {
				t.Fatal("the comparer stayed green")
			}
			if c.want == nil {
				return
			}
			var got []string
			for _, d := range r.Differences {
				got = append(got, fmt.Sprintf("%s %s %s", d.Place, d.Kind, d.Field))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("differences (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEquationCountsTheArchive(t *testing.T) {
	tr := newTruth(t)
	a := perfect(tr)
	a.Log = slices.DeleteFunc(a.Log, func(r Row) bool { return r.Values["status"] == truth.Waiting })
	r := Compare(tr, a, Options{})
	if r.AddsUp {
		t.Errorf("a message without a chat row: %v adds up", r.Sum)
	}
}

func TestStoreDecidesTheStatus(t *testing.T) {
	tr := newTruth(t)
	for store, status := range map[Store]func(*truth.Row) string{
		None: func(r *truth.Row) string { return r.StatusWithoutOSS },
		Away: func(r *truth.Row) string { return r.StatusOSSAway },
	} {
		a := perfect(tr)
		a.Objects = nil
		byID := map[string]*truth.Row{}
		for _, m := range tr.Messages {
			byID[m.ID] = m.Row
		}
		for _, row := range a.Log {
			row.Values["status"] = status(byID[row.Values["msgid"]])
		}
		if r := Compare(tr, a, Options{Store: store}); !r.Good() {
			t.Errorf("%s: %v", store, r.Differences)
		}
	}
}

func TestSameJSON(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{`{"a":1,"b":[2]}`, `{ "b": [2], "a": 1 }`, true},
		{`{"a":1,"sdkfileid":"x"}`, `{"a":1}`, true},
		{`{"a":"{\"b\":1,\"sdkfileid\":\"x\",\"c\":2}"}`, `{"a":"{\"c\":2,\"b\":1}"}`, true},
		{`{"a":"{\"b\":1}"}`, `{"a":{"b":1}}`, false},
		{`{"a":9223372036854775809}`, `{"a":9223372036854775808}`, false},
		{`{"a":1}`, `{"a":"1"}`, false},
		{`{"a":1} {}`, `{"a":1}`, false},
		{`text`, `text`, false},
	} {
		if got := sameJSON(c.a, c.b); got != c.want {
			t.Errorf("%s and %s: got %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestSearchFindsEveryWriting(t *testing.T) {
	if n, err := control(); err != nil || n < 18 {
		t.Fatalf("%d controls, %v", n, err)
	}
	tr := newTruth(t)
	data, spool := t.TempDir(), t.TempDir()
	write := func(dir, name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(data, "state", bytes.Repeat([]byte{7, 1, 2, 9}, 1<<19))
	left, err := Search(tr, []string{data, "/nowhere"}, []string{spool})
	if err != nil || !left.Good() || left.Searched != 1<<21 {
		t.Fatalf("clean folders: %+v, %v", left, err)
	}
	text, err := json.Marshal(tr.Messages[20].Needles[0])
	if err != nil {
		t.Fatal(err)
	}
	write(data, "log", append([]byte("a message says: "), text...))
	with := slices.IndexFunc(tr.Messages, func(m truth.Message) bool { return len(m.Files) > 0 && len(m.Files[0].Pieces) > 0 })
	write(spool, "file", slices.Concat([]byte("xyz"), tr.Messages[with].Files[0].Pieces[0]))
	left, err = Search(tr, []string{data}, []string{spool})
	if err != nil || left.Texts != 2 || len(left.Files) != 1 || left.Good() {
		t.Errorf("got %+v, %v, want two messages found and one file left", left, err)
	}
}

func TestBodies(t *testing.T) {
	tr := newTruth(t)
	build := func() ([]Object, map[string][]byte) {
		var objects []Object
		bodies := map[string][]byte{}
		for _, m := range tr.Messages {
			if m.Row == nil {
				continue
			}
			body, err := json.Marshal(map[string]any{
				"msgtype": m.Row.Type, "from": m.Row.From, "roomid": m.Row.RoomID, "tolist": m.Row.ToList, "msgtime_ms": m.Row.TimeMS,
				"content": m.Row.Content,
			})
			if err != nil {
				t.Fatal(err)
			}
			key := fmt.Sprintf("chat/%d_%s.json", m.Seq, m.ID)
			objects, bodies[key] = append(objects, Object{Key: key, SHA256: "00"}), body
			for _, f := range m.Files {
				if f.To != truth.Nowhere {
					objects = append(objects, Object{Key: fmt.Sprintf("media/%d-%d_x", m.Seq, f.Index), Size: f.Size, SHA256: f.SHA256})
				}
			}
		}
		return objects, bodies
	}
	objects, bodies := build()
	if r := CompareBodies(tr, objects, bodies, Options{}); !r.Good() || r.Equal != 200 {
		t.Errorf("a perfect bucket: %v %v", r.Differences, r.Sum)
	}
	if r := CompareBodies(tr, objects[1:], bodies, Options{}); r.Good() {
		t.Error("a missing message: green")
	}
	if r := CompareBodies(tr, append(objects, objects[0]), bodies, Options{}); r.Good() {
		t.Error("a doubled message: green")
	}
	i := slices.IndexFunc(objects, func(o Object) bool { return o.Size > 0 })
	objects[i].SHA256 = "ff"
	if r := CompareBodies(tr, objects, bodies, Options{}); r.Good() {
		t.Error("an altered file: green")
	}
	objects, bodies = build()
	bodies[objects[0].Key] = bytes.Replace(bodies[objects[0].Key], []byte(`"from":"`), []byte(`"from":"x`), 1)
	if r := CompareBodies(tr, objects, bodies, Options{}); r.Good() {
		t.Error("an altered message: green")
	}
}
