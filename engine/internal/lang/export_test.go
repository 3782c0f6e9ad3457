package lang

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/tidwall/gjson"

	"github.com/weir-etl/weir/sdk"
)

// Slow is the step with all its expressions left to cty.
func (s *Step) Slow() *Step {
	slow := *s
	slow.rows.slow = true
	return &slow
}

// Compiled counts the expressions that are compiled, and names the places of those that are not.
func (s *Step) Compiled() (n int, not []string) {
	count := func(e *evaluated) {
		if e != nil && e.code == nil {
			not = append(not, e.where)
		} else if e != nil {
			n++
		}
	}
	count(s.rows.when)
	count(s.rows.about)
	var walk func(e expression)
	walk = func(e expression) {
		switch x := e.(type) {
		case *evaluated:
			count(x)
		case *object:
			for _, v := range x.values {
				walk(v)
			}
		}
	}
	for _, a := range s.rows.args {
		count(a.whole)
		walk(a.value)
	}
	return n, not
}

// Mine reports whether the compiled code of the step's arguments answers for a record alone.
func (s *Step) Mine(rec Record, receipts Receipts) bool {
	sc := s.scope(rec, receipts)
	for _, a := range s.rows.args {
		e := a.whole
		if x, is := a.value.(*evaluated); is {
			e = x
		}
		if e == nil || a.PerFile && len(rec.Files()) == 0 {
			return false
		}
		if _, verdict := e.fast(sc); verdict != ok {
			return false
		}
	}
	return true
}

// What is made fast for what is met most, beside what it has to equal.
var (
	AppendString = appendString
	SafeName     = safeName
	MadeSafe     = madeSafe
)

// Members finds members of a body in one pass, and one after the other; nothing where the body is no JSON.
func Members(body string, names ...string) (fast, want []string) {
	if !shallow([]byte(body)) || !gjson.Valid(body) || !gjson.Parse(body).IsObject() {
		return nil, nil
	}
	slots, found := map[string]int{}, make([]gjson.Result, len(names))
	for i, name := range names {
		slots[name] = i
	}
	fill(found, gjson.Parse(body).Raw, slots)
	for i, name := range names {
		r := member(gjson.Parse(body), name)
		fast, want = append(fast, fmt.Sprint(found[i].Type, found[i].Raw, found[i].Str)), append(want, fmt.Sprint(r.Type, r.Raw, r.Str))
	}
	return fast, want
}

// Language compiles single expressions as they would stand in one step of a pipeline.
type Language struct {
	l *loader
	d *draft
}

// NewLanguage reads a pipeline without mistakes and takes one of its steps.
func NewLanguage(text, address string, plugins []sdk.Plugin) *Language {
	files := []source{{"p.hcl", []byte(text)}}
	l := newLoader(files, Options{Plugins: plugins, Getenv: func(string) (string, bool) { return "", false }})
	blocks, _ := l.parse(files)
	l.declareVariables(blocks["variable"])
	l.declareLocals(blocks["locals"])
	l.readWeir(blocks["weir"])
	l.readConnections(blocks["connection"])
	l.readSteps(append(append(blocks["source"], blocks["transform"]...), blocks["sink"]...))
	if l.list.HasErrors() {
		panic(l.list[0])
	}
	return &Language{l, l.steps[address]}
}

// Step is the step with the expression as its only argument, its when and its about, as far as it may stand there; nil where it may
// not be an argument.
func (g *Language) Step(text string, arg sdk.Arg) *Step {
	if _, problem := tooMuch([]byte(text), "e.hcl"); problem != "" {
		return nil
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), "e.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		return nil
	}
	countRounds(expr)
	if !mentionsRecord(expr) {
		return nil
	}
	l := *g.l
	l.list = nil
	s := *g.d.Step
	d := &draft{Step: &s, block: g.d.block, component: g.d.component, in: g.d.in, out: g.d.out}
	for _, address := range d.Receipts {
		d.rows.fields[address] = l.steps[address].receiptFields()
	}
	d.rows.slots, d.rows.when, d.rows.about, d.rows.files, d.rows.args = nil, nil, nil, nil, nil
	row, fine := l.compileArg(d, &hclsyntax.Attribute{Name: arg.Name, Expr: expr}, arg)
	if !fine {
		return nil
	}
	d.rows.args = []rowArg{row}
	if arg.Type == sdk.Files || arg.Type == sdk.FilesMap {
		d.rows.files = d.rows.args
	}
	if !arg.PerFile {
		d.rows.when = l.compileOne(d, &hclsyntax.Attribute{Name: "when", Expr: expr}, sdk.Arg{Name: "when", Type: sdk.Bool}, perRow)
		d.rows.about = l.compileOne(d, &hclsyntax.Attribute{Name: "about", Expr: expr}, sdk.Arg{Name: "about", Type: sdk.Any}, perRow)
	}
	return d.Step
}
