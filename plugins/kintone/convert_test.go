package kintone_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestValues writes one value after the other and looks at what the row holds then, or at the refusal.
func TestValues(t *testing.T) {
	srv := start(t)
	s := open(t, srv.URL, nil)
	const mark = "… [cut, 64002 characters in all]"
	tests := []struct {
		field string
		value any
		want  any // nil = empty; text that begins with "reject" = refused
	}{
		{"seq", 12, "12"},
		{"seq", "12.50", "12.5"},
		{"seq", json.Number("1.2e3"), "1200"},
		{"seq", json.Number("999999999999"), "999999999999"},
		{"seq", "-0.25", "-0.25"},
		{"seq", "", nil},
		{"seq", "0x10", "reject BAD_VALUE"},
		{"seq", "1/2", "reject BAD_VALUE"},
		{"seq", "1e1000000", "reject BAD_VALUE"},
		{"seq", "1e", "reject BAD_VALUE"},
		{"seq", strings.Repeat("9", 31), "reject BAD_VALUE"},
		{"seq", []any{1}, "reject BAD_VALUE"},
		{"seq", "1234567890123", "reject CB_VA01"}, // only the app knows how many digits it takes
		{"msgtime", "2026-11-22T01:02:59.999Z", "2026-11-22T01:02:00Z"},
		{"msgtime", "2026-01-01T00:30:00+09:00", "2025-12-31T15:30:00Z"},
		{"msgtime", "", nil},
		{"msgtime", "2026-11-22", "reject BAD_VALUE"},
		{"msgtime", "0999-01-01T00:00:00Z", "reject BAD_VALUE"},
		{"msgtime", 1763773323, "reject BAD_VALUE"},
		{"status", "FINISHED", "FINISHED"},
		{"status", "", nil},
		{"status", []any{"FINISHED"}, "reject BAD_VALUE"},
		{"revoked", "revoked", []string{"revoked"}},
		{"revoked", []any{}, nil},
		{"revoked", []any{[]any{}}, "reject BAD_VALUE"},
		{"from", "a\r\nb\nc", "a b c"},
		{"from", true, "true"},
		{"content", []any{"a", "b", 3}, "a\nb\n3"},
		{"content", []any{}, nil},
		{"content", object{"b": []any{1, nil}, "a": "<x>"}, `{"a":"\u003cx\u003e","b":[1,null]}`},
		{"content", []any{object{"a": 1}}, `[{"a":1}]`},
		{"content", strings.Repeat("x", 64_000), strings.Repeat("x", 64_000)},
		{"content", strings.Repeat("😀", 32_001), strings.Repeat("😀", (64_000-len([]rune(mark)))/2) + mark},
		{"url", strings.Repeat("x", 65), "reject BAD_VALUE"},
	}
	for _, test := range tests {
		got := s.write(s.record("m", object{test.field: test.value}))
		have := srv.Rows(appLog)
		var value any
		if strings.HasPrefix(short(got), "reject") {
			value = short(got)
		} else {
			value = have[0].Values[test.field]
		}
		if text, ok := value.(string); ok && len(text) > 1000 {
			if want, _ := test.want.(string); text != want {
				t.Errorf("%s: got %d bytes ending in %q, want %d", test.field, len(text), text[len(text)-40:], len(want))
			}
			continue
		}
		if !cmp.Equal(value, test.want) {
			t.Errorf("%s = %v: got %v, want %v", test.field, test.value, value, test.want)
		}
	}
}
