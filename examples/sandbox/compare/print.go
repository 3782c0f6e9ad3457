package compare

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the report as people read it: the account of every seq, the table, what is left, the differences, the verdict.
func (r *Report) Print(w io.Writer) {
	terms := make([]string, len(r.Sum))
	for i, s := range r.Sum {
		terms[i] = fmt.Sprintf("%d %s", s.Count, s.Status)
	}
	seqs := fmt.Sprintf("  seq %d-%d", r.First, r.Last)
	lead := fmt.Sprintf("%s   %d = ", seqs, r.Last-r.First+1)
	indent := strings.Repeat(" ", len(seqs)+len(fmt.Sprint(r.Last-r.First+1))+3)
	verdict := "adds up"
	if !r.AddsUp {
		verdict = "DOES NOT ADD UP"
	}
	const inLine = 4
	for i := 0; i < len(terms); i += inLine {
		line := strings.Join(terms[i:min(i+inLine, len(terms))], " + ")
		if i == 0 {
			line = lead + line
		} else {
			line = indent + " + " + line
		}
		if i+inLine >= len(terms) {
			line += "     " + verdict
		}
		fmt.Fprintln(w, line)
	}
	fmt.Fprintf(w, "  %-24s %9s %8s %8s %6s %8s\n", "", "expected", "arrived", "missing", "twice", "altered")
	for _, l := range r.Lines {
		fmt.Fprintf(w, "  %-24s %9d %8d %8d %6d %8d", l.Name, l.Expected, l.Arrived, l.Missing, l.Twice, l.Altered)
		if l.Extra > 0 {
			fmt.Fprintf(w, "   and %d that nobody sent", l.Extra)
		}
		fmt.Fprintln(w)
	}
	if r.Left != nil {
		fmt.Fprintf(w, "  Left on this machine: %d files, %d of %d texts found in the state.\n", len(r.Left.Files), r.Left.Texts, r.Left.Of)
		for _, path := range r.Left.Files {
			fmt.Fprintln(w, "    left     ", path)
		}
		for _, t := range r.Left.Found {
			fmt.Fprintf(w, "    readable  %s at %d: seq %d as %s\n", t.File, t.At, t.Seq, t.As)
		}
	}
	const most = 100
	for i, d := range r.Differences {
		if i == most {
			fmt.Fprintf(w, "    … and %d more\n", len(r.Differences)-most)
			break
		}
		fmt.Fprintln(w, "   ", d)
	}
	if r.Good() {
		fmt.Fprintf(w, "  archive equals truth: %d of %d\n", r.Equal, r.Of)
		return
	}
	fmt.Fprintf(w, "  ARCHIVE DIFFERS FROM TRUTH: %d of %d messages are as they should be\n", r.Equal, r.Of)
}
