package host

import (
	"context"
	"errors"
	"time"

	"github.com/weir-etl/weir/sdk/protocol"
)

// Back-off of restarts, in real time.
const (
	firstWait = 100 * time.Millisecond
	longWait  = 30 * time.Second // and a process that lived as long starts again with the first
)

// swift is how many deaths in a row cost no wait when each came in the middle of a call: who looks for the record that kills a process
// needs about a dozen of them. A call that comes back whole gives one of them back.
const swift = 32

// grace is how long the steps of a process may take to close, in real time.
const grace = 10 * time.Second

// Supervise keeps a plugin running. It starts the process and hands it to use, whose ctx ends with the process. When use returns an
// error, or the process dies, the process is ended and another one started: after 100 ms doubling to 30 s, or at once when it died of a
// call (see [Process.Called]); each time ended is told why, and how long the wait will be. Supervise returns when use returns nil or ctx
// ends, with no process left: nil, or what the steps said when they were closed.
func Supervise(ctx context.Context, exe Executable, o Options, use func(ctx context.Context, p *Process) error, ended func(err error, wait time.Duration)) error {
	wait, deaths := firstWait, 0
	for {
		began := time.Now()
		p, err, closing := once(ctx, exe, o, use)
		if err == nil || ctx.Err() != nil {
			return closing
		}
		if time.Since(began) > longWait {
			wait = firstWait
		}
		pause := wait
		called, answered := p.calls()
		deaths = max(deaths-answered, 0)
		if deaths++; called > answered && deaths <= swift {
			pause = 0
		}
		ended(errors.Join(err, closing), pause)
		if pause == 0 {
			wait = firstWait
			continue
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, longWait)
	}
}

func once(ctx context.Context, exe Executable, o Options, use func(context.Context, *Process) error) (p *Process, err, closing error) {
	p, err = Start(ctx, exe, o)
	if err != nil {
		return nil, err, nil
	}
	alive, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() { // ends with the process, which ends below
		<-p.Done()
		cancel(p.Err())
	}()
	var exit *ExitError
	if err = use(alive, p); err != nil && errors.As(context.Cause(alive), &exit) {
		err = exit // that is why
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer stop()
	var silent *protocol.SilentError
	if errors.As(err, &silent) {
		stop() // it would not hear us
	}
	return p, err, p.Kill(last)
}
