package lang_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
)

// What is compiled is held against what cty makes of the same expression and the same record: the same bytes, or the same error.

const compiledPipeline = `weir {
  name     = "t"
  timezone = "Asia/Shanghai"
}
variable "corp" { default = "ww1" }
variable "apps" { default = { "1" = 101, "1000" = 131, "0100" = "x" } }
variable "numbers" {
  type    = map(number)
  default = { "1" = 101, "01" = 102, "1001" = 131 }
}
locals {
  large = mib(10)
  yes   = true
  none  = null
  half  = 0.5
  names = ["a", "b", "é"]
}
connection "oss" "o" {
  endpoint = "http://127.0.0.1:1"
  bucket   = "b"
}
source "file" "s" { path = "in" }
transform "parse" "p" { input = source.file.s }
sink "oss" "large" {
  input      = [source.file.s, transform.parse.p]
  connection = connection.oss.o
  ids        = "global"
  key        = file.name
}
sink "file" "f" {
  input = [source.file.s, transform.parse.p]
  path  = "x"
  line  = [record.id, receipt.oss.large.state]
}
`

// dice makes expressions and records of what decides.
type dice struct{ *rand.Rand }

func (d dice) of(list ...string) string { return list[d.IntN(len(list))] }

func (d dice) one(f ...func() string) string { return f[d.IntN(len(f))]() }

// body is a path into the body: published of several types, and not.
func (d dice) body() string {
	return "record.body." + d.of("msgtype", "from", "roomid", "content", "action", "tolist", "msgtime_ms", "extra", "a", "b", "o.x", "o.y.z", "o", "from.x", `tolist[0]`, `a[0]`, `a[1].id`, "tolist.x", `o["x"]`)
}

func (d dice) boolean(depth int) string {
	if depth <= 0 {
		return d.one(d.body, func() string {
			return d.of("true", "false", "local.yes", "record.files[0].has_bytes", "null", "file.has_bytes")
		})
	}
	depth--
	return d.one(
		func() string { return d.any(depth) + d.of(" == ", " != ") + d.any(depth) },
		func() string { return d.text(depth) + d.of(" == ", " != ") + d.text(depth) },
		func() string {
			return d.body() + d.of(" == ", " != ") + d.of("null", `"a"`, "1", `"recall"`, "true", `""`)
		},
		func() string {
			return d.number(depth) + d.of(" < ", " <= ", " > ", " >= ", " == ", " != ") + d.number(depth)
		},
		func() string { return "(" + d.boolean(depth) + d.of(" && ", " || ") + d.boolean(depth) + ")" },
		func() string { return "(" + d.boolean(depth) + d.of(" && ", " || ") + d.any(depth) + ")" },
		func() string { return "!" + "(" + d.boolean(depth) + ")" },
		func() string {
			return "(" + d.boolean(depth) + " ? " + d.boolean(depth) + " : " + d.boolean(depth) + ")"
		},
		func() string {
			return d.of("startswith", "endswith", "strcontains") + "(" + d.text(depth) + ", " + d.text(depth) + ")"
		},
		func() string { return "try(" + d.boolean(depth) + ", " + d.boolean(depth) + ")" },
		func() string { return "can(" + d.any(depth) + ")" },
	)
}

func (d dice) number(depth int) string {
	if depth <= 0 {
		return d.one(d.body, func() string {
			return d.of("record.seq", "1", "0", "10", "1000", "local.large", "local.half", "-3", "record.files[0].size", "record.files[1].size_claimed", "record.files[2].index",
				"9223372036854775807", "4611686018427387904", "1e30", "null", "file.size", "record.body.msgtime_ms")
		})
	}
	depth--
	return d.one(
		func() string {
			return "(" + d.number(depth) + d.of(" + ", " - ", " * ", " / ", " % ") + d.number(depth) + ")"
		},
		func() string { return "length(" + d.any(depth) + ")" },
		func() string {
			return "since(" + d.of("var.apps", "var.numbers", `{ "5" = 1 }`, `{ "5" = null }`) + ", " + d.number(depth) + ")"
		},
		func() string { return "-(" + d.number(depth) + ")" },
		func() string { return "(" + d.boolean(depth) + " ? " + d.number(depth) + " : " + d.number(depth) + ")" },
		func() string { return "try(" + d.number(depth) + ", " + d.number(depth) + ")" },
		func() string { return "mib(" + d.number(depth) + ")" },
	)
}

func (d dice) text(depth int) string {
	if depth <= 0 {
		return d.one(d.body, func() string {
			return d.of("record.id", "record.key", "record.kind", "record.time", "record.meta.flags", "record.meta.x", `"a"`, `""`, `"é"`, "\"e\u0301\"", "\"\u0301\"", `"recall"`, "var.corp",
				"record.files[0].name", "record.files[0].outcome", "record.files[1].md5", "file.name", "file.sha256", "receipt.oss.large.state", "receipt.oss.large.code", "receipt.oss.large.urls[0]", "local.none")
		})
	}
	depth--
	return d.one(
		func() string { return `"${` + d.any(depth) + `}"` },
		func() string { return `"x${` + d.text(depth) + `}-${` + d.any(depth) + `}"` },
		func() string { return `"${` + d.text(depth) + `}${` + d.text(depth) + `}"` },
		func() string { return `"${` + d.number(depth) + `}-${` + d.text(depth) + "}\u0301\"" },
		func() string { return "join(" + d.of(`"/"`, `"\n"`, "record.id") + ", " + d.list(depth) + ")" },
		func() string { return "join(\",\", " + d.any(depth) + ")" },
		func() string {
			return d.of("safename", "md5", "urlencode", "base64encode", "sha256", "lower") + "(" + d.any(depth) + ")"
		},
		func() string {
			return "formatdate(" + d.of(`"YYYY/MM/DD"`, `"YYYY-MM-DD hh:mm:ss"`, `"YY"`, `"M"`, `"MMM"`, `"'a'DD"`, `"a"`, `"年"`, `"2006"`, `""`) + ", " + d.one(func() string { return "record.time" }, func() string { return d.text(depth) }) + ")"
		},
		func() string { return "(" + d.boolean(depth) + " ? " + d.text(depth) + " : " + d.any(depth) + ")" },
		func() string { return "(" + d.boolean(depth) + " ? " + d.text(depth) + " : " + d.text(depth) + ")" },
		func() string { return "try(" + d.any(depth) + ", " + d.text(depth) + ")" },
		func() string { return d.of("status(record)", "status(record, receipt.oss.large)") },
	)
}

func (d dice) list(depth int) string {
	depth--
	return d.one(
		func() string { return "[" + d.any(depth) + ", " + d.text(depth) + "]" },
		func() string {
			return d.of("[]", "record.body.tolist", "receipt.oss.large.urls", "receipt.oss.large.files", "local.names", "[null]", `[record.id]`)
		},
		func() string { return d.files(depth) },
		func() string {
			return "[for f in record.files : f." + d.of("name", "size", "index", "has_bytes", "md5") + "]"
		},
		func() string { return "[for f in " + d.list(depth) + " : f if f != " + d.of(`""`, "null", `"a"`) + "]" },
		func() string {
			return "[for f in " + d.of("record.body.tolist", "local.names", "record.body.a") + " : [f, " + d.any(depth) + "]]"
		},
		func() string {
			return "[for f in record.files : [for g in record.files : g.size + f.size if g.index > " + d.of("0", "f.index", "null") + "]]"
		},
	)
}

func (d dice) files(depth int) string {
	cond := func() string {
		one := func() string {
			return d.of("f.size >= local.large", "f.size < local.large", "local.yes", "f.size_claimed < 10", `f.name == "a.jpg"`, "f.has_bytes", "!f.has_bytes", `f.md5 != ""`, "f.index > 0", "f.name > 3", "f.size > local.none",
				`startswith(f.name, "a")`, "record.seq > 5", "f.size > record.seq", "f == null", "f.outcome", "f.size > file.index")
		}
		if d.IntN(2) == 0 {
			return one() + d.of(" && ", " || ") + one()
		}
		return one()
	}
	return d.one(
		func() string { return "record.files" },
		func() string { return "[for f in record.files : f if " + cond() + "]" },
		func() string { return "[for f in record.files : f if " + cond() + "]" },
		func() string {
			return "(" + d.boolean(depth-1) + " ? record.files : " + d.of("[]", "null", "record.files") + ")"
		},
	)
}

func (d dice) any(depth int) string {
	if depth <= 0 || d.IntN(3) == 0 {
		return d.one(d.body, func() string { return d.text(0) }, func() string { return d.number(0) }, func() string { return d.boolean(0) })
	}
	return d.one(func() string { return d.boolean(depth) }, func() string { return d.number(depth) }, func() string { return d.text(depth) }, func() string { return d.list(depth) },
		func() string { return "{ b = " + d.any(depth-1) + ", a = " + d.any(depth-1) + " }" },
		func() string { return d.list(depth-1) + d.of("[0]", "[1]", "[0].name") },
		func() string { return "(" + d.boolean(depth-1) + " ? " + d.any(depth-1) + " : " + d.any(depth-1) + ")" })
}

var hostileTexts = []string{"a", "", "é", "e\u0301", "\u0301x", "a.jpg", "a/b.jpg", "recall", "true", "5", "ok\r\n", "\xff", "\xc3", "\xa9", "<&>", "\u4f60\u597d", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u1100\u1161", "\u212a", "TYPE_UN\u212aNOWN", "2020-10-27T17:30:00.005Z",
	"9999-12-31T23:59:59Z", "0000-01-01T00:00:00Z", "1890-01-01T00:00:00+08:00", "\x00", "\\", "\u2028", "con.txt", strings.Repeat("long", 60)}

func (d dice) json(depth int) string {
	if depth > 0 && d.IntN(3) == 0 {
		if d.IntN(2) == 0 {
			return "[" + d.json(depth-1) + "," + d.json(depth-1) + "]"
		}
		return "{" + d.member(depth-1) + ", " + d.member(depth-1) + "}"
	}
	return d.one(
		func() string { return d.of("null", "true", "false", "[]", "{}") },
		func() string { return quoted(hostileTexts[d.IntN(len(hostileTexts))]) },
		func() string {
			return `"` + d.of(`\ud800`, `e\u0301`, `\u0041`, `\"`, "\xff", "a\u0301", `\/`, "plain", "recall") + `"`
		},
		func() string {
			return d.of("0", "-0", "1", "5", "1000", "1.0", "1.50", "-7", "1e3", "1e700", "12345678901234567890", "4611686018427387905", "9223372036854775807", "999999999999999999", "0.1", "-0.0", "1603819800005.10", "1E2")
		},
		func() string { return `["` + d.of("bob", "é", "e\u0301", "") + `", "x"]` },
		func() string { return `["bob"]` },
	)
}

func (d dice) member(depth int) string {
	return `"` + d.of("msgtype", "from", "roomid", "content", "action", "tolist", "tolist", "msgtime_ms", "extra", "a", "b", "o", "x", "y", "z", "id", "\\u0061", "K", "\u212a", "other") + `":` + d.json(depth)
}

func (d dice) record() record {
	text := func() string { return hostileTexts[d.IntN(len(hostileTexts))] }
	r := sdk.Record{ID: text(), Key: text(), Kind: text(), Seq: []uint64{0, 1, 5, 999, 1000, 1500, 1 << 53, 1<<62 + 1, 1<<64 - 1}[d.IntN(9)], Meta: map[string]string{"flags": text(), "x": text()}}
	if d.IntN(4) > 0 {
		r.Time = time.Unix(d.Int64N(3e9)-5e8, d.Int64N(1e9)).UTC()
		if d.IntN(10) == 0 {
			r.Time = time.Unix(d.Int64N(6e11)-1e11, 0)
		}
	}
	members := make([]string, d.IntN(14))
	for i := range members {
		members[i] = d.member(2)
	}
	body := d.of("", " ", "") + "{" + strings.Join(members, d.of(",", " , ")) + "}" + d.of("", "\n", "")
	switch d.IntN(20) {
	case 0:
		body = d.json(3)
	case 1:
		body = d.of("", "not json", body[:len(body)/2], body+"x", "\xff"+body, "null", body+body)
	case 2:
		body = strings.Replace(body, "{", `{"extra":`+strings.Repeat("[", 198+d.IntN(5))+strings.Repeat("]", 198)+",", 1)
	case 3:
		n := 197 + d.IntN(6)
		body = `{"` + d.of("a", "o", "unread") + `":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `,"content":"` + strings.Repeat("[", 300) + `"}`
	case 4:
		body = `{"content":"` + strings.Repeat("[{", 150) + `\"","a":"x","from":"y"}`
	}
	r.Body = []byte(body)
	for i := range d.IntN(4) {
		f := sdk.File{Index: i, Name: text(), Size: []int64{-1, 0, 5, 10 << 20, 1 << 62}[d.IntN(5)], SizeClaimed: []int64{-1, 0, 20 << 20}[d.IntN(3)], MD5: d.of("", "0a"), SHA256: d.of("", "ff")}
		f.Outcome = sdk.FileOutcome(d.of("", "", string(sdk.FileExpired), string(sdk.FileStored), "e\u0301", "other"))
		f.Spool = d.of("", "f-1")
		r.Files = append(r.Files, f)
	}
	return record{r}
}

func (d dice) receipts() lang.Receipts {
	r := lang.Receipt{State: d.of("", status.Delivered, status.Owed, status.Rejected, "e\u0301"), Code: d.of("", "KEY"), URLs: [][]string{nil, {"oss://b/2", "oss://b/1"}, {"e\u0301"}}[d.IntN(3)], Files: [][]int{nil, {0}, {1, 2}}[d.IntN(3)]}
	return func(string) lang.Receipt { return r }
}

var compiledArgs = []sdk.Arg{
	{Name: "any", Type: sdk.Any}, {Name: "any", Type: sdk.Any}, {Name: "text", Type: sdk.String}, {Name: "number", Type: sdk.Number}, {Name: "bool", Type: sdk.Bool}, {Name: "strings", Type: sdk.Strings},
	{Name: "map", Type: sdk.AnyMap}, {Name: "texts", Type: sdk.StringMap}, {Name: "one", Type: sdk.String, OneOf: []string{"a", "b"}}, {Name: "dur", Type: sdk.Dur},
	{Name: "files", Type: sdk.Files}, {Name: "filesmap", Type: sdk.FilesMap}, {Name: "perfile", Type: sdk.Any, PerFile: true}, {Name: "perfile", Type: sdk.String, PerFile: true},
}

// expression is one that an argument may have.
func (d dice) expression(arg sdk.Arg) string {
	switch arg.Type {
	case sdk.Number:
		return d.number(3)
	case sdk.Bool:
		return d.boolean(3)
	case sdk.Files:
		return d.files(2)
	case sdk.FilesMap:
		return "{ b = " + d.files(2) + ", a = " + d.files(2) + " }"
	case sdk.AnyMap, sdk.StringMap:
		return "{ b = " + d.any(2) + ", a = " + d.any(2) + ", c = " + d.any(1) + " }"
	case sdk.Strings:
		return d.list(2)
	case sdk.String:
		return d.text(3)
	}
	return d.any(3)
}

// differ evaluates both ways and says where they part.
func differ(s *lang.Step, rec record, r lang.Receipts) string {
	slow := s.Slow()
	got := func(s *lang.Step) string {
		raw, err := s.RowArgs(rec, r)
		wants, werr := s.Wants(rec, r)
		files, ferr := s.WantedFiles(rec, r)
		id, ierr := s.About(rec)
		return fmt.Sprintf("args %s, %v\nwants %v, %v\nfiles %v, %v\nabout %q, %v", raw, err, wants, werr, files, ferr, id, ierr)
	}
	fast, want := got(s), got(slow)
	if fast == want || norm.NFC.String(fast) == norm.NFC.String(want) && !norm.NFC.IsNormalString(fast+want) {
		// two texts of a record that differ in their normal form alone are one to cty: it restores the form of the one, also where the
		// other was given
		return ""
	}
	body := rec.r.Body
	rec.r.Body = nil
	return fmt.Sprintf("compiled:\n%s\ncty:\n%s\nrecord %+q, body %q", fast, want, fmt.Sprintf("%+v", rec.r), body)
}

func FuzzCompiled(f *testing.F) {
	for seed := range uint64(40) {
		f.Add(seed)
	}
	g := lang.NewLanguage(compiledPipeline, "sink.file.f", plugins())
	f.Fuzz(func(t *testing.T, seed uint64) {
		d := dice{rand.New(rand.NewPCG(seed, 1))}
		for range 20 {
			arg := compiledArgs[d.IntN(len(compiledArgs))]
			expr := d.expression(arg)
			s := g.Step(expr, arg)
			for i := 0; i < 10 && s != nil; i++ {
				if diff := differ(s, d.record(), d.receipts()); diff != "" {
					t.Fatalf("%s = %s\n%s", arg.Name, expr, diff)
				}
			}
		}
	})
}

// What was thought of, whatever the dice say.
func TestCompiledCorners(t *testing.T) {
	g := lang.NewLanguage(compiledPipeline, "sink.file.f", plugins())
	deep := `{"action":"send","a":` + strings.Repeat("[", 201) + strings.Repeat("]", 201) + `}`
	bodies := []string{`{}`, `{"action":"recall"}`, `{"action":null,"a":1,"tolist":["x"]}`, `{"action":5,"a":"1","tolist":[]}`, `{"action":"e\u0301","a":-0,"tolist":[1]}`, `{"a":{"id":"i","id":7}}`, `{"a":{"id":null}}`,
		`{"a":{"x":1}}`, `{"a":[{"id":1}]}`, `{"a":"\u00e9","b":"e\u0301"}`, `not json`, `[1]`, deep}
	for _, expr := range []string{
		`record.id == "i" || record.body.a == null`, // an error where the body is too deep, though the field is not needed
		`null && record.id == "i"`, `record.id == "i" && null`, `null || record.id == "i"`, `record.id == "x" || null`, `false && record.id`, `record.id != "i" && record.id`,
		`record.body.a > 0 && record.id == "x"`, `record.id == "x" && record.body.a > 0`, `record.body.a > 0 || record.id == "i"`, `!(record.body.a > 0)`,
		`record.id == "i" ? record.body.tolist[0] : ""`, `record.id == "x" ? record.body.tolist[0] : ""`, `record.id == "x" ? record.body.a : 5`, `record.id == "x" ? record.body.a + 1 : "5"`,
		`record.id == "i" ? null : record.body.a`, `record.id == "i" ? record.seq : ""`, `record.id == "i" ? record.seq : null`, `record.body.a == "1" ? true : "x"`,
		`"x${record.body.a}" || record.id == "i"`, `record.id == "i" ? record.seq : "x${record.body.a}"`, `join(",", record.id == "x" ? "a" : record.body.a)`,
		`record.time[0]`, `try(formatdate("YYYY", record.time[0]), "none")`, `formatdate("YYYY-MM-DD hh:mm:ss", record.time)`, `formatdate("YYYYMM", record.time)`, `formatdate("", record.time)`,
		`since({ "5" = 1, "1" = null }, record.seq)`, `since({ "5" = 1, "1" = "a" }, record.seq) == 1`, `since({}, record.seq)`, `since({ "x" = 1 }, record.seq)`, `since(var.numbers, 1)`, `since({ "1" = 2 }, -record.seq)`,
		`record.id == "i" ? since({ "1" = null }, record.seq) : 5`, `record.seq * 0`, `-record.body.a`, `0 * -record.seq`, `"${0 * -record.seq}"`, `record.seq - 9223372036854775807 - 2`, `9223372036854775807 * record.seq`,
		`record.body.a`, `record.body`, `record.body.a == record.body.b`, `[record.body.a, record.body.b]`, `record.body.tolist == null`, `record.body.tolist == []`, `length(record.body.tolist)`, `length(record.body.action)`,
		`"${record.body.a}${record.body.b}"`, `[record.body.a, record.body.a.id]`, `record.body.a.id`, `record.body.a["id"]`, `record.body.a[0]`, `record.files["0"]`, `record.files[0.5]`, `record.files[-1]`, `record.meta["x"]`,
		`[for f in record.files : f if f.size > null]`, `try([for f in record.files : f.name if f.size > null], "none")`, `[for f in record.files : f.name if null]`, `[for f in record.files : f.name if f.name]`,
		`[for file in record.files : file.name]`, `[for record in record.files : record.name]`, `[for f in record.files : record.body.a if f.size > 0]`, `[for f in record.files : record.body.a > 0]`, `[for f in record.files : f][0].name`,
		`[for f in record.files : length([for x in range(400) : x])]`, `length([for x in range(99800) : x]) + length([for f in record.files : f])`, `{ a = record.id, a = record.key }`, `{ "e\u0301" = record.id, "é" = 1 }`,
		`record.id == "i"` + strings.Repeat(` || [for f in record.files : f.index] == null`, 30), // rounds that nobody needs count too `status(record, record)`, `join("", [record.id], null, record.body.tolist)`, `join("\u0301", ["e", record.id])`, `join(null, [record.id])`,
	} {
		for _, arg := range []sdk.Arg{compiledArgs[0], compiledArgs[2], compiledArgs[3], {Name: "files", Type: sdk.Files}} {
			s := g.Step(expr, arg)
			for _, body := range bodies {
				for _, n := range []int{0, 2, 100, 4000} {
					long := strings.Contains(expr, "range(") || strings.Contains(expr, "f.index] == null")
					if s == nil || (n > 2) != long || long && (arg.Name != "any" || body != "{}") {
						continue
					}
					rec := record{sdk.Record{ID: "i", Key: "k", Seq: 5, Time: time.Unix(-3e9, 5), Body: []byte(body), Meta: map[string]string{"x": "y"}}}
					for i := range n {
						rec.r.Files = append(rec.r.Files, sdk.File{Index: i, Name: "a.jpg", Size: int64(i)})
					}
					if diff := differ(s, rec, receipts(status.Owed, 0)); diff != "" {
						t.Errorf("%s = %s\n%.3000s", arg.Name, expr, diff)
					}
				}
			}
		}
	}
}

// What the fuzz compares has to be compiled, mostly, or it compares cty with itself.
func TestCompiledMostly(t *testing.T) {
	g := lang.NewLanguage(compiledPipeline, "sink.file.f", plugins())
	d := dice{rand.New(rand.NewPCG(1, 2))}
	made, compiled, asked, mine := 0, 0, 0, 0
	for range 3000 {
		arg := compiledArgs[d.IntN(len(compiledArgs))]
		s := g.Step(d.expression(arg), arg)
		if s == nil {
			continue
		}
		made++
		if _, not := s.Compiled(); len(not) == 0 {
			compiled++
		}
		for range 5 {
			asked++
			if s.Mine(d.record(), d.receipts()) {
				mine++
			}
		}
	}
	t.Logf("%d of 3000 expressions are none, %d of %d are compiled, %d of %d records need no cty", 3000-made, compiled, made, mine, asked)
	if made < 1000 || compiled < made/3 || mine < asked/8 {
		t.Error("too few")
	}
}

// Every expression of the pipelines that ship is compiled, and gives what cty gives.
func TestPipelinesCompiled(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(7, 7))}
	event := record{sdk.Record{ID: "e1", Kind: lang.EventKind, Body: []byte(`{"code":"KEY","subject":{"source":"source.wecom_chat.chat","id":"m7","seq":1001}}`),
		Meta: map[string]string{"step": "transform.decrypt.plain", "code": "KEY", "recovered": "true"}}}
	for _, name := range []string{"wecom-kintone-oss.hcl", "wecom-s3.hcl"} {
		all := 0
		for _, s := range shippedPipeline(t, name).Steps {
			n, not := s.Compiled()
			all += n
			for _, where := range not {
				t.Errorf("%s is not compiled", where)
			}
			records := []record{message(), chatRow(), event}
			for range 300 {
				records = append(records, d.record())
			}
			for _, rec := range records {
				if diff := differ(s, rec, d.receipts()); diff != "" {
					t.Errorf("%s: %s\n%s", name, s.Address, diff)
				}
			}
		}
		if all < 4 {
			t.Errorf("%s: %d expressions", name, all)
		}
	}
}

// Texts are written as encoding/json writes them, and a name that is safe at first sight is safe.
func FuzzTexts(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s)
	}
	for c := range rune(0x180) {
		f.Add("a" + string(c) + "longer.txt")
		f.Add(string([]byte{'x', byte(c), 'y'}))
	}
	for _, s := range []string{"\u2027\u2028\u2029\u202a", "\ufffd\ufffe\uffff", "con", "com1.txt", "photo.jpg.", ".hidden", "-", strings.Repeat("a", 201), "a\xe2\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := string(lang.AppendString([]byte("x"), s)), "x"+quoted(s); got != want {
			t.Errorf("%q: got %s, want %s", s, got, want)
		}
		if got, want := lang.SafeName(s), lang.MadeSafe(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	})
}

// Members are found in one pass as they are one by one.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{"{}", " { } ", `{"a":1}`, `{"a":1,"a":{"b":"}"}}`, "{\"a\" :\n[1,\"]\",{\"x\":[]}]\t,\r\"b\": \"\\\\\\\"\" , \"c\":-1.5e+3}", `{"\u0061":"x","b":null,"c":true}`, `{"a\"b":"\\","b":""}`,
		`[{"a":1}]`, `"a"`, `{"a":1}x`, "\ufeff{}", `{"a":{"b":"{"},"b":"\\\\","c":[[],[[]]]}`, "{\"a\":\"\x7f\xff\",\"\":0}"} {
		f.Add(s)
	}
	d := dice{rand.New(rand.NewPCG(3, 3))}
	for range 200 {
		f.Add(string(d.record().r.Body))
	}
	f.Fuzz(func(t *testing.T, body string) {
		fast, want := lang.Members(body, "a", "b", "c", "", "content", "tolist", "o", `a"b`, "K", "msgtype")
		if !slices.Equal(fast, want) {
			t.Errorf("%q: got %q, want %q", body, fast, want)
		}
	})
}
