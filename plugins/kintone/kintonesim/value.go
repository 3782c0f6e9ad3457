package kintonesim

import (
	"encoding/json"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// accept turns what a caller sent for a field into what is stored, or says what is wrong with it. path is "record" or
// "records[3]"; suffixes of paths are as recorded: .value for scalars, .values for lists, .values[i].value for options. Files go
// through attach.
func (c *call) accept(a *app, f Field, path string, in any, wrong problems) any {
	dot := path + "." + f.Code
	if fieldTypes[f.Type].list {
		items, ok := in.([]any)
		if in != nil && !ok {
			wrong.add(dot+".values", badValue)
			return nil
		}
		list := []string{}
		for i, item := range items {
			s, ok := item.(string)
			if !ok || !slices.Contains(f.Options, s) {
				wrong.add(dot+".values["+strconv.Itoa(i)+"].value", notAnOption, item)
			} else if !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
		return list
	}

	var s string
	switch v := in.(type) {
	case nil:
	case string:
		s = v
	case json.Number:
		s = v.String()
	default:
		wrong.add(dot+".value", badValue)
		return nil
	}
	if s == "" {
		return ""
	}
	switch f.Type {
	case "NUMBER":
		n, ok := number(s, a.def.Precision)
		switch {
		case !ok:
			wrong.add(path+"["+f.Code+"].value", onlyNumbers) // brackets: so it was recorded
			if f.Required {
				wrong.add(dot+".value", required)
			}
		case n == "":
			wrong.add(dot+".value", tooManyDigits)
		}
		return n
	case "DATETIME", "DATE", "TIME":
		t, ok := moment(f.Type, s)
		if !ok {
			wrong.add(dot+".value", badTime)
		}
		return t
	case "DROP_DOWN", "RADIO_BUTTON":
		if !slices.Contains(f.Options, s) {
			wrong.add(dot+".value", notAnOption, s)
		}
		return s
	}

	limit := c.s.o.MaxText
	if f.MaxLength > 0 {
		limit = min(limit, f.MaxLength)
	}
	if f.Unique {
		limit = min(limit, maxUnique)
	}
	if utf8.RuneCountInString(s) > limit {
		wrong.add(dot+".value", tooLong, limit+1) // the text names the first length that is too long (recorded)
	}
	if f.Type != "MULTI_LINE_TEXT" && f.Type != "RICH_TEXT" && strings.ContainsAny(s, "\r\n") {
		wrong.add(dot+".value", oneLine) // assumed
	}
	return s
}

var decimal = regexp.MustCompile(`^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,2})?$`)

// number normalises a number as the service does ("1.5e1" -> "15", " 42 " -> "42", recorded), rounds to the app's decimals, and
// returns "" for one with too many digits before the point. ok is false for what is not a number ("1,000", "12abc").
func number(s string, p Precision) (normal string, ok bool) {
	s = strings.TrimSpace(s)
	if !decimal.MatchString(s) {
		return "", false
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return "", false
	}
	n := roundHalfEven(r, p.Decimals)
	whole, _, _ := strings.Cut(strings.TrimPrefix(n, "-"), ".")
	if len(whole) > p.Digits-p.Decimals && whole != "0" {
		return "", true
	}
	return n, true
}

// roundHalfEven writes r with at most so many decimals and no trailing zeros: the default rounding of an app.
func roundHalfEven(r *big.Rat, decimals int) string {
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(scale))
	quo, rem := new(big.Int).DivMod(scaled.Num(), scaled.Denom(), new(big.Int))
	switch rem.Lsh(rem, 1).Cmp(scaled.Denom()) {
	case 1:
		quo.Add(quo, big.NewInt(1))
	case 0:
		quo.Add(quo, new(big.Int).And(quo, big.NewInt(1)))
	}
	s := new(big.Rat).SetFrac(quo, scale).FloatString(decimals)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// moment reads a time and returns it as the service gives it back. Seconds of a DATETIME are dropped, not rounded
// (kintone.dev, "Field Types": 秒情報は無視されます); years are 1000 to 9999.
func moment(kind, s string) (string, bool) {
	switch kind {
	case "DATE":
		t, err := time.Parse("2006-01-02", s)
		return s, err == nil && t.Year() >= 1000
	case "TIME":
		_, err := time.Parse("15:04", s)
		return s, err == nil
	}
	if strings.Contains(s, ".") {
		return "", false // fractions of a second are in no documented form; time.Parse would take them
	}
	for _, form := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04Z07:00"} {
		if t, err := time.Parse(form, s); err == nil {
			t = t.UTC().Truncate(time.Minute)
			return t.Format("2006-01-02T15:04:05Z"), t.Year() >= 1000 && t.Year() <= 9999
		}
	}
	return "", false
}

// empty reports whether a stored value counts as not filled in.
func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	case []*attachment:
		return len(v) == 0
	}
	return false
}

// shown is a stored value as an answer has it. A field without a value is "" or [], and null for those of which the official
// client's types say so.
func shown(f Field, v any) any {
	if !empty(v) {
		if files, ok := v.([]*attachment); ok {
			out := make([]map[string]any, len(files))
			for i, a := range files {
				out[i] = map[string]any{"fileKey": a.key, "name": a.file.name, "contentType": a.file.mediaType, "size": strconv.FormatInt(a.file.size, 10)}
			}
			return out
		}
		return v
	}
	switch f.Type {
	case "DATE", "TIME", "DROP_DOWN", "RADIO_BUTTON":
		return nil
	}
	if fieldTypes[f.Type].list {
		return []string{}
	}
	return ""
}
