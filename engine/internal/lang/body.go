package lang

import (
	"bytes"
	"encoding/json"
	"strings"
	"unsafe"

	"github.com/tidwall/gjson"
)

// json is the body; nothing where it is not JSON.
func (s *scope) json() gjson.Result {
	if !s.ready {
		s.ready = true
		body := s.rec.Body()
		if s.opened = brackets(body); (s.opened < fewBrackets || json.Valid(body)) && gjson.ValidBytes(body) {
			s.body = gjson.Parse(unsafe.String(unsafe.SliceData(body), len(body)))
		}
	}
	return s.body
}

// shallow reports whether a JSON text is not nested so deep that gjson, or cty, would run out of stack, which ends the process:
// encoding/json refuses more than 10,000 levels.
func shallow(text []byte) bool { return brackets(text) < fewBrackets || json.Valid(text) }

const fewBrackets = 10_000

func brackets(text []byte) int {
	return bytes.Count(text, []byte("[")) + bytes.Count(text, []byte("{"))
}

// slot is the place of a member of the body among those that the step's expressions mention.
func (r *rows) slot(name string) int {
	if i, known := r.slots[name]; known {
		return i
	}
	if r.slots == nil {
		r.slots = map[string]int{}
	}
	r.slots[name] = len(r.slots)
	return r.slots[name]
}

// field is the value of the body under a slot and the names below it. All slots are filled in one pass.
func (s *scope) field(slot int, below []string) gjson.Result {
	if s.members == nil {
		s.members = make([]gjson.Result, len(s.rows.slots))
		if body := s.json(); body.IsObject() {
			fill(s.members, body.Raw, s.rows.slots)
		}
	}
	r := s.members[slot]
	for _, name := range below {
		r = member(r, name)
	}
	return r
}

// fill finds the members of a valid JSON object that are in slots; of one that comes twice the last, as member does. It steps over
// the values of all others without reading them.
func fill(members []gjson.Result, object string, slots map[string]int) {
	for i := strings.IndexByte(object, '{') + 1; ; {
		for object[i] != '"' {
			if object[i] == '}' {
				return
			}
			i++
		}
		from := i
		i = skip(object, from)
		name := object[from+1 : i-1]
		if strings.IndexByte(name, '\\') >= 0 {
			name = gjson.Parse(object[from:i]).Str
		}
		for from = i; object[from] <= ' ' || object[from] == ':'; {
			from++
		}
		i = skip(object, from)
		if slot, mentioned := slots[name]; mentioned {
			members[slot] = gjson.Parse(object[from:i])
		}
	}
}

// skip is the end of the JSON value that begins at i.
func skip(text string, i int) int {
	for depth := 0; ; i++ {
		switch text[i] {
		case '"':
			i = quote(text, i)
		case '[', '{':
			depth++
			continue
		case ']', '}':
			depth--
		default:
			if depth > 0 {
				continue
			}
			for text[i] > ' ' && text[i] != ',' && text[i] != '}' {
				i++
			}
			return i
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// quote is where the string ends that begins at i: at a quotation mark that no backslash takes away.
func quote(text string, i int) int {
	for start := i; ; {
		i += 1 + strings.IndexByte(text[i+1:], '"')
		slashes := i
		for slashes > start+1 && text[slashes-1] == '\\' {
			slashes--
		}
		if (i-slashes)%2 == 0 {
			return i
		}
	}
}

// deep reports whether the body is nested too deep for some expression that mentions it.
func (s *scope) deep() bool {
	body := s.json().Raw
	return s.opened > maxDepth && nesting(body) > maxDepth
}

// nesting counts the levels of brackets of a valid JSON text.
func nesting(text string) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\':
			i++
		case quoted:
		case c == '[' || c == '{':
			depth++
			deepest = max(deepest, depth)
		case c == ']' || c == '}':
			depth--
		}
	}
	return deepest
}

// member is the value of an object under a name: the last one, as encoding/json reads it.
func member(r gjson.Result, name string) (found gjson.Result) {
	if !r.IsObject() {
		return found
	}
	r.ForEach(func(k, v gjson.Result) bool {
		if k.Str == name {
			found = v
		}
		return true
	})
	return found
}
