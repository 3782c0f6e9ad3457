package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func stateShowCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "show PIPELINE…",
		Short: "Describe the state: checkpoints, what is stored, how large it is",
		Long: "Describe what the state holds of a pipeline, without its content: the durable position of each source, and how many entries\n" +
			"are stored for each step. A running engine is asked; else the state is read.",
		Example: "  weir state show shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			d, err := p.desk(c, args, false)
			if err != nil {
				return err
			}
			defer d.Close()
			info, err := d.State()
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if p.json {
				return writeJSON(w, info)
			}
			fmt.Fprintf(w, "state in %s, %s KiB, pipelines: %s\n", info.Dir, thousands(uint64(info.Bytes)>>10), strings.Join(info.Pipelines, ", "))
			for _, s := range info.Sources {
				fmt.Fprintf(w, "  %s: position %s, %s\n", s.Address, s.Position, read(s.SourceStatus))
			}
			t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
			if len(info.Steps) > 0 {
				fmt.Fprintln(t, "step\towed\tdead\tbatches\toldest\t")
			}
			for _, h := range info.Steps {
				fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t\n", h.Address, h.Owed, h.Dead, h.Parcels, instant(*h.Oldest))
			}
			return t.Flush()
		}),
	}
	p.flags(c, "as JSON")
	return c
}
