package protocol

import (
	"fmt"

	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// column is one field of all rows. The zero column is absent: every row is empty, or inherited.
type column struct {
	wire  *pb.Text
	text  string   // the data once more, for fields that are read as strings: rows are cut from it without copying
	start []uint32 // where each row begins and the last one ends; nil when all rows have one length
	width int      // start == nil: row i has width bytes at i*step; step 0: all rows share one value
	step  int
}

// maxData bounds the bytes of all rows of a column together.
const maxData = 1<<31 - 1

// readColumn checks the lengths of t against rows, so that nothing behind it can go out of range.
func readColumn(t *pb.Text, rows int, asText bool) (column, error) {
	c := column{wire: t}
	if t == nil {
		return c, nil
	}
	size := len(t.Data)
	switch n := len(t.Len); {
	case n == 0:
		if size != 0 {
			return c, fmt.Errorf("%d bytes without lengths", size)
		}
	case n == 1:
		c.width = int(t.Len[0])
		switch size {
		case c.width: // also the case of a single row
		case c.width * rows:
			c.step = c.width
		default:
			return c, fmt.Errorf("%d bytes for %d rows of %d", size, rows, c.width)
		}
		if c.width*rows > maxData { // a few bytes may stand for as much as they like, until somebody gathers the rows
			return c, fmt.Errorf("%d rows of %d bytes are more than %d", rows, c.width, maxData)
		}
	case n == rows:
		c.start = make([]uint32, rows+1)
		end := uint64(0)
		for i, l := range t.Len {
			end += uint64(l)
			c.start[i+1] = uint32(end)
		}
		if end != uint64(size) || end > maxData {
			return c, fmt.Errorf("%d bytes where the lengths add up to %d", size, end)
		}
	default:
		return c, fmt.Errorf("%d lengths for %d rows", n, rows)
	}
	if asText {
		c.text = string(t.Data)
	}
	return c, nil
}

func (c *column) span(i int) (from, to int) {
	if c.start != nil {
		return int(c.start[i]), int(c.start[i+1])
	}
	from = i * c.step
	return from, from + c.width
}

// string needs a column that was read as text.
func (c *column) string(i int) string {
	from, to := c.span(i)
	return c.text[from:to]
}

// bytes aliases the message. Its capacity ends with the row, so that an append cannot reach the next one.
func (c *column) bytes(i int) []byte {
	if c.wire == nil {
		return nil
	}
	from, to := c.span(i)
	return c.wire.Data[from:to:to]
}

func (c *column) present() bool { return c.wire != nil }

// cut is the column of rows from to to, without copying.
func (c *column) cut(from, to int, asText bool) column {
	if c.wire == nil || (c.start == nil && c.step == 0) {
		return *c
	}
	begin, _ := c.span(from)
	_, end := c.span(to - 1)
	t := &pb.Text{Data: c.wire.Data[begin:end:end], Len: c.wire.Len}
	if c.start != nil {
		t.Len = c.wire.Len[from:to]
	}
	return mustRead(t, to-from, asText)
}

// mustRead is readColumn for columns that were made here.
func mustRead(t *pb.Text, rows int, asText bool) column {
	c, err := readColumn(t, rows, asText)
	if err != nil {
		panic("protocol: " + err.Error())
	}
	return c
}

// pack makes a column of n rows, in its shortest form.
func pack[T string | []byte](n int, at func(i int) T) *pb.Text {
	if n == 0 {
		return &pb.Text{}
	}
	first, size := at(0), 0
	even, same := true, true
	for i := range n {
		v := at(i)
		size += len(v)
		even = even && len(v) == len(first)
		same = same && even && string(v) == string(first)
	}
	switch {
	case size == 0:
		return &pb.Text{}
	case same:
		return &pb.Text{Data: []byte(first), Len: []uint32{uint32(len(first))}}
	}
	t := &pb.Text{Data: make([]byte, 0, size)}
	if even {
		t.Len = []uint32{uint32(len(first))}
	} else {
		t.Len = make([]uint32, n)
	}
	for i := range n {
		v := at(i)
		t.Data = append(t.Data, v...)
		if !even {
			t.Len[i] = uint32(len(v))
		}
	}
	return t
}

// number reads a column of numbers: none = all 0, one = the same for all.
func number[T int64 | uint64 | uint32](v []T, i int) T {
	switch len(v) {
	case 0:
		return 0
	case 1:
		return v[0]
	}
	return v[i]
}

func checkNumbers(n, rows int) error {
	if n > 1 && n != rows {
		return fmt.Errorf("%d values for %d rows", n, rows)
	}
	return nil
}

func packNumbers[T int64 | uint64 | uint32](n int, at func(i int) T) []T {
	if n == 0 {
		return nil
	}
	first, same := at(0), true
	for i := range n {
		same = same && at(i) == first
	}
	switch {
	case same && first == 0:
		return nil
	case same:
		return []T{first}
	}
	v := make([]T, n)
	for i := range v {
		v[i] = at(i)
	}
	return v
}
