package finance

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// vectors is decrypt_vectors.json, which was checked against the official library (build 200215).
type vectors struct {
	Vectors []struct {
		Name       string
		Version    int    `json:"publickey_ver"`
		Encrypted  string `json:"encrypt_random_key"`
		RandomKey  string `json:"random_key"`
		Message    string `json:"encrypt_chat_msg"`
		Plaintext  string `json:"plaintext_utf8"`
		PlainBytes int    `json:"plaintext_len"`
	}
	Negative []struct {
		Name      string
		RandomKey string `json:"random_key"`
		Message   string `json:"encrypt_chat_msg"`
		Code      int    `json:"real_so_ret"`
		Len       int    `json:"real_so_len"`
	}
}

func loadVectors(t *testing.T) vectors {
	t.Helper()
	var v vectors
	b, err := os.ReadFile(filepath.Join("testdata", "decrypt_vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Vectors) != 20 || len(v.Negative) != 7 {
		t.Fatalf("got %d and %d vectors, want 20 and 7", len(v.Vectors), len(v.Negative))
	}
	return v
}

func loadKeys(t *testing.T) map[int]*rsa.PrivateKey {
	t.Helper()
	keys := map[int]*rsa.PrivateKey{}
	for version, name := range map[int]string{3: "testkey_v3.pkcs1.pem", 4: "testkey_v4.pkcs8.pem"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			keys[version] = key
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		keys[version] = key.(*rsa.PrivateKey)
	}
	return keys
}

// checkVectors runs every vector through a decoder.
func checkVectors(t *testing.T, decode func(randomKey, message string) ([]byte, error)) {
	v, keys := loadVectors(t), loadKeys(t)
	for _, want := range v.Vectors {
		randomKey, err := OpenRandomKey(keys[want.Version], want.Encrypted)
		if err != nil || randomKey != want.RandomKey {
			t.Errorf("%s: random key %q, error %v, want %q", want.Name, randomKey, err, want.RandomKey)
			continue
		}
		plain, err := decode(randomKey, want.Message)
		if err != nil || string(plain) != want.Plaintext || len(plain) != want.PlainBytes {
			t.Errorf("%s: got %d bytes, error %v, want %d bytes", want.Name, len(plain), err, want.PlainBytes)
		}
	}
	for _, want := range v.Negative {
		plain, err := decode(want.RandomKey, want.Message)
		code := 0
		if refusal := (*Error)(nil); errors.As(err, &refusal) {
			code = refusal.Code
			if refusal.Class != Permanent {
				t.Errorf("%s: class %v, want permanent", want.Name, refusal.Class)
			}
		}
		if code != want.Code || len(plain) != want.Len {
			t.Errorf("%s: got code %d and %d bytes, want %d and %d", want.Name, code, len(plain), want.Code, want.Len)
		}
	}
}

func TestDecode(t *testing.T) { checkVectors(t, Decode) }

// What would abort the process of the library, and odd key infos, must come back as errors.
func TestDecodeHostile(t *testing.T) {
	v := loadVectors(t)
	good := v.Vectors[0]
	for n := range good.Message {
		_, err := Decode(good.RandomKey, good.Message[:n])
		if refusal := (*Error)(nil); !errors.As(err, &refusal) {
			t.Errorf("first %d characters: got error %v, want a refusal", n, err)
		}
	}
	for _, info := range []keyInfo{
		{key: "short", split: 1}, {key: string(make([]byte, 32)), front: -1, split: 1},
		{key: string(make([]byte, 32)), end: 1 << 30, split: 1}, {key: string(make([]byte, 32)), split: 1<<31 - 1},
		{key: string(make([]byte, 32)), split: -5},
	} {
		if plain, err := decodeBody(info, "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="); err == nil {
			t.Errorf("%+v: got %q, want an error", info, plain)
		}
	}
}

func TestOpenRandomKeyRefuses(t *testing.T) {
	v, keys := loadVectors(t), loadKeys(t)
	for name, encrypted := range map[string]string{
		"other key": v.Vectors[0].Encrypted, "not base64": "***", "empty": "",
	} {
		_, err := OpenRandomKey(keys[4], encrypted)
		if refusal := (*Error)(nil); !errors.As(err, &refusal) || refusal.Code != BadKey || refusal.Class != Permanent {
			t.Errorf("%s: got %v, want a permanent error with code %d", name, err, BadKey)
		}
	}
}

func TestParsePageErrors(t *testing.T) {
	tests := []struct {
		name  string
		code  int
		class Class
	}{
		{"err_301042", 301042, Config}, {"err_301052", 301052, Config}, {"err_40014", 40014, Retry},
		{"err_41001", 41001, Config}, {"err_42001", 42001, Retry}, {"err_45009", 45009, Throttled},
	}
	for _, test := range tests {
		raw, err := os.ReadFile(filepath.Join("testdata", "pages", "getchatdata_"+test.name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		checkRefusal(t, test.name, raw, test.code, test.class)
	}
	for name, body := range map[string]string{
		"html": "<html>502 Bad Gateway</html>", "nothing": "", "cut": `{"errcode":0,"errmsg":"ok","chatdata":[{"seq":1`,
		"no errcode": `{"chatdata":[]}`, "no chatdata": `{"errcode":0}`, "null": "null", "list": "[]",
		"no seq":   `{"errcode":0,"chatdata":[{"msgid":"a"}]}`,
		"no msgid": `{"errcode":0,"chatdata":[{"seq":1}]}`, "seq text": `{"errcode":0,"chatdata":[{"seq":"1","msgid":"a"}]}`,
	} {
		checkRefusal(t, name, []byte(body), NotParsed, Retry)
	}
	checkRefusal(t, "unknown code", []byte(`{"errcode":98765,"chatdata":[]}`), 98765, Retry)
}

func checkRefusal(t *testing.T, name string, raw []byte, code int, class Class) {
	t.Helper()
	rows, err := ParsePage(raw)
	refusal := (*Error)(nil)
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Class != class || rows != nil {
		t.Errorf("%s: got %d rows and error %v, want code %d, class %v", name, len(rows), err, code, class)
	}
}

func TestParsePage(t *testing.T) {
	if rows, err := ParsePage([]byte(`{"errcode":0,"errmsg":"ok","chatdata":[]}`)); err != nil || len(rows) != 0 {
		t.Errorf("empty page: got %d rows, error %v", len(rows), err)
	}
	const first = `{ "seq":18446744073709551615,"msgid":"m_external","publickey_ver":3, "new":[1.0e3],"encrypt_random_key":"k","encrypt_chat_msg":"c"}`
	rows, err := ParsePage([]byte(`{"chatdata":[` + first + `, {"seq":2,"msgid":"n"}],"errcode":0}`))
	if err != nil || len(rows) != 2 {
		t.Fatalf("got %d rows, error %v", len(rows), err)
	}
	r := rows[0]
	if r.Seq != 1<<64-1 || r.MsgID != "m_external" || r.KeyVersion != 3 || r.RandomKey != "k" || r.Message != "c" {
		t.Errorf("got %+v", r)
	}
	if string(r.Raw) != first {
		t.Errorf("got raw %s, want %s", r.Raw, first)
	}
}
