package sdk

import (
	"errors"
	"os"
	"testing"
)

// A disk that is nearly full takes no file, and keeps nothing of one that was begun.
func TestSpoolLeavesRoom(t *testing.T) {
	dir := t.TempDir()
	s := OpenSpool(dir)
	s.reserve = 1 << 60 // more than any disk has
	var f File
	w, err := s.Create(&f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 2*SpoolPiece)); !errors.Is(err, ErrNoRoom) {
		t.Errorf("write: %v; want ErrNoRoom", err)
	}
	if err := w.Commit(); !errors.Is(err, ErrNoRoom) {
		t.Errorf("commit: %v; want ErrNoRoom", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 || f.HasBytes() {
		t.Errorf("%d files are left, the file says %v; want none", len(left), f)
	}
}
