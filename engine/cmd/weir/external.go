package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

// external starts a plugin that a pipeline names, hears what it offers, and ends it: its schemas are wanted before
// anything runs.
func external(x lang.ExternalPlugin) (sdk.Plugin, error) {
	dir, err := os.MkdirTemp("", "weir-")
	if err != nil {
		return sdk.Plugin{}, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	p, err := host.Start(ctx, host.Executable{Name: x.Name, Path: x.Path, SHA256: x.SHA256}, host.Options{Dir: dir})
	var other *host.ChecksumError
	if errors.As(err, &other) {
		return sdk.Plugin{}, &lang.Refused{
			Problem: fmt.Sprintf("%s is not what %s lists: its sha256 is %s, want %s", other.Path, lang.LockName, other.Found, other.Want),
			Remedy:  "if you have replaced it: weir plugin lock. If not, somebody else has: put the listed one back",
		}
	}
	if err != nil {
		return sdk.Plugin{}, err
	}
	return p.Plugin(), p.Kill(ctx)
}
