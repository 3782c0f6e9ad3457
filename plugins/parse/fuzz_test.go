package parse

import (
	"bytes"
	"encoding/json"
	"reflect"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/weir-etl/weir/sdk"
)

// allocated is what has been allocated so far, in bytes.
func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func FuzzParse(f *testing.F) {
	for _, s := range samples(f) {
		f.Add([]byte(s))
	}
	f.Add([]byte(`{"a":"{\"b\":\"{\\\"sdkfileid\\\":\\\"x\\ud83d\\\\ude00\\\"}\"}"}`))
	f.Add([]byte(`{"msgtype":"new","new":{` + strings.Repeat(`"sdkfileid":"a",`, 4000) + `"x":1}}`))
	f.Add([]byte(`{"msgtype":"new","new":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`))
	f.Add([]byte(`{"msgtype":"text","msgtime":1e15,"from":12,"tolist":"a","roomid":"","text":{"content":"a\ud800b` + "\xff" + `"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		before, start := allocated(), time.Now()
		m, ok := readMessage("m", body)
		if !ok {
			var object map[string]any
			if json.Unmarshal(body, &object) == nil && object != nil {
				t.Fatal("an object was refused")
			}
			return
		}
		r := m.record(sdk.Record{ID: "m"})
		if took, most := allocated()-before, uint64(2000*len(body)+8<<20); took > most {
			t.Errorf("%d bytes made it allocate %d, want at most %d", len(body), took, most)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%d bytes took %v", len(body), took)
		}
		var b bodyOf
		if err := json.Unmarshal(r.Body, &b); err != nil || !utf8.Valid(r.Body) {
			t.Fatalf("%v in %s", err, r.Body)
		}
		if files := again(t, b.Message); len(files) != 0 {
			t.Fatalf("an id is left in %s", b.Message)
		}
		whole := []byte(strings.TrimSpace(strings.ToValidUTF8(string(body), "\uFFFD")))
		if len(r.Files) == 0 && !bytes.Equal(b.Message, whole) {
			t.Fatalf("got message %s", b.Message)
		}
		if !sameBut(value(t, whole), value(t, b.Message), false) {
			t.Fatalf("more than ids was taken out of %s: %s", whole, b.Message)
		}
		checkFields(t, r, b, whole)
	})
}

func value(t *testing.T, text []byte) (v any) {
	if err := decode(text, &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// decode leaves numbers as they are: 1e3177 is one too.
func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return d.Decode(v)
}

// sameBut compares a message with what became of it: texts may be empty where an id stood.
func sameBut(was, is any, id bool) bool {
	switch was := was.(type) {
	case map[string]any:
		now, ok := is.(map[string]any)
		if !ok || len(now) != len(was) {
			return false
		}
		for name, v := range was {
			if w, there := now[name]; !there || !sameBut(v, w, strings.EqualFold(name, sdkfileid)) {
				return false
			}
		}
		return true
	case []any:
		now, ok := is.([]any)
		if !ok || len(now) != len(was) {
			return false
		}
		for i := range was {
			if !sameBut(was[i], now[i], false) {
				return false
			}
		}
		return true
	case string:
		now, ok := is.(string)
		if !ok || was == now || id && now == "" {
			return ok
		}
		var inner, left any
		return decode([]byte(was), &inner) == nil && decode([]byte(now), &left) == nil && sameBut(inner, left, false)
	}
	return reflect.DeepEqual(was, is)
}

// checkFields compares fields with what encoding/json finds.
func checkFields(t *testing.T, r sdk.Record, b bodyOf, whole []byte) {
	var exact map[string]json.RawMessage
	if err := json.Unmarshal(whole, &exact); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"roomid": b.Roomid, "action": b.Action} {
		var want string
		if raw, there := exact[name]; there && json.Unmarshal(raw, &want) == nil && got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	var ms int64
	if raw, there := exact["msgtime"]; there && r.Meta["msgtype"] != typeSwitch && json.Unmarshal(raw, &ms) == nil && string(raw) != "null" && (b.MsgtimeMS == nil || *b.MsgtimeMS != ms) {
		t.Errorf("msgtime: got %v, want %d", b.MsgtimeMS, ms)
	}
	if !r.Time.IsZero() && (b.MsgtimeMS == nil || r.Time.UnixMilli() != *b.MsgtimeMS) {
		t.Errorf("got time %v for %v", r.Time, b.MsgtimeMS)
	}
	size := 0
	for i, file := range r.Files {
		ref := file.Ref.Reveal()
		size += len(ref)
		if file.Index != i || ref == "" || file.Name == "" || file.Size != -1 || file.SizeClaimed < -1 || file.HasBytes() || file.Outcome != "" || file.MediaType == "" {
			t.Errorf("file %d: got %+v", i, file)
		}
	}
	if size > len(whole) {
		t.Errorf("references of %d bytes out of %d", size, len(whole))
	}
}
