package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/lang"
)

func planCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "plan PIPELINE…",
		Short: "Show what would run, and what has changed since the last run",
		Long: "Show the steps of a pipeline in the order in which records meet them: what they read, what they come after, which of their\n" +
			"arguments are evaluated for each record, and which plugin process runs them. Values of arguments are never shown.\n\n" +
			"Where the pipeline has run before, its state is compared: how far sources were read, what is owed, which steps are new or\n" +
			"configured otherwise, and what is stranded because the file no longer has its step. Nothing is changed.",
		Example: "  weir plan shop.hcl\n  weir plan --json pipelines/",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			pipe, missing, err := p.read(args, false)
			if err != nil {
				return err
			}
			if missing.HasErrors() { // perhaps only of what a running machine has
				static, diags, _ := p.read(args, true)
				if diags.HasErrors() {
					return p.report(missing)
				}
				pipe = static
			}
			plan := engine.NewPlan(pipe)
			note := ""
			if plan.Since, note, err = p.since(c, pipe, missing.HasErrors()); err != nil {
				return err
			}
			if p.json {
				return writeJSON(c.OutOrStdout(), struct {
					engine.Plan
					Missing lang.Diagnostics `json:"missing,omitempty"`
				}{plan, missing})
			}
			printPlan(c.OutOrStdout(), plan)
			if note != "" {
				fmt.Fprintln(c.OutOrStdout(), note)
			}
			for _, d := range missing {
				fmt.Fprintf(c.OutOrStdout(), "not here: %s\n", d.Error())
			}
			return nil
		}),
	}
	p.flags(c, "as JSON")
	return c
}

// since compares with the last run, or says why it cannot.
func (p *place) since(c *cobra.Command, pipe *lang.Pipeline, incomplete bool) (*engine.Since, string, error) {
	d, err := p.dial(pipe)
	note := "an engine runs this pipeline now"
	if errors.Is(err, engine.ErrNotRunning) {
		switch {
		case !engine.HasState(p.dir(pipe)):
			return nil, "never run with data directory " + p.dir(pipe), nil
		case incomplete:
			return nil, "the state is not looked at: for its key the pipeline has to be complete", nil
		}
		note = ""
		d, err = p.idle(c, pipe, false)
	}
	if err != nil {
		return nil, "", err
	}
	defer d.Close()
	s, err := d.Since(engine.NewOutline(pipe))
	return &s, note, err
}

func printPlan(w io.Writer, plan engine.Plan) {
	fmt.Fprintf(w, "pipeline %s, %d steps\n", plan.Pipeline, len(plan.Steps))
	standing := map[string]engine.Standing{}
	var gone []engine.Standing
	if plan.Since != nil {
		for _, s := range plan.Since.Addresses {
			standing[s.Address] = s
			if s.Change == engine.Stranded || s.Change == engine.Removed {
				gone = append(gone, s)
			}
		}
	}
	for i, s := range plan.Steps {
		fmt.Fprintf(w, "\n%d. %s", i+1, s.Address)
		if !s.Enabled {
			fmt.Fprint(w, " (disabled)")
		}
		fmt.Fprintf(w, "\n   %s of plugin %s, in process %q\n", s.Component, s.Plugin, s.Process)
		line := func(name, value string) {
			if value != "" {
				fmt.Fprintf(w, "   %-11s %s\n", name, value)
			}
		}
		line("connection", s.Connection)
		line("input", strings.Join(s.Inputs, ", "))
		if s.Ahead != "" {
			line("ahead", "applied in the process of "+s.Ahead+"; in its own where that cannot be (isolate = true: always)")
		}
		line("after", strings.Join(s.After, ", "))
		if s.OnOwed == "pass" {
			line("on_owed", "what comes after it does not wait while it owes")
		}
		if s.Order == "key" {
			line("order", "records of one key go one after the other")
		}
		if s.Effect == "once" {
			if s.OnUnknown == "resend" {
				line("effect", "once: where nobody knows whether a record was sent, it is sent again")
			} else {
				line("effect", "once: where nobody knows whether a record was sent, it is a dead letter")
			}
		}
		if s.Holds {
			line("holds", "packs many records into one object")
		}
		if s.When {
			line("when", "only records that match")
		}
		if s.About {
			line("about", "waits for the record that this one is about")
		}
		line("per record", strings.Join(s.PerRecord, ", "))
		if plan.Since != nil {
			line("state", stands(standing[s.Address]))
		}
	}
	if len(gone) > 0 {
		fmt.Fprintln(w, "\nThe state knows steps that the file no longer has:")
	}
	refused := false
	for _, s := range gone {
		fmt.Fprintf(w, "   %s: %s\n", s.Address, stands(s))
		refused = refused || s.Change == engine.Stranded
	}
	if refused {
		fmt.Fprintln(w, "run refuses until the file says moved { from = OLD  to = NEW } or removed { from = OLD }, or weir owed drop --step OLD (weir dead drop) has dropped it.")
	}
}

// stands says in a line what the state knows of an address.
func stands(s engine.Standing) string {
	var parts []string
	switch s.Change {
	case engine.Same:
		parts = append(parts, "as in the last run")
	case engine.Changed:
		parts = append(parts, "configured otherwise: what waits here for a cause is tried again")
	case engine.Moved:
		parts = append(parts, "moved from "+s.From)
	default:
		parts = append(parts, string(s.Change))
	}
	if s.Read != nil {
		parts = append(parts, "read "+read(*s.Read))
	}
	if s.Owed > 0 {
		parts = append(parts, things(false, s.Owed))
	}
	if s.Dead > 0 {
		parts = append(parts, things(true, s.Dead))
	}
	return strings.Join(parts, ", ")
}
