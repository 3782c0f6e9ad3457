package lang_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-etl/weir/engine/internal/lang"
)

// functions has a row, at least one, for every function of the language.
var functions = []struct{ expr, want string }{
	{`abs(-2)`, `2`},
	{`base64decode("aGk=")`, `"hi"`},
	{`base64encode("hi")`, `"aGk="`},
	{`can(tonumber("x"))`, `false`},
	{`ceil(1.2)`, `2`},
	{`chomp("a\n")`, `"a"`},
	{`coalesce(null, "", "b")`, `""`},
	{`coalescelist([], ["a"])`, `["a"]`},
	{`compact(["a", "", "b"])`, `["a","b"]`},
	{`concat(["a"], ["b"])`, `["a","b"]`},
	{`contains(["a"], "a")`, `true`},
	{`distinct(["a", "b", "a"])`, `["a","b"]`},
	{`element(["a", "b"], 1)`, `"b"`},
	{`endswith("abc", "bc")`, `true`},
	{`env("HOME_OF_TEST")`, `"here"`},
	{`env("NOT_THERE", "else")`, `"else"`},
	{`file("note.txt")`, `"text"`},
	{`flatten([["a"], ["b"]])`, `["a","b"]`},
	{`floor(1.8)`, `1`},
	{`format("%s-%03d", "a", 7)`, `"a-007"`},
	{`formatdate("YYYY/MM/DD hh:mm Z", "2026-01-01T15:30:00Z")`, `"2026/01/02 00:30 +09:00"`},
	{`formatlist("%s!", ["a"])`, `["a!"]`},
	{`gib(1)`, `1073741824`},
	{`join("/", ["a", "b"], ["c"])`, `"a/b/c"`},
	{`join("/", null)`, `""`},
	{`jsondecode("{\"a\":[1]}")`, `{"a":[1]}`},
	{`jsonencode({ a = [1] })`, `"{\"a\":[1]}"`},
	{`jsondecode(jsonencode("\n\u0300\U0001F600"))`, "\"\\n\u0300\U0001F600\""},
	{`keys({ b = 1, a = 2 })`, `["a","b"]`},
	{`length(keyring("v*.pem"))`, `1`},
	{`kib(2)`, `2048`},
	{`length("你好")`, `2`},
	{`length([1, 2])`, `2`},
	{`length({ a = 1 })`, `1`},
	{`length(null)`, `0`},
	{`local_time("2026-01-01T15:30:00.5Z")`, `"2026-01-02T00:30:00.5+09:00"`},
	{`lookup({ a = 1 }, "b", 2)`, `2`},
	{`lower("AbC")`, `"abc"`},
	{`max(1, 3, 2)`, `3`},
	{`md5("a")`, `"0cc175b9c0f1b6a831c399e269772661"`},
	{`merge({ a = 1 }, { b = 2 })`, `{"a":1,"b":2}`},
	{`mib(10)`, `10485760`},
	{`mib(0.5)`, `524288`},
	{`min(1, 3)`, `1`},
	{`parseint("ff", 16)`, `255`},
	{`pow(2, 10)`, `1024`},
	{`range(3)`, `[0,1,2]`},
	{`regex("[0-9]+", "ab12")`, `"12"`},
	{`regexall("[0-9]", "a1b2")`, `["1","2"]`},
	{`regexreplace("a1b2", "[0-9]", "_")`, `"a_b_"`},
	{`replace("a/b", "/", "-")`, `"a-b"`},
	{`reverse(["a", "b"])`, `["b","a"]`},
	{`safename("../a:b?.txt")`, `".._a_b_.txt"`},
	{`sha256("a")`, `"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"`},
	{`signum(-3)`, `-1`},
	{`since({ "1" = "a", "10" = "b", "9" = "c" }, 9)`, `"c"`},
	{`since({ "1" = "a", "10" = "b", "9" = "c" }, 10000)`, `"b"`},
	{`since({ "0" = 1 }, 0)`, `1`},
	{`slice(["a", "b", "c"], 1, 2)`, `["b"]`},
	{`sort(["b", "a"])`, `["a","b"]`},
	{`split(",", "a,b")`, `["a","b"]`},
	{`startswith("abc", "ab")`, `true`},
	{`status(record)`, `"FINISHED"`},
	{`strcontains("abc", "b")`, `true`},
	{`substr("你好吗", 1, 1)`, `"好"`},
	{`timeadd("2026-01-01T00:00:00Z", "90m")`, `"2026-01-01T01:30:00Z"`},
	{`title("ab cd")`, `"Ab Cd"`},
	{`tobool("true")`, `true`},
	{`tolist(["a"])`, `["a"]`},
	{`tomap({ a = 1 })`, `{"a":1}`},
	{`tonumber("1.50")`, `1.5`},
	{`toset(["a", "a"])`, `["a"]`},
	{`tostring(5)`, `"5"`},
	{`trim("--a--", "-")`, `"a"`},
	{`trimprefix("v1", "v")`, `"1"`},
	{`trimspace(" a ")`, `"a"`},
	{`trimsuffix("a.hcl", ".hcl")`, `"a"`},
	{`try(tonumber("x"), 5)`, `5`},
	{`upper("a")`, `"A"`},
	{`urlencode("a b/ü")`, `"a+b%2F%C3%BC"`},
	{`values({ b = 1, a = 2 })`, `[2,1]`},
	{`zipmap(["a"], [1])`, `{"a":1}`},
}

func TestFunctions(t *testing.T) {
	for _, row := range functions {
		got, err := line(t, row.expr, record{})
		if err != nil || got != row.want {
			t.Errorf("%s: got %s, %v, want %s", row.expr, got, err, row.want)
		}
	}
}

// A function that is added without a row here is found.
func TestEveryFunctionHasARow(t *testing.T) {
	text, err := os.ReadFile("functions.go")
	if err != nil {
		t.Fatal(err)
	}
	body, _, _ := strings.Cut(string(text), "// localTime")
	var names []string
	for _, m := range regexp.MustCompile(`"([a-z0-9_]+)":\s`).FindAllStringSubmatch(body, -1) {
		names = append(names, m[1])
	}
	if len(names) < 60 {
		t.Fatalf("only %d functions found", len(names))
	}
	for _, name := range names {
		if !slices.ContainsFunc(functions, func(row struct{ expr, want string }) bool { return strings.Contains(row.expr, name+"(") }) {
			t.Errorf("%s has no row", name)
		}
	}
}

func TestFunctionMistakes(t *testing.T) {
	for expr, want := range map[string]string{
		`since({ "10" = 1 }, 9)`:       "since() finds no key that is not above the number",
		`since({ x = 1 }, 9)`:          "a key in the map of since() is not a number",
		`since("x", 9)`:                "since() wants a map of values by number",
		`since({ "1" = 1 }, null)`:     "since() needs a number, and this record has none",
		`mib(0.0000001)`:               "this is not a whole number of bytes",
		`formatdate("YYYY", "monday")`: "this is not a time",
		`local_time("")`:               "this is not a time",
		`env("A", "b", "c")`:           "env() takes a name and perhaps a default",
		`file("none.txt")`:             "file ",
		`length(5)`:                    "length() wants a list, an object or a string",
		`join(",", ["a", null])`:       "join() cannot join a list that holds null",
		`base64decode("%")`:            "this is not base64 of a text",
		`keyring("[")`:                 `keyring: "[" is not a pattern of file names`,
	} {
		_, diags := lang.Load([]string{write(t, "weir { name = \"t\" }\nsource \"generate\" \"g\" {}\nsink \"file\" \"f\" {\n  input = source.generate.g\n  path = tostring("+expr+")\n}\n")},
			lang.Options{Plugins: plugins(), Getenv: empty})
		if len(diags) != 1 || !strings.HasPrefix(diags[0].Problem, want) || diags[0].Line != 5 {
			t.Errorf("%s: got:\n%swant: %s", expr, shown(diags), want)
		}
	}
}

// safe names a file of this name through the language.
func safe(t *testing.T, s *lang.Step, name string) string {
	t.Helper()
	rec := message()
	rec.r.Files[0].Name = name
	got, err := s.RowArgs(rec, nil)
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Line string }
	if err := json.Unmarshal(got, &v); err != nil {
		t.Fatal(err)
	}
	return v.Line
}

func safeStep(t testing.TB) *lang.Step {
	p, diags := lang.Load([]string{write(t, "weir { name = \"t\" }\nsource \"generate\" \"g\" {}\nsink \"file\" \"f\" {\n  input = source.generate.g\n  path = \"x\"\n  line = safename(record.files[0].name)\n}\n")},
		lang.Options{Plugins: plugins(), Getenv: empty})
	return must(t, p, diags).Step("sink.file.f")
}

func TestSafeName(t *testing.T) {
	s := safeStep(t)
	long := strings.Repeat("长", 100)
	for name, want := range map[string]string{
		"report.pdf":                      "report.pdf",
		"报告 final.pdf":                    "报告 final.pdf",
		"":                                "file",
		".":                               "file",
		"..":                              "file",
		"...  ":                           "file",
		" \t":                             "_",
		"../../etc/passwd":                ".._.._etc_passwd",
		`C:\a\b.txt`:                      "C__a_b.txt",
		"a\x00b\x1f\x7f\u0085.txt":        "a_b___.txt",
		"a\r\nb":                          "a__b",
		"\u202egnp.exe":                   "gnp.exe",
		"a\u2066b\u2069\u200f\ufeff.txt":  "ab.txt",
		"\U000e0041x":                     "x",
		"CON":                             "_CON",
		"con.txt":                         "_con.txt",
		"NUL.tar.gz":                      "_NUL.tar.gz",
		"COM1":                            "_COM1",
		"LPT².x":                          "_LPT².x",
		"console.log":                     "console.log",
		"a. . ":                           "a",
		"cafe\u0301":                      "café",
		"e\u200b\u0301":                   "é",
		"a\xffb":                          "a_b",
		".profile":                        ".profile",
		`what? "x" <y>|*`:                 "what_ _x_ _y___",
		strings.Repeat("a", 300):          strings.Repeat("a", 200),
		long + ".jpeg":                    strings.Repeat("长", 65) + ".jpeg",
		strings.Repeat(".", 300) + "jpg":  "file.jpg",
		"x." + strings.Repeat("y", 300):   "x." + strings.Repeat("y", 198),
		strings.Repeat("a ", 150) + ".gz": strings.TrimSpace(strings.Repeat("a ", 99)) + ".gz",
	} {
		if got := safe(t, s, name); got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}
