package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// MaxMessage is the size in bytes of the largest message on the wire, either way. gRPC's own limit of 4 MiB is too low for one large body;
// none at all would let a process that has gone wrong fill the memory of the other side. Far smaller records are refused as too large.
const MaxMessage = 512 << 20

// ServerOptions set the limits of a plugin's side, and spare copies of bodies. Only the engine can reach a plugin; a connection that says
// nothing for five seconds, and calls without number, come from one that has gone wrong.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxConcurrentStreams(1024), grpc.ConnectionTimeout(5 * time.Second),
		grpc.ForceServerCodecV2(newCodec()),
	}
}

// Register serves p on r. Log lines of its components go to log as hclog writes JSON, one object a line; log is usually the
// standard error stream the process was started with.
func Register(r grpc.ServiceRegistrar, p sdk.Plugin, log io.Writer) {
	pb.RegisterPluginServer(r, newServer(p, log))
}

// The rhythm of a call, in real time.
const (
	beat  = 5 * time.Second       // a sign of life at least this often
	flush = 20 * time.Millisecond // an answer waits at most this long for others
)

type server struct {
	pb.UnimplementedPluginServer
	plugin sdk.Plugin
	level  *slog.LevelVar
	log    *slog.Logger
	beat   time.Duration

	mu    sync.Mutex
	clock *sdk.Clock
	steps map[uint64]*step
	last  uint64
}

// step is an opened component; exactly one of the three is set.
type step struct {
	source    sdk.Source
	transform sdk.Transform
	sink      sdk.Sink
	log       *slog.Logger
	silence   time.Duration // a call that shows no progress for so long is lost
	once      bool          // its effect is: an engine that does not know of that must not send it more than one row at a time

	reading chan struct{}  // holds one token: one Read at a time
	calls   sync.WaitGroup // under way; Close waits for them
	lives   lives
	hold    hold
}

func newServer(p sdk.Plugin, log io.Writer) *server {
	level := new(slog.LevelVar)
	return &server{plugin: p, level: level, log: slog.New(newLogHandler(log, level)), beat: beat, clock: &sdk.Clock{}, steps: map[uint64]*step{}}
}

func (s *server) Describe(_ context.Context, hello *pb.Hello) (*pb.Description, error) {
	clock, err := sdk.ParseClock(hello.GetClock())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	s.level.Set(slog.Level(hello.GetLogLevel()))
	s.mu.Lock()
	s.clock = clock
	s.mu.Unlock()
	d, err := writeDescription(&s.plugin)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return d, nil
}

func (s *server) Open(ctx context.Context, req *pb.OpenRequest) (*pb.OpenResponse, error) {
	if len(req.GetChain()) != 1 {
		return nil, status.Errorf(codes.Unimplemented, "%d steps to be opened at once: want one", len(req.GetChain()))
	}
	w := req.GetChain()[0]
	s.mu.Lock()
	clock := s.clock
	s.mu.Unlock()
	st := s.make(sdk.ComponentKind(w.GetKind()), w.GetType())
	if st == nil {
		return nil, status.Errorf(codes.InvalidArgument, "offers no %s %q", w.GetKind(), w.GetType())
	}
	if _, ok := st.sink.(sdk.Flusher); st.hold.may && !ok {
		return nil, status.Errorf(codes.Internal, "%s %q declares Holds and has no Flush", w.GetKind(), w.GetType())
	}
	env := &sdk.Env{
		Address: w.GetAddress(), Args: w.GetArgsJson(), Connection: w.GetConnectionJson(),
		Clock: clock, Log: s.log.With("step", w.GetAddress()), Spool: sdk.OpenSpool(req.GetSpoolDir()).Watched(st.lives.watch),
	}
	st.log = env.Log
	if st.silence = time.Duration(w.GetSilenceMs()) * time.Millisecond; st.silence <= 0 {
		st.silence = silence
	}
	if err := st.guard("open", func() error { return st.open(ctx, env) }); err != nil {
		o := sdk.OutcomeOf(err)
		return &pb.OpenResponse{Failure: writeOutcome(&o)}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.steps[s.last] = st
	return &pb.OpenResponse{Step: s.last}, nil
}

func (s *server) make(kind sdk.ComponentKind, typ string) *step {
	st := &step{reading: make(chan struct{}, 1)}
	for _, c := range s.plugin.Components {
		if c.Kind != kind || c.Type != typ {
			continue
		}
		st.once, st.hold.may = c.Effect == sdk.Once, c.Holds
		switch kind {
		case sdk.KindSource:
			st.source = c.NewSource()
		case sdk.KindTransform:
			st.transform = c.NewTransform()
		case sdk.KindSink:
			st.sink = c.NewSink()
		}
		return st
	}
	return nil
}

func (st *step) open(ctx context.Context, env *sdk.Env) error {
	switch {
	case st.source != nil:
		return st.source.Open(ctx, env)
	case st.transform != nil:
		return st.transform.Open(ctx, env)
	}
	return st.sink.Open(ctx, env)
}

func (st *step) close(ctx context.Context) error {
	switch {
	case st.source != nil:
		return st.source.Close(ctx)
	case st.transform != nil:
		return st.transform.Close(ctx)
	}
	return st.sink.Close(ctx)
}

// guard turns a panic of the component into an error, so that one bad record does not take the other steps of the process along.
// The stack goes to the log; the outcome, which is stored, only says what happened.
func (st *step) guard(what string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			st.log.Error("component panicked", "in", what, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = &panicked{sdk.Retry(0, "panic", errors.New(fmt.Sprint(r))).Err()}
		}
	}()
	return f()
}

// panicked is the error of a component that panicked. A call that ends with it lets the engine look for the row that did it.
type panicked struct{ error }

func (p *panicked) Unwrap() error { return p.error }

// now is the instant by the clock of the process.
func (s *server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clock.Now()
}

// begin finds a step and counts the call; end it with calls.Done.
func (s *server) begin(handle uint64) (*step, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.steps[handle]
	if st == nil {
		return nil, status.Errorf(codes.InvalidArgument, "step %d is not open", handle)
	}
	st.calls.Add(1)
	return st, nil
}

func (s *server) Close(ctx context.Context, req *pb.CloseRequest) (*pb.CloseResponse, error) {
	s.mu.Lock()
	st := s.steps[req.GetStep()]
	delete(s.steps, req.GetStep())
	s.mu.Unlock()
	if st == nil {
		return nil, status.Errorf(codes.InvalidArgument, "step %d is not open", req.GetStep())
	}
	idle := make(chan struct{})
	go func() { st.calls.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if err := st.guard("close", func() error { return st.close(ctx) }); err != nil {
		o := sdk.OutcomeOf(err)
		return &pb.CloseResponse{Failure: writeOutcome(&o)}, nil
	}
	return &pb.CloseResponse{}, nil
}
