package state_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/weir-etl/weir/engine/internal/state"
)

// TestNothingReadable plants a text wherever the engine may put one and searches every file for it, in all its disguises, while
// the state is open, after a compaction and after a close. What an opaque body holds is found: the search can see.
func TestNothingReadable(t *testing.T) {
	const text, control = "预算在附件里 budget 2026.xlsx", "control 对照 in an opaque body"
	b := []byte(text)
	group := state.Group{Rows: []uint32{0}, Door: "sink." + text, AboutAt: text, Cause: text, Code: text, Detail: text}
	c := &state.Change{
		Pipeline:    text,
		Checkpoints: []state.Checkpoint{{Source: "source." + text, Position: b, Stats: b}},
		Parcels: []state.Parcel{
			{ID: 1, Rest: b, Body: bytes.Repeat(b, 1000)},
			{ID: 2, Rest: b, Body: []byte(control), Opaque: true},
		},
		Owing:  []state.Owing{{Step: text, Parcel: 1, Rows: 1, Groups: []state.Group{group}}},
		Events: []state.Event{{Number: 1, Data: b}},
		Steps:  []state.StepState{{Address: text, ConfigHash: b}},
		Marks:  []state.Mark{{Step: text, ID: 7, Tries: 1}},
		Audit:  []state.Audit{{Who: text, Verb: text, What: text}},
	}
	for i := range 5000 { // so many that they go through the journal
		large := group
		large.Detail = strings.Repeat(text, 9)
		c.Owing = append(c.Owing, state.Owing{Step: text, Parcel: uint64(i + 2), Rows: 1, Groups: []state.Group{large}})
	}
	dir := t.TempDir()
	journalled := false
	db, err := state.Open(dir, state.Options{Key: testKey, Failpoint: func(name string) {
		if name == "commit.journal" {
			journalled = true
			searchFor(t, dir, text, false)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	commit(t, db, c)
	if !journalled {
		t.Fatal("the change was not large enough for the journal")
	}
	check := func() {
		searchFor(t, dir, text, false)
		searchFor(t, dir, control, true)
	}
	check()
	if err := db.Rename(text, text, text+"2"); err != nil {
		t.Fatal(err)
	}
	if err := db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	check()
	if err := db.Retire(t.Context(), state.Audit{Who: text, What: text}); err != nil {
		t.Fatal(err)
	}
	db.Close()
	check()
}

func searchFor(t *testing.T, dir, text string, want bool) {
	t.Helper()
	files := 0
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for how, disguise := range disguises(text) {
			if bytes.Contains(data, disguise) || bytes.Contains([]byte(path), disguise) {
				found = append(found, fmt.Sprintf("%s as %s", filepath.Base(path), how))
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		t.Fatalf("searched %d files, %v", files, err)
	}
	if got := len(found) > 0; got != want {
		t.Errorf("%q found in %v; want found %v", text, found, want)
	}
}

func disguises(text string) map[string][]byte {
	var little, big, escaped []byte
	for _, u := range utf16.Encode([]rune(text)) {
		little = append(little, byte(u), byte(u>>8))
		big = append(big, byte(u>>8), byte(u))
		if u < 0x80 {
			escaped = append(escaped, byte(u))
		} else {
			escaped = fmt.Appendf(escaped, `\u%04x`, u)
		}
	}
	all := map[string][]byte{
		"UTF-8": []byte(text), "UTF-16LE": little, "UTF-16BE": big, "JSON": escaped,
		"JSON upper case": []byte(strings.ReplaceAll(strings.ToUpper(string(escaped)), `\U`, `\u`)),
		"hex":             []byte(hex.EncodeToString([]byte(text))),
	}
	for shift := range 3 { // base64 of a longer text that holds this one: without the characters that its neighbours touch
		encoded := base64.StdEncoding.EncodeToString(append(make([]byte, shift), text...))
		all[fmt.Sprint("base64 ", shift)] = []byte(encoded[4 : len(encoded)-4])
	}
	return all
}

func TestDisguises(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		long := strings.Repeat("a", i) + "对照 planted 文" + "tail"
		os.WriteFile(filepath.Join(dir, "f"), []byte(base64.StdEncoding.EncodeToString([]byte(long))), 0o600)
		searchFor(t, dir, "对照 planted 文", true)
	}
	os.WriteFile(filepath.Join(dir, "f"), []byte(`{"a":"\u5bf9\u7167 planted \u6587"}`), 0o600)
	searchFor(t, dir, "对照 planted 文", true)
}
