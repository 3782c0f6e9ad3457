package lang

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/weir-etl/weir/sdk"
)

// place says what an expression may mention.
type place int

const (
	fixed     place = iota // var, local
	perRow                 // and record, receipt
	perRowAny              // and file
)

// mentions is what an expression reads of a record.
type mentions struct {
	attrs    map[string]bool // id, seq, key, kind, time
	body     *path           // nil = nothing
	meta     map[string]bool
	files    bool
	file     bool
	receipts map[string]bool // addresses
	loops    bool            // it holds a for
	normal   bool            // it makes safe names: what comes out is in normal form on purpose
}

// path is a tree of names read of the body; whole stops it.
type path struct {
	whole bool
	sub   map[string]*path
}

func newMentions() *mentions {
	return &mentions{attrs: map[string]bool{}, meta: map[string]bool{}, receipts: map[string]bool{}}
}

func (m *mentions) addBody(names []string) {
	if m.body == nil {
		m.body = &path{sub: map[string]*path{}}
	}
	p := m.body
	for _, n := range names {
		if p.sub[n] == nil {
			p.sub[n] = &path{sub: map[string]*path{}}
		}
		p = p.sub[n]
	}
	p.whole = true
}

// recordAttrs and fileAttrs are what record and its files offer.
var (
	recordAttrs = []string{"id", "seq", "key", "kind", "time", "body", "meta", "files"}
	fileAttrs   = map[string]cty.Type{
		"index": cty.Number, "name": cty.String, "media_type": cty.String, "size": cty.Number, "size_claimed": cty.Number,
		"md5": cty.String, "md5_claimed": cty.String, "sha256": cty.String, "outcome": cty.String, "has_bytes": cty.Bool,
	}
	receiptAttrs = map[string]cty.Type{
		"state": cty.String, "code": cty.String, "urls": cty.List(cty.String), "files": cty.List(cty.Number),
	}
)

// check looks at every name in an expression and notes what it mentions. ok is false when something was reported: then the
// expression must not be evaluated, it would only give an echo. flow is what is known of the records at that place.
func (l *loader) check(expr hclsyntax.Expression, where place, arg string, flow *flow) (m *mentions, ok bool) {
	c := &checker{loader: l, mentions: newMentions(), place: where, arg: arg, flow: flow, statusArgs: map[int]bool{}, ok: true}
	for call := range calls(expr) {
		c.call(call)
	}
	for _, tr := range expr.Variables() {
		c.traversal(tr)
	}
	hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
		if f, isFor := n.(*hclsyntax.ForExpr); isFor {
			c.loops = true
			c.files(f)
		}
		return nil
	})
	return c.mentions, c.ok
}

// calls yields the function calls in an expression.
func calls(expr hclsyntax.Expression) iter.Seq[*hclsyntax.FunctionCallExpr] {
	return func(yield func(*hclsyntax.FunctionCallExpr) bool) {
		more := true
		hclsyntax.VisitAll(expr, func(n hclsyntax.Node) hcl.Diagnostics {
			if f, ok := n.(*hclsyntax.FunctionCallExpr); ok && more {
				more = yield(f)
			}
			return nil
		})
	}
}

type checker struct {
	*loader
	*mentions
	place      place
	arg        string
	flow       *flow
	statusArgs map[int]bool // where the bare record of a status(record, …) begins
	ok         bool
}

func (c *checker) wrong(at hcl.Range, remedy, format string, args ...any) {
	c.ok = false
	c.errorf(at, remedy, format, args...)
}

func (c *checker) call(f *hclsyntax.FunctionCallExpr) {
	c.normal = c.normal || f.Name == "safename"
	switch _, known := c.functions[f.Name]; {
	case !known:
		c.wrong(f.NameRange, nearest(f.Name, slices.Collect(maps.Keys(c.functions))), "there is no function %q", f.Name)
	case c.place != fixed && (f.Name == "env" || f.Name == "file" || f.Name == "keyring"):
		c.wrong(f.NameRange, "put it into a local, or into an argument that does not depend on the record",
			"%s() is not allowed in %s, which is evaluated for each record", f.Name, c.arg)
	case f.Name == "status" && c.place == fixed:
		c.wrong(f.NameRange, "use it in an argument that is evaluated for each record", "status() needs a record, and %s is fixed", c.arg)
	case f.Name == "status" && len(f.Args) > 0:
		if tr, ok := f.Args[0].(*hclsyntax.ScopeTraversalExpr); ok && len(tr.Traversal) == 1 && tr.Traversal.RootName() == "record" {
			c.statusArgs[tr.SrcRange.Start.Byte] = true
			c.mentions.files = true
			c.mentions.meta["flags"] = true
			return
		}
		c.wrong(f.Args[0].Range(), "write: status(record, receipt.TYPE.NAME)", "the first argument of status() is record itself")
	}
}

func (c *checker) traversal(tr hcl.Traversal) {
	at, root := tr.SourceRange(), tr.RootName()
	name, named := step(tr, 1)
	switch root {
	case "var":
		if c.variables[name] == nil {
			c.wrong(at, remedy(name, slices.Collect(maps.Keys(c.variables)), "the variables are"), "there is no variable %q", name)
		}
	case "local":
		if c.locals[name] == nil {
			c.wrong(at, remedy(name, slices.Collect(maps.Keys(c.locals)), "the locals are"), "there is no local %q", name)
		}
	case "record", "receipt", "file":
		switch {
		case c.place == fixed:
			c.wrong(at, "", "%s is evaluated once, before any record is there: it cannot mention %s", c.arg, root)
		case root == "record" && c.flow != nil:
			c.record(tr, name, named)
		case root == "receipt":
			c.receipt(tr)
		case root == "file" && c.place != perRowAny:
			c.wrong(at, "record.files holds all files of the record", "%s is not evaluated per file: it cannot mention file", c.arg)
		case root == "file":
			c.mentions.file, c.mentions.files = true, true
			if _, ok := fileAttrs[name]; named && !ok {
				c.wrong(at, remedy(name, slices.Collect(maps.Keys(fileAttrs)), "a file has"), "a file has no %q", name)
			}
		}
	case "source", "transform", "sink", "connection", "weir":
		c.wrong(at, "steps and connections stand in input, after and connection", "%s cannot mention %s", c.arg, text(tr))
	default:
		candidates := []string{"var", "local", "record", "file", "receipt"}
		hint := nearest(root, candidates)
		if c.variables[root] != nil {
			hint = "did you mean var." + root + "?"
		} else if c.locals[root] != nil {
			hint = "did you mean local." + root + "?"
		} else if hint == "" {
			hint = `text stands in quotes: "` + root + `"`
		}
		c.wrong(at, hint, "there is no %q", root)
	}
}

func (c *checker) record(tr hcl.Traversal, name string, named bool) {
	at := tr.SourceRange()
	if !named {
		if c.statusArgs[at.Start.Byte] {
			return
		}
		for _, a := range []string{"id", "seq", "key", "kind", "time"} {
			c.attrs[a] = true
		}
		c.mentions.files = true
		c.addBody(nil)
		c.wholeMeta()
		return
	}
	second, deeper := step(tr, 2)
	switch name {
	case "id", "seq", "key", "kind", "time":
		c.attrs[name] = true
	case "files":
		c.mentions.files = true
		for i := 2; i < len(tr); i++ {
			if attr, ok := tr[i].(hcl.TraverseAttr); ok {
				if _, known := fileAttrs[attr.Name]; !known {
					c.wrong(at, remedy(attr.Name, slices.Collect(maps.Keys(fileAttrs)), "a file has"), "a file has no %q", attr.Name)
				}
				return
			}
		}
	case "meta":
		if !deeper {
			c.wholeMeta()
			return
		}
		c.mentions.meta[second] = true
		if !c.flow.hasMeta(second) {
			c.wrong(at, remedy("record.meta."+second, prefixed("record.meta.", slices.Collect(maps.Keys(c.flow.meta))), "published are"),
				"no step before this one publishes meta.%s", second)
		}
	case "body":
		var names []string
		for i := 2; i < len(tr); i++ {
			n, ok := step(tr, i)
			if !ok {
				break
			}
			names = append(names, n)
		}
		c.addBody(names)
		if bad, ok := c.flow.hasBody(names); !ok {
			c.wrong(at, remedy("record.body."+bad, prefixed("record.body.", slices.Collect(maps.Keys(c.flow.body))), "published are"),
				"no step before this one publishes body.%s", bad)
		}
	default:
		c.wrong(at, remedy("record."+name, prefixed("record.", recordAttrs), "there are"), "a record has no %q", name)
	}
}

func (c *checker) wholeMeta() {
	for name := range c.flow.meta {
		c.mentions.meta[name] = true
	}
}

func prefixed(prefix string, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = prefix + n
	}
	return out
}

// receipt checks receipt.TYPE.NAME.ATTRIBUTE. That the sink exists is checked where the graph is built.
func (c *checker) receipt(tr hcl.Traversal) {
	typ, ok1 := step(tr, 1)
	name, ok2 := step(tr, 2)
	if !ok1 || !ok2 {
		c.wrong(tr.SourceRange(), "write receipt.TYPE.NAME, for example receipt.oss.large.urls", "a receipt is named by the type and name of its sink")
		return
	}
	address := "sink." + typ + "." + name
	c.receipts[address] = true
	d := c.steps[address]
	if d == nil {
		c.ok = false // reported by the graph
		return
	}
	if attr, ok := step(tr, 3); ok && d.component != nil {
		offered := slices.Collect(maps.Keys(receiptAttrs))
		for _, f := range d.component.Receipt {
			offered = append(offered, f.Name)
		}
		if !slices.Contains(offered, attr) {
			c.wrong(tr.SourceRange(), remedy(attr, offered, "it has"), "the receipt of %s has no %q", address, attr)
		}
	}
}

// files checks the names in [for f in record.files : …], where f is no free name.
func (c *checker) files(f *hclsyntax.ForExpr) {
	coll, ok := f.CollExpr.(*hclsyntax.ScopeTraversalExpr)
	if !ok || len(coll.Traversal) != 2 || coll.Traversal.RootName() != "record" {
		return
	}
	if name, _ := step(coll.Traversal, 1); name != "files" {
		return
	}
	for _, part := range []hclsyntax.Expression{f.KeyExpr, f.ValExpr, f.CondExpr} {
		if part == nil {
			continue
		}
		for _, tr := range part.Variables() {
			name, ok := step(tr, 1)
			if _, known := fileAttrs[name]; ok && !known && tr.RootName() == f.ValVar {
				c.wrong(tr.SourceRange(), remedy(name, slices.Collect(maps.Keys(fileAttrs)), "a file has"), "a file has no %q", name)
			}
		}
	}
}

// step is the name at place i of a traversal: .name or ["name"].
func step(tr hcl.Traversal, i int) (string, bool) {
	if i >= len(tr) {
		return "", false
	}
	switch t := tr[i].(type) {
	case hcl.TraverseAttr:
		return t.Name, true
	case hcl.TraverseIndex:
		if t.Key.Type() == cty.String && t.Key.IsKnown() && !t.Key.IsNull() {
			return t.Key.AsString(), true
		}
	}
	return "", false
}

// text writes a traversal of names.
func text(tr hcl.Traversal) string {
	var b strings.Builder
	b.WriteString(tr.RootName())
	for i := 1; i < len(tr); i++ {
		name, ok := step(tr, i)
		if !ok {
			break
		}
		b.WriteString("." + name)
	}
	return b.String()
}

// addressOf reads an expression that is a plain reference, such as sink.kintone.log.
func addressOf(expr hclsyntax.Expression) (string, bool) {
	tr, diags := hcl.AbsTraversalForExpr(expr)
	if diags.HasErrors() {
		return "", false
	}
	for i := 1; i < len(tr); i++ {
		if _, ok := tr[i].(hcl.TraverseAttr); !ok {
			return "", false
		}
	}
	if a := text(tr); strings.Count(a, ".") == 2 || strings.HasPrefix(a, "weir.") && strings.Count(a, ".") == 1 {
		return a, true
	}
	return "", false
}

// fixedValue evaluates an expression that depends on no record.
func (l *loader) fixedValue(expr hclsyntax.Expression, arg string) (cty.Value, bool) {
	if _, ok := l.check(expr, fixed, arg, nil); !ok {
		return cty.DynamicVal, false
	}
	val, diags := evaluate(expr, l.scope)
	l.addHCL(diags, expr)
	if diags.HasErrors() {
		return cty.DynamicVal, false
	}
	return val, true
}

// mistake is an error of our own functions: its words are fit to be shown, they hold no values.
type mistake struct{ problem, remedy string }

func (m *mistake) Error() string { return m.problem }

// addHCL reports what hcl found. Where a secret is involved, or may be, hcl's details stay out.
func (l *loader) addHCL(diags hcl.Diagnostics, expr hclsyntax.Expression) {
	quote := -1 // where a quotation mark is missing: that makes every line behind it a mistake
	for _, d := range diags {
		if d.Subject != nil && quote >= 0 && d.Subject.Start.Byte >= quote {
			continue
		}
		if d.Subject != nil && d.Summary == "Invalid multi-line string" {
			quote = d.Subject.Start.Byte
		}
		at := hcl.Range{}
		if d.Subject != nil {
			at = *d.Subject
		}
		problem, remedy := lowerFirst(strings.TrimSuffix(d.Summary, ".")), d.Detail
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok {
			problem = call.CalledFunctionName() + "() cannot work with these arguments"
			var m *mistake
			if errors.As(call.FunctionCallError(), &m) {
				l.add(at, hcl.Range{}, d.Severity == hcl.DiagWarning, m.remedy, m.problem)
				continue
			}
		}
		if expr != nil && l.touchesSecret(expr) {
			remedy = "details are not shown, because a secret is involved"
		}
		l.add(at, hcl.Range{}, d.Severity == hcl.DiagWarning, remedy, problem)
	}
}

// touchesSecret reports whether a value that an expression reads is secret.
func (l *loader) touchesSecret(expr hclsyntax.Expression) bool {
	for call := range calls(expr) {
		if call.Name == "env" || call.Name == "file" || call.Name == "keyring" {
			return true
		}
	}
	for _, tr := range expr.Variables() {
		v, ok := l.scope.Variables[tr.RootName()]
		if name, named := step(tr, 1); ok && named && v.Type().HasAttribute(name) {
			v = v.GetAttr(name)
		}
		if ok && v.ContainsMarked() {
			return true
		}
	}
	return false
}

func lowerFirst(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[n:]
}

// flow is what is known, before any record is there, of the records at one place of the graph.
type flow struct {
	kinds   map[string]bool
	anyKind bool                // a source whose kinds nobody declares
	body    map[string]sdk.Type // by name, nested with dots
	open    bool                // bodies that nobody describes: any field may be there
	meta    map[string]bool
	anyMeta bool
	sources map[string]bool
}

func newFlow() *flow {
	return &flow{kinds: map[string]bool{}, body: map[string]sdk.Type{}, meta: map[string]bool{}, sources: map[string]bool{}}
}

// unknownFlow is what comes out of a step that was reported already.
func unknownFlow() *flow {
	f := newFlow()
	f.anyKind, f.open, f.anyMeta = true, true, true
	return f
}

func (f *flow) join(g *flow) {
	maps.Copy(f.kinds, g.kinds)
	maps.Copy(f.body, g.body)
	maps.Copy(f.meta, g.meta)
	maps.Copy(f.sources, g.sources)
	f.anyKind, f.open, f.anyMeta = f.anyKind || g.anyKind, f.open || g.open, f.anyMeta || g.anyMeta
}

func (f *flow) hasMeta(name string) bool { return f.anyMeta || f.meta[name] }

// hasBody reports whether a field of the body is published, and else which name is not.
func (f *flow) hasBody(names []string) (string, bool) {
	if f.open || len(names) == 0 {
		return "", true
	}
	for i := range names {
		name := strings.Join(names[:i+1], ".")
		_, exact := f.body[name]
		parent := slices.ContainsFunc(slices.Collect(maps.Keys(f.body)), func(n string) bool { return strings.HasPrefix(n, name+".") })
		if !exact && !parent {
			return name, false
		}
		if !parent {
			break // nothing is said about what lies below
		}
	}
	return "", true
}

// publish adds what a component says of the records it emits.
func (f *flow) publish(fields []sdk.Field) (describesBody bool) {
	for _, field := range fields {
		area, name, _ := strings.Cut(field.Name, ".")
		switch {
		case area == "meta" && name == "*":
			f.anyMeta = true
		case area == "meta":
			f.meta[name] = true
		case area == "body" && name == "*":
			f.open, describesBody = true, true
		case area == "body" && name != "":
			f.body[name], describesBody = field.Type, true
		}
	}
	return describesBody
}
