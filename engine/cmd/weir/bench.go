package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine/bench"
)

func benchCommand() *cobra.Command {
	o := bench.Options{Version: version, Log: io.Discard}
	var quick bool
	var asJSON, chart string
	c := &cobra.Command{
		Use:   "bench [" + strings.Join(bench.Parts, "] [") + "]",
		Short: "Measure weir on this machine",
		Long: "Measure weir on this machine: this executable, with its plugins as processes, from start to end.\n\n" +
			"  hop     records of 1 KiB from source generate through transform md5 to sink file, at least once, every batch on the disk. Beside\n" +
			"          it the same once more, which tells what is noise; the same with isolate = true, so that md5 is called in a process of its\n" +
			"          own; the same work as a loop in one process, without weir; and the same records in frames of 500 through a bare unix\n" +
			"          socket between two processes\n" +
			"  start   time to the first record with three and with six plugin processes, and that of weir validate\n" +
			"  growth  cost of a record from ten thousand records to a million, through 1 to 20 transforms, from 1 to 16 sources. The slope is\n" +
			"          that of a straight line through the medians, in percent from its first point to its last. Where steps are added the\n" +
			"          cost is divided by them, source and sink included: a level line means that each costs the same\n\n" +
			"Named parts are measured, else all. Whatever is compared takes turns, --runs of each, and stands as median (least–most). CPU is the\n" +
			"processor time of all processes, as the system counts it when they have ended; \"with start\" includes what the same processes take\n" +
			"for a single record, the other figure does not. Memory is what no process shares, at the peak. A run counts when every record stands\n" +
			"in the file, by its number; with one missing the measurement fails.\n\n" +
			"The machine should do nothing else. It takes some four minutes and a gigabyte of disk for a moment, in --dir: a folder in memory\n" +
			"(tmpfs) makes syncs free. --quick is 30 seconds with ranges to match; --records 10000000 goes on to ten million, takes ten gigabytes\n" +
			"and a quarter of an hour more. Nothing is sent anywhere.",
		Example: "  weir bench\n  weir bench --quick hop start\n  weir bench --json bench.json --svg growth.svg growth",
		Args: func(_ *cobra.Command, args []string) error {
			for _, part := range args {
				if !slices.Contains(bench.Parts, part) {
					return usage("there is no part %q: want some of %s, or none for all", part, strings.Join(bench.Parts, ", "))
				}
			}
			return nil
		},
		RunE: work(func(c *cobra.Command, args []string) error {
			if quick && !c.Flags().Changed("runs") {
				o.Runs = 3
			}
			if quick && !c.Flags().Changed("records") {
				o.Records = 100_000
			}
			if o.Runs < 1 || o.Records < 100 {
				return usage("want --runs of at least 1 and --records of at least 100")
			}
			if chart != "" && len(args) > 0 && !slices.Contains(args, "growth") {
				return usage("--svg draws growth, which is not among the parts")
			}
			var err error
			if o.Weir, err = os.Executable(); err != nil {
				return err
			}
			o.Parts = args
			if f, ok := c.ErrOrStderr().(*os.File); ok && isatty.IsTerminal(f.Fd()) {
				o.Log = f
			}
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			r, err := bench.Run(ctx, o)
			if ctx.Err() != nil {
				return errors.New("interrupted: nothing was measured to its end")
			}
			if err != nil {
				return err
			}
			if asJSON != "" {
				var text bytes.Buffer
				if err := writeJSON(&text, r); err != nil {
					return err
				}
				if err := os.WriteFile(asJSON, text.Bytes(), 0o666); err != nil {
					return err
				}
			}
			if chart != "" {
				if err := os.WriteFile(chart, r.Chart(), 0o666); err != nil {
					return err
				}
			}
			return r.Print(c.OutOrStdout())
		}),
	}
	f := c.Flags()
	f.IntVar(&o.Runs, "runs", 5, "how often each variant is run")
	f.IntVar(&o.Records, "records", 1_000_000, "records of the largest run")
	f.BoolVar(&quick, "quick", false, "as with --runs 3 --records 100000")
	f.StringVar(&o.Dir, "dir", "", "folder to write in; the one for temporary files if not given")
	f.StringVar(&asJSON, "json", "", "`FILE` for the figures, as JSON")
	f.StringVar(&chart, "svg", "", "`FILE` for a chart of growth")
	return c
}

// benchWorkCommand is what weir is held against: weir bench starts it, nobody else.
func benchWorkCommand() *cobra.Command {
	return &cobra.Command{
		Use:    bench.WorkArg + " WORK PATH RECORDS",
		Short:  "Work that weir bench compares with: for weir bench alone",
		Hidden: true,
		RunE:   work(func(_ *cobra.Command, args []string) error { return bench.Work(args) }),
	}
}
