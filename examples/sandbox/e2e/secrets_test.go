package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// secrets are values that nobody may find, by name.
func (c *company) secrets() map[string]string {
	secrets := map[string]string{}
	for _, name := range []string{
		"WECOM_CHAT_SECRET", "KINTONE_TOKEN_RAW", "KINTONE_TOKEN_LOG", "OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET", "WEIR_STATE_KEY",
	} {
		secrets[name] = c.variables[name]
	}
	_, password, _ := strings.Cut(c.variables["WECOM_PROXY"], "sandbox:")
	secrets["password of WECOM_PROXY"], _, _ = strings.Cut(password, "@")
	keys, err := filepath.Glob(c.variables["WEIR_VAR_wecom_keys"])
	if err != nil || len(keys) == 0 {
		c.t.Fatalf("no private keys: %v", err)
	}
	for _, path := range keys {
		pem, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		secrets["private key "+filepath.Base(path)] = strings.Split(string(pem), "\n")[3]
	}
	for _, m := range c.truth().Messages {
		for i, reference := range m.References {
			secrets[fmt.Sprintf("sdkfileid %d of seq %d", i, m.Seq)] = reference
		}
	}
	for name, value := range secrets {
		if len(value) < 8 {
			c.t.Fatalf("%s is %q: too short to be searched for", name, value)
		}
	}
	return secrets
}

// leaks lists the secrets that stand in a text, as they are, in base64 or with slashes escaped as JSON may have it.
func leaks(secrets map[string]string, text []byte) (found []string) {
	for name, value := range secrets {
		for _, form := range []string{
			value, strings.ReplaceAll(value, "/", `\/`), strings.ReplaceAll(value, "/", "%2F"),
			base64.StdEncoding.EncodeToString([]byte(value))[:len(value)*8/6], // the end depends on what follows
		} {
			if bytes.Contains(text, []byte(form)) {
				found = append(found, name)
				break
			}
		}
	}
	return found
}

// A run that says as much as it can, through refusals and an outage: no secret is in its log, plan, state, errors or children.
func TestNoSecretAnywhere(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "200", "--seed", "29")
	secrets := c.secrets()
	planted := fmt.Appendf(nil, "token=%s key=%s", c.variables["KINTONE_TOKEN_LOG"],
		base64.StdEncoding.EncodeToString([]byte(c.variables["OSS_ACCESS_KEY_SECRET"])))
	if found := leaks(secrets, planted); len(found) != 2 {
		t.Fatalf("the search found %v of two planted secrets", found)
	}
	check := func(where string, text []byte) {
		t.Helper()
		if found := leaks(secrets, text); len(found) > 0 {
			t.Errorf("%s holds %v", where, found)
		}
	}

	c.fault("oss", "deny")
	c.fault("kintone", "html503")
	c.fault("wecom", "drop")
	e := c.start(run{args: []string{"--log-level", "trace"}})
	until(t, time.Minute, "six plugins", func() bool { return len(c.plugins(e)) == 6 })
	for _, p := range c.plugins(e) {
		for _, name := range []string{"environ", "cmdline"} {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.pid, name))
			if err != nil {
				t.Fatal(err)
			}
			check(p.command+" "+name, b)
			if name == "environ" && bytes.Contains(b, []byte("WEIR_VAR_")) {
				t.Errorf("%s has weir's environment", p.command)
			}
		}
	}
	c.fault("wecom", "off")
	until(t, time.Minute, "the outage to be owed", func() bool { return c.status().owed("sink.kintone.log") > 100 })
	check("weir owed list", []byte(c.ask("owed", "list", "--limit", "1000")))
	check("weir status", []byte(c.ask("status", "--json")))
	check("weir plan", []byte(c.ask("plan")))
	c.fault("oss", "off")
	c.fault("kintone", "off")
	e.finish(3 * time.Minute)
	check("weir dead list", []byte(c.ask("dead", "list")))
	check("weir state show", []byte(c.ask("state", "show")))
	err := filepath.WalkDir(c.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || path == c.weir || strings.HasPrefix(path, c.dir) || filepath.Base(path) == "env" {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil {
			check(path, b)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c.equal()
}
