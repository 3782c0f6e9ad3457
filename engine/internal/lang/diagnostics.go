package lang

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"

	"github.com/weir-etl/weir/engine/internal/plain"
)

// Diagnostic is one mistake in a pipeline file. It never shows a secret.
type Diagnostic struct {
	Warning bool   `json:"warning,omitempty"`
	File    string `json:"file,omitempty"` // as given to Load; "" = not in a file
	Line    int    `json:"line,omitempty"` // from 1
	Column  int    `json:"column,omitempty"`
	Problem string `json:"problem"`          // what is wrong
	Remedy  string `json:"remedy,omitempty"` // what to write instead
	Snippet string `json:"snippet,omitempty"`

	from, to int // the marked columns of Snippet, in runes from 0
}

// Error makes a diagnostic usable as an error: "file:line: problem".
func (d Diagnostic) Error() string {
	if d.File == "" {
		return d.Problem
	}
	return fmt.Sprintf("%s:%d: %s", d.File, d.Line, d.Problem)
}

// Diagnostics is all that is wrong, in the order of the files.
type Diagnostics []Diagnostic

// HasErrors reports whether anything but warnings is among them.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return !d.Warning })
}

// Write prints each diagnostic with its line of the file, as plain text.
func (ds Diagnostics) Write(w io.Writer) error {
	var b strings.Builder
	for _, d := range ds {
		severity := "error"
		if d.Warning {
			severity = "warning"
		}
		if d.File != "" {
			fmt.Fprintf(&b, "%s:%d:%d: ", d.File, d.Line, d.Column)
		}
		fmt.Fprintf(&b, "%s: %s\n", severity, plain.Text(d.Problem, 2))
		if d.Snippet != "" {
			number := fmt.Sprint(d.Line)
			fmt.Fprintf(&b, "  %s | %s\n", number, plain.Line(d.Snippet))
			fmt.Fprintf(&b, "  %s | %s%s\n", strings.Repeat(" ", len(number)), strings.Repeat(" ", d.from), strings.Repeat("^", max(1, d.to-d.from)))
		}
		if d.Remedy != "" {
			fmt.Fprintf(&b, "  %s\n", plain.Text(d.Remedy, 2))
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON prints the diagnostics as one JSON array.
func (ds Diagnostics) WriteJSON(w io.Writer) error {
	if ds == nil {
		ds = Diagnostics{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(ds)
}

// report collects diagnostics while the files are read.
type report struct {
	source map[string][]byte // text of the files, for snippets
	list   Diagnostics
}

// errorf adds a mistake at r; remedy may be empty.
func (r *report) errorf(at hcl.Range, remedy, format string, args ...any) {
	r.add(at, hcl.Range{}, false, remedy, fmt.Sprintf(format, args...))
}

// hidden is errorf for mistakes whose line may hold a secret: the snippet does not show what lies in hide.
func (r *report) hidden(at, hide hcl.Range, remedy, format string, args ...any) {
	r.add(at, hide, false, remedy, fmt.Sprintf(format, args...))
}

func (r *report) add(at, hide hcl.Range, warning bool, remedy, problem string) {
	d := Diagnostic{Warning: warning, File: at.Filename, Line: at.Start.Line, Column: at.Start.Column, Problem: problem, Remedy: remedy}
	d.Snippet, d.from, d.to = snippet(r.source[at.Filename], at, hide)
	r.list = append(r.list, d)
}

// sorted returns what was collected, in the order of the files' lines, each once.
func (r *report) sorted() Diagnostics {
	slices.SortStableFunc(r.list, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.CompactFunc(r.list, func(a, b Diagnostic) bool { return a == b })
}

// snippet is the first line of at, and where at lies in it, in runes. What hide covers is left out.
func snippet(source []byte, at, hide hcl.Range) (line string, from, to int) {
	start := at.Start.Byte
	if at.Start.Line == 0 || start > len(source) {
		return "", 0, 0
	}
	begin := bytes.LastIndexByte(source[:start], '\n') + 1
	end := len(source)
	if i := bytes.IndexByte(source[start:], '\n'); i >= 0 {
		end = start + i
	}
	stop := max(start, min(end, at.End.Byte))
	shown := source[begin:end]
	if hide.Filename != "" && begin <= hide.Start.Byte && hide.Start.Byte <= end {
		shown = slices.Concat(source[begin:hide.Start.Byte], []byte("…"), source[min(end, hide.End.Byte):end])
		stop = max(start, min(stop, hide.Start.Byte))
	}
	line = strings.TrimRight(strings.ReplaceAll(string(shown), "\t", " "), "\r")
	return window(line, utf8.RuneCount(source[begin:start]), utf8.RuneCount(source[begin:stop]))
}

// window cuts a long line to what stands around the mark: nobody reads more, and each diagnostic of a file of one line holds it.
func window(line string, from, to int) (string, int, int) {
	const most, before = 240, 80
	if len(line) <= most {
		return line, from, to
	}
	runes := []rune(line)
	skip := min(max(0, from-before), len(runes))
	cut := runes[skip:min(skip+most, len(runes))]
	text := string(cut)
	if skip+len(cut) < len(runes) {
		text += "…"
	}
	if skip > 0 {
		text, skip = "…"+text, skip-1
	}
	return text, from - skip, min(to-skip, most+1)
}

// nearest returns "did you mean …?" for the candidate that is close to word, or "".
func nearest(word string, candidates []string) string {
	best, distance := "", 3
	if len(word) < 4 {
		distance = 2
	}
	for _, c := range candidates {
		d := levenshtein.Distance(strings.ToLower(word), strings.ToLower(c), nil)
		if d < distance || d == distance && best != "" && c < best {
			best, distance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// remedy is "did you mean …?" where something is close, else the list of what there is.
func remedy(word string, candidates []string, what string) string {
	if s := nearest(word, candidates); s != "" {
		return s
	}
	if len(candidates) == 0 {
		return ""
	}
	list := slices.Sorted(slices.Values(candidates))
	if len(list) > 12 {
		list = append(list[:12], "…")
	}
	return what + ": " + strings.Join(list, ", ")
}
