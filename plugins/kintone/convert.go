package kintone

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// maxKey is the most characters of a unique text (kintone help, "値の重複を禁止する"; OpenAPI, updateKey.value).
const maxKey = 64

// maxDigits is the most digits that a NUMBER can be set to hold; an app that is not set holds 12 before the point, and refuses
// more by itself (kintone help, "桁数と丸めかた").
const maxDigits = 30

func convertKey(f Field, v any) (string, error) {
	bad := func(why string) (string, error) { return "", &rejection{"BAD_KEY", f.Code, why} }
	key, ok := scalar(v)
	switch {
	case !ok || key == "":
		return bad("the key is empty or not a text or number")
	case f.Type == "NUMBER":
		n, err := convertNumber(f, key)
		if err != nil {
			return bad("the key is not a number of at most 30 digits")
		}
		return n, nil
	case utf8.RuneCountInString(key) > maxKey:
		return bad("the key is longer than 64 characters")
	case strings.ContainsAny(key, "\r\n"):
		return bad("the key has a line break")
	}
	return key, nil
}

// convert turns a value of an expression into what a field of this type takes: a string, or a []string. whole is the full text
// where it had to be cut, else "".
func convert(f Field, v any, maxText int) (value any, whole string, err error) {
	switch f.Type {
	case "CHECK_BOX", "MULTI_SELECT":
		return convertChoices(f, v)
	case "NUMBER":
		value, err = convertNumber(f, v)
	case "DATETIME", "DATE", "TIME":
		value, err = convertTime(f, v)
	case "DROP_DOWN", "RADIO_BUTTON":
		s, ok := scalar(v)
		if !ok {
			err = &rejection{"BAD_VALUE", f.Code, "not a text"}
		}
		value = s
	default:
		return convertText(f, v, maxText)
	}
	return value, "", err
}

// scalar writes texts, numbers and truth values as text.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	case bool:
		return fmt.Sprint(v), true
	}
	return "", false
}

var lineBreaks = strings.NewReplacer("\r\n", " ", "\n", " ", "\r", " ")

// convertText joins lists with line breaks, writes what else is not a text as JSON, and cuts.
func convertText(f Field, v any, maxText int) (any, string, error) {
	s, ok := scalar(v)
	if list, isList := v.([]any); isList {
		lines := make([]string, len(list))
		for i, item := range list {
			line, plain := scalar(item)
			if !plain {
				lines = nil
				break
			}
			lines[i] = line
		}
		s, ok = strings.Join(lines, "\n"), lines != nil
	}
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, "", err
		}
		s = string(b)
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if f.Type != "MULTI_LINE_TEXT" && f.Type != "RICH_TEXT" {
		s = lineBreaks.Replace(s)
	}
	limit := maxText
	if n, err := strconv.Atoi(string(f.MaxLength)); err == nil {
		limit = min(n, maxText)
	}
	if f.Unique {
		if utf8.RuneCountInString(s) > maxKey {
			return nil, "", &rejection{"BAD_VALUE", f.Code, "longer than 64 characters, and a unique value cannot be cut"}
		}
		return s, "", nil
	}
	if short, cut := cutText(s, limit); cut {
		return short, s, nil
	}
	return s, "", nil
}

// cutText shortens s to at most limit characters, its visible mark included. Whether kintone counts code points or UTF-16 units
// is not documented: the larger count, UTF-16, is used.
func cutText(s string, limit int) (string, bool) {
	if len(s) <= limit {
		return s, false // no string has more UTF-16 units than bytes
	}
	total := 0
	for _, r := range s {
		total += utf16.RuneLen(r)
	}
	if total <= limit {
		return s, false
	}
	mark := fmt.Sprintf("… [cut, %d characters in all]", total)
	room := limit - utf16Len(mark)
	if room < 0 {
		mark, room = "", limit
	}
	n := 0
	for i, r := range s {
		if n += utf16.RuneLen(r); n > room {
			return s[:i] + mark, true
		}
	}
	return s, false
}

func utf16Len(s string) int { return len(utf16.Encode([]rune(s))) }

// convertNumber writes a number without exponent. "" empties the field.
func convertNumber(f Field, v any) (string, error) {
	bad := &rejection{"BAD_VALUE", f.Code, "not a number of at most 30 digits"}
	s, ok := scalar(v)
	if s = strings.TrimSpace(s); !ok || len(s) > 60 {
		return "", bad
	}
	if s == "" {
		return "", nil
	}
	// SetString would take fractions and hexadecimal numbers too, and an exponent of a million.
	if strings.Trim(s, "0123456789.eE+-") != "" || exponent(s) > maxDigits {
		return "", bad
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return "", bad
	}
	plain := r.FloatString(maxDigits)
	if strings.Contains(plain, ".") {
		plain = strings.TrimRight(strings.TrimRight(plain, "0"), ".")
	}
	if digits := len(strings.Trim(strings.Replace(plain, ".", "", 1), "-")); digits > maxDigits {
		return "", bad
	}
	return plain, nil
}

func exponent(s string) int {
	_, e, has := strings.Cut(strings.ToLower(s), "e")
	if !has {
		return 0
	}
	var n int
	if _, err := fmt.Sscan(e, &n); err != nil {
		return maxDigits + 1
	}
	return max(n, -n)
}

// convertTime reads RFC 3339. kintone keeps minutes: seconds are cut off here, so that what is compared later is what was sent.
func convertTime(f Field, v any) (string, error) {
	s, ok := v.(string)
	if s == "" && ok {
		return "", nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		for form, kind := range map[string]string{"2006-01-02": "DATE", "15:04": "TIME"} {
			if _, err := time.Parse(form, s); err == nil && f.Type == kind {
				return s, nil
			}
		}
		return "", &rejection{"BAD_VALUE", f.Code, "not a time like 2006-01-02T15:04:05Z"}
	}
	switch f.Type {
	case "DATE":
		return t.Format("2006-01-02"), nil // the day in the zone that the expression gave
	case "TIME":
		return t.Format("15:04"), nil
	}
	t = t.UTC()
	if t.Year() < 1000 || t.Year() > 9999 {
		return "", &rejection{"BAD_VALUE", f.Code, "the year is not within 1000 to 9999"}
	}
	return t.Format("2006-01-02T15:04:00Z"), nil
}

// convertChoices takes a list of texts; a single text is a list of one, and an empty one of none.
func convertChoices(f Field, v any) (any, string, error) {
	items, isList := v.([]any)
	if !isList {
		items = []any{v}
	}
	choices := []string{}
	for _, item := range items {
		s, ok := scalar(item)
		if !ok {
			return nil, "", &rejection{"BAD_VALUE", f.Code, "not a list of texts"}
		}
		if s != "" {
			choices = append(choices, s)
		}
	}
	return choices, "", nil
}
