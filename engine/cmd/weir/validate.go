package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func validateCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:     "validate PIPELINE…",
		Short:   "Check a pipeline file: every mistake at once, with what to write instead",
		Long:    "Check a pipeline file without touching any service. What only a running machine has (environment, key files) may be missing.",
		Example: "  weir validate shop.hcl\n  weir validate --json pipelines/",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			pipe, err := p.load(args, true)
			if err != nil || p.json {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "pipeline %s is valid: %d steps\n", pipe.Name, len(pipe.Steps))
			return err
		}),
	}
	p.flags(c, "mistakes as JSON")
	return c
}
