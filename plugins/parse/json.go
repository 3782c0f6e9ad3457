package parse

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"
)

// node is a value of a JSON text that still knows where it stands, so that a message can be passed on byte for byte. Numbers stay
// texts: a meeting id has up to 20 digits and would not survive a float64.
type node struct {
	kind     byte   // first byte: { [ " t f n, or 0 for a number
	raw      []byte // the value's own bytes, quotes included
	at       int    // where raw begins in the whole text
	members  []member
	elements []node
}

type member struct {
	name  string
	value node
}

// parseJSON reads a text that is one JSON value.
func parseJSON(text []byte) (node, bool) {
	if !json.Valid(text) {
		return node{}, false
	}
	s := scanner{text: text}
	return s.value(), true
}

// scanner walks through a text that is known to be valid.
type scanner struct {
	text []byte
	at   int
}

// next skips white space and returns the byte that follows.
func (s *scanner) next() byte {
	for strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
	return s.text[s.at]
}

func (s *scanner) value() node {
	n := node{kind: s.next(), at: s.at}
	switch n.kind {
	case '{':
		s.list('}', func() {
			name := s.value().text()
			s.next() // the colon
			s.at++
			if n.members == nil {
				n.members = make([]member, 0, 8) // as many as most messages have
			}
			n.members = append(n.members, member{name, s.value()})
		})
	case '[':
		s.list(']', func() { n.elements = append(n.elements, s.value()) })
	case '"':
		for s.at++; s.text[s.at] != '"'; s.at++ {
			if s.text[s.at] == '\\' {
				s.at++
			}
		}
		s.at++
	case 't', 'n':
		s.at += len("true")
	case 'f':
		s.at += len("false")
	default:
		n.kind = 0
		for s.at < len(s.text) && strings.IndexByte("+-.eE0123456789", s.text[s.at]) >= 0 {
			s.at++
		}
	}
	n.raw = s.text[n.at:s.at]
	return n
}

// list calls one for each thing between the bracket that the scanner stands at and end.
func (s *scanner) list(end byte, one func()) {
	s.at++
	for s.next() != end {
		if s.text[s.at] == ',' {
			s.at++
		}
		one()
	}
	s.at++
}

// get is the member of that name, or one that differs in case only (card is documented as userid and as Userid); of several the
// last one, as everywhere in Go. A null is as good as absent.
func (n node) get(name string) (found node, ok bool) {
	for _, m := range slices.Backward(n.members) {
		if m.name == name {
			return m.value, m.value.kind != 'n'
		}
	}
	for _, m := range slices.Backward(n.members) {
		if strings.EqualFold(m.name, name) {
			return m.value, m.value.kind != 'n'
		}
	}
	return node{}, false
}

// text is what a string says, and a number as it is written; "" for anything else.
func (n node) text() string {
	switch {
	case n.kind == 0:
		return string(n.raw)
	case n.kind != '"':
		return ""
	case bytes.IndexByte(n.raw, '\\') < 0:
		return string(n.raw[1 : len(n.raw)-1])
	}
	var s string
	json.Unmarshal(n.raw, &s) // cannot fail: the text is valid
	return s
}

// str is the text of a member, or "".
func (n node) str(name string) string {
	v, _ := n.get(name)
	return v.text()
}

// rawOffsets turns offsets in the text of a string, in rising order, into offsets in the whole JSON text.
func (n node) rawOffsets(offsets []int) []int {
	found := make([]int, 0, len(offsets))
	raw, decoded := 1, 0
	for _, want := range offsets {
		for decoded < want {
			width, size := charAt(n.raw[raw:])
			raw += width
			decoded += size
		}
		found = append(found, n.at+raw)
	}
	return found
}

// charAt measures the first character of the inside of a JSON string: its bytes as written, and as UTF-8.
func charAt(b []byte) (width, size int) {
	if b[0] != '\\' {
		return 1, 1 // byte by byte is good enough
	}
	if b[1] != 'u' {
		return 2, 1
	}
	width = 6
	if isPair(b) {
		width = 12
	}
	var s string
	json.Unmarshal(slices.Concat([]byte{'"'}, b[:width], []byte{'"'}), &s)
	return width, len(s)
}

// isPair reports whether b begins with two escapes that are one character beyond U+FFFF.
func isPair(b []byte) bool {
	return len(b) >= 12 && strings.IndexByte("dD", b[2]) >= 0 && strings.IndexByte("89aAbB", b[3]) >= 0 &&
		b[6] == '\\' && b[7] == 'u' && strings.IndexByte("dD", b[8]) >= 0 && strings.IndexByte("cCdDeEfF", b[9]) >= 0
}

// appendString appends s, valid UTF-8, as a JSON string. Unlike package json it leaves <, > and & alone.
func appendString(b []byte, s []byte) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	done := 0
	for i, c := range s {
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[done:i]...)
		done = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, `\n`...)
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(append(b, s[done:]...), '"')
}

// validUTF8 is body with U+FFFD for every run of bytes that is not UTF-8, because JSON cannot carry those.
func validUTF8(body []byte) []byte {
	if utf8.Valid(body) {
		return body
	}
	return bytes.ToValidUTF8(body, []byte("\uFFFD"))
}
