package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// encodingVersion is the first byte of every plaintext.
const encodingVersion = 2

// writer builds the plaintext of a value behind the room that sealing needs for its nonce. Numbers are varints, byte strings carry
// their length.
type writer struct{ buf []byte }

func newWriter(size int) *writer {
	w := &writer{make([]byte, nonceSize, nonceSize+1+size+tagSize)}
	w.byte(encodingVersion)
	return w
}

func (w *writer) byte(b byte)    { w.buf = append(w.buf, b) }
func (w *writer) uint(n uint64)  { w.buf = binary.AppendUvarint(w.buf, n) }
func (w *writer) fixed(n uint64) { w.buf = binary.LittleEndian.AppendUint64(w.buf, n) }
func (w *writer) text(s string)  { w.uint(uint64(len(s))); w.buf = append(w.buf, s...) }
func (w *writer) bytes(b []byte) { w.uint(uint64(len(b))); w.buf = append(w.buf, b...) }
func (w *writer) name(n uint32)  { w.uint(uint64(n)) }

func (w *writer) fixeds(list []uint64) {
	w.uint(uint64(len(list)))
	for _, n := range list {
		w.fixed(n)
	}
}

// time is 0 for the zero time, else nanoseconds + 1 and the Unix second.
func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.uint(0)
		return
	}
	w.uint(uint64(t.Nanosecond()) + 1)
	w.buf = binary.AppendVarint(w.buf, t.Unix())
}

// bits writes ascending numbers as a bitmap.
func (w *writer) bits(rows []uint32) {
	if len(rows) == 0 {
		w.uint(0)
		return
	}
	bitmap := make([]byte, rows[len(rows)-1]/8+1)
	for _, row := range rows {
		bitmap[row/8] |= 1 << (row % 8)
	}
	w.bytes(bitmap)
}

// reader takes apart what writer built. It never panics: what does not add up sets bad, and reads zero from then on.
type reader struct {
	rest    []byte
	version byte // of the plaintext's encoding
	bad     bool
}

func (r *reader) fail() { r.bad, r.rest = true, nil }

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// int reads a number that memory will be allocated for, or that must fit an int.
func (r *reader) int() int {
	n := r.uint()
	if n > math.MaxInt32 {
		r.fail()
		return 0
	}
	return int(n)
}

// count reads how many things follow, each of at least size bytes.
func (r *reader) count(size int) int {
	n := r.int()
	if n > len(r.rest)/size {
		r.fail()
		return 0
	}
	return n
}

func (r *reader) fixed() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) fixeds() []uint64 {
	n := r.count(8)
	if n == 0 {
		return nil
	}
	list := make([]uint64, n)
	for i := range list {
		list[i] = r.fixed()
	}
	return list
}

func (r *reader) text() string { return string(r.take(r.uint())) }

// bytes returns a copy, nil when empty.
func (r *reader) bytes() []byte { return append([]byte(nil), r.take(r.uint())...) }

func (r *reader) name() uint32 {
	n := r.uint()
	if n > math.MaxUint32 {
		r.fail()
	}
	return uint32(n)
}

func (r *reader) time() time.Time {
	nanos := r.uint()
	if nanos == 0 {
		return time.Time{}
	}
	seconds, size := binary.Varint(r.rest)
	if size <= 0 || nanos > uint64(time.Second) {
		r.fail()
		return time.Time{}
	}
	r.rest = r.rest[size:]
	return time.Unix(seconds, int64(nanos-1)).UTC()
}

func (r *reader) bits() []uint32 {
	bitmap := r.take(r.uint())
	n := 0
	for _, b := range bitmap {
		for ; b != 0; b &= b - 1 {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	rows := make([]uint32, 0, n)
	for i, b := range bitmap {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				rows = append(rows, uint32(i*8+bit))
			}
		}
	}
	return rows
}

// encodeOwing writes all of an Owing but its key. Doors are written as the numbers that number gives them.
func encodeOwing(o *Owing, number func(address string) (uint32, error)) (*writer, error) {
	if len(o.IDs) > 0 && len(o.IDs) != o.Rows {
		return nil, fmt.Errorf("owing of %s: %d identities for %d rows", o.Step, len(o.IDs), o.Rows)
	}
	if len(o.Keys) > 0 && len(o.Keys) != o.Rows || len(o.Orders) > 0 && len(o.Orders) != o.Rows {
		return nil, fmt.Errorf("owing of %s: %d keys and %d places in line for %d rows", o.Step, len(o.Keys), len(o.Orders), o.Rows)
	}
	w := newWriter(24 + 8*(len(o.IDs)+len(o.Keys)+len(o.Orders)) + len(o.Groups)*(64+o.Rows/8))
	w.uint(uint64(o.Rows))
	w.fixeds(o.IDs)
	w.fixeds(o.Keys)
	w.fixeds(o.Orders)
	w.uint(uint64(len(o.Groups)))
	for i := range o.Groups {
		if err := w.group(&o.Groups[i], o.Rows, number); err != nil {
			return nil, fmt.Errorf("owing of %s: %w", o.Step, err)
		}
	}
	return w, nil
}

func (w *writer) group(g *Group, rows int, number func(string) (uint32, error)) error {
	for i, row := range g.Rows {
		if int(row) >= rows || i > 0 && row <= g.Rows[i-1] {
			return fmt.Errorf("row %d of %d is out of order", row, rows)
		}
	}
	var flags byte
	for i, set := range []bool{g.Dead, g.Revisit, g.Kept, g.Raised, g.AboutAt != ""} {
		if set {
			flags |= 1 << i
		}
	}
	w.byte(flags)
	w.bits(g.Rows)
	door, err := number(g.Door)
	if err != nil {
		return err
	}
	w.name(door)
	if g.AboutAt != "" {
		at, err := number(g.AboutAt)
		if err != nil {
			return err
		}
		w.name(at)
		w.fixed(g.About)
	}
	w.text(g.Cause)
	w.text(g.Code)
	w.text(g.Detail)
	w.time(g.Due)
	w.time(g.Deadline)
	w.time(g.Since)
	w.uint(uint64(g.Tries))
	return nil
}

// decodeOwing is the way back; a number that address does not know makes the reader bad.
func decodeOwing(r *reader, address func(uint32) (string, bool)) Owing {
	o := Owing{Rows: r.int(), IDs: r.fixeds()}
	if r.version > 1 {
		o.Keys, o.Orders = r.fixeds(), r.fixeds()
	}
	if n := r.count(10); n > 0 {
		o.Groups = make([]Group, n)
		for i := range o.Groups {
			o.Groups[i] = r.group(address)
		}
	}
	return o
}

func (r *reader) group(address func(uint32) (string, bool)) Group {
	name := func() string {
		text, ok := address(r.name())
		if !ok {
			r.fail()
		}
		return text
	}
	flags := r.byte()
	g := Group{
		Dead: flags&1 != 0, Revisit: flags&2 != 0, Kept: flags&4 != 0, Raised: flags&8 != 0,
		Rows: r.bits(), Door: name(),
	}
	if flags&16 != 0 {
		g.AboutAt, g.About = name(), r.fixed()
	}
	g.Cause, g.Code, g.Detail = r.text(), r.text(), r.text()
	g.Due, g.Deadline, g.Since = r.time(), r.time(), r.time()
	g.Tries = r.int()
	return g
}
