package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/plain"
)

// The commands of `weir owed` and `weir dead` are the same, over other entries.

// things is what a command is about.
func things(dead bool, n int) string {
	switch {
	case dead && n == 1:
		return "1 dead letter"
	case dead:
		return fmt.Sprintf("%d dead letters", n)
	case n == 1:
		return "1 owed entry"
	}
	return fmt.Sprintf("%d owed entries", n)
}

func named(dead bool) (group, many string) {
	if dead {
		return "dead", "dead letters"
	}
	return "owed", "owed entries"
}

// selection is which entries are meant.
type selection struct {
	engine.Pick
	all bool
}

func (s *selection) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.Step, "step", "", "entries of the step with this `ADDRESS`, such as sink.kintone.log")
	c.Flags().StringVar(&s.ID, "id", "", "entries of the record with this `ID`")
}

// check refuses a command that changes entries without a word about which.
func (s *selection) check() error {
	chosen := s.Step != "" || s.ID != ""
	switch {
	case s.all && chosen:
		return usage("--all means every entry: leave out --step and --id, or --all")
	case !s.all && !chosen:
		return usage("say which: --step ADDRESS, --id ID, or --all")
	}
	return nil
}

func listCommand(dead bool) *cobra.Command {
	var p place
	var s selection
	group, many := named(dead)
	c := &cobra.Command{
		Use:     "list PIPELINE…",
		Short:   "List " + many + ": what they wait for, how many, since when",
		Long:    "List " + many + ": first how many wait for what, then the entries, of each step the oldest first.",
		Example: fmt.Sprintf("  weir %s list shop.hcl\n  weir %[1]s list --step sink.kintone.log --limit 1000 shop.hcl", group),
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			d, err := p.desk(c, args, false)
			if err != nil {
				return err
			}
			defer d.Close()
			pick := s.Pick
			pick.Dead = dead
			switch {
			case p.json && !c.Flags().Changed("limit"):
				pick.Limit = 0 // the engine's own bound: programs do not scroll
			case pick.Limit == 0:
				pick.Limit = -1
			}
			l, err := d.Entries(pick)
			if err != nil {
				return err
			}
			if p.json {
				return writeJSON(c.OutOrStdout(), l)
			}
			return printListing(c.OutOrStdout(), l, dead)
		}),
	}
	p.flags(c, "as JSON")
	s.flags(c)
	c.Flags().IntVar(&s.Limit, "limit", 20, "at most so many entries, 0 = only count them; 1000 with --json")
	return c
}

func printListing(w io.Writer, l engine.Listing, dead bool) error {
	fmt.Fprintln(w, things(dead, l.Total))
	if l.Total == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, g := range l.Groups {
		fmt.Fprintf(t, "  %d\t%s\t%s\tsince %s", g.Entries, g.Step, reason(g.Cause, g.Code, g.Planned), instant(g.Since))
		if g.Due != nil {
			fmt.Fprintf(t, ", next due %s", instant(*g.Due))
		}
		if g.Deadline != nil {
			fmt.Fprintf(t, ", next deadline %s", instant(*g.Deadline))
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil || len(l.Entries) == 0 {
		return err
	}
	fmt.Fprintln(t, "\nstep\tid\tseq\twhy\tsince\tdue\ttries")
	for _, n := range l.Entries {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", n.Step, plain.Line(n.ID), number(n.Seq), reason(n.Cause, n.Code, n.Planned), instant(n.Since), moment(n.Due), n.Tries)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if more := l.Total - len(l.Entries); more > 0 {
		fmt.Fprintf(w, "and %d more: --limit %d shows all\n", more, l.Total)
	}
	return nil
}

// reason says why an entry waits.
func reason(cause, code string, planned bool) string {
	switch {
	case cause != "" && code != "":
		return plain.Line(cause + " (" + code + ")")
	case cause != "":
		return plain.Line(cause)
	case code != "":
		return plain.Line(code)
	case planned:
		return "planned"
	}
	return "-"
}

func number(n uint64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func moment(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return instant(*t)
}

func showCommand(dead bool) *cobra.Command {
	var p place
	var s selection
	group, many := named(dead)
	c := &cobra.Command{
		Use:   "show --id ID PIPELINE…",
		Short: "Show all that is known of one record among the " + many,
		Long: "Show all that is known of the " + many + " of one record, for every step or the one that --step names.\n" +
			"The record itself is shown with --body only: it may hold what not everybody should read.",
		Example: fmt.Sprintf("  weir %s show --id 1f2e-7 shop.hcl\n  weir %[1]s show --id 1f2e-7 --step sink.kintone.log --body shop.hcl", group),
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			if s.ID == "" {
				return usage("say which: --id ID; weir %s list tells the ids", group)
			}
			d, err := p.desk(c, args, false)
			if err != nil {
				return err
			}
			defer d.Close()
			pick := s.Pick
			pick.Dead = dead
			l, err := d.Entries(pick)
			if err != nil {
				return err
			}
			if len(l.Entries) == 0 {
				return fmt.Errorf("%s: none has this id; weir %s list tells the ids", many, group)
			}
			if p.json {
				return writeJSON(c.OutOrStdout(), l.Entries)
			}
			for _, n := range l.Entries {
				printEntry(c.OutOrStdout(), n)
			}
			return nil
		}),
	}
	p.flags(c, "as JSON")
	s.flags(c)
	c.Flags().BoolVar(&s.Body, "body", false, "the record's body too, as it stands at the door")
	return c
}

func printEntry(w io.Writer, n engine.Entry) {
	line := func(name, value string) {
		if value != "" && value != "-" {
			fmt.Fprintf(w, "%-10s %s\n", name, plain.Line(value))
		}
	}
	line("step", n.Step)
	line("door", n.Door)
	line("source", n.Source)
	line("id", n.ID)
	line("seq", number(n.Seq))
	line("kind", n.Kind)
	line("cause", n.Cause)
	line("code", n.Code)
	line("detail", n.Detail)
	line("since", instant(n.Since))
	line("due", moment(n.Due))
	line("deadline", moment(n.Deadline))
	fmt.Fprintf(w, "%-10s %d\n", "tries", n.Tries)
	if n.Kept {
		line("files", "kept here, sealed")
	}
	if n.Planned {
		line("planned", "a second look that the step itself asked for")
	}
	if n.Body != "" {
		fmt.Fprintf(w, "%-10s %s\n", "body", plain.Text(n.Body, 11))
	}
	line("body", n.BodyBase64)
	fmt.Fprintln(w)
}

func retryCommand(dead bool) *cobra.Command {
	use, short := "retry", "Make owed entries due now"
	long := "Make owed entries due now, whatever they wait for. A running engine tries them at once, else the next run does.\n" +
		"What cannot be delivered yet is owed again."
	if dead {
		use, short = "replay", "Give dead letters another try"
		long = "Make dead letters owed again, and due now, from the step that refused them: steps before it do not run again.\n" +
			"A running engine tries them at once, else the next run does. What is refused again is a dead letter again."
	}
	group, _ := named(dead)
	done := "due now"
	if dead {
		done = "owed again, due now"
	}
	return changeCommand(dead, &cobra.Command{
		Use: use + " PIPELINE…", Short: short, Long: long,
		Example: fmt.Sprintf("  weir %s %s --step sink.kintone.log shop.hcl\n  weir %[1]s %[2]s --all shop.hcl", group, use),
	}, nil, desk.Retry, done)
}

func dropCommand(dead bool) *cobra.Command {
	group, many := named(dead)
	c := &cobra.Command{
		Use: "drop PIPELINE…", Short: "Give up " + many + ": they will not be delivered",
		Long: "Forget " + many + " for good: they will not be delivered to their step. Asks before it does, unless --yes is given.\n" +
			"A step that the pipeline no longer has can be named too; its checkpoint is forgotten with what it owes.\n" +
			"Who dropped what stays in the state: weir state show --audit.",
		Example: fmt.Sprintf("  weir %s drop --id 1f2e-7 shop.hcl\n  weir %[1]s drop --step sink.kintone.old --yes shop.hcl", group),
	}
	yes := c.Flags().Bool("yes", false, "do not ask")
	return changeCommand(dead, c, func(d desk, p engine.Pick) error {
		if *yes {
			return nil
		}
		return confirm(c, d, p)
	}, func(d desk, p engine.Pick) (engine.Effect, error) {
		what, err := dropped(d, p)
		if err != nil {
			return engine.Effect{}, err
		}
		return d.Drop(p, note("drop", "%s", what))
	}, "dropped")
}

// maxNoted is how many records a note about a drop names.
const maxNoted = 100

// dropped is what the audit says of a drop: afterwards nothing else tells what was given up.
func dropped(d desk, p engine.Pick) (string, error) {
	p.Limit = maxNoted
	l, err := d.Entries(p)
	if err != nil {
		return "", err
	}
	var groups, ids []string
	for _, g := range l.Groups {
		groups = append(groups, fmt.Sprintf("%d of %s, %s", g.Entries, g.Step, reason(g.Cause, g.Code, g.Planned)))
	}
	for _, n := range l.Entries {
		ids = append(ids, n.ID)
	}
	what := things(p.Dead, l.Total)
	if l.Total > 0 {
		what += ": " + strings.Join(groups, "; ") + "; records " + strings.Join(ids, ", ")
	}
	if more := l.Total - len(l.Entries); more > 0 {
		what += fmt.Sprintf(" and %d more", more)
	}
	return what, nil
}

// confirm asks a person. Where nobody answers, nothing is dropped.
func confirm(c *cobra.Command, d desk, p engine.Pick) error {
	p.Limit = -1
	l, err := d.Entries(p)
	if err != nil {
		return err
	}
	if l.Total == 0 && p.ID != "" {
		return nil // there is nothing to ask about: what follows says so
	}
	for _, g := range l.Groups {
		fmt.Fprintf(c.ErrOrStderr(), "  %d of %s: %s\n", g.Entries, g.Step, reason(g.Cause, g.Code, g.Planned))
	}
	fmt.Fprintf(c.ErrOrStderr(), "Drop %s? They will not be delivered. [y/N] ", things(p.Dead, l.Total))
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && answer == "" {
		fmt.Fprintln(c.ErrOrStderr())
		return usage("nobody answered, nothing is dropped: say --yes to drop without asking")
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("nothing is dropped")}
}

// changeCommand completes a command that does something with selected entries.
func changeCommand(dead bool, c *cobra.Command, ask func(desk, engine.Pick) error, do func(desk, engine.Pick) (engine.Effect, error), did string) *cobra.Command {
	var p place
	var s selection
	c.Args = pipelines
	c.RunE = work(func(c *cobra.Command, args []string) error {
		if err := s.check(); err != nil {
			return err
		}
		d, err := p.desk(c, args, true)
		if err != nil {
			return err
		}
		defer d.Close()
		pick := s.Pick
		pick.Dead = dead
		if ask != nil {
			if err := ask(d, pick); err != nil {
				return err
			}
		}
		done, err := do(d, pick)
		if err != nil {
			return err
		}
		w := c.OutOrStdout()
		if p.json {
			err = writeJSON(w, done)
		} else {
			fmt.Fprintf(w, "%s %s\n", things(dead, done.Entries), did)
			for _, address := range done.Forgotten {
				fmt.Fprintf(w, "the checkpoint of %s is forgotten\n", address)
			}
		}
		if err == nil && pick.ID != "" && done.Entries == 0 {
			_, many := named(dead)
			return fmt.Errorf("%s: none has this id, or it is on its way right now", many)
		}
		return err
	})
	p.flags(c, "what was done as JSON")
	s.flags(c)
	c.Flags().BoolVar(&s.all, "all", false, "every entry of every step")
	return c
}
