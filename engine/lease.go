package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// A lease keeps two engines on two machines from writing into one destination. It is one row there, that says who may write and since
// when; the plugin of the destination writes it by comparison, so that of two who try at the same moment one wins ([sdk.Leaser]).
//
// Who holds it. An engine is a data directory on a machine: the directory holds a random id, and beside it the row names the host and
// the path, so that a copied directory is another engine. Every start has a random id too: by it an engine recognises what it wrote
// when the answer was lost. An engine that died gets its own row back at once, because nobody else can have its data directory open.
//
// How long. The row is good for hold after its last change, by the destination's own clock; where it shows none, for whoever has watched
// it unchanged for hold. The holder renews it every hold/3, and believes in it only until 4/5 of hold after it began to write it, by its
// own clock, of which only the rate matters: then it stops calling sinks, and ends the calls under way. So the last fifth is for requests
// that are still on their way. This does not depend on two clocks showing the same.
//
// Without it. An engine that cannot renew, because the destination is away, goes on fetching: what sinks do not get is owed, as in any
// outage, and their breakers open with the code NO_LEASE. When it reaches the row again and nobody has held it since, it goes on. When
// somebody has, it ends, and writes nothing more; what it owes stays in its data directory. So also at a start: a destination that is
// away does not keep the source from being read.
//
// Taking over. The row then names the new holder and, as previous, the old one. The old one finds at its next renewal that the revision
// is another, ends, and takes its name out of previous; that, or the end of its hold, is what the new one waits for before it starts.
type lease struct {
	conf  *lang.Lease
	name  string // of the pipeline, and so of the row
	me    holder
	clock *sdk.Clock
	log   hclog.Logger
	take  bool // --takeover
	step  protocol.Step

	patience time.Duration
	calling  sync.Mutex // one call at a time
	missed   int        // calls in a row; under calling
	client   clients

	row sdk.LeaseRow // as last seen; of the goroutine that keeps it

	mu    sync.Mutex
	sent  time.Time          // when the last successful write began; zero = the lease is not ours
	open  context.Context    // of the calls to sinks while it is ours
	shut  context.CancelFunc // ends open
	timer *time.Timer        // calls shut in time
	why   string             // while it is not ours
	ever  bool               // it was ours in this run

	lost chan error // one error, when somebody else has it
}

// newLease makes the lease of a pipeline, nil where it has none.
func newLease(o Options) (*lease, error) {
	conf := o.Pipeline.Lease
	if conf == nil {
		return nil, nil
	}
	id, err := identityOf(o.Dir)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	name, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name of this machine, for %s: %w", conf.Address, err)
	}
	l := &lease{
		conf: conf, name: o.Pipeline.Name, clock: o.Clock, log: o.Log.Named("lease"), take: o.Takeover, lost: make(chan error, 1),
		me:       holder{Engine: id, Run: random(), Host: name, Dir: dir, Started: o.Clock.Now().UTC().Truncate(time.Second), Hold: conf.Hold.String()},
		patience: cmp.Or(o.silence, patience),
		step:     protocol.Step{Address: conf.Address, Kind: protocol.KindLease, Type: conf.Type, Args: conf.Args},
		why:      "it was not taken yet",
	}
	if conf.Connection != nil {
		l.step.Connection = conf.Connection.Args
	}
	return l, nil
}

// identityFile holds the id of a data directory.
const identityFile = "engine.id"

// clients is the process of a lease, which comes and goes.
type clients struct {
	mu  sync.Mutex
	now *protocol.Client
	up  chan struct{}           // closed while there is one
	end context.CancelCauseFunc // ends it
}

func (c *clients) set(now *protocol.Client, end context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now = now; now != nil {
		c.end = end
		close(c.up)
	} else {
		c.up = make(chan struct{})
	}
}

// drop ends the process of a client, if it is still that of the lease.
func (c *clients) drop(old *protocol.Client, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == old {
		c.end(why)
	}
}

// get waits for a process.
func (c *clients) get(ctx context.Context) (*protocol.Client, error) {
	for {
		c.mu.Lock()
		now, up := c.now, c.up
		c.mu.Unlock()
		if now != nil {
			return now, nil
		}
		select {
		case <-up:
		case <-ctx.Done():
			return nil, errors.New("the plugin does not start")
		}
	}
}

// serve keeps the process of the lease running until ctx ends. It has one of its own: a record that kills the process of a sink must not
// take the lease along.
func (l *lease) serve(ctx context.Context, exe host.Executable, o host.Options) {
	host.Supervise(ctx, exe, o, func(ctx context.Context, p *host.Process) error {
		ctx, end := context.WithCancelCause(ctx)
		defer end(nil)
		l.client.set(p.Client(), end)
		<-ctx.Done()
		l.client.set(nil, nil)
		return context.Cause(ctx)
	}, func(err error, wait time.Duration) {
		l.log.Error("plugin process ended", "process", l.conf.Address, "error", err, "again_in", wait)
	})
}

// patience bounds one call, in real time: it is a small request. A process that leaves so many in a row without an answer is ended: it may
// be frozen.
const (
	patience = 20 * time.Second
	misses   = 3
)

// ask makes one call. began is when, by our clock.
func (l *lease) ask(ctx context.Context, write bool, h holder) (row sdk.LeaseRow, began time.Time, err error) {
	l.calling.Lock()
	defer l.calling.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, l.patience, fmt.Errorf("no answer within %s", l.patience))
	defer cancel()
	client, err := l.client.get(ctx)
	if err != nil {
		return sdk.LeaseRow{}, time.Time{}, err
	}
	q := sdk.LeaseRequest{Name: l.name, Write: write}
	began = l.clock.Now()
	if write {
		h.Renewed = began.UTC().Truncate(time.Millisecond) // each write differs from the last: a destination may take equal ones for none
		text, err := json.Marshal(h)
		if err != nil {
			panic(err) // plain texts and times always work
		}
		q.Revision, q.Holder = l.row.Revision, string(text)
	}
	row, err = client.Lease(ctx, l.step, q)
	if l.missed++; !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.missed = 0
	} else if l.missed >= misses {
		l.missed = 0
		l.client.drop(client, &protocol.SilentError{Plugin: l.conf.Plugin, Step: l.conf.Address, Limit: misses * l.patience})
	}
	return row, began, err
}

// acquire takes the lease before the engine starts. It answers a HeldError when another engine has it. When the destination cannot be
// asked it answers nil, and the lease is not ours yet: keep goes on trying.
func (l *lease) acquire(ctx context.Context) error {
	err := l.attempt(ctx)
	var held *HeldError
	if errors.As(err, &held) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		l.refused(err)
	}
	return nil
}

// attempt tries to get the lease. What it answers is a HeldError, or trouble after which it can be tried again.
func (l *lease) attempt(ctx context.Context) error {
	for range 20 { // every round but the last was lost to somebody else's write
		row, _, err := l.ask(ctx, false, holder{})
		if err != nil {
			return err
		}
		l.row = row
		next := l.me
		h := readHolder(row.Holder)
		switch {
		case row.Revision == "", h.Engine == "", l.mine(h):
			next.Previous = h.Previous // of our own row: who had it before may still be at work
		case !l.expired(row, h):
			if row.Now.IsZero() || row.Changed.IsZero() {
				if changed, err := l.unchanged(ctx, h); err != nil {
					return err
				} else if !changed {
					break
				}
			}
			if !l.take {
				return l.heldBy(row, h)
			}
			old := h
			old.Previous = nil
			next.Previous = &old
			l.log.Warn("the lease is taken over", "from", h.String())
		}
		row, began, err := l.ask(ctx, true, next)
		if err != nil {
			return err
		}
		held := l.row
		l.row = row
		if !row.Written {
			continue
		}
		if next.Previous != nil {
			if err := l.outlive(ctx, held, *next.Previous, began); err != nil {
				return err
			}
			continue // it is ours, and now without a previous one
		}
		l.valid(began)
		return nil
	}
	return errors.New("its row changes again and again")
}

// mine reports whether a row is of this engine: of this start, or of an earlier one that has ended, as this one has its data directory.
func (l *lease) mine(h holder) bool {
	return h.Run == l.me.Run || h.Engine == l.me.Engine && h.Host == l.me.Host && h.Dir == l.me.Dir
}

// expired reports whether a row's time is over, by the destination's clock.
func (l *lease) expired(row sdk.LeaseRow, h holder) bool {
	if row.Now.IsZero() || row.Changed.IsZero() {
		return false
	}
	return !row.Now.Before(row.Changed.Add(h.hold(l.conf.Hold)))
}

// pause between two looks at a row that somebody else has.
func (l *lease) pause() time.Duration { return max(l.conf.Hold/60, time.Second) }

// unchanged watches a row for as long as its holder may go without renewing it, where the destination shows no time.
func (l *lease) unchanged(ctx context.Context, h holder) (changed bool, err error) {
	hold := h.hold(l.conf.Hold)
	l.log.Info("the destination shows no time: its lease is watched", "lease", l.conf.Address, "for", hold)
	began := l.clock.Now()
	for l.since(began) <= hold {
		if err := l.clock.Sleep(ctx, l.pause()); err != nil {
			return false, err
		}
		row, _, err := l.ask(ctx, false, holder{})
		if err != nil {
			return false, err
		}
		if row.Revision != l.row.Revision {
			return true, nil
		}
	}
	return false, nil
}

// outlive waits until the engine from which the lease was taken has stopped: it says so in the row, or its hold has ended. before is the
// row as that engine left it. In the meantime our own row is kept fresh.
func (l *lease) outlive(ctx context.Context, before sdk.LeaseRow, old holder, began time.Time) error {
	hold := old.hold(l.conf.Hold)
	l.log.Warn("waiting for the other engine to stop", "engine", old.String(), "at_most", hold)
	start, written := began, began
	for {
		if err := l.clock.Sleep(ctx, l.pause()); err != nil {
			return err
		}
		row, _, err := l.ask(ctx, false, holder{})
		if err != nil {
			l.log.Warn("the lease cannot be looked at", "error", err)
			continue
		}
		h := readHolder(row.Holder)
		l.row = row
		if h.Run != l.me.Run {
			return l.heldBy(row, h)
		}
		over := l.since(start) > hold // it can have renewed last just before our write
		if !row.Now.IsZero() && !before.Changed.IsZero() {
			over = over || !row.Now.Before(before.Changed.Add(hold))
		}
		next := l.me
		switch {
		case h.Previous == nil:
			l.log.Info("the other engine has stopped")
			return nil
		case over:
			l.log.Info("the other engine's hold has ended")
		case l.since(written) > l.conf.Hold/3:
			next.Previous = h.Previous
		default:
			continue
		}
		at := l.clock.Now()
		if row, _, err = l.ask(ctx, true, next); err != nil {
			l.log.Warn("the lease cannot be renewed", "error", err)
			continue
		}
		if l.row = row; row.Written {
			written = at
		}
	}
}

func (l *lease) heldBy(row sdk.LeaseRow, h holder) error {
	e := &HeldError{Address: l.conf.Address, Pipeline: l.name, Holder: h.String(), Now: row.Now, Hold: h.hold(l.conf.Hold),
		Copy: h.Engine == l.me.Engine, Waiting: h.Previous != nil}
	if !row.Now.IsZero() && !row.Changed.IsZero() {
		e.Until = row.Changed.Add(e.Hold)
	}
	return e
}

// since is how much time has passed, in doubt more: a machine that was suspended may have a clock that stood still, and another that did
// not.
func (l *lease) since(t time.Time) time.Duration {
	now := l.clock.Now()
	return max(now.Sub(t), now.Round(0).Sub(t.Round(0)))
}

// good is for how long after a write the lease is believed in.
func (l *lease) good() time.Duration { return l.conf.Hold * 4 / 5 }

// valid notes a successful write that began at this time: calls to sinks are allowed for a while.
func (l *lease) valid(began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := l.open == nil || l.open.Err() != nil
	if l.timer != nil && !l.timer.Stop() {
		fresh = true // it is about to end open
		l.shut()
	}
	if fresh {
		l.open, l.shut = context.WithCancel(context.Background())
		l.log.Info("the lease is ours", "lease", l.conf.Address, "hold", l.conf.Hold)
	}
	l.sent, l.why, l.ever = began, "", true
	shut := l.shut
	l.timer = time.AfterFunc(max(l.clock.Wall(l.good()-l.since(began)), 0), func() {
		shut()
		l.log.Error("the lease could not be renewed in time: sinks are not called, what they miss is owed", "lease", l.conf.Address)
	})
}

// refused notes why the lease cannot be had now.
func (l *lease) refused(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == err.Error() {
		return // it was told
	}
	l.why = err.Error()
	l.log.Error("the lease cannot be had or renewed; the source is read all the same", "lease", l.conf.Address, "error", err)
}

// enter allows a call to a sink: its context ends with the lease. ok is false when the lease is not ours.
func (l *lease) enter(ctx context.Context) (_ context.Context, leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil || l.open.Err() != nil || l.since(l.sent) >= l.good() {
		return nil, nil, false
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.open, cancel)
	return ctx, func() { stop(); cancel() }, true
}

// trouble says why sinks are not called.
func (l *lease) trouble() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == "" {
		return "it could not be renewed in time"
	}
	return l.why
}

// keep renews the lease until ctx ends or somebody else has it.
func (l *lease) keep(ctx context.Context) {
	for {
		wait := l.conf.Hold / 3
		if l.failing() {
			wait = max(l.conf.Hold/30, time.Second)
		}
		if l.clock.Sleep(ctx, wait) != nil {
			return
		}
		if err := l.renew(ctx); err != nil {
			l.close()
			l.lost <- err
			return
		}
	}
}

// failing reports whether the last write did not work.
func (l *lease) failing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.why != ""
}

// renew writes the row again, or tries to get a lease that this run has not had yet. An error means that somebody else has it.
func (l *lease) renew(ctx context.Context) error {
	l.mu.Lock()
	ever := l.ever
	l.mu.Unlock()
	if !ever {
		err := l.attempt(ctx)
		var held *HeldError
		if errors.As(err, &held) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			l.refused(err)
		}
		return nil
	}
	for range 20 {
		row, began, err := l.ask(ctx, true, l.me)
		if err != nil {
			if ctx.Err() == nil {
				l.refused(err)
			}
			return nil
		}
		l.row = row
		h := readHolder(row.Holder)
		switch {
		case row.Written:
			l.valid(began)
			return nil
		case row.Revision == "" || h.Run != l.me.Run:
			return l.lostTo(h)
		} // our own, from a write whose answer was lost, or behind a lock: with its revision it can be written
	}
	l.refused(errors.New("its row is locked"))
	return nil
}

func (l *lease) lostTo(h holder) error {
	e := &LostError{Address: l.conf.Address, Pipeline: l.name}
	if h.Engine != "" {
		e.Holder = h.String()
	}
	return e
}

// close ends all calls to sinks.
func (l *lease) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = time.Time{}
	if l.timer != nil {
		l.timer.Stop()
	}
	if l.shut != nil {
		l.shut()
	}
}

// giveBack lets the next engine in, once this one has stopped for good: it clears the row, or, where somebody has taken it, takes its own
// name out. When that does not work the row's time has to end.
func (l *lease) giveBack() {
	l.close()
	ctx := context.Background()
	for range 5 {
		row, _, err := l.ask(ctx, false, holder{})
		if err != nil {
			l.log.Warn("the lease cannot be given back: it ends by itself", "lease", l.conf.Address, "error", err)
			return
		}
		l.row = row
		h := readHolder(row.Holder)
		next := holder{}
		switch {
		case row.Revision == "":
			return
		case h.Run == l.me.Run && h.Previous != nil: // stopped while it waited: the one before may still be at work
			next = *h.Previous
		case h.Run == l.me.Run:
		case h.Previous != nil && h.Previous.Run == l.me.Run:
			next = h
			next.Previous = nil
		default:
			return
		}
		if row, _, err = l.ask(ctx, true, next); err == nil && row.Written {
			l.log.Info("the lease is given back", "lease", l.conf.Address)
			return
		}
	}
}

// takeLease takes the lease of a pipeline that has one, and starts what keeps it. end gives it back; it must be called when nothing of
// the run is left.
func takeLease(ctx context.Context, o Options, sockets string) (_ *lease, end func(), _ error) {
	l, err := newLease(o)
	if l == nil || err != nil {
		return nil, func() {}, err
	}
	exe, err := executableOf(o, l.conf.Plugin)
	if err != nil {
		return nil, nil, err
	}
	l.client.up = make(chan struct{})
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	var serving sync.WaitGroup
	serving.Go(func() {
		l.serve(life, exe, host.Options{Dir: sockets, Home: o.Pipeline.Folder, Log: o.Log, Clock: o.Clock})
	})
	down := func() { stop(); serving.Wait() }
	if err := l.acquire(ctx); err != nil {
		l.giveBack() // of a start that was interrupted while it waited
		down()
		return nil, nil, err
	}
	keeping, quit := context.WithCancel(life)
	var kept sync.WaitGroup
	kept.Go(func() { l.keep(keeping) })
	return l, func() { quit(); kept.Wait(); l.giveBack(); down() }, nil
}

// allowed runs a call to a step, if it is a sink only while the lease is ours.
func (e *Engine) allowed(s *step, call func(ctx context.Context) error) error {
	if e.lease == nil || s.Kind != sdk.KindSink {
		return call(e.ctx)
	}
	ctx, leave, ok := e.lease.enter(e.ctx)
	if !ok {
		return errNoLease
	}
	defer leave()
	return call(ctx)
}

// errNoLease is why a sink was not called.
var errNoLease = errors.New("the lease is not ours")

// withheld answers the rows of a call that was not made: they are owed as in an outage of the sink's service.
func (e *Engine) withheld(j *job, position []uint32) {
	why := fmt.Sprintf("%s is not ours: %s", e.lease.conf.Address, e.lease.trouble())
	e.post(func() {
		a := flow.Answered{Call: j.call.ID}
		for _, p := range position {
			a.Runs = append(a.Runs, flow.Run{First: int32(p), Count: 1, Verdict: flow.Retry, Down: true, Code: "NO_LEASE", Detail: why})
		}
		j.step.trouble = why
		e.step(a)
	})
}
