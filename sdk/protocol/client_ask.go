package protocol

import (
	"context"
	"encoding/json"
	"math"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// KindLease is the Kind of a [Step] that is the block of a lease; its Type is that of the sink that keeps it.
const KindLease sdk.ComponentKind = "lease"

// Lease looks at a lease or writes it, as [sdk.Leaser] says. Nothing has to be open for it.
func (c *Client) Lease(ctx context.Context, s Step, ask sdk.LeaseRequest) (sdk.LeaseRow, error) {
	ctx, stop := c.limit(ctx, s.Address)
	defer stop()
	w, err := c.rpc.Lease(ctx, &pb.LeaseRequest{
		Step: &pb.Step{Address: s.Address, Kind: string(s.Kind), Type: s.Type, ArgsJson: s.Args, ConnectionJson: s.Connection},
		Name: ask.Name, Write: ask.Write, Revision: ask.Revision, Holder: ask.Holder,
	})
	switch {
	case err != nil:
		return sdk.LeaseRow{}, c.failure(ctx, s.Address, err)
	case w.GetFailure() != nil:
		return sdk.LeaseRow{}, readOutcome(w.GetFailure()).Err()
	case w.GetWritten() && (!ask.Write || w.GetRevision() == ""):
		return sdk.LeaseRow{}, c.broken(s.Address, "a lease that was written without being asked for, or without a revision")
	}
	return sdk.LeaseRow{
		Revision: w.GetRevision(), Holder: w.GetHolder(), Written: w.GetWritten(), Changed: instant(w.GetChanged()), Now: instant(w.GetNow()),
	}, nil
}

// Survey asks an open sink what its destination holds, as [sdk.Surveyor] says. It may take long: ctx alone bounds it.
func (c *Client) Survey(ctx context.Context, handle uint64, ask sdk.SurveyRequest) (sdk.Survey, error) {
	w, err := c.rpc.Survey(ctx, &pb.SurveyRequest{
		Step: handle, SampleJson: ask.Sample, Seq: ask.Seq, Statuses: ask.Statuses, AgoMs: milliseconds(ask.Ago),
	})
	switch {
	case err != nil:
		return sdk.Survey{}, c.failure(ctx, c.address(handle), err)
	case w.GetFailure() != nil:
		return sdk.Survey{}, readOutcome(w.GetFailure()).Err()
	}
	s := sdk.Survey{
		Rows: w.GetRows(), Where: w.GetWhere(), Since: instant(w.GetSince()),
		First: w.GetFirst(), Last: w.GetLast(), Old: w.GetOld(), Fresh: w.GetFresh(),
	}
	for _, x := range w.GetWaiting() {
		s.Waiting = append(s.Waiting, sdk.Waiting{
			Status: x.GetStatus(), First: x.GetFirst(), Last: x.GetLast(), Fresh: int(min(x.GetFresh(), math.MaxInt)), Old: int(min(x.GetOld(), math.MaxInt)),
		})
	}
	return s, nil
}

// PositionAfter asks an open source for the position behind a seq, as [sdk.Positioner] says.
func (c *Client) PositionAfter(ctx context.Context, handle, seq uint64) ([]byte, error) {
	ctx, stop := c.limit(ctx, c.address(handle))
	defer stop()
	w, err := c.rpc.PositionAfter(ctx, &pb.PositionRequest{Step: handle, Seq: seq})
	switch {
	case err != nil:
		return nil, c.failure(ctx, c.address(handle), err)
	case w.GetFailure() != nil:
		return nil, readOutcome(w.GetFailure()).Err()
	}
	return w.GetPosition(), nil
}

func instant(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// raw keeps an absent object absent.
func raw(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}
