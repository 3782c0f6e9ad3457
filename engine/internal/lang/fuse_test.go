package lang

import (
	"fmt"
	"testing"

	"github.com/weir-etl/weir/sdk"
)

// A transform is applied ahead only where the engine has nothing to decide between it and the step before.
func TestBehind(t *testing.T) {
	transform := func(typ string, change func(*sdk.Component)) sdk.Component {
		c := sdk.Component{Kind: sdk.KindTransform, Type: typ}
		if change != nil {
			change(&c)
		}
		return c
	}
	opt := Options{Alone: []string{"native"}, Plugins: []sdk.Plugin{
		{Name: "numbers", Components: []sdk.Component{{Kind: sdk.KindSource, Type: "numbers"}}},
		{Name: "sums", Components: []sdk.Component{
			transform("sum", nil),
			transform("named", func(c *sdk.Component) { c.Args = []sdk.Arg{{Name: "name", Type: sdk.String, PerRecord: true}} }),
			transform("fixed", func(c *sdk.Component) { c.Args = []sdk.Arg{{Name: "name", Type: sdk.String}} }),
			transform("fetch", func(c *sdk.Component) { c.MakesFiles = true }),
			transform("few", func(c *sdk.Component) { c.MaxRecords = 10 }),
		}},
		{Name: "native", Components: []sdk.Component{transform("open", nil), transform("shut", nil)}},
	}}
	for name, c := range map[string]struct {
		steps  string // behind source numbers.n; the last one is looked at
		behind string
	}{
		"a source":               {`transform "sum" "a" { input = source.numbers.n }`, "source.numbers.n"},
		"with fixed arguments":   {"transform \"fixed\" \"a\" {\n input = source.numbers.n\n name = \"x\"\n}", "source.numbers.n"},
		"a transform":            {"transform \"open\" \"a\" { input = source.numbers.n }\ntransform \"shut\" \"b\" { input = transform.open.a }", "transform.open.a"},
		"another plugin's":       {"transform \"open\" \"a\" { input = source.numbers.n }", ""},
		"behind a native one":    {"transform \"open\" \"a\" { input = source.numbers.n }\ntransform \"sum\" \"b\" { input = transform.open.a }", ""},
		"the second of two":      {"transform \"sum\" \"a\" { input = source.numbers.n }\ntransform \"sum\" \"b\" { input = source.numbers.n }", ""},
		"two inputs":             {"source \"numbers\" \"m\" {}\ntransform \"sum\" \"a\" { input = [source.numbers.n, source.numbers.m] }", ""},
		"when":                   {"transform \"sum\" \"a\" {\n input = source.numbers.n\n when = record.seq > 1\n}", ""},
		"arguments of each row":  {"transform \"named\" \"a\" {\n input = source.numbers.n\n name = record.id\n}", ""},
		"makes files":            {`transform "fetch" "a" { input = source.numbers.n }`, ""},
		"behind one of files":    {"transform \"fetch\" \"a\" { input = source.numbers.n }\ntransform \"sum\" \"b\" { input = transform.fetch.a }", "transform.fetch.a"},
		"small calls":            {`transform "few" "a" { input = source.numbers.n }`, ""},
		"batch":                  {"transform \"sum\" \"a\" {\n input = source.numbers.n\n batch { max_records = 5 }\n}", ""},
		"limit":                  {"transform \"sum\" \"a\" {\n input = source.numbers.n\n limit { rate = \"5/1s\" }\n}", ""},
		"order":                  {"transform \"sum\" \"a\" {\n input = source.numbers.n\n order = \"key\"\n}", ""},
		"isolated":               {"transform \"sum\" \"a\" {\n input = source.numbers.n\n isolate = true\n}", ""},
		"behind an isolated one": {"transform \"sum\" \"a\" {\n input = source.numbers.n\n isolate = true\n}\ntransform \"sum\" \"b\" { input = transform.sum.a }", ""},
		"disabled":               {"transform \"sum\" \"a\" {\n input = source.numbers.n\n enabled = false\n}", ""},
		"behind a disabled one":  {"transform \"sum\" \"a\" {\n input = source.numbers.n\n enabled = false\n}\ntransform \"sum\" \"b\" { input = transform.sum.a }", ""},
		"a retry policy is fine": {"transform \"sum\" \"a\" {\n input = source.numbers.n\n retry { tries = 2 }\n}", "source.numbers.n"},
	} {
		text := fmt.Sprintf("weir { name = \"t\" }\nsource \"numbers\" \"n\" {}\n%s\n", c.steps)
		p, diags := load([]source{{name: "p.hcl", text: []byte(text)}}, opt)
		if diags.HasErrors() {
			t.Errorf("%s: %v", name, diags)
			continue
		}
		s, got := p.Steps[len(p.Steps)-1], ""
		if s.Behind != nil {
			got = s.Behind.Address
		}
		if got != c.behind {
			t.Errorf("%s: %s is behind %q, want %q", name, s.Address, got, c.behind)
		}
	}
}
