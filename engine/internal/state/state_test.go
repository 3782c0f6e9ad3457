package state_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/weir-etl/weir/engine/internal/state"
)

var testKey = bytes.Repeat([]byte{7}, state.KeySize)

func open(t *testing.T, dir string) *state.DB {
	t.Helper()
	db, err := state.Open(dir, state.Options{Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func reopen(t *testing.T, db *state.DB, dir string) *state.DB {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return open(t, dir)
}

func commit(t *testing.T, db *state.DB, c *state.Change) {
	t.Helper()
	if err := db.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, db *state.DB, pipeline string) state.Snapshot {
	t.Helper()
	s, err := db.Load(pipeline)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("%s (-got +want):\n%s", what, diff)
	}
}

func ids(n int) []uint64 {
	list := make([]uint64, n)
	for i := range list {
		list[i] = uint64(i)*0x9e3779b97f4a7c15 + 1
	}
	return list
}

func everyRow(n int) []uint32 {
	list := make([]uint32, n)
	for i := range list {
		list[i] = uint32(i)
	}
	return list
}

var since = time.Date(2026, 11, 22, 10, 7, 3, 123456789, time.UTC)

func fullChange() *state.Change {
	return &state.Change{
		Pipeline:    "archive",
		Checkpoints: []state.Checkpoint{{Source: "source.wecom_chat.chat", Position: []byte("seq 500"), Stats: []byte(`{"holes":[3]}`)}},
		Parcels: []state.Parcel{
			{ID: 1, Rest: []byte("ids and receipts"), Body: []byte("bodies")},
			{ID: 2, Rest: []byte("rest"), Body: []byte("ciphertext"), Opaque: true},
		},
		Owing: []state.Owing{{
			Step: "sink.kintone.log", Parcel: 1, Rows: 500, IDs: ids(500),
			Groups: []state.Group{
				{Rows: []uint32{0, 7, 8, 499}, Door: "sink.kintone.log", Cause: "sink down", Code: "GAIA_DA02", Since: since, Tries: 3},
				{Rows: []uint32{1}, Dead: true, Revisit: true, Kept: true, Raised: true, Door: "transform.wecom_media.got",
					AboutAt: "sink.kintone.log", About: 9, Detail: "field 文件",
					Due: since.Add(time.Hour), Deadline: since.Add(120 * time.Hour), Since: since},
			},
		}, {Step: "sink.oss.large", Parcel: 2, Rows: 1, Keys: ids(1), Orders: []uint64{1 << 60}}},
		Marks:  []state.Mark{{Step: "sink.kintone.log", ID: 3, Tries: 1}, {Step: "sink.kintone.log", ID: 1 << 63, Tries: 200}},
		Events: []state.Event{{Number: 4, Data: []byte("hole")}, {Number: 5, Data: []byte("sink down")}},
		Steps:  []state.StepState{{Address: "sink.kintone.log", ConfigHash: []byte{1, 2}}},
	}
}

func TestCommitAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	db := open(t, dir)
	same(t, "empty state", load(t, db, "archive"), state.Snapshot{NextParcel: 1})
	c := fullChange()
	commit(t, db, c)
	want := state.Snapshot{Checkpoints: c.Checkpoints, Owing: c.Owing, Steps: c.Steps, Marks: c.Marks, LastEvent: 5, NextParcel: 3}
	for range 2 {
		same(t, "snapshot", load(t, db, "archive"), want)
		same(t, "another pipeline", load(t, db, "other"), state.Snapshot{LastEvent: 5, NextParcel: 3})
		same(t, "pipelines", db.Pipelines(), []string{"archive"})
		for _, p := range c.Parcels {
			got, err := db.Parcel(p.ID)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "parcel", got, p)
		}
		events, err := db.Events("archive", 4, 10)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "events", events, c.Events[1:])
		db = reopen(t, db, dir)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory %v, %v; want mode 0700", info.Mode(), err)
	}
}

func TestDropsAndMarks(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, fullChange())
	commit(t, db, &state.Change{
		Pipeline:    "archive",
		DropParcels: []uint64{1, 2},
		DropOwing:   []state.OwingKey{{Step: "sink.kintone.log", Parcel: 1}, {Step: "sink.oss.large", Parcel: 2}, {Step: "unknown", Parcel: 9}},
		Owing:       []state.Owing{{Step: "sink.oss.large", Parcel: 2, Rows: 9}}, // dropped and written: written
		TrimEvents:  5,
		DropSteps:   []string{"sink.kintone.log", "source.wecom_chat.chat", "unknown"},
	})
	db = reopen(t, db, dir)
	same(t, "snapshot", load(t, db, "archive"), state.Snapshot{
		Owing: []state.Owing{{Step: "sink.oss.large", Parcel: 2, Rows: 9}}, LastEvent: 5, NextParcel: 3,
	})
	if _, err := db.Parcel(1); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("dropped parcel: %v; want ErrNotFound", err)
	}
	if events, err := db.Events("archive", 0, 10); len(events) > 0 || err != nil {
		t.Errorf("trimmed events: %v, %v; want none", events, err)
	}
	commit(t, db, &state.Change{Pipeline: "archive", Events: []state.Event{{Number: 6, Data: []byte("new")}}})
	if events, err := db.Events("archive", 0, 10); len(events) != 1 || err != nil {
		t.Errorf("events after a trim: %v, %v; want one", events, err)
	}
}

// Several changes at once are as if one had been written after the other, with one synchronisation where they fit together.
func TestChangesTogether(t *testing.T) {
	dir := t.TempDir()
	var transactions int
	db, err := state.Open(dir, state.Options{Key: testKey, Failpoint: func(name string) {
		if name == "commit.before" {
			transactions++
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	owing := func(parcel uint64) []state.Owing {
		return []state.Owing{{Step: "sink.a", Parcel: parcel, Rows: 2, IDs: ids(2), Groups: []state.Group{{Rows: everyRow(2), Door: "sink.a", Cause: "x"}}}}
	}
	at := func(position string) []state.Checkpoint {
		return []state.Checkpoint{{Source: "source.s", Position: []byte(position)}}
	}
	changes := []*state.Change{
		{Pipeline: "p", Checkpoints: at("1"), Owing: owing(1), Parcels: []state.Parcel{{ID: 1, Rest: []byte("r"), Body: []byte("b")}}},
		{Pipeline: "p", DropOwing: []state.OwingKey{{Step: "sink.a", Parcel: 1}}, DropParcels: []uint64{1}}, // what the one before wrote
		{Pipeline: "p", Checkpoints: at("3"), Owing: owing(3), Parcels: []state.Parcel{{ID: 3, Rest: []byte("r"), Body: []byte("b")}}},
	}
	if err := db.Commit(t.Context(), changes...); err != nil {
		t.Fatal(err)
	}
	before := transactions
	if err := db.Commit(t.Context(), changes...); err != nil { // by now the names have their numbers
		t.Fatal(err)
	}
	if n := transactions - before; n != 1 {
		t.Errorf("%d transactions, want 1", n)
	}
	s := load(t, db, "p")
	if len(s.Owing) != 1 || s.Owing[0].Parcel != 3 || string(s.Checkpoints[0].Position) != "3" || s.NextParcel != 4 {
		t.Errorf("got %+v, want the last word on each", s)
	}
	if _, err := db.Parcel(1); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("parcel 1: %v, want none", err)
	}

	large := make([]*state.Change, 4) // 3 MiB each, and gathered is less than 8 MiB
	for i := range large {
		large[i] = &state.Change{Pipeline: "p", Parcels: []state.Parcel{{ID: uint64(10 + i), Rest: []byte("r"), Body: make([]byte, 3<<20)}}}
	}
	before = transactions
	if err := db.Commit(t.Context(), large...); err != nil {
		t.Fatal(err)
	}
	if n := transactions - before; n != 2 {
		t.Errorf("%d transactions for 12 MiB, want 2", n)
	}
	if err := db.Commit(t.Context()); err != nil {
		t.Errorf("no change: %v", err)
	}
}

func TestEventsAreAPipelinesOwn(t *testing.T) {
	db := open(t, t.TempDir())
	for i := range uint64(6) {
		commit(t, db, &state.Change{Pipeline: []string{"a", "b"}[i%2], Events: []state.Event{{Number: i + 1, Data: []byte{byte(i)}}}})
	}
	commit(t, db, &state.Change{Pipeline: "a", TrimEvents: 5})
	for pipeline, want := range map[string][]uint64{"a": nil, "b": {2, 4, 6}} {
		events, err := db.Events(pipeline, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint64
		for _, e := range events {
			got = append(got, e.Number)
		}
		if !slices.Equal(got, want) {
			t.Errorf("events of %s: %v, want %v", pipeline, got, want)
		}
	}
}

func TestManyCommitters(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for n := range 20 {
				c := state.Change{
					Pipeline:    fmt.Sprintf("p%d", i%4),
					Checkpoints: []state.Checkpoint{{Source: fmt.Sprint("source ", i), Position: fmt.Append(nil, n)}},
					Parcels:     []state.Parcel{{ID: uint64(i*20 + n + 1), Body: []byte("x")}},
				}
				if err := db.Commit(context.Background(), &c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	db = reopen(t, db, dir)
	for i := range 4 {
		s := load(t, db, fmt.Sprintf("p%d", i))
		if len(s.Checkpoints) != 8 || s.NextParcel != 641 {
			t.Errorf("p%d has %d checkpoints, next parcel %d; want 8, 641", i, len(s.Checkpoints), s.NextParcel)
		}
		for _, k := range s.Checkpoints {
			if string(k.Position) != "19" {
				t.Errorf("%s at %s; want 19", k.Source, k.Position)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, fullChange())

	_, err := state.Open(dir, state.Options{Key: testKey})
	if !errors.Is(err, state.ErrInUse) || !bytes.Contains([]byte(err.Error()), []byte(dir)) {
		t.Errorf("second open: %v; want ErrInUse naming %s", err, dir)
	}
	if _, err := state.Open(dir, state.Options{Key: testKey, ReadOnly: true}); !errors.Is(err, state.ErrInUse) {
		t.Errorf("second open for reading: %v; want ErrInUse", err)
	}
	db.Close()
	if err := db.Commit(t.Context(), &state.Change{}); !errors.Is(err, state.ErrClosed) {
		t.Errorf("commit after close: %v; want ErrClosed", err)
	}
	if _, err := db.Load("archive"); !errors.Is(err, state.ErrClosed) {
		t.Errorf("load after close: %v; want ErrClosed", err)
	}

	before := listing(t, filepath.Join(dir, "db"))
	if _, err := state.Open(dir, state.Options{Key: bytes.Repeat([]byte{8}, 32)}); !errors.Is(err, state.ErrWrongKey) {
		t.Errorf("another key: %v; want ErrWrongKey", err)
	}
	file := filepath.Join(dir, "format.json")
	text, _ := os.ReadFile(file)
	var format map[string]any
	if err := json.Unmarshal(text, &format); err != nil {
		t.Fatal(err)
	}
	format["format"] = 3
	newer, _ := json.Marshal(format)
	os.WriteFile(file, newer, 0o600)
	if _, err := state.Open(dir, state.Options{Key: testKey}); !errors.Is(err, state.ErrNewer) {
		t.Errorf("newer format: %v; want ErrNewer", err)
	}
	same(t, "files of a refused state", listing(t, filepath.Join(dir, "db")), before)
	os.Remove(file)
	if _, err := state.Open(dir, state.Options{Key: testKey}); !errors.Is(err, state.ErrDamaged) {
		t.Errorf("no format: %v; want ErrDamaged", err)
	}
	os.WriteFile(file, text, 0o600)
	if _, err := state.Open(dir, state.Options{Key: testKey[:31]}); err == nil {
		t.Error("a key of 31 bytes was accepted")
	}
	if _, err := state.Open(filepath.Join(dir, "none"), state.Options{Key: testKey, ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing to read: %v; want fs.ErrNotExist", err)
	}
}

func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	commitAndClose(t, dir)
	db, err := state.Open(dir, state.Options{Key: testKey, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if n := len(load(t, db, "archive").Owing); n != 2 {
		t.Errorf("%d owing; want 2", n)
	}
	for what, err := range map[string]error{
		"commit":  db.Commit(t.Context(), fullChange()),
		"rename":  db.Rename("archive", "sink.kintone.log", "sink.kintone.b"),
		"compact": db.Compact(t.Context()),
	} {
		if !errors.Is(err, state.ErrReadOnly) {
			t.Errorf("%s: %v; want ErrReadOnly", what, err)
		}
	}
}

func commitAndClose(t *testing.T, dir string) {
	t.Helper()
	db := open(t, dir)
	commit(t, db, fullChange())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamage(t *testing.T) {
	for _, test := range []struct {
		name, file string
		damage     func([]byte) []byte
	}{
		{"manifest overwritten", "MANIFEST", func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) }},
		{"table cut", "*.sst", func(b []byte) []byte { return b[:len(b)/2] }},
		{"table overwritten", "*.sst", func(b []byte) []byte { return make([]byte, len(b)) }},
		{"manifest gone", "MANIFEST", nil},
		{"value log cut", "000001.vlog", func(b []byte) []byte { return b[:20] }},
		{"value log flipped", "000001.vlog", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir)
			commit(t, db, &state.Change{
				Pipeline: "archive",
				Parcels:  []state.Parcel{{ID: 1, Body: make([]byte, 100<<10), Opaque: true}},
				Owing:    []state.Owing{{Step: "sink.a.b", Parcel: 1, Rows: 1}},
			})
			db.Close()
			files, _ := filepath.Glob(filepath.Join(dir, "db", test.file))
			if len(files) == 0 {
				t.Fatalf("no %s to damage", test.file)
			}
			bytesOf, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if test.damage == nil {
				err = os.Remove(files[0])
			} else {
				err = os.WriteFile(files[0], test.damage(bytesOf), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			db, err = state.Open(dir, state.Options{Key: testKey})
			if err == nil {
				defer db.Close()
				_, err = db.Parcel(1)
			}
			if !errors.Is(err, state.ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte("restore")) {
				t.Errorf("got %v; want ErrDamaged that says what to do", err)
			}
		})
	}
}

// A table that the manifest does not name is what a kill in the middle of a compaction leaves: no damage.
func TestHalfWrittenTable(t *testing.T) {
	dir := t.TempDir()
	commitAndClose(t, dir)
	if err := os.WriteFile(filepath.Join(dir, "db", "000099.sst"), make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := len(load(t, open(t, dir), "archive").Owing); n != 2 {
		t.Errorf("%d owing; want 2", n)
	}
}

func TestMaintainEnds(t *testing.T) {
	db := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	db.Maintain(ctx)
	if err := db.Compact(t.Context()); err != nil {
		t.Errorf("compact an empty state: %v", err)
	}
	db.Close()
	if err := db.Compact(t.Context()); !errors.Is(err, state.ErrClosed) {
		t.Errorf("compact after close: %v; want ErrClosed", err)
	}
}

func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			info, _ := e.Info()
			rel, _ := filepath.Rel(dir, path)
			files[rel] = fmt.Sprint(info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestTooLarge(t *testing.T) {
	db := open(t, t.TempDir())
	err := db.Commit(t.Context(), &state.Change{Parcels: []state.Parcel{{ID: 1, Body: make([]byte, state.MaxValue), Opaque: true}}})
	if !errors.Is(err, state.ErrTooLarge) {
		t.Errorf("got %v; want ErrTooLarge", err)
	}
	commit(t, db, &state.Change{Parcels: []state.Parcel{{ID: 1, Body: make([]byte, state.MaxValue-1024), Opaque: true}}})
	if p, err := db.Parcel(1); err != nil || len(p.Body) != state.MaxValue-1024 {
		t.Errorf("got %d bytes, %v; want %d", len(p.Body), err, state.MaxValue-1024)
	}
}

// A change that is larger than a file of the value log, with a reader beside it.
func TestLargeChange(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, &state.Change{Parcels: []state.Parcel{{ID: 1, Body: []byte("small")}}})
	stop := make(chan struct{})
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if _, err := db.Parcel(1); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	var c state.Change
	for i := range 150 {
		body := make([]byte, 1<<20)
		body[0] = byte(i)
		c.Parcels = append(c.Parcels, state.Parcel{ID: uint64(i + 2), Body: body, Opaque: true})
	}
	commit(t, db, &c)
	close(stop)
	reader.Wait()
	for range 2 {
		for _, want := range c.Parcels {
			if p, err := db.Parcel(want.ID); err != nil || !bytes.Equal(p.Body, want.Body) {
				t.Fatalf("parcel %d: %d bytes, %v; want %d", want.ID, len(p.Body), err, len(want.Body))
			}
		}
		db = reopen(t, db, dir)
	}
}

func TestWrongRows(t *testing.T) {
	db := open(t, t.TempDir())
	for _, o := range []state.Owing{
		{Step: "s", Rows: 2, Groups: []state.Group{{Rows: []uint32{2}}}},
		{Step: "s", Rows: 2, Groups: []state.Group{{Rows: []uint32{1, 0}}}},
		{Step: "s", Rows: 2, Groups: []state.Group{{Rows: []uint32{1, 1}}}},
		{Step: "s", Rows: 2, IDs: []uint64{1}},
		{Step: "s", Rows: 2, Keys: []uint64{1}},
		{Step: "s", Rows: 2, Orders: []uint64{1, 2, 3}},
	} {
		if err := db.Commit(t.Context(), &state.Change{Owing: []state.Owing{o}}); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestCompactGivesSpaceBack(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	const parcels, size = 300, 512 << 10
	body := make([]byte, size)
	rand.Read(body)
	var drop state.Change
	for i := range parcels {
		commit(t, db, &state.Change{Parcels: []state.Parcel{{ID: uint64(i + 1), Body: body, Opaque: true}}})
		if i%10 != 0 {
			drop.DropParcels = append(drop.DropParcels, uint64(i+1))
		}
	}
	full, err := db.Size()
	if err != nil || full < parcels*size {
		t.Fatalf("size %d, %v; want at least %d", full, err, parcels*size)
	}
	commit(t, db, &drop)
	if err := db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	small, err := db.Size()
	if err != nil || small > full/2 {
		t.Errorf("size after dropping nine of ten: %d of %d, %v; want less than half", small, full, err)
	}
	for range 2 {
		for i := 0; i < parcels; i += 10 {
			if p, err := db.Parcel(uint64(i + 1)); err != nil || !bytes.Equal(p.Body, body) {
				t.Fatalf("parcel %d after compaction: %d bytes, %v", i+1, len(p.Body), err)
			}
		}
		db = reopen(t, db, dir)
	}
}
