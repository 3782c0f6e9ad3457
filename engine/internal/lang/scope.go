package lang

import (
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/tidwall/gjson"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"golang.org/x/text/unicode/norm"

	"github.com/weir-etl/weir/sdk"
)

// scope is one record while expressions are evaluated. Only what they mention is decoded.
type scope struct {
	rec      Record
	receipts Receipts
	rows     *rows

	body    gjson.Result
	ready   bool           // body is read
	members []gjson.Result // of the body, by the slots of rows; nil = not looked for
	opened  int            // brackets in the body

	got      []sdk.File // what the record has
	asked    bool       // … is known
	files    cty.Value
	list     []cty.Value // the elements of files
	file     int         // the file of a per-file argument
	received []received

	slow  bool  // nothing is compiled
	round int64 // the file that a for expression is at
	// forms holds the texts of the record that are not in Unicode normal form C, by that form. cty knows strings in this form only,
	// and content must arrive as it was sent: where an expression gives such a text whole, its own form is restored.
	forms map[string]string
}

func (s *Step) scope(rec Record, receipts Receipts) *scope {
	return &scope{rec: rec, receipts: receipts, rows: &s.rows, slow: s.rows.slow}
}

// recordFiles are the files of the record, asked for once.
func (s *scope) recordFiles() []sdk.File {
	if !s.asked {
		s.got, s.asked = s.rec.Files(), true
	}
	return s.got
}

// received is a receipt, asked for once: it may cost an evaluation.
type received struct {
	address string
	Receipt
}

func (s *scope) answer(address string) *Receipt {
	for i := range s.received {
		if s.received[i].address == address {
			return &s.received[i].Receipt
		}
	}
	r := received{address: address}
	if s.receipts != nil {
		r.Receipt = s.receipts(address)
	}
	s.received = append(s.received, r)
	return &s.received[len(s.received)-1].Receipt
}

// original is a text in the form that it has in the record.
func (s *scope) original(text string) string {
	if o, ok := s.forms[text]; ok {
		return o
	}
	return text
}

// str makes a cty string of a text of the record.
func (s *scope) str(text string) cty.Value {
	if !isNormal(text) {
		if s.forms == nil {
			s.forms = map[string]string{}
		}
		s.forms[norm.NFC.String(text)] = text
	}
	return cty.StringVal(text)
}

// context is where an expression finds record, file and receipt: as much of them as it mentions, so that its value does not depend
// on what others mention.
func (s *scope) context(m *mentions) (*hcl.EvalContext, error) {
	record := map[string]cty.Value{}
	for name := range m.attrs {
		record[name] = s.attr(name)
	}
	if m.body != nil {
		v, err := s.tree(s.json(), m.body, "", 0)
		if err != nil {
			return nil, err
		}
		record["body"] = v
	}
	if len(m.meta) > 0 {
		meta := make(map[string]cty.Value, len(m.meta))
		for name := range m.meta {
			meta[name] = s.str(s.rec.Meta(name))
		}
		record["meta"] = cty.ObjectVal(meta)
	}
	if m.files {
		record["files"] = s.allFiles()
	}
	ctx := s.rows.scope.NewChild()
	ctx.Variables = map[string]cty.Value{"record": cty.ObjectVal(record)}
	if m.file {
		ctx.Variables["file"] = s.list[s.file]
	}
	if len(m.receipts) > 0 {
		ctx.Variables["receipt"] = nest(m.receipts, s.receipt)
	}
	return ctx, nil
}

func (s *scope) allFiles() cty.Value {
	if s.files == cty.NilVal {
		for i, f := range s.recordFiles() {
			s.list = append(s.list, s.fileVal(i, f))
		}
		s.files = listVal(cty.Object(fileAttrs), s.list)
	}
	return s.files
}

func (s *scope) attr(name string) cty.Value {
	switch name {
	case "id":
		return s.str(s.rec.ID())
	case "key":
		return s.str(s.rec.Key())
	case "kind":
		return s.str(s.rec.Kind())
	case "seq":
		if n := s.rec.Seq(); n > 0 {
			return cty.NumberUIntVal(n)
		}
		return cty.NullVal(cty.Number)
	case "time":
		if t := s.rec.Time(); !t.IsZero() {
			return cty.StringVal(t.UTC().Format(time.RFC3339Nano))
		}
		return cty.NullVal(cty.String)
	}
	panic("lang: record has no " + name)
}

func (s *scope) fileVal(index int, f sdk.File) cty.Value {
	return cty.ObjectVal(map[string]cty.Value{
		"index": cty.NumberIntVal(int64(index)), "name": s.str(f.Name), "media_type": s.str(f.MediaType),
		"size": cty.NumberIntVal(f.BestSize()), "size_claimed": cty.NumberIntVal(max(0, f.SizeClaimed)),
		"md5": s.str(f.MD5), "md5_claimed": s.str(f.MD5Claimed), "sha256": s.str(f.SHA256),
		"outcome": s.str(string(f.Outcome)), "has_bytes": cty.BoolVal(f.HasBytes()),
	})
}

func (s *scope) receipt(address string) cty.Value {
	r := s.answer(address)
	attrs := map[string]cty.Value{"state": cty.StringVal(r.State), "code": cty.StringVal(r.Code)}
	urls := make([]cty.Value, len(r.URLs))
	for i, u := range r.URLs {
		urls[i] = s.str(u)
	}
	files := make([]cty.Value, len(r.Files))
	for i, f := range r.Files {
		files[i] = cty.NumberIntVal(int64(f))
	}
	attrs["urls"], attrs["files"] = listVal(cty.String, urls), listVal(cty.Number, files)
	for _, f := range s.rows.fields[address] {
		attrs[f.Name] = cty.NullVal(typeOf(f.Type))
		b, err := json.Marshal(r.Fields[f.Name])
		if err != nil {
			continue
		}
		if v, err := s.value(gjson.ParseBytes(b), 0); err == nil {
			attrs[f.Name] = fit(v, f.Type)
		}
	}
	return cty.ObjectVal(attrs)
}

func listVal(t cty.Type, vals []cty.Value) cty.Value {
	if len(vals) == 0 {
		return cty.ListValEmpty(t)
	}
	return cty.ListVal(vals)
}

// tree builds the part of the body that is mentioned. A name that is mentioned and not there is null; what lies below it too.
func (s *scope) tree(r gjson.Result, p *path, at string, depth int) (cty.Value, error) {
	if t, ok := s.rows.types[at]; ok && len(p.sub) == 0 {
		if !r.Exists() || r.Type == gjson.Null {
			return cty.NullVal(typeOf(t)), nil
		}
		v, err := s.value(r, depth)
		return fit(v, t), err
	}
	if len(p.sub) == 0 || p.whole && !r.IsObject() {
		return s.value(r, depth)
	}
	attrs := map[string]cty.Value{}
	if p.whole {
		v, err := s.value(r, depth)
		if err != nil {
			return v, err
		}
		attrs = v.AsValueMap()
		if attrs == nil {
			attrs = map[string]cty.Value{}
		}
	}
	for name, sub := range p.sub {
		below := name
		if at != "" {
			below = at + "." + name
		}
		v, err := s.tree(member(r, name), sub, below, depth+1)
		if err != nil {
			return v, err
		}
		attrs[name] = v
	}
	return cty.ObjectVal(attrs), nil
}

// maxDepth bounds nesting: every operation on a value recurses into it.
const maxDepth = 200

var errDeep = errors.New("the body is nested more than 200 levels deep")

// value makes a cty value of JSON.
func (s *scope) value(r gjson.Result, depth int) (cty.Value, error) {
	if depth > maxDepth {
		return cty.NilVal, errDeep
	}
	switch {
	case !r.Exists() || r.Type == gjson.Null:
		return cty.NullVal(cty.DynamicPseudoType), nil
	case r.Type == gjson.String:
		return s.str(r.Str), nil
	case r.Type == gjson.Number:
		return number(r.Raw), nil
	case r.IsBool():
		return cty.BoolVal(r.Bool()), nil
	}
	var err error
	list, attrs := []cty.Value{}, map[string]cty.Value{}
	r.ForEach(func(k, v gjson.Result) bool {
		var val cty.Value
		if val, err = s.value(v, depth+1); err != nil {
			return false
		}
		if r.IsObject() {
			attrs[s.str(k.Str).AsString()] = val
		} else {
			list = append(list, val)
		}
		return true
	})
	if err != nil {
		return cty.NilVal, err
	}
	if r.IsObject() {
		return cty.ObjectVal(attrs), nil
	}
	return cty.TupleVal(list), nil
}

// number keeps every digit. A number whose exponent would cost memory to write out stays text.
func number(raw string) cty.Value {
	f, _, err := big.ParseFloat(raw, 10, 512, big.ToNearestEven)
	if err != nil || f.IsInf() || len(raw) > 150 || f.Sign() != 0 && (f.MantExp(nil) > 2048 || f.MantExp(nil) < -2048) {
		return cty.StringVal(raw)
	}
	return cty.NumberVal(f)
}

// fit converts a value to its published type, where it can be.
func fit(v cty.Value, t sdk.Type) cty.Value {
	if v == cty.NilVal {
		return v
	}
	if c, err := convert.Convert(v, typeOf(t)); err == nil {
		return c
	}
	return v
}

// appendJSON writes a known value without marks as JSON; texts go through form, where that is not nil.
func appendJSON(dst []byte, v cty.Value, form func(string) string) []byte {
	t := v.Type()
	switch {
	case v.IsNull():
		return append(dst, "null"...)
	case t == cty.String:
		text := v.AsString()
		if form != nil {
			text = form(text)
		}
		return appendString(dst, text)
	case t == cty.Bool:
		return strconv.AppendBool(dst, v.True())
	case t == cty.Number:
		return appendNumber(dst, v.AsBigFloat())
	case !v.CanIterateElements():
		return append(dst, "null"...) // a capsule: nothing of ours gives one
	}
	open, shut := byte('['), byte(']')
	named := t.IsObjectType() || t.IsMapType()
	if named {
		open, shut = '{', '}'
	}
	dst = append(dst, open)
	first := true
	for it := v.ElementIterator(); it.Next(); first = false {
		if !first {
			dst = append(dst, ',')
		}
		k, e := it.Element()
		if named {
			dst = append(appendJSON(dst, k, form), ':')
		}
		dst = appendJSON(dst, e, form)
	}
	return append(dst, shut)
}

// appendNumber writes all digits of what came in as text, and 17 of what was divided on the way.
func appendNumber(dst []byte, f *big.Float) []byte {
	if f.IsInf() {
		return append(dst, "null"...)
	}
	if unwritable(f) { // arguments never hold one; it may be part of a fingerprint
		return append(f.Append(append(dst, '"'), 'p', 0), '"')
	}
	if n, exact := f.Int64(); exact == big.Exact {
		return strconv.AppendInt(dst, n, 10)
	}
	start := len(dst)
	dst = f.Append(dst, 'f', -1)
	if len(dst)-start > 60 && !f.IsInt() {
		short, _ := f.Float64()
		dst = strconv.AppendFloat(dst[:start], short, 'f', -1, 64)
	}
	return dst
}

// unwritable numbers would take megabytes, and minutes, as digits: 1e9999999 in the text of a stranger is enough.
func unwritable(f *big.Float) bool {
	exp := f.MantExp(nil)
	return !f.IsInf() && (exp > 1<<13 || exp < -1<<13)
}

// holdsUnwritable reports whether a number that cannot be written is in a value.
func holdsUnwritable(v cty.Value) bool {
	switch t := v.Type(); {
	case !v.IsKnown() || v.IsNull():
		return false
	case t == cty.Number:
		return unwritable(v.AsBigFloat())
	case t.IsPrimitiveType() || !v.CanIterateElements():
		return false
	case t.IsCollectionType() && t.ElementType().IsPrimitiveType() && t.ElementType() != cty.Number:
		return false
	}
	for it := v.ElementIterator(); it.Next(); {
		if _, e := it.Element(); holdsUnwritable(e) {
			return true
		}
	}
	return false
}

// appendString writes a text as json.Marshal does, without its copies.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		r, n := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[i:])
		}
		if r >= ' ' && r != '"' && r != '\\' && r != '<' && r != '>' && r != '&' && r != '\u2028' && r != '\u2029' && (r != utf8.RuneError || n > 1) {
			i += n
			continue
		}
		dst = append(dst, s[from:i]...)
		switch r {
		case '"', '\\':
			dst = append(dst, '\\', byte(r))
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		}
		i += n
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}
