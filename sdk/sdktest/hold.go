package sdktest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// taken is what a sink holds, in the order in which this side heard of it.
type taken struct {
	mu   sync.Mutex
	list []sdk.Record
}

func (b *bench) hold(list []sdk.Record, r result) {
	b.taken.mu.Lock()
	defer b.taken.mu.Unlock()
	for i, o := range r.outcomes {
		if o.Verdict == sdk.VerdictHeld {
			b.taken.list = append(b.taken.list, list[i])
		}
	}
}

// flush has everything answered that is held; all of it must be accepted.
func (b *bench) flush() error {
	b.taken.mu.Lock()
	list := b.taken.list
	b.taken.list = nil
	b.taken.mu.Unlock()
	if len(list) == 0 {
		return nil
	}
	ctx, cancel := b.soon()
	defer cancel()
	r := result{outcomes: make([]sdk.Outcome, len(list))}
	work := protocol.Work{Batch: protocol.FromRecords(list), Now: b.Clock.Now(), Flush: true}
	err := b.client.Work(ctx, b.step, work, func(a protocol.Answer) error {
		for _, run := range a.Runs {
			receipt, err := protocol.ParseReceipt(run.Receipt)
			if err != nil {
				return err
			}
			for i := run.First; i < run.First+run.Count; i++ {
				r.outcomes[i] = run.Outcome
				r.outcomes[i].Receipt = receipt
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("flush: %w", b.clean(err))
	}
	if err := b.inspect(list, r); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return accepted(list, r)
}

// accepted reports a row that was refused or put off.
func accepted(list []sdk.Record, r result) error {
	for i, o := range r.outcomes {
		if o.Verdict != sdk.VerdictDone && o.Verdict != sdk.VerdictPassed && o.Verdict != sdk.VerdictHeld {
			return fmt.Errorf("row %d (%s) was not accepted: %s %s", i, list[i].ID, o.Code, o.Detail)
		}
	}
	return nil
}

// packed sends all records in two calls, and has them flushed together.
func packed(b *bench) error {
	if len(b.Records) == 0 {
		return errors.New("the case has no records")
	}
	half := len(b.Records) / 2
	for _, list := range [][]sdk.Record{b.Records[:half], b.Records[half:]} {
		if len(list) == 0 {
			continue
		}
		if _, err := b.pass(list); err != nil {
			return err
		}
	}
	return b.flush()
}

// packedAgain sends the same company twice.
func packedAgain(b *bench) error {
	if err := packed(b); err != nil {
		return err
	}
	if err := packed(b); err != nil {
		return fmt.Errorf("second time: %w", err)
	}
	return nil
}

func packedAtOnce(b *bench) error {
	if err := atOnce(b); err != nil {
		return err
	}
	return b.flush()
}

func packedFinal(b *bench) error {
	if err := final(b); err != nil {
		return err
	}
	return b.flush()
}

// unseen leaves other records held: the destination must not show anything of them, neither while they are held nor when the step has been
// closed over them, nor when it is opened again and flushes others.
func unseen(b *bench) error {
	if err := packed(b); err != nil {
		return err
	}
	if _, err := b.pass(others(b.Records, "-held")); err != nil {
		return err
	}
	if b.Check != nil {
		b.Check(b.t)
	}
	ctx, cancel := b.soon()
	defer cancel()
	if err := b.client.Close(ctx, b.step); err != nil {
		return fmt.Errorf("close over held rows: %w", b.clean(err))
	}
	b.taken.list = nil
	if b.Check != nil {
		b.Check(b.t)
	}
	if err := b.again(); err != nil {
		return fmt.Errorf("open again: %w", b.clean(err))
	}
	return packed(b)
}

// others are the same records under other ids.
func others(list []sdk.Record, suffix string) []sdk.Record {
	list = slices.Clone(list)
	for i := range list {
		list[i].ID += suffix
	}
	return list
}

// oneByOne sends each record in a call of its own, once.
func oneByOne(b *bench) error {
	if len(b.Records) == 0 {
		return errors.New("the case has no records")
	}
	for _, r := range b.Records {
		if _, err := b.pass([]sdk.Record{r}); err != nil {
			return err
		}
	}
	return nil
}

func finalOne(b *bench) error {
	b.Records = others(b.Records[:min(len(b.Records), 1)], "-final")
	return final(b)
}

// cancelledOne gives up on a call with one row at once.
func cancelledOne(b *bench) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	time.AfterFunc(time.Millisecond, cancel)
	_, err := b.call(ctx, others(b.Records[:min(len(b.Records), 1)], "-cancelled"), false)
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
