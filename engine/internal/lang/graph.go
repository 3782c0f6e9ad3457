package lang

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	"github.com/weir-etl/weir/sdk"
)

// draft is a step while it is read.
type draft struct {
	*Step
	block     *hclsyntax.Block
	component *sdk.Component // nil: unknown type, reported
	in, out   *flow
}

// readSteps builds the graph: first every step's place in it, then, inputs first, what flows and what the blocks say.
func (l *loader) readSteps(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		l.declareStep(b)
	}
	for _, d := range l.order {
		l.link(d)
	}
	l.sortSteps()
	for _, d := range l.order {
		l.join(d)
		l.readStep(d)
		l.pipeline.Steps = append(l.pipeline.Steps, d.Step)
	}
	l.fuse()
	if len(blocks) == 0 {
		l.list = append(l.list, Diagnostic{Problem: "the pipeline has no steps", Remedy: `write at least a source and a sink`})
	}
}

func (l *loader) declareStep(b *hclsyntax.Block) {
	s := &Step{Kind: sdk.ComponentKind(b.Type), Type: b.Labels[0], Name: b.Labels[1]}
	s.Address = b.Type + "." + s.Type + "." + s.Name
	if first := l.steps[s.Address]; first != nil {
		l.errorf(b.DefRange(), "choose another name", "%s is declared twice, first in line %d", s.Address, first.block.TypeRange.Start.Line)
		return
	}
	d := &draft{Step: s, block: b, in: newFlow(), out: unknownFlow()}
	l.steps[s.Address] = d
	l.order = append(l.order, d)
	if decl, ok := l.components[b.Type+"."+s.Type]; ok {
		d.component, s.Component, s.Plugin = decl.what, decl.what, decl.plugin
		for _, a := range decl.what.Args {
			if slices.Contains(sinkWords, a.Name) || slices.Contains(stepBlocks, a.Name) {
				l.errorf(b.LabelRanges[0], "the plugin's author must rename it", "%s %q declares an argument %q, which is a word of weir itself", b.Type, s.Type, a.Name)
			}
		}
		return
	}
	var types []string
	for name, decl := range l.components {
		kind, typ, _ := strings.Cut(name, ".")
		if kind == b.Type {
			types = append(types, typ)
		} else if typ == s.Type {
			l.errorf(b.LabelRanges[0], fmt.Sprintf("write: %s %q %q", decl.what.Kind, s.Type, s.Name), "%s is a %s, not a %s", s.Type, decl.what.Kind, b.Type)
			return
		}
	}
	l.errorf(b.LabelRanges[0], remedy(s.Type, types, "there are"), "no plugin offers a %s %q", b.Type, s.Type)
}

// link reads what a step is connected with: its inputs, and the sinks it comes after.
func (l *loader) link(d *draft) {
	body := d.block.Body
	if a := body.Attributes["input"]; a != nil && d.Kind != sdk.KindSource {
		for _, e := range listOf(a.Expr) {
			l.linkInput(d, e)
		}
	} else if a == nil && d.Kind != sdk.KindSource {
		l.errorf(d.block.DefRange(), "write: input = transform.TYPE.NAME, or a source, or "+Events, "%s has no input", d.Address)
	}
	if a := body.Attributes["after"]; a != nil {
		for _, e := range listOf(a.Expr) {
			if address, ok := l.sinkIn(d, e, "after"); ok {
				d.After = append(d.After, address)
			}
		}
	}
	for _, a := range inOrder(body.Attributes) {
		for _, tr := range a.Expr.Variables() {
			typ, ok1 := step(tr, 1)
			name, ok2 := step(tr, 2)
			if tr.RootName() != "receipt" || !ok1 || !ok2 {
				continue
			}
			address := "sink." + typ + "." + name
			if !slices.Contains(d.Receipts, address) && l.isSink(d, address, tr.SourceRange()) {
				d.Receipts = append(d.Receipts, address)
				if !slices.Contains(d.After, address) {
					d.After = append(d.After, address)
				}
			}
		}
	}
}

func inOrder(attrs hclsyntax.Attributes) []*hclsyntax.Attribute {
	return slices.SortedFunc(maps.Values(attrs), func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
}

// listOf is the elements of [a, b], or the expression itself.
func listOf(expr hclsyntax.Expression) []hclsyntax.Expression {
	if t, ok := expr.(*hclsyntax.TupleConsExpr); ok {
		return t.Exprs
	}
	return []hclsyntax.Expression{expr}
}

func (l *loader) linkInput(d *draft, e hclsyntax.Expression) {
	const want = "write source.TYPE.NAME, transform.TYPE.NAME, " + Events + ", or a list of them"
	address, ok := addressOf(e)
	root, _, _ := strings.Cut(address, ".")
	switch {
	case !ok:
		if tr, diags := hcl.AbsTraversalForExpr(e); !diags.HasErrors() && tr.RootName() == "report" {
			l.errorf(e.Range(), "take it out until a later version knows it", "reports are not built yet")
			return
		}
		l.errorf(e.Range(), want, "input of %s is not the name of a step", d.Address)
	case address == "weir.health" || root == "report":
		l.errorf(e.Range(), "take it out until a later version knows it", "%s is not built yet", address)
	case address != Events && root != "source" && root != "transform":
		remedy := want
		if root == "sink" {
			remedy = "nothing comes out of a sink: name what it reads, and say after = [" + address + "] if it must come first"
		}
		l.errorf(e.Range(), remedy, "%s cannot be an input", address)
	case address != Events && l.steps[address] == nil:
		l.errorf(e.Range(), remedy(address, l.addresses("source.", "transform."), "there are"), "there is no step %s", address)
	case slices.Contains(d.Inputs, address):
		l.errorf(e.Range(), "name it once", "%s stands twice in input", address)
	default:
		d.Inputs = append(d.Inputs, address)
	}
}

func (l *loader) addresses(prefixes ...string) (out []string) {
	for address := range l.steps {
		if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(address, p) }) {
			out = append(out, address)
		}
	}
	return out
}

func (l *loader) sinkIn(d *draft, e hclsyntax.Expression, word string) (string, bool) {
	address, ok := addressOf(e)
	if !ok {
		l.errorf(e.Range(), fmt.Sprintf("write: %s = [sink.TYPE.NAME]", word), "%s of %s is not the name of a step", word, d.Address)
		return "", false
	}
	return address, l.isSink(d, address, e.Range())
}

// isSink checks that a step may come after address.
func (l *loader) isSink(d *draft, address string, at hcl.Range) bool {
	short := strings.TrimPrefix(address, "sink.")
	switch {
	case address == d.Address:
		l.errorf(at, "a step cannot wait for itself", "%s comes after itself", address)
	case l.steps[address] != nil && strings.HasPrefix(address, "sink."):
		return true
	case l.steps["transform."+short] != nil || l.steps["source."+short] != nil || l.steps[address] != nil:
		l.errorf(at, "only sinks give receipts, and only sinks can be waited for", "%s is not a sink", short)
	default:
		others := slices.DeleteFunc(l.addresses("sink."), func(a string) bool { return a == d.Address })
		hint := remedy(address, others, "there are")
		if hint == "" {
			hint = "write the name of a sink of this file: there is no other"
		}
		l.errorf(at, hint, "there is no step %s", address)
	}
	return false
}

// sortSteps puts inputs and sinks that must come first before those that need them, and keeps the order of the file otherwise.
func (l *loader) sortSteps() {
	const white, grey, black = 0, 1, 2
	colour := map[string]int{}
	var sorted []*draft
	var trail []string
	var visit func(d *draft)
	visit = func(d *draft) {
		colour[d.Address] = grey
		trail = append(trail, d.Address)
		for _, before := range slices.Concat(d.Inputs, d.After) {
			next := l.steps[before]
			switch {
			case next == nil: // weir.events
			case colour[before] == grey:
				circle := append(slices.Clone(trail[slices.Index(trail, before):]), before)
				l.errorf(d.block.DefRange(), "take one of input, after and receipt out of the circle", "steps wait for each other: %s", strings.Join(circle, " needs "))
			case colour[before] == white:
				visit(next)
			}
		}
		trail = trail[:len(trail)-1]
		colour[d.Address] = black
		sorted = append(sorted, d)
	}
	for _, d := range l.order {
		if colour[d.Address] == white {
			visit(d)
		}
	}
	l.order = sorted
}

// events is what flows out of weir.events.
func events() *flow {
	f := newFlow()
	f.kinds[EventKind], f.sources[Events] = true, true
	f.body = map[string]sdk.Type{
		"code": sdk.String, "severity": sdk.String, "step": sdk.String, "cause": sdk.String, "first": sdk.String, "count": sdk.Number,
		"recovered": sdk.Bool, "attrs": sdk.StringMap, "subject.source": sdk.String, "subject.id": sdk.String, "subject.seq": sdk.Number,
	}
	for _, name := range []string{"severity", "step", "code", "recovered", "title", "text"} {
		f.meta[name] = true
	}
	return f
}

// join computes what flows into a step and out of it, and checks that the step understands it. A component that makes another kind
// makes another body: of what came in, only meta is still there. A new body of which nothing is published may hold anything.
func (l *loader) join(d *draft) {
	for _, in := range d.Inputs {
		if in == Events {
			d.in.join(events())
		} else {
			l.checkKinds(d, in)
			d.in.join(l.steps[in].out)
		}
	}
	if slices.Contains(d.Inputs, Events) {
		l.checkKinds(d, Events)
	}
	if len(d.Inputs) == 0 && d.Kind != sdk.KindSource {
		d.in = unknownFlow()
	}
	if d.component == nil {
		return // out stays unknown
	}
	d.out = newFlow()
	if d.Kind == sdk.KindSource {
		d.out.sources[d.Address] = true
		d.out.open = !d.out.publish(d.component.Fields) || d.out.open
		l.emit(d, d.component.Emits)
		return
	}
	if !d.changesKind() {
		d.out.join(d.in)
		d.out.publish(d.component.Fields)
		return
	}
	maps.Copy(d.out.sources, d.in.sources)
	maps.Copy(d.out.meta, d.in.meta) // the body is a new one, meta stays
	d.out.anyMeta = d.in.anyMeta
	d.out.open = !d.out.publish(d.component.Fields) || d.out.open
	l.emit(d, d.component.Emits)
}

// changesKind reports whether a transform emits another kind than comes in.
func (d *draft) changesKind() bool {
	if d.Kind != sdk.KindTransform || d.component == nil || len(d.component.Emits) == 0 {
		return false
	}
	for kind := range d.in.kinds {
		if !slices.Contains(d.component.Emits, kind) {
			return true
		}
	}
	return d.in.anyKind
}

// emit notes the kinds that come out. A source that declares none takes them from its argument "kind".
func (l *loader) emit(d *draft, kinds []string) {
	for _, k := range kinds {
		d.out.kinds[k] = true
	}
	if len(kinds) > 0 {
		return
	}
	d.out.anyKind = true
	for _, a := range d.component.Args {
		if a.Name != "kind" {
			continue
		}
		kind, _ := a.Default.(string)
		if attr := d.block.Body.Attributes["kind"]; attr != nil {
			quiet := *l
			quiet.list = nil // the argument is decoded, and its mistakes reported, later
			values := &decoded{body: d.block.Body, values: nil}
			if val, ok := quiet.fixedValue(attr.Expr, "kind"); ok {
				val, _ = val.UnmarkDeep()
				if fitted, problem := fitArg(val, a); problem == "" {
					values.values = map[string]cty.Value{"kind": fitted}
				}
			}
			kind = values.text("kind")
		}
		if kind != "" {
			d.out.anyKind, d.out.kinds[kind] = false, true
		}
	}
}

// checkKinds refuses an edge along which kinds flow that the step does not understand.
func (l *loader) checkKinds(d *draft, input string) {
	from := events()
	if input != Events {
		from = l.steps[input].out
	}
	if d.component == nil || len(d.component.Accepts) == 0 {
		return
	}
	for _, kind := range slices.Sorted(maps.Keys(from.kinds)) {
		if slices.Contains(d.component.Accepts, kind) {
			continue
		}
		at := d.block.Body.Attributes["input"].Expr.Range()
		for _, e := range listOf(d.block.Body.Attributes["input"].Expr) {
			if a, _ := addressOf(e); a == input {
				at = e.Range()
			}
		}
		l.errorf(at, l.missingSteps(kind, d.component.Accepts), "%s understands %s, but %s gives %s",
			d.Address, strings.Join(d.component.Accepts, " or "), input, kind)
	}
}

// missingSteps names the shortest chain of transforms that leads from a kind to one of the wanted ones.
func (l *loader) missingSteps(kind string, wanted []string) string {
	type road struct {
		kind  string
		types []string
	}
	seen := map[string]bool{kind: true}
	for queue := []road{{kind, nil}}; len(queue) > 0; queue = queue[1:] {
		here := queue[0]
		if slices.Contains(wanted, here.kind) {
			if len(here.types) == 1 {
				return fmt.Sprintf("a step is missing in between: transform %s", here.types[0])
			}
			return fmt.Sprintf("steps are missing in between: transform %s", strings.Join(here.types, ", then "))
		}
		for _, name := range slices.Sorted(maps.Keys(l.components)) {
			c := l.components[name].what
			if c.Kind != sdk.KindTransform || !slices.Contains(c.Accepts, here.kind) {
				continue
			}
			for _, next := range c.Emits {
				if !seen[next] {
					seen[next] = true
					queue = append(queue, road{next, append(slices.Clone(here.types), fmt.Sprintf("%q", c.Type))})
				}
			}
		}
	}
	return "no transform leads from one to the other"
}
