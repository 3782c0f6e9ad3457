package protocol

import (
	"fmt"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Part names rows of a batch.
type Part struct {
	Batch *Batch
	Rows  []int32 // in this order; nil = all
}

// Gather makes one batch of the parts. A single part with all rows comes back unchanged; a single part of consecutive rows shares
// its columns; otherwise rows are copied.
func Gather(parts ...Part) *Batch {
	if len(parts) == 1 {
		p := parts[0]
		if p.Rows == nil {
			return p.Batch
		}
		return p.Batch.pick(pickRows(p.Rows, p.Batch.rows))
	}
	var from []*Batch
	var row []int
	for _, p := range parts {
		if p.Rows == nil {
			for i := range p.Batch.rows {
				from, row = append(from, p.Batch), append(row, i)
			}
		}
		for _, i := range p.Rows {
			from, row = append(from, p.Batch), append(row, int(i))
		}
	}
	n := len(row)
	text := func(of func(b *Batch) *column, asText bool) column {
		return mustRead(pack(n, func(i int) []byte { return of(from[i]).bytes(row[i]) }), n, asText)
	}
	b := &Batch{
		rows: n,
		id:   text(func(b *Batch) *column { return &b.id }, true),
		key:  text(func(b *Batch) *column { return &b.key }, true),
		kind: text(func(b *Batch) *column { return &b.kind }, true),
		body: text(func(b *Batch) *column { return &b.body }, false),
		seq:  &pb.Numbers{Value: packNumbers(n, func(i int) uint64 { return from[i].Seq(row[i]) })},
		time: &pb.Instants{Ns: packNumbers(n, func(i int) int64 { return number(from[i].time.GetNs(), row[i]) })},
	}
	names := map[string]string{}
	for _, p := range parts {
		for k := range p.Batch.meta {
			names[p.Batch.meta[k].wire.Name] = ""
		}
	}
	for _, name := range metaNames(1, func(int) map[string]string { return names }) {
		b.meta = append(b.meta, makeMeta(name, n, func(i int) string { return from[i].Meta(name, row[i]) }))
	}
	b.files = gatherFiles(n, func(i int) []*pb.File { return from[i].files.row(row[i]) })
	return b
}

func gatherFiles(n int, at func(i int) []*pb.File) fileColumn {
	w := &pb.Files{Count: packNumbers(n, func(i int) uint32 { return uint32(len(at(i))) })}
	if len(w.Count) > 0 {
		for i := range n {
			w.File = append(w.File, at(i)...)
		}
	}
	return mustReadFiles(w, n)
}

// Inherit completes the outputs of a transform: output i comes from row parent[i] of b, which gives it every column that changed
// leaves out. A nil changed leaves out all. Where parent is 0, 1, … up to the last row, columns are shared and nothing is copied.
func (b *Batch) Inherit(changed *Batch, parent []uint32) *Batch {
	if changed == nil {
		changed = &Batch{rows: len(parent)}
	}
	p := pickRows(parent, b.rows)
	if p.all && len(changed.meta) == 0 && changed.sameColumns() {
		return b
	}
	out := &Batch{
		rows: len(parent),
		id:   p.column(changed.id, b.id, true),
		key:  p.column(changed.key, b.key, true),
		kind: p.column(changed.kind, b.kind, true),
		body: p.column(changed.body, b.body, false),
		seq:  changed.seq, time: changed.time, files: changed.files,
	}
	if out.seq == nil {
		out.seq = p.seq(b)
	}
	if out.time == nil {
		out.time = p.time(b)
	}
	if out.files.wire == nil {
		out.files = p.files(b)
	}
	out.meta = p.meta(changed, b)
	return out
}

// outputs reads what was made of rows of b, and inherits the rest. Few bytes may be many outputs of one large row: more than a column holds.
func (b *Batch) outputs(w *pb.Batch, parent []uint32) (*Batch, error) {
	changed, err := readBatch(w)
	if err != nil {
		return nil, err
	}
	several := false // outputs of one row
	for i := 1; i < len(parent) && !several; i++ {
		several = parent[i] <= parent[i-1]
	}
	if several {
		kept := map[string]*column{}
		for k := range b.meta {
			kept["meta."+b.meta[k].wire.Name] = &b.meta[k].column
		}
		kept["id"], kept["key"], kept["kind"], kept["body"] = &b.id, &b.key, &b.kind, &b.body
		for name, c := range map[string]*column{"id": &changed.id, "key": &changed.key, "kind": &changed.kind, "body": &changed.body} {
			if c.present() {
				delete(kept, name)
			}
		}
		for name, c := range kept {
			size := 0
			for _, p := range parent {
				from, to := c.span(int(p))
				if size += to - from; size > maxData {
					return nil, fmt.Errorf("column %s: outputs inherit more than %d bytes", name, maxData)
				}
			}
		}
	}
	return b.Inherit(changed, parent), nil
}

func (b *Batch) sameColumns() bool {
	return !b.id.present() && !b.key.present() && !b.kind.present() && !b.body.present() && b.seq == nil && b.time == nil && b.files.wire == nil
}

func (b *Batch) pick(p picker) *Batch {
	if p.all {
		return b
	}
	none := &Batch{}
	return &Batch{
		rows: p.n,
		id:   p.column(none.id, b.id, true),
		key:  p.column(none.key, b.key, true),
		kind: p.column(none.kind, b.kind, true),
		body: p.column(none.body, b.body, false),
		seq:  p.seq(b), time: p.time(b), files: p.files(b), meta: p.meta(none, b),
	}
}

// picker chooses n rows of a batch.
type picker struct {
	n    int
	at   func(i int) int
	all  bool // the whole batch as it is
	run  bool // consecutive rows, and enough of them to share the batch's memory
	from int  // run: the first
}

func pickRows[R int32 | uint32](rows []R, of int) picker {
	// A few rows are copied: sharing would keep the memory of the whole batch for as long as they live.
	p := picker{n: len(rows), at: func(i int) int { return int(rows[i]) }, run: len(rows) > of/4}
	if p.n == 0 {
		return p
	}
	p.from = int(rows[0])
	for i, r := range rows {
		if int(r) != p.from+i {
			p.run = false
			break
		}
	}
	p.all = p.run && p.from == 0 && p.n == of
	return p
}

func (p picker) column(changed, kept column, asText bool) column {
	switch {
	case changed.present():
		return changed
	case p.all || !kept.present():
		return kept
	case p.run:
		return kept.cut(p.from, p.from+p.n, asText)
	}
	return mustRead(pack(p.n, func(i int) []byte { return kept.bytes(p.at(i)) }), p.n, asText)
}

func (p picker) seq(b *Batch) *pb.Numbers {
	if p.all {
		return b.seq
	}
	return &pb.Numbers{Value: packNumbers(p.n, func(i int) uint64 { return b.Seq(p.at(i)) })}
}

func (p picker) time(b *Batch) *pb.Instants {
	if p.all {
		return b.time
	}
	return &pb.Instants{Ns: packNumbers(p.n, func(i int) int64 { return number(b.time.GetNs(), p.at(i)) })}
}

func (p picker) files(b *Batch) fileColumn {
	if p.all {
		return b.files
	}
	return gatherFiles(p.n, func(i int) []*pb.File { return b.files.row(p.at(i)) })
}

// meta merges two lists that are sorted by name.
func (p picker) meta(changed, kept *Batch) []metaColumn {
	if len(changed.meta) == 0 && p.all {
		return kept.meta
	}
	out := make([]metaColumn, 0, len(changed.meta)+len(kept.meta))
	a, b := changed.meta, kept.meta
	for len(a) > 0 || len(b) > 0 {
		if len(b) == 0 || len(a) > 0 && byName(a[0], b[0]) <= 0 {
			if len(b) > 0 && byName(a[0], b[0]) == 0 {
				b = b[1:]
			}
			out, a = append(out, a[0]), a[1:]
			continue
		}
		m := b[0]
		b = b[1:]
		if !p.all {
			c := p.column(column{}, m.column, true)
			m = metaColumn{&pb.Meta{Name: m.wire.Name, Value: c.wire}, c}
		}
		out = append(out, m)
	}
	return out
}

// WithFiles replaces the files of the rows that are named; the other rows keep theirs.
func (b *Batch) WithFiles(files map[int][]sdk.File) *Batch {
	out := *b
	fresh := make(map[int][]*pb.File, len(files))
	for i, list := range files {
		for k := range list {
			fresh[i] = append(fresh[i], writeFile(&list[k]))
		}
	}
	out.files = gatherFiles(b.rows, func(i int) []*pb.File {
		if _, ok := files[i]; ok {
			return fresh[i]
		}
		return b.files.row(i)
	})
	return &out
}

// WithoutBytes forgets where the bytes of files lie, and their keys: for a probe, and for everything that outlives the process.
func (b *Batch) WithoutBytes() *Batch {
	files := map[int][]sdk.File{}
	for i := range b.rows {
		list := b.files.row(i)
		for _, f := range list {
			if f.Spool != "" || f.SpoolKey != "" {
				bare := b.Files(i)
				for k := range bare {
					bare[k].Spool, bare[k].SpoolKey = "", sdk.Secret{}
				}
				files[i] = bare
				break
			}
		}
	}
	if len(files) == 0 {
		return b
	}
	return b.WithFiles(files)
}
