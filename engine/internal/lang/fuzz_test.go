package lang_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

// spent is what one piece of work may take: time that a busy machine has, and what the rounds of two for expressions allocate.
type spent struct {
	start  time.Time
	before uint64
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

func spend() spent { return spent{time.Now(), allocated()} }

func (s spent) check(t *testing.T, what string, bytes int) {
	t.Helper()
	if took := time.Since(s.start); took > 10*time.Second {
		t.Errorf("%s of %d bytes took %v", what, bytes, took)
	}
	if took, most := allocated()-s.before, uint64(512<<20+50_000*bytes); took > most {
		t.Errorf("%s of %d bytes allocated %d, want at most %d", what, bytes, took, most)
	}
}

const fuzzSecret = "secret-of-the-environment-0123456789"

// FuzzLoad reads a pipeline file with a file of variables beside it.
func FuzzLoad(f *testing.F) {
	for _, name := range []string{"testdata/main.hcl", "testdata/ten.hcl"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), "corp_id = \"c\"\napp_raw = { \"1\" = 7 }\napp_log = [1, \"x\"]\nkintone_url = 5\n")
	}
	f.Add(head+chain(`fields = { x = record.files[*].name, y = file, z = receipt, "${record.id}" = record.body["a"][0] }`), "apps = env(\"S\")")
	f.Add("weir { name = null }\nvariable \"x\" { type = map(any) }\nlocals { a = var, b = local }\nsource \"generate\" \"g\" { count = null }", "x = {")
	f.Add("weir { name = \"x\" }\nvariable \"x\" { type = object({ a = optional(list(number), [1]) }) }\nsource \"generate\" \"g\" { count = var.x.a[0] }", "x = { a = null }")
	f.Add(head+"locals { x = "+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+" }", strings.Repeat("(", 2000))
	f.Add(head+"locals { x = "+strings.Repeat("!", 2000)+"true\n y = 1"+strings.Repeat("+1", 2000)+" }", "x = "+strings.Repeat("-", 2000)+"1")
	f.Add(head+"locals { x = \"${\"${\"${1e9999}\"}\"}\" }\nsource \"generate\" \"g2\" { count = 1e9999999 }\nsource \"generate\" \"g3\" { count = mib(1e-9999999) }", "a = 1e9999999")
	f.Add(head+"source \"generate\" \"g2\" { "+strings.Repeat("é = ${x}, ", 300)+" }", "")
	f.Add(head+"source \"generate\" \"g2\" {\n  count = length([for a in range(100) : [for b in range(10) : \"${a}${b}${env(\"S\")}\"]])\n}", "\x00")
	f.Add("weir {\n  name = env(\"S\")\n  timezone = env(\"S\")\n  lang = env(\"S\")\n  required_version = env(\"S\")\n  rescue = env(\"S\")\n}", "")
	f.Add("weir { name = \"t\" }\nvariable \"v\" {\n  type = number\n  default = env(\"S\")\n}\nlocals {\n  a = { \"${env(\"S\")}\" = 1 }\n  b = [1][env(\"S\")]\n  c = env(\"S\") + 1\n  d = keyring(env(\"S\"))\n}\n"+
		"source \"generate\" \"g\" { count = env(\"S\") }\nsource \"file\" \"h\" { path = file(env(\"S\")) }\nsource \"file\" \"i\" { path = env(env(\"S\")) }\n", "v = 1")
	f.Add(head+"sink \"kintone\" \"log\" {\n  input = env(\"S\")\n  after = [env(\"S\")]\n  connection = env(\"S\")\n  order = env(\"S\")\n  on_owed = env(\"S\")\n  app = env(\"S\")\n  enabled = env(\"S\")\n"+
		"  mode = env(\"S\")\n  ids = env(\"S\")\n  key = env(\"S\")\n  token = env(\"T\")\n  batch {\n    max_wait = env(\"S\")\n    max_bytes = env(\"S\")\n  }\n  limit {\n    rate = env(\"S\")\n  }\n  retry {\n    within = env(\"S\")\n  }\n}\nmoved {\n  from = env(\"S\")\n  to = env(\"S\")\n}", "")
	f.Add(head+"connection \"wecom\" \"b\" {\n  corp_id = keyring(env(\"S\"))\n  secret = env(\"S\").x\n  client = env(\"S\")\n}\nsource \"wecom_chat\" \"c\" {\n  connection = connection.wecom.b\n  every = env(\"S\")\n  holes {\n    again = [env(\"S\")]\n  }\n}", "")
	f.Add(head+"locals {\n  a = [for a in range(9) : [for b in range(9) : [for c in range(9) : a if c > 1]]]\n  b = \"%{ for a in range(9) }%{ for b in range(9) }x%{ endfor }%{ endfor }\"\n}", "x = [for a in [1, 2] : a]")
	f.Add(head+block(`"kintone"`, "  hold = env(\"S\")\n  key = env(\"S\")")+chain("order = \"key\"\n  effect = \"once\"\n  on_unknown = env(\"S\")"), "")
	dir := f.TempDir()
	env := environment(map[string]string{"S": fuzzSecret, "T": fuzzSecret, "WEIR_STATE_KEY": fuzzSecret, "WECOM_CHAT_SECRET": fuzzSecret, "WEIR_VAR_app_raw": `{"1":2}`})
	f.Fuzz(func(t *testing.T, text, variables string) {
		name, vars := filepath.Join(dir, "p.hcl"), filepath.Join(dir, "p.weirvars")
		put(t, name, text)
		put(t, vars, variables)
		for _, static := range []bool{true, false} {
			s := spend()
			p, diags := lang.Load([]string{name}, lang.Options{Plugins: plugins(), Static: static, Getenv: env, Version: "0.3.1"})
			s.check(t, "loading", len(text)+len(variables))
			if (p == nil) != diags.HasErrors() {
				t.Errorf("pipeline %v with %d diagnostics", p, len(diags))
			}
			checkDiagnostics(t, diags, map[string]string{name: text, vars: variables})
			if p == nil {
				continue
			}
			for _, s := range p.Steps {
				if s.Args != nil && !json.Valid(s.Args) {
					t.Errorf("%s: arguments are no JSON: %s", s.Address, s.Args)
				}
				checkRow(t, s, record{}, "")
			}
		}
	})
}

// checkDiagnostics wants each to name a place that is there, in a few words, and no secret.
func checkDiagnostics(t *testing.T, diags lang.Diagnostics, files map[string]string) {
	for _, d := range diags {
		text, known := files[d.File]
		lines := strings.Count(text, "\n") + 1
		switch {
		case d.Problem == "" || len(d.Problem) > 10_000+len(text) || len(d.Snippet) > 2000 || len(d.Remedy) > 10_000+len(text):
			t.Errorf("got %+v", d)
		case d.File == "" && d.Problem != "there is no weir block" && d.Problem != "the pipeline has no steps":
			t.Errorf("%s: in no file", d.Problem)
		case d.File != "" && (!known || d.Line < 1 || d.Line > lines || d.Column < 1):
			t.Errorf("%s: at %s:%d:%d, a file of %d lines", d.Problem, d.File, d.Line, d.Column, lines)
		}
	}
	var text, array bytes.Buffer
	diags.Write(&text)
	diags.WriteJSON(&array)
	if !json.Valid(array.Bytes()) {
		t.Errorf("no JSON: %s", array.Bytes())
	}
	if strings.Contains(text.String()+array.String(), fuzzSecret) {
		t.Errorf("a secret is shown:\n%s", text.String())
	}
}

// checkRow evaluates all that a step wants to know of a record. What goes wrong is told in our words, without the record's.
func checkRow(t *testing.T, s *lang.Step, rec record, secret string) {
	t.Helper()
	told := func(err error) {
		if err != nil && (len(err.Error()) > 2000 || secret != "" && strings.Contains(err.Error(), secret)) {
			t.Errorf("%s: the error says %.500q", s.Address, err)
		}
	}
	r := receipts("delivered", 0)
	_, err := s.Wants(rec, r)
	told(err)
	files, err := s.WantedFiles(rec, r)
	told(err)
	for i, file := range files {
		if file < 0 || file >= len(rec.r.Files) || i > 0 && file <= files[i-1] {
			t.Errorf("%s: wants files %v of %d", s.Address, files, len(rec.r.Files))
		}
	}
	_, err = s.About(rec)
	told(err)
	got, err := s.RowArgs(rec, r)
	told(err)
	if err == nil && got != nil && !json.Valid(got) {
		t.Errorf("%s: no JSON: %.500q", s.Address, got)
	}
}

// FuzzExpression evaluates an expression that an author may have written for a record that a stranger may have sent.
func FuzzExpression(f *testing.F) {
	const body = `{"msgtype":"text","n":1e9999999,"s":"1e9999999","deep":[[[1]]],"list":[1,"a",null,{"x":true}],"content":"a\ud800é","content":"said in confidence 0123456789"}`
	for _, expr := range []string{
		`record.body`, `record.body.s * 1`, `[for v in record.body.list : v]`, `"${record.body.content}-${record.files[0].name}"`,
		`jsondecode(record.body.content)`, `tonumber(record.body.s)`, `formatdate("YYYY-MM-DD'T'hh:mm", local_time(record.time))`,
		`try(record.body.none.x, record.body["list"][3].x, 1)`, `{ for k, v in record.body : k => v if k != "n" }`, `record.files[*].size`,
		`regexreplace(record.body.content, "(a+)+$", "$1")`, `status(record, receipt.oss.large)`, `since({ "1" = 2 }, record.seq)`, `mib(record.body.n)`,
		`substr(record.body.content, -3, 2)`, `join(record.body.s, [for f in record.files : f.name])`, `record.body.list[record.seq]`, `keys(record.body)`,
		`urlencode(record.meta.x)`, `split("", record.body.content)`, `format("%s %5.2f %v", record.id, record.seq, record.body.list)`, `zipmap(keys(record.body), values(record.body))`,
	} {
		f.Add(expr, body, "a/b.jpg", uint64(1500))
	}
	f.Add(`[for a in record.body : [for b in record.body : [for c in range(5) : { for k, v in { x = a } : k => v if b != c }]]]`, "["+strings.Repeat("1,", 40)+"1]", "", uint64(1))
	f.Add(`record.body.content`, strings.Repeat("[", 20_000)+strings.Repeat("]", 20_000), "\xff", uint64(0))
	f.Add(`jsondecode(record.meta.deep)`, `{"a":1}`, strings.Repeat("[", 20_000), uint64(math.MaxUint64))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, expr, body, name string, seq uint64) {
		if len(expr) > 4096 {
			return
		}
		file := filepath.Join(dir, "p.hcl")
		put(t, file, "weir { name = \"t\" }\nsource \"file\" \"g\" { path = \"in\" }\nsink \"oss\" \"large\" {\n  input = source.file.g\n  connection = connection.oss.o\n  key = \"k\"\n}\n"+
			"connection \"oss\" \"o\" {\n  endpoint = \"http://127.0.0.1:1\"\n  bucket = \"b\"\n}\nsink \"file\" \"f\" {\n  input = source.file.g\n  path = \"x\"\n  line = (\n"+expr+"\n)\n}\n")
		s := spend()
		p, _ := lang.Load([]string{file}, lang.Options{Plugins: plugins(), Getenv: empty})
		if p == nil || p.Step("sink.file.f") == nil {
			return
		}
		rec := message()
		rec.r.Body, rec.r.Seq, rec.r.Files[0].Name = []byte(body), seq, name
		rec.r.Meta = map[string]string{"x": name, "deep": name}
		const secret = "said in confidence 0123456789"
		if strings.Contains(expr, secret[:9]) {
			return
		}
		checkRow(t, p.Step("sink.file.f"), rec, secret)
		s.check(t, "evaluating", len(expr)*20+len(body)+len(name))
	})
}

// FuzzFunctions gives functions whatever text a stranger chose, and holds them against the standard library.
func FuzzFunctions(f *testing.F) {
	for _, s := range []string{"a/b", "con.txt", "..", "", "\u202e", strings.Repeat("é.", 120), "\xff", "e\u0301", "\u200b.\u200b.", "\n\u0300", "a\x00b", `\\.\pipe`, strings.Repeat("a", 195) + ".tar.gz"} {
		f.Add(s, int64(1_600_000_000), uint32(5), int64(3))
	}
	f.Add("x", int64(-62135596801), uint32(999_999_999), int64(math.MaxInt64))
	f.Add("Asia/Shanghai", int64(253402300800), uint32(0), int64(-1))
	load := func(lines string) *lang.Step {
		p, diags := lang.Load([]string{write(f, "weir {\n  name = \"t\"\n  timezone = \"Asia/Shanghai\"\n}\nsource \"file\" \"g\" { path = \"in\" }\nsink \"file\" \"f\" {\n  input = source.file.g\n  path = \"x\"\n  line = "+lines+"\n}\n")},
			lang.Options{Plugins: plugins(), Getenv: empty})
		return must(f, p, diags).Step("sink.file.f")
	}
	step := load(`{
    safe  = safename(record.files[0].name)
    date  = try(formatdate("YYYY-MM-DD'T'hh:mm:ssZ", record.time), null)
    local = try(local_time(record.time), null)
    mib   = mib(record.body.n)
    b64   = base64decode(base64encode(record.body.s))
    json  = jsondecode(jsonencode(record.body.s))
    parts = join("/", split("/", record.body.s))
    lower = lower(upper(record.body.s)) == lower(record.body.s)
    size  = length(record.body.s)
    since = since({ "0" = "first", "1000" = "later" }, record.seq)
  }`)
	zone, err := time.LoadLocation("Asia/Shanghai")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string, seconds int64, nanos uint32, n int64) {
		at := time.Unix(seconds, int64(nanos%1e9)).UTC()
		body, err := json.Marshal(map[string]any{"s": text, "n": n})
		if err != nil {
			t.Fatal(err)
		}
		rec := record{sdk.Record{ID: "r", Seq: uint64(max(n, 1)), Time: at, Body: body, Files: []sdk.File{{Name: text, Size: -1, SizeClaimed: -1}}}}
		raw, err := step.RowArgs(rec, nil)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		var got struct {
			Line struct {
				Safe, B64, JSON, Parts, Since string
				Date, Local                   *string
				MiB                           json.Number
				Size                          int
			}
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%v in %s", err, raw)
		}
		checkSafe(t, text, got.Line.Safe)
		rec.r.Files[0].Name = got.Line.Safe
		if again, err := step.RowArgs(rec, nil); err != nil || !bytes.Contains(again, []byte(`"safe":`+quoted(got.Line.Safe))) {
			t.Errorf("%q: %q becomes %s, %v", text, got.Line.Safe, again, err)
		}
		if year := at.Year(); year >= 1 && year < 9999 {
			if got.Line.Date == nil || *got.Line.Date != at.In(zone).Format("2006-01-02T15:04:05Z07:00") && *got.Line.Date != at.In(zone).Format("2006-01-02T15:04:05-0700") {
				t.Errorf("%v: got date %v", at, got.Line.Date)
			}
			if got.Line.Local == nil {
				t.Errorf("%v has no local time", at)
			} else if local, err := time.Parse(time.RFC3339Nano, *got.Line.Local); err != nil || seconds >= 0 && !local.Equal(at) {
				t.Errorf("%v: got local time %s, %v", at, *got.Line.Local, err)
			}
		}
		if want := fmt.Sprint(n) + "*"; n > math.MinInt64/(1<<20) && n < math.MaxInt64/(1<<20) && got.Line.MiB.String() != fmt.Sprint(n<<20) {
			t.Errorf("mib(%s): got %s", want, got.Line.MiB)
		}
		valid := strings.ToValidUTF8(text, "\uFFFD")
		for what, s := range map[string]string{"base64": got.Line.B64, "json": got.Line.JSON, "split and join": got.Line.Parts} {
			if utf8.RuneCountInString(text) < 100 && isASCII(text) && s != valid {
				t.Errorf("%s: %q becomes %q", what, text, s)
			}
		}
		if isASCII(text) && got.Line.Size != strings.Count(text, "")-1-strings.Count(text, "\r\n") {
			t.Errorf("length of %q: got %d", text, got.Line.Size)
		}
		if want := map[bool]string{true: "later", false: "first"}[rec.r.Seq >= 1000]; got.Line.Since != want {
			t.Errorf("since(%d): got %s, want %s", rec.r.Seq, got.Line.Since, want)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// checkSafe wants one element of a path that every system takes.
func checkSafe(t *testing.T, name, got string) {
	t.Helper()
	bad := func(r rune) bool {
		return strings.ContainsRune(`/\<>:"|?*`, r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\u202e'
	}
	stem, _, _ := strings.Cut(strings.ToLower(got), ".")
	if got == "" || len(got) > 200 || !utf8.ValidString(got) || strings.ContainsFunc(got, bad) || strings.HasSuffix(got, ".") || got != strings.TrimSpace(got) ||
		slices.Contains([]string{"con", "prn", "aux", "nul", "com1", "lpt1"}, stem) || filepath.Base(got) != got || !filepath.IsLocal(got) {
		t.Errorf("%q: got %q", name, got)
	}
}
