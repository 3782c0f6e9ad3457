package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/plugins"
	"github.com/weir-etl/weir/sdk"
)

// place is what nearly every command is told: which pipeline, and where its data lies.
type place struct {
	vars    []string
	dataDir string
	json    bool
	log     string
}

func (p *place) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVar(&p.vars, "var", nil, "`NAME=VALUE` of a variable; repeatable")
	f.StringVar(&p.dataDir, "data-dir", os.Getenv("WEIR_DATA_DIR"), "where state and spool lie; default .weir beside the pipeline")
	f.StringVar(&p.log, "log-level", "info", "trace, debug, info, warn or error")
}

// load reads the pipeline; mistakes are printed, all of them.
func (p *place) load(paths []string, static bool) (*lang.Pipeline, error) {
	vars := map[string]string{}
	for _, v := range p.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok {
			return nil, fmt.Errorf("--var %q: want NAME=VALUE", v)
		}
		vars[name] = value
	}
	pipe, diags := lang.Load(paths, lang.Options{Plugins: plugins.All(), External: external, Vars: vars, Version: version, Static: static})
	if p.json && len(diags) > 0 {
		if err := diags.WriteJSON(os.Stdout); err != nil {
			return nil, err
		}
	} else {
		diags.Write(os.Stderr)
	}
	if diags.HasErrors() {
		return nil, &exitError{exitUsage, errPrinted}
	}
	return pipe, nil
}

// dir is the data directory of a pipeline.
func (p *place) dir(pipe *lang.Pipeline) string {
	if p.dataDir != "" {
		return p.dataDir
	}
	return filepath.Join(pipe.Folder, ".weir")
}

// key seals the state: the pipeline says it, or it lies in the user's configuration folder, where the first run makes it.
func key(pipe *lang.Pipeline, log hclog.Logger) ([]byte, error) {
	if pipe.StateKey != nil {
		return state.ParseKey(pipe.StateKey.Reveal())
	}
	key, created, err := state.DefaultKey("")
	if created {
		log.Warn("a state key was created; without it the state cannot be read: keep a copy", "file", "weir/state.key in the user's configuration folder")
	}
	return key, err
}

func (p *place) logger(c *cobra.Command) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "weir", Level: hclog.LevelFromString(p.log), Output: c.ErrOrStderr(), JSONFormat: p.json})
}

// clock reads WEIR_CLOCK: real,simulated,speed,until. Time may only be made up where nothing outside this machine is asked.
func clock(pipe *lang.Pipeline) (*sdk.Clock, time.Time, error) {
	text := os.Getenv("WEIR_CLOCK")
	if text == "" {
		return &sdk.Clock{}, time.Time{}, nil
	}
	for _, c := range pipe.Connections {
		if c.Enabled && !c.Loopback {
			return nil, time.Time{}, fmt.Errorf("WEIR_CLOCK is set, but %s is not on this machine: time is made up only where every connection is loopback", c.Address)
		}
	}
	i := strings.LastIndex(text, ",")
	if strings.Count(text, ",") != 3 {
		return nil, time.Time{}, fmt.Errorf("WEIR_CLOCK: want real,simulated,speed,until")
	}
	clock, err := sdk.ParseClock(text[:i])
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("WEIR_CLOCK: %w", err)
	}
	var until time.Time
	if end := text[i+1:]; end != "" {
		if until, err = time.Parse(time.RFC3339Nano, end); err != nil {
			return nil, time.Time{}, fmt.Errorf("WEIR_CLOCK: until: %w", err)
		}
	}
	return clock, until, nil
}
