package state_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

// The two archives were written by the weir of format 1 with testKey: one by an engine that ended, one by an engine that was killed, whose
// changes stand in Badger's logs alone.
func TestUpgrade(t *testing.T) {
	for _, name := range []string{"format1-closed", "format1-killed"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			extract(t, filepath.Join("testdata", name+".tar.gz"), dir)

			// Looking does not upgrade.
			db, err := state.Open(dir, state.Options{Key: testKey, ReadOnly: true})
			if err != nil {
				t.Fatal(err)
			}
			holdsFormat1(t, db)
			db.Close()
			same(t, "format after a look", formatOf(t, dir), 1.0)

			db = open(t, dir)
			same(t, "format after an upgrade", formatOf(t, dir), 2.0)
			for range 2 {
				holdsFormat1(t, db)
				db = reopen(t, db, dir)
			}

			// What only format 2 knows, beside what format 1 wrote.
			c := fullChange()
			commit(t, db, &state.Change{Pipeline: "archive", Owing: c.Owing[1:], Marks: c.Marks})
			db = reopen(t, db, dir)
			s := load(t, db, "archive")
			same(t, "marks", s.Marks, c.Marks)
			same(t, "owing", s.Owing[:2], c.Owing)
		})
	}
}

func holdsFormat1(t *testing.T, db *state.DB) {
	t.Helper()
	c := fullChange()
	c.Owing[1].Keys, c.Owing[1].Orders = nil, nil
	moved := state.Owing{Step: "sink.a.new", Parcel: 3, Rows: 1, Groups: []state.Group{
		{Rows: []uint32{0}, Door: "sink.a.new", AboutAt: "sink.a.new", About: 7}}}
	same(t, "snapshot", load(t, db, "archive"), state.Snapshot{
		Checkpoints: c.Checkpoints, Owing: append(c.Owing, moved), Steps: c.Steps, LastEvent: 5, NextParcel: 4,
	})
	body := make([]byte, 5000) // in the value log
	for i := range body {
		body[i] = byte(i)
	}
	for _, want := range append(c.Parcels, state.Parcel{ID: 3, Rest: []byte("large"), Body: body, Opaque: true}) {
		got, err := db.Parcel(want.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "parcel", got, want)
	}
	events, err := db.Events("archive", 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "events", events, c.Events)
}

// A state of a later format is refused before a file of it is touched, and the refusal says so.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	commitAndClose(t, dir)
	setFormat(t, dir, 3)
	before := listing(t, dir)
	for _, readOnly := range []bool{false, true} {
		_, err := state.Open(dir, state.Options{Key: testKey, ReadOnly: readOnly})
		if !errors.Is(err, state.ErrNewer) {
			t.Fatalf("got %v; want ErrNewer", err)
		}
		if want := state.ErrNewer.Error() + ": " + dir + " has format 3, this one reads up to 2"; err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	same(t, "files", listing(t, dir), before)
}

func readFormat(t *testing.T, dir string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "format.json"))
	if err != nil {
		t.Fatal(err)
	}
	var format map[string]any
	if err := json.Unmarshal(text, &format); err != nil {
		t.Fatal(err)
	}
	return format
}

func formatOf(t *testing.T, dir string) any {
	t.Helper()
	return readFormat(t, dir)["format"]
}

func setFormat(t *testing.T, dir string, n int) {
	t.Helper()
	format := readFormat(t, dir)
	format["format"] = n
	text, err := json.Marshal(format)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "format.json"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// extract unpacks a small archive; what is all zeros becomes a hole, because Badger's files are mostly that.
func extract(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := writeSparse(path, r, h.Size); err != nil {
			t.Fatal(err)
		}
	}
}

func writeSparse(path string, r io.Reader, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	var zeros, block [64 << 10]byte
	for at := int64(0); ; {
		n, err := io.ReadFull(r, block[:])
		if n > 0 && string(block[:n]) != string(zeros[:n]) {
			if _, err := f.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
