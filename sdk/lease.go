package sdk

import (
	"context"
	"time"
)

// Leaser is a sink whose destination can keep a lease: one row, that says which engine may write there. Its component declares in Lease
// the arguments of a block lease "TYPE". Optional: implement it beside [Sink].
//
// Lease is called on a value of its own that NewSink made and nobody opened. Env holds the arguments of the block and of its connection.
// Nothing is remembered between two calls, also because the process may be another one. Calls are rare (one in a few minutes) and come
// one at a time.
//
// The whole worth of a lease is in Write: of two engines that write at the same moment, from what they both read before, exactly one
// may have Written. The destination has to decide that, by a revision or an entity tag that the write names and by a unique key where
// there is no row yet; to look first and write then is not enough. Who lost is no error: the answer is the row as it stands. An error
// means that it is not known what happened; the engine looks again, and finds its own write by what is in Holder.
type Leaser interface {
	Lease(ctx context.Context, env *Env, ask LeaseRequest) (LeaseRow, error)
}

// LeaseRequest looks at a lease, and may write it.
type LeaseRequest struct {
	Name     string // which lease; at most 64 characters
	Write    bool   // else only look
	Revision string // of the row that Write may replace; "" = only if there is no row
	Holder   string // what Write puts into the row: JSON of the engine, at most 4 KiB, readable by people, never a secret
}

// LeaseRow is a lease as it stands after the call.
type LeaseRow struct {
	Revision string // another after every write; "" = there is no row
	Holder   string
	Written  bool // by this call

	// Changed is when the row was written last, by the destination's own clock; where that clock is coarse, the latest instant that it
	// can have been. Now is that clock at this call. Zero = the destination does not say: then the engine judges by having watched the
	// row for as long as it is held. Never the time of this machine: those of two machines differ.
	Changed, Now time.Time
}
