package bench

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// Format is the first word of a report: another number, and fields mean something else than before. New fields change nothing.
const Format = "weir-bench/1"

// Report is what was measured. Its JSON is for programs; [Report.Print] is for people, and [Report.Chart] draws growth.
type Report struct {
	Format  string    `json:"format"`
	Weir    string    `json:"weir"` // version
	At      time.Time `json:"at"`
	Seconds float64   `json:"took_seconds"`
	Runs    int       `json:"runs"`
	Records int       `json:"records"`
	Machine Machine   `json:"machine"`

	Hop    *Hop     `json:"hop,omitempty"`
	Start  []Start  `json:"start,omitempty"`
	Growth []Series `json:"growth,omitempty"`
}

// Print writes tables.
func (r *Report) Print(w io.Writer) error {
	var t strings.Builder
	m := r.Machine
	fmt.Fprintf(&t, "weir %s, %s, %s; %s, %d cores, %d MiB; writes to %s; load before: %.2f\n", r.Weir, m.Go, words(m.OS, m.Kernel, m.Platform), m.CPU, m.Cores,
		m.MemoryMiB, words(m.Filesystem), m.Load)
	fmt.Fprintf(&t, "%d runs of each, in turns: median (least–most). It took %.0f s.\n", r.Runs, r.Seconds)
	if h := r.Hop; h != nil {
		fmt.Fprintf(&t, "\nhop: records of 1 KiB from generate through md5 to file, at least once, durable, in processes; beside it what the machine can do\n")
		table(&t, func(row func(...string)) {
			row("", "records", "records/s", "CPU µs/record", "with start", "private MiB")
			for _, v := range h.Variants {
				row(v.Name, thousands(v.Records), v.PerSecond.text(), v.CPU.text(), v.CPUAll.text(), v.PrivateMiB.text())
			}
		})
		fmt.Fprintf(&t, "  hop by itself:    %s   what differs by no more than this is noise\n", h.Noise.text())
		fmt.Fprintf(&t, "  hop by the loop:  %s   times the processor time\n", h.ByLoop.text())
		fmt.Fprintf(&t, "  a record crosses between processes %d times, apart %d times: %s and %s µs of CPU each above the loop; through a bare socket %s µs\n",
			crossings, crossingsApart, short(h.Crossing), short(h.Apart), short(h.Socket))
	}
	if len(r.Start) > 0 {
		fmt.Fprintf(&t, "\nstart: ms\n")
		table(&t, func(row func(...string)) {
			row("plugin processes", "to the first record", "start to end", "CPU", "validate", "private MiB")
			for _, s := range r.Start {
				row(fmt.Sprint(s.Plugins), s.First.text(), s.Whole.text(), s.CPU.text(), s.Validate.text(), s.Private.text())
			}
		})
	}
	for _, s := range r.Growth {
		fmt.Fprintf(&t, "\ngrowth with %s: %+.1f %% ± %.1f from %s to %s%s\n", s.Name, s.Slope, s.SlopeError,
			thousands(s.Points[0].X), thousands(s.Points[len(s.Points)-1].X), oneMore(s))
		table(&t, func(row func(...string)) {
			row(s.Name, "records", "records/s", s.Unit, "per record, with start", "private MiB")
			for _, p := range s.Points {
				row(thousands(p.X), thousands(p.Records), p.PerSecond.text(), p.Y.text(), p.CPUAll.text(), p.PrivateMiB.text())
			}
		})
	}
	if twice := r.twice(); twice > 0 {
		fmt.Fprintf(&t, "\n%s records arrived more than once.\n", thousands(twice))
	}
	_, err := io.WriteString(w, t.String())
	return err
}

func oneMore(s Series) string {
	if s.Each == 0 {
		return ""
	}
	return fmt.Sprintf("; one more costs a record %s µs", short(s.Each))
}

func (r *Report) twice() (n int) {
	if r.Hop != nil {
		for _, v := range r.Hop.Variants {
			n += v.Twice
		}
	}
	for _, s := range r.Growth {
		for _, p := range s.Points {
			n += p.Twice
		}
	}
	return n
}

// table aligns rows.
func table(w io.Writer, rows func(row func(...string))) {
	t := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	rows(func(cells ...string) { fmt.Fprintln(t, "  "+strings.Join(cells, "\t")) })
	t.Flush() // to a strings.Builder: it does not fail
}

// words are those that are known.
func words(list ...string) string {
	var known []string
	for _, s := range list {
		if s != "" {
			known = append(known, s)
		}
	}
	if len(known) == 0 {
		return "unknown"
	}
	return strings.Join(known, ", ")
}

func (s Spread) text() string {
	return fmt.Sprintf("%s (%s–%s)", short(s.Median), short(s.Min), short(s.Max))
}

// short has three digits, or all before the point.
func short(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 99.95:
		return thousands(int(math.Round(v)))
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func thousands(n int) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
