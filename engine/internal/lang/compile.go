package lang

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/weir-etl/weir/sdk"
)

// expression is a compiled per-record expression: it appends its value for one record as JSON.
type expression interface {
	append(dst []byte, s *scope) ([]byte, error)
}

// rows is what a step evaluates for each record.
type rows struct {
	scope  *hcl.EvalContext       // var, local and the functions
	types  map[string]sdk.Type    // published fields of the body
	fields map[string][]sdk.Field // of the receipts that are mentioned, by address

	slots map[string]int // members of the body that compiled expressions mention
	slow  bool           // for tests: cty evaluates everything

	when, about *evaluated

	args  []rowArg
	files []rowArg // the arguments of args that say which files are wanted
}

// rowArg is one per-record argument.
type rowArg struct {
	sdk.Arg
	value expression
	whole *evaluated // Files and FilesMap: the expression whose elements are files; nil = every file
}

// evaluated is an expression that cty evaluates, unless code does.
type evaluated struct {
	expr  hclsyntax.Expression
	where string // "app.hcl:12: sink.kintone.log: fields.msgtime"
	arg   sdk.Arg
	reads *mentions
	code  func(s *scope) (val, verdict) // nil = it is not compiled
}

// constant is a value that no record changes.
type constant json.RawMessage

// field copies a field of the body as it stands there: no number loses its digits, no text its form. Where the JSON is not of the
// type that the argument wants, otherwise decides.
type field struct {
	slot      int
	below     []string
	want      sdk.Type
	otherwise *evaluated
}

// object is an object constructor with fixed names.
type object struct {
	names    []string
	values   []expression
	dropNull bool
}

// compile prepares the per-record expressions of a step, and checks them by type.
func (l *loader) compile(d *draft) {
	d.rows = rows{scope: l.scope, types: d.in.body, fields: map[string][]sdk.Field{}}
	for _, address := range d.Receipts {
		d.rows.fields[address] = l.steps[address].receiptFields()
	}
	attrs := d.block.Body.Attributes
	if a := attrs["when"]; a != nil && d.Kind != sdk.KindSource {
		d.rows.when, d.HasWhen = l.compileOne(d, a, sdk.Arg{Name: "when", Type: sdk.Bool}, perRow), true
	}
	if a := attrs["about"]; a != nil && d.Kind != sdk.KindSource {
		d.rows.about, d.HasAbout = l.compileOne(d, a, sdk.Arg{Name: "about", Type: sdk.Any}, perRow), true
	}
	for _, arg := range d.component.Args {
		if !perRecord(arg) || arg.Block != nil {
			continue
		}
		if row, ok := l.compileArg(d, attrs[arg.Name], arg); ok {
			d.rows.args = append(d.rows.args, row)
			if arg.Type == sdk.Files || arg.Type == sdk.FilesMap {
				d.rows.files = append(d.rows.files, row)
			}
		}
	}
}

func (l *loader) compileArg(d *draft, attr *hclsyntax.Attribute, arg sdk.Arg) (rowArg, bool) {
	row := rowArg{Arg: arg}
	if attr == nil {
		if arg.Type == sdk.Files {
			return row, true
		}
		if arg.Default == nil {
			return row, false
		}
		b, err := json.Marshal(arg.Default)
		if err != nil {
			panic(fmt.Sprintf("lang: the default of argument %s is no JSON: %v", arg.Name, err))
		}
		row.value = constant(b)
		return row, true
	}
	if !mentionsRecord(attr.Expr) {
		return l.constantArg(d, attr, row)
	}
	where := perRow
	if arg.PerFile {
		where = perRowAny
	}
	e := l.compileOne(d, attr, arg, where)
	if e == nil {
		return row, false
	}
	if arg.Type == sdk.Files || arg.Type == sdk.FilesMap {
		row.whole = e
		return row, true
	}
	row.value = l.lower(d, e, where)
	return row, true
}

func (l *loader) constantArg(d *draft, attr *hclsyntax.Attribute, row rowArg) (rowArg, bool) {
	fixed := newDecoded(d.block.Body)
	l.decodeArg(d.Address, attr, row.Arg, fixed)
	if row.Type == sdk.Files || row.Type == sdk.FilesMap {
		l.errorf(attr.Expr.Range(), fmt.Sprintf("write: %s = %s", row.Name, sample(row.Arg)), "%s: %s says which of the record's files are wanted", d.Address, row.Name)
		return row, false
	}
	raw, ok := fixed.json[row.Name]
	row.value = constant(raw)
	return row, ok
}

// mentionsRecord reports whether an expression depends on the record.
func mentionsRecord(expr hclsyntax.Expression) bool {
	return slices.ContainsFunc(expr.Variables(), func(tr hcl.Traversal) bool {
		root := tr.RootName()
		return root == "record" || root == "file" || root == "receipt"
	}) || slices.ContainsFunc(slices.Collect(calls(expr)), func(f *hclsyntax.FunctionCallExpr) bool { return f.Name == "status" })
}

// compileOne checks an expression's names and, with unknown values in the place of the record's, its types.
func (l *loader) compileOne(d *draft, attr *hclsyntax.Attribute, arg sdk.Arg, where place) *evaluated {
	m, ok := l.check(attr.Expr, where, arg.Name, d.in)
	if !ok {
		return nil
	}
	val, diags := evaluate(attr.Expr, l.shape(d.in, m))
	l.addHCL(diags, attr.Expr)
	if diags.HasErrors() {
		return nil
	}
	val, _ = val.UnmarkDeep()
	if arg.Type != sdk.Files && arg.Type != sdk.FilesMap {
		if _, problem := fitArg(val, arg); problem != "" && !(val.IsKnown() && val.IsNull()) {
			l.errorf(attr.Expr.Range(), "write: "+arg.Name+" = "+sample(arg), "%s: %s %s", d.Address, arg.Name, problem)
			return nil
		}
	} else if t := val.Type(); t.IsPrimitiveType() || arg.Type == sdk.FilesMap && (t.IsTupleType() || t.IsListType()) {
		l.errorf(attr.Expr.Range(), "write: "+arg.Name+" = "+sample(arg), "%s: %s says which of the record's files are wanted", d.Address, arg.Name)
		return nil
	}
	return l.evaluated(d, attr.Expr, arg, m)
}

func (l *loader) evaluated(d *draft, expr hclsyntax.Expression, arg sdk.Arg, m *mentions) *evaluated {
	return &evaluated{expr, l.position(d, expr, arg.Name), arg, m, l.compiled(d, expr, m)}
}

func (l *loader) position(d *draft, expr hclsyntax.Expression, name string) string {
	r := expr.Range()
	return fmt.Sprintf("%s:%d: %s: %s", r.Filename, r.Start.Line, d.Address, name)
}

// lower takes apart what needs no cty: object constructors into their values, plain fields of the body into copies.
func (l *loader) lower(d *draft, e *evaluated, where place) expression {
	switch x := e.expr.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		if names, ok := bodyField(x.Traversal); ok && (e.arg.Type == sdk.Any || e.arg.Type == sdk.String) {
			return &field{d.rows.slot(names[0]), names[1:], e.arg.Type, e}
		}
	case *hclsyntax.ObjectConsExpr:
		inner := e.arg
		switch e.arg.Type {
		case sdk.AnyMap, sdk.Any:
			inner.Type = sdk.Any
		case sdk.StringMap:
			inner.Type = sdk.String
		default:
			return e
		}
		o := &object{dropNull: e.arg.Type == sdk.StringMap}
		for _, item := range x.Items {
			key, diags := item.KeyExpr.Value(nil)
			if diags.HasErrors() || !key.IsKnown() || key.IsNull() || key.Type() != cty.String || slices.Contains(o.names, key.AsString()) {
				return e
			}
			inner.Name = e.arg.Name + "." + key.AsString()
			m, ok := l.check(item.ValueExpr, where, inner.Name, d.in)
			if !ok {
				return e
			}
			value := l.evaluated(d, item.ValueExpr, inner, m)
			o.names = append(o.names, key.AsString())
			o.values = append(o.values, l.lower(d, value, where))
		}
		return o
	}
	return e
}

// bodyField reads record.body.a.b.
func bodyField(tr hcl.Traversal) ([]string, bool) {
	if tr.RootName() != "record" || len(tr) < 3 {
		return nil, false
	}
	if name, _ := step(tr, 1); name != "body" {
		return nil, false
	}
	var names []string
	for i := 2; i < len(tr); i++ {
		name, ok := step(tr, i)
		if !ok {
			return nil, false
		}
		names = append(names, name)
	}
	return names, true
}

// shape is an evaluation context in which everything about the record is unknown but its types.
func (l *loader) shape(in *flow, m *mentions) *hcl.EvalContext {
	file := cty.Object(fileAttrs)
	record := map[string]cty.Value{
		"id": cty.UnknownVal(cty.String), "seq": cty.UnknownVal(cty.Number), "key": cty.UnknownVal(cty.String),
		"kind": cty.UnknownVal(cty.String), "time": cty.UnknownVal(cty.String),
		"files": cty.UnknownVal(cty.List(file)), "body": cty.DynamicVal,
	}
	if m.body != nil && !m.body.whole {
		body := map[string]cty.Value{}
		for name := range m.body.sub {
			body[name] = cty.UnknownVal(in.typeOf(name))
		}
		record["body"] = cty.ObjectVal(body)
	}
	meta := map[string]cty.Value{}
	for name := range m.meta {
		meta[name] = cty.UnknownVal(cty.String)
	}
	record["meta"] = cty.ObjectVal(meta)
	ctx := l.scope.NewChild()
	ctx.Variables = map[string]cty.Value{"record": cty.ObjectVal(record), "file": cty.UnknownVal(file)}
	if len(m.receipts) > 0 {
		ctx.Variables["receipt"] = nest(m.receipts, func(address string) cty.Value {
			attrs := map[string]cty.Value{}
			for name, t := range receiptAttrs {
				attrs[name] = cty.UnknownVal(t)
			}
			for _, f := range l.steps[address].receiptFields() {
				attrs[f.Name] = cty.UnknownVal(typeOf(f.Type))
			}
			return cty.ObjectVal(attrs)
		})
	}
	return ctx
}

// nest builds the object behind receipt.TYPE.NAME from addresses sink.TYPE.NAME.
func nest(addresses map[string]bool, value func(address string) cty.Value) cty.Value {
	types := map[string]map[string]cty.Value{}
	for address := range addresses {
		part := strings.SplitN(address, ".", 3)
		if types[part[1]] == nil {
			types[part[1]] = map[string]cty.Value{}
		}
		types[part[1]][part[2]] = value(address)
	}
	out := map[string]cty.Value{}
	for typ, names := range types {
		out[typ] = cty.ObjectVal(names)
	}
	return cty.ObjectVal(out)
}

// typeOf is the type of a field of the body, as published.
func (f *flow) typeOf(name string) cty.Type {
	if t, ok := f.body[name]; ok {
		return typeOf(t)
	}
	attrs := map[string]cty.Type{}
	for full, t := range f.body {
		if rest, ok := strings.CutPrefix(full, name+"."); ok && !strings.Contains(rest, ".") {
			attrs[rest] = typeOf(t)
		}
	}
	if len(attrs) > 0 && !f.open {
		return cty.Object(attrs)
	}
	return cty.DynamicPseudoType
}

func typeOf(t sdk.Type) cty.Type {
	if t == sdk.AnyMap {
		return cty.DynamicPseudoType
	}
	c, _ := wanted(t)
	return c
}

// receiptFields is what the receipt of a sink offers beside state, code, urls and files.
func (d *draft) receiptFields() []sdk.Field {
	if d.component == nil {
		return nil
	}
	return d.component.Receipt
}
