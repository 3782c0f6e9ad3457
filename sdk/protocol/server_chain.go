package protocol

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// canChain is what a description says of a process that applies transforms ahead of their call.
const canChain = "chain"

// maxAhead is how many bytes of bodies a message may hold together with answers ahead. What the rows alone leave room for in a message, they
// and all that is made of them may not.
const maxAhead = 64 << 20

// errLost says that a component shows no progress. Its call, and what it was to be part of, cannot go on.
var errLost = errors.New("the component hangs")

// chain is the open transforms that are applied to what a step has made before it is sent: rows that go on to a transform in the same
// process need not come back for it.
type chain []*step

// chain finds the steps and counts a call of each; end them with done.
func (s *server) chain(handles []uint64) (chain, error) {
	var c chain
	for _, h := range handles {
		st, err := s.begin(h)
		if err != nil {
			c.done()
			return nil, err
		}
		if c = append(c, st); st.transform == nil {
			c.done()
			return nil, status.Errorf(codes.InvalidArgument, "step %d in a chain is no transform", h)
		}
	}
	return c, nil
}

func (c chain) done() {
	for _, st := range c {
		st.calls.Done()
	}
}

// apply gives a batch to the first transform, and to each that follows what the one before it has made of it. It ends early where nothing
// is left, before a transform without a whole answer, which panicked or forgot a row, and before an answer that makes the message too large:
// the engine is to call that one, with the rows, and to find out. Signs of life go to alive. It returns errLost when a component hangs.
func (c chain) apply(ctx context.Context, b *Batch, now time.Time, every time.Duration, alive func()) ([]*pb.Stage, error) {
	var stages []*pb.Stage
	size := b.BodyBytes()
	for _, st := range c {
		if b == nil || size > maxAhead {
			break
		}
		stage, made, err := st.stage(ctx, b, now, every, alive)
		if size += len(stage.GetOutputs().GetBody().GetData()); stage == nil || err != nil || size > maxAhead {
			return stages, err
		}
		stages, b = append(stages, stage), made
	}
	return stages, nil
}

// stage is the answer of one transform for a whole batch, nil = it has none, and what goes on, nil = nothing.
func (st *step) stage(ctx context.Context, b *Batch, now time.Time, every time.Duration, alive func()) (*pb.Stage, *Batch, error) {
	l := &life{batch: b}
	defer st.lives.begin(l)()
	outcomes, answered := make([]sdk.Outcome, b.Rows()), make([]bool, b.Rows())
	var mu sync.Mutex
	left, closed := b.Rows(), false
	rows, all := make([]sdk.Row, b.Rows()), make([]int, b.Rows())
	for i := range rows {
		rows[i].Record, all[i] = b.Record(i), i
	}
	call := sdk.NewCall(rows, now, false, func(row int, o sdk.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		if !closed {
			l.Moved()
			outcomes[row], answered[row] = o, true
			left--
		}
	})
	err := st.watched(l, every, alive, func() error { return st.transform.Apply(sdk.WithLife(ctx, l), call) })
	mu.Lock()
	defer mu.Unlock()
	closed = true
	var p *panicked
	switch {
	case err == errLost:
		return nil, nil, err
	case errors.As(err, &p), err == nil && left > 0:
		return nil, nil, nil
	case err != nil:
		for i, ok := range answered {
			if !ok {
				outcomes[i] = sdk.OutcomeOf(err)
			}
		}
	}
	stage, made := &pb.Stage{}, (*Batch)(nil)
	err = st.guard("answers", func() error {
		stage.Outcomes, stage.Outputs, stage.Parent = writeAnswers(b, all, outcomes)
		if len(stage.Parent) == 0 {
			return nil
		}
		var err error
		made, err = b.outputs(stage.Outputs, stage.Parent)
		return err
	})
	if err != nil {
		return nil, nil, nil
	}
	return stage, made, nil
}

// watched runs a part of a component until it returns or hangs.
func (st *step) watched(l *life, every time.Duration, alive func(), f func() error) error {
	every = min(every, max(st.silence/4, time.Millisecond))
	ticks := int((st.silence + every - 1) / every)
	done := make(chan error, 1)
	go func() { done <- st.guard("work", f) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if l.lost(ticks) {
				st.log.Error("component hangs", "limit", st.silence, "stacks", stacks())
				return errLost
			}
			alive()
		}
	}
}
