package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine"
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

func (p *place) flags(c *cobra.Command, asJSON string) {
	f := c.Flags()
	f.StringArrayVar(&p.vars, "var", nil, "`NAME=VALUE` of a variable; repeatable")
	f.StringVar(&p.dataDir, "data-dir", os.Getenv("WEIR_DATA_DIR"), "where state and spool lie; .weir beside the pipeline if not given")
	f.StringVar(&p.log, "log-level", "info", "trace, debug, info, warn or error")
	f.BoolVar(&p.json, "json", false, asJSON)
}

// load reads the pipeline; mistakes are printed, all of them.
func (p *place) load(paths []string, static bool) (*lang.Pipeline, error) {
	pipe, diags, err := p.read(paths, static)
	if err != nil {
		return nil, err
	}
	return pipe, p.report(diags)
}

func (p *place) read(paths []string, static bool) (*lang.Pipeline, lang.Diagnostics, error) {
	opt, err := p.options()
	if err != nil {
		return nil, nil, err
	}
	opt.Static = static
	pipe, diags := lang.Load(paths, opt)
	return pipe, diags, nil
}

// options are what a pipeline is read with.
func (p *place) options() (lang.Options, error) {
	if !slices.Contains(levels, p.log) {
		return lang.Options{}, usage("--log-level %s: want %s", p.log, strings.Join(levels, ", "))
	}
	vars := map[string]string{}
	for _, v := range p.vars {
		name, value, ok := strings.Cut(v, "=")
		if !ok { // without its text: it may be a secret that was meant to be a value
			return lang.Options{}, usage("--var: want NAME=VALUE")
		}
		vars[name] = value
	}
	return lang.Options{Plugins: plugins.All(), Alone: plugins.Alone(), External: external, Vars: vars, Version: version}, nil
}

// report prints mistakes; it is an error when there is more than warnings.
func (p *place) report(diags lang.Diagnostics) error {
	var err error
	if p.json && len(diags) > 0 {
		err = diags.WriteJSON(os.Stdout)
	} else {
		err = diags.Write(os.Stderr)
	}
	if diags.HasErrors() {
		return &exitError{exitUsage, errPrinted}
	}
	return err
}

// dir is the data directory of a pipeline.
func (p *place) dir(pipe *lang.Pipeline) string {
	if p.dataDir != "" {
		return p.dataDir
	}
	return filepath.Join(pipe.Folder, ".weir")
}

// keyFile is where a pipeline that names no state_key has its key.
func keyFile() string {
	folder, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(folder, "weir", "state.key")
}

// key seals the state: the pipeline says it, or it lies in the user's configuration folder, where the first run makes it. A new one
// would be of no use to a state that exists.
func (p *place) key(pipe *lang.Pipeline, log hclog.Logger) ([]byte, error) {
	if pipe.StateKey != nil {
		key, err := state.ParseKey(pipe.StateKey.Reveal())
		if err != nil && !errors.Is(err, state.ErrNoKey) {
			err = usage("state_key: %w", err)
		}
		return key, err
	}
	file := keyFile()
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) && engine.HasState(p.dir(pipe)) {
		return nil, fmt.Errorf("%w: the key file %s is gone", state.ErrWrongKey, file)
	}
	key, created, err := state.DefaultKey(file)
	if created {
		log.Warn("a state key was created; without it the state cannot be read: keep a copy", "file", file)
	}
	if err != nil {
		return nil, usage("%w", err)
	}
	return key, nil
}

// levels are what --log-level takes.
var levels = []string{"trace", "debug", "info", "warn", "error"}

func (p *place) logger(w io.Writer) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Name: "weir", Level: hclog.LevelFromString(p.log), Output: w, JSONFormat: p.json})
}

// clock reads WEIR_CLOCK: real,simulated,speed,until. Time may only be made up where nothing outside this machine is asked.
func clock(pipe *lang.Pipeline) (*sdk.Clock, time.Time, error) {
	text := os.Getenv("WEIR_CLOCK")
	if text == "" {
		return &sdk.Clock{}, time.Time{}, nil
	}
	for _, c := range pipe.Connections {
		if c.Enabled && !c.Loopback {
			return nil, time.Time{}, usage("WEIR_CLOCK is set, but %s is not on this machine: time is made up only where every connection is loopback", c.Address)
		}
	}
	i := strings.LastIndex(text, ",")
	if strings.Count(text, ",") != 3 {
		return nil, time.Time{}, usage("WEIR_CLOCK: want real,simulated,speed,until")
	}
	clock, err := sdk.ParseClock(text[:i])
	if err != nil {
		return nil, time.Time{}, usage("WEIR_CLOCK: %w", err)
	}
	var until time.Time
	if end := text[i+1:]; end != "" {
		if until, err = time.Parse(time.RFC3339Nano, end); err != nil {
			return nil, time.Time{}, usage("WEIR_CLOCK: until: %w", err)
		}
	}
	return clock, until, nil
}

// desk answers about a pipeline: the engine that runs it, or its state when none does.
type desk interface {
	Status() (engine.Status, error)
	State() (engine.StateInfo, error)
	Since(engine.Outline) (engine.Since, error)
	Entries(engine.Pick) (engine.Listing, error)
	Retry(engine.Pick) (engine.Effect, error)
	Drop(engine.Pick, state.Audit) (engine.Effect, error)
	Close() error
}

// desk finds out who answers about the pipeline in paths. Beside a running engine nothing has to be known of secrets.
func (p *place) desk(c *cobra.Command, paths []string, write bool) (desk, error) {
	opt, err := p.options()
	if err != nil {
		return nil, err
	}
	if name, folder, diags := lang.LoadName(paths, opt); !diags.HasErrors() {
		if client, err := p.dial(&lang.Pipeline{Name: name, Folder: folder}); !errors.Is(err, engine.ErrNotRunning) {
			return client, err // whatever has become of the file and its plugins meanwhile
		}
	}
	pipe, diags, err := p.read(paths, true)
	if err != nil {
		return nil, err
	}
	if diags.HasErrors() {
		return nil, p.report(diags)
	}
	if !engine.HasState(p.dir(pipe)) {
		return nil, fmt.Errorf("%w in %s", engine.ErrNoState, p.dir(pipe))
	}
	if pipe, err = p.load(paths, false); err != nil {
		return nil, err
	}
	return p.idle(c, pipe, write)
}

// dial reaches the engine that runs a pipeline, or answers engine.ErrNotRunning.
func (p *place) dial(pipe *lang.Pipeline) (desk, error) {
	client, err := engine.Dial(p.dir(pipe))
	if err != nil {
		return nil, err
	}
	s, err := client.Status()
	if err == nil && s.Pipeline != pipe.Name {
		err = fmt.Errorf("%w: the engine in %s runs pipeline %q, not %q", state.ErrInUse, p.dir(pipe), s.Pipeline, pipe.Name)
	}
	if err != nil {
		client.Close()
		return nil, err
	}
	return client, nil
}

// idle opens the state of a pipeline that no engine runs.
func (p *place) idle(c *cobra.Command, pipe *lang.Pipeline, write bool) (desk, error) {
	log := p.logger(c.ErrOrStderr())
	o := engine.Options{Pipeline: pipe, Dir: p.dir(pipe), Log: log}
	var err error
	if o.Key, err = p.key(pipe, log); err != nil {
		return nil, err
	}
	if o.Clock, _, err = clock(pipe); err != nil {
		return nil, err
	}
	idle, err := engine.OpenIdle(o, write)
	if err != nil {
		return nil, err
	}
	return idle, nil
}

// writeJSON prints a value for programs.
func writeJSON(w io.Writer, value any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(value)
}
