package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// process keeps one plugin process alive: one for each plugin and connection.
type process struct {
	e       *Engine
	plugins []string // that of its steps, then those of chained ones
	name    string   // for logs
	steps   []*step
	chained []*step       // transforms of other processes that it applies ahead of their call: see chain.go
	wanted  chan struct{} // closed when one of its steps is called for the first time; nil = it starts with the run
	want    sync.Once
	pace    *pace // of the connection
	log     hclog.Logger
	last    *life // that could be called; of the goroutine of run

	failures int // starts in vain, in a row; of the goroutine of run

	mu    sync.Mutex
	life  *life          // nil while it is down
	up    chan struct{}  // closed while it runs
	stale map[*step]bool // arguments have changed that it could not be told of
	apart time.Time      // until then every step is called by itself: one of a chain may have ended the process
}

// life is one run of a process.
type life struct {
	run     *host.Process
	client  *protocol.Client
	handles map[*step]uint64        // guarded by the process
	ahead   map[*step]uint64        // of chained steps; does not change
	lost    context.CancelCauseFunc // ends it, because it cannot be reached
	over    chan struct{}           // closed when the machine has been told that it ended
	calls   sync.WaitGroup          // whose answers may still be on their way to the loop; it grows only while the life is that of the process
}

var (
	errDown     = errors.New("the process is down")
	errStarts   = fmt.Errorf("%w: it is started now", errDown)
	errReopened = errors.New("ended on purpose: the arguments of a step that may hold rows have changed")
)

// process finds or makes the process of a step.
func (e *Engine) process(s *step) *process {
	name := processName(s.Step)
	p := e.procs[name]
	if p == nil {
		p = &process{e: e, plugins: []string{s.Plugin}, name: name, log: e.Log.Named(s.Plugin), up: make(chan struct{}), stale: map[*step]bool{}}
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
	if p.wanted != nil {
		p.available(true) // a call will tell
		select {
		case <-p.wanted:
		case <-ctx.Done():
			return
		}
	}
	o := host.Options{Dir: p.e.sockets, Home: p.e.Pipeline.Folder, Log: p.e.Log, Clock: p.e.Clock, Silence: p.e.silence}
	err := host.Supervise(ctx, exe, o, p.use, func(err error, wait time.Duration) {
		p.log.Error("plugin process ended", "process", p.name, "error", err, "again_in", wait)
		var start *host.StartError
		if errors.As(err, &start) && ctx.Err() == nil {
			p.e.post(func() { p.notStarted(err) })
		}
		if p.failures++; p.e.Once && p.e.Until.IsZero() && p.failures >= hopelessStarts {
			p.e.fail(fmt.Errorf("the plugin process %s does not start: %w", p.name, err))
		}
	})
	if err != nil {
		p.log.Warn("steps did not close", "process", p.name, "error", err)
	}
}

// notStarted tells of steps that cannot be opened because their process does not come up, or must not.
func (p *process) notStarted(err error) {
	code := "PLUGIN_FAILED"
	if other := (*host.ChecksumError)(nil); errors.As(err, &other) {
		code = "PLUGIN_CHANGED" // somebody has replaced its executable
	}
	err = sdk.Retry(0, code, err).Err()
	for _, s := range p.steps {
		p.e.news.closed(s, err)
	}
}

// hopelessStarts is how often in a row a process may end before it runs until a run with Once gives up: some three seconds. That is no
// death of a record's doing, but a lack of memory, descriptors or the executable.
const hopelessStarts = 6

// use opens the steps of a started process and lets them be called until it ends, or cannot be reached any more.
func (p *process) use(ctx context.Context, run *host.Process) error {
	p.failures = 0
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	l := &life{run: run, client: run.Client(), handles: make(map[*step]uint64, len(p.steps)), ahead: map[*step]uint64{}, lost: end, over: make(chan struct{})}
	for _, s := range p.steps {
		handle, err := p.open(ctx, l.client, s)
		if err != nil {
			p.e.post(func() { p.e.news.openFailed(s, err) })
			return err
		}
		l.handles[s] = handle
	}
	if err := p.openChained(ctx, l); err != nil {
		return err
	}
	p.mu.Lock()
	p.life = l
	close(p.up)
	p.mu.Unlock()
	p.log.Debug("plugin process runs", "process", p.name, "pid", run.PID())
	p.available(true)
	if dead := p.last; dead != nil {
		p.e.background.Go(func() {
			dead.calls.Wait()
			p.e.post(func() { p.e.spool.inherit(dead.run.PID(), p.e.lots) })
		})
	}
	p.last = l
	<-ctx.Done()
	// The machine hears that nobody can be called before it hears of the calls that were lost: it must not take a call to a process that is
	// not there for a death.
	p.available(false)
	p.mu.Lock()
	p.life, p.up = nil, make(chan struct{})
	p.mu.Unlock()
	close(l.over)
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
	o := protocol.Step{Address: s.address, Kind: s.Kind, Type: s.Type, Args: s.Step.Args, Holds: s.Component.Holds, Silence: s.Retry.Silence}
	p.mu.Unlock()
	if s.Connection != nil {
		o.Connection = s.Connection.Args
	}
	return c.Open(ctx, o, p.e.spool.dir)
}

// reload reads the key files of a step again. When its arguments changed it is opened a second time and what it owes is due; calls under
// way end with the old arguments, whose step stays open until the process ends. Where it may hold rows the process ends at once: they come
// again.
func (p *process) reload(ctx context.Context, s *step) {
	p.mu.Lock()
	changed, diags := s.Reload()
	p.stale[s] = p.stale[s] || changed
	stale, l := p.stale[s], p.life
	p.mu.Unlock()
	if diags.HasErrors() {
		p.log.Warn("arguments cannot be read again", "step", s.address, "problem", diags[0].Problem)
	}
	if !stale || l == nil { // a process that is down opens with the new arguments, unless it has just begun to: the next minute tells
		return
	}
	if s.Component.Holds {
		l.lost(errReopened)
	} else {
		handle, err := p.open(ctx, l.client, s)
		if err != nil { // the next minute tries again
			p.log.Error("step cannot be opened with its new arguments", "step", s.address, "error", err)
			return
		}
		p.mu.Lock()
		l.handles[s] = handle
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.stale[s] = false
	p.mu.Unlock()
	p.e.post(func() {
		p.log.Info("configuration changed", "step", s.address)
		p.e.step(flow.Reconfigured{Step: s.index})
	})
}

// reach is how a step is called now; nil while its process is down.
func (p *process) reach(s *step) (*life, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil {
		return nil, 0
	}
	return p.life, p.life.handles[s]
}

// called is reach for a call, which the life's calls count until it is done.
func (p *process) called(s *step) (*life, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life == nil {
		return nil, 0
	}
	p.life.calls.Add(1)
	return p.life, p.life.handles[s]
}

// work calls a step, and asks those behind it to answer ahead where that is of use. When its process turns out to be gone, work returns
// after the machine has been told that it is down.
func (p *process) work(ctx context.Context, s *step, w protocol.Work, ahead bool, on func(protocol.Answer) error) error {
	l, handle := p.called(s)
	if l == nil {
		if p.wake() {
			return errStarts
		}
		return errDown
	}
	defer l.calls.Done()
	if ahead {
		w.Chain = p.chainOf(l, s)
	}
	ended := l.run.Called()
	err := l.client.Work(ctx, handle, w, on)
	ended(err == nil)
	if len(w.Chain) > 0 && lost(err) {
		p.unchain(err)
	}
	if err != nil && p.e.ctx.Err() == nil && p.useless(s, err) {
		p.end(l, err)
	}
	return err
}

// drop ends the process, and what it holds for a step with it.
func (p *process) drop(s *step, why error) {
	if l, _ := p.reach(s); l != nil {
		p.end(l, why)
	}
}

// end ends a life, and returns when the machine has been told.
func (p *process) end(l *life, why error) {
	l.lost(why)
	select {
	case <-l.over:
	case <-p.e.ctx.Done():
	}
}

// useless reports whether the process cannot be used any more after a call that failed: it is gone, or hangs. One that may hold rows is
// ended also when nobody can be sure any more what it holds.
func (p *process) useless(s *step, err error) bool {
	var broken *protocol.BrokenError
	switch {
	case lost(err):
		return true
	case errors.As(err, &broken): // to the machine as good as a death, which takes along what others hold
		return slices.ContainsFunc(p.steps, func(s *step) bool { return s.Component.Holds })
	}
	return s.Component.Holds
}

// lost reports whether a call says that its process is gone, or hangs.
func lost(err error) bool {
	var gone *protocol.GoneError
	var silent *protocol.SilentError
	return errors.As(err, &gone) || errors.As(err, &silent)
}

// wake starts a process that has not been wanted so far, and reports whether it did. Until it is up the machine must not call it.
func (p *process) wake() (starts bool) {
	if p.wanted == nil {
		return false
	}
	p.want.Do(func() {
		starts = true
		p.available(false)
		close(p.wanted)
	})
	return starts
}

// await waits until the process of a step runs.
func (p *process) await(ctx context.Context, s *step) (*life, uint64, error) {
	for {
		p.mu.Lock()
		up := p.up
		p.mu.Unlock()
		if l, handle := p.reach(s); l != nil {
			return l, handle, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}
