package corpus

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// The truth of the pages was written by hand; testdata/pages_plain.json holds what the official library made of each row.
func TestPagesSayWhatTheLibraryRead(t *testing.T) {
	corp, tr, err := Pages(time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("testdata/pages_plain.json")
	if err != nil {
		t.Fatal(err)
	}
	var read []struct {
		Seq   uint64
		Plain string
	}
	if err := json.Unmarshal(b, &read); err != nil {
		t.Fatal(err)
	}
	if len(read) != len(tr.Messages) || len(corp.Messages) != len(tr.Messages) || len(tr.Holes) != 19 {
		t.Fatalf("got %d messages, %d in the truth and %d holes; the library read %d", len(corp.Messages), len(tr.Messages), len(tr.Holes), len(read))
	}
	for i, m := range tr.Messages {
		if served := corp.Messages[i]; served.Seq != m.Seq || served.MsgID != m.ID || served.KeyVersion != m.KeyVersion {
			t.Errorf("seq %d: served as %d %s with key %d", m.Seq, served.Seq, served.MsgID, served.KeyVersion)
		}
		var said struct {
			From, User, RoomID, MsgType string
			ToList                      []string
			MsgTime, Time               int64
		}
		if err := json.Unmarshal([]byte(read[i].Plain), &said); err != nil {
			t.Fatal(err)
		}
		r := m.Row
		if r.From != said.From+said.User || r.RoomID != said.RoomID || !slices.Equal(r.ToList, said.ToList) || r.TimeMS != said.MsgTime+said.Time {
			t.Errorf("seq %d: the truth is %+v, the library read %s", m.Seq, r, read[i].Plain)
		}
		if r.Type == "text" {
			var text struct{ Text struct{ Content string } }
			json.Unmarshal([]byte(read[i].Plain), &text)
			if text.Text.Content != r.Content {
				t.Errorf("seq %d: text differs", m.Seq)
			}
			continue
		}
		var whole map[string]any
		json.Unmarshal([]byte(read[i].Plain), &whole)
		key := map[string]string{"docmsg": "doc", "external_redpacket": "redpacket"}[r.Type]
		if key == "" {
			key = r.Type
		}
		payload, has := whole[key]
		if !has {
			payload = whole
		}
		var want any
		if err := json.Unmarshal([]byte(r.Content), &want); err != nil {
			t.Fatal(err)
		}
		if got := withoutReference(payload); !reflect.DeepEqual(got, want) {
			t.Errorf("seq %d: the library read %v, the truth is %v", m.Seq, got, want)
		}
	}
}

// withoutReference removes sdkfileids, also from JSON in strings, in which they are the last member.
func withoutReference(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "sdkfileid")
		for k := range v {
			v[k] = withoutReference(v[k])
		}
	case []any:
		for i := range v {
			v[i] = withoutReference(v[i])
		}
	case string:
		if at := strings.Index(v, `,"sdkfileid":"`); at >= 0 {
			return v[:at] + "}"
		}
	}
	return v
}
