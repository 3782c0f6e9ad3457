// Command weir runs pipelines: see README.md.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/plugins"
	"github.com/weir-etl/weir/sdk/serve"
)

// version is set when a release is built.
var version = "0.1.0-dev"

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration
	exitOpen   = 3 // drained, with dead letters or open holes
)

// exitError ends the program with a code; an empty message was printed before.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func main() {
	if len(os.Args) == 3 && os.Args[1] == host.ServeArg {
		servePlugin(os.Args[2])
		return
	}
	err := command().Execute()
	if err == nil {
		return
	}
	var exit *exitError
	if !errors.As(err, &exit) {
		exit = &exitError{exitUsage, err}
	}
	if exit.err != errPrinted {
		fmt.Fprintln(os.Stderr, "weir:", exit.err)
	}
	os.Exit(exit.code)
}

// errPrinted stands for a message that is on the screen already.
var errPrinted = errors.New("printed")

// servePlugin turns this process into a bundled plugin; only the engine starts it so.
func servePlugin(name string) {
	for _, p := range plugins.All() {
		if p.Name == name {
			serve.Main(p)
		}
	}
	fmt.Fprintln(os.Stderr, "weir: no bundled plugin", name)
	os.Exit(exitUsage)
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "weir",
		Short:         "Moves records through pipelines, and measures that none is missing",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), validateCommand())
	return root
}
