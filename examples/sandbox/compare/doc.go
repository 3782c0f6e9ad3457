// Package compare reads an archive back over the services' public protocols and holds it against the truth. It shares no code
// with weir: it has its own readers for kintone, OSS and S3, and the only thing it believes is the truth file.
//
// Everything counts: rows and files that are missing, that nobody sent, that are there twice, and every field that differs.
package compare

import (
	"cmp"
	"fmt"
	"slices"
)

// An Archive is what was read back.
type Archive struct {
	Raw     []Row
	Log     []Row
	Objects []Object
}

// A Row is a kintone record: its text values by field code, and its files.
type Row struct {
	Number string // kintone's own
	Values map[string]string
	Files  map[string][]Attachment // by field code
}

// An Attachment is a file in a row, with the sums of its bytes.
type Attachment struct {
	Name   string
	Size   int64
	SHA256 string
}

// An Object is one object of a store. Sums are empty where the store does not tell them.
type Object struct {
	Key    string
	Size   int64
	CRC64  string // decimal, as OSS computes it from what it holds
	SHA256 string // computed from the bytes, where they were read
	Noted  string // x-oss-meta-sha256 or x-amz-meta-sha256: what the writer recorded
}

// A Difference is one thing that is not as it should be.
type Difference struct {
	Place string `json:"place"` // "raw", "log", "kintone file" or "object"
	Kind  Kind   `json:"kind"`
	Seq   uint64 `json:"seq,omitempty"`
	ID    string `json:"id"` // msgid or object key
	Field string `json:"field,omitempty"`
	Got   string `json:"got,omitempty"`
	Want  string `json:"want,omitempty"`
}

// Kind is what is wrong.
type Kind string

// The kinds of differences.
const (
	Missing Kind = "missing"
	Extra   Kind = "extra"
	Twice   Kind = "twice"
	Altered Kind = "altered"
)

func (d Difference) String() string {
	s := fmt.Sprintf("%-8s %s", d.Kind, d.Place)
	if d.Seq != 0 {
		s += fmt.Sprintf(" seq %d", d.Seq)
	}
	s += " " + d.ID
	if d.Field != "" {
		s += fmt.Sprintf(": %s is %s, want %s", d.Field, short(d.Got), short(d.Want))
	}
	return s
}

func short(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}

// A Line is a line of the report's table.
type Line struct {
	Name     string `json:"name"`
	Expected int    `json:"expected"`
	Arrived  int    `json:"arrived"`
	Missing  int    `json:"missing"`
	Extra    int    `json:"extra"`
	Twice    int    `json:"twice"`
	Altered  int    `json:"altered"`
}

// A Report is the result of a comparison.
type Report struct {
	First       uint64       `json:"first_seq"`
	Last        uint64       `json:"last_seq"`
	Sum         []Share      `json:"sum"` // of the archive, not of the truth
	AddsUp      bool         `json:"adds_up"`
	Lines       []Line       `json:"lines"`
	Differences []Difference `json:"differences"`
	Equal       int          `json:"equal"` // messages that are archived exactly as they should be
	Of          int          `json:"of"`
	Left        *Left        `json:"left,omitempty"` // nil: nobody asked
}

// A Share is one term of the equation that accounts for every seq.
type Share struct {
	Status string `json:"status"`
	Count  int    `json:"count"`
}

// Good tells whether the archive equals the truth, and nothing is left on the machine.
func (r *Report) Good() bool {
	return len(r.Differences) == 0 && r.AddsUp && r.Equal == r.Of && (r.Left == nil || r.Left.Good())
}

func (r *Report) differ(d Difference) { r.Differences = append(r.Differences, d) }

// sorted puts differences into a steady order.
func (r *Report) sort() {
	slices.SortStableFunc(r.Differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Seq, b.Seq), cmp.Compare(a.Place, b.Place), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Field, b.Field))
	})
}
