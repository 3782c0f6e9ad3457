package engine

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/sdk/protocol"
)

// process keeps one plugin process alive: one for each plugin and connection.
type process struct {
	e      *Engine
	plugin string
	name   string // for logs
	steps  []*step
	log    hclog.Logger

	mu      sync.Mutex
	running *host.Process // nil while it is down
	handles map[*step]uint64
	up      chan struct{} // closed while it runs
}

// process finds or makes the process of a step.
func (e *Engine) process(s *step) *process {
	name := s.Plugin
	if s.Connection != nil {
		name += " " + s.Connection.Address
	}
	if s.Isolate {
		name += " " + s.address
	}
	p := e.procs[name]
	if p == nil {
		p = &process{e: e, plugin: s.Plugin, name: name, log: e.Log.Named(s.Plugin), up: make(chan struct{})}
		e.procs[name] = p
	}
	return p
}

// reach is how a step is called now; a nil client means that its process is down.
func (p *process) reach(s *step) (*protocol.Client, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return nil, 0
	}
	return p.running.Client(), p.handles[s]
}

// run starts the process again and again until ctx ends, with a growing pause between failures.
func (p *process) run(ctx context.Context) {
	pause := 100 * time.Millisecond
	for ctx.Err() == nil {
		begun := time.Now()
		err := p.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > 30*time.Second {
			pause = 100 * time.Millisecond
		}
		p.log.Error("plugin process ended", "process", p.name, "error", err, "again_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, 30*time.Second)
	}
}

// once runs the process until it ends.
func (p *process) once(ctx context.Context) error {
	run, err := p.e.Launch(ctx, p.plugin, p.log)
	if err != nil {
		return err
	}
	defer run.Kill()
	if _, err := run.Client().Describe(ctx, p.e.Clock); err != nil {
		return err
	}
	handles := make(map[*step]uint64, len(p.steps))
	for _, s := range p.steps {
		if handles[s], err = p.open(ctx, run.Client(), s); err != nil {
			p.e.post(func() { p.e.news.openFailed(s, err) })
			return err
		}
	}
	p.mu.Lock()
	p.running, p.handles = run, handles
	close(p.up)
	p.mu.Unlock()
	for _, s := range p.steps {
		p.e.post(func() {
			p.e.news.opened(s)
			p.e.step(flow.Available{Step: s.index, Up: true})
		})
	}
	select {
	case <-run.Done():
		err = run.Err()
	case <-ctx.Done():
		p.end(context.WithoutCancel(ctx))
	}
	p.mu.Lock()
	p.running, p.up = nil, make(chan struct{})
	p.mu.Unlock()
	if ctx.Err() == nil {
		for _, s := range p.steps {
			p.e.post(func() { p.e.step(flow.Available{Step: s.index}) })
		}
	}
	return err
}

func (p *process) open(ctx context.Context, c *protocol.Client, s *step) (uint64, error) {
	p.mu.Lock()
	o := protocol.Step{Address: s.address, Kind: s.Kind, Type: s.Type, Args: s.Args}
	p.mu.Unlock()
	if s.Connection != nil {
		o.Connection = s.Connection.Args
	}
	return c.Open(ctx, o, p.e.spool.dir)
}

// reload reads the key files of a step again. When its arguments changed it is opened a second time and what waited for that is due;
// calls under way end with the old arguments, whose step stays open until the process ends.
func (p *process) reload(ctx context.Context, s *step) {
	p.mu.Lock()
	changed, diags := s.Reload()
	p.mu.Unlock()
	if diags.HasErrors() {
		p.log.Warn("arguments cannot be read again", "step", s.address, "problem", diags[0].Problem)
	}
	client, _ := p.reach(s)
	if !changed || client == nil { // a process that is down opens with the new arguments
		return
	}
	handle, err := p.open(ctx, client, s)
	if err != nil {
		p.log.Error("step cannot be opened with its new arguments", "step", s.address, "error", err)
		return
	}
	p.mu.Lock()
	p.handles[s] = handle
	p.mu.Unlock()
	p.e.post(func() {
		p.log.Info("configuration changed", "step", s.address)
		p.e.step(flow.Reconfigured{Step: s.index})
	})
}

// end lets the steps deliver what they hold and ends the process.
func (p *process) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	p.mu.Lock()
	run := p.running
	p.mu.Unlock()
	if run == nil {
		return
	}
	if err := run.Client().CloseAll(ctx); err != nil {
		p.log.Warn("steps did not close", "process", p.name, "error", err)
	}
	run.Kill()
}

// await waits until the process of a step runs.
func (p *process) await(ctx context.Context, s *step) (*protocol.Client, uint64, error) {
	for {
		p.mu.Lock()
		up := p.up
		p.mu.Unlock()
		if c, handle := p.reach(s); c != nil {
			return c, handle, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}
