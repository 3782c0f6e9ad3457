package lang_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

func empty(string) (string, bool) { return "", false }

func environment(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
}

// must returns the pipeline or ends the test with the diagnostics.
func must(t testing.TB, p *lang.Pipeline, diags lang.Diagnostics) *lang.Pipeline {
	t.Helper()
	if diags.HasErrors() {
		t.Fatalf("unexpected diagnostics:\n%s", shown(diags))
	}
	return p
}

func shown(diags lang.Diagnostics) string {
	var b bytes.Buffer
	diags.Write(&b)
	return b.String()
}

// mainPipeline loads testdata/main.hcl to run, with two keys in a folder of its own.
func mainPipeline(t *testing.T, more map[string]string) (p *lang.Pipeline, keys string, secrets []string) {
	t.Helper()
	keys = t.TempDir()
	pem1, pem2 := key(t, false), key(t, true)
	put(t, filepath.Join(keys, "v1.pem"), pem1)
	put(t, filepath.Join(keys, "v002.pem"), pem2)
	env := map[string]string{
		"WEIR_STATE_KEY": "secret-state-key", "WECOM_CHAT_SECRET": "secret-chat", "KINTONE_TOKEN_RAW": "secret-raw", "KINTONE_TOKEN_LOG": "secret-log",
		"WEIR_VAR_corp_id": "ww1", "WEIR_VAR_wecom_keys": filepath.Join(keys, "v*.pem"), "WEIR_VAR_kintone_url": "http://127.0.0.1:8080",
		"WEIR_VAR_app_raw": `{"1": 101, "1000": 131}`, "WEIR_VAR_app_log": `{ "1" = 201 }`,
		"WECOM_PROXY": "http://user:secret-proxy@127.0.0.1:8081",
	}
	for k, v := range more {
		env[k] = v
	}
	for name, v := range env {
		if !strings.HasPrefix(name, "WEIR_VAR_") {
			secrets = append(secrets, v)
		}
	}
	p, diags := lang.Load([]string{"testdata/main.hcl"}, lang.Options{Plugins: plugins(), Getenv: environment(env), Version: "0.3.1"})
	return must(t, p, diags), keys, append(secrets, pem1, pem2)
}

func put(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// oss is the environment with which the main pipeline has object storage.
var oss = map[string]string{"WEIR_VAR_oss_bucket": "b", "WEIR_VAR_oss_endpoint": "http://127.0.0.1:9000", "OSS_ACCESS_KEY_ID": "secret-id", "OSS_ACCESS_KEY_SECRET": "secret-key"}

func TestValidateNeedsNothing(t *testing.T) {
	p, diags := lang.Load([]string{"testdata/main.hcl"}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
	p = must(t, p, diags)
	if s := p.Step("transform.decrypt.plain"); s.Args != nil {
		t.Errorf("arguments without key files: got %s, want nil", s.Args)
	}
}

func TestRun(t *testing.T) {
	p, _, _ := mainPipeline(t, oss)
	if p.Name != "wecom-archive" || p.Timezone.String() != "Asia/Shanghai" || p.Lang != "ja" || p.Rescue != 24*time.Hour || p.StateKey.Reveal() != "secret-state-key" {
		t.Errorf("weir block: got %+v", p)
	}
	var order []string
	after := map[string][]string{}
	for _, s := range p.Steps {
		order = append(order, s.Address)
		if len(s.After) > 0 {
			after[s.Address] = s.After
		}
		if !s.Enabled || s.Args == nil || s.Fingerprint == "" {
			t.Errorf("%s: enabled %v, args %s, fingerprint %q", s.Address, s.Enabled, s.Args, s.Fingerprint)
		}
	}
	want := []string{
		"source.wecom_chat.chat", "transform.decrypt.plain", "transform.parse.message", "transform.wecom_media.got", "transform.md5.checked",
		"sink.kintone.raw", "sink.kintone.raw_state", "sink.oss.large", "sink.kintone.log", "sink.kintone.recalled",
	}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string][]string{
		"sink.kintone.raw_state": {"sink.kintone.raw"}, "sink.kintone.log": {"sink.oss.large"}, "sink.kintone.recalled": {"sink.kintone.log"},
	}, after); diff != "" {
		t.Errorf("after (-want +got):\n%s", diff)
	}

	raw := p.Step("sink.kintone.raw")
	if want := (lang.Batch{MaxRecords: 100, MaxBytes: 1 << 20, MaxWait: 10 * time.Second}); raw.Batch != want {
		t.Errorf("batch: got %+v, want %+v", raw.Batch, want)
	}
	if string(raw.Args) != `{"mode":"upsert","token":"secret-raw"}` {
		t.Errorf("fixed arguments: got %s", raw.Args)
	}
	c := p.Step("source.wecom_chat.chat").Connection
	if want := (lang.Limit{Count: 600, Per: time.Minute, Concurrency: 4}); c.Limit != want {
		t.Errorf("limit: got %+v, want %+v", c.Limit, want)
	}
	if string(c.Args) != `{"ca":"","client":"library","corp_id":"ww1","proxy":"http://user:secret-proxy@127.0.0.1:8081","secret":"secret-chat"}` {
		t.Errorf("connection: got %s", c.Args)
	}
	for _, c := range p.Connections {
		if !c.Loopback {
			t.Errorf("%s names only this machine, and is not loopback", c.Address)
		}
	}
	if s := p.Step("sink.oss.large"); !s.OnOwedPass || s.Plugin != "oss" {
		t.Errorf("oss: %+v", s)
	}
	if s := p.Step("sink.kintone.recalled"); !s.HasAbout || !s.HasWhen || s.OnOwedPass {
		t.Errorf("recalled: %+v", s)
	}
}

// What is disabled needs nothing of the environment.
func TestDisabled(t *testing.T) {
	p, _, _ := mainPipeline(t, nil)
	s := p.Step("sink.oss.large")
	if s.Enabled || s.Connection == nil || s.Connection.Enabled {
		t.Errorf("got %+v, want disabled", s)
	}
}

func TestLoopback(t *testing.T) {
	for _, row := range []struct {
		url  string
		want bool
	}{
		{"http://127.0.0.1:8080", true}, {"https://localhost/x", true}, {"http://[::1]:80", true}, {"127.0.0.1:9000", true}, {"localhost:9000", true},
		{"https://example.cybozu.com", false}, {"http://127.0.0.1.example.com", false}, {"example.com:80", false}, {"none", false}, {"http://10.0.0.1", false},
	} {
		text := fmt.Sprintf("weir { name = \"t\" }\nsource \"generate\" \"g\" {}\nconnection \"kintone\" \"k\" { url = %q }\n", row.url)
		p, diags := lang.Load([]string{write(t, text)}, lang.Options{Plugins: plugins(), Getenv: empty})
		if got := must(t, p, diags).Connections[0].Loopback; got != row.want {
			t.Errorf("%s: got %v, want %v", row.url, got, row.want)
		}
	}
}

func TestMissingOnRun(t *testing.T) {
	_, diags := lang.Load([]string{"testdata/main.hcl"}, lang.Options{Plugins: plugins(), Getenv: empty})
	var got []string
	for _, d := range diags {
		got = append(got, fmt.Sprintf("%d: %s", d.Line, d.Problem))
	}
	want := []string{
		"6: environment variable WEIR_STATE_KEY is not set",
		"10: variable corp_id has no value",
		"15: variable kintone_url has no value",
		"16: variable app_raw has no value",
		"17: variable app_log has no value",
		"34: environment variable WECOM_CHAT_SECRET is not set",
		"69: environment variable KINTONE_TOKEN_RAW is not set",
		"86: keyring finds no key file",
		"96: environment variable KINTONE_TOKEN_RAW is not set",
		"139: environment variable KINTONE_TOKEN_LOG is not set",
		"162: environment variable KINTONE_TOKEN_LOG is not set",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestVariables(t *testing.T) {
	const text = `weir { name = "t" }
variable "s" {
  type    = string
  default = "default"
}
variable "n" {
  type    = number
  default = 7
}
variable "l" {
  type    = list(string)
  default = []
}
variable "o" {
  type    = object({ a = string, b = optional(number, 5) })
  default = { a = "x" }
}
locals {
  late  = "${local.early}!"
  early = upper(var.s)
}
source "generate" "g" {
  count = var.n
  seed  = var.o.b
}
sink "file" "f" {
  input = source.generate.g
  path  = "${var.s}/${local.late}/${join("+", var.l)}"
}
`
	rows := []struct {
		name            string
		vars, env, file map[string]string
		want            string
	}{
		{"default", nil, nil, nil, `{"path":"default/DEFAULT!/"} {"count":7,"seed":5}`},
		{"file", nil, nil, map[string]string{"s": `"file"`, "n": "8", "unused": "1"}, `{"path":"file/FILE!/"} {"count":8,"seed":5}`},
		{"environment over file", nil, map[string]string{"s": "env", "l": `["a","b"]`}, map[string]string{"s": `"file"`}, `{"path":"env/ENV!/a+b"} {"count":7,"seed":5}`},
		{"--var over environment", map[string]string{"s": "var", "n": "9", "o": `{ a = "y", b = 6 }`}, map[string]string{"s": "env"}, nil, `{"path":"var/VAR!/"} {"count":9,"seed":6}`},
		{"text is taken as it is", map[string]string{"s": `"quoted" ${x}`}, nil, nil, `{"path":"\"quoted\" ${x}/\"QUOTED\" ${X}!/"} {"count":7,"seed":5}`},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			name := write(t, text)
			var lines strings.Builder
			for k, v := range row.file {
				fmt.Fprintf(&lines, "%s = %s\n", k, v)
			}
			put(t, filepath.Join(filepath.Dir(name), "x.weirvars"), lines.String())
			env := map[string]string{}
			for k, v := range row.env {
				env["WEIR_VAR_"+k] = v
			}
			p, diags := lang.Load([]string{name}, lang.Options{Plugins: plugins(), Vars: row.vars, Getenv: environment(env)})
			p = must(t, p, diags)
			if got := string(p.Step("sink.file.f").Args) + " " + string(p.Step("source.generate.g").Args); got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
	t.Run("mistakes", func(t *testing.T) {
		_, diags := lang.Load([]string{write(t, text)}, lang.Options{Plugins: plugins(), Getenv: environment(map[string]string{"WEIR_VAR_n": "many-secret"}), Vars: map[string]string{"ss": "x"}})
		got := shown(diags)
		if len(diags) != 2 || !strings.Contains(got, "--var ss: there is no variable of this name") || !strings.Contains(got, "WEIR_VAR_n does not hold a number") || strings.Contains(got, "many-secret") {
			t.Errorf("got:\n%s", got)
		}
	})
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.hcl"), `weir { name = "t" }`+"\n"+`sink "file" "f" {`+"\n  input = source.generate.g\n  path = file(\"name.txt\")\n}\n")
	put(t, filepath.Join(dir, "b.hcl"), `source "generate" "g" {}`)
	put(t, filepath.Join(dir, "name.txt"), "out.jsonl")
	p, diags := lang.Load([]string{dir}, lang.Options{Plugins: plugins(), Getenv: empty})
	p = must(t, p, diags)
	if len(p.Steps) != 2 || string(p.Steps[1].Args) != `{"path":"out.jsonl"}` || p.Folder != dir {
		t.Errorf("got %d steps, %s, folder %s", len(p.Steps), p.Steps[1].Args, p.Folder)
	}
	for _, paths := range [][]string{nil, {filepath.Join(dir, "none.hcl")}, {t.TempDir()}} {
		if _, diags := lang.Load(paths, lang.Options{Plugins: plugins()}); !diags.HasErrors() {
			t.Errorf("%v: no diagnostics", paths)
		}
	}
}

func TestWeirBlock(t *testing.T) {
	rows := []struct{ line, env, want string }{
		{`name = "Not A Name"`, "", `name cannot be "Not A Name"`},
		{"name = \"x\"\nstate_key = env(\"K\", \"\")", "", "state_key is empty"},
		{"name = \"x\"\nstate_key = env(\"K\")", "", "state_key is empty"},
		{"name = \"x\"\nstate_key = env(\"K\")", "k", ""},
		{"name = \"x\"\nrequired_version = \">= 0.4\"", "", "this is weir 0.3.1, the file wants >= 0.4"},
		{"name = \"x\"\nrequired_version = \">= 0.3, < 0.4, != 0.3.2\"", "", ""},
		{"name = \"x\"\nrequired_version = \"soon\"", "", `"soon" is not a version`},
		{"name = \"x\"\nlang = \"jp\"", "", "weir: lang must be one of en, ja, zh: did you mean ja?"},
		{"", "", `weir needs an argument "name"`},
	}
	for _, row := range rows {
		text := "weir {\n" + row.line + "\n}\nsource \"generate\" \"g\" {}\n"
		_, diags := lang.Load([]string{write(t, text)}, lang.Options{Plugins: plugins(), Version: "0.3.1", Getenv: environment(map[string]string{"K": row.env})})
		if row.want == "" && len(diags) > 0 || row.want != "" && (len(diags) != 1 || diags[0].Problem != row.want) {
			t.Errorf("%s: got:\n%swant: %s", row.line, shown(diags), row.want)
		}
	}
}

func TestExternalPlugin(t *testing.T) {
	text := `weir { name = "t" }
plugin "acme" { path = "bin/acme" }
source "acme" "a" { speed = 3 }
`
	acme := sdk.Plugin{Name: "acme", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "acme", Args: []sdk.Arg{{Name: "speed", Type: sdk.Number}}}}}
	name := write(t, text)
	sum := strings.Repeat("5e", 32)
	lock := lang.Lock{}
	lock.Set(lang.Locked{Name: "acme", Platform: lang.Platform(), Version: "1", Size: 2, SHA256: sum})
	if _, err := lock.Write(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	var asked lang.ExternalPlugin
	load := func(have []sdk.Plugin, problem error) (*lang.Pipeline, lang.Diagnostics) {
		asked = lang.ExternalPlugin{}
		return lang.Load([]string{name}, lang.Options{Plugins: have, Getenv: empty, External: func(p lang.ExternalPlugin) (sdk.Plugin, error) {
			asked = p
			return acme, problem
		}})
	}
	p, diags := load(plugins(), nil)
	p = must(t, p, diags)
	if want := (lang.ExternalPlugin{Name: "acme", Path: filepath.Join(filepath.Dir(name), "bin/acme"), SHA256: sum}); asked != want || p.Plugins[0] != want {
		t.Errorf("got %v and %v, want %v", asked, p.Plugins, want)
	}
	if string(p.Steps[0].Args) != `{"speed":3}` || p.Steps[0].Plugin != "acme" {
		t.Errorf("got %+v", p.Steps[0])
	}
	if _, diags = load(append(plugins(), acme), nil); !diags.HasErrors() {
		t.Error("two plugins of one name are accepted")
	}
	if _, diags = load(plugins(), errors.New("no such file")); !strings.Contains(shown(diags), "plugin acme does not answer: no such file") {
		t.Errorf("got:\n%s", shown(diags))
	}
	_, diags = load(plugins(), fmt.Errorf("start: %w", &lang.Refused{Problem: "it is another", Remedy: "put it back"}))
	if got := shown(diags); !strings.Contains(got, "plugin acme is not started: it is another\n") || !strings.Contains(got, "\n  put it back\n") {
		t.Errorf("got:\n%s", got)
	}

	// Nothing that the lock file does not list is even opened.
	for lock, want := range map[string]string{
		"": "plugin acme is not listed in ",
		"plugin \"acme\" {\n  executable \"plan9/mips\" {\n    version = \"1\"\n    size = 2\n    sha256 = \"" + sum + "\"\n  }\n}\n":                  "plugin acme is not listed in ",
		"plugin \"acme\" {\n  executable \"" + lang.Platform() + "\" {\n    version = \"1\"\n    size = 2\n    sha256 = \"" + sum[1:] + "\"\n  }\n}\n": "the sha256 of plugin acme",
		"<<<<<<< ours\n":      ".weir.lock.hcl",
		"plugin \"acme\" {\n": ".weir.lock.hcl",
	} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(name), lang.LockName), []byte(lock), 0o600); err != nil {
			t.Fatal(err)
		}
		_, diags := load(plugins(), nil)
		var b strings.Builder
		diags.Write(&b)
		if !diags.HasErrors() || !strings.Contains(b.String(), want) || asked != (lang.ExternalPlugin{}) {
			t.Errorf("lock file %q: asked for %v, want %s, got:\n%s", lock, asked, want, b.String())
		}
	}
}

// The lock file is written whole, in one order, and says the same when it is read again.
func TestLockFile(t *testing.T) {
	folder := t.TempDir()
	sums := []string{strings.Repeat("0a", 32), strings.Repeat("1b", 32), strings.Repeat("2c", 32)}
	var lock lang.Lock
	for _, x := range []lang.Locked{
		{Name: "zeta", Platform: "linux/arm64", Version: "2", Size: 1, SHA256: sums[2]},
		{Name: "acme", Platform: "linux/amd64", Version: "0.0.9", Size: 2, SHA256: sums[0]},
		{Name: "acme", Platform: "darwin/arm64", Version: "0.1.0", Size: 3, SHA256: sums[1]},
		{Name: "acme", Platform: "linux/amd64", Version: "0.1.0\x1b[2J${env(\"K\")}", Size: 4, SHA256: sums[2]},
	} {
		lock.Set(x)
	}
	if changed, err := lock.Write(folder); !changed || err != nil {
		t.Fatal(changed, err)
	}
	text, err := os.ReadFile(filepath.Join(folder, lang.LockName))
	if err != nil {
		t.Fatal(err)
	}
	want := `# Written by weir plugin lock: only these executables run as external plugins of the pipelines in this folder.
# Keep it with the pipelines, and look at what changes in it.

plugin "acme" {
  executable "darwin/arm64" {
    version = "0.1.0"
    size    = 3
    sha256  = "` + sums[1] + `"
  }
  executable "linux/amd64" {
    version = "0.1.0_[2J__env(_K_)_"
    size    = 4
    sha256  = "` + sums[2] + `"
  }
}

plugin "zeta" {
  executable "linux/arm64" {
    version = "2"
    size    = 1
    sha256  = "` + sums[2] + `"
  }
}
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Error(diff)
	}
	again, diags := lang.ReadLock(folder)
	if again.String() != string(text) || diags.HasErrors() {
		t.Errorf("read again:\n%s%s", again, shown(diags))
	}
	if changed, err := again.Write(folder); changed || err != nil {
		t.Errorf("written again: %v, %v", changed, err)
	}
	if left, _ := os.ReadDir(folder); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// The fingerprint changes with what the step does, and with nothing else.
func TestFingerprint(t *testing.T) {
	load := func(text string, env map[string]string) string {
		p, diags := lang.Load([]string{write(t, text)}, lang.Options{Plugins: plugins(), Getenv: environment(env)})
		return must(t, p, diags).Step("sink.kintone.log").Fingerprint
	}
	env := map[string]string{"S": "s", "T": "t", "WEIR_VAR_apps": "x"}
	text := head + fmt.Sprintf(log, "input = source.generate.gen\n  fields = { a = \"${record.id}${local.n}\" }")
	base := load(text, env)
	if got := load("# a comment\n\n"+text, env); got != base {
		t.Error("a comment changes it")
	}
	for name, other := range map[string]string{
		"expression": load(strings.Replace(text, "record.id}$", "record.seq}$", 1), env),
		"local":      load(strings.Replace(text, "n = 1", "n = 2", 1), env),
		"connection": load(strings.Replace(text, "127.0.0.1:1", "127.0.0.1:2", 1), env),
		"secret":     load(text, map[string]string{"S": "s", "T": "other", "WEIR_VAR_apps": "x"}),
	} {
		if other == base {
			t.Errorf("%s does not change it", name)
		}
	}
}
