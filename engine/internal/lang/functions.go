package lang

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"golang.org/x/text/unicode/norm"

	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
)

// texts are the functions that make one text of another.
func texts() map[string]func(string) string {
	return map[string]func(string) string{
		"base64encode": func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
		"md5":          func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) },
		"sha256":       func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) },
		"urlencode":    url.QueryEscape,
		"safename":     safeName,
	}
}

// tests are the functions that look for a part in a text.
func tests() map[string]func(s, part string) bool {
	return map[string]func(s, part string) bool{"endswith": strings.HasSuffix, "startswith": strings.HasPrefix, "strcontains": strings.Contains}
}

// allFunctions is every function of the language.
func (l *loader) allFunctions() map[string]function.Function {
	all := map[string]function.Function{
		"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "floor": stdlib.FloorFunc, "max": stdlib.MaxFunc, "min": stdlib.MinFunc,
		"parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "signum": stdlib.SignumFunc,
		"mib": units(1 << 20), "kib": units(1 << 10), "gib": units(1 << 30),

		"chomp": stdlib.ChompFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc,
		"join": joinFunc, "lower": stdlib.LowerFunc, "regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc,
		"regexreplace": stdlib.RegexReplaceFunc, "replace": stdlib.ReplaceFunc, "split": stdlib.SplitFunc,
		"substr": stdlib.SubstrFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
		"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc, "upper": stdlib.UpperFunc,

		"coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc, "compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc,
		"contains": stdlib.ContainsFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc, "flatten": stdlib.FlattenFunc,
		"keys": stdlib.KeysFunc, "length": lengthFunc, "lookup": stdlib.LookupFunc, "merge": stdlib.MergeFunc, "range": stdlib.RangeFunc,
		"reverse": stdlib.ReverseListFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,

		"can": tryfunc.CanFunc, "try": tryfunc.TryFunc,
		"tobool": stdlib.MakeToFunc(cty.Bool), "tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)),
		"tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)), "tonumber": stdlib.MakeToFunc(cty.Number),
		"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)), "tostring": stdlib.MakeToFunc(cty.String),

		"jsondecode": jsondecodeFunc, "jsonencode": jsonencodeFunc,
		"base64decode": fallible(decode64),

		"formatdate": function.New(&function.Spec{
			Params: []function.Parameter{{Name: "format", Type: cty.String}, {Name: "time", Type: cty.String}},
			Type:   function.StaticReturnType(cty.String),
			Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
				local, err := l.localTime(args[1].AsString())
				if err != nil {
					return cty.NilVal, err
				}
				return stdlib.FormatDate(args[0], cty.StringVal(local.Format(time.RFC3339)))
			},
		}),
		"local_time": fallible(func(s string) (string, error) {
			t, err := l.localTime(s)
			return t.Format(time.RFC3339Nano), err
		}),
		"timeadd": stdlib.TimeAddFunc,

		"since": sinceFunc, "status": statusFunc,
		"env": l.envFunc(), "file": l.fileFunc(), "keyring": l.keyringFunc(),
	}
	for name, f := range texts() {
		all[name] = text1(f)
	}
	for name, f := range tests() {
		all[name] = test(f)
	}
	return all
}

// localTime reads an RFC 3339 time and shows it in the pipeline's time zone.
func (l *loader) localTime(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, &mistake{"this is not a time", `times are written as "2026-01-02T15:04:05Z", as record.time is`}
	}
	return t.In(l.pipeline.Timezone), nil
}

// units makes mib(n): n units in bytes, a whole number.
func units(size int64) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "n", Type: cty.Number}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			n := args[0].Multiply(cty.NumberIntVal(size))
			if !n.AsBigFloat().IsInt() {
				return cty.NilVal, &mistake{"this is not a whole number of bytes", "choose a smaller unit"}
			}
			return n, nil
		},
	})
}

func text1(f func(string) string) function.Function {
	return fallible(func(s string) (string, error) { return f(s), nil })
}

func fallible(f func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := f(args[0].AsString())
			return cty.StringVal(s), err
		},
	})
}

func test(f func(s, part string) bool) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: "text", Type: cty.String}, {Name: "part", Type: cty.String}},
		Type:   function.StaticReturnType(cty.Bool),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			return cty.BoolVal(f(args[0].AsString(), args[1].AsString())), nil
		},
	})
}

func decode64(s string) (string, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || !utf8.Valid(b) {
		return "", &mistake{"this is not base64 of a text", ""}
	}
	return string(b), nil
}

// jsondecodeFunc is jsondecode(text), for texts that do not end the process by their depth.
var jsondecodeFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "text", Type: cty.String}},
	Type: func(args []cty.Value) (cty.Type, error) {
		if args[0].IsKnown() && !shallow([]byte(args[0].AsString())) {
			return cty.NilType, &mistake{"jsondecode() wants JSON of at most 10,000 levels", ""}
		}
		return stdlib.JSONDecodeFunc.ReturnTypeForValues(args)
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) { return stdlib.JSONDecodeFunc.Call(args) },
})

// jsonencodeFunc is jsonencode(value). cty holds texts in normal form C, in which a mark behind an escape joins the escape's last letter:
// what would change is escaped, too.
var jsonencodeFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowUnknown: true, AllowDynamicType: true, AllowNull: true}},
	Type:   function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		if !args[0].IsWhollyKnown() || args[0].IsNull() {
			return stdlib.JSONEncodeFunc.Call(args)
		}
		text, err := ctyjson.Marshal(args[0], args[0].Type())
		if err != nil {
			return cty.NilVal, err
		}
		if !norm.NFC.IsNormal(text) {
			text = escaped(text)
		}
		return cty.StringVal(string(text)), nil
	},
})

// escaped writes JSON in ASCII alone.
func escaped(text []byte) []byte {
	var out []byte
	for _, r := range string(text) {
		switch {
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
	}
	return out
}

// joinFunc is join(separator, list…). A list that is null, as a missing field of a record is, joins to nothing.
var joinFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "separator", Type: cty.String}},
	VarParam: &function.Parameter{Name: "lists", Type: cty.List(cty.String), AllowNull: true},
	Type:     function.StaticReturnType(cty.String),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		var parts []string
		for _, list := range args[1:] {
			if list.IsNull() {
				continue
			}
			for it := list.ElementIterator(); it.Next(); {
				_, v := it.Element()
				switch {
				case !v.IsKnown():
					return cty.UnknownVal(cty.String), nil
				case v.IsNull():
					return cty.NilVal, &mistake{"join() cannot join a list that holds null", `write coalesce(…, "") around what may be null`}
				}
				parts = append(parts, v.AsString())
			}
		}
		return cty.StringVal(strings.Join(parts, args[0].AsString())), nil
	},
})

// lengthFunc is length(x): elements of a collection, characters of a text, 0 for null.
var lengthFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "value", Type: cty.DynamicPseudoType, AllowNull: true, AllowDynamicType: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		t := args[0].Type()
		if t == cty.Number || t == cty.Bool {
			return cty.NilType, &mistake{"length() wants a list, an object or a string", ""}
		}
		return cty.Number, nil
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		v := args[0]
		switch t := v.Type(); {
		case v.IsNull():
			return cty.NumberIntVal(0), nil
		case t == cty.DynamicPseudoType:
			return cty.UnknownVal(cty.Number), nil
		case t == cty.String:
			return stdlib.Strlen(v)
		case t.IsObjectType():
			return cty.NumberIntVal(int64(len(t.AttributeTypes()))), nil
		default:
			return v.Length(), nil
		}
	},
})

// sinceFunc is since(map, seq): the value under the greatest key that is not above seq.
var sinceFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "map", Type: cty.DynamicPseudoType}, {Name: "seq", Type: cty.Number, AllowNull: true}},
	Type: func(args []cty.Value) (cty.Type, error) {
		switch t := args[0].Type(); {
		case t.IsMapType():
			return t.ElementType(), nil
		case t.IsObjectType():
			types := make([]cty.Type, 0, len(t.AttributeTypes()))
			for _, at := range t.AttributeTypes() {
				types = append(types, at)
			}
			common, _ := convert.UnifyUnsafe(types)
			if common == cty.NilType {
				common = cty.DynamicPseudoType
			}
			return common, nil
		case t == cty.DynamicPseudoType:
			return t, nil
		}
		return cty.NilType, &mistake{"since() wants a map of values by number", `write for example { "1" = 101, "1000001" = 131 }`}
	},
	Impl: func(args []cty.Value, want cty.Type) (cty.Value, error) {
		if args[1].IsNull() {
			return cty.NilVal, &mistake{"since() needs a number, and this record has none", ""}
		}
		at := args[1].AsBigFloat()
		var best cty.Value
		var bestKey uint64
		for it := args[0].ElementIterator(); it.Next(); {
			k, v := it.Element()
			key, err := strconv.ParseUint(k.AsString(), 10, 64)
			if err != nil {
				return cty.NilVal, &mistake{"a key in the map of since() is not a number", `write for example { "1" = 101, "1000001" = 131 }`}
			}
			if new(big.Float).SetUint64(key).Cmp(at) <= 0 && (best == cty.NilVal || key > bestKey) {
				best, bestKey = v, key
			}
		}
		if best == cty.NilVal {
			return cty.NilVal, &mistake{"since() finds no key that is not above the number", `let the map begin with "0" or "1"`}
		}
		return convert.Convert(best, want)
	},
})

// statusFunc is status(record, receipt…); see package status.
var statusFunc = function.New(&function.Spec{
	Params:   []function.Parameter{{Name: "record", Type: cty.DynamicPseudoType}},
	VarParam: &function.Parameter{Name: "receipts", Type: cty.DynamicPseudoType},
	Type: func(args []cty.Value) (cty.Type, error) {
		for _, r := range args[1:] {
			if t := r.Type(); t != cty.DynamicPseudoType && (!t.IsObjectType() || !t.HasAttribute("state") || !t.HasAttribute("files")) {
				return cty.NilType, &mistake{"status() wants record and receipts", "write: status(record, receipt.TYPE.NAME)"}
			}
		}
		return cty.String, nil
	},
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		for _, a := range args {
			if !a.IsWhollyKnown() {
				return cty.UnknownVal(cty.String), nil
			}
		}
		rec := status.Record{Flags: args[0].GetAttr("meta").GetAttr("flags").AsString()}
		for it := args[0].GetAttr("files").ElementIterator(); it.Next(); {
			_, f := it.Element()
			index, _ := f.GetAttr("index").AsBigFloat().Int64()
			rec.Files = append(rec.Files, status.File{Index: int(index), Outcome: sdk.FileOutcome(f.GetAttr("outcome").AsString()),
				HasBytes: f.GetAttr("has_bytes").True(), SHA256: f.GetAttr("sha256").AsString()})
		}
		var receipts []status.Receipt
		for _, r := range args[1:] {
			receipt := status.Receipt{State: r.GetAttr("state").AsString()}
			for it := r.GetAttr("files").ElementIterator(); it.Next(); {
				_, f := it.Element()
				index, _ := f.AsBigFloat().Int64()
				receipt.Files = append(receipt.Files, int(index))
			}
			receipts = append(receipts, receipt)
		}
		return cty.StringVal(status.Of(rec, receipts...)), nil
	},
})
