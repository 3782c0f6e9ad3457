package protocol

import (
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
	a := &answers{batch: batch, stream: stream, outcomes: make([]sdk.Outcome, len(rows)), answered: make([]bool, len(rows)), wake: make(chan struct{}, 1)}
	stop := a.run(s.beat)
	call := sdk.NewCall(rows, time.Unix(0, req.GetNow()).UTC(), req.GetProbe(), a.add)
	err = st.guard("work", func() error {
		if st.transform != nil {
			return st.transform.Apply(stream.Context(), call)
		}
		return st.sink.Write(stream.Context(), call)
	})
	stop()
	return a.finish(err)
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
	a.outcomes[row], a.answered[row] = o, true
	a.waiting = append(a.waiting, row)
	if len(a.waiting) == 1 {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

// run sends what waits, and signs of life, until stop is called.
func (a *answers) run(every time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
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
				a.send(true)
			case <-done:
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// finish gives err to the rows that have no outcome. Without an error they stay unanswered, and the engine refuses the call.
func (a *answers) finish(err error) error {
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
	return a.send(false)
}

// send sends what waits; nothing at all only as a sign of life.
func (a *answers) send(alive bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil || len(a.waiting) == 0 && !alive {
		return a.err
	}
	w := &pb.WorkResponse{}
	slices.Sort(a.waiting)
	var outputs []output
	var last *sdk.Outcome
	for _, row := range a.waiting {
		o := &a.outcomes[row]
		for k := range o.Outputs {
			outputs = append(outputs, output{row, k, &o.Outputs[k]})
		}
		if n := len(w.Outcomes); n > 0 && alike(last, o) && row == int(w.Outcomes[n-1].First+w.Outcomes[n-1].Count) {
			w.Outcomes[n-1].Count++
			continue
		}
		p := writeOutcome(o)
		p.First, p.Count = uint32(row), 1
		w.Outcomes = append(w.Outcomes, p)
		last = o
	}
	w.Outputs, w.Parent = writeOutputs(a.batch, outputs)
	a.err = a.stream.Send(w)
	for _, row := range a.waiting {
		a.outcomes[row] = sdk.Outcome{} // its records are sent: let them go
	}
	a.waiting = a.waiting[:0]
	return a.err
}
