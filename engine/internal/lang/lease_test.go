package lang_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

// block is a lease block from line 11, with its connection and token, and more from line 15 on.
func block(labels, more string) string {
	return "lease " + labels + " {\n  connection = connection.kintone.k\n  app = 20\n  token = env(\"T\")\n" + more + "\n}\n"
}

func TestLease(t *testing.T) {
	env := environment(map[string]string{"T": "tok", "S": "s"})
	read := func(text string) *lang.Pipeline {
		t.Helper()
		p, diags := lang.Load([]string{write(t, head+text)}, lang.Options{Plugins: plugins(), Getenv: env})
		return must(t, p, diags)
	}
	if p := read(""); p.Lease != nil {
		t.Errorf("without a block: %+v", p.Lease)
	}
	l := read(block(`"kintone"`, "")).Lease
	if l.Address != "lease.kintone" || l.Hold != 10*time.Minute || l.Plugin != "kintone" || l.Connection.Address != "connection.kintone.k" {
		t.Errorf("got %+v", l)
	}
	if want := `{"app":20,"key":"lease","token":"tok"}`; string(l.Args) != want {
		t.Errorf("arguments %s, want %s: what is the engine's own is none of the plugin's", l.Args, want)
	}
	l = read(block(`"kintone" "one_engine"`, "  hold = \"90s\"\n  key = \"run_id\"")).Lease
	if l.Address != "lease.kintone.one_engine" || l.Hold != 90*time.Second || !strings.Contains(string(l.Args), `"key":"run_id"`) {
		t.Errorf("got %+v, %s", l, l.Args)
	}
	if p := read(block(`"kintone"`, "  enabled = false")); p.Lease != nil {
		t.Errorf("disabled: %+v", p.Lease)
	}
	if p := read("lease \"kintone\" {\n enabled = local.n > 1\n connection = connection.kintone.k\n app = 0\n token = env(\"NOT_THERE\")\n}\n"); p.Lease != nil {
		t.Errorf("disabled, and without its token: %+v", p.Lease)
	}
}

func TestLeaseMistakes(t *testing.T) {
	for _, row := range []struct {
		name, text string
		want       []string // "line: problem | remedy", both may be the beginning only
	}{
		{"fine", block(`"kintone"`, ""), nil},
		{"no type", "lease {}", []string{`11: a lease block has 1 labels, not 0 | write: lease "TYPE" { … }`}},
		{"unknown type", `lease "kintome" {}`, []string{`11: no plugin keeps a lease in "kintome" | did you mean kintone?`}},
		{"type without leases", `lease "oss" "x" {}`, []string{`11: no plugin keeps a lease in "oss" | a lease can be kept in: kintone`}},
		{"two", block(`"kintone"`, "") + block(`"kintone" "b"`, ""), []string{`17: a second lease block, after the one in line 11 | keep one of them`}},
		{"empty", `lease "kintone" {}`, []string{
			`11: lease.kintone needs a connection of type kintone | write: connection = connection.kintone.NAME`,
			`11: lease.kintone needs an argument "app" | write: app = 10`, `11: lease.kintone needs an argument "token" | write: token = env("TOKEN")`}},
		{"connection", strings.Replace(block(`"kintone"`, ""), "connection.kintone.k", "connection.wecom.a", 1),
			[]string{`12: lease.kintone needs a connection of type kintone, and connection.wecom.a is of type wecom | write: connection.kintone.NAME`}},
		{"literal token", strings.Replace(block(`"kintone"`, ""), `env("T")`, `"tok"`, 1),
			[]string{`14: lease.kintone: token is a secret and must not stand in the file | write: token = env("TOKEN")`}},
		{"argument", block(`"kintone"`, "  holt = \"5m\""), []string{`15: lease.kintone has no argument "holt" | did you mean hold?`}},
		{"hold", block(`"kintone"`, "  hold = \"ten\""), []string{`15: lease.kintone: hold wants a duration`}},
		{"short hold", block(`"kintone"`, "  hold = \"59s\""), []string{`15: lease.kintone: hold is out of range | write a duration from "1m" to "6h"`}},
		{"long hold", block(`"kintone"`, "  hold = \"7h\""), []string{`15: lease.kintone: hold is out of range`}},
		{"record", strings.Replace(block(`"kintone"`, ""), "app = 20", "app = record.seq", 1), []string{`13: app is evaluated once, before any record is there`}},
		{"disabled connection", "connection \"kintone\" \"off\" {\n  enabled = false\n  url = \"x\"\n}\n" + strings.Replace(block(`"kintone"`, ""), "kintone.k\n", "kintone.off\n", 1),
			[]string{"16: lease.kintone is enabled and its connection connection.kintone.off is not"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, diags := lang.Load([]string{write(t, head+row.text+"\n")}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
			var got bytes.Buffer
			diags.Write(&got)
			if len(diags) != len(row.want) {
				t.Fatalf("got %d diagnostics, want %d:\n%s", len(diags), len(row.want), got.String())
			}
			for i, d := range diags {
				problem, remedy, _ := strings.Cut(row.want[i], " | ")
				if !strings.HasPrefix(fmt.Sprintf("%d: %s", d.Line, d.Problem), problem) || !strings.HasPrefix(d.Remedy, remedy) {
					t.Errorf("got:\n%swant: %s", got.String(), row.want[i])
				}
			}
			if strings.Contains(got.String(), `"tok"`) {
				t.Errorf("a literal secret is shown:\n%s", got.String())
			}
		})
	}
}

// made is a record of which nothing is known but what a survey needs.
type made struct {
	seq   uint64
	files []sdk.File
}

func (made) ID() string          { return "made-up" }
func (m made) Seq() uint64       { return m.seq }
func (made) Key() string         { return "" }
func (made) Kind() string        { return "" }
func (made) Time() time.Time     { return time.Time{} }
func (made) Body() []byte        { return nil }
func (made) Meta(string) string  { return "" }
func (m made) Files() []sdk.File { return m.files }

// A sample holds what does not need a body: where the seq and the status of a record go.
func TestSample(t *testing.T) {
	p, _, _ := mainPipeline(t, oss)
	type sample struct {
		App    int64
		Key    map[string]any
		Fields map[string]any
	}
	read := func(step string, rec made) (s sample) {
		t.Helper()
		raw := p.Step(step).Sample(rec)
		if err := json.Unmarshal(raw, &s); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		return s
	}
	if got := read("sink.kintone.raw", made{seq: 5}); got.App != 101 || got.Key["seq"] != 5.0 {
		t.Errorf("raw: %+v", got)
	}
	if got := read("sink.kintone.raw", made{seq: 1 << 40}); got.App != 131 || got.Key["seq"] != float64(1<<40) {
		t.Errorf("raw in the second app: %+v", got)
	}
	got := read("sink.kintone.log", made{seq: 5, files: []sdk.File{{Outcome: sdk.FileWaiting, Size: -1, SizeClaimed: -1}}})
	if got.App != 201 || got.Key["msgid"] != "made-up" || got.Fields["status"] != "FILE_WAITING" {
		t.Errorf("log: %+v", got)
	}
	if d := cmp.Diff(got.Fields["content"], nil); d != "" {
		t.Errorf("content of a body that is not there:\n%s", d)
	}
}
