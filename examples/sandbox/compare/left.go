package compare

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf16"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// Left is what a run left behind on the machine.
type Left struct {
	Files    []string `json:"files"`    // in the spool folders
	Texts    int      `json:"texts"`    // messages of which a text, name, address or piece of a file was found
	Of       int      `json:"of"`       // messages that were searched for
	Found    []Trace  `json:"found"`    // at most 20
	Searched int64    `json:"searched"` // bytes
	Controls int      `json:"controls"` // planted texts that the same search had to find, and found
}

// Good tells whether nothing is left.
func (l *Left) Good() bool { return len(l.Files) == 0 && l.Texts == 0 }

// A Trace is a place where something readable lies.
type Trace struct {
	File string `json:"file"`
	At   int64  `json:"at"`
	Seq  uint64 `json:"seq"`
	As   string `json:"as"` // how it is written there
}

// Search looks through data directories for what the truth says must not be readable, and lists the files in spool folders. First
// it proves itself: in a folder of its own it has to find what it planted there, in every writing.
func Search(t *truth.Truth, data, spool []string) (*Left, error) {
	left := &Left{Files: []string{}, Found: []Trace{}, Of: len(t.Messages)}
	var err error
	if left.Controls, err = control(); err != nil {
		return nil, err
	}
	s := newSearch(t)
	for _, dir := range slices.Concat(data, spool) {
		if err := s.dir(dir); err != nil {
			return nil, err
		}
	}
	for _, dir := range spool {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				left.Files = append(left.Files, path)
			}
			return missingIsEmpty(err)
		})
		if err != nil {
			return nil, err
		}
	}
	left.Texts, left.Found, left.Searched = len(s.seqs), s.traces, s.bytes
	return left, nil
}

// control plants every writing of a text and a piece of a file in files, and has them found.
func control() (int, error) {
	dir, err := os.MkdirTemp("", "weir-control")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	text, piece := `控制文本 <PO-12345> "quoted" & コントロール`, []byte{0, 1, 2, 250, 251, 252, 9, 8, 7, 6, 200, 100, 50, 25, 12, 6}
	planted := &truth.Truth{Messages: []truth.Message{
		{Seq: 1, Needles: []string{text}}, {Seq: 2, Files: []truth.File{{Pieces: [][]byte{piece}}}},
	}}
	count := 0
	for _, m := range planted.Messages {
		for i, w := range writings(m) {
			filler := bytes.Repeat([]byte{byte(i + 'a')}, 1<<20-7+i) // so that some lie across the edge of what is read at once
			path := filepath.Join(dir, fmt.Sprintf("%d-%d", m.Seq, i))
			if err := os.WriteFile(path, slices.Concat(filler, w.bytes, filler[:5]), 0o600); err != nil {
				return 0, err
			}
			s := newSearch(planted)
			if err := s.file(path); err != nil {
				return 0, err
			}
			if !slices.ContainsFunc(s.traces, func(t Trace) bool { return t.As == w.as && t.Seq == m.Seq }) {
				return 0, fmt.Errorf("the search did not find the control that was planted as %s", w.as)
			}
			if err := os.Remove(path); err != nil {
				return 0, err
			}
			count++
		}
	}
	return count, nil
}

// A writing is one way in which a text can stand on a disk.
type writing struct {
	as    string
	bytes []byte
}

// writings lists how everything about a message could be written.
func writings(m truth.Message) []writing {
	var all []writing
	add := func(as string, b []byte) {
		if len(b) >= window && !slices.ContainsFunc(all, func(w writing) bool { return bytes.Equal(w.bytes, b) }) {
			all = append(all, writing{as, b})
		}
	}
	encoded := func(as string, b []byte) {
		add(as, b)
		// Three alignments; what depends on the bytes before and behind is cut off.
		for shift := range 3 {
			padded := append(make([]byte, shift), b...)
			from, to := (shift*8+5)/6, len(padded)*8/6
			add(fmt.Sprintf("base64 of %s, shifted %d", as, shift), []byte(base64.RawStdEncoding.EncodeToString(padded)[from:to]))
			add(fmt.Sprintf("base64url of %s, shifted %d", as, shift), []byte(base64.RawURLEncoding.EncodeToString(padded)[from:to]))
		}
	}
	for _, text := range m.Needles {
		encoded("utf-8", []byte(text))
		little, big := []byte{}, []byte{}
		escaped := ""
		for _, u := range utf16.Encode([]rune(text)) {
			little, big = binary.LittleEndian.AppendUint16(little, u), binary.BigEndian.AppendUint16(big, u)
			if u < 0x80 && u >= 0x20 && u != '"' && u != '\\' && u != '<' && u != '>' && u != '&' {
				escaped += string(rune(u))
			} else {
				escaped += fmt.Sprintf(`\u%04x`, u)
			}
		}
		add("utf-16le", little)
		add("utf-16be", big)
		add("json escapes", []byte(escaped))
		quoted, err := json.Marshal(text) // \" for quotes, \u003c for <
		if err != nil {
			panic(err) // a string always marshals
		}
		add("json", quoted[1:len(quoted)-1])
		var plain bytes.Buffer
		e := json.NewEncoder(&plain)
		e.SetEscapeHTML(false)
		if err := e.Encode(text); err != nil {
			panic(err)
		}
		add("json, html as it is", plain.Bytes()[1:plain.Len()-2])
	}
	for _, f := range m.Files {
		for _, piece := range f.Pieces {
			encoded("file", piece)
		}
	}
	return all
}

// window is the number of bytes by which a candidate is recognised.
const window = 8

// search finds many patterns at once: the first eight bytes at every place are looked up, first in a bitmap.
type search struct {
	patterns map[uint64][]pattern
	bitmap   []uint64 // 1<<22 bits
	seqs     map[uint64]bool
	traces   []Trace
	longest  int
	bytes    int64
}

type pattern struct {
	writing
	seq uint64
}

func newSearch(t *truth.Truth) *search {
	s := &search{patterns: map[uint64][]pattern{}, bitmap: make([]uint64, 1<<16), seqs: map[uint64]bool{}, traces: []Trace{}}
	for _, m := range t.Messages {
		for _, w := range writings(m) {
			key := binary.LittleEndian.Uint64(w.bytes)
			s.patterns[key] = append(s.patterns[key], pattern{w, m.Seq})
			s.longest = max(s.longest, len(w.bytes))
			bit := fold(key)
			s.bitmap[bit/64] |= 1 << (bit % 64)
		}
	}
	return s
}

func fold(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> 42 }

func (s *search) dir(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return missingIsEmpty(err)
		}
		return missingIsEmpty(s.file(path))
	})
}

// missingIsEmpty forgives files that a running engine took away.
func missingIsEmpty(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// file searches one file in pieces that overlap by the longest pattern.
func (s *search) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 0, 1<<20+s.longest)
	at := int64(0) // of the start of buf
	for {
		n, err := io.ReadFull(f, buf[len(buf):min(cap(buf), len(buf)+1<<20)])
		buf = buf[:len(buf)+n]
		s.bytes += int64(n)
		s.piece(path, at, buf)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
		keep := min(len(buf), s.longest-1)
		at += int64(len(buf) - keep)
		buf = buf[:copy(buf, buf[len(buf)-keep:])]
	}
}

func (s *search) piece(path string, at int64, b []byte) {
	for i := 0; i+window <= len(b); i++ {
		key := binary.LittleEndian.Uint64(b[i:])
		if bit := fold(key); s.bitmap[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		for _, p := range s.patterns[key] {
			if bytes.HasPrefix(b[i:], p.bytes) {
				s.seqs[p.seq] = true
				if len(s.traces) < 20 {
					s.traces = append(s.traces, Trace{path, at + int64(i), p.seq, p.as})
				}
			}
		}
	}
}
