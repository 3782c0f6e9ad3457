package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// result is what one call gave.
type result struct {
	outcomes []sdk.Outcome
	outputs  []sdk.Record
	parents  []uint32
}

// call sends records and collects the answers; that each row is answered exactly once is checked by the wire.
func (b *bench) call(ctx context.Context, list []sdk.Record, finally bool) (result, error) {
	r := result{outcomes: make([]sdk.Outcome, len(list))}
	list, err := b.spooled(list)
	if err != nil {
		return r, err
	}
	work := protocol.Work{Batch: protocol.FromRecords(list), Now: b.Clock.Now()}
	for i, rec := range list {
		if b.RecordArgs != nil {
			args, err := json.Marshal(b.RecordArgs(rec))
			if err != nil {
				return r, err
			}
			work.Args = append(work.Args, args)
		}
		if finally {
			work.Final = append(work.Final, uint32(i))
			work.Attempts = append(work.Attempts, 1)
		}
	}
	err = b.client.Work(ctx, b.step, work, func(a protocol.Answer) error {
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
		if a.Outputs != nil {
			for i := range a.Outputs.Rows() {
				r.outputs = append(r.outputs, a.Outputs.Record(i))
			}
			r.parents = append(r.parents, a.Parent...)
		}
		return nil
	})
	if err != nil {
		return r, b.clean(err)
	}
	b.hold(list, r)
	return r, b.inspect(list, r)
}

// spooled gives records their bytes.
func (b *bench) spooled(list []sdk.Record) ([]sdk.Record, error) {
	list = slices.Clone(list)
	spool := sdk.OpenSpool(b.spool)
	for i := range list {
		list[i].Files = slices.Clone(list[i].Files)
		for k := range list[i].Files {
			f := &list[i].Files[k]
			content, ok := b.Bytes[f.Name]
			if !ok {
				continue
			}
			w, err := spool.Create(f)
			if err != nil {
				return nil, err
			}
			if _, err := w.Write(content); err != nil {
				return nil, err
			}
			if err := w.Commit(); err != nil {
				return nil, err
			}
		}
	}
	return list, nil
}

// inspect checks what holds for every call.
func (b *bench) inspect(list []sdk.Record, r result) error {
	c := b.component
	for i, o := range r.outcomes {
		text := fmt.Sprintf("%s %s %s %+v", o.Code, o.Detail, o.Cause, o.Events)
		if o.Receipt != nil {
			text += fmt.Sprintf("%+v", *o.Receipt)
		}
		for k := range list[i].Files {
			if f := &list[i].Files[k]; o.Receipt != nil && !f.Ref.IsZero() && slices.Contains(o.Receipt.URLs, f.Ref.Reveal()) {
				return fmt.Errorf("row %d: the receipt holds a vendor reference, which is a secret", i)
			}
		}
		if err := b.telltale(fmt.Sprintf("the outcome of row %d", i), text); err != nil {
			return err
		}
		switch {
		case o.Receipt != nil && c.Kind != sdk.KindSink:
			return fmt.Errorf("row %d: only sinks give receipts", i)
		case o.Verdict == sdk.VerdictPassed && c.Kind != sdk.KindSink:
			return fmt.Errorf("row %d: only sinks pass by", i)
		case (o.Verdict == sdk.VerdictRetry || o.Verdict == sdk.VerdictReject) && o.Code == "":
			return fmt.Errorf("row %d: a refusal without a code", i)
		case o.Verdict == sdk.VerdictHeld && (o.Receipt != nil || len(o.Events) > 0):
			return fmt.Errorf("row %d: what is held has no receipt and no events yet", i)
		case o.Revisit && o.Verdict != sdk.VerdictDone:
			return fmt.Errorf("row %d: only what is done can be revisited", i)
		case o.Revisit && o.Due.IsZero():
			return fmt.Errorf("row %d: a revisit without a deadline would go on for ever", i)
		}
		if o.Receipt != nil {
			for name := range o.Receipt.Fields {
				if !slices.ContainsFunc(c.Receipt, func(f sdk.Field) bool { return f.Name == name }) {
					return fmt.Errorf("row %d: receipt field %q is not declared", i, name)
				}
			}
		}
	}
	if c.Kind == sdk.KindSink && len(r.outputs) > 0 {
		return errors.New("a sink gave outputs")
	}
	for i, out := range r.outputs {
		in := list[r.parents[i]].Kind
		if len(c.Emits) > 0 && !slices.Contains(c.Emits, out.Kind) || len(c.Emits) == 0 && out.Kind != in {
			return fmt.Errorf("row %d: kind %q came out, which is not declared in Emits", r.parents[i], out.Kind)
		}
	}
	return nil
}

// pass is a call whose rows must all be accepted.
func (b *bench) pass(list []sdk.Record) (result, error) {
	ctx, cancel := b.soon()
	defer cancel()
	r, err := b.call(ctx, list, false)
	if err != nil {
		return r, err
	}
	return r, accepted(list, r)
}

func answered(b *bench) error {
	if len(b.Records) == 0 {
		return errors.New("the case has no records")
	}
	_, err := b.pass(b.Records)
	return err
}

// again sends the same records twice: as a whole, and then row by row from the last to the first.
func again(b *bench) error {
	first, err := b.pass(b.Records)
	if err != nil {
		return err
	}
	second, err := b.pass(b.Records)
	if err != nil {
		return fmt.Errorf("second time: %w", err)
	}
	if b.Kind == sdk.KindTransform {
		if got, want := ids(second), ids(first); !slices.Equal(got, want) {
			return fmt.Errorf("a second time the outputs are %q, the first time %q: ids must repeat", got, want)
		}
	}
	for _, r := range slices.Backward(b.Records) {
		if _, err := b.pass([]sdk.Record{r}); err != nil {
			return fmt.Errorf("third time: %w", err)
		}
	}
	return nil
}

func ids(r result) []string {
	var list []string
	for i := range r.outputs {
		list = append(list, fmt.Sprintf("%d:%s", r.parents[i], r.outputs[i].ID))
	}
	slices.Sort(list)
	return list
}

// atOnce makes as many calls at the same time as the component declares.
func atOnce(b *bench) error {
	n := b.component.MaxInFlight
	if n == 0 {
		n = 2
	}
	errs := make([]error, n)
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() { _, errs[i] = b.pass(share(b.Records, i, n)) })
	}
	calls.Wait()
	return errors.Join(errs...)
}

// share is every n-th record from i on: the engine never has one record under way twice.
func share(list []sdk.Record, i, n int) []sdk.Record {
	var part []sdk.Record
	for ; i < len(list); i += n {
		part = append(part, list[i])
	}
	return part
}

func final(b *bench) error {
	ctx, cancel := b.soon()
	defer cancel()
	r, err := b.call(ctx, b.Records, true)
	if err != nil {
		return err
	}
	for i, o := range r.outcomes {
		if o.Revisit || o.Verdict == sdk.VerdictRetry && !o.Down {
			return fmt.Errorf("row %d (%s): after the deadline it is put off again: %s", i, b.Records[i].ID, o.Code)
		}
	}
	return nil
}

// big sends one body of 8 MiB, twice what gRPC allows by default. Any answer will do.
func big(b *bench) error {
	if len(b.Records) == 0 {
		return nil
	}
	r := b.Records[0]
	r.ID += "-big"
	text, err := json.Marshal(map[string]string{"text": string(make([]byte, 8<<20/6))})
	if err != nil {
		return err
	}
	r.Body, r.Files = text, nil
	ctx, cancel := b.soon()
	defer cancel()
	_, err = b.call(ctx, []sdk.Record{r}, false)
	return err
}

// cancelled gives up on a call at once. Closing the step, at the end of the test, waits until it has really ended.
func cancelled(b *bench) error {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(time.Millisecond, cancel)
	_, err := b.call(ctx, b.Records, false)
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
