package wecom_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
	"github.com/weir-etl/weir/sdk"
)

func TestChatReads(t *testing.T) {
	w := newWorld(t, 60)
	for seq := 1; seq <= 2500; seq++ {
		if seq%100 == 0 {
			continue // a hole
		}
		w.corp.Messages = append(w.corp.Messages, message(seq, w.begin))
	}
	w.serve()
	s := w.source(`{"every":"5m","start":"oldest"}`)
	got, err := w.read(s, nil, drained)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i, page := range got {
		if page.Drained != (i == len(got)-1) || page.Drained != (len(page.Records) == 0) {
			t.Errorf("page %d: %d records, drained %v", i, len(page.Records), page.Drained)
		}
		for _, r := range page.Records {
			ids = append(ids, r.ID)
			var body struct {
				Seq   uint64
				MsgID string
			}
			if err := json.Unmarshal(r.Body, &body); err != nil || body.Seq != r.Seq || body.MsgID != r.ID {
				t.Fatalf("%s: body %s, error %v", r.ID, r.Body, err)
			}
			at, err := time.Parse(time.RFC3339, r.Meta["fetched_at"])
			if err != nil || at.Before(w.begin) || at.After(w.clock.Now()) {
				t.Fatalf("%s: fetched_at %q, error %v", r.ID, r.Meta["fetched_at"], err)
			}
			if r.Kind != "wecom.chat.raw/1" || !r.Time.IsZero() {
				t.Fatalf("%s: kind %q, time %v", r.ID, r.Kind, r.Time)
			}
		}
	}
	if len(ids) != 2475 || len(got) != 6 {
		t.Errorf("got %d records in %d pages, want 2475 in 6", len(ids), len(got))
	}
	if last := string(got[len(got)-1].Position); last != "2499" {
		t.Errorf("got position %s, want 2499: an empty page keeps it", last)
	}

	for i, page := range got[:2] { // the second ends where a page of WeCom's ends
		again, err := w.read(s, page.Position, drained)
		if err != nil || len(again[0].Records) != 500 || again[0].Records[0].ID != ids[500*(i+1)] {
			t.Errorf("from position %s: got %d pages, error %v", page.Position, len(again), err)
		}
	}
	if calls := w.Calls("ww1"); calls.Tokens != 1 || len(calls.Refused) != 0 {
		t.Errorf("got %+v", calls)
	}
}

func TestChatStart(t *testing.T) {
	w := newWorld(t, 60)
	w.corp.Messages = []wecomsim.Message{message(5, w.begin), message(7, w.begin), message(9, w.begin)}
	w.serve()
	got, err := w.read(w.source(`{"start":7}`), nil, drained)
	if err != nil || len(got) != 2 || got[0].Records[0].ID != "m9" {
		t.Errorf("start after 7: got %+v, error %v", got, err)
	}
	if _, err := w.read(w.source(`{}`), []byte("x"), drained); err == nil {
		t.Error("a position that is no seq is taken")
	}
	for _, args := range []string{`{"every":"0s"}`, `{"start":"newest"}`, `{"start":-1}`, `{"start":1.5}`, `{"start":[]}`, `{"evry":"1m"}`} {
		s := component(t, "wecom_chat").NewSource()
		if err := s.Open(t.Context(), w.env(args)); err == nil {
			t.Errorf("%s is taken", args)
		}
		s.Close(t.Context())
	}
}

// It polls every so often, and sees what comes meanwhile.
// What a seq becomes is a position that Read goes on from, and one that Read itself would have given.
func TestChatPositionAfter(t *testing.T) {
	w := newWorld(t, 60)
	for seq := 1; seq <= 30; seq++ {
		w.corp.Messages = append(w.corp.Messages, message(seq, w.begin))
	}
	w.serve()
	s := w.source(`{"every":"5m","start":"oldest"}`)
	at, err := s.(sdk.Positioner).PositionAfter(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.read(s, at, drained)
	if err != nil || len(got) == 0 || len(got[0].Records) != 10 || got[0].Records[0].Seq != 21 {
		t.Fatalf("after 20: %+v, %v", got, err)
	}
	again, err := s.(sdk.Positioner).PositionAfter(t.Context(), 30)
	if err != nil || string(again) != string(got[0].Position) {
		t.Errorf("after 30: %q, %v, want %q", again, err, got[0].Position)
	}
}

func TestChatPolls(t *testing.T) {
	w := newWorld(t, 3600)
	late := message(2, w.begin)
	late.VisibleAt = w.begin.Add(12 * time.Minute)
	w.corp.Messages = []wecomsim.Message{message(1, w.begin), late}
	w.serve()
	got, err := w.read(w.source(`{"every":"5m"}`), nil, func(p sdk.Page) bool { return string(p.Position) == "2" })
	if err != nil {
		t.Fatal(err)
	}
	if at := w.clock.Now().Sub(w.begin); at < 12*time.Minute {
		t.Errorf("seq 2 was read after %v", at)
	}
	for i, page := range got[:len(got)-1] {
		if string(page.Position) != "1" {
			t.Errorf("page %d: position %s", i, page.Position)
		}
	}
}

func TestChatKeepsToTheRate(t *testing.T) {
	w := newWorld(t, 20)
	for seq := 1; seq <= 700; seq++ {
		m := message(seq, w.begin)
		m.EndsPage = true
		w.corp.Messages = append(w.corp.Messages, m)
	}
	w.serve()
	got, err := w.read(w.source(`{}`), nil, drained)
	if err != nil || len(got) != 701 {
		t.Fatalf("got %d pages, error %v, want 701", len(got), err)
	}
	if refused := w.Calls("ww1").Refused; len(refused) != 0 {
		t.Errorf("got refusals %v", refused)
	}
	if took := w.clock.Now().Sub(w.begin); took < 70*time.Second {
		t.Errorf("701 pages took %v, want 70 s and more", took)
	}
}

func TestChatErrors(t *testing.T) {
	tests := []struct {
		name  string
		fault wecomsim.Fault
		code  string
		alarm bool
		after time.Duration
	}{
		{"busy", wecomsim.Fault{Errcode: -1}, "WECOM_-1", false, 0},
		{"frequency", wecomsim.Fault{Errcode: 45009}, "WECOM_45009", false, time.Minute},
		{"address", wecomsim.Fault{Errcode: 301042}, "WECOM_301042", true, 0},
		{"expired", wecomsim.Fault{Errcode: 301052}, "WECOM_301052", true, 0},
		{"secret", wecomsim.Fault{Errcode: 40001, Endpoint: "gettoken"}, "WECOM_40001", true, 0},
		{"html", wecomsim.Fault{Body: "<html>", Status: 503}, "WECOM_10002", false, 0},
		{"seconds", wecomsim.Fault{Status: 429, RetryAfter: "90"}, "WECOM_10001", false, 90 * time.Second},
		{"date", wecomsim.Fault{Body: "<html>", Status: 503, RetryAfter: "DATE"}, "WECOM_10001", false, 10 * time.Minute},
		{"drop", wecomsim.Fault{Drop: true}, "WECOM_10001", false, 0},
		{"cut", wecomsim.Fault{Cut: true}, "WECOM_10001", false, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, 60)
			w.corp.Messages = []wecomsim.Message{message(1, w.begin)}
			w.serve()
			s := w.source(`{}`)
			if test.fault.Endpoint == "" {
				test.fault.Endpoint = "getchatdata"
			}
			if test.fault.RetryAfter == "DATE" { // a little more than ten minutes, by the service's clock
				test.fault.RetryAfter = w.clock.Now().Add(10*time.Minute + 30*time.Second).UTC().Format(http.TimeFormat)
			}
			lift := w.Fault(test.fault)
			got, err := w.read(s, []byte("0"), drained)
			var e *sdk.Error
			if !errors.As(err, &e) || len(got) != 0 {
				t.Fatalf("got %d pages, error %v", len(got), err)
			}
			o := e.Outcome
			if test.name == "date" {
				o.After = o.After.Truncate(10 * time.Minute)
			}
			if o.Code != test.code || !o.Down || o.Alarm != test.alarm || o.After != test.after {
				t.Errorf("got %+v", o)
			}
			if strings.Contains(err.Error(), "the-secret") || strings.Contains(err.Error(), "hint") || strings.Contains(err.Error(), w.URL) {
				t.Errorf("error tells too much: %v", err)
			}
			lift()
			if test.name == "secret" {
				return // the refusal is remembered for a minute
			}
			if got, err = w.read(s, []byte("0"), drained); err != nil || len(got) != 2 {
				t.Errorf("afterwards: got %d pages, error %v", len(got), err)
			}
		})
	}
}

// Twice the same bytes is one record, another row with the same msgid is not.
func TestChatDuplicates(t *testing.T) {
	w := newWorld(t, 60)
	same := []byte(`{"seq":3,"msgid":"a","publickey_ver":1,"encrypt_random_key":"","encrypt_chat_msg":""}`)
	other := []byte(`{"seq":5,"msgid":"a","publickey_ver":1,"encrypt_random_key":"","encrypt_chat_msg":""}`)
	for i, served := range [][]byte{same, same, other} {
		w.corp.Messages = append(w.corp.Messages, wecomsim.Message{Seq: uint64(3 + i), Time: w.begin, Served: served})
	}
	w.serve()
	got, err := w.read(w.source(`{}`), nil, drained)
	if err != nil || len(got[0].Records) != 2 || got[0].Records[0].Seq != 3 || got[0].Records[1].Seq != 5 {
		t.Errorf("got %+v, error %v", got[0].Records, err)
	}
}

// Large messages make small parts, and a part never claims what comes later in the page.
func TestChatParts(t *testing.T) {
	w := newWorld(t, 60)
	filler := strings.Repeat("x", 300<<10)
	for i, seq := range []int{10, 30, 20, 40} {
		w.corp.Messages = append(w.corp.Messages, wecomsim.Message{
			Seq: uint64(10 + i), Time: w.begin, EndsPage: i == 3,
			Served: fmt.Appendf(nil, `{"seq":%d,"msgid":"m%d","encrypt_chat_msg":%q}`, seq, seq, filler),
		})
	}
	w.serve()
	got, err := w.read(w.source(`{}`), nil, drained)
	if err != nil {
		t.Fatal(err)
	}
	var positions []string
	for _, page := range got {
		positions = append(positions, string(page.Position))
	}
	if diff := cmp.Diff([]string{"10", "19", "30", "40", "40"}, positions); diff != "" {
		t.Errorf("positions: -want +got\n%s", diff)
	}
}

// The position is the greatest seq of a page, in whatever order it comes; the records keep that order.
func TestChatOutOfOrder(t *testing.T) {
	w := newWorld(t, 60)
	for i, served := range []string{`{"seq":9,"msgid":"a"}`, `{"seq":4,"msgid":"b"}`} {
		w.corp.Messages = append(w.corp.Messages, wecomsim.Message{Seq: uint64(8 + i), Time: w.begin, Served: []byte(served)})
	}
	w.serve()
	got, err := w.read(w.source(`{}`), nil, drained)
	if err != nil || string(got[0].Position) != "9" || got[0].Records[0].ID != "a" || got[0].Records[1].ID != "b" {
		t.Errorf("got %+v, error %v", got, err)
	}
}

// A page that does not lead on must not be asked for ever.
func TestChatPageBehind(t *testing.T) {
	w := newWorld(t, 60)
	w.corp.Messages = []wecomsim.Message{{Seq: 9, Time: w.begin, Served: []byte(`{"seq":4,"msgid":"a"}`)}}
	w.serve()
	_, err := w.read(w.source(`{}`), []byte("7"), drained)
	var e *sdk.Error
	if !errors.As(err, &e) || e.Outcome.Code != "PAGE_BEHIND" {
		t.Errorf("got %v", err)
	}
}

func TestConnectionRefuses(t *testing.T) {
	w := newWorld(t, 60)
	for name, connection := range map[string]string{
		"library without path":   `{"corp_id":"a","secret":"b"}`,
		"library at speed 60":    `{"corp_id":"a","secret":"b","library":"/nowhere.so"}`,
		"proxy":                  `{"corp_id":"a","secret":"b","client":"plain","proxy":"10.0.0.1:1"}`,
		"ca file":                `{"corp_id":"a","secret":"b","client":"plain","ca":"/nowhere.pem"}`,
		"unknown argument":       `{"corp_id":"a","secret":"b","client":"plain","proxi":""}`,
		"endpoint without https": `{"corp_id":"a","secret":"b","client":"plain","endpoint":"http://x"}`,
	} {
		env := w.env(`{}`)
		env.Connection = json.RawMessage(connection)
		s := component(t, "wecom_chat").NewSource()
		err := s.Open(t.Context(), env)
		if err == nil {
			t.Errorf("%s is taken", name)
		} else if strings.Contains(err.Error(), "10.0.0.1") {
			t.Errorf("%s: error tells the proxy: %v", name, err)
		}
	}
}
