package lang_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-etl/weir/engine/internal/lang"
)

// key makes an RSA private key in PEM.
func key(t *testing.T, pkcs8 bool) string {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k)}
	if pkcs8 {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		block = &pem.Block{Type: "PRIVATE KEY", Bytes: der}
	}
	return string(pem.EncodeToMemory(block))
}

func TestKeyring(t *testing.T) {
	p, keys, _ := mainPipeline(t, nil)
	s := p.Step("transform.decrypt.plain")
	versions := func() map[string]string {
		var args struct {
			PrivateKeys map[string]string `json:"private_keys"`
		}
		if err := json.Unmarshal(s.Args, &args); err != nil {
			t.Fatal(err)
		}
		return args.PrivateKeys
	}
	if got := versions(); len(got) != 2 || !strings.Contains(got["1"], "RSA PRIVATE KEY") || !strings.Contains(got["2"], "BEGIN PRIVATE KEY") {
		t.Fatalf("got %v", got)
	}
	if !s.Volatile || p.Step("sink.kintone.raw").Volatile {
		t.Error("only the step with the keyring is volatile")
	}
	if changed, diags := s.Reload(); changed || diags != nil {
		t.Errorf("nothing changed: got %v, %v", changed, diags)
	}
	before := s.Fingerprint
	put(t, filepath.Join(keys, "v9.pem"), key(t, true))
	if changed, diags := s.Reload(); !changed || diags != nil || len(versions()) != 3 || s.Fingerprint == before {
		t.Errorf("a new key: got %v, %v, %d keys", changed, diags, len(versions()))
	}
	put(t, filepath.Join(keys, "v10.pem"), "half a key that is still being copied")
	changed, diags := s.Reload()
	if changed || len(versions()) != 3 || !strings.Contains(shown(diags), "v10.pem is not PEM") || strings.Contains(shown(diags), "half a key") {
		t.Errorf("a broken key: got %v, %d keys:\n%s", changed, len(versions()), shown(diags))
	}
}

func TestKeyringMistakes(t *testing.T) {
	good := key(t, false)
	public := "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
	for _, row := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, "keyring finds no key file"},
		{"two of one version", map[string]string{"v1.pem": good, "key-01.pem": good}, "are both key version 1"},
		{"no version", map[string]string{"private.pem": good}, "says no version"},
		{"public", map[string]string{"v1.pem": public}, "holds no RSA private key"},
		{"not PEM", map[string]string{"v1.pem": "x"}, "is not PEM"},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := write(t, "weir { name = \"t\" }\n"+head[strings.Index(head, "connection \"wecom\""):]+chain(""))
			for file, text := range row.files {
				put(t, filepath.Join(filepath.Dir(name), file), text)
			}
			_, diags := lang.Load([]string{name}, lang.Options{Plugins: plugins(), Getenv: environment(map[string]string{"S": "s", "T": "t"})})
			if len(diags) != 1 || !strings.Contains(diags[0].Problem, row.want) {
				t.Errorf("got:\n%swant: %s", shown(diags), row.want)
			}
		})
	}
}

// No diagnostic, and no printed pipeline, shows a secret, whatever goes wrong with it.
func TestSecretsDoNotPrint(t *testing.T) {
	const secret = "hunter2-and-more"
	lines := []string{
		`count = env("S")`,
		`count = tonumber(env("S"))`,
		`count = jsondecode(env("S")).x`,
		`count = parseint(env("S"), 10)`,
		`count = formatdate("YYYY", env("S"))`,
		`count = formatdate(env("S"), "2020-01-01T00:00:00Z")`,
		`count = regex(env("S"), "x")`,
		`count = { (env("S")) = 1 }[0]`,
		`count = length({ for x in [1, 2] : env("S") => x })`,
		`count = [1][env("S")]`,
		`count = local.s`,
		`count = tonumber(local.part)`,
		`count = timeadd(env("S"), "1h")`,
		`count = { a = 1 }[local.s]`,
		`count = lookup({ a = 1 }, local.s)`,
		`count = base64decode(local.s)`,
		`count = format("%d", local.s)`,
		`count = mib(local.s)`,
		`count = try(tonumber(local.s), tonumber(local.part))`,
		`count = since({ (local.s) = 1 }, 5)`,
		`unknown = "` + secret + `"`,
	}
	for _, line := range lines {
		name := write(t, "weir { name = \"t\" }\nlocals {\n  s = env(\"S\")\n  part = \"x${substr(local.s, 0, 12)}\"\n}\nsource \"generate\" \"g\" {\n"+line+"\n}\n")
		_, diags := lang.Load([]string{name}, lang.Options{Plugins: plugins(), Getenv: environment(map[string]string{"S": secret})})
		var asJSON bytes.Buffer
		diags.WriteJSON(&asJSON)
		got := shown(diags) + asJSON.String() + fmt.Sprintf("%+v", diags)
		if !diags.HasErrors() {
			t.Errorf("%s: no mistake", line)
		}
		if strings.Contains(got, secret[:8]) {
			t.Errorf("%s: shows the secret:\n%s", line, got)
		}
	}
	p, _, secrets := mainPipeline(t, oss)
	printed := fmt.Sprintf("%v %+v", p.StateKey, *p.StateKey)
	for _, s := range secrets {
		if s != "" && strings.Contains(printed, s) {
			t.Errorf("the state key prints: %s", printed)
		}
	}
}
