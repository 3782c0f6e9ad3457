// Package plain makes what strangers wrote harmless where people read it: names and ids of records, what services and plugins say. A
// terminal obeys control characters, and a reader believes lines: so neither survives, nor what turns the direction of writing around or
// is not seen at all. What is taken out is shown as an escape, as Go writes it, so that it can be told apart.
//
// Programs read JSON, which has escapes of its own.
package plain

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line is s as part of one line.
func Line(s string) string { return visible(s, false) }

// Text is s with its line breaks, and the lines after the first indented by so many spaces: none of them looks like one of ours.
func Text(s string, indent int) string {
	return strings.ReplaceAll(visible(strings.ReplaceAll(s, "\r\n", "\n"), true), "\n", "\n"+strings.Repeat(" ", indent))
}

func visible(s string, lines bool) string {
	harmless := func(r rune) bool { return unicode.IsGraphic(r) && r != utf8.RuneError || lines && r == '\n' }
	if strings.IndexFunc(s, func(r rune) bool { return !harmless(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if harmless(r) {
			b.WriteString(s[:n])
		} else {
			quoted := strconv.QuoteToASCII(s[:n]) // "\x1b", "\u202e", and \xff for what is no text
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}
