// Command weir-sandbox is a company to practise on: WeCom, kintone, OSS and (where versitygw is at hand) S3, all on the loopback
// interface of this machine, with a chat archive that is made up from a seed, and the truth about it.
//
//	weir-sandbox --messages 200 --seed 9 --dir DIR --env FILE    runs until it is interrupted
//	weir-sandbox compare --dir DIR [--data DIR] [--spool DIR]     reads the archive back and holds it against the truth
//	weir-sandbox tamper --dir DIR                                 spoils the archive in every way, and shows that compare notices
//	weir-sandbox fault --dir DIR kintone=refuse                   takes a service away; kintone=off brings it back
//	weir-sandbox demo [--tamper]                                  the main job under three kills and an outage, then the comparison
//
// FILE holds the environment of the pipelines, and is written last: when it is there, everything runs. DIR gets truth.json,
// compare.json (how to read the services back), control (the address of the control) and keys/ (the company's private keys).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errDiffers ends a command with status 1; what it has to say was printed.
var errDiffers = errors.New("the archive differs from the truth")

// usage is a mistake in the arguments.
type usage struct{ error }

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"compare": compareCommand, "tamper": tamperCommand, "fault": faultCommand, "demo": demoCommand,
	}
	command := sandboxCommand
	if len(args) > 0 && commands[args[0]] != nil {
		command, args = commands[args[0]], args[1:]
	}
	err := command(ctx, args, stdout, stderr)
	var wrong usage
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errDiffers):
		return 1
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, "weir-sandbox:", err)
		return 2
	}
	fmt.Fprintln(stderr, "weir-sandbox:", err)
	return 1
}

// parse reads flags; what is left over is a mistake unless more is true.
func parse(flags *flag.FlagSet, args []string, more bool) error {
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usage{err}
	}
	if flags.NArg() > 0 && !more {
		return usage{fmt.Errorf("%q is not understood", flags.Arg(0))}
	}
	return nil
}
