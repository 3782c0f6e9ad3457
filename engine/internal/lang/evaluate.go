package lang

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/tidwall/gjson"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/weir-etl/weir/sdk"
)

// Record is what expressions read of a record. The methods are called only for what an expression mentions.
type Record interface {
	ID() string
	Seq() uint64 // 0 = none
	Key() string
	Kind() string
	Time() time.Time // zero = not known
	Body() []byte    // nobody writes into it
	Meta(name string) string
	Files() []sdk.File
}

// Receipt is what expressions read of a sink's answer.
type Receipt struct {
	State  string // see package status; "" = none yet
	Code   string
	URLs   []string       // newest first
	Files  []int          // indexes of the files it concerns
	Fields map[string]any // as declared by the sink's component; JSON values
}

// Receipts gives the receipt of the sink with this address for the record at hand.
type Receipts func(address string) Receipt

// Wants reports whether the record concerns the step: its "when" holds, and a sink that takes files only has files to take. A
// disabled step answers what it would have wanted. An error names file, line and argument, never a value of the record.
func (s *Step) Wants(rec Record, receipts Receipts) (bool, error) {
	if s.rows.when != nil {
		if holds, err := s.rows.when.holds(s.scope(rec, receipts)); !holds || err != nil {
			return false, err
		}
	}
	if !s.Component.FilesOnly {
		return true, nil
	}
	files, err := s.WantedFiles(rec, receipts)
	return len(files) > 0, err
}

// WantedFiles returns the indexes of the files that the step's arguments ask for, in their order. A component without such an
// argument wants none.
func (s *Step) WantedFiles(rec Record, receipts Receipts) ([]int, error) {
	if len(s.rows.files) == 0 {
		return nil, nil
	}
	sc := s.scope(rec, receipts)
	var all []int
	for _, arg := range s.rows.files {
		lists, err := arg.wanted(sc)
		if err != nil {
			return nil, err
		}
		for _, list := range lists {
			all = append(all, list.files...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// RowArgs returns the values of the per-record arguments as a JSON object, nil when the component has none.
func (s *Step) RowArgs(rec Record, receipts Receipts) (json.RawMessage, error) {
	if len(s.rows.args) == 0 {
		return nil, nil
	}
	sc := s.scope(rec, receipts)
	out := append(make([]byte, 0, 256), '{')
	for _, arg := range s.rows.args {
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = appendString(out, arg.Name)
		out = append(out, ':')
		var err error
		switch {
		case arg.value == nil:
			out, err = arg.appendWanted(out, sc)
		case arg.PerFile:
			out, err = s.appendPerFile(out, arg, sc)
		default:
			out, err = arg.value.append(out, sc)
		}
		if err != nil {
			return nil, err
		}
	}
	return append(out, '}'), nil
}

// PerRecord names the arguments that are evaluated for each record, in the order of the component's declaration.
func (s *Step) PerRecord() []string {
	var names []string
	for _, a := range s.rows.args {
		if _, fixed := a.value.(constant); !fixed && (a.value != nil || a.whole != nil) {
			names = append(names, a.Name)
		}
	}
	return names
}

// About returns the id of the record that this one is about, "" for none. The expression gives the id, or an object with it.
func (s *Step) About(rec Record) (string, error) {
	e := s.rows.about
	if e == nil {
		return "", nil
	}
	sc := s.scope(rec, nil)
	if id, verdict := e.id(sc); verdict == ok {
		return id, nil
	}
	val, err := e.value(sc)
	if err != nil || val.IsNull() {
		return "", err
	}
	if val.Type().IsObjectType() && val.Type().HasAttribute("id") {
		if val = val.GetAttr("id"); val.IsNull() {
			return "", nil
		}
	}
	id, err := convert.Convert(val, cty.String)
	if err != nil || id.IsNull() {
		return "", fmt.Errorf("%s: wants a record's id, or an object with source, id and seq", e.where)
	}
	return strings.Clone(sc.original(id.AsString())), nil // it may lie in a batch
}

// named is a list of files under its name in a map.
type named struct {
	name  string
	files []int
}

// wanted evaluates a Files or FilesMap argument.
func (a *rowArg) wanted(sc *scope) ([]named, error) {
	if a.whole == nil {
		all := named{}
		for i := range sc.recordFiles() {
			all.files = append(all.files, i)
		}
		return []named{all}, nil
	}
	if lists, verdict := a.whole.lists(sc); verdict == ok {
		return lists, nil
	}
	val, err := a.whole.value(sc)
	if err != nil || val.IsNull() {
		return nil, err
	}
	if a.Type == sdk.Files {
		files, err := a.indexes(val, len(sc.recordFiles()))
		return []named{{files: files}}, err
	}
	if t := val.Type(); !t.IsObjectType() && !t.IsMapType() {
		return nil, fmt.Errorf("%s: wants lists of files by name", a.whole.where)
	}
	var lists []named
	for it := val.ElementIterator(); it.Next(); {
		k, v := it.Element()
		files, err := a.indexes(v, len(sc.recordFiles()))
		if err != nil {
			return nil, err
		}
		lists = append(lists, named{k.AsString(), files})
	}
	return lists, nil
}

// indexes reads a list of elements of record.files.
func (a *rowArg) indexes(val cty.Value, n int) ([]int, error) {
	wrong := fmt.Errorf("%s: wants elements of record.files", a.whole.where)
	if val.IsNull() {
		return nil, nil
	}
	if !val.CanIterateElements() || val.Type().IsObjectType() || val.Type().IsMapType() {
		return nil, wrong
	}
	files := make([]int, 0, val.LengthInt())
	for it := val.ElementIterator(); it.Next(); {
		_, f := it.Element()
		if f.IsNull() || !f.Type().IsObjectType() || !f.Type().HasAttribute("index") {
			return nil, wrong
		}
		index := f.GetAttr("index")
		if index.Type() != cty.Number || index.IsNull() {
			return nil, wrong
		}
		i, _ := index.AsBigFloat().Int64()
		if i < 0 || i >= int64(n) {
			return nil, wrong
		}
		files = append(files, int(i))
	}
	return files, nil
}

func (a *rowArg) appendWanted(dst []byte, sc *scope) ([]byte, error) {
	lists, err := a.wanted(sc)
	if err != nil {
		return nil, err
	}
	if a.Type == sdk.Files {
		var files []int
		if len(lists) > 0 {
			files = lists[0].files
		}
		return appendInts(dst, files), nil
	}
	dst = append(dst, '{')
	for i, l := range lists {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, sc.original(l.name))
		dst = append(dst, ':')
		dst = appendInts(dst, l.files)
	}
	return append(dst, '}'), nil
}

func appendInts(dst []byte, list []int) []byte {
	dst = append(dst, '[')
	for i, n := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	return append(dst, ']')
}

// appendPerFile evaluates a per-file argument for each file of the argument "files".
func (s *Step) appendPerFile(dst []byte, arg rowArg, sc *scope) ([]byte, error) {
	over := rowArg{Arg: sdk.Arg{Type: sdk.Files}}
	for _, a := range s.rows.files {
		if a.Name == "files" && a.Type == sdk.Files {
			over = a
		}
	}
	lists, err := over.wanted(sc)
	if err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for _, l := range lists {
		for i, index := range l.files {
			if i > 0 {
				dst = append(dst, ',')
			}
			sc.file = index
			if dst, err = arg.value.append(dst, sc); err != nil {
				return nil, err
			}
		}
	}
	return append(dst, ']'), nil
}

func (c constant) append(dst []byte, _ *scope) ([]byte, error) { return append(dst, c...), nil }

func (f *field) append(dst []byte, s *scope) ([]byte, error) {
	r := s.field(f.slot, f.below)
	switch {
	case !r.Exists() || r.Type == gjson.Null:
		return append(dst, "null"...), nil
	case r.Type == gjson.String, f.want == sdk.Any:
		return append(dst, r.Raw...), nil
	}
	return f.otherwise.append(dst, s)
}

func (o *object) append(dst []byte, s *scope) (_ []byte, err error) {
	dst = append(dst, '{')
	first := true
	for i, v := range o.values {
		mark := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = appendString(dst, o.names[i])
		dst = append(dst, ':')
		start := len(dst)
		if dst, err = v.append(dst, s); err != nil {
			return nil, err
		}
		if o.dropNull && string(dst[start:]) == "null" {
			dst = dst[:mark]
			continue
		}
		first = false
	}
	return append(dst, '}'), nil
}

func (e *evaluated) append(dst []byte, s *scope) ([]byte, error) {
	if v, verdict := e.fast(s); verdict == ok {
		if v, fits := fitted(v, e.arg); fits {
			if out, mine := appendVal(dst, v); mine {
				return out, nil
			}
		}
	}
	val, err := e.value(s)
	if err != nil {
		return nil, err
	}
	if e.reads.normal {
		return appendJSON(dst, val, nil), nil
	}
	return appendJSON(dst, val, s.original), nil
}

// value evaluates the expression and converts it to what the argument wants.
func (e *evaluated) value(s *scope) (cty.Value, error) {
	ctx, err := s.context(e.reads)
	if err != nil {
		return cty.NilVal, fmt.Errorf("%s: %w", e.where, err)
	}
	value := e.expr.Value
	if e.reads.loops {
		value = func(ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) { return evaluate(e.expr, ctx) }
	}
	val, diags := value(ctx)
	if diags.HasErrors() {
		return cty.NilVal, fmt.Errorf("%s: %s", e.where, reason(diags))
	}
	if val.ContainsMarked() {
		val, _ = val.UnmarkDeep()
	}
	if !val.IsWhollyKnown() {
		return cty.NilVal, fmt.Errorf("%s: the value needs what is missing in the environment", e.where)
	}
	if val.IsNull() || e.arg.Type == sdk.Files || e.arg.Type == sdk.FilesMap {
		return val, nil
	}
	fitted, problem := fitArg(val, e.arg)
	if problem != "" {
		return cty.NilVal, fmt.Errorf("%s: the value is not what %s wants", e.where, e.arg.Name)
	}
	return fitted, nil
}

// reason says what failed, in words that hold nothing of the record.
func reason(diags hcl.Diagnostics) string {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		if call, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d); ok {
			var m *mistake
			if errors.As(call.FunctionCallError(), &m) {
				return m.problem
			}
			return call.CalledFunctionName() + "() cannot work with these arguments"
		}
		return lowerFirst(d.Summary)
	}
	return "it cannot be evaluated"
}
