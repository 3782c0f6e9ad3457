package finance

import (
	"bytes"
	"encoding/binary"
	"strconv"
)

// WeCom writes pages in one way only: flat rows of numbers and of texts without escapes. quick reads those in one pass, without encoding/json,
// which goes over each byte of a page four times. At anything else, be it right or wrong, it gives up, and encoding/json is asked.
type quick struct {
	text []byte
	at   int
	odd  bool // it gave up
}

// ReadRow reads one element of chatdata in the quick way, a version only if it has one. ok is false where it is not as WeCom writes it:
// that says nothing about what it is.
func ReadRow(element []byte) (row Row, version, ok bool) {
	q := quick{text: element}
	row, members := q.row()
	return row, members&hasVersion != 0, q.end()
}

// The members of a row.
const (
	hasSeq = 1 << iota
	hasMsgID
	hasVersion
	hasKey
	hasMessage
)

func (q *quick) row() (row Row, members int) {
	q.skip('{')
	from := q.at - 1
	for {
		has := 0
		switch string(q.name()) {
		case "seq":
			row.Seq, has = q.number(), hasSeq
		case "msgid":
			row.MsgID, has = string(q.string()), hasMsgID
		case "publickey_ver":
			row.KeyVersion, has = int(q.number()), hasVersion
		case "encrypt_random_key":
			row.RandomKey, has = string(q.string()), hasKey
		case "encrypt_chat_msg":
			row.Message, has = string(q.string()), hasMessage
		}
		if has == 0 || members&has != 0 { // unknown, spelled otherwise, or twice
			q.odd = true
		}
		members |= has
		if !q.more('}') {
			break
		}
	}
	if q.odd {
		return Row{}, 0
	}
	row.Raw = q.text[from:q.at:q.at]
	return row, members
}

// page reads a whole page that says errcode 0.
func (q *quick) page() (rows []Row) {
	q.skip('{')
	var code, text, data bool
	for {
		switch name := string(q.name()); {
		case name == "errcode" && !code:
			code = q.number() == 0
		case name == "errmsg" && !text:
			q.string()
			text = true
		case name == "chatdata" && !data:
			rows, data = q.rows(), true
		default:
			q.odd = true
		}
		if !q.more('}') {
			break
		}
	}
	q.odd = q.odd || !code || !data
	return rows
}

func (q *quick) rows() []Row {
	rows := []Row{}
	q.skip('[')
	if q.peek() == ']' {
		q.at++
		return rows
	}
	for {
		row, members := q.row()
		if row.MsgID == "" || members&hasSeq == 0 {
			q.odd = true
		}
		rows = append(rows, row)
		if !q.more(']') {
			return rows
		}
	}
}

// peek is the next byte that is no white space, 0 where there is none.
func (q *quick) peek() byte {
	for !q.odd && q.at < len(q.text) {
		switch c := q.text[q.at]; c {
		case ' ', '\t', '\r', '\n':
			q.at++
		default:
			return c
		}
	}
	return 0
}

// skip goes past c, which has to come.
func (q *quick) skip(c byte) {
	if q.peek() != c {
		q.odd = true
		return
	}
	q.at++
}

// more goes past a comma, or past the end of a list or an object.
func (q *quick) more(end byte) bool {
	c := q.peek()
	if c != ',' && c != end {
		q.odd = true
		return false
	}
	q.at++
	return c == ','
}

// end reports whether all was read and nothing was odd.
func (q *quick) end() bool {
	return q.peek() == 0 && !q.odd && q.at == len(q.text)
}

func (q *quick) name() []byte {
	name := q.string()
	q.skip(':')
	return name
}

// string is a text that says what it looks like: ASCII, without escapes.
func (q *quick) string() []byte {
	q.skip('"')
	if q.odd {
		return nil
	}
	n := bytes.IndexByte(q.text[q.at:], '"')
	if n < 0 || !plainText(q.text[q.at:q.at+n]) {
		q.odd = true
		return nil
	}
	text := q.text[q.at : q.at+n]
	q.at += n + 1
	return text
}

// number is one of at most 18 digits, which fits everywhere.
func (q *quick) number() uint64 {
	first, from := q.peek(), q.at
	for q.at < len(q.text) && q.text[q.at] >= '0' && q.text[q.at] <= '9' {
		q.at++
	}
	digits := q.text[from:q.at]
	if q.odd || len(digits) == 0 || len(digits) > 18 || first == '0' && len(digits) > 1 {
		q.odd = true
		return 0
	}
	n, _ := strconv.ParseUint(string(digits), 10, 64)
	return n
}

// plainText reports whether b holds neither control characters, escapes nor anything but ASCII.
func plainText(b []byte) bool {
	const high, ones = 0x8080808080808080, 0x0101010101010101
	for ; len(b) >= 8; b = b[8:] {
		w := binary.LittleEndian.Uint64(b)
		escape := w ^ '\\'*ones
		if (w|(w-' '*ones)|(escape-ones)&^escape)&high != 0 { // a byte above 0x7f, one below a space, a backslash; all but exact
			return plainBytes(b)
		}
	}
	return plainBytes(b)
}

func plainBytes(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c == '\\' || c >= 0x80 {
			return false
		}
	}
	return true
}
