package decrypt

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// corpus is where the client of the vendor keeps the vectors, which were checked against the official library (build 200215).
const corpus = "../wecom/finance/testdata"

type vectors struct {
	Vectors []struct {
		Name      string
		Seq       uint64
		MsgID     string
		Version   int64  `json:"publickey_ver"`
		RandomKey string `json:"encrypt_random_key"`
		Message   string `json:"encrypt_chat_msg"`
		Plain     string `json:"plaintext_utf8"`
	}
	Negative []struct {
		Name      string
		RandomKey string `json:"random_key"` // decrypted already
		Message   string `json:"encrypt_chat_msg"`
	}
}

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(corpus, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func loadVectors(t testing.TB) (v vectors) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, "decrypt_vectors.json")), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Vectors) != 20 || len(v.Negative) != 7 {
		t.Fatalf("got %d and %d vectors, want 20 and 7", len(v.Vectors), len(v.Negative))
	}
	return v
}

// bothKeys is one key in each of the two forms.
func bothKeys(t testing.TB) map[string]string {
	return map[string]string{"3": read(t, "testkey_v3.pkcs1.pem"), "4": read(t, "testkey_v4.pkcs8.pem")}
}

func open(t testing.TB, tr sdk.Transform, keys map[string]string) sdk.Transform {
	t.Helper()
	raw, _ := json.Marshal(map[string]any{"private_keys": keys})
	if err := tr.Open(context.Background(), &sdk.Env{Address: "transform.decrypt.plain", Args: raw}); err != nil {
		t.Fatal(err)
	}
	return tr
}

func newTransform() sdk.Transform { return Plugin().Components[0].NewTransform() }

func apply(t testing.TB, tr sdk.Transform, rows ...sdk.Row) []sdk.Outcome {
	t.Helper()
	got := make([]sdk.Outcome, len(rows))
	call := sdk.NewCall(rows, time.Time{}, false, func(i int, o sdk.Outcome) { got[i] = o })
	if err := tr.Apply(context.Background(), call); err != nil {
		t.Fatal(err)
	}
	return got
}

func rawRow(id string, body map[string]any) sdk.Row {
	b, _ := json.Marshal(body)
	return sdk.Row{Record: sdk.Record{ID: id, Kind: KindRaw, Body: b, Meta: map[string]string{"fetched_at": "now"}}}
}

// seal encrypts a random key as WeCom does, for the key of version 3.
func seal(t testing.TB, randomKey string) string {
	t.Helper()
	k := readKey(sdk.NewSecret(bothKeys(t)["3"]))
	//lint:ignore SA1019 as WeCom does
	b, err := rsa.EncryptPKCS1v15(rand.Reader, &k.rsa.PublicKey, []byte(randomKey))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(b)
}

func TestVectors(t *testing.T) { checkVectors(t, open(t, newTransform(), bothKeys(t))) }

func checkVectors(t *testing.T, tr sdk.Transform) {
	v := loadVectors(t)
	var rows []sdk.Row
	for _, want := range v.Vectors {
		rows = append(rows, rawRow(want.MsgID, map[string]any{"seq": want.Seq, "msgid": want.MsgID, "publickey_ver": want.Version,
			"encrypt_random_key": want.RandomKey, "encrypt_chat_msg": want.Message}))
	}
	for _, bad := range v.Negative {
		rows = append(rows, rawRow(bad.Name, map[string]any{"seq": 1, "msgid": bad.Name, "publickey_ver": 3,
			"encrypt_random_key": seal(t, bad.RandomKey), "encrypt_chat_msg": bad.Message}))
	}
	got := apply(t, tr, rows...)
	for i, want := range v.Vectors {
		if got[i].Verdict != sdk.VerdictDone || len(got[i].Outputs) != 1 {
			t.Errorf("%s: got verdict %d %s %s", want.Name, got[i].Verdict, got[i].Code, got[i].Detail)
			continue
		}
		r := got[i].Outputs[0]
		if string(r.Body) != want.Plain {
			t.Errorf("%s: got %.100s, want %.100s", want.Name, r.Body, want.Plain)
		}
		absent := ""
		if !strings.Contains(want.Plain, "msgid") {
			absent = "true"
		}
		if r.ID != want.MsgID || r.Kind != "wecom.chat.plain/1" || r.Meta["key_version"] != map[int64]string{3: "3", 4: "4"}[want.Version] ||
			r.Meta["msgid_absent"] != absent || r.Meta["fetched_at"] != "now" {
			t.Errorf("%s: got id %s, kind %s, meta %v", want.Name, r.ID, r.Kind, r.Meta)
		}
	}
	for i, bad := range v.Negative {
		o := got[len(v.Vectors)+i]
		if bad.Name == "garbled_body" { // opens without an error, also in the library, to an object without msgid: that is flagged
			if o.Verdict != sdk.VerdictDone || o.Outputs[0].Meta["msgid_absent"] != "true" {
				t.Errorf("%s: got verdict %d, want it done and flagged", bad.Name, o.Verdict)
			}
		} else if o.Verdict != sdk.VerdictReject || o.Code != "DECRYPT_FAILED" {
			t.Errorf("%s: got verdict %d %s, want DECRYPT_FAILED", bad.Name, o.Verdict, o.Code)
		}
	}
}

func TestDamage(t *testing.T) {
	v := loadVectors(t).Vectors[0]
	other := loadVectors(t).Vectors[1]
	good := func() map[string]any {
		return map[string]any{"seq": 1, "msgid": v.MsgID, "publickey_ver": 3, "encrypt_random_key": v.RandomKey, "encrypt_chat_msg": v.Message}
	}
	tests := map[string]func(map[string]any){
		"msgid of another message": func(m map[string]any) { m["msgid"] = other.MsgID },
		"no msgid outside":         func(m map[string]any) { delete(m, "msgid") },
		"key of another version":   func(m map[string]any) { m["publickey_ver"] = 4 },
		"no version":               func(m map[string]any) { delete(m, "publickey_ver") },
		"version of another type":  func(m map[string]any) { m["publickey_ver"] = "3" },
		"random key cut short":     func(m map[string]any) { m["encrypt_random_key"] = v.RandomKey[:100] },
		"random key of another":    func(m map[string]any) { m["encrypt_random_key"] = other.RandomKey },
		"no message":               func(m map[string]any) { delete(m, "encrypt_chat_msg") },
		"message of 12 characters": func(m map[string]any) { m["encrypt_chat_msg"] = v.Message[:12] },
		"first letter of msgid":    func(m map[string]any) { m["encrypt_chat_msg"] = v.Message[:51] + "A" + v.Message[52:] },
	}
	tr := open(t, newTransform(), bothKeys(t))
	for name, damage := range tests {
		body := good()
		damage(body)
		o := apply(t, tr, rawRow(v.MsgID, body))[0]
		if o.Verdict != sdk.VerdictReject || o.Code != CodeFailed || len(o.Events) != 0 {
			t.Errorf("%s: got verdict %d %s %s, want DECRYPT_FAILED", name, o.Verdict, o.Code, o.Detail)
		}
	}
	if o := apply(t, tr, sdk.Row{Record: sdk.Record{ID: "x", Body: []byte("no JSON")}})[0]; o.Code != CodeFailed {
		t.Errorf("no JSON: got %s", o.Code)
	}
	if o := apply(t, tr, rawRow(v.MsgID, good()))[0]; o.Verdict != sdk.VerdictDone {
		t.Errorf("undamaged: got verdict %d %s %s", o.Verdict, o.Code, o.Detail)
	}
}

func TestCheckMsgID(t *testing.T) {
	tests := []struct {
		plain  string
		absent bool
		want   error
	}{
		{`{"msgid":"m"}`, false, nil},
		{`{"MSGID":"x","msgid":"m"}`, false, nil},
		{`{"msgid":null}`, true, nil},
		{`{"MSGID":"x"}`, true, nil},
		{`{}`, true, nil},
		{`{"msgid":""}`, false, errOtherMsgID},
		{`{"msgid":"n"}`, false, errOtherMsgID},
		{`{"msgid":7}`, false, errOtherMsgID},
		{`null`, false, errNotJSON},
		{`["msgid"]`, false, errNotJSON},
		{``, false, errNotJSON},
		{`{"msgid":"m"} `, false, nil},
		{`{"msgid":"m"}x`, false, errNotJSON},
	}
	for _, test := range tests {
		if absent, err := checkMsgID([]byte(test.plain), "m"); absent != test.absent || !errors.Is(err, test.want) {
			t.Errorf("%s: got absent %v, error %v; want %v, %v", test.plain, absent, err, test.absent, test.want)
		}
	}
}

// A message of an unknown version waits, is told of once, and is opened when its key has come. The others are not held up.
func TestKeyComesLater(t *testing.T) {
	plugin := Plugin()
	keys := bothKeys(t)
	v := loadVectors(t).Vectors
	row := func(i int) sdk.Row {
		return rawRow(v[i].MsgID, map[string]any{"seq": 1, "msgid": v[i].MsgID, "publickey_ver": v[i].Version, "encrypt_random_key": v[i].RandomKey, "encrypt_chat_msg": v[i].Message})
	}
	old, fresh := 0, len(v)-1 // of versions 3 and 4
	without := func(t *testing.T, keys map[string]string, code string, events int) {
		t.Helper()
		got := apply(t, open(t, plugin.Components[0].NewTransform(), keys), row(old), row(fresh), row(fresh))
		if got[0].Verdict != sdk.VerdictDone {
			t.Errorf("the version that is there: got verdict %d", got[0].Verdict)
		}
		told := 0
		for _, o := range got[1:] {
			if o.Verdict != sdk.VerdictRetry || o.Cause != "key version 4" || o.Code != code || o.Down {
				t.Errorf("got verdict %d, cause %q, code %s", o.Verdict, o.Cause, o.Code)
			}
			for _, e := range o.Events {
				told++
				if e.Code != code || e.Severity != sdk.Critical || e.Cause != "key version 4" {
					t.Errorf("got event %+v", e)
				}
			}
		}
		if told != events {
			t.Errorf("told %d times, want %d", told, events)
		}
	}
	without(t, map[string]string{"3": keys["3"]}, CodeUnknownKey, 1)
	without(t, map[string]string{"3": keys["3"]}, CodeUnknownKey, 0)
	without(t, map[string]string{"3": keys["3"], "4": "half a file"}, CodeBadKey, 0)
	if o := apply(t, open(t, plugin.Components[0].NewTransform(), keys), row(fresh))[0]; o.Verdict != sdk.VerdictDone {
		t.Errorf("with its key: got verdict %d %s", o.Verdict, o.Code)
	}
	without(t, map[string]string{"3": keys["3"], "4": "half a file"}, CodeBadKey, 1) // gone again
}

func TestKeysThatCannotBeRead(t *testing.T) {
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	der, _ := x509.MarshalPKCS8PrivateKey(curve)
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	const needle = "TheSecretText"
	for name, text := range map[string]string{
		"empty":               "",
		"no PEM":              needle,
		"a certificate":       block("CERTIFICATE", []byte(needle)),
		"elliptic":            block("PRIVATE KEY", der),
		"damaged PKCS#1":      block("RSA PRIVATE KEY", []byte(needle)),
		"damaged PKCS#8":      block("PRIVATE KEY", []byte(needle)),
		"encrypted":           block("ENCRYPTED PRIVATE KEY", []byte(needle)),
		"encrypted, old form": "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nVGhlU2VjcmV0VGV4dA==\n-----END RSA PRIVATE KEY-----\n",
	} {
		var log strings.Builder
		raw, _ := json.Marshal(map[string]any{"private_keys": map[string]string{"3": text}})
		env := &sdk.Env{Args: raw, Log: slog.New(slog.NewTextHandler(&log, nil))}
		if err := newTransform().Open(context.Background(), env); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := log.String(); !strings.Contains(got, "key_version=3") || strings.Contains(got, needle) || strings.Contains(got, "VGhl") {
			t.Errorf("%s: got log %q", name, got)
		}
	}
	k := readKey(sdk.NewSecret("for version 3\n" + block("CERTIFICATE", nil) + bothKeys(t)["3"]))
	if k.rsa == nil {
		t.Errorf("a key behind other things: %v", k.err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, args := range []string{
		`{"private_keys":{"three":""}}`, `{"private_keys":{},"decoder":"magic"}`, `{"private_keys":{},"decoder":"library"}`,
		`{"private_keys":{},"decoder":"library","library":"/nowhere.so"}`, `{"private_key":{}}`,
	} {
		if err := newTransform().Open(context.Background(), &sdk.Env{Args: []byte(args)}); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

func TestEndOfContextAnswersNothingMore(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	rows := []sdk.Row{rawRow("a", nil), rawRow("b", nil)}
	call := sdk.NewCall(rows, time.Time{}, false, func(int, sdk.Outcome) { t.Error("a row was answered") })
	if err := open(t, newTransform(), nil).Apply(ctx, call); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

// The steps behind work by what comes at once: what takes less than a second is answered together.
func TestAnswersComeTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int32
		tr := newTransform().(*transform)
		tr.keys = map[int64]key{3: {rsa: testKey(t, "3")}}
		tr.decode = func(string, string) ([]byte, error) {
			time.Sleep(10 * time.Millisecond)
			opened.Add(1)
			return []byte(`{"msgid":"m"}`), nil
		}
		v := loadVectors(t).Vectors[0]
		rows := make([]sdk.Row, 20)
		for i := range rows {
			rows[i] = rawRow("m", map[string]any{"msgid": "m", "publickey_ver": 3, "encrypt_random_key": v.RandomKey})
		}
		answers := 0
		call := sdk.NewCall(rows, time.Time{}, false, func(_ int, o sdk.Outcome) {
			if answers++; int(opened.Load()) != len(rows) || o.Verdict != sdk.VerdictDone {
				t.Errorf("answer %d (%s) comes when %d of %d rows are opened", answers, o.Detail, opened.Load(), len(rows))
			}
		})
		if err := tr.Apply(t.Context(), call); err != nil || answers != len(rows) {
			t.Errorf("%d answers, error %v", answers, err)
		}
	})
}
