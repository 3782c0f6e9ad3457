package protocol

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// Batch is an ordered list of records as columns. It never changes: what looks like a change gives a new Batch that shares the
// columns which stayed. So it may be read from any goroutine and handed to any number of steps.
type Batch struct {
	rows                int
	id, key, kind, body column
	seq                 *pb.Numbers
	time                *pb.Instants
	meta                []metaColumn // by name
	files               fileColumn
}

type metaColumn struct {
	wire *pb.Meta
	column
}

type fileColumn struct {
	wire  *pb.Files
	start []uint32 // as in column; nil: no row has files
}

// maxRows bounds what a few bytes of a message can make the reader allocate.
const maxRows = 1 << 20

// readBatch takes over w. It checks every length, so that reading rows later cannot fail.
func readBatch(w *pb.Batch) (*Batch, error) {
	if w.GetRows() > maxRows {
		return nil, fmt.Errorf("%d rows, more than %d", w.GetRows(), maxRows)
	}
	b := &Batch{rows: int(w.GetRows()), seq: w.GetSeq(), time: w.GetTime()}
	for _, c := range []struct {
		name string
		to   *column
		from *pb.Text
	}{{"id", &b.id, w.GetId()}, {"key", &b.key, w.GetKey()}, {"kind", &b.kind, w.GetKind()}, {"body", &b.body, w.GetBody()}} {
		var err error
		if *c.to, err = readColumn(c.from, b.rows, c.to != &b.body); err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	if err := checkNumbers(len(b.seq.GetValue()), b.rows); err != nil {
		return nil, fmt.Errorf("column seq: %w", err)
	}
	if err := checkNumbers(len(b.time.GetNs()), b.rows); err != nil {
		return nil, fmt.Errorf("column time: %w", err)
	}
	if n := len(w.GetMeta()); n > 0 {
		b.meta = make([]metaColumn, 0, n)
	}
	for _, m := range w.GetMeta() {
		c, err := readColumn(m.GetValue(), b.rows, true)
		if err != nil {
			return nil, fmt.Errorf("column meta.%s: %w", m.GetName(), err)
		}
		b.meta = append(b.meta, metaColumn{m, c})
	}
	slices.SortFunc(b.meta, byName)
	for i := 1; i < len(b.meta); i++ {
		if b.meta[i].wire.Name == b.meta[i-1].wire.Name {
			return nil, fmt.Errorf("column meta.%s: comes twice", b.meta[i].wire.Name)
		}
	}
	var err error
	if b.files, err = readFiles(w.GetFiles(), b.rows); err != nil {
		return nil, fmt.Errorf("column files: %w", err)
	}
	return b, nil
}

func byName(a, b metaColumn) int {
	switch {
	case a.wire.Name < b.wire.Name:
		return -1
	case a.wire.Name > b.wire.Name:
		return 1
	}
	return 0
}

func readFiles(w *pb.Files, rows int) (fileColumn, error) {
	f := fileColumn{wire: w}
	if err := checkNumbers(len(w.GetCount()), rows); err != nil {
		return f, err
	}
	end := uint64(0)
	if len(w.GetCount()) > 0 {
		f.start = make([]uint32, rows+1)
		for i := range rows {
			end += uint64(number(w.Count, i))
			f.start[i+1] = uint32(end)
		}
	}
	if end != uint64(len(w.GetFile())) {
		return f, fmt.Errorf("%d files where the counts add up to %d", len(w.GetFile()), end)
	}
	for _, file := range w.GetFile() {
		if s := file.GetSpool(); s != "" && (filepath.Base(s) != s || s == "." || s == "..") { // the engine removes it by this name
			return f, errors.New("a spool name is no name of a file in the spool folder")
		}
	}
	return f, nil
}

// checkIDs is asked of every batch that a plugin makes.
func (b *Batch) checkIDs() error {
	for i := range b.rows {
		if from, to := b.id.span(i); from == to {
			return fmt.Errorf("row %d has no id", i)
		}
	}
	return nil
}

// toWire is a message for one sender: what the codec takes out of it for a moment, no other message shares.
func (b *Batch) toWire() *pb.Batch {
	w := &pb.Batch{Rows: uint32(b.rows), Id: b.id.wire, Seq: b.seq, Key: b.key.wire, Kind: b.kind.wire, Time: b.time,
		Files: b.files.wire}
	if b.body.present() {
		w.Body = &pb.Text{Data: b.body.wire.Data, Len: b.body.wire.Len}
	}
	if len(b.meta) > 0 {
		w.Meta = make([]*pb.Meta, len(b.meta))
		for i := range b.meta {
			w.Meta[i] = b.meta[i].wire
		}
	}
	return w
}

// Rows is the number of records.
func (b *Batch) Rows() int { return b.rows }

// ID of row i, cut from the column without copying.
func (b *Batch) ID(i int) string { return b.id.string(i) }

// Key of row i.
func (b *Batch) Key(i int) string { return b.key.string(i) }

// Kind of row i.
func (b *Batch) Kind(i int) string { return b.kind.string(i) }

// Seq of row i, 0 where it has none.
func (b *Batch) Seq(i int) uint64 { return number(b.seq.GetValue(), i) }

// Time of row i in UTC, zero when not known.
func (b *Batch) Time(i int) time.Time {
	ns := number(b.time.GetNs(), i)
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// Body of row i. It aliases the batch and must not be written into.
func (b *Batch) Body(i int) []byte { return b.body.bytes(i) }

// BodyBytes is the size of all bodies together.
func (b *Batch) BodyBytes() int {
	if b.body.start == nil {
		return b.body.width * b.rows
	}
	return int(b.body.start[b.rows])
}

// Meta value of row i, "" where it has none of that name.
func (b *Batch) Meta(name string, i int) string {
	if c := b.metaColumn(name); c != nil {
		return c.string(i)
	}
	return ""
}

func (b *Batch) metaColumn(name string) *metaColumn {
	for k := range b.meta {
		if b.meta[k].wire.Name == name {
			return &b.meta[k]
		}
	}
	return nil
}

// MetaNames lists the names that some row may have, sorted.
func (b *Batch) MetaNames() []string {
	names := make([]string, len(b.meta))
	for i := range b.meta {
		names[i] = b.meta[i].wire.Name
	}
	return names
}

// HasFiles reports whether any row has files.
func (b *Batch) HasFiles() bool { return len(b.files.wire.GetFile()) > 0 }

// Files of row i, a new slice; nil where it has none.
func (b *Batch) Files(i int) []sdk.File {
	list := b.files.row(i)
	if len(list) == 0 {
		return nil
	}
	files := make([]sdk.File, len(list))
	for k, f := range list {
		files[k] = readFile(f)
	}
	return files
}

func (c *fileColumn) row(i int) []*pb.File {
	if c.start == nil {
		return nil
	}
	return c.wire.File[c.start[i]:c.start[i+1]]
}

// Record is row i. Its body aliases the batch; the rest may be changed.
func (b *Batch) Record(i int) sdk.Record {
	r := sdk.Record{ID: b.ID(i), Seq: b.Seq(i), Key: b.Key(i), Kind: b.Kind(i), Time: b.Time(i), Body: b.Body(i), Files: b.Files(i)}
	for k := range b.meta {
		if v := b.meta[k].string(i); v != "" {
			if r.Meta == nil {
				r.Meta = make(map[string]string, len(b.meta))
			}
			r.Meta[b.meta[k].wire.Name] = v
		}
	}
	return r
}

// FromRecords makes a batch. Bodies are copied.
func FromRecords(records []sdk.Record) *Batch {
	n := len(records)
	b := &Batch{
		rows: n,
		id:   mustRead(pack(n, func(i int) string { return records[i].ID }), n, true),
		key:  mustRead(pack(n, func(i int) string { return records[i].Key }), n, true),
		kind: mustRead(pack(n, func(i int) string { return records[i].Kind }), n, true),
		body: mustRead(pack(n, func(i int) []byte { return records[i].Body }), n, false),
		seq:  &pb.Numbers{Value: packNumbers(n, func(i int) uint64 { return records[i].Seq })},
		time: &pb.Instants{Ns: packNumbers(n, func(i int) int64 { return nanos(records[i].Time) })},
	}
	for _, name := range metaNames(n, func(i int) map[string]string { return records[i].Meta }) {
		b.meta = append(b.meta, makeMeta(name, n, func(i int) string { return records[i].Meta[name] }))
	}
	b.files = makeFiles(n, func(i int) []sdk.File { return records[i].Files })
	return b
}

// nanos is 0 for the zero time and for what 64 bits cannot hold: before 1678 and after 2262.
func nanos(t time.Time) int64 {
	if t.IsZero() || t.Before(time.Unix(0, math.MinInt64)) || t.After(time.Unix(0, math.MaxInt64)) {
		return 0
	}
	return t.UnixNano()
}

func metaNames(n int, at func(i int) map[string]string) []string {
	var names []string
	for i := range n {
		for name := range at(i) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func makeMeta(name string, n int, at func(i int) string) metaColumn {
	t := pack(n, at)
	return metaColumn{&pb.Meta{Name: name, Value: t}, mustRead(t, n, true)}
}

func makeFiles(n int, at func(i int) []sdk.File) fileColumn {
	w := &pb.Files{Count: packNumbers(n, func(i int) uint32 { return uint32(len(at(i))) })}
	for i := range n {
		files := at(i)
		for k := range files {
			w.File = append(w.File, writeFile(&files[k]))
		}
	}
	return mustReadFiles(w, n)
}

func mustReadFiles(w *pb.Files, rows int) fileColumn {
	f, err := readFiles(w, rows)
	if err != nil {
		panic("protocol: " + err.Error())
	}
	return f
}

func readFile(f *pb.File) sdk.File {
	return sdk.File{
		Index: int(f.GetIndex()), Name: string(f.GetName()), MediaType: string(f.GetMediaType()),
		Size: f.GetSize(), SizeClaimed: f.GetSizeClaimed(),
		MD5: f.GetMd5(), MD5Claimed: f.GetMd5Claimed(), SHA256: f.GetSha256(),
		Outcome: sdk.FileOutcome(f.GetOutcome()), Ref: sdk.NewSecret(string(f.GetRef())),
		Spool: f.GetSpool(), SpoolKey: sdk.NewSecret(f.GetSpoolKey()),
	}
}

func writeFile(f *sdk.File) *pb.File {
	return &pb.File{
		Index: uint32(f.Index), Name: []byte(f.Name), MediaType: []byte(f.MediaType),
		Size: f.Size, SizeClaimed: f.SizeClaimed,
		Md5: f.MD5, Md5Claimed: utf8(f.MD5Claimed), Sha256: f.SHA256,
		Outcome: string(f.Outcome), Ref: []byte(f.Ref.Reveal()),
		Spool: f.Spool, SpoolKey: f.SpoolKey.Reveal(),
	}
}

// Marshal writes the batch as a protobuf message, for the state. Keys of spool files are part of it: see [Batch.WithoutBytes].
func (b *Batch) Marshal() ([]byte, error) { return proto.Marshal(b.toWire()) }

// Unmarshal reads what Marshal wrote.
func Unmarshal(data []byte) (*Batch, error) { return JoinBody(data, nil) }

// SplitBody is Marshal with the bytes of the bodies apart, so that ciphertext can be stored as it is and the rest sealed.
// body aliases the batch.
func (b *Batch) SplitBody() (rest, body []byte, err error) {
	w := b.toWire()
	if b.body.present() {
		body, w.Body.Data = w.Body.Data, nil
	}
	rest, err = proto.Marshal(w)
	return rest, body, err
}

// JoinBody undoes SplitBody; the batch aliases body.
func JoinBody(rest, body []byte) (*Batch, error) {
	w := &pb.Batch{}
	if err := proto.Unmarshal(rest, w); err != nil {
		return nil, err
	}
	if len(body) > 0 {
		if w.Body == nil || len(w.Body.Data) > 0 {
			return nil, errors.New("column body: not expected apart")
		}
		w.Body.Data = body
	}
	return readBatch(w)
}
