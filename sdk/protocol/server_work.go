package protocol

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

type workStream = grpc.ServerStreamingServer[pb.WorkResponse]

// Work runs one call of a transform or sink.
func (s *server) Work(req *pb.WorkRequest, stream workStream) error {
	st, err := s.begin(req.GetStep())
	if err != nil {
		return err
	}
	defer st.calls.Done()
	if st.source != nil {
		return status.Error(codes.InvalidArgument, "work: a source")
	}
	batch, err := readBatch(req.GetBatch())
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "work: %v", err)
	}
	rows, err := readRows(batch, req)
	if err != nil {
		return status.Errorf(codes.InvalidArgument, "work: %v", err)
	}
	if st.once && len(rows) > 1 {
		return status.Errorf(codes.InvalidArgument, "work: %d rows at once, of which each is to be sent once", len(rows))
	}
	if err := st.hold.check(batch, req.GetFlush()); err != nil {
		return status.Errorf(codes.InvalidArgument, "flush: %v", err)
	}
	chain, err := s.chain(req.GetChain())
	if err != nil {
		return err
	}
	defer chain.done()
	l := &life{batch: batch}
	defer st.lives.begin(l)()
	a := &answers{step: st, chain: chain, life: l, flush: req.GetFlush(), batch: batch, stream: stream, outcomes: make([]sdk.Outcome, len(rows)),
		answered: make([]bool, len(rows)), wake: make(chan struct{}, 1)}
	stop := a.run(s.beat, st.silence)
	ctx, now := sdk.WithLife(stream.Context(), l), time.Unix(0, req.GetNow()).UTC()
	err = st.guard("work", func() error {
		switch {
		case a.flush:
			return st.sink.(sdk.Flusher).Flush(ctx, sdk.NewFlush(batchIDs(batch), now, a.add))
		case st.transform != nil:
			return st.transform.Apply(ctx, sdk.NewCall(rows, now, req.GetProbe(), a.add))
		}
		return st.sink.Write(ctx, sdk.NewCall(rows, now, req.GetProbe(), a.add))
	})
	stop()
	var p *panicked
	if errors.As(err, &p) { // what it answered before stands
		a.finish(nil)
		if err := a.send(false); err != nil {
			return err
		}
		return status.Error(codes.Aborted, "the component panicked")
	}
	a.finish(err)
	return a.last(ctx, s.now(), s.beat)
}

func batchIDs(b *Batch) []string {
	ids := make([]string, b.Rows())
	for i := range ids {
		ids[i] = b.ID(i)
	}
	return ids
}

// hold is what a sink has answered with [sdk.Hold]: the engine's next flush must ask for just that.
type hold struct {
	may bool // the component declares it

	mu   sync.Mutex
	ids  map[string]int // two sources may have records with one id
	rows int
}

func (h *hold) add(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ids == nil {
		h.ids = map[string]int{}
	}
	h.ids[id]++
	h.rows++
}

// check lets go of everything when a flush asks for it, and says what is wrong with one that asks for something else: then the two sides
// do not agree about what is held, and nobody can say what would get lost.
func (h *hold) check(b *Batch, flush bool) error {
	if !flush {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !h.may:
		return errors.New("the component does not hold rows")
	case b.Rows() != h.rows:
		return fmt.Errorf("of %d rows, but %d are held", b.Rows(), h.rows)
	}
	for i := range b.Rows() {
		if h.ids[b.ID(i)]--; h.ids[b.ID(i)] < 0 {
			return fmt.Errorf("row %d is not held", i)
		}
	}
	h.ids, h.rows = nil, 0
	return nil
}

// readRows makes the rows of a call: strings are cut from their columns, bodies alias the message.
func readRows(b *Batch, req *pb.WorkRequest) ([]sdk.Row, error) {
	args, err := readColumn(req.GetArgs(), b.rows, false)
	if err != nil {
		return nil, fmt.Errorf("args: %w", err)
	}
	if err := checkNumbers(len(req.GetAttempt()), b.rows); err != nil {
		return nil, fmt.Errorf("attempts: %w", err)
	}
	rows := make([]sdk.Row, b.rows)
	for i := range rows {
		rows[i].Record = b.Record(i)
		rows[i].Attempt = int(number(req.GetAttempt(), i))
		if a := args.bytes(i); len(a) > 0 {
			rows[i].Args = a
		}
	}
	for _, i := range req.GetFinal() {
		if int(i) >= len(rows) {
			return nil, fmt.Errorf("final row %d of %d", i, len(rows))
		}
		rows[i].Final = true
	}
	return rows, nil
}

// answers gathers outcomes and sends them together: all at the end of a quick call, every now and then during a slow one.
type answers struct {
	step   *step
	chain  chain
	life   *life
	flush  bool
	batch  *Batch
	stream workStream
	wake   chan struct{} // holds one token: answers are waiting

	mu       sync.Mutex
	outcomes []sdk.Outcome
	answered []bool
	waiting  []int // rows answered and not sent
	closed   bool
	err      error // of the stream
}

func (a *answers) add(row int, o sdk.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed { // the call has returned: its rows have their outcome
		return
	}
	a.life.Moved()
	if o.Verdict == sdk.VerdictHeld && a.step.hold.may && !a.flush { // else the engine refuses it
		a.step.hold.add(a.batch.ID(row))
	}
	a.outcomes[row], a.answered[row] = o, true
	a.waiting = append(a.waiting, row)
	if len(a.waiting) == 1 {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// run sends what waits, and signs of life as long as the component shows some, until stop is called.
func (a *answers) run(every, limit time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	every = min(every, max(limit/4, time.Millisecond))
	ticks := int((limit + every - 1) / every)
	go func() {
		defer close(ended)
		alive := time.NewTicker(every)
		defer alive.Stop()
		due := time.NewTimer(flush)
		due.Stop()
		defer due.Stop()
		for {
			select {
			case <-a.wake:
				due.Reset(flush)
			case <-due.C:
				a.send(false)
			case <-alive.C:
				if a.life.lost(ticks) {
					a.give()
					<-done
					return
				}
				a.send(true)
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// finish gives err to the rows that have no outcome. Without an error they stay unanswered, and the engine refuses the call.
func (a *answers) finish(err error) {
	a.mu.Lock()
	if err != nil {
		o := sdk.OutcomeOf(err)
		for i, ok := range a.answered {
			if !ok {
				a.outcomes[i] = o
				a.waiting = append(a.waiting, i)
			}
		}
	}
	a.closed = true
	a.mu.Unlock()
}

// give says that the component hangs. What it answers from here on is not sent.
func (a *answers) give() {
	a.send(false)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.step.log.Error("component hangs", "limit", a.step.silence, "stacks", stacks())
	if a.err == nil {
		a.err = a.stream.Send(&pb.WorkResponse{Lost: true})
	}
	if a.err == nil {
		a.err = status.Error(codes.DeadlineExceeded, errLost.Error())
	}
}

// send sends what waits; nothing at all only as a sign of life.
func (a *answers) send(alive bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || len(a.waiting) == 0 && !alive {
		return a.err
	}
	a.err = a.stream.Send(a.take())
	return a.err
}

// take makes a message of what waits; under mu.
func (a *answers) take() *pb.WorkResponse {
	w := &pb.WorkResponse{}
	slices.Sort(a.waiting)
	w.Outcomes, w.Outputs, w.Parent = writeAnswers(a.batch, a.waiting, a.outcomes)
	for _, row := range a.waiting {
		a.outcomes[row] = sdk.Outcome{} // its records are sent: let them go
	}
	a.waiting = a.waiting[:0]
	return w
}

// last sends what waits at the end of a call, with what the chain makes of it. Nobody else sends any more.
func (a *answers) last(ctx context.Context, now time.Time, every time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || len(a.waiting) == 0 {
		return a.err
	}
	w := a.take()
	if len(a.chain) == 0 || len(w.Parent) == 0 {
		return a.stream.Send(w)
	}
	made, err := a.batch.outputs(w.Outputs, w.Parent)
	if err != nil { // too much for a batch: the engine refuses it
		return a.stream.Send(w)
	}
	w.Ahead, err = a.chain.apply(ctx, made, now, every, func() { a.stream.Send(&pb.WorkResponse{}) })
	if sent := a.stream.Send(w); sent != nil || err == nil {
		return sent
	}
	if err := a.stream.Send(&pb.WorkResponse{Lost: true}); err != nil {
		return err
	}
	return status.Error(codes.DeadlineExceeded, err.Error())
}
