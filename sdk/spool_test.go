package sdk

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestSpoolRoundTrip(t *testing.T) {
	for _, size := range []int{0, 1, SpoolPiece - 1, SpoolPiece, SpoolPiece + 1, 3*SpoolPiece + 17} {
		s := OpenSpool(t.TempDir())
		want := bytes.Repeat([]byte("weir"), size/4+1)[:size]
		f := File{Index: 2, Size: -1}
		w, err := s.Create(&f)
		if err != nil {
			t.Fatal(err)
		}
		for p := want; len(p) > 0; {
			n := min(len(p), 1000)
			if _, err := w.Write(p[:n]); err != nil {
				t.Fatal(err)
			}
			p = p[n:]
		}
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		sum := md5.Sum(want)
		if f.Size != int64(size) || f.MD5 != hex.EncodeToString(sum[:]) {
			t.Errorf("size %d: found size %d, md5 %s", size, f.Size, f.MD5)
		}
		r, err := s.Open(&f)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("size %d: read %d bytes, %v", size, len(got), err)
			}
			r.Seek(0, io.SeekStart)
		}
		r.Close()

		raw, _ := os.ReadFile(filepath.Join(s.dir, f.Spool))
		if size > 16 && bytes.Contains(raw, want[:16]) {
			t.Errorf("size %d: plain text lies in the spool", size)
		}
		for name, damage := range map[string]func([]byte) []byte{
			"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"a lost piece":  func(b []byte) []byte { return b[:max(0, len(b)-SpoolPiece-16)] },
		} {
			os.WriteFile(filepath.Join(s.dir, f.Spool), damage(bytes.Clone(raw)), 0o600)
			if r, err := s.Open(&f); err == nil {
				if got, err := io.ReadAll(r); err == nil && size > SpoolPiece {
					t.Errorf("size %d: %s went unnoticed (%d bytes)", size, name, len(got))
				}
				r.Close()
			}
		}
	}
}
