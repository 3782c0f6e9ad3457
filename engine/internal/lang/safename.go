package lang

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Names in destinations are cut to maxName bytes; an extension of up to maxExtension bytes survives the cut.
const (
	maxName      = 200
	maxExtension = 20
)

// windowsName matches what Windows takes for a device, with any extension ("Naming Files, Paths, and Namespaces", Microsoft Learn).
var windowsName = regexp.MustCompile(`(?i)^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])([. ].*)?$`)

// safeName makes a name that a stranger chose safe as a file's or object's name: one path element without separators, control
// characters or tricks of writing direction, allowed on every system, in normal form C, at most 200 bytes, never empty. A name that
// is safe stays as it is.
func safeName(name string) string {
	if isSafe(name) {
		return name
	}
	return madeSafe(name)
}

// isSafe reports that a name is safe for those names where this is seen at once: plain letters, digits, "-", "_" and ".".
func isSafe(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	stem, _, _ := strings.Cut(name, ".")
	return len(stem) > 4 && len(name) <= maxName && name[len(name)-1] != '.' // shorter ones may be devices of Windows
}

func madeSafe(name string) string {
	var b strings.Builder
	for _, r := range norm.NFC.String(strings.ToValidUTF8(name, "_")) {
		switch {
		case strings.ContainsRune(`/\<>:"|?*`, r), r < 0x20, unicode.Is(unicode.Cc, r), r == '\u2028', r == '\u2029':
			b.WriteByte('_')
		case invisible(r):
		default:
			b.WriteRune(r)
		}
	}
	// what was taken out may have kept apart what composes
	s := trimEnds(norm.NFC.String(b.String()))
	if s == "" {
		return "file"
	}
	if windowsName.MatchString(s) {
		s = "_" + s
	}
	if len(s) <= maxName {
		return s
	}
	ext := ""
	if dot := strings.LastIndexByte(s, '.'); len(s)-dot <= maxExtension {
		ext = s[dot:]
	}
	stem := s[:maxName-len(ext)]
	for !utf8.RuneStart(s[len(stem)]) {
		stem = stem[:len(stem)-1]
	}
	if stem = trimEnds(stem); stem == "" {
		stem = "file"
	}
	return stem + ext
}

// invisible reports runes that change how a name looks without being seen: marks and overrides of direction, zero-width joiners of
// nothing, the byte order mark, and tags.
func invisible(r rune) bool {
	switch {
	case r == 0x061c, r == 0x200b, r == 0x200e, r == 0x200f, r == 0xfeff:
	case 0x202a <= r && r <= 0x202e, 0x2060 <= r && r <= 0x206f, 0xfff9 <= r && r <= 0xfffb, 0xe0000 <= r && r <= 0xe007f:
	default:
		return false
	}
	return true
}

// trimEnds takes off what Windows drops silently at the end, and spaces in front.
func trimEnds(s string) string {
	return strings.TrimRightFunc(strings.TrimLeftFunc(s, unicode.IsSpace), func(r rune) bool { return r == '.' || unicode.IsSpace(r) })
}
