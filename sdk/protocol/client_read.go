package protocol

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Page is what a source sends at once.
type Page struct {
	Number   uint64 // 1, 2, 3, … within one Reader
	Batch    *Batch // nil = no records
	Position []byte // behind this page; nil = unchanged
	Drained  bool   // nothing more at this moment
	Events   []sdk.Event
	Ahead    []Answer // see [Answer]: the first is for all rows of Batch
}

// Reader is a running Read. Next is for one goroutine; Credit, Ack and Close are for any.
type Reader struct {
	c      *Client
	step   string
	watch  *watch
	stream grpc.BidiStreamingClient[pb.ReadRequest, pb.ReadResponse]
	chain  int // how many transforms may answer ahead
	last   uint64

	mu sync.Mutex // one Send at a time
}

// Read starts to read a source from position (nil = from the start). Without credit it only sends pages without records. It goes on
// until ctx ends, or Close, or what Next reports. For the chain see [Work].
func (c *Client) Read(ctx context.Context, handle uint64, position []byte, chain ...uint64) (*Reader, error) {
	r := &Reader{c: c, step: c.address(handle), chain: len(chain)}
	r.watch = c.watch(ctx, r.step)
	stream, err := c.rpc.Read(r.watch.ctx, grpc.ForceCodecV2(newCodec()))
	if err != nil {
		defer r.Close()
		return nil, c.failure(r.watch.ctx, r.step, err)
	}
	r.stream = stream
	if err := r.send(&pb.ReadRequest{Do: &pb.ReadRequest_Start{Start: &pb.Start{Step: handle, Position: position, Chain: chain}}}); err != nil {
		if errors.Is(err, io.EOF) { // the reason comes with the first message
			return r, nil
		}
		r.Close()
		return nil, err
	}
	return r, nil
}

// Next waits for a page. It returns io.EOF when the source has no more for ever, and an [sdk.Error] when reading failed; then, as
// after any error, Read has to be called again.
func (r *Reader) Next() (Page, error) {
	for {
		w, err := receive(r.watch, r.stream.Recv)
		switch {
		case errors.Is(err, io.EOF):
			r.Close()
			return Page{}, io.EOF
		case err != nil:
			defer r.Close()
			return Page{}, r.c.failure(r.watch.ctx, r.step, err)
		case w.GetFailure() != nil:
			r.Close()
			return Page{}, readOutcome(w.GetFailure()).Err()
		case w.GetLost():
			r.Close()
			return Page{}, &SilentError{r.c.options.Plugin, r.step, silence}
		case w.GetNumber() == 0: // still working
			continue
		}
		p, err := r.page(w)
		if err != nil {
			r.Close()
			return Page{}, r.c.broken(r.step, err.Error())
		}
		return p, nil
	}
}

func (r *Reader) page(w *pb.ReadResponse) (Page, error) {
	p := Page{Number: w.GetNumber(), Drained: w.GetDrained(), Events: readEvents(w.GetEvents())}
	if p.Number != r.last+1 {
		return p, fmt.Errorf("page %d after page %d", p.Number, r.last)
	}
	r.last = p.Number
	if len(w.GetPosition()) > 0 {
		p.Position = w.GetPosition()
	}
	if w.GetBatch().GetRows() == 0 {
		return p, nil
	}
	b, err := readBatch(w.GetBatch())
	if err == nil {
		err = b.checkIDs()
	}
	if err != nil {
		return p, fmt.Errorf("page %d: %w", p.Number, err)
	}
	p.Batch, p.Ahead = b, readAhead(b, w.GetAhead(), r.chain)
	return p, nil
}

// Credit adds room for records, and for bytes of bodies. A page may come while both are above 0 and may take them below.
// It returns io.EOF when reading has ended; Next says why.
func (r *Reader) Credit(records int, bytes int64) error {
	return r.send(&pb.ReadRequest{Do: &pb.ReadRequest_Credit{Credit: &pb.Credit{Records: uint32(records), Bytes: uint64(bytes)}}})
}

// Ack says that every page up to number is settled. It returns io.EOF as Credit does.
func (r *Reader) Ack(number uint64) error {
	return r.send(&pb.ReadRequest{Do: &pb.ReadRequest_Ack{Ack: number}})
}

func (r *Reader) send(w *pb.ReadRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.stream.Send(w); errors.Is(err, io.EOF) {
		return io.EOF
	} else if err != nil {
		return r.c.failure(r.watch.ctx, r.step, err)
	}
	return nil
}

// Close ends reading. It does not wait for the source to notice; a later Read of the same step does.
func (r *Reader) Close() {
	r.watch.timer.Stop()
	r.watch.cancel(context.Canceled)
}
