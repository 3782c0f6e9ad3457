package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

// pages collects what a source emits; then, if not nil, runs after each page.
type pages struct {
	all  []sdk.Page
	then func()
}

func (p *pages) Emit(_ context.Context, page sdk.Page) error {
	p.all = append(p.all, page)
	if p.then != nil {
		p.then()
	}
	return nil
}

func (p *pages) bodies() []string {
	all := []string{}
	for _, page := range p.all {
		for _, r := range page.Records {
			all = append(all, string(r.Body))
		}
	}
	return all
}

func (p *pages) last() sdk.Page { return p.all[len(p.all)-1] }

func openSource(t *testing.T, args map[string]any) sdk.Source {
	t.Helper()
	raw, _ := json.Marshal(args)
	s := Plugin().Components[0].NewSource()
	if err := s.Open(context.Background(), &sdk.Env{Args: raw}); err != nil {
		t.Fatal(err)
	}
	return s
}

func readAll(t *testing.T, path string, position []byte) (*pages, error) {
	t.Helper()
	var out pages
	err := openSource(t, map[string]any{"path": path}).Read(context.Background(), position, &out)
	return &out, err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct {
		name, text string
		want       []string
	}{
		{"empty file", "", []string{}},
		{"lines", "a\nbc\n", []string{"a", "bc"}},
		{"last without newline", "a\nbc", []string{"a", "bc"}},
		{"empty lines and carriage returns", "\n\r\na", []string{"", "\r", "a"}},
		{"not UTF-8", "\xff\x00\n", []string{"\xff\x00"}},
		{"16 MiB", long + "\n" + long, []string{long, long}},
		{"many", strings.Repeat("1234\n", 1200), strings.Fields(strings.Repeat("1234\n", 1200))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in")
			write(t, path, test.text)
			got, err := readAll(t, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if !cmp.Equal(test.want, got.bodies()) {
				t.Fatalf("got %d lines, want %d, or others", len(got.bodies()), len(test.want))
			}
			if !got.last().Drained {
				t.Error("never drained")
			}

			// Behind each page stands the rest, with the same ids and numbers.
			all := flat(got.all)
			seen := 0
			for _, page := range got.all {
				seen += len(page.Records)
				rest, err := readAll(t, path, page.Position)
				if err != nil {
					t.Fatal(err)
				}
				if want, got := describe(all[seen:]), describe(flat(rest.all)); want != got {
					t.Errorf("behind %s: got %s, want %s", page.Position, got, want)
				}
			}
		})
	}
}

func flat(all []sdk.Page) (records []sdk.Record) {
	for _, page := range all {
		records = append(records, page.Records...)
	}
	return records
}

func describe(records []sdk.Record) string {
	var b strings.Builder
	for _, r := range records {
		fmt.Fprintf(&b, "%s %d %s %d,", r.ID, r.Seq, r.Kind, len(r.Body))
	}
	return b.String()
}

func TestIDsAreDistinctAndNumbered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in")
	write(t, path, "a\na\n\n\na")
	got, err := readAll(t, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ids := make(map[string]bool)
	for i, r := range flat(got.all) {
		ids[r.ID] = true
		if r.Seq != uint64(i+1) || r.Kind != "text/1" {
			t.Errorf("line %d: got seq %d, kind %s", i+1, r.Seq, r.Kind)
		}
	}
	if len(ids) != 5 {
		t.Errorf("got %d ids for 5 lines", len(ids))
	}
}

func TestWhatAFileMayNotDo(t *testing.T) {
	tests := []struct {
		name, before, after, code string
		want                      []string
	}{
		{"grows by lines", "a\n", "a\nb\n", "", []string{"b"}},
		{"gets its last newline", "a\nb", "a\nb\nc\n", "", []string{"c"}},
		{"only gets its last newline", "a\nb", "a\nb\n", "", []string{}},
		{"stays", "a\nb", "a\nb", "", []string{}},
		{"shrinks", "a\nb\n", "a\n", "FILE_SHRANK", nil},
		{"last line goes on", "a\nb", "a\nbb\n", "LINE_GREW", nil},
		{"line too long", "", "a\n" + strings.Repeat("x", maxLine+1) + "\n", "LINE_TOO_LONG", nil},
		{"last line too long", "", strings.Repeat("x", maxLine+1), "LINE_TOO_LONG", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "in")
			write(t, path, test.before)
			first, err := readAll(t, path, nil)
			if err != nil {
				t.Fatal(err)
			}
			write(t, path, test.after)
			got, err := readAll(t, path, first.last().Position)
			if test.code != "" {
				var refused *sdk.Error
				if !errors.As(err, &refused) || refused.Outcome.Code != test.code {
					t.Fatalf("got error %v, want %s", err, test.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got.bodies()); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "in")
		write(t, path, "a\nhal")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		out := &pages{}
		out.then = func() {
			switch len(out.all) {
			case 1:
				write(t, path, "a\nhalf\nb\n")
			case 3:
				cancel()
			}
		}
		start := time.Now()
		if err := openSource(t, map[string]any{"path": path, "every": "5s"}).Read(ctx, nil, out); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"a", "half", "b"}, out.bodies()); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("looked three times in %v, want 10s", took)
		}
	})
}

func TestMissingFileIsForRead(t *testing.T) {
	_, err := readAll(t, filepath.Join(t.TempDir(), "none"), nil)
	if o := sdk.OutcomeOf(err); o.Code != "FILE_UNREADABLE" || !o.Down {
		t.Errorf("got %v, want FILE_UNREADABLE", err)
	}
}

func TestSourceOpenRefuses(t *testing.T) {
	for _, args := range []string{`{}`, `{"path":"a","every":"0s"}`, `{"path":"a","every":"soon"}`, `{"pfad":"a"}`} {
		if err := Plugin().Components[0].NewSource().Open(context.Background(), &sdk.Env{Args: []byte(args)}); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}
