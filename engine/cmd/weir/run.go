package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
)

func runCommand() *cobra.Command {
	var p place
	var once bool
	c := &cobra.Command{
		Use:   "run PIPELINE…",
		Short: "Run a pipeline",
		Long: "Run a pipeline, given as files or folders, until it is interrupted.\n\n" +
			"With --once it works what is due now until the sources are drained, and exits with a count of what waits:\n" +
			"0 done, 1 failed, 2 configuration, 3 drained with dead letters or open holes.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pipe, err := p.load(args, false)
			if err != nil {
				return err
			}
			log := p.logger(c)
			o := engine.Options{Pipeline: pipe, Dir: p.dir(pipe), Once: once, Log: log, Failpoint: failpoint}
			if o.Key, err = key(pipe, log); err != nil {
				return err
			}
			if o.Clock, o.Until, err = clock(pipe); err != nil {
				return err
			}
			if !o.Clock.Real() {
				log.Info("the clock is not the real one", "clock", os.Getenv("WEIR_CLOCK"))
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			log.Info("run", "pipeline", pipe.Name, "data_dir", o.Dir, "version", version)
			s, err := engine.Run(ctx, o)
			if err != nil {
				return &exitError{exitFailed, err}
			}
			if err := summary(c.OutOrStdout(), s, p.json); err != nil {
				return err
			}
			if once && s.Open {
				return &exitError{exitOpen, errPrinted}
			}
			return nil
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&once, "once", false, "end when the sources are drained and nothing is under way")
	c.Flags().BoolVar(&p.json, "json", false, "summary and log as JSON")
	return c
}

// summary prints what a run did and what it leaves.
func summary(w io.Writer, s engine.Summary, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(s)
	}
	return printStatus(w, s.Status)
}

func printStatus(w io.Writer, s engine.Status) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "pipeline %s at %s\n", s.Pipeline, s.Now.Format(time.RFC3339))
	for _, src := range s.Sources {
		fmt.Fprintf(w, "  %s: %d records", src.Address, src.Records)
		if src.Last > 0 {
			fmt.Fprintf(w, ", seq %d-%d, %d missing", src.First, src.Last, src.Missing)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintln(t, "step\tin\tdone\tpassed by\tretried\trejected\towed\tdead\t")
	for _, st := range s.Steps {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t", st.Address, st.In, st.Done, st.Passed, st.Retried, st.Rejected, st.Owed, st.Dead)
		switch {
		case !st.Enabled:
			fmt.Fprint(t, " disabled")
		case st.Down != "":
			fmt.Fprint(t, " down: "+st.Down)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if s.NextDue != nil {
		fmt.Fprintf(w, "next owed entry is due at %s\n", s.NextDue.Format(time.RFC3339))
	}
	return nil
}
