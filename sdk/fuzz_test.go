package sdk

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// FuzzSpool damages a file of the spool: whatever was changed, cut, added, swapped or dropped is refused, and what was not is read
// as it was written.
func FuzzSpool(f *testing.F) {
	for i, size := range []int{0, 1, 15, SpoolPiece - 1, SpoolPiece, SpoolPiece + 1, 3*SpoolPiece - 16, 3 * SpoolPiece} {
		for _, damage := range [][]byte{nil, {0, 9, 0, 1}, {1, 5, 0}, {1, byte(i), 1}, {2, 8, 0, 2, 16, 0}, {3, 0, 1}, {4, 0, 0}, {5, 1, 0}} {
			f.Add([]byte("weir"), size, damage, int64(i*1000))
		}
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte, size int, damage []byte, seek int64) {
		if size < 0 || size > 4*SpoolPiece || len(text) == 0 && size > 0 {
			return
		}
		want := bytes.Repeat(text, size/max(1, len(text))+1)[:size]
		s := OpenSpool(dir)
		file := File{Size: -1}
		w, err := s.Create(&file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, file.Spool)
		defer os.Remove(path)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if pieces := max(1, (size+SpoolPiece-1)/SpoolPiece); len(raw) != size+pieces*spoolTag {
			t.Errorf("%d bytes take %d, want %d pieces", size, len(raw), pieces)
		}
		spoilt := spoil(raw, damage)
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		got, found, err := readSpool(s, &file)
		if whole := bytes.Equal(spoilt, raw); !whole && err == nil {
			t.Errorf("damage %v went unnoticed in %d bytes: got %d, equal %v", damage, size, len(got), bytes.Equal(got, want))
		} else if whole && (err != nil || !bytes.Equal(got, want) || found != int64(size)) {
			t.Errorf("got %d bytes of %d, %v, want %d", len(got), found, err, size)
		} else if whole {
			checkSeek(t, s, &file, want, seek)
		}
	})
}

// spoil takes each three bytes of damage as what to do and where, 16 times at most: a piece that comes twice makes a file longer.
func spoil(raw, damage []byte) []byte {
	raw = bytes.Clone(raw)
	for damage = damage[:min(len(damage), 3*16)]; len(damage) >= 3; damage = damage[3:] {
		at := int(binary.LittleEndian.Uint16(damage[1:]))
		piece := func(n int) []byte {
			from := min(n*spoolSealed, len(raw))
			return raw[from:min(from+spoolSealed, len(raw))]
		}
		switch damage[0] % 6 {
		case 0:
			if len(raw) > 0 {
				raw[at*7%len(raw)] ^= 1 << (at % 8)
			}
		case 1:
			raw = raw[:len(raw)-min(at, len(raw))]
		case 2:
			raw = append(raw, make([]byte, at%100)...)
		case 3: // two pieces change places
			a, b := bytes.Clone(piece(at>>8)), bytes.Clone(piece(at&0xff))
			if len(a) == len(b) {
				copy(piece(at>>8), b)
				copy(piece(at&0xff), a)
			}
		case 4: // a piece is missing
			raw = append(bytes.Clone(raw[:min(at%5*spoolSealed, len(raw))]), raw[min((at%5+1)*spoolSealed, len(raw)):]...)
		case 5: // a piece comes twice
			p := bytes.Clone(piece(at % 5))
			raw = append(bytes.Clone(raw[:min(at%5*spoolSealed, len(raw))]), append(p, raw[min(at%5*spoolSealed, len(raw)):]...)...)
		}
	}
	return raw
}

func readSpool(s *Spool, file *File) (got []byte, size int64, err error) {
	r, err := s.Open(file)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	got, err = io.ReadAll(r)
	return got, r.Size(), err
}

func checkSeek(t *testing.T, s *Spool, file *File, want []byte, to int64) {
	r, err := s.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	at, err := r.Seek(to, io.SeekStart)
	if (err != nil) != (to < 0) {
		t.Fatalf("seek %d: %v", to, err)
	}
	if err != nil {
		return
	}
	rest, err := io.ReadAll(r)
	if err != nil || at != to || !bytes.Equal(rest, want[min(int(at), len(want)):]) {
		t.Errorf("from %d on: got %d bytes, %v, want %d", at, len(rest), err, max(0, len(want)-int(at)))
	}
}
