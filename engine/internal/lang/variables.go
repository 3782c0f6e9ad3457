package lang

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// variable is a declared variable.
type variable struct {
	block    *hclsyntax.Block
	typ      cty.Type
	defaults *typeexpr.Defaults
}

// declareVariables reads the declarations and finds the values: -var, then WEIR_VAR_NAME, then *.weirvars beside the first file,
// then the default. Values given as text are taken as they are for strings and parsed as expressions, or JSON, for all other types.
func (l *loader) declareVariables(blocks []*hclsyntax.Block) {
	values := map[string]cty.Value{}
	files := l.readVariableFiles()
	for _, b := range blocks {
		name := b.Labels[0]
		if first := l.variables[name]; first != nil {
			l.errorf(b.LabelRanges[0], "keep one of them", "variable %s is declared twice, first in line %d", name, first.block.TypeRange.Start.Line)
			continue
		}
		l.only("variable "+name, b.Body, []string{"type", "default", "description"}, nil)
		v := &variable{block: b, typ: cty.DynamicPseudoType}
		l.variables[name] = v
		if a := b.Body.Attributes["type"]; a != nil {
			typ, defaults, diags := typeexpr.TypeConstraintWithDefaults(a.Expr)
			l.addHCL(diags, nil)
			if !diags.HasErrors() {
				v.typ, v.defaults = typ, defaults
			}
		}
		values[name] = l.variableValue(name, v, files)
	}
	for _, name := range slices.Sorted(maps.Keys(l.opt.Vars)) {
		if l.variables[name] == nil {
			l.list = append(l.list, Diagnostic{Problem: fmt.Sprintf("--var %s: there is no variable of this name", name),
				Remedy: remedy(name, slices.Collect(maps.Keys(l.variables)), "the variables are")})
		}
	}
	l.scope.Variables["var"] = cty.ObjectVal(values)
}

func (l *loader) variableValue(name string, v *variable, files map[string]*hcl.Attribute) cty.Value {
	unknown := cty.UnknownVal(v.typ.WithoutOptionalAttributesDeep())
	var fallback cty.Value
	if a := v.block.Body.Attributes["default"]; a != nil {
		val, ok := l.fixedValue(a.Expr, "default")
		if !ok {
			return unknown
		}
		if fallback, ok = l.fit(v, val, a.Expr.Range(), fmt.Sprintf("the default of variable %s", name)); !ok {
			return unknown
		}
	}
	given := func(text, from string) cty.Value {
		val, err := parseVariable(text, v.typ)
		if err == nil {
			if val, err = convert.Convert(withDefaults(v, val), v.typ); err == nil {
				return val
			}
		}
		// neither the text nor the parser's words about it: it may be a secret
		l.errorf(v.block.DefRange(), fmt.Sprintf("write the value as in HCL or JSON, for example %s", example(v.typ)),
			"%s does not hold %s", from, typeName(v.typ))
		return unknown
	}
	if text, ok := l.opt.Vars[name]; ok {
		return given(text, "--var "+name)
	}
	if text, ok := l.opt.Getenv("WEIR_VAR_" + name); ok {
		return given(text, "WEIR_VAR_"+name)
	}
	if a := files[name]; a != nil {
		val, diags := evaluate(a.Expr.(hclsyntax.Expression), nil)
		if diags.HasErrors() {
			l.hidden(a.NameRange, a.Expr.Range(), "a *.weirvars file holds plain values: no functions, no references", "%s is not a plain value", name)
			return unknown
		}
		if val, ok := l.fit(v, val, a.NameRange, "variable "+name); ok {
			return val
		}
		return unknown
	}
	if fallback != cty.NilVal {
		return fallback
	}
	if !l.opt.Static {
		l.errorf(v.block.DefRange(), fmt.Sprintf("set it: --var %s=…, WEIR_VAR_%s in the environment, or a line in a *.weirvars file beside the pipeline", name, name),
			"variable %s has no value", name)
	}
	return unknown
}

// fit converts a value to the variable's type.
func (l *loader) fit(v *variable, val cty.Value, at hcl.Range, what string) (cty.Value, bool) {
	val, err := convert.Convert(withDefaults(v, val), v.typ)
	if err != nil {
		l.hidden(at, at, "write for example "+example(v.typ), "%s is not %s: %v", what, typeName(v.typ), err)
		return val, false
	}
	return val, true
}

func withDefaults(v *variable, val cty.Value) cty.Value {
	if v.defaults != nil && !val.IsNull() && val.IsKnown() {
		return v.defaults.Apply(val)
	}
	return val
}

func parseVariable(text string, typ cty.Type) (cty.Value, error) {
	if typ == cty.String || typ == cty.DynamicPseudoType {
		return cty.StringVal(text), nil
	}
	if _, problem := tooMuch([]byte(text), "value"); problem != "" {
		return cty.NilVal, errors.New(problem)
	}
	expr, diags := hclsyntax.ParseExpression([]byte(text), "value", hcl.InitialPos)
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	countRounds(expr)
	val, diags := evaluate(expr, nil)
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	return val, nil
}

// readVariableFiles reads the *.weirvars files beside the first pipeline file, in the order of their names; the last one wins. A
// name that the pipeline does not declare is ignored: several pipelines may share the file.
func (l *loader) readVariableFiles() map[string]*hcl.Attribute {
	all := map[string]*hcl.Attribute{}
	names, _ := filepath.Glob(filepath.Join(escapeGlob(l.folder), "*.weirvars"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			l.list = append(l.list, Diagnostic{Problem: err.Error()})
			continue
		}
		if at, problem := tooMuch(text, name); problem != "" {
			l.errorf(at, "write it in smaller parts", "%s", problem)
			continue
		}
		file, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
		if diags.HasErrors() { // without snippet: the line may hold a secret
			l.addHCL(diags, nil)
			continue
		}
		l.source[name] = text
		countRounds(file.Body.(*hclsyntax.Body))
		attrs, diags := file.Body.JustAttributes()
		l.addHCL(diags, nil)
		maps.Copy(all, attrs)
	}
	return all
}

// local is a named expression.
type local struct {
	attr *hclsyntax.Attribute
	busy bool // being evaluated: meeting it again is a cycle
	done bool
	val  cty.Value
}

// declareLocals evaluates all locals, each after those it mentions.
func (l *loader) declareLocals(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		for _, inner := range b.Body.Blocks {
			l.errorf(inner.TypeRange, "write: NAME = VALUE", "locals holds no blocks")
		}
		for name, a := range b.Body.Attributes {
			if first := l.locals[name]; first != nil {
				l.errorf(a.NameRange, "keep one of them", "local %s is declared twice, also in line %d", name, first.attr.NameRange.Start.Line)
				continue
			}
			l.locals[name] = &local{attr: a}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.locals)) {
		l.resolveLocal(name)
	}
}

func (l *loader) resolveLocal(name string) {
	loc := l.locals[name]
	if loc == nil || loc.done {
		return
	}
	if loc.busy {
		l.errorf(loc.attr.NameRange, "break the circle", "local %s is made of itself", name)
		l.setLocal(loc, cty.DynamicVal)
		return
	}
	loc.busy = true
	for _, tr := range loc.attr.Expr.Variables() {
		if next, ok := step(tr, 1); tr.RootName() == "local" && ok {
			l.resolveLocal(next)
		}
	}
	loc.busy = false
	for call := range calls(loc.attr.Expr) {
		if call.Name == "keyring" {
			l.errorf(call.NameRange, "write keyring(…) in the argument that needs it", "keyring is read again every minute, which a local cannot follow")
		}
	}
	val, _ := l.fixedValue(loc.attr.Expr, "local."+name) // of any type where it failed, so that nothing echoes
	l.setLocal(loc, val)
}

func (l *loader) setLocal(loc *local, val cty.Value) {
	loc.done, loc.val = true, val
	known := map[string]cty.Value{}
	for name, other := range l.locals {
		if other.done {
			known[name] = other.val
		}
	}
	l.scope.Variables["local"] = cty.ObjectVal(known)
}

// typeName says what a type is, for people.
func typeName(t cty.Type) string {
	switch {
	case t == cty.DynamicPseudoType:
		return "any value"
	case t == cty.String:
		return "a string"
	case t == cty.Number:
		return "a number"
	case t == cty.Bool:
		return "true or false"
	case t.IsTupleType():
		return "a list"
	case t.IsObjectType():
		return "an object"
	}
	name := typeexpr.TypeString(t)
	return "a " + strings.NewReplacer("(any)", "").Replace(name)
}

// example shows how a value of a type is written.
func example(t cty.Type) string {
	switch {
	case t == cty.String:
		return `"text"`
	case t == cty.Number:
		return "10"
	case t == cty.Bool:
		return "true"
	case t.IsListType(), t.IsSetType():
		return "[" + example(t.ElementType()) + "]"
	case t.IsMapType():
		return `{ "1" = ` + example(t.ElementType()) + " }"
	}
	return `"text", 10 or [1, 2]`
}
