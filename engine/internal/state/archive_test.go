package state_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

var noted = state.Audit{When: since, Who: "ops@host", Verb: "backup", What: "to a file"}

func archive(t *testing.T, db *state.DB, kept string) []byte {
	t.Helper()
	var b bytes.Buffer
	info, err := db.Archive(t.Context(), &b, kept, noted)
	if err != nil {
		t.Fatal(err)
	}
	if info.Bytes != int64(b.Len()) {
		t.Errorf("the archive has %d bytes, it says %d", b.Len(), info.Bytes)
	}
	return b.Bytes()
}

func restore(t *testing.T, archive []byte) *state.DB {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data", "state")
	if _, err := state.Restore(dir, filepath.Join(dir, "../kept"), bytes.NewReader(archive), state.Options{Key: testKey}, noted); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func TestArchive(t *testing.T) {
	data := t.TempDir()
	db := open(t, filepath.Join(data, "state"))
	for _, c := range everything() {
		commit(t, db, c)
	}
	if err := db.Rename("archive", "source.wecom_chat.chat", "source.a.b"); err != nil {
		t.Fatal(err)
	}
	if err := db.Rename("archive", "source.a.b", "source.wecom_chat.chat"); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(data, "kept", "ab12")
	if err := errors.Join(os.MkdirAll(kept, 0o700), os.WriteFile(filepath.Join(kept, "1-0"), []byte("noise"), 0o600),
		os.WriteFile(filepath.Join(kept, "2-0"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	whole := archive(t, db, filepath.Join(data, "kept"))

	to := t.TempDir()
	dir := filepath.Join(to, "state")
	at := state.Audit{When: since.Add(time.Hour), Who: "ops@other", Verb: "restore", What: "of a file"}
	info, err := state.Restore(dir, filepath.Join(to, "kept"), bytes.NewReader(whole), state.Options{Key: testKey}, at)
	if err != nil || info.Files != 2 || info.Who != "ops@host" || !info.Made.Equal(since) {
		t.Fatalf("%+v, %v; want 2 files of ops@host", info, err)
	}
	db2 := open(t, dir)
	holdsAll(t, db2)
	if text, err := os.ReadFile(filepath.Join(to, "kept", "ab12", "1-0")); string(text) != "noise" {
		t.Errorf("kept file %q, %v", text, err)
	}
	audits, err := db2.Audits()
	if err != nil {
		t.Fatal(err)
	}
	same(t, "audits", audits, []state.Audit{at})
	names, _ := os.ReadDir(to)
	if len(names) != 2 {
		t.Errorf("left behind: %v", names)
	}
	// And on: the restored state takes commits, and a later archive of it has them.
	commit(t, db2, &state.Change{Pipeline: "archive", Checkpoints: []state.Checkpoint{{Source: "source.new.one", Position: []byte("1")}}})
	if n := len(load(t, restore(t, archive(t, db2, "")), "archive").Checkpoints); n != 2 {
		t.Errorf("%d checkpoints after a second move, want 2", n)
	}

	// Nothing is overwritten.
	_, err = state.Restore(dir, filepath.Join(to, "kept"), bytes.NewReader(whole), state.Options{Key: testKey}, at)
	if !errors.Is(err, state.ErrExists) || !strings.Contains(err.Error(), dir) {
		t.Errorf("restore over a state: %v; want ErrExists with the directory", err)
	}
}

// An archive that is cut anywhere, or has one wrong bit anywhere, or another key, makes no state.
func TestSpoiledArchive(t *testing.T) {
	db := open(t, t.TempDir())
	commit(t, db, fullChange())
	kept := t.TempDir()
	os.WriteFile(filepath.Join(kept, "1-0"), []byte("noise"), 0o600)
	whole := archive(t, db, kept)
	if _, err := state.CheckArchive(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	to := memory(t)
	try := func(what string, data []byte, key []byte, restoreToo bool) {
		t.Helper()
		if _, err := state.CheckArchive(bytes.NewReader(data)); key == nil && !errors.Is(err, state.ErrArchive) && !errors.Is(err, state.ErrNewer) {
			t.Errorf("%s: check says %v; want ErrArchive", what, err)
		}
		if !restoreToo {
			return
		}
		if key == nil {
			key = testKey
		}
		_, err := state.Restore(filepath.Join(to, "state"), filepath.Join(to, "kept"), bytes.NewReader(data), state.Options{Key: key}, noted)
		if !errors.Is(err, state.ErrArchive) && !errors.Is(err, state.ErrNewer) && !errors.Is(err, state.ErrWrongKey) {
			t.Errorf("%s: restore says %v; want ErrArchive", what, err)
		}
		if names, _ := os.ReadDir(to); len(names) > 0 {
			t.Fatalf("%s: left behind %v", what, names)
		}
	}
	for n := 0; n < len(whole); n += 7 {
		try(fmt.Sprint("cut to ", n), whole[:n], nil, n%(7*len(whole)/35) == 0)
	}
	for n := 0; n < len(whole)-32; n += 3 { // the last 32 bytes need the key
		spoiled := bytes.Clone(whole)
		spoiled[n] ^= 1
		try(fmt.Sprint("bit at ", n), spoiled, nil, n%(3*len(whole)/15) == 0)
	}
	head := bytes.IndexByte(whole, '\n') + 1 // the kind of the first entry stands here, and behind it how long its key is
	for what, length := range map[string][]byte{
		"a length of 2^40": binary.AppendUvarint(nil, 1<<40), "a length without end": bytes.Repeat([]byte{0xff}, 20),
	} {
		try(what, slices.Concat(whole[:head+1], length, whole[head+1:]), nil, true)
	}
	forged := bytes.Clone(whole)
	forged[len(forged)-1] ^= 1
	try("forged", forged, testKey, true)
	try("another key", whole, bytes.Repeat([]byte{8}, 32), true)
}

// A back-up is there as a whole or not at all, and none is replaced.
func TestSaveArchive(t *testing.T) {
	db := open(t, t.TempDir())
	commit(t, db, fullChange())
	dir := t.TempDir()
	path := filepath.Join(dir, "backup")
	for what, write := range map[string]func(w io.Writer) error{
		"an error": func(w io.Writer) error { w.Write([]byte("begin")); return errors.New("no") },
		"a part":   func(w io.Writer) error { _, err := w.Write(archive(t, db, "")[:500]); return err },
	} {
		if _, err := state.SaveArchive(path, write); err == nil {
			t.Errorf("%s: saved", what)
		}
		if names, _ := os.ReadDir(dir); len(names) > 0 {
			t.Errorf("%s: left behind %v", what, names)
		}
	}
	save := func() error {
		_, err := state.SaveArchive(path, func(w io.Writer) error {
			_, err := db.Archive(t.Context(), w, "", noted)
			return err
		})
		return err
	}
	if err := save(); err != nil {
		t.Fatal(err)
	}
	if err := save(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v; want fs.ErrExist", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
}

// An archive made while others commit holds one instant: of every change all or nothing.
func TestArchiveBesideCommits(t *testing.T) {
	db := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	commit(t, db, workerChange(1, 1))
	go func() {
		for n := 2; ctx.Err() == nil; n++ {
			if err := db.Commit(t.Context(), workerChange(1, n)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var archives [][]byte
	for range 5 {
		archives = append(archives, archive(t, db, ""))
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, a := range archives {
		db := restore(t, a)
		s := load(t, db, "p")
		p, err := db.Parcel(s.Owing[0].Parcel)
		if len(s.Owing) != 1 || err != nil || !bytes.Equal(p.Body, s.Checkpoints[0].Position) {
			t.Errorf("%d owing, parcel %q, %v, checkpoint %s", len(s.Owing), p.Body, err, s.Checkpoints[0].Position)
		}
		db.Close()
	}
}

func TestArchiveHoldsNothingReadable(t *testing.T) {
	const text, control = "预算在附件里 budget 2026.xlsx", "control 对照 in an opaque body"
	db := open(t, t.TempDir())
	b := []byte(text)
	commit(t, db, &state.Change{
		Pipeline:    text,
		Checkpoints: []state.Checkpoint{{Source: text, Position: b, Stats: b}},
		Parcels:     []state.Parcel{{ID: 1, Rest: b, Body: bytes.Repeat(b, 300)}, {ID: 2, Rest: b, Body: []byte(control), Opaque: true}},
		Owing:       []state.Owing{{Step: text, Parcel: 1, Rows: 1, Groups: []state.Group{{Door: text, Cause: text, Code: text, Detail: text}}}},
		Events:      []state.Event{{Number: 1, Data: b}},
		Steps:       []state.StepState{{Address: text, ConfigHash: b}},
		Marks:       []state.Mark{{Step: text, ID: 1, Tries: 1}},
		Audit:       []state.Audit{{When: since, Who: text, Verb: text, What: text}},
	})
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "archive"), archive(t, db, ""), 0o600)
	searchFor(t, dir, text, false)
	searchFor(t, dir, control, true)
}

func TestRetire(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, fullChange())
	a := state.Audit{When: since, Who: "ops@old", Verb: "export", What: "moved it to /mnt/weir.archive"}
	if err := db.Retire(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err := state.Open(dir, state.Options{Key: testKey})
	if !errors.Is(err, state.ErrRetired) {
		t.Fatalf("opened: %v; want ErrRetired", err)
	}
	for _, want := range []string{dir, "2026-11-22T10:07:03Z", "ops@old", "/mnt/weir.archive"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	db, err = state.Open(dir, state.Options{Key: testKey, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n := len(load(t, db, "archive").Owing); n != 2 {
		t.Errorf("%d owing; want 2", n)
	}
	info, err := db.Info()
	if err != nil || info.Retired == nil || info.Retired.Who != "ops@old" {
		t.Errorf("info %+v, %v; want who retired it", info, err)
	}
	audits, err := db.Audits()
	if err != nil || len(audits) != 1 {
		t.Errorf("audits %v, %v; want one", audits, err)
	}
}
