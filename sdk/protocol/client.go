package protocol

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Options of a [Client]; the zero value is the default.
type Options struct {
	Plugin   string        // name for errors
	Silence  time.Duration // real time after which a call without a sign of life fails with a SilentError; 0 = 60 s
	LogLevel slog.Level    // finer log lines are not even sent
}

// Client is the engine's side of the wire to one process. All methods may be called from any goroutine. They return the context's
// error when it ended, a [GoneError] when the process died, a [SilentError] when it or the component hangs, a [BrokenError] when the
// component panicked, a [ProtocolError] when it broke the contract, and an [sdk.Error] for what a component itself reported.
type Client struct {
	rpc     pb.PluginClient
	options Options

	mu    sync.Mutex
	can   []string        // what the process says of itself
	steps map[uint64]Step // by handle, without arguments
}

// NewClient speaks over conn.
func NewClient(conn grpc.ClientConnInterface, o Options) *Client {
	if o.Silence == 0 {
		o.Silence = 60 * time.Second
	}
	return &Client{rpc: pb.NewPluginClient(conn), options: o, steps: map[uint64]Step{}}
}

// Describe is the first call: it sets the clock of the process and returns its declarations, without the New functions.
func (c *Client) Describe(ctx context.Context, clock *sdk.Clock) (sdk.Plugin, error) {
	ctx, stop := c.limit(ctx, "")
	defer stop()
	w, err := c.rpc.Describe(ctx, &pb.Hello{Can: []string{canChain}, Clock: clock.Text(), LogLevel: int32(c.options.LogLevel)})
	if err != nil {
		return sdk.Plugin{}, c.failure(ctx, "", err)
	}
	p, err := readDescription(w)
	if err != nil {
		return sdk.Plugin{}, c.broken("", "description: "+err.Error())
	}
	c.mu.Lock()
	c.can = w.GetCan()
	c.mu.Unlock()
	return p, nil
}

// Chains reports whether the process applies transforms ahead of their call, where it is asked to.
func (c *Client) Chains() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.can, canChain)
}

// Step configures one component.
type Step struct {
	Address    string // sink.kintone.log
	Kind       sdk.ComponentKind
	Type       string
	Args       json.RawMessage // an object
	Connection json.RawMessage // an object; nil = the step has no connection
	Holds      bool            // the component declares it: rows may be answered with [sdk.VerdictHeld]
	Silence    time.Duration   // real time after which a call that shows no progress is lost; 0 = 5 min
}

// Open makes a step ready and returns its handle. Files of its records lie in spoolDir.
func (c *Client) Open(ctx context.Context, s Step, spoolDir string) (handle uint64, err error) {
	ctx, stop := c.limit(ctx, s.Address)
	defer stop()
	w, err := c.rpc.Open(ctx, &pb.OpenRequest{SpoolDir: spoolDir, Chain: []*pb.Step{{
		Address: s.Address, Kind: string(s.Kind), Type: s.Type, ArgsJson: s.Args, ConnectionJson: s.Connection,
		SilenceMs: milliseconds(s.Silence),
	}}})
	switch {
	case err != nil:
		return 0, c.failure(ctx, s.Address, err)
	case w.GetFailure() != nil:
		return 0, readOutcome(w.GetFailure()).Err()
	case w.GetStep() == 0:
		return 0, c.broken(s.Address, "opened without a handle")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Args, s.Connection = nil, nil
	c.steps[w.GetStep()] = s
	return w.GetStep(), nil
}

// Close lets a step deliver what it has buffered, and frees it. It takes as long as ctx allows; end its calls before.
func (c *Client) Close(ctx context.Context, handle uint64) error {
	address := c.address(handle)
	w, err := c.rpc.Close(ctx, &pb.CloseRequest{Step: handle})
	if err != nil {
		return c.failure(ctx, address, err)
	}
	c.mu.Lock()
	delete(c.steps, handle)
	c.mu.Unlock()
	if w.GetFailure() != nil {
		return readOutcome(w.GetFailure()).Err()
	}
	return nil
}

// CloseAll closes every step that is still open, the newest first, and returns the errors joined.
func (c *Client) CloseAll(ctx context.Context) error {
	c.mu.Lock()
	var handles []uint64
	for h := range c.steps {
		handles = append(handles, h)
	}
	c.mu.Unlock()
	slices.Sort(handles)
	slices.Reverse(handles)
	var errs []error
	for _, h := range handles {
		address := c.address(h)
		if err := c.Close(ctx, h); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", address, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Client) address(handle uint64) string { return c.step(handle).Address }

// step is what a handle stands for.
func (c *Client) step(handle uint64) Step {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.steps[handle]; ok {
		return s
	}
	return Step{Address: fmt.Sprintf("step %d", handle)}
}

func (c *Client) broken(step, problem string) error {
	return &ProtocolError{Plugin: c.options.Plugin, Step: step, Problem: problem}
}

// limit is for calls that answer once: they give no sign of life before the end.
func (c *Client) limit(ctx context.Context, step string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, c.options.Silence, &SilentError{c.options.Plugin, step, c.options.Silence})
}

// failure says what an error of gRPC means. ctx is the one the call ran with.
func (c *Client) failure(ctx context.Context, step string, err error) error {
	if _, ok := ctx.Deadline(); ok && status.Code(err) == codes.DeadlineExceeded {
		<-ctx.Done() // the other side's timer was a moment faster
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled: // canceled, but not by ctx: whoever started the process noticed first, and closed the connection
		return &GoneError{c.options.Plugin, step, err}
	case codes.Aborted, codes.ResourceExhausted:
		return &BrokenError{c.options.Plugin, step, status.Convert(err).Message()}
	case codes.InvalidArgument, codes.Internal, codes.Unimplemented, codes.Unknown:
		return c.broken(step, status.Convert(err).Message())
	}
	if errors.Is(err, io.EOF) {
		return &GoneError{c.options.Plugin, step, io.ErrUnexpectedEOF}
	}
	return fmt.Errorf("plugin %s, %s: %w", c.options.Plugin, step, err)
}

// watch ends a streaming call that is silent for too long. It counts only while the caller is waiting for a message.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

func (c *Client) watch(ctx context.Context, step string) *watch {
	w := &watch{limit: c.options.Silence}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(w.limit, func() { w.cancel(&SilentError{c.options.Plugin, step, w.limit}) })
	w.timer.Stop()
	return w
}

// receive waits for one message. It is not for several goroutines at once.
func receive[T any](w *watch, recv func() (T, error)) (T, error) {
	w.timer.Reset(w.limit)
	defer w.timer.Stop()
	return recv()
}
