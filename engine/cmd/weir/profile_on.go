//go:build profile

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/serve"
)

// profiles is the folder for CPU profiles, set when such a build is linked: a plugin sees no environment in which it could stand. See
// `make profile`.
var profiles string

// profiled calls f, and writes the CPU profile of an engine or a plugin process. Samples have the label process.
func profiled(name string, f func()) {
	if profiles == "" || len(os.Args) < 2 || os.Args[1] != "run" && os.Args[1] != host.ServeArg {
		f()
		return
	}
	file, err := os.Create(filepath.Join(profiles, fmt.Sprintf("%s-%d.pprof", name, os.Getpid())))
	if err == nil {
		pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels("process", name))) // goroutines hand it on
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "weir: profile:", err)
		os.Exit(exitFailed)
	}
	f()
	pprof.StopCPUProfile()
	file.Close()
}

// serveMain never returns.
func serveMain(p sdk.Plugin) {
	profiled(p.Name, func() { serve.Serve(p) })
	os.Exit(0)
}
