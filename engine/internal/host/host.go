// Package host starts plugin processes, watches them and ends them. It is the only room that runs executables.
//
// A plugin is either bundled (this very executable, started again with the arguments "plugin-serve NAME") or an executable of its
// own, whose checksum is known and checked before every start (verify.go). It gets a private environment — never a variable of the engine, where secrets live —, a private folder for its socket, and a
// standard input whose end means that the engine is gone, so that no way of dying leaves orphans behind. Its log lines go to the
// engine's log, so many a second and no more.
//
// [Start] makes one [Process]; [Supervise] keeps one running.
package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// Executable is what to start.
type Executable struct {
	Name   string // for logs and errors
	Path   string // absolute
	Args   []string
	SHA256 string // hex; checked before every start of the process; "" = not checked, for what cannot change (see [Bundled])
}

// ServeArg is the first argument of this executable when it is started as bundled plugins; their names, separated by commas, are the
// second: see serve.Together.
const ServeArg = "plugin-serve"

// checkedSelf is our own executable, with the checksum that it has now.
func checkedSelf(name string) (Executable, error) {
	path, err := os.Executable()
	if err != nil {
		return Executable{}, fmt.Errorf("find own executable: %w", err)
	}
	sum, _, err := Sum(path)
	return Executable{Name: name, Path: path, Args: []string{ServeArg, name}, SHA256: sum}, err
}

// Options of a process; only Dir is required.
type Options struct {
	Dir     string        // folder for sockets, see [Folder]
	Home    string        // folder that the process works in: relative paths in arguments start there; "" = ours
	Log     hclog.Logger  // nil = none
	Clock   *sdk.Clock    // nil = the real one
	Silence time.Duration // see [protocol.Options]
	Env     []string      // NAME=value, beside what every plugin gets; never a secret, which travels as an argument
}

// Folder makes a private folder for sockets: "run" in dataDir, emptied, or a new temporary one where that path is too long for a
// socket. The caller must hold dataDir alone, and removes the folder in the end.
func Folder(dataDir string) (string, error) {
	dir, err := filepath.Abs(filepath.Join(dataDir, "run"))
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("folder for sockets: %w", err)
	}
	if fits(dir) {
		return dir, os.MkdirAll(dir, 0o700)
	}
	other, err := os.MkdirTemp("", "weir-")
	if err == nil && !fits(other) {
		os.Remove(other)
		err = fmt.Errorf("folder for sockets: both %s and %s have too long a path, %d bytes are allowed: set TMPDIR to a shorter one", dir, other, longest)
	}
	if err != nil {
		return "", err
	}
	return other, nil
}

// longest is the longest path of a folder for sockets. go-plugin adds "/plugin-dirN/pluginN" with N up to 10 digits; a socket's path has at
// most 104 bytes, the last a zero, on BSD and macOS.
const longest = 103 - len("/plugin-dir4294967295/plugin4294967295")

func fits(dir string) bool { return len(dir) <= longest }

// Process is a running plugin. All methods may be called from any goroutine.
type Process struct {
	name     string
	client   *protocol.Client
	declared sdk.Plugin
	plugin   *plugin.Client
	child    *child
	kill     sync.Once

	called, answered atomic.Int64
}

// Start starts a plugin, and returns when it has described itself. ctx bounds the start only. Errors are a [StartError], around a
// [ChecksumError] where the executable is not the right one.
func Start(ctx context.Context, exe Executable, o Options) (*Process, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if !filepath.IsAbs(exe.Path) {
		return nil, &StartError{exe.Name, fmt.Errorf("path %q is not absolute", exe.Path)}
	}
	log := o.Log.Named(exe.Name)
	lines := newLines(log)
	img := &image{path: exe.Path}
	if exe.SHA256 != "" {
		var err error
		if img, err = newImage(exe.Path, exe.SHA256, o.Dir); err != nil {
			return nil, &StartError{exe.Name, err}
		}
		o.Env = append(slices.Clip(o.Env), OriginVar+"="+exe.Path)
	}
	p := &Process{name: exe.Name, child: newChild(exe, img, lines)}
	p.child.cmd.Dir = o.Home
	p.plugin = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  protocol.Handshake(),
		Plugins:          plugin.PluginSet{protocol.Name: &protocol.Dialed{Options: protocol.Options{Plugin: exe.Name, Silence: o.Silence, LogLevel: level(log)}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		GRPCDialOptions:  []grpc.DialOption{grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(protocol.MaxMessage))},
		SkipHostEnv:      true,
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: o.Dir},
		Logger:           quiet(log),
		SyncStdout:       &writer{lines: lines},
		SyncStderr:       &writer{lines: lines},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, socketDir string) (runner.Runner, error) {
			p.child.sockets = socketDir
			return p.child, p.child.prepare(append(environment(socketDir, o.Env), cmd.Env...))
		},
	})
	if err := p.start(ctx, o.Clock); err != nil {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		p.Kill(ended)
		img.started() // where it did not come to that
		img.remove()
		return nil, &StartError{exe.Name, err}
	}
	return p, nil
}

func (p *Process) start(ctx context.Context, clock *sdk.Clock) error {
	stop := context.AfterFunc(ctx, func() { p.child.Kill(ctx) })
	rpc, err := p.plugin.Client()
	if !stop() && ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	raw, err := rpc.Dispense(protocol.Name)
	if err != nil {
		return err
	}
	p.client = raw.(*protocol.Client)
	p.declared, err = p.client.Describe(ctx, clock)
	return err
}

// environment is all that a plugin sees. TMPDIR lies in the private folder, so that nothing is left where others look.
func environment(socketDir string, extra []string) []string {
	env := []string{"TMPDIR=" + socketDir}
	for _, name := range []string{"PATH", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return append(env, extra...)
}

// Client speaks to the process.
func (p *Process) Client() *protocol.Client { return p.client }

// Plugin is what the process says it offers, without the New functions.
func (p *Process) Plugin() sdk.Plugin { return p.declared }

// PID is the process's number.
func (p *Process) PID() int { return p.child.number() }

// Called says that a call begins, and returns what is to be told how it ended: whole, or not. A process that dies in the middle of a call
// is started again at once, because somebody is about to find out which record it was; see [Supervise].
func (p *Process) Called() (ended func(whole bool)) {
	p.called.Add(1)
	return func(whole bool) {
		if whole {
			p.answered.Add(1)
		}
	}
}

func (p *Process) calls() (called, answered int) {
	if p == nil {
		return 0, 0
	}
	return int(p.called.Load()), int(p.answered.Load())
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.child.done }

// Err says how the process ended, once Done is closed; it is an [ExitError] also when the exit was asked for.
func (p *Process) Err() error { return &ExitError{p.name, p.child.err} }

// StartError says that a plugin's process did not come up.
type StartError struct {
	Plugin string
	Err    error
}

func (e *StartError) Error() string { return fmt.Sprintf("start plugin %s: %v", e.Plugin, e.Err) }
func (e *StartError) Unwrap() error { return e.Err }

// ExitError says that a plugin's process has ended.
type ExitError struct {
	Plugin string
	Err    error // such as "signal: killed"; nil = exit status 0
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("plugin %s: process ended", e.Plugin)
	}
	return fmt.Sprintf("plugin %s: process ended: %v", e.Plugin, e.Err)
}

func (e *ExitError) Unwrap() error { return e.Err }

// Kill closes all steps, so that sinks deliver what they have buffered, as long as ctx allows; then it ends the process, by force if
// need be, and waits for that. With an ended ctx it is quick. What closing reported is returned, once.
func (p *Process) Kill(ctx context.Context) (err error) {
	p.kill.Do(func() {
		if p.child.number() != 0 {
			err = p.end(ctx)
			<-p.child.done
		}
		p.plugin.Kill() // the process is gone: this only cleans up
	})
	return err
}

func (p *Process) end(ctx context.Context) error {
	defer p.child.Kill(ctx)
	select {
	case <-p.child.done:
		return nil
	default:
	}
	if p.client == nil || ctx.Err() != nil {
		return nil
	}
	err := p.client.CloseAll(ctx)
	if !unreachable(err) {
		force := time.AfterFunc(shutdown, func() { p.child.Kill(ctx) })
		defer force.Stop()
		p.plugin.Kill()
	}
	return err
}

// shutdown is how long a process has to exit when asked to.
const shutdown = 3 * time.Second

// unreachable reports whether it is no use to ask the process anything.
func unreachable(err error) bool {
	var gone *protocol.GoneError
	var silent *protocol.SilentError
	return errors.As(err, &gone) || errors.As(err, &silent) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func level(log hclog.Logger) slog.Level {
	switch log.GetLevel() {
	case hclog.Trace:
		return slog.LevelDebug - 4
	case hclog.Debug:
		return slog.LevelDebug
	case hclog.Warn:
		return slog.LevelWarn
	case hclog.Error, hclog.Off:
		return slog.LevelError
	}
	return slog.LevelInfo
}

// quiet is go-plugin's own voice: what it reports of a process comes back from Start, Done and Err, where it is handled.
func quiet(log hclog.Logger) hclog.Logger {
	if log.GetLevel() == hclog.Trace {
		return log.Named("go-plugin")
	}
	return hclog.New(&hclog.LoggerOptions{Level: hclog.Off, Output: io.Discard})
}
