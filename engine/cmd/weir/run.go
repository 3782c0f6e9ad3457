package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
)

func runCommand() *cobra.Command {
	var p place
	var once, takeover bool
	c := &cobra.Command{
		Use:   "run PIPELINE…",
		Short: "Run a pipeline",
		Long: "Run a pipeline, given as files or folders, until it is interrupted. An interrupted run loses nothing: the next one goes on\n" +
			"where the last record was settled.\n\n" +
			"With --once it works what is due now until the sources are drained, and exits with a count of what waits:\n" +
			"0 done, 1 failed, 2 configuration, 3 drained with dead letters or open holes.\n\n" +
			"A pipeline with a lease block runs once in the world: beside another engine it refuses to start (1). With --takeover the other\n" +
			"engine stops at its next renewal, and this one starts when it has stopped, or when its hold has ended.",
		Example: "  weir run shop.hcl\n  weir run --once --var day=2026-11-22 shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			pipe, err := p.load(args, false)
			if err != nil {
				return err
			}
			screen := newScreen(c.ErrOrStderr(), p.json)
			log := p.logger(screen)
			o := engine.Options{Pipeline: pipe, Dir: p.dir(pipe), Once: once, Log: log, Failpoint: failpoint, Progress: screen.progress(log)}
			if o.Key, err = p.key(pipe, log); err != nil {
				return err
			}
			if o.Clock, o.Until, err = clock(pipe); err != nil {
				return err
			}
			if !o.Clock.Real() {
				log.Info("the clock is not the real one", "clock", os.Getenv("WEIR_CLOCK"))
			}
			if takeover && pipe.Lease == nil {
				return usage("--takeover: the pipeline has no lease that is enabled; write: lease \"kintone\" { … }")
			}
			o.Takeover = takeover
			ends := []os.Signal{os.Interrupt, syscall.SIGTERM}
			if !signal.Ignored(syscall.SIGHUP) { // under nohup it goes on; else a terminal that is closed interrupts it
				ends = append(ends, syscall.SIGHUP)
			}
			ctx, stop := signal.NotifyContext(context.Background(), ends...)
			defer stop()
			log.Info("run", "pipeline", pipe.Name, "data_dir", o.Dir, "version", version)
			s, err := engine.Run(ctx, o)
			screen.clear()
			if errors.Is(err, context.Canceled) && ctx.Err() != nil {
				return errors.New("interrupted before it began")
			}
			if err != nil && s.Pipeline == "" {
				return err // nothing was run
			}
			failed := err
			if p.json {
				err = writeJSON(c.OutOrStdout(), s)
			} else {
				err = printStatus(c.OutOrStdout(), s.Status)
			}
			if failed != nil {
				return failed
			}
			if err == nil && once && ctx.Err() != nil {
				return fmt.Errorf("interrupted before it was done; the next run goes on from here")
			}
			if err == nil && once && s.Open {
				return &exitError{exitOpen, errPrinted}
			}
			return err
		}),
	}
	p.flags(c, "summary and log as JSON, no progress line")
	c.Flags().BoolVar(&once, "once", false, "end when the sources are drained and nothing is under way")
	c.Flags().BoolVar(&takeover, "takeover", false, "take the lease from the engine that holds it, and start when that one has stopped")
	return c
}
