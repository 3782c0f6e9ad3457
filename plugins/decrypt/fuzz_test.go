package decrypt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

// sealMessage encrypts a message as WeCom does, written down from the format that finance.Decode describes. seed chooses keys and filler,
// cuts how many characters of filler stand in front, at the end and in between.
func sealMessage(seed string, plain []byte, cuts [3]byte) (randomKey, message string) {
	block := 0
	text := func(n int) string {
		var b []byte
		for len(b) < n {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", seed, block))
			b = append(b, base64.RawURLEncoding.EncodeToString(sum[:])...)
			block++
		}
		return string(b[:n])
	}
	cbc := func(key string, b []byte) string {
		n := aes.BlockSize - len(b)%aes.BlockSize
		b = slices.Concat([]byte(text(16)), b, bytes.Repeat([]byte{byte(n)}, n))
		c, err := aes.NewCipher([]byte(key))
		if err != nil {
			panic(err) // a key has 32 bytes
		}
		cipher.NewCBCEncrypter(c, b[:16]).CryptBlocks(b[16:], b[16:])
		return base64.StdEncoding.EncodeToString(b)
	}
	wrapKey, bodyKey := text(32), text(32)
	body := cbc(bodyKey, plain)
	front, end, split := int(cuts[0]), int(cuts[1]), 1+int(cuts[2])%len(body)
	info := append([]byte{1<<3 | 2, 32}, bodyKey...)
	for i, n := range []int{front, end, split} {
		info = binary.AppendUvarint(append(info, byte((i+2)<<3)), uint64(n))
	}
	return cbc(wrapKey, info), text(13) + wrapKey + text(front) + body[:split] + text(split) + body[split:] + text(end)
}

// detailForm is all that a refusal may say: our words and a code, nothing of message, key or text.
var detailForm = regexp.MustCompile(`^[a-zA-Z0-9:# ]{1,90}$`)

// FuzzDecrypt opens what may come in an envelope, and a message that is sealed here.
func FuzzDecrypt(f *testing.F) {
	v := loadVectors(f)
	for _, vector := range v.Vectors {
		row := rawRow(vector.MsgID, map[string]any{"seq": vector.Seq, "msgid": vector.MsgID, "publickey_ver": vector.Version,
			"encrypt_random_key": vector.RandomKey, "encrypt_chat_msg": vector.Message})
		f.Add([]byte(row.Body), "", vector.Message, vector.Plain, []byte{3, 4, 5}, "")
	}
	for _, bad := range v.Negative {
		row := rawRow("m", map[string]any{"msgid": "m", "publickey_ver": 3, "encrypt_random_key": bad.RandomKey, "encrypt_chat_msg": bad.Message})
		f.Add([]byte(row.Body), bad.RandomKey, bad.Message, `{"msgid":"m"}`, []byte{0, 0, 0}, "")
	}
	keys := bothKeys(f)
	for _, pem := range keys {
		f.Add([]byte(`{"publickey_ver":9}`), "", "", "", []byte{20, 0, 255}, pem)
	}
	f.Add([]byte(`{"publickey_ver":3,"encrypt_random_key":"AAAA"}`), "", "", "", []byte{}, "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
	tr := open(f, newTransform(), keys)
	f.Fuzz(func(t *testing.T, body []byte, randomKey, message, plain string, cuts []byte, pem string) {
		if k := readKey(sdk.NewSecret(pem)); (k.rsa == nil) == (k.err == nil) {
			t.Errorf("key %v, error %v", k.rsa, k.err)
		} else if k.err != nil && !detailForm.MatchString(k.err.Error()) {
			t.Errorf("reading a key says %q", k.err)
		}
		checkDecoded(t, randomKey, message)
		sealedKey, sealed := sealMessage(randomKey, []byte(plain), [3]byte(append(slices.Clone(cuts), 0, 0, 0)))
		if got, err := finance.Decode(sealedKey, sealed); err != nil || string(got) != plain {
			t.Errorf("got %q, %v, want %q", got, err, plain)
		}
		checkDecoded(t, sealedKey, message)
		checkDecoded(t, randomKey, sealed)
		checkEnvelope(t, tr, body)
		checkMember(t, body)
		checkMember(t, []byte(plain))
	})
}

func checkDecoded(t *testing.T, randomKey, message string) {
	got, err := finance.Decode(randomKey, message)
	var e *finance.Error
	switch {
	case err == nil && len(got) > len(message):
		t.Errorf("%d bytes came out of %d", len(got), len(message))
	case err != nil && (!errors.As(err, &e) || !detailForm.MatchString(err.Error()) || e.Class != finance.Permanent):
		t.Errorf("got %v", err)
	}
}

// checkMember compares with what encoding/json finds.
func checkMember(t *testing.T, text []byte) {
	if !json.Valid(text) {
		return
	}
	var want map[string]json.RawMessage
	isObject := json.Unmarshal(text, &want) == nil && want != nil
	got, ok := lastMember(text, "msgid")
	if ok != isObject || string(got) != string(want["msgid"]) {
		t.Errorf("%q: got %q, %v, want %q, %v", text, got, ok, want["msgid"], isObject)
	}
}

func TestLastMember(t *testing.T) {
	for _, text := range []string{`{}`, ` { } `, `{"msgid":"a"}`, ` { "msgid" : "a" } `, `{"x":{"msgid":"b"},"msgid":1.5e3}`, `{"msgid":1,"msgid":[{"msgid":2},"]"]}`,
		`{"\u006dsgid":"a\"}"}`, `{"MSGID":"a"}`, `{"a":"\\","msgid":true , "b":null}`, `[{"msgid":1}]`, `null`, `7`, `"msgid"`, `{"a":[],"msgid":{},"b":-0}`, `{"msgid":null}`} {
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is no JSON", text)
		}
		checkMember(t, []byte(text))
	}
}

func checkEnvelope(t *testing.T, tr sdk.Transform, body []byte) {
	row := sdk.Row{Record: sdk.Record{ID: "m", Seq: 7, Key: "k", Kind: KindRaw, Body: bytes.Clone(body), Meta: map[string]string{"fetched_at": "now"}}}
	o := apply(t, tr, row)[0]
	if !bytes.Equal(row.Body, body) {
		t.Error("the row's body was written into")
	}
	switch o.Verdict {
	case sdk.VerdictReject:
		if o.Code != CodeFailed || !detailForm.MatchString(o.Detail) {
			t.Errorf("got %s: %s", o.Code, o.Detail)
		}
	case sdk.VerdictRetry:
		if !strings.HasPrefix(o.Cause, "key version ") || o.Code != CodeUnknownKey || o.Down {
			t.Errorf("got %+v", o)
		}
	case sdk.VerdictDone:
		if len(o.Outputs) != 1 {
			t.Fatalf("got %d outputs", len(o.Outputs))
		}
		r := o.Outputs[0]
		var text, envelope map[string]any
		if json.Unmarshal(r.Body, &text) != nil || text == nil || json.Unmarshal(body, &envelope) != nil {
			t.Fatalf("%q is opened to %q", body, r.Body)
		}
		if id, says := text["msgid"]; says && id != nil && envelope["msgid"] != nil && id != envelope["msgid"] {
			t.Errorf("%v is opened as %v", envelope["msgid"], id)
		}
		if r.ID != "m" || r.Seq != 7 || r.Kind != KindPlain || r.Meta["fetched_at"] != "now" {
			t.Errorf("got %+v", r)
		}
	default:
		t.Errorf("got verdict %d", o.Verdict)
	}
}
