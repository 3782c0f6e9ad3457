package file

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-etl/weir/sdk"
)

// FuzzFile reads text as a source from any position, opens it as a sink with any index beside it, and makes it a file's name.
func FuzzFile(f *testing.F) {
	one := appendEntry(appendEntry(nil, journalMagic, 2), identityOf("a"), 4)
	for _, s := range []struct {
		text, position string
		ids            []byte
	}{
		{"a\n\nb", "0:0", nil},
		{"a\nb\nc", "2:1", one},
		{"a\nb\n", "9:1", append(bytes.Clone(one), "torn"...)},
		{"a\nb\n", "1:1", appendEntry(bytes.Clone(one), identityOf("b"), 99)},
		{"abc", "1:7", appendEntry(nil, journalMagic, 3)},
		{"a\n", "-1:0", appendEntry(nil, journalMagic, -1)},
		{"../../x", "9223372036854775807:18446744073709551615", []byte("no index")},
		{strings.Repeat("line\n", 700), "5:1", appendEntry(nil, journalMagic, 0)},
	} {
		f.Add([]byte(s.text), s.position, s.ids, []byte{1, 2, 1, 9})
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte, position string, ids, ends []byte) {
		path := filepath.Join(dir, "lines")
		checkSource(t, path, text, position)
		for i := 0; i+1 < len(ends) && i < 20; i += 2 { // the fuzzer finds no sums by itself
			ids = appendEntry(bytes.Clone(ids), identityOf(string(ends[:i])), int64(binary.BigEndian.Uint16(ends[i:])))
		}
		checkJournal(t, path, text, ids)
		if name := safeName(string(text)); name == "" || name == "." || name == ".." || len(name) > 100 || strings.ContainsAny(name, "/\\\x00\r\n") || !utf8.ValidString(name) {
			t.Errorf("%q is called %q", text, name)
		}
		id := safeID(string(text))
		if len(id) > 64 || strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") != "" {
			t.Errorf("%q is called %q", text, id)
		}
	})
}

func checkSource(t *testing.T, path string, text []byte, position string) {
	write(t, path, string(text))
	got, err := readAll(t, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	joined := []byte(strings.Join(got.bodies(), "\n"))
	if len(got.bodies()) > 0 && bytes.HasSuffix(text, []byte("\n")) {
		joined = append(joined, '\n')
	}
	if !bytes.Equal(joined, text) {
		t.Errorf("got %q, want %q", joined, text)
	}
	seen := map[string]string{}
	for _, page := range got.all {
		for _, r := range page.Records {
			seen[r.ID] = string(r.Body)
		}
	}
	if len(seen) != len(got.bodies()) {
		t.Errorf("%d ids for %d records", len(seen), len(got.bodies()))
	}
	// What is read from any place after a line is what was read there before.
	rest := &pages{}
	s := openSource(t, map[string]any{"path": path})
	if err := s.Read(context.Background(), []byte(position), rest); err != nil {
		if detail := sdk.OutcomeOf(err).Detail; len(detail) > 200 || len(text) > 20 && strings.Contains(detail, string(text)) {
			t.Errorf("an error says %q", detail)
		}
		return
	}
	for _, page := range rest.all {
		for _, r := range page.Records {
			if body, there := seen[r.ID]; there && body != string(r.Body) {
				t.Errorf("from %q on %s is %q, before it was %q", position, r.ID, r.Body, body)
			} else if !there {
				t.Errorf("from %q on there is a record %s, %q, in the middle of a line", position, r.ID, r.Body)
			}
		}
	}
}

func checkJournal(t *testing.T, path string, text, ids []byte) {
	write(t, path, string(text))
	write(t, path+".ids", string(ids))
	j, err := openJournal(path)
	if err != nil {
		if now, readErr := os.ReadFile(path); readErr != nil || !bytes.Equal(now, text) {
			t.Errorf("refused with %v, and changed", err)
		}
		return
	}
	_, foreign, _ := readEntry(ids)
	kept, known := j.end, len(j.known)
	if kept < foreign || kept > int64(len(text)) || known > len(ids)/entrySize-1 {
		t.Errorf("keeps %d bytes of %d and %d, with %d identities of %d bytes", kept, len(text), foreign, known, len(ids))
	}
	key := identityOf("one more line")
	had := j.has(key)
	j.add([]byte("x"), key)
	if err := j.flush(); err != nil {
		t.Fatal(err)
	}
	j.close()
	want := bytes.Clone(text[:kept])
	if !had {
		want = append(want, "x\n"...)
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, want) {
		t.Errorf("got %q, %v, want %q", now, err, want)
	}
	if j, err = openJournal(path); err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if !j.has(key) || j.end != int64(len(want)) {
		t.Errorf("opened again: %d bytes of %d, the line is known: %v", j.end, len(want), j.has(key))
	}
}
