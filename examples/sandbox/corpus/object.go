package corpus

import (
	"bytes"
	"encoding/json"
	"strings"
)

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any // string, number, bool, list, object or embedded
}

type list []any

// embedded is an object that travels as a string, as in the items of mixed and chatrecord.
type embedded struct{ object }

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(encode(m.name))
		b.WriteByte(':')
		b.Write(encode(m.value))
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (e embedded) MarshalJSON() ([]byte, error) { return encode(string(encode(e.object))), nil }

// encode is JSON as WeCom writes it: no line feed, and < > & as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only our own values come here
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// public returns a value without any sdkfileid, at any depth: what people may read.
func public(v any) any {
	switch v := v.(type) {
	case object:
		out := object{}
		for _, m := range v {
			if m.name != "sdkfileid" {
				out = append(out, member{m.name, public(m.value)})
			}
		}
		return out
	case embedded:
		return embedded{public(v.object).(object)}
	case list:
		out := make(list, len(v))
		for i := range v {
			out[i] = public(v[i])
		}
		return out
	}
	return v
}

// texts calls found for every string in a value.
func texts(v any, found func(name, text string)) {
	switch v := v.(type) {
	case object:
		for _, m := range v {
			if s, ok := m.value.(string); ok {
				found(m.name, s)
			} else {
				texts(m.value, found)
			}
		}
	case embedded:
		texts(v.object, found)
	case list:
		for _, e := range v {
			if s, ok := e.(string); ok {
				found("", s)
			} else {
				texts(e, found)
			}
		}
	}
}

// longestLine returns the longest line of a text.
func longestLine(text string) string {
	longest := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); len(line) > len(longest) {
			longest = line
		}
	}
	return longest
}
