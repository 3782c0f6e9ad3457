package lang

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
)

// call compiles the functions that pipelines use for every record.
func (c *compiler) call(x *hclsyntax.FunctionCallExpr) *node {
	if x.ExpandFinal {
		return nil
	}
	switch x.Name {
	case "status":
		return c.status(x)
	case "since":
		return c.since(x)
	case "formatdate":
		return c.formatdate(x)
	}
	if x.Name == "try" {
		c.tries++
		defer func() { c.tries-- }()
	}
	args, all := c.nodes(x.Args)
	if !all || len(args) == 0 {
		return nil
	}
	if f := texts()[x.Name]; f != nil && len(args) == 1 {
		return one(args[0], aText, func(v val) (val, verdict) {
			s, verdict := asText(v)
			if verdict != ok {
				return v, verdict
			}
			return textVal(f(s))
		})
	}
	if f := tests()[x.Name]; f != nil && len(args) == 2 {
		return strict(args[0], args[1], aBool, func(a, b val) (val, verdict) {
			s, v := asText(a)
			part, w := asText(b)
			return boolVal(f(s, part)), max(v, w)
		})
	}
	switch {
	case x.Name == "try":
		return try(args)
	case x.Name == "length" && len(args) == 1:
		of := args[0].eval
		return &node{is: aNumber, eval: func(s *scope) (val, verdict) {
			v, verdict := of(s)
			if verdict != ok {
				return v, verdict
			}
			return s.length(v)
		}}
	case x.Name == "join":
		return join(args)
	}
	return nil
}

// try takes the first that does not fail.
func try(args []*node) *node {
	return &node{eval: func(s *scope) (val, verdict) {
		for _, a := range args {
			if v, verdict := a.eval(s); verdict != fails {
				return v, verdict
			}
		}
		return val{}, fails
	}}
}

func join(args []*node) *node {
	return &node{is: aText, eval: func(s *scope) (val, verdict) {
		var few [4]val
		vals, verdict := evalAll(s, args, few[:0])
		if verdict != ok {
			return val{}, verdict
		}
		separator, worst := asText(vals[0])
		var some [8]string
		parts := some[:0]
		for _, v := range vals[1:] {
			switch {
			case v.kind == aNull && (v.of == aNull || v.of == aList):
				continue
			case v.kind != aList:
				return val{}, notMine
			}
			for _, e := range v.vals {
				part, verdict := asText(e)
				parts, worst = append(parts, part), max(worst, verdict)
			}
		}
		if worst != ok {
			return val{}, worst
		}
		return textVal(strings.Join(parts, separator))
	}}
}

// since compiles since(map, seq) for a map that no record changes.
func (c *compiler) since(x *hclsyntax.FunctionCallExpr) *node {
	if len(x.Args) != 2 || !c.isFixed(x.Args[0]) {
		return nil
	}
	seq := c.node(x.Args[1])
	table, is, known := c.table(x.Args[0])
	if seq == nil || !known {
		return nil
	}
	return &node{is: is, eval: func(s *scope) (val, verdict) {
		at, verdict := seq.eval(s)
		switch {
		case verdict != ok:
			return at, verdict
		case at.kind == aNull:
			return at, fails
		case at.kind != aNumber:
			return at, notMine
		}
		for _, from := range table {
			if at.n >= 0 && from.key <= uint64(at.n) {
				return from.val, ok
			}
		}
		return val{}, fails
	}}
}

// from is a value from a number on.
type from struct {
	key uint64
	val val
}

// table reads the map of since(), greatest key first, and what its values are of.
func (c *compiler) table(expr hclsyntax.Expression) (table []from, is kind, known bool) {
	v, diags := evaluate(expr, c.scope)
	if countRounds(expr) || diags.HasErrors() || v.ContainsMarked() || !v.IsWhollyKnown() || v.IsNull() {
		return nil, aNull, false
	}
	want, err := sinceFunc.ReturnType([]cty.Type{v.Type(), cty.Number})
	if err != nil || !v.CanIterateElements() {
		return nil, aNull, false
	}
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		key, err := strconv.ParseUint(k.AsString(), 10, 64)
		if err != nil {
			return nil, aNull, false
		}
		if e, err = convert.Convert(e, want); err != nil {
			return nil, aNull, false
		}
		value, simple := constVal(e)
		if !simple {
			return nil, aNull, false
		}
		table = append(table, from{key, value})
	}
	slices.SortStableFunc(table, func(a, b from) int {
		if a.key > b.key {
			return -1
		}
		return int(min(1, b.key-a.key))
	})
	return table, kindOf(want), true
}

// status compiles status(record, receipt.TYPE.NAME…).
func (c *compiler) status(x *hclsyntax.FunctionCallExpr) *node {
	var addresses []string
	for i, a := range x.Args {
		tr, plain := a.(*hclsyntax.ScopeTraversalExpr)
		switch {
		case !plain:
			return nil
		case i == 0 && len(tr.Traversal) == 1 && tr.Traversal.RootName() == "record":
		case i > 0 && len(tr.Traversal) == 3 && tr.Traversal.RootName() == "receipt":
			address, _ := receiptOf(tr.Traversal)
			addresses = append(addresses, address)
		default:
			return nil
		}
	}
	return &node{is: aText, eval: func(s *scope) (val, verdict) {
		flags, verdict := textVal(s.rec.Meta("flags"))
		var some [8]status.File
		rec := status.Record{Flags: flags.s, Files: some[:0]}
		normal := func(t string) string {
			v, w := textVal(t)
			verdict = max(verdict, w)
			return v.s
		}
		for i := range s.recordFiles() {
			f := &s.recordFiles()[i]
			rec.Files = append(rec.Files, status.File{Index: i, Outcome: sdk.FileOutcome(normal(string(f.Outcome))), HasBytes: f.HasBytes(), SHA256: normal(f.SHA256)})
		}
		var few [2]status.Receipt
		receipts := few[:0]
		for _, address := range addresses {
			r := s.answer(address)
			receipts = append(receipts, status.Receipt{State: normal(r.State), Files: r.Files})
		}
		if verdict != ok {
			return val{}, verdict
		}
		return val{kind: aText, s: status.Of(rec, receipts...)}, ok
	}}
}

// formatdate compiles formatdate(format, time) for formats of whole numbers and signs, such as "YYYY/MM/DD hh:mm".
func (c *compiler) formatdate(x *hclsyntax.FunctionCallExpr) *node {
	if len(x.Args) != 2 || !c.isFixed(x.Args[0]) {
		return nil
	}
	format, at := c.constant(x.Args[0]), c.node(x.Args[1])
	if format == nil || format.fixed.kind != aText || at == nil {
		return nil
	}
	layout, simple := layoutOf(format.fixed.s)
	if !simple {
		return nil
	}
	zone := c.pipeline.Timezone
	if tr, plain := x.Args[1].(*hclsyntax.ScopeTraversalExpr); plain && len(tr.Traversal) == 2 && text(tr.Traversal) == "record.time" {
		return &node{is: aText, eval: func(s *scope) (val, verdict) {
			t := s.rec.Time().In(zone)
			switch {
			case s.rec.Time().IsZero():
				return val{}, fails
			case t.Year() < 1 || t.Year() > 9998:
				return val{}, notMine
			}
			return val{kind: aText, s: t.Format(layout)}, ok
		}}
	}
	return one(at, aText, func(v val) (val, verdict) {
		if v.kind != aText {
			return v, notMine
		}
		t, err := time.Parse(time.RFC3339Nano, v.s)
		if err != nil {
			return v, fails
		}
		if t = t.In(zone); t.Year() < 1 || t.Year() > 9998 {
			return v, notMine
		}
		return val{kind: aText, s: t.Format(layout)}, ok
	})
}

// layoutOf is a format of formatdate as one of package time, where both mean the same.
func layoutOf(format string) (layout string, simple bool) {
	verbs := map[string]string{"YYYY": "2006", "YY": "06", "MM": "01", "DD": "02", "hh": "15", "mm": "04", "ss": "05"}
	for rest := format; rest != ""; {
		n := 1
		for n < len(rest) && rest[n] == rest[0] {
			n++
		}
		verb, known := verbs[rest[:n]]
		switch {
		case known:
			layout += verb
		case strings.Contains("/-: ", rest[:1]):
			layout += rest[:n]
		default:
			return "", false
		}
		rest = rest[n:]
	}
	return layout, true
}

// holds evaluates a condition. Null counts as false.
func (e *evaluated) holds(s *scope) (bool, error) {
	if v, verdict := e.fast(s); verdict == ok && (v.kind == aBool || v.kind == aNull) {
		return v.n == 1, nil
	}
	val, err := e.value(s)
	if err != nil || val.IsNull() {
		return false, err
	}
	return val.True(), nil
}

// id evaluates what gives the id of a record. That may be an object of the body which has one.
func (e *evaluated) id(s *scope) (string, verdict) {
	v, verdict := e.fast(s)
	switch {
	case verdict != ok, v.kind == aNull:
		return "", verdict
	case v.kind == aJSON:
		if v, verdict = memberOf(v.s, "id"); verdict != ok || v.kind == aNull {
			return "", verdict
		}
	}
	id, verdict := asText(v)
	return strings.Clone(id), verdict // the text lies in a batch
}

// lists evaluates what says which files are wanted.
func (e *evaluated) lists(s *scope) ([]named, verdict) {
	v, verdict := e.fast(s)
	if verdict != ok || v.kind == aNull {
		return nil, verdict
	}
	if e.arg.Type == sdk.Files {
		list, verdict := s.indexes(v)
		return []named{{files: list}}, verdict
	}
	if v.kind != anObject {
		return nil, notMine
	}
	all := make([]named, len(v.vals))
	for i, name := range v.names {
		list, verdict := s.indexes(v.vals[i])
		if verdict != ok {
			return nil, verdict
		}
		all[i] = named{name, list}
	}
	return all, ok
}

// indexes reads a list of files.
func (s *scope) indexes(v val) ([]int, verdict) {
	switch {
	case v.kind == aNull:
		return nil, ok
	case v.kind == theFiles:
		all := make([]int, len(s.recordFiles()))
		for i := range all {
			all[i] = i
		}
		return all, ok
	case v.kind != aList:
		return nil, notMine
	}
	all := make([]int, len(v.vals))
	for i, f := range v.vals {
		if f.kind != aFile {
			return nil, notMine
		}
		all[i] = int(f.n)
	}
	return all, ok
}
