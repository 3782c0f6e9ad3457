package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func validateCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "validate PIPELINE…",
		Short: "Check a pipeline file: every mistake at once, with what to write instead",
		Long:  "Check a pipeline file without touching any service. What only a running machine has (environment, key files) may be missing.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			pipe, err := p.load(args, true)
			if err != nil {
				return err
			}
			if !p.json {
				fmt.Fprintf(c.OutOrStdout(), "pipeline %s is valid: %d steps\n", pipe.Name, len(pipe.Steps))
			}
			return nil
		},
	}
	p.flags(c)
	c.Flags().BoolVar(&p.json, "json", false, "mistakes as JSON")
	return c
}
