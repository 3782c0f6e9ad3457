package lang

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// Expressions are compiled to closures once, when a pipeline is loaded. What is not compiled, and what a record brings that a val does
// not hold exactly, cty evaluates: it defines what is right. So does every error, because cty has the words for it. A closure never
// guesses: it says notMine.

// node is a compiled expression.
type node struct {
	eval  func(s *scope) (val, verdict)
	is    kind // what its value is of, whatever the record, if it does not fail; aNull = that depends
	loose bool // where it fails, cty gives it no type
	fixed *val // no record changes it
}

// compiler compiles the expressions of one argument.
type compiler struct {
	*loader
	rows  *rows
	reads *mentions
	loop  string // the variable of the for expression around; "" = none is
	tries int    // calls of try() around
	loops int    // for expressions so far; one in a try() counts twice, because its function evaluates twice
}

// compiled returns the closure of an expression, nil where cty has to evaluate it.
func (l *loader) compiled(d *draft, expr hclsyntax.Expression, reads *mentions) func(s *scope) (val, verdict) {
	c := &compiler{loader: l, rows: &d.rows, reads: reads}
	n := c.node(expr)
	if n == nil {
		return nil
	}
	return func(s *scope) (val, verdict) {
		switch {
		case reads.body != nil && s.deep(): // an error to cty, also where the field is not needed
			return val{}, notMine
		case c.loops > 0 && (len(s.recordFiles())+1)*c.loops > maxRounds: // likewise
			return val{}, notMine
		}
		return n.eval(s)
	}
}

// fast evaluates what is compiled.
func (e *evaluated) fast(s *scope) (val, verdict) {
	if e.code == nil || s.slow {
		return val{}, notMine
	}
	return e.code(s)
}

// node compiles an expression; nil where that is not possible.
func (c *compiler) node(expr hclsyntax.Expression) *node {
	switch x := expr.(type) {
	case *hclsyntax.ParenthesesExpr:
		return c.node(x.Expression)
	case round:
		return c.node(x.Expression)
	case *hclsyntax.TemplateWrapExpr:
		return c.node(x.Wrapped)
	}
	if c.isFixed(expr) {
		return c.constant(expr)
	}
	switch x := expr.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		n := c.traversal(x.Traversal)
		if n != nil {
			n.loose = true
		}
		return n
	case *hclsyntax.RelativeTraversalExpr:
		if n := c.node(x.Source); n != nil {
			return c.steps(n, x.Traversal)
		}
	case *hclsyntax.IndexExpr:
		return c.indexed(x)
	case *hclsyntax.BinaryOpExpr:
		return c.binary(x)
	case *hclsyntax.UnaryOpExpr:
		return c.unary(x)
	case *hclsyntax.ConditionalExpr:
		return c.conditional(x)
	case *hclsyntax.TemplateExpr:
		return c.template(x)
	case *hclsyntax.TupleConsExpr:
		return c.tuple(x)
	case *hclsyntax.ObjectConsExpr:
		return c.object(x)
	case *hclsyntax.ForExpr:
		return c.each(x)
	case *hclsyntax.FunctionCallExpr:
		if n := c.call(x); n != nil {
			n.loose = true
			return n
		}
	}
	return nil
}

// isFixed reports whether no record changes the value.
func (c *compiler) isFixed(expr hclsyntax.Expression) bool {
	return !mentionsRecord(expr) && !slices.ContainsFunc(expr.Variables(), func(tr hcl.Traversal) bool { return tr.RootName() == c.loop })
}

// constant evaluates what is fixed once. The rounds of a for expression are counted for every record.
func (c *compiler) constant(expr hclsyntax.Expression) *node {
	if countRounds(expr) {
		return nil
	}
	v, diags := evaluate(expr, c.scope)
	if diags.HasErrors() {
		return nil
	}
	fixed, known := constVal(v)
	if !known {
		return nil
	}
	return &node{eval: func(*scope) (val, verdict) { return fixed, ok }, is: fixed.typ(), fixed: &fixed}
}

// nodes compiles several expressions, all or none.
func (c *compiler) nodes(exprs []hclsyntax.Expression) ([]*node, bool) {
	list := make([]*node, len(exprs))
	for i, e := range exprs {
		if list[i] = c.node(e); list[i] == nil {
			return nil, false
		}
	}
	return list, true
}

// traversal compiles record.…, file.…, receipt.… and the variable of a for expression.
func (c *compiler) traversal(tr hcl.Traversal) *node {
	root := tr.RootName()
	if root == c.loop {
		return c.steps(&node{eval: func(s *scope) (val, verdict) { return val{kind: aFile, n: s.round}, ok }, is: aFile}, tr[1:])
	}
	name, _ := step(tr, 1)
	switch root {
	case "file":
		return c.steps(&node{eval: func(s *scope) (val, verdict) { return val{kind: aFile, n: int64(s.file)}, ok }, is: aFile}, tr[1:])
	case "receipt":
		return c.receipt(tr)
	case "record":
		switch name {
		case "body":
			return c.body(tr)
		case "meta":
			key, named := step(tr, 2)
			if !named {
				return nil
			}
			return c.steps(&node{eval: func(s *scope) (val, verdict) { return textVal(s.rec.Meta(key)) }, is: aText}, tr[3:])
		case "files":
			return c.steps(&node{eval: func(*scope) (val, verdict) { return val{kind: theFiles}, ok }, is: theFiles}, tr[2:])
		}
		if n := attribute(name); n != nil && len(tr) == 2 {
			return n
		}
	}
	return nil
}

// attribute is record.id and its like.
func attribute(name string) *node {
	switch name {
	case "id":
		return &node{eval: func(s *scope) (val, verdict) { return textVal(s.rec.ID()) }, is: aText}
	case "key":
		return &node{eval: func(s *scope) (val, verdict) { return textVal(s.rec.Key()) }, is: aText}
	case "kind":
		return &node{eval: func(s *scope) (val, verdict) { return textVal(s.rec.Kind()) }, is: aText}
	case "seq":
		return &node{eval: func(s *scope) (val, verdict) {
			switch n := s.rec.Seq(); {
			case n == 0:
				return val{of: aNumber}, ok
			case n > 1<<62:
				return val{}, notMine
			default:
				return val{kind: aNumber, n: int64(n)}, ok
			}
		}, is: aNumber}
	case "time":
		return &node{eval: func(s *scope) (val, verdict) {
			t := s.rec.Time()
			if t.IsZero() {
				return val{of: aText}, ok
			}
			return val{kind: aText, s: t.UTC().Format(time.RFC3339Nano)}, ok
		}, is: aText}
	}
	return nil
}

// body compiles record.body.a.b. Where an expression mentions a field and also what lies below it, cty sees both in one object.
func (c *compiler) body(tr hcl.Traversal) *node {
	if c.reads.body.whole {
		return nil
	}
	var names []string
	for p := c.reads.body; ; {
		name, named := step(tr, 2+len(names))
		if !named {
			if len(names) == 0 || len(p.sub) > 0 {
				return nil
			}
			break
		}
		if p = p.sub[name]; p == nil || p.whole && len(p.sub) > 0 {
			return nil
		}
		names = append(names, name)
	}
	first, below := c.rows.slot(names[0]), names[1:]
	n := &node{eval: func(s *scope) (val, verdict) { return bodyVal(s.field(first, below)) }}
	if t, published := c.rows.types[strings.Join(names, ".")]; published {
		n.eval = func(s *scope) (val, verdict) { return typedVal(s.field(first, below), t) }
	}
	return c.steps(n, tr[2+len(names):])
}

// receipt compiles receipt.TYPE.NAME.ATTRIBUTE for the attributes that every receipt has.
func (c *compiler) receipt(tr hcl.Traversal) *node {
	address, attr := receiptOf(tr)
	if len(tr) < 4 {
		return nil
	}
	n := &node{is: aText}
	switch attr {
	case "state":
		n.eval = func(s *scope) (val, verdict) { return textVal(s.answer(address).State) }
	case "code":
		n.eval = func(s *scope) (val, verdict) { return textVal(s.answer(address).Code) }
	case "urls":
		n.is = aList
		n.eval = func(s *scope) (val, verdict) {
			urls := s.answer(address).URLs
			vals := make([]val, len(urls))
			for i, u := range urls {
				v, verdict := textVal(u)
				if verdict != ok {
					return val{}, verdict
				}
				vals[i] = v
			}
			return listed(vals), ok
		}
	default:
		return nil
	}
	return c.steps(n, tr[4:])
}

// receiptOf reads the address and the attribute in receipt.TYPE.NAME.ATTRIBUTE.
func receiptOf(tr hcl.Traversal) (address, attr string) {
	typ, _ := step(tr, 1)
	name, _ := step(tr, 2)
	attr, _ = step(tr, 3)
	return "sink." + typ + "." + name, attr
}

// steps compiles what follows a value: .name and [0].
func (c *compiler) steps(n *node, tr hcl.Traversal) *node {
	for i := range tr {
		if t, isIndex := tr[i].(hcl.TraverseIndex); isIndex {
			if key, known := constVal(t.Key); known && key.kind == aNumber {
				n = at(n, key.n)
				continue
			}
		}
		name, named := step(tr, i)
		if !named {
			return nil
		}
		if n = attr(n, name); n == nil {
			return nil
		}
	}
	return n
}

func (c *compiler) indexed(x *hclsyntax.IndexExpr) *node {
	n := c.node(x.Collection)
	if n == nil || !c.isFixed(x.Key) {
		return nil
	}
	if key := c.constant(x.Key); key != nil && key.fixed.kind == aNumber {
		loose := n.loose
		n = at(n, key.fixed.n)
		n.loose = loose
		return n
	}
	return nil
}

func at(n *node, i int64) *node {
	of := n.eval
	return &node{eval: func(s *scope) (val, verdict) {
		v, verdict := of(s)
		if verdict != ok {
			return v, verdict
		}
		return s.index(v, i)
	}}
}

// attr compiles an attribute of a file.
func attr(n *node, name string) *node {
	is, read := fieldOf(name)
	if read == nil {
		return nil
	}
	of := n.eval
	return &node{is: is, eval: func(s *scope) (val, verdict) {
		switch v, verdict := of(s); {
		case verdict != ok:
			return v, verdict
		case v.kind == aFile:
			return read(s, v.n)
		default:
			return val{}, notMine
		}
	}}
}

func (c *compiler) tuple(x *hclsyntax.TupleConsExpr) *node {
	list, all := c.nodes(x.Exprs)
	if !all {
		return nil
	}
	return &node{eval: func(s *scope) (val, verdict) {
		vals, verdict := evalAll(s, list, make([]val, 0, len(list)))
		return listed(vals), verdict
	}}
}

// evalAll appends all of a list to dst: one that fails is an error whatever the others are.
func evalAll(s *scope, list []*node, dst []val) ([]val, verdict) {
	worst := ok
	for _, n := range list {
		v, verdict := n.eval(s)
		if verdict == fails {
			return nil, fails
		}
		dst, worst = append(dst, v), max(worst, verdict)
	}
	return dst, worst
}

// object compiles an object with fixed names.
func (c *compiler) object(x *hclsyntax.ObjectConsExpr) *node {
	type item struct {
		name string
		n    *node
	}
	var all []item
	for _, i := range x.Items {
		key, diags := i.KeyExpr.Value(nil)
		n := c.node(i.ValueExpr)
		if n == nil || diags.HasErrors() || !key.IsKnown() || key.IsNull() || key.Type() != cty.String {
			return nil
		}
		all = append(all, item{key.AsString(), n})
	}
	slices.SortStableFunc(all, func(a, b item) int { return strings.Compare(a.name, b.name) })
	names, list := make([]string, len(all)), make([]*node, len(all))
	for i, item := range all {
		if names[i], list[i] = item.name, item.n; i > 0 && names[i] == names[i-1] {
			return nil
		}
	}
	return &node{eval: func(s *scope) (val, verdict) {
		vals, verdict := evalAll(s, list, make([]val, 0, len(list)))
		return val{kind: anObject, vals: vals, names: names}, verdict
	}}
}

// each compiles [for f in record.files : value if condition].
func (c *compiler) each(x *hclsyntax.ForExpr) *node {
	over, plain := x.CollExpr.(*hclsyntax.ScopeTraversalExpr)
	if !plain || len(over.Traversal) != 2 || text(over.Traversal) != "record.files" || c.loop != "" || x.KeyVar != "" || x.KeyExpr != nil ||
		slices.Contains([]string{"record", "file", "receipt", "var", "local"}, x.ValVar) {
		return nil
	}
	c.loop = x.ValVar
	defer func() { c.loop = "" }()
	c.loops += 1 << c.tries
	value, cond := c.node(x.ValExpr), &node{eval: func(*scope) (val, verdict) { return boolVal(true), ok }}
	if x.CondExpr != nil {
		if !c.triable(x) {
			return nil
		}
		cond = c.node(x.CondExpr)
	}
	if value == nil || cond == nil {
		return nil
	}
	return &node{eval: func(s *scope) (val, verdict) { return s.each(value, cond) }}
}

// triable reports whether a condition passes the trial that hcl makes before the first round, with a variable of no type. One that
// reads anything of the record but the variable cannot be tried here.
func (c *compiler) triable(x *hclsyntax.ForExpr) bool {
	if mentionsRecord(x.CondExpr) {
		return false
	}
	ctx := c.scope.NewChild()
	ctx.Variables = map[string]cty.Value{x.ValVar: cty.DynamicVal}
	v, diags := evaluate(x.CondExpr, ctx)
	if diags.HasErrors() || v.IsNull() {
		return false
	}
	_, err := convert.Convert(v, cty.Bool)
	return err == nil
}

func (s *scope) each(value, cond *node) (val, verdict) {
	n := len(s.recordFiles())
	out, worst := make([]val, 0, n), ok
	for i := range n {
		s.round = int64(i)
		holds, verdict := cond.eval(s)
		if verdict == ok && holds.kind != aBool {
			verdict = notMine
		}
		if verdict == ok && holds.n == 1 {
			var v val
			v, verdict = value.eval(s)
			out = append(out, v)
		}
		if verdict == fails {
			return val{}, fails
		}
		worst = max(worst, verdict)
	}
	return listed(out), worst
}
