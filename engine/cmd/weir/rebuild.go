package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
)

func rebuildCommand() *cobra.Command {
	var p place
	var yes bool
	c := &cobra.Command{
		Use:   "rebuild PIPELINE…",
		Short: "Begin a new state where a lost one has to begin: after what the destinations prove",
		Long: "When a data directory is lost, ask the destinations what they hold, and begin a new state from there: the next run asks the source\n" +
			"again for all that it still keeps and that can be missing, with a day to spare. What is there already is written again by its key,\n" +
			"which is harmless; rows that wait for a file are asked for again.\n\n" +
			"It reads, and says what it found, what it sets and why. It writes nothing but the state, and none where there is one already.",
		Example: "  weir rebuild shop.hcl\n  weir rebuild --yes --json shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			pipe, err := p.load(args, false)
			if err != nil {
				return err
			}
			log := p.logger(c.ErrOrStderr())
			o := engine.Options{Pipeline: pipe, Dir: p.dir(pipe), Log: log}
			if o.Key, err = p.key(pipe, log); err != nil {
				return err
			}
			if o.Clock, _, err = clock(pipe); err != nil {
				return err
			}
			if err := p.nobodyRuns(pipe); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			r, err := engine.FindRebuild(ctx, o)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			switch {
			case yes:
			case p.json:
				if err := writeJSON(w, r); err != nil {
					return err
				}
				return usage("nothing is written: say --yes to begin this state")
			default:
				printRebuild(w, r)
				fmt.Fprint(c.ErrOrStderr(), "\nBegin a state so? [y/N] ")
				if err := agreed(c, "written"); err != nil {
					return err
				}
			}
			if err := r.Write(ctx, o, note("rebuild", "from what the destinations hold")); err != nil {
				return err
			}
			if p.json {
				return writeJSON(w, r)
			}
			if yes {
				printRebuild(w, r)
			}
			_, err = fmt.Fprintf(w, "\nThe state in %s begins so. Now: weir run, as before.\n", r.Dir)
			return err
		}),
	}
	p.flags(c, "as JSON")
	c.Flags().BoolVar(&yes, "yes", false, "write the state without asking")
	return c
}

func printRebuild(w io.Writer, r engine.Rebuild) {
	fmt.Fprintf(w, "pipeline %s, data directory %s\n", r.Pipeline, r.Dir)
	if len(r.Sources) == 0 {
		fmt.Fprintln(w, "  it has no source that is enabled")
	}
	for _, s := range r.Sources {
		fmt.Fprintf(w, "\n%s\n", s.Address)
		if s.Keeps != "" {
			fmt.Fprintf(w, "  its service keeps records for %s\n", s.Keeps)
		}
		for _, f := range s.Found {
			switch {
			case f.Skipped != "":
				fmt.Fprintf(w, "  %s: not asked, %s\n", f.Step, f.Skipped)
				continue
			case f.Last == 0:
				fmt.Fprintf(w, "  %s, %s: no rows\n", f.Step, f.Where)
				continue
			}
			fmt.Fprintf(w, "  %s, %s: seq %d to %d", f.Step, f.Where, f.First, f.Last)
			if f.Old > 0 {
				fmt.Fprintf(w, "; written before %s: up to seq %d", instant(f.Since), f.Old)
			} else {
				fmt.Fprintf(w, "; nothing written before %s", instant(f.Since))
			}
			if f.Fresh > 0 {
				fmt.Fprintf(w, "; after it: from seq %d", f.Fresh)
			}
			fmt.Fprintln(w)
			for _, x := range f.Waiting {
				if x.Again > 0 {
					fmt.Fprintf(w, "    %d rows %s are asked for again\n", x.Again, x.Status)
				}
				if x.Stay > 0 {
					fmt.Fprintf(w, "    %d rows %s, from seq %d on, stay as they are: the source no longer has what they wait for\n", x.Stay, x.Status, x.First)
				}
			}
		}
		if s.After > 0 {
			fmt.Fprintf(w, "  read after seq %d (position %s): %s\n", s.After, s.Position, s.Why)
		} else {
			fmt.Fprintf(w, "  read from its start: %s\n", s.Why)
		}
	}
}
