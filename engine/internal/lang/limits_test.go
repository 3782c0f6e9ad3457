package lang_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-etl/weir/engine/internal/lang"
)

// What is beyond a limit is refused with its line; what is within it is read.
func TestLimits(t *testing.T) {
	nested := func(n int) string { return "locals { x = " + strings.Repeat("[", n) + strings.Repeat("]", n) + " }\n" }
	sum := func(n int) string { return "locals { x = 1" + strings.Repeat(" + 1", n) + " }\n" }
	loop := func(n, m string) string {
		return "locals { x = length([for a in range(" + n + ") : [for b in range(" + m + ") : b if b > 5]]) }\n"
	}
	var lines strings.Builder
	for i := range 300 {
		fmt.Fprintf(&lines, "  x%d = 1 + 1\n", i)
	}
	for _, row := range []struct{ name, text, want string }{
		{"nested", nested(90), ""},
		{"nested too deep", nested(200), "11: this is nested more than 100 levels deep"},
		{"nested far too deep", nested(200_000), "11: this is nested more than 100 levels deep"},
		{"signs", "locals { x = " + strings.Repeat("!", 200_000) + "true }\n", "11: an expression has more than 1000 operators"},
		{"operators", sum(900), ""},
		{"too many operators", sum(1100), "11: an expression has more than 1000 operators"},
		{"many lines", "locals {\n" + lines.String() + "}\n", ""},
		{"a long list", "locals { x = [" + strings.Repeat("1 + 1, ", 5000) + "] }\n", ""},
		{"a large file", "# " + strings.Repeat("x", 1<<20) + "\n", "1: the file has "},
		{"UTF-16", "\xff\xfew\x00e\x00i\x00r\x00", "1: the file is no text in UTF-8"},
		{"rounds", loop("100", "300"), ""},
		{"too many rounds", loop("1000", "1000"), "11: the for expressions take more than 100000 rounds"},
	} {
		_, diags := lang.Load([]string{write(t, head+row.text)}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
		got := ""
		if len(diags) > 0 {
			got = fmt.Sprintf("%d: %s", diags[0].Line, diags[0].Problem)
		}
		if row.want == "" && got != "" || !strings.HasPrefix(got, row.want) || len(diags) > 1 {
			t.Errorf("%s: got %d diagnostics, %q, want %q", row.name, len(diags), got, row.want)
		}
	}
}

// A record cannot make an expression run for ever.
func TestRoundsOfARecord(t *testing.T) {
	rec := message()
	rec.r.Body = []byte("[" + strings.Repeat("1,", 20_000) + "1]")
	if _, err := line(t, `length([for a in record.body : [for b in record.body : a]])`, rec); err == nil || !strings.HasSuffix(err.Error(), "the for expressions take more than 100000 rounds") {
		t.Errorf("got %v", err)
	}
	if got, err := line(t, `length([for a in record.body : a])`, rec); err != nil || got != "20001" {
		t.Errorf("got %s, %v", got, err)
	}
}

// Texts of a record that would end the process, or take minutes to be written out, are errors of the record.
func TestHostileJSON(t *testing.T) {
	rec := message()
	rec.r.Body = []byte(strings.Repeat("[", 6<<20))
	if got, err := line(t, `record.body`, rec); err != nil || got != "null" {
		t.Errorf("deep body: got %.50s, %v", got, err)
	}
	rec.r.Meta = map[string]string{"flags": strings.Repeat("[", 6<<20)}
	if _, err := line(t, `jsondecode(record.meta.flags)`, rec); err == nil {
		t.Error("deep text: no error")
	}
	rec.r.Meta = map[string]string{"flags": "1e9999999"}
	if _, err := line(t, `tonumber(record.meta.flags)`, rec); err == nil {
		t.Error("a number of ten million digits: no error")
	}
}
