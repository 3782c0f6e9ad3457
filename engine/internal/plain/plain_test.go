package plain

import "testing"

func TestLine(t *testing.T) {
	for s, want := range map[string]string{
		"":                            "",
		"report (final).pdf":          "report (final).pdf",
		"议事録　2026 👍🏽":                 "议事録　2026 👍🏽",
		"\x1b[2J\x1b]0;owned\a":       `\x1b[2J\x1b]0;owned\a`,
		"\u009b31m":                   `\u009b31m`, // one character that terminals take for ESC [
		"gone\rall well":              `gone\rall well`,
		"m1\nsink.kintone.log  m2":    `m1\nsink.kintone.log  m2`,
		"a\tb\x00c\x7f":               `a\tb\x00c\x7f`,
		"invoice\u202efdp.exe":        `invoice\u202efdp.exe`, // shown as invoiceexe.pdf
		"zero\u200bwidth\ufeff\u2028": `zero\u200bwidth\ufeff\u2028`,
		"half\xe4\xb8":                `half\xe4\xb8`,
		"\U000e0041tag":               `\U000e0041tag`,
		`back\slash "quoted"`:         `back\slash "quoted"`,
	} {
		if got := Line(s); got != want {
			t.Errorf("%q: got %q, want %q", s, got, want)
		}
	}
}

func TestText(t *testing.T) {
	if got, want := Text("one\r\ntwo\nthree\x1b[0m\r", 2), "one\n  two\n  three"+`\x1b[0m\r`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
