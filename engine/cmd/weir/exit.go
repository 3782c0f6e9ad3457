package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/state"
)

// Exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // usage or configuration
	exitOpen   = 3 // drained, with dead letters or open holes
)

// exitError ends the program with a code; errPrinted in it was printed before.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// errPrinted stands for a message that is on the screen already.
var errPrinted = errors.New("printed")

// usage is a mistake of the caller.
func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// work is the body of a command: its errors are given their exit code, and a word about what to do.
func work(f func(c *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		err := f(c, args)
		var exit *exitError
		if err == nil || errors.As(err, &exit) {
			return err
		}
		code, remedy := explain(err)
		if remedy != "" {
			err = fmt.Errorf("%w\n%s", err, remedy)
		}
		return &exitError{code, err}
	}
}

// explain says what an error means for the caller.
func explain(err error) (code int, remedy string) {
	var stranded *engine.StrandedError
	var held *engine.HeldError
	var lost *engine.LostError
	switch {
	case errors.As(err, &held):
		return exitFailed, "Let it run, or stop it there and start again. If it is gone for good, wait until its time is over, or run with --takeover: " +
			"then it stops if it is alive, and this engine starts when it has stopped or its time is over."
	case errors.As(err, &lost):
		return exitFailed, "It can be started again when the other engine has stopped, or with --takeover; nothing is lost by a second delivery."
	case errors.As(err, &stranded):
		return exitUsage, "weir plan shows what they hold."
	case errors.Is(err, engine.ErrHasState):
		return exitUsage, "It is not lost: weir run goes on with it. To begin anew all the same, move the folder away first."
	case errors.Is(err, state.ErrInUse):
		return exitFailed, "One engine owns a data directory. Ask the one that runs (weir status), stop it first, or give this pipeline a --data-dir of its own."
	case errors.Is(err, state.ErrWrongKey):
		return exitUsage, "Give it the key of its first run: what state_key in the file names, or else " + keyFile() + " as it was then."
	case errors.Is(err, state.ErrNoKey):
		return exitUsage, "Give a value to the variable that state_key names, or leave state_key out: then a key file is used."
	case errors.Is(err, state.ErrFull):
		return exitFailed, "Make room there and run it again: nothing is lost, what could not be written is done again."
	case errors.Is(err, state.ErrNewer):
		return exitUsage, "Run it with that weir, or a newer one."
	case errors.Is(err, engine.ErrNoState):
		return exitFailed, "The pipeline has not run yet with this data directory. Was it another? See --data-dir."
	case errors.Is(err, engine.ErrNoStep):
		return exitUsage, ""
	case errors.Is(err, fs.ErrPermission):
		return exitFailed, "This user is " + whoami() + ". A data directory belongs to the one user who runs its engine: run weir as that user, also to look at it."
	}
	return exitFailed, ""
}

// pipelines is what nearly every command takes as its arguments.
func pipelines(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usage("name the pipeline: a file, several, or a folder\nfor example: %s shop.hcl", strings.TrimSpace(c.CommandPath()))
	}
	return nil
}
