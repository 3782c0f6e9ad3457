package engine

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk/protocol"
)

// process keeps one plugin process alive: one for each plugin and connection.
type process struct {
	e      *Engine
	plugin string
	name   string // for logs
	steps  []*step
	pace   *pace // of the connection
	log    hclog.Logger

	mu      sync.Mutex
	client  *protocol.Client // nil while it is down
	handles map[*step]uint64
	up      chan struct{} // closed while it runs
}

// process finds or makes the process of a step.
func (e *Engine) process(s *step) *process {
	name := processName(s.Step)
	p := e.procs[name]
	if p == nil {
		p = &process{e: e, plugin: s.Plugin, name: name, log: e.Log.Named(s.Plugin), up: make(chan struct{})}
		if s.Connection != nil {
			p.pace = newPace(e.Clock, s.Connection.Limit)
		}
		e.procs[name] = p
	}
	return p
}

// processName tells processes apart.
func processName(s *lang.Step) string {
	name := s.Plugin
	if s.Connection != nil {
		name += " " + s.Connection.Address
	}
	if s.Isolate {
		name += " " + s.Address
	}
	return name
}

// run keeps the process running until ctx ends.
func (p *process) run(ctx context.Context, exe host.Executable) {
	o := host.Options{Dir: p.e.sockets, Log: p.e.Log, Clock: p.e.Clock}
	err := host.Supervise(ctx, exe, o, p.use, func(err error, wait time.Duration) {
		p.log.Error("plugin process ended", "process", p.name, "error", err, "again_in", wait)
	})
	if err != nil {
		p.log.Warn("steps did not close", "process", p.name, "error", err)
	}
}

// use opens the steps of a started process and lets them be called until it ends.
func (p *process) use(ctx context.Context, run *host.Process) error {
	client := run.Client()
	handles := make(map[*step]uint64, len(p.steps))
	for _, s := range p.steps {
		handle, err := p.open(ctx, client, s)
		if err != nil {
			p.e.post(func() { p.e.news.openFailed(s, err) })
			return err
		}
		handles[s] = handle
	}
	p.mu.Lock()
	p.client, p.handles = client, handles
	close(p.up)
	p.mu.Unlock()
	p.log.Debug("plugin process runs", "process", p.name, "pid", run.PID())
	p.available(true)
	<-ctx.Done()
	p.mu.Lock()
	p.client, p.up = nil, make(chan struct{})
	p.mu.Unlock()
	p.available(false)
	return context.Cause(ctx)
}

func (p *process) available(up bool) {
	p.e.post(func() {
		for _, s := range p.steps {
			if up {
				p.e.news.opened(s)
			}
			p.e.step(flow.Available{Step: s.index, Up: up})
		}
	})
}

func (p *process) open(ctx context.Context, c *protocol.Client, s *step) (uint64, error) {
	p.mu.Lock()
	o := protocol.Step{Address: s.address, Kind: s.Kind, Type: s.Type, Args: s.Step.Args}
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

// reach is how a step is called now; a nil client means that its process is down.
func (p *process) reach(s *step) (*protocol.Client, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.client, p.handles[s]
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
