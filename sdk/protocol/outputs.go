package protocol

import (
	"fmt"
	"unsafe"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// output is a record that a transform made.
type output struct {
	parent  int // row of the call
	ordinal int // among the outputs of that row
	*sdk.Record
}

// writeAnswers makes runs and columns of the outcomes of some rows of a batch, in their order.
func writeAnswers(b *Batch, rows []int, outcomes []sdk.Outcome) (runs []*pb.Outcome, outs *pb.Batch, parent []uint32) {
	outputs := make([]output, 0, len(rows))
	var last *sdk.Outcome
	for _, row := range rows {
		o := &outcomes[row]
		for k := range o.Outputs {
			outputs = append(outputs, output{row, k, &o.Outputs[k]})
		}
		if n := len(runs); n > 0 && row == int(runs[n-1].First+runs[n-1].Count) && alike(last, o) {
			runs[n-1].Count++
			continue
		}
		w := writeOutcome(o)
		w.First, w.Count = uint32(row), 1
		runs, last = append(runs, w), o
	}
	outs, parent = writeOutputs(b, outputs)
	return runs, outs, parent
}

// writeOutputs makes columns of the outputs, and leaves out those that are as in the parent rows. A body counts as unchanged when it
// is the parent's slice, which is why a transform must replace it and never write into it.
func writeOutputs(b *Batch, outputs []output) (*pb.Batch, []uint32) {
	n := len(outputs)
	if n == 0 {
		return nil, nil
	}
	for i := range outputs {
		if o := &outputs[i]; o.ID == "" { // a child without an id of its own has its place
			child := *o.Record
			child.ID = fmt.Sprintf("%s/%d", b.ID(o.parent), o.ordinal+1)
			o.Record = &child
		}
	}
	w := &pb.Batch{Rows: uint32(n)}
	parent := make([]uint32, n)
	for i := range outputs {
		parent[i] = uint32(outputs[i].parent)
	}
	text := func(kept func(row int) string, got func(r *sdk.Record) string) *pb.Text {
		for i := range outputs {
			if got(outputs[i].Record) != kept(outputs[i].parent) {
				return pack(n, func(i int) string { return got(outputs[i].Record) })
			}
		}
		return nil
	}
	w.Id = text(b.ID, func(r *sdk.Record) string { return r.ID })
	w.Key = text(b.Key, func(r *sdk.Record) string { return r.Key })
	w.Kind = text(b.Kind, func(r *sdk.Record) string { return r.Kind })
	for _, name := range outputMeta(b, outputs) {
		if t := text(func(row int) string { return b.Meta(name, row) }, func(r *sdk.Record) string { return r.Meta[name] }); t != nil {
			w.Meta = append(w.Meta, &pb.Meta{Name: name, Value: t})
		}
	}
	for i := range outputs {
		o := &outputs[i]
		if w.Body == nil && !sameSlice(o.Body, b.Body(o.parent)) {
			w.Body = pack(n, func(i int) []byte { return outputs[i].Body })
		}
		if w.Seq == nil && o.Seq != b.Seq(o.parent) {
			w.Seq = &pb.Numbers{Value: packNumbers(n, func(i int) uint64 { return outputs[i].Seq })}
		}
		if w.Time == nil && !o.Time.Equal(b.Time(o.parent)) {
			w.Time = &pb.Instants{Ns: packNumbers(n, func(i int) int64 { return nanos(outputs[i].Time) })}
		}
		if w.Files == nil && !sameFiles(o.Files, b.files.row(o.parent)) {
			w.Files = makeFiles(n, func(i int) []sdk.File { return outputs[i].Files }).wire
		}
	}
	return w, parent
}

func outputMeta(b *Batch, outputs []output) []string {
	kept := map[string]string{}
	for k := range b.meta {
		kept[b.meta[k].wire.Name] = ""
	}
	return metaNames(len(outputs)+1, func(i int) map[string]string {
		if i == len(outputs) {
			return kept
		}
		return outputs[i].Meta
	})
}

func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b) || len(a) == 0 && len(b) == 0
}

func sameFiles(files []sdk.File, kept []*pb.File) bool {
	if len(files) != len(kept) {
		return false
	}
	for i := range files {
		if files[i] != readFile(kept[i]) {
			return false
		}
	}
	return true
}
