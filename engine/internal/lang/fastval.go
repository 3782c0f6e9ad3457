package lang

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
	"github.com/zclconf/go-cty/cty"
	"golang.org/x/text/unicode/norm"

	"github.com/weir-etl/weir/sdk"
)

// kind is what a val is.
type kind uint8

const (
	aNull    kind = iota
	aBool         // n is 1 or 0
	aNumber       // n: a whole number that int64 holds
	aText         // s: in normal form C
	aList         // vals
	anObject      // vals under names, sorted
	aFile         // n: its index in record.files
	theFiles      // record.files
	aJSON         // s: an array or object of the body
)

// val is a value of a compiled expression: what cty would hold, for those kinds of value that are modelled exactly. Whatever else a
// record may bring is not turned into a val.
type val struct {
	kind  kind
	of    kind // of a null: what it is a null of; aNull = of nothing in particular, aJSON = of what the fast path does not know
	n     int64
	s     string
	vals  []val    // of a list or an object
	names []string // of an object
}

// verdict says what became of a compiled expression.
type verdict uint8

const (
	ok      verdict = iota
	fails           // cty finds an error there too, and has the words for it
	notMine         // only cty knows
)

func boolVal(b bool) val {
	if b {
		return val{kind: aBool, n: 1}
	}
	return val{kind: aBool}
}

// textVal takes a text that cty would keep as it is. In another normal form it is cty's.
func textVal(s string) (val, verdict) {
	if !isNormal(s) {
		return val{}, notMine
	}
	return val{kind: aText, s: s}, ok
}

// isNormal reports whether a text is in normal form C. Most are plain ASCII, and norm allocates.
func isNormal(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return norm.NFC.IsNormalString(s)
		}
	}
	return true
}

func listed(vals []val) val { return val{kind: aList, vals: vals} }

// typ is the kind of a value's type; aNull where a type is missing.
func (v val) typ() kind {
	if v.kind == aNull {
		return v.of
	}
	return v.kind
}

func (v val) scalar() bool { return v.kind == aBool || v.kind == aNumber || v.kind == aText }

// asText is what cty makes of a value where it wants a string.
func asText(v val) (string, verdict) {
	switch v.kind {
	case aNull:
		return "", fails
	case aText:
		return v.s, ok
	case aNumber:
		return strconv.FormatInt(v.n, 10), ok
	case aBool:
		return strconv.FormatBool(v.n == 1), ok
	}
	return "", notMine
}

// constVal is the value of an expression that mentions no record.
func constVal(v cty.Value) (val, bool) {
	if v.ContainsMarked() || !v.IsWhollyKnown() {
		return val{}, false
	}
	t := v.Type()
	if v.IsNull() {
		return val{of: kindOf(t)}, true
	}
	switch {
	case t == cty.Bool:
		return boolVal(v.True()), true
	case t == cty.String:
		return val{kind: aText, s: v.AsString()}, true
	case t == cty.Number:
		n, accuracy := v.AsBigFloat().Int64()
		return val{kind: aNumber, n: n}, accuracy == big.Exact && (n != 0 || !v.AsBigFloat().Signbit())
	case t.IsTupleType() || t.IsListType():
		vals := make([]val, 0, v.LengthInt())
		for it := v.ElementIterator(); it.Next(); {
			_, e := it.Element()
			item, known := constVal(e)
			if !known {
				return val{}, false
			}
			vals = append(vals, item)
		}
		return listed(vals), true
	}
	return val{}, false
}

func kindOf(t cty.Type) kind {
	switch {
	case t == cty.DynamicPseudoType:
		return aNull
	case t == cty.Bool:
		return aBool
	case t == cty.Number:
		return aNumber
	case t == cty.String:
		return aText
	case t.Equals(cty.List(cty.String)):
		return aList
	}
	return aJSON
}

// parseWhole reads a number of JSON that is written as an integer. Minus zero is none: cty keeps its sign.
func parseWhole(raw string) (int64, bool) {
	if len(raw) > 18 || raw == "-0" {
		return 0, false
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	return n, err == nil
}

// bodyVal is a value of the body that nobody has given a type.
func bodyVal(r gjson.Result) (val, verdict) {
	switch r.Type {
	case gjson.Null: // also what does not exist
		return val{}, ok
	case gjson.String:
		return textVal(r.Str)
	case gjson.True, gjson.False:
		return boolVal(r.Type == gjson.True), ok
	case gjson.Number:
		if n, exact := parseWhole(r.Raw); exact {
			return val{kind: aNumber, n: n}, ok
		}
		return val{}, notMine
	}
	return val{kind: aJSON, s: r.Raw}, ok
}

// typedVal is a value of the body under a published name. One that is of another type is cty's to convert.
func typedVal(r gjson.Result, t sdk.Type) (val, verdict) {
	want := kindOf(typeOf(t))
	if want == aNull {
		return bodyVal(r)
	}
	if r.Type == gjson.Null {
		return val{of: want}, ok
	}
	if want == aList && r.IsArray() {
		return textsVal(r)
	}
	if v, found := bodyVal(r); found == ok && v.kind == want && v.scalar() {
		return v, ok
	}
	return val{}, notMine
}

// textsVal is an array that holds texts only.
func textsVal(r gjson.Result) (val, verdict) {
	vals, verdict := make([]val, 0, 4), ok
	r.ForEach(func(_, e gjson.Result) bool {
		var v val
		if v, verdict = bodyVal(e); verdict == ok && v.kind != aText {
			verdict = notMine
		}
		vals = append(vals, v)
		return verdict == ok
	})
	if verdict != ok {
		return val{}, verdict
	}
	return listed(vals), ok
}

// index is v[i].
func (s *scope) index(v val, i int64) (val, verdict) {
	switch v.kind {
	case aList:
		if 0 <= i && i < int64(len(v.vals)) {
			return v.vals[i], ok
		}
	case theFiles:
		if 0 <= i && i < int64(len(s.recordFiles())) {
			return val{kind: aFile, n: i}, ok
		}
	case aJSON:
		return rawIndex(v.s, i)
	case anObject, aFile:
		return val{}, notMine
	}
	return val{}, fails
}

func rawIndex(array string, i int64) (found val, verdict verdict) {
	r := gjson.Parse(array)
	if !r.IsArray() {
		return val{}, notMine
	}
	verdict = fails
	r.ForEach(func(_, e gjson.Result) bool {
		if i == 0 {
			found, verdict = bodyVal(e)
		}
		i--
		return i >= 0
	})
	return found, verdict
}

// length is length(v).
func (s *scope) length(v val) (val, verdict) {
	n := 0
	switch v.kind {
	case aNull:
		if v.of == aBool || v.of == aNumber {
			return val{}, fails
		}
	case aBool, aNumber:
		return val{}, fails
	case aText:
		if strings.ContainsFunc(v.s, func(r rune) bool { return r < ' ' || r > '~' }) { // cty counts what people see as one character
			return val{}, notMine
		}
		n = len(v.s)
	case aList:
		n = len(v.vals)
	case theFiles:
		n = len(s.recordFiles())
	case aJSON:
		r := gjson.Parse(v.s)
		if !r.IsArray() { // names may come twice
			return val{}, notMine
		}
		r.ForEach(func(_, _ gjson.Result) bool { n++; return true })
	default:
		return val{}, notMine
	}
	return val{kind: aNumber, n: int64(n)}, ok
}

// appendVal writes a value as JSON, as appendJSON writes that of cty; mine is false where it cannot.
func appendVal(dst []byte, v val) (_ []byte, mine bool) {
	switch v.kind {
	case aNull:
		return append(dst, "null"...), true
	case aBool:
		return strconv.AppendBool(dst, v.n == 1), true
	case aNumber:
		return strconv.AppendInt(dst, v.n, 10), true
	case aText:
		return appendString(dst, v.s), true
	case aList, anObject:
		shut := byte(']')
		if v.kind == anObject {
			dst, shut = append(dst, '{'), '}'
		} else {
			dst = append(dst, '[')
		}
		for i, e := range v.vals {
			if i > 0 {
				dst = append(dst, ',')
			}
			if v.kind == anObject {
				dst = append(appendString(dst, v.names[i]), ':')
			}
			if dst, mine = appendVal(dst, e); !mine {
				return dst, false
			}
		}
		return append(dst, shut), true
	}
	return dst, false
}

// fitted converts a value to what an argument wants, where that is simple.
func fitted(v val, a sdk.Arg) (val, bool) {
	if v.kind == aNull {
		return v, true
	}
	if len(a.OneOf) > 0 {
		return v, false
	}
	switch a.Type {
	case sdk.Any:
		return v, true
	case sdk.AnyMap:
		return v, v.kind == anObject
	case sdk.String:
		s, verdict := asText(v)
		return val{kind: aText, s: s}, verdict == ok
	case sdk.Number:
		return v, v.kind == aNumber
	case sdk.Bool:
		return v, v.kind == aBool
	case sdk.Strings:
		if v.kind != aList {
			return v, false
		}
		for _, e := range v.vals {
			if e.kind != aText {
				return v, false
			}
		}
		return v, true
	}
	return v, false
}

// fieldOf reads one attribute of a file.
func fieldOf(name string) (is kind, read func(s *scope, i int64) (val, verdict)) {
	texts := map[string]func(f *sdk.File) string{
		"name": func(f *sdk.File) string { return f.Name }, "media_type": func(f *sdk.File) string { return f.MediaType },
		"md5": func(f *sdk.File) string { return f.MD5 }, "md5_claimed": func(f *sdk.File) string { return f.MD5Claimed },
		"sha256": func(f *sdk.File) string { return f.SHA256 }, "outcome": func(f *sdk.File) string { return string(f.Outcome) },
	}
	numbers := map[string]func(f *sdk.File) int64{
		"size": func(f *sdk.File) int64 { return f.BestSize() }, "size_claimed": func(f *sdk.File) int64 { return max(0, f.SizeClaimed) },
	}
	switch get, number := texts[name], numbers[name]; {
	case get != nil:
		return aText, func(s *scope, i int64) (val, verdict) { return textVal(get(&s.recordFiles()[i])) }
	case number != nil:
		return aNumber, func(s *scope, i int64) (val, verdict) { return val{kind: aNumber, n: number(&s.recordFiles()[i])}, ok }
	case name == "index":
		return aNumber, func(_ *scope, i int64) (val, verdict) { return val{kind: aNumber, n: i}, ok }
	case name == "has_bytes":
		return aBool, func(s *scope, i int64) (val, verdict) { return boolVal(s.recordFiles()[i].HasBytes()), ok }
	}
	return aNull, nil
}

// memberOf is a member of an object of the body. One that is not there is cty's to judge.
func memberOf(json, name string) (val, verdict) {
	r := gjson.Parse(json)
	if r = member(r, name); !r.Exists() {
		return val{}, notMine
	}
	return bodyVal(r)
}
