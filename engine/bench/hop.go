package bench

import (
	"context"
	"fmt"
)

// crossings of a record between processes: generate to the engine, to md5 and back where that is called, and to file.
const (
	crossings      = 2
	crossingsApart = 4
)

// Hop holds generate -> md5 -> file, each in a plugin process, against the plain loop and a bare socket. The process of generate applies md5,
// unless every component is apart.
type Hop struct {
	Variants []Measured `json:"variants"` // hop, hop again, hop apart, plain loop, unix socket
	// Noise is the processor time of the hop by that of the same hop, measured as if it were another, in each turn.
	Noise Spread `json:"hop_by_hop_again"`
	// ByLoop is the processor time of the hop by that of the loop, in each turn; both without start.
	ByLoop Spread `json:"hop_by_loop"`
	// Crossing is the processor time that the hop takes above that of the loop, in µs for each of a record's crossings, and Apart that of
	// the hop apart; Socket, what a crossing takes at least, by medians.
	Crossing float64 `json:"cpu_us_per_crossing"`
	Apart    float64 `json:"cpu_us_per_crossing_apart"`
	Socket   float64 `json:"cpu_us_per_crossing_of_socket"`
}

func (b *bench) hop(ctx context.Context, r *Report) error {
	records := min(max(b.Records/5, 1), 200_000)
	frames := 10 * records // a socket is so fast that a process that ends at once would be all that is seen
	s := shape{records: records, sources: 1, steps: 1}
	apart := s
	apart.apart = true
	weir := func(s shape) func(context.Context) (figures, error) {
		return func(ctx context.Context) (figures, error) { return b.weir(ctx, s) }
	}
	work := func(f func(context.Context, int) (figures, error), records int) func(context.Context) (figures, error) {
		return func(ctx context.Context) (figures, error) { return f(ctx, records) }
	}
	all, err := b.alternate(ctx, []variant{
		{fmt.Sprintf("%d records through generate, md5 and file", records), weir(s)},
		{"the same once more", weir(s)},
		{"the same work as a loop in one process", work(b.plainLoop, records)},
		{fmt.Sprintf("%d records through a socket", frames), work(b.socket, frames)},
		{"one record through generate, md5 and file", weir(s.empty())},
		{"one record through the loop", work(b.plainLoop, 1)},
		{"one record through a socket", work(b.socket, 1)},
		{fmt.Sprintf("%d records through the same, every component apart", records), weir(apart)},
		{"one record, every component apart", weir(apart.empty())},
	})
	if err != nil {
		return err
	}
	hop, loop := measured("hop", records, all[0], all[4]), measured("plain loop", records, all[2], all[5])
	socket, other := measured("unix socket", frames, all[3], all[6]), measured("hop, every component apart", records, all[7], all[8])
	h := &Hop{Variants: []Measured{hop, measured("hop again", records, all[1], all[4]), other, loop, socket}}
	beginHop, beginLoop := beginning(all[4]), beginning(all[5])
	var again, byLoop []float64
	for turn, f := range all[0] {
		cpu := micros(f.cpu) - beginHop
		again = append(again, cpu/(micros(all[1][turn].cpu)-beginHop))
		byLoop = append(byLoop, cpu/(micros(all[2][turn].cpu)-beginLoop))
	}
	itself := func(v float64) float64 { return v }
	h.Noise, h.ByLoop = spread(again, itself), spread(byLoop, itself)
	h.Crossing, h.Socket = (hop.CPU.Median-loop.CPU.Median)/crossings, socket.CPU.Median
	h.Apart = (other.CPU.Median - loop.CPU.Median) / crossingsApart
	r.Hop = h
	return nil
}
