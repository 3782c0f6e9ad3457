package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/plain"
	"github.com/weir-etl/weir/engine/internal/state"
)

// twoOrMore refuses fewer than two arguments.
func twoOrMore(c *cobra.Command, args []string, problem, example string) error {
	if len(args) < 2 {
		return usage("%s\nfor example: %s %s", problem, c.CommandPath(), example)
	}
	return nil
}

// agreed asks a person. Where nobody answers, nothing happens.
func agreed(c *cobra.Command, done string) error {
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && answer == "" {
		fmt.Fprintln(c.ErrOrStderr())
		return usage("nobody answered, nothing is %s: say --yes to do it without asking", done)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &exitError{exitFailed, fmt.Errorf("nothing is %s", done)}
}

// writer is who can write an archive: an engine that runs, or an idle state.
type writer interface {
	Backup(ctx context.Context, w io.Writer, a state.Audit) error
}

func stateBackupCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "backup FILE|FOLDER PIPELINE…",
		Short: "Write the state to a file, also beside a running engine",
		Long: "Write the whole state of a data directory, with the files that are kept in it, to one file: as it is at one instant, while the\n" +
			"engine goes on. The file is there as a whole, synchronised and read again, or not at all; none is replaced. In a folder it is\n" +
			"named after pipeline and time. What is sealed stays sealed: keep the state key too, elsewhere.",
		Example: "  weir state backup /mnt/backup shop.hcl\n  weir state backup shop.weirstate shop.hcl",
		Args: func(c *cobra.Command, args []string) error {
			return twoOrMore(c, args, "say where to, and the pipeline", "/mnt/backup shop.hcl")
		},
		RunE: work(func(c *cobra.Command, args []string) error {
			d, err := p.desk(c, args[1:], true)
			if err != nil {
				return err
			}
			defer d.Close()
			_, err = p.save(c, d, args[0], args[1:], "backup")
			return err
		}),
	}
	p.flags(c, "what was written as JSON")
	return c
}

func stateExportCommand() *cobra.Command {
	var p place
	var retire bool
	c := &cobra.Command{
		Use:   "export FILE|FOLDER PIPELINE…",
		Short: "Write the state to a file, to go on with it on another machine",
		Long: "Write the state to a file as weir state backup does, for weir state import on a machine that has the same state key.\n" +
			"With --retire the state here is given up once the file is durable: no engine starts with it any more, and says when it went\n" +
			"where; weir state show still reads it. Without it two engines could deliver what is owed. No engine may run.",
		Example: "  weir state export --retire /mnt/move shop.hcl",
		Args: func(c *cobra.Command, args []string) error {
			return twoOrMore(c, args, "say where to, and the pipeline", "/mnt/move shop.hcl")
		},
		RunE: work(func(c *cobra.Command, args []string) error {
			idle, err := p.alone(c, args[1:], true, "else it would go on with what was moved; weir state backup works beside it")
			if err != nil {
				return err
			}
			defer idle.Close()
			path, err := p.save(c, idle, args[0], args[1:], "export")
			if err != nil || !retire {
				return err
			}
			if err := idle.Retire(c.Context(), note("retire", "moved it to %s", path)); err != nil {
				return fmt.Errorf("the file is written, but the state here is not retired: %w", err)
			}
			if !p.json {
				fmt.Fprintln(c.OutOrStdout(), "the state here is retired: no engine starts with it any more")
			}
			return nil
		}),
	}
	p.flags(c, "what was written as JSON")
	c.Flags().BoolVar(&retire, "retire", false, "let no engine start with the state here any more")
	return c
}

// save writes an archive and says so.
func (p *place) save(c *cobra.Command, from any, target string, paths []string, verb string) (path string, err error) {
	path, err = filepath.Abs(target)
	if err != nil {
		return "", err
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		name := "weir"
		if opt, err := p.options(); err == nil {
			if n, _, diags := lang.LoadName(paths, opt); !diags.HasErrors() {
				name = n
			}
		}
		path = filepath.Join(path, name+"-"+time.Now().UTC().Format("20060102T150405Z")+".weirstate")
	}
	a, err := state.SaveArchive(path, func(w io.Writer) error {
		return from.(writer).Backup(c.Context(), w, note(verb, "to %s", path))
	})
	switch {
	case errors.Is(err, fs.ErrExist):
		return "", usage("%s is there already: it is not replaced, name another file or a folder", path)
	case err != nil:
		return "", err
	}
	if p.json {
		return path, writeJSON(c.OutOrStdout(), struct {
			File string `json:"file"`
			state.Archived
		}{path, a})
	}
	fmt.Fprintf(c.OutOrStdout(), "%s: %d entries, %d kept files, %s KiB, whole\n", path, a.Entries, a.Files, thousands(uint64(a.Bytes)>>10))
	return path, nil
}

func stateRestoreCommand() *cobra.Command {
	return intoCommand("restore", &cobra.Command{
		Short: "Make the state of a back-up, in a data directory without one",
		Long: "Make the state that weir state backup has written. The data directory must hold no state: move a damaged one away first.\n" +
			"Everything is opened and read before it stands at its place. The key must be that of the back-up. Sources go on from the\n" +
			"positions in the back-up: what came after it is read and delivered again, as far as the source still has it.",
	})
}

func stateImportCommand() *cobra.Command {
	return intoCommand("import", &cobra.Command{
		Short: "Go on with a state that was exported on another machine",
		Long: "Make the state that weir state export has written, on a machine that has the same state key. The data directory must hold no\n" +
			"state. Everything is opened and read before it stands at its place. The next run goes on where the other machine stopped.",
	})
}

// nobodyRuns refuses to begin a state beside a running engine: whoever moved its folder away would have two engines.
func (p *place) nobodyRuns(pipe *lang.Pipeline) error {
	running, err := engine.Dial(p.dir(pipe))
	if errors.Is(err, engine.ErrNotRunning) {
		return nil
	}
	if err != nil {
		return err
	}
	running.Close()
	return fmt.Errorf("%w: an engine runs in %s; its state is in use and must not be moved away", state.ErrInUse, p.dir(pipe))
}

// intoCommand completes a command that makes a state of an archive.
func intoCommand(verb string, c *cobra.Command) *cobra.Command {
	var p place
	c.Use = verb + " FILE PIPELINE…"
	c.Example = "  weir state " + verb + " shop.weirstate shop.hcl"
	c.Args = func(c *cobra.Command, args []string) error {
		return twoOrMore(c, args, "say which file, and the pipeline", "shop.weirstate shop.hcl")
	}
	c.RunE = work(func(c *cobra.Command, args []string) error {
		pipe, err := p.load(args[1:], false)
		if err != nil {
			return err
		}
		o := engine.Options{Pipeline: pipe, Dir: p.dir(pipe), Log: p.logger(c.ErrOrStderr())}
		if pipe.StateKey == nil {
			if _, err := os.Stat(keyFile()); errors.Is(err, fs.ErrNotExist) { // a new one would be of no use
				return fmt.Errorf("%w: the key file %s is not here, bring it from where the archive was made", state.ErrWrongKey, keyFile())
			}
		}
		if o.Key, err = p.key(pipe, o.Log); err != nil {
			return err
		}
		if o.Clock, _, err = clock(pipe); err != nil {
			return err
		}
		if err := p.nobodyRuns(pipe); err != nil {
			return err
		}
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		a, err := engine.Restore(o, f, note(verb, "of %s", path))
		if err != nil {
			return err
		}
		if p.json {
			return writeJSON(c.OutOrStdout(), struct {
				Dir string `json:"dir"`
				state.Archived
			}{o.Dir, a})
		}
		fmt.Fprintf(c.OutOrStdout(), "%s: %d entries and %d kept files of %s, written at %s by %s\n",
			o.Dir, a.Entries, a.Files, path, instant(a.Made), plain.Line(a.Who))
		return nil
	})
	p.flags(c, "what was made as JSON")
	return c
}
