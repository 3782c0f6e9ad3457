package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/plain"
)

func statusCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "status PIPELINE…",
		Short: "Say how far a pipeline is and what it owes",
		Long: "Say how far each source is read, which of its numbers never came, and what each step owes.\n" +
			"A running engine is asked, which also counts what the steps did since it started; else the state is read.",
		Example: "  weir status shop.hcl\n  weir status --json shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			d, err := p.desk(c, args, false)
			if err != nil {
				return err
			}
			defer d.Close()
			s, err := d.Status()
			if err != nil {
				return err
			}
			if p.json {
				return writeJSON(c.OutOrStdout(), s)
			}
			return printStatus(c.OutOrStdout(), s)
		}),
	}
	p.flags(c, "as JSON")
	return c
}

func printStatus(w io.Writer, s engine.Status) error {
	switch {
	case s.Running:
		fmt.Fprintf(w, "pipeline %s at %s, running since %s\n", s.Pipeline, instant(s.Now), instant(s.Started))
	case s.Retired != nil:
		fmt.Fprintf(w, "pipeline %s at %s, retired at %s: %s %s; no engine starts with it here\n", s.Pipeline, instant(s.Now),
			instant(s.Retired.When), plain.Line(s.Retired.Who), plain.Line(s.Retired.What))
	case s.Started.IsZero():
		fmt.Fprintf(w, "pipeline %s at %s, not running\n", s.Pipeline, instant(s.Now))
	default:
		fmt.Fprintf(w, "pipeline %s at %s\n", s.Pipeline, instant(s.Now))
	}
	for _, src := range s.Sources {
		fmt.Fprintf(w, "  %s: %s\n", src.Address, read(src))
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	if s.Started.IsZero() {
		fmt.Fprintln(t, "step\towed\tdead\t")
	} else {
		fmt.Fprintln(t, "step\tin\tdone\tpassed by\tretried\trejected\towed\tdead\t")
	}
	for _, st := range s.Steps {
		if s.Started.IsZero() {
			fmt.Fprintf(t, "%s\t%d\t%d\t", st.Address, st.Owed, st.Dead)
		} else {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", st.Address, st.In, st.Done, st.Passed, st.Retried, st.Rejected, st.Owed, st.Dead)
		}
		switch {
		case st.Stranded:
			fmt.Fprint(t, " stranded: the pipeline no longer has it")
		case st.Removed:
			fmt.Fprint(t, " removed: weir owed drop forgets it")
		case !st.Enabled:
			fmt.Fprint(t, " disabled")
		case st.Down != "":
			fmt.Fprint(t, " down: "+plain.Line(st.Down))
			if st.Detail != "" {
				fmt.Fprintf(t, " (%s)", plain.Line(st.Detail))
			}
		case st.Held > 0:
			fmt.Fprintf(t, " holds %d", st.Held)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if line := space(s.Disk); line != "" {
		fmt.Fprintf(w, "disk: %s\n", line)
	}
	for _, st := range s.Steps {
		if st.NoRescue > 0 && s.Retired == nil {
			fmt.Fprintf(w, "%s: the files of %s will soon be gone at their source, and no engine runs to rescue them\n", st.Address, things(false, st.NoRescue))
		}
	}
	if s.NextDue != nil {
		fmt.Fprintf(w, "next owed entry is due at %s\n", instant(*s.NextDue))
	}
	return nil
}

// read says how far a source is.
func read(s engine.SourceStatus) string {
	text := fmt.Sprintf("%d records", s.Records)
	if s.Last > 0 {
		text += fmt.Sprintf(", seq %d-%d, %d missing", s.First, s.Last, s.Missing)
	}
	if len(s.Holes) > 0 {
		var holes []string
		for _, h := range s.Holes[:min(len(s.Holes), 5)] {
			if h.From == h.To {
				holes = append(holes, fmt.Sprint(h.From))
			} else {
				holes = append(holes, fmt.Sprintf("%d-%d", h.From, h.To))
			}
		}
		if len(s.Holes) > 5 {
			holes = append(holes, "…")
		}
		text += " (" + strings.Join(holes, ", ") + ")"
	}
	if s.Down != "" {
		text += "; down: " + plain.Line(s.Down)
	}
	return text
}

// space says what a pipeline takes of its disk, where that is worth a line: it is much, or will not last a month.
func space(d engine.Disk) string {
	const much = 100 << 20
	if d.State+d.Kept < much && !d.Stopped && (d.LastsHours == 0 || d.LastsHours > 30*24) {
		return ""
	}
	text := "state " + engine.Bytes(d.State)
	if d.Kept > 0 {
		text += ", kept files " + engine.Bytes(d.Kept)
	}
	if d.Spool > 0 {
		text += ", files in flight " + engine.Bytes(d.Spool)
	}
	if d.Known {
		text += "; " + engine.Bytes(d.Free) + " are free"
	}
	if d.PerHour > 0 {
		text += "; grows by " + engine.Bytes(d.PerHour) + " an hour"
	}
	if d.LastsHours > 0 {
		text += fmt.Sprintf(": at this rate the disk lasts %.*f h", decimals(d.LastsHours), d.LastsHours)
	}
	if d.Stopped {
		text += "; less than " + engine.Bytes(d.StopsBelow) + ": nothing is fetched until there is room"
	}
	return text
}

func decimals(hours float64) int {
	if hours < 10 {
		return 1
	}
	return 0
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
