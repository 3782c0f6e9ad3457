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

// grace is how long the steps of a process may take to close, in real time.
const grace = 10 * time.Second

// Supervise keeps a plugin running. It starts the process and hands it to use, whose ctx ends with the process. When use returns an
// error, or the process dies, the process is ended and another one started, after 100 ms doubling to 30 s; each time ended is told
// why, and how long the wait will be. Supervise returns when use returns nil or ctx ends, with no process left: nil, or what the
// steps said when they were closed.
func Supervise(ctx context.Context, exe Executable, o Options, use func(ctx context.Context, p *Process) error, ended func(err error, wait time.Duration)) error {
	wait := firstWait
	for {
		began := time.Now()
		err, closing := once(ctx, exe, o, use)
		if err == nil || ctx.Err() != nil {
			return closing
		}
		if time.Since(began) > longWait {
			wait = firstWait
		}
		ended(errors.Join(err, closing), wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, longWait)
	}
}

func once(ctx context.Context, exe Executable, o Options, use func(context.Context, *Process) error) (err, closing error) {
	p, err := Start(ctx, exe, o)
	if err != nil {
		return err, nil
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
	return err, p.Kill(last)
}
