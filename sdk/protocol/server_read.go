package protocol

import (
	"context"
	"runtime"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

type readStream = grpc.BidiStreamingServer[pb.ReadRequest, pb.ReadResponse]

// Read runs the source until the engine ends the call.
func (s *server) Read(stream readStream) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	start := req.GetStart()
	if start == nil {
		return status.Error(codes.InvalidArgument, "read: the first message must be start")
	}
	st, err := s.begin(start.GetStep())
	if err != nil {
		return err
	}
	defer st.calls.Done()
	if st.source == nil {
		return status.Error(codes.InvalidArgument, "read: not a source")
	}
	ctx := stream.Context()
	select {
	case st.reading <- struct{}{}: // an earlier Read may not have noticed its end yet
		defer func() { <-st.reading }()
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}

	chain, err := s.chain(start.GetChain())
	if err != nil {
		return err
	}
	defer chain.done()
	e := &emitter{ctx: ctx, stream: stream, grown: make(chan struct{}), chain: chain, now: s.now, beat: s.beat, room: make(chan struct{}, runtime.GOMAXPROCS(0))}
	go e.listen() // ends with the stream, which ends when this function returns
	stop := e.signs(s.beat)
	var position []byte
	if p := start.GetPosition(); len(p) > 0 {
		position = p
	}
	err = st.guard("read", func() error { return st.source.Read(ctx, position, e) })
	e.wait()
	stop()
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case err != nil:
		o := sdk.OutcomeOf(err)
		return e.send(&pb.ReadResponse{Failure: writeOutcome(&o)})
	}
	return nil
}

// emitter sends pages as far as the credit goes, each with what the chain makes of it: a page for each core at once, in order.
type emitter struct {
	ctx    context.Context // of the stream, whose life it shares
	stream readStream
	chain  chain
	now    func() time.Time
	beat   time.Duration
	room   chan struct{} // holds a token for each page that the chain works on

	sending sync.Mutex // one message at a time

	order  sync.Mutex
	number uint64        // of the last page; under order
	before chan struct{} // closed when that page is sent; nil = there is none; under order
	failed error         // of a page that could not be sent; under sending

	mu      sync.Mutex
	records int64 // credit
	bytes   int64
	grown   chan struct{} // closed and replaced when credit grows
}

// Emit implements [sdk.Emitter].
func (e *emitter) Emit(ctx context.Context, p sdk.Page) error {
	w := &pb.ReadResponse{Position: p.Position, Drained: p.Drained}
	for i := range p.Events {
		w.Events = append(w.Events, writeEvent(&p.Events[i]))
	}
	var b *Batch
	if len(p.Records) > 0 {
		b = FromRecords(p.Records)
		w.Batch = b.toWire()
		if err := e.spend(ctx, int64(b.Rows()), int64(b.BodyBytes())); err != nil {
			return err
		}
	}
	select {
	case e.room <- struct{}{}:
	case <-ctx.Done():
		if b != nil {
			e.grow(int64(b.Rows()), int64(b.BodyBytes()))
		}
		return ctx.Err()
	}
	e.order.Lock()
	e.number++
	w.Number = e.number
	before, sent := e.before, make(chan struct{})
	e.before = sent
	e.order.Unlock()
	page := func() error {
		defer func() { close(sent); <-e.room }()
		var lost error
		if b != nil {
			w.Ahead, lost = e.chain.apply(e.ctx, b, e.now(), e.beat, func() {}) // signs of life come anyway
		}
		if before != nil {
			<-before
		}
		return e.page(w, lost)
	}
	if len(e.chain) == 0 || b == nil {
		return page()
	}
	go page() // ends before wait returns; its error is that of the next page
	e.sending.Lock()
	defer e.sending.Unlock()
	return e.failed
}

// page sends a page, unless one before it could not be sent: there must be no hole.
func (e *emitter) page(w *pb.ReadResponse, lost error) error {
	e.sending.Lock()
	defer e.sending.Unlock()
	switch {
	case e.failed != nil:
	case lost != nil:
		e.stream.Send(&pb.ReadResponse{Lost: true})
		e.failed = lost
	default:
		e.failed = e.stream.Send(w)
	}
	return e.failed
}

// wait returns when no page is on its way any more.
func (e *emitter) wait() {
	e.order.Lock()
	before := e.before
	e.order.Unlock()
	if before != nil {
		<-before
	}
}

func (e *emitter) send(w *pb.ReadResponse) error {
	e.sending.Lock()
	defer e.sending.Unlock()
	return e.stream.Send(w)
}

// spend waits until there is some credit, and takes all that a page needs.
func (e *emitter) spend(ctx context.Context, records, bytes int64) error {
	for {
		e.mu.Lock()
		if e.records > 0 && e.bytes > 0 {
			e.records -= records
			e.bytes -= bytes
			e.mu.Unlock()
			return nil
		}
		grown := e.grown
		e.mu.Unlock()
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		case <-e.ctx.Done():
			return e.ctx.Err()
		}
	}
}

// listen takes credit. Acknowledgements are for sources that push, which the sdk does not offer yet.
func (e *emitter) listen() {
	for {
		req, err := e.stream.Recv()
		if err != nil {
			return
		}
		if c := req.GetCredit(); c != nil {
			e.grow(int64(c.GetRecords()), int64(c.GetBytes()))
		}
	}
}

// grow adds credit.
func (e *emitter) grow(records, bytes int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.records += records
	e.bytes += bytes
	close(e.grown)
	e.grown = make(chan struct{})
}

// signs sends a sign of life again and again until stop is called.
func (e *emitter) signs(every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				if e.send(&pb.ReadResponse{}) != nil {
					return
				}
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}
