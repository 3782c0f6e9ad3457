package main

import (
	"context"
	"os"
	"time"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/sdk"
)

// external starts a plugin that a pipeline names, hears what it offers, and ends it: its schemas are wanted before
// anything runs.
func external(name, path string) (sdk.Plugin, error) {
	dir, err := os.MkdirTemp("", "weir-")
	if err != nil {
		return sdk.Plugin{}, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	p, err := host.Start(ctx, host.Executable{Name: name, Path: path}, host.Options{Dir: dir})
	if err != nil {
		return sdk.Plugin{}, err
	}
	return p.Plugin(), p.Kill(ctx)
}
