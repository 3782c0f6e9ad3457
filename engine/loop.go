package engine

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/host"
)

// lastWait is how long the end of a run waits for what is being sent once: an interrupted call would leave it unknown whether it was done.
// It is the time after which a silent process counts as dead, and a little more, in real time.
const lastWait = 65 * time.Second

// run is the loop: every event goes through the machine, and what the machine asks for is done or started.
func (e *Engine) run(stopped context.Context) (Summary, error) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(stopped))
	begin, halt := context.WithCancel(ctx)
	defer halt()
	e.ctx, e.begin = ctx, begin
	defer e.end(cancel)
	e.background.Go(func() { e.write(ctx) })
	e.background.Go(func() { e.db.Maintain(ctx) })
	e.background.Go(func() { boundHeap(ctx) })
	if err := e.listen(ctx); err != nil {
		return Summary{}, err
	}
	if err := e.start(ctx); err != nil {
		return Summary{}, err
	}

	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	progress := time.NewTicker(500 * time.Millisecond)
	defer progress.Stop()
	e.disk.room(e.volume(e.Dir)) // before the first credit
	e.background.Go(func() { e.watchDisk(ctx) })
	e.act(e.machine.Start())
	for _, i := range e.changed {
		e.step(flow.Reconfigured{Step: i})
	}
	e.wakeNews()
	stop := stopped.Done()
	var late <-chan time.Time // closes the wait for what is being sent
	for {
		for len(e.soon) > 0 {
			f := e.soon[0]
			e.soon = e.soon[1:]
			f()
		}
		if stopped.Err() != nil && !e.ending {
			stop, late = nil, time.After(lastWait)
			halt()
			e.endSending()
		}
		if e.ending && len(e.sending) == 0 {
			return e.summary(), nil
		}
		if e.Once && e.finished() {
			return e.summary(), e.unread()
		}
		e.reset(timer)
		select {
		case f := <-e.events:
			f()
		case <-timer.C:
			e.step(flow.Tick{})
		case err := <-e.failed:
			return e.summary(), err
		case <-progress.C:
			if e.Progress != nil {
				e.Progress(e.status())
			}
		case <-stop:
		case <-late:
			e.Log.Warn("not waiting any longer for what is being sent: it will count as unknown", "records", len(e.sending))
			return e.summary(), nil
		}
	}
}

// step feeds the machine.
func (e *Engine) step(ev flow.Event) {
	e.act(slices.Clone(e.machine.Step(e.Clock.Now(), ev)))
}

// reset sets the timer to the next instant at which the machine, or the clock's end, wants attention.
func (e *Engine) reset(t *time.Timer) {
	next := e.machine.Next()
	if e.Once && !e.Until.IsZero() && (next.IsZero() || e.Until.Before(next)) {
		next = e.Until
	}
	wait := time.Minute
	if !next.IsZero() {
		wait = max(e.Clock.Wall(next.Sub(e.Clock.Now())), time.Millisecond)
	}
	t.Reset(min(wait, time.Minute))
}

// finished reports whether a run with Once has nothing left to do.
func (e *Engine) finished() bool {
	if !e.Until.IsZero() && e.Clock.Now().Before(e.Until) || e.machine.Busy() || e.news.behind() {
		return false
	}
	for _, s := range e.steps {
		if s.source != nil && s.Enabled && !e.machine.Drained(s.index) && !e.hopeless(s) {
			return false
		}
	}
	return true
}

// hopeless reports whether a run with Once has waited long enough for a step that does not come up.
func (e *Engine) hopeless(s *step) bool { return e.Once && e.Until.IsZero() && s.failures >= 3 }

// unread is the error of a finished run that had to leave a source out.
func (e *Engine) unread() error {
	for _, s := range e.steps {
		if s.source != nil && s.Enabled && e.hopeless(s) {
			if e.news.open("OPEN_FAILED", s) {
				return fmt.Errorf("%s cannot be opened: %s", s.address, s.trouble)
			}
			return fmt.Errorf("%s cannot be read: %s", s.address, s.trouble)
		}
	}
	return nil
}

// act does what the machine asks, in order.
func (e *Engine) act(actions []flow.Action) {
	for _, a := range actions {
		switch a := a.(type) {
		case flow.Call:
			if e.begins(a) {
				e.call(a)
			}
		case flow.Load:
			e.load(a)
		case flow.Grant:
			if s := e.steps[a.Source]; s.source != nil {
				e.disk.grant(a)
			} else {
				e.news.grant(a.Rows)
			}
		case flow.Release:
			e.spool.release(e.lots[a.Lot], a.Root)
		case flow.Forget:
			for _, b := range a.Batches {
				delete(e.batches, b)
			}
			e.spool.forget(e.lots[a.Lot])
			delete(e.lots, a.Lot)
		case flow.Breaker:
			e.news.breaker(a)
		case flow.Commit:
			e.commit(a)
		}
	}
}

// start brings up the processes and sources, and what the engine does beside.
func (e *Engine) start(ctx context.Context) error {
	for _, s := range e.steps {
		if s.Step == nil || !s.Enabled {
			continue
		}
		p := e.process(s)
		p.steps = append(p.steps, s)
		s.proc, s.pace = p, newPace(e.Clock, s.Limit)
	}
	e.chain()
	for _, p := range e.procs {
		exe, err := executableOf(e.Options, p.plugins...)
		if err != nil {
			return err
		}
		e.background.Go(func() { p.run(ctx, exe) })
	}
	for _, s := range e.steps {
		if s.source != nil && s.Enabled {
			e.background.Go(func() { s.source.run(ctx) })
		}
	}
	e.background.Go(func() { e.reload(ctx) })
	if e.lease != nil {
		e.background.Go(func() {
			select {
			case err := <-e.lease.lost:
				e.fail(err)
			case <-ctx.Done():
			}
		})
	}
	return nil
}

// end stops all that the run has started and waits for it.
func (e *Engine) end(cancel context.CancelCauseFunc) {
	cancel(nil)
	e.background.Wait()
	os.RemoveAll(e.spool.dir) // the keys of what is in there end here
}

// executableOf finds the program of plugins: bundled in this one, or a single one that the pipeline names.
func executableOf(o Options, plugins ...string) (host.Executable, error) {
	for _, x := range o.Pipeline.Plugins {
		if x.Name == plugins[0] {
			return host.Executable{Name: x.Name, Path: x.Path, SHA256: x.SHA256}, nil
		}
	}
	return host.Bundled(plugins...)
}

// reload reads key files again every minute; a step whose arguments changed is opened anew, and what waited for that is due.
func (e *Engine) reload(ctx context.Context) {
	volatile := slices.ContainsFunc(e.steps, func(s *step) bool { return s.Step != nil && s.Volatile && s.Enabled })
	for volatile {
		t := time.NewTimer(max(e.Clock.Wall(time.Minute), 100*time.Millisecond))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		for _, s := range e.steps {
			if s.Step == nil || !s.Volatile || !s.Enabled {
				continue
			}
			s.proc.reload(ctx, s)
		}
	}
}
