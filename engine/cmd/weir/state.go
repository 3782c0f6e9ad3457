package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/plain"
	"github.com/weir-etl/weir/engine/internal/state"
)

func stateShowCommand() *cobra.Command {
	var p place
	var audit bool
	c := &cobra.Command{
		Use:   "show PIPELINE…",
		Short: "Describe the state: checkpoints, what is stored, how large it is",
		Long: "Describe what the state holds of a pipeline, without its content: the durable position of each source, and how many entries\n" +
			"are stored for each step. A running engine is asked; else the state is read.\n" +
			"With --audit: what people did to the state, when and who.",
		Example: "  weir state show shop.hcl\n  weir state show --audit shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			d, err := p.desk(c, args, false)
			if err != nil {
				return err
			}
			defer d.Close()
			w := c.OutOrStdout()
			if audit {
				list, err := d.(interface{ Audits() ([]state.Audit, error) }).Audits()
				if err != nil {
					return err
				}
				return printAudit(w, list, p.json)
			}
			info, err := d.State()
			if err != nil {
				return err
			}
			if p.json {
				return writeJSON(w, info)
			}
			return printState(w, info)
		}),
	}
	p.flags(c, "as JSON")
	c.Flags().BoolVar(&audit, "audit", false, "what people did to the state")
	return c
}

func printState(w io.Writer, info engine.StateInfo) error {
	kib := func(n int64) string { return thousands(uint64(n)>>10) + " KiB" }
	fmt.Fprintf(w, "state in %s, %s, pipelines: %s\n", info.Dir, kib(info.Bytes), strings.Join(info.Pipelines, ", "))
	fmt.Fprintf(w, "  format %d, %d entries; tables %s, bodies %s, logs %s, kept files %s\n", info.Disk.Format, info.Disk.Entries,
		kib(info.Disk.Tables), kib(info.Disk.ValueLog), kib(info.Disk.Logs), kib(info.Kept))
	if r := info.Disk.Retired; r != nil {
		fmt.Fprintf(w, "  retired at %s: %s %s; no engine starts with it\n", instant(r.When), plain.Line(r.Who), plain.Line(r.What))
	}
	for _, s := range info.Sources {
		fmt.Fprintf(w, "  %s: position %s, %s\n", s.Address, plain.Line(s.Position), read(s.SourceStatus))
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	if len(info.Steps) > 0 {
		fmt.Fprintln(t, "step\towed\tdead\tbatches\tmarks\toldest\t")
	}
	for _, h := range info.Steps {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%d\t%s\t\n", h.Address, h.Owed, h.Dead, h.Parcels, h.Marks, moment(h.Oldest))
	}
	return t.Flush()
}

func printAudit(w io.Writer, list []state.Audit, json bool) error {
	if list == nil {
		list = []state.Audit{}
	}
	if json {
		return writeJSON(w, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "nobody has backed up, restored, reset or moved this state, or dropped anything of it")
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, a := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", instant(a.When), plain.Line(a.Who), a.Verb, plain.Line(a.What))
	}
	return t.Flush()
}

// whoami is the user of the operating system, and the machine.
func whoami() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + "@" + host
}

func note(verb, format string, args ...any) state.Audit {
	return state.Audit{Who: whoami(), Verb: verb, What: fmt.Sprintf(format, args...)}
}

// alone opens the state of a pipeline that no engine runs; what says why none may.
func (p *place) alone(c *cobra.Command, paths []string, write bool, what string) (*engine.Idle, error) {
	d, err := p.desk(c, paths, write)
	if err != nil {
		return nil, err
	}
	idle, ok := d.(*engine.Idle)
	if !ok {
		d.Close()
		return nil, fmt.Errorf("an engine runs this pipeline: stop it first, %s", what)
	}
	return idle, nil
}

func stateCheckCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "check PIPELINE…",
		Short: "Read all of the state and say whether it is whole",
		Long: "Read every value in the state, bodies too, and compare what is owed with what is stored. Every start of an engine checks the\n" +
			"tables and the bookkeeping; this reads the rest. No engine may run. Exit code 1 where something is wrong.",
		Example: "  weir state check shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			idle, err := p.alone(c, args, false, "or make a back-up: that reads everything too")
			if err != nil {
				return err
			}
			defer idle.Close()
			r, err := idle.Check(c.Context())
			if err != nil {
				return err
			}
			if p.json {
				err = writeJSON(c.OutOrStdout(), r)
			} else {
				fmt.Fprintf(c.OutOrStdout(), "%d entries read, %d of them bodies of owed rows, %s KiB: %d problems\n",
					r.Entries, r.Parcels, thousands(uint64(r.Bytes)>>10), len(r.Problems))
				for _, problem := range r.Problems {
					fmt.Fprintln(c.OutOrStdout(), "  "+problem)
				}
			}
			if err == nil && len(r.Problems) > 0 {
				return errors.New("the state is damaged: restore a back-up with weir state restore")
			}
			return err
		}),
	}
	p.flags(c, "as JSON")
	return c
}

func stateResetCommand() *cobra.Command {
	var p place
	var all, yes bool
	c := &cobra.Command{
		Use:   "reset ADDRESS PIPELINE… | --all PIPELINE…",
		Short: "Forget the checkpoint of a source, or what is stored for a step",
		Long: "Forget what the state holds of one address, or with --all of the whole pipeline. A source begins again where its configuration\n" +
			"says; what it reads again is delivered again, which replaces rows and objects of the same identity. What a step owes is dropped:\n" +
			"it will not be delivered. Says what that means and asks, unless --yes is given. No engine may run.",
		Example: "  weir state reset source.wecom_chat.chat shop.hcl\n  weir state reset --all --yes shop.hcl",
		Args: func(c *cobra.Command, args []string) error {
			if all {
				return pipelines(c, args)
			}
			return twoOrMore(c, args, "say what to reset, an address or --all, and the pipeline", "source.wecom_chat.chat shop.hcl")
		},
		RunE: work(func(c *cobra.Command, args []string) error {
			address, what := "", "everything"
			if !all {
				address, args = args[0], args[1:]
				what = address
			}
			idle, err := p.alone(c, args, true, "else it would write back what it remembers")
			if err != nil {
				return err
			}
			defer idle.Close()
			list, err := idle.Reset(address, state.Audit{}, false)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				if p.json {
					return writeJSON(c.OutOrStdout(), list)
				}
				fmt.Fprintln(c.OutOrStdout(), "there is nothing to forget")
				return nil
			}
			if !yes {
				for _, f := range list {
					fmt.Fprintln(c.ErrOrStderr(), "  "+meaning(f))
				}
				fmt.Fprintf(c.ErrOrStderr(), "Forget this? It cannot be undone, but for a back-up. [y/N] ")
				if err := agreed(c, "forgotten"); err != nil {
					return err
				}
			}
			list, err = idle.Reset(address, note("reset", "%s: %s", what, summary(list)), true)
			if err != nil {
				return err
			}
			if p.json {
				return writeJSON(c.OutOrStdout(), list)
			}
			for _, f := range list {
				fmt.Fprintln(c.OutOrStdout(), "forgotten: "+meaning(f))
			}
			return nil
		}),
	}
	p.flags(c, "what was forgotten as JSON")
	c.Flags().BoolVar(&all, "all", false, "everything of the pipeline")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// meaning says what it means that an address is forgotten.
func meaning(f engine.Forgets) string {
	var parts []string
	if f.Checkpoint != nil {
		parts = append(parts, fmt.Sprintf("read up to position %s (%d records): the next run reads from the beginning, and delivers again", *f.Checkpoint, f.Records))
	}
	if f.Owed > 0 || f.Dead > 0 {
		parts = append(parts, fmt.Sprintf("%s and %s: they will not be delivered", things(false, f.Owed), things(true, f.Dead)))
	}
	if f.Marks > 0 {
		parts = append(parts, fmt.Sprintf("%d records that were sent once, and nothing tells how that ended", f.Marks))
	}
	if len(parts) == 0 {
		parts = append(parts, "how it was configured: the next run takes it for new")
	}
	return f.Address + ": " + strings.Join(parts, "; ")
}

func summary(list []engine.Forgets) string {
	checkpoints, owed, dead := 0, 0, 0
	for _, f := range list {
		if f.Checkpoint != nil {
			checkpoints++
		}
		owed, dead = owed+f.Owed, dead+f.Dead
	}
	return fmt.Sprintf("%d checkpoints, %s, %s", checkpoints, things(false, owed), things(true, dead))
}
