// Command weir runs pipelines: see README.md.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/plain"
	"github.com/weir-etl/weir/plugins"
	"github.com/weir-etl/weir/sdk/serve"
)

// version is set when a release is built.
var version = "0.1.0-dev"

func main() {
	if len(os.Args) == 3 && os.Args[1] == host.ServeArg {
		servePlugin(os.Args[2])
		return
	}
	code := exitDone
	profiled("engine", func() { code = run() })
	os.Exit(code)
}

// run works the command line and returns the exit code.
func run() int {
	err := command().Execute()
	if err == nil {
		return exitDone
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{exitUsage, err} // cobra's own: unknown commands, flags and arguments
	}
	if exit.err != errPrinted {
		fmt.Fprintln(os.Stderr, "weir:", plain.Text(exit.err.Error(), 0))
	}
	return exit.code
}

// servePlugin turns this process into bundled plugins; only the engine starts it so.
func servePlugin(names string) {
	if p, ok := serve.Together(names, plugins.All()); ok {
		serveMain(p)
	}
	fmt.Fprintln(os.Stderr, "weir: no bundled plugin", names)
	os.Exit(exitUsage)
}

func command() *cobra.Command {
	root := group("weir", "Moves records through pipelines, and measures that none is missing",
		"weir runs pipelines. A pipeline is an HCL file, several, or a folder of them: sources, transforms and sinks, wired into a graph.\n"+
			"What could not be delivered yet is owed, what never can be is a dead letter; both are kept until they are delivered or dropped.\n\n"+
			"  weir validate shop.hcl      every mistake in the file, with line and remedy\n"+
			"  weir plan shop.hcl          what would run, and what has changed since the last run\n"+
			"  weir run --once shop.hcl    work what is due now, then end\n"+
			"  weir run shop.hcl           run until interrupted\n"+
			"  weir status shop.hcl        how far it is, and what it owes; beside a running engine or without one\n\n"+
			"State lies in the data directory: --data-dir, else WEIR_DATA_DIR, else .weir beside the pipeline.\n"+
			"Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 drained with dead letters or open holes.",
		runCommand(), validateCommand(), planCommand(), statusCommand(),
		group("owed", "What is owed: records that wait for a time or a cause",
			"An owed entry is a record at the door of a step: the step could not take it yet. It waits for a time, or for a cause such as\n"+
				"\"service down\" or \"key version 9\", and is tried again by itself. These commands look at entries, hurry them or give them up.",
			listCommand(false), showCommand(false), retryCommand(false), dropCommand(false)),
		group("dead", "Dead letters: records that a step has refused for good",
			"A dead letter is an owed entry that has given up. It is kept, sealed, until a person replays or drops it.",
			listCommand(true), showCommand(true), retryCommand(true), dropCommand(true)),
		group("state", "The durable state of a pipeline", "State holds checkpoints, what is owed, and dead letters; values are sealed.",
			stateShowCommand(), stateCheckCommand(), stateBackupCommand(), stateRestoreCommand(), stateResetCommand(), stateExportCommand(),
			stateImportCommand()),
		pluginCommand(),
		rebuildCommand(), benchCommand(), benchWorkCommand(), versionCommand())
	root.SilenceUsage, root.SilenceErrors = true, true
	return root
}

// group is a command that only has commands below it.
func group(use, short, long string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				text := fmt.Sprintf("unknown command %q for %q", args[0], c.CommandPath())
				for _, s := range c.SuggestionsFor(args[0]) {
					text += ", did you mean " + s + "?"
				}
				return usage("%s\nsee: %s --help", text, c.CommandPath())
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs, SuggestionsMinimumDistance: 2,
	}
	c.AddCommand(commands...)
	return c
}
