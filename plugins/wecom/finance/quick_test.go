package finance

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// oddRows are rows as WeCom does not write them, and one as it does.
var oddRows = []string{
	`{"seq":7,"msgid":"m","publickey_ver":3,"encrypt_random_key":"a+/=","encrypt_chat_msg":"c"}`,
	` { "seq" : 7 , "msgid" : "m" } `, `{"msgid":"m","seq":18446744073709551615}`, `{"seq":07,"msgid":"m"}`, `{"seq":7.0,"msgid":"m"}`,
	`{"seq":-7,"msgid":"m"}`, `{"seq":"7","msgid":"m"}`, `{"seq":null,"msgid":"m"}`, `{"SEQ":7,"msgid":"m"}`, `{"seq":7,"seq":8,"msgid":"m"}`,
	`{"seq":7,"msgid":"\u006d"}`, `{"seq":7,"msgid":"é"}`, "{\"seq\":7,\"msgid\":\"m\x80\"}", "{\"seq\":7,\"msgid\":\"m\n\"}", "{\"seq\":7,\"msgid\":\"12345678\x1f\"}",
	`{"seq":7,"msgid":"12345678\"}`, `{"seq":7,"msgid":"m","encrypt_random_key":"a\/b"}`, `{"seq":7,"msgid":"m","more":{"seq":8}}`, `{"seq":7,"msgid":"m",}`,
	`{"seq":7 "msgid":"m"}`, `{"seq":7,"msgid":"m"`, `{"seq":7,"msgid":"m"}}`, `{"seq":7,"msgid":""}`, `{"msgid":"m"}`, `{"seq":,"msgid":"m"}`, `{}`, `[]`, `null`, ``,
	`{"seq":7,"msgid":"m","publickey_ver":9223372036854775808}`, `{"seq":1e1,"msgid":"m"}`, `{"seq":0,"msgid":"m"}`, "{\"seq\":7,\"msgid\":\"abcdefg\x7f\"}",
}

// What is read in the quick way is what encoding/json reads; of what is not, nothing is said.
func TestQuickPage(t *testing.T) {
	taken := 0
	for _, row := range oddRows {
		for _, form := range []string{`{"errcode":0,"errmsg":"ok","chatdata":[%s]}`, `{"chatdata":[%s,{"seq":9,"msgid":"n"}],"errcode":0}`,
			`{"errcode":1,"chatdata":[%s]}`, `{"errcode":0,"chatdata":[%s],"chatdata":[]}`, `{"errcode":0,"chatdata":[%s]} x`, `{"chatdata":[%s]}`} {
			taken += checkQuick(t, fmt.Appendf(nil, form, row))
		}
	}
	for _, page := range []string{`{"errcode":0,"chatdata":[]}`, `{"errcode":0}`, `{"errcode":0,"chatdata":null}`, `{"errcode":00,"chatdata":[]}`, `{`, `{"errcode`} {
		taken += checkQuick(t, []byte(page))
	}
	if want := 2*4 + 2; taken != want { // the plain rows in the two good forms, and none at all
		t.Errorf("%d pages are read in the quick way, want %d", taken, want)
	}
}

func checkQuick(t *testing.T, page []byte) (taken int) {
	t.Helper()
	q := quick{text: page}
	rows := q.page()
	if !q.end() {
		return 0
	}
	if want, err := parsePage(page); err != nil || !reflect.DeepEqual(rows, want) {
		t.Errorf("%q: got %+v, want %+v, %v", page, rows, want, err)
	}
	return 1
}

func checkRow(t *testing.T, element []byte) {
	t.Helper()
	row, version, ok := ReadRow(element)
	if !ok {
		return
	}
	var want struct {
		Seq       uint64 `json:"seq"`
		MsgID     string `json:"msgid"`
		Version   *int   `json:"publickey_ver"`
		RandomKey string `json:"encrypt_random_key"`
		Message   string `json:"encrypt_chat_msg"`
	}
	err := json.Unmarshal(element, &want)
	if err != nil || row.Seq != want.Seq || row.MsgID != want.MsgID || row.RandomKey != want.RandomKey || row.Message != want.Message ||
		version != (want.Version != nil) || version && row.KeyVersion != *want.Version {
		t.Errorf("%q: got %+v, want %+v, %v", element, row, want, err)
	}
}

func TestReadRow(t *testing.T) {
	for _, row := range oddRows {
		checkRow(t, []byte(row))
	}
	if _, version, ok := ReadRow([]byte(oddRows[0])); !ok || !version {
		t.Errorf("got %v, %v for a row as WeCom writes it", version, ok)
	}
}

func checkShard(t *testing.T, body []byte) {
	t.Helper()
	code, content, ok := readShard(body)
	wantCode, want, wantOK := readAnswer(body)
	if code != wantCode || string(content) != want || ok != wantOK {
		t.Errorf("%q: got %d, %q, %v, want %d, %q, %v", body, code, content, ok, wantCode, want, wantOK)
	}
}

func TestReadShard(t *testing.T) {
	for _, body := range []string{`{"errcode":0,"errmsg":"ok","content":"AAAA"}`, `{"content":"AAAA","errcode":0,"content":"BBBB"}`, `{"errcode":0,"content":"A\/A"}`,
		`{"errcode":0,"x\"content":"AAAA"}`, `{"errcode":0,"x":{"content":"AAAA"},"content":"BBBB"}`, `{"errcode":0,"x":{"content":"AAAA"}}`,
		`{"content":"AAAA","Content":"BBBB","errcode":0}`, `{"errcode":0,"content":"AAAA`, `{"errcode":0,"content":"~"}`, `{"errcode":0,"content":""}`,
		`{"errcode":0,"content" : "AAAA"}`, `{"content":"AAAA"}`, `{"errcode":301042,"content":"AAAA"}`, "{\"errcode\":0,\"content\":\"AA\nAA\"}", "", `{"errcode":0,"content":"é"}`,
		`{"errcode":0,"x":{"content":"AAAA"},"content":"~"}`, `{"content":"AAAA","errcode":0,"CONTENT":"~"}`} {
		checkShard(t, []byte(body))
	}
}

func TestPlainText(t *testing.T) {
	for c := range 256 {
		for n := range 9 {
			b := []byte(strings.Repeat("a", n) + string([]byte{byte(c)}) + strings.Repeat("~", 8-n))
			if got, want := plainText(b), c >= ' ' && c < 0x80 && c != '\\'; got != want {
				t.Fatalf("%q: got %v, want %v", b, got, want)
			}
		}
	}
}
