package engine

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// What is too large becomes a dead letter, never silence. The state takes 60 MiB in one value, so a record of more than half of that could
// not be kept when it is owed: a page's such record goes on without its body and is rejected by each step that it comes to, and a row whose
// outputs have one is rejected by the transform that made them. A page that is merely large is settled in parts.
const (
	maxRecord = 32 << 20 // bytes of a body
	maxPage   = 16 << 20 // bytes of the bodies of a page that is settled at once

	codeTooLarge = "TOO_LARGE"
	shrunkMeta   = "weir_too_large" // on a record that has lost its body: how large that was
)

// shrunk is how large the body of a row was that was too large; "" = it has its body.
func shrunk(b *protocol.Batch, row int) string { return b.Meta(shrunkMeta, row) }

func tooLarge(size string) error {
	return fmt.Errorf("the record's body of %s bytes is larger than %d", size, maxRecord)
}

// shrink takes away bodies that are too large.
func shrink(b *protocol.Batch) *protocol.Batch {
	if b.BodyBytes() <= maxRecord {
		return b
	}
	var records []sdk.Record
	found := false
	for i := range b.Rows() {
		r := b.Record(i)
		if len(r.Body) > maxRecord {
			found = true
			r.SetMeta(shrunkMeta, strconv.Itoa(len(r.Body)))
			r.Body = nil
		}
		records = append(records, r)
	}
	if !found {
		return b
	}
	return protocol.FromRecords(records)
}

// portions cuts a batch into parts that can be settled by themselves; there is at least one, which may be empty.
func portions(b *protocol.Batch) []*protocol.Batch {
	if b.BodyBytes() <= maxPage {
		return []*protocol.Batch{b}
	}
	var list []*protocol.Batch
	var rows []int32
	size := 0
	for i := range b.Rows() {
		n := len(b.Body(i))
		if len(rows) > 0 && size+n > maxPage {
			list = append(list, protocol.Gather(protocol.Part{Batch: b, Rows: rows}))
			rows, size = nil, 0
		}
		rows, size = append(rows, int32(i)), size+n
	}
	return append(list, protocol.Gather(protocol.Part{Batch: b, Rows: rows}))
}

// refuseLarge rejects the rows of an answer that have an output which is too large, with all their outputs. Answers ahead are for all
// outputs, so that there are none for what is left.
func refuseLarge(a protocol.Answer) (protocol.Answer, map[int]string) {
	if a.Outputs == nil || a.Outputs.BodyBytes() <= maxRecord {
		return a, nil
	}
	large := map[int]string{} // by row of the call
	for i, p := range a.Parent {
		if n := len(a.Outputs.Body(i)); n > maxRecord {
			large[int(p)] = strconv.Itoa(n)
		}
	}
	if len(large) == 0 {
		return a, nil
	}
	var rows []int32
	var parent []uint32
	for i, p := range a.Parent {
		if _, is := large[int(p)]; !is {
			rows, parent = append(rows, int32(i)), append(parent, p)
		}
	}
	a.Outputs, a.Parent, a.Ahead = protocol.Gather(protocol.Part{Batch: a.Outputs, Rows: rows}), parent, nil
	if len(rows) == 0 {
		a.Outputs = nil
	}
	return a, large
}

// rejectLarge makes rejections of the runs of those rows.
func rejectLarge(runs []flow.Run, large map[int32]string) []flow.Run {
	var list []flow.Run
	for _, r := range runs {
		for pos := r.First; pos < r.First+r.Count; pos++ {
			size, is := large[pos]
			if k := len(list) - 1; !is && k >= 0 && list[k].First+list[k].Count == pos && list[k].Verdict == r.Verdict && pos > r.First && list[k].Code != codeTooLarge {
				list[k].Count++
				continue
			}
			one := r
			one.First, one.Count = pos, 1
			if is {
				one = flow.Run{First: pos, Count: 1, Verdict: flow.Reject, Code: codeTooLarge, Detail: tooLarge(size).Error()}
			}
			list = append(list, one)
		}
	}
	return slices.Clip(list)
}
