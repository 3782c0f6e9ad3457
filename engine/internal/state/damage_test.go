package state_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

// damage is something that can happen to a file.
type damage struct {
	name string
	do   func(data []byte) []byte // nil removes the file
}

func cutTo(name string, length func(n int) int) damage {
	return damage{"cut to " + name, func(data []byte) []byte { return data[:max(0, length(len(data)))] }}
}

// flip turns one bit at a fraction of what is in the file: behind that Badger's files are zeros.
func flip(name string, tenths int) damage {
	return damage{"bit at " + name, func(data []byte) []byte {
		n := used(data)
		data[min(n*tenths/10, n-1)] ^= 4
		return data
	}}
}

func used(data []byte) int {
	n := len(data)
	for n > 1 && data[n-1] == 0 {
		n--
	}
	return n
}

var damages = []damage{
	{"removed", nil},
	cutTo("nothing", func(int) int { return 0 }),
	cutTo("a few bytes", func(int) int { return 7 }),
	cutTo("a header", func(int) int { return 20 }),
	{"cut to a half", func(data []byte) []byte { return data[:used(data)/2] }},
	{"cut by one byte", func(data []byte) []byte { return data[:used(data)-1] }},
	flip("the begin", 0), flip("1/10", 1), flip("3/10", 3), flip("half", 5), flip("7/10", 7), flip("9/10", 9), flip("the end", 10),
	{"first page zero", func(data []byte) []byte { clear(data[:min(4096, used(data))]); return data }},
	{"last page zero", func(data []byte) []byte { n := used(data); clear(data[max(0, n-4096):n]); return data }},
	{"all zero", func(data []byte) []byte { clear(data); return data }},
	{"garbage behind", func(data []byte) []byte {
		return append(data[:used(data)], "\xff\x07 something that was never written \x00\x9b"...)
	}},
}

// few are for files of which it does not matter how they are damaged.
var few = []damage{damages[0], damages[1], damages[2], flip("half", 5), flip("7/10", 7), damages[len(damages)-2], damages[len(damages)-1]}

// TestDamages does everything in damages to every kind of file: of a state whose engine ended, and of one whose engine was killed. What
// opens then has everything in it; all else is refused with the file or folder, and what to do.
func TestDamages(t *testing.T) {
	for _, test := range []struct {
		name  string
		make  func(t *testing.T, dir string)
		files map[string][]damage
	}{
		{"ended", endedState, map[string][]damage{
			"db/000001.vlog": damages, "db/000002.sst": damages, "db/MANIFEST": damages, "format.json": few,
			"db/KEYREGISTRY": few, "db/DISCARD": few, "head": few,
		}},
		{"killed", killedState, map[string][]damage{"db/000001.vlog": few, "db/00002.mem": damages, "db/LOCK": few[:1]}},
	} {
		t.Run(test.name, func(t *testing.T) {
			whole := t.TempDir()
			test.make(t, whole)
			files := readState(t, whole)
			tally := map[string]int{}
			for file, list := range test.files {
				if _, ok := files[file]; !ok {
					t.Fatalf("no file %s to damage", file)
				}
				for _, d := range list {
					dir := filepath.Join(memory(t), "state")
					damaged := maps.Clone(files)
					if delete(damaged, file); d.do != nil {
						damaged[file] = d.do(slices.Clone(files[file]))
					}
					writeState(t, dir, damaged)
					outcome := survives(t, dir, file+", "+d.name)
					tally[kindOf(file)+" "+outcome]++
					if want := expected[kindOf(file)]; want != "" && want != outcome {
						t.Errorf("%s, %s: %s; want %s", file, d.name, outcome, want)
					}
					os.RemoveAll(dir)
				}
			}
			t.Log(tally)
		})
	}
}

// memory is a folder that needs no disk, where the system has one: synchronising it costs nothing.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-state-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// expected is what must become of a state with any damage to a kind of file; of the others it depends on where the damage is.
var expected = map[string]string{
	"head":        "whole", // only says less
	"LOCK":        "whole",
	"DISCARD":     "whole", // statistics
	"KEYREGISTRY": "whole", // not used
	"MANIFEST":    "refused",
	".sst":        "refused",
}

func kindOf(file string) string {
	if ext := filepath.Ext(file); ext != "" {
		return ext
	}
	return filepath.Base(file)
}

// survives opens a state and looks at everything in it.
func survives(t *testing.T, dir, what string) string {
	t.Helper()
	db, err := state.Open(dir, state.Options{Key: testKey})
	if err != nil {
		known := errors.Is(err, state.ErrDamaged) || errors.Is(err, state.ErrWrongKey) || errors.Is(err, state.ErrNewer)
		if !known || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v; want ErrDamaged and the directory", what, err)
		}
		if errors.Is(err, state.ErrDamaged) && !strings.Contains(err.Error(), "weir state restore") {
			t.Errorf("%s: %v; want what to do", what, err)
		}
		if kindOf(strings.Split(what, ",")[0]) == ".vlog" && !strings.Contains(err.Error(), "000001.vlog") {
			t.Errorf("%s: %v; want the file", what, err)
		}
		return "refused"
	}
	defer db.Close()
	r, err := db.Check(t.Context())
	if err != nil || len(r.Problems) > 0 {
		t.Errorf("%s: opened, but %v, %v", what, err, r.Problems)
	}
	holdsAll(t, db)
	if t.Failed() {
		t.Fatalf("after: %s", what)
	}
	return "whole"
}

func everything() []*state.Change {
	c := fullChange()
	c.Parcels[1].Body = make([]byte, 300<<10)
	for i := range c.Parcels[1].Body {
		c.Parcels[1].Body[i] = byte(i * i >> 7)
	}
	later := fullChange()
	later.Owing, later.Marks, later.Steps = nil, nil, nil
	later.Parcels = []state.Parcel{{ID: 3, Rest: []byte("third"), Body: c.Parcels[1].Body[:9000], Opaque: true}}
	later.Checkpoints[0].Position = []byte("seq 1000")
	later.Events = []state.Event{{Number: 6, Data: []byte("sink back")}}
	last := &state.Change{Pipeline: "archive", DropOwing: []state.OwingKey{{Step: "sink.oss.large", Parcel: 2}},
		Owing: []state.Owing{{Step: "sink.oss.large", Parcel: 3, Rows: 1}, {Step: "sink.oss.large", Parcel: 2, Rows: 2}}}
	return []*state.Change{c, later, last}
}

func holdsAll(t *testing.T, db *state.DB) {
	t.Helper()
	all := everything()
	c := all[0]
	same(t, "snapshot", load(t, db, "archive"), state.Snapshot{
		Checkpoints: all[1].Checkpoints, Owing: []state.Owing{c.Owing[0], all[2].Owing[1], all[2].Owing[0]}, Steps: c.Steps, Marks: c.Marks,
		LastEvent: 6, NextParcel: 4,
	})
	for _, want := range append(c.Parcels, all[1].Parcels...) {
		got, err := db.Parcel(want.ID)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "parcel", got, want)
	}
	if events, err := db.Events("archive", 0, 10); err != nil || len(events) != 3 {
		t.Errorf("%d events, %v; want 3", len(events), err)
	}
}

func endedState(t *testing.T, dir string) {
	db := open(t, dir)
	for i, c := range everything() {
		commit(t, db, c)
		if i == 0 {
			if err := db.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// killedState copies a state that is open: what a kill leaves.
func killedState(t *testing.T, dir string) {
	from := t.TempDir()
	db := open(t, from)
	for i, c := range everything() {
		commit(t, db, c)
		if i == 0 {
			if err := db.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	copyState(t, from, dir)
}

func copyState(t *testing.T, from, to string) {
	t.Helper()
	writeState(t, to, readState(t, from))
}

// readState reads the files of a state without the zeros at their end, but for the first MiB.
func readState(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if rel == "spare" {
			return nil
		}
		data, err := os.ReadFile(path)
		files[rel] = slices.Clone(data[:max(min(len(data), 1<<20), used(data))])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writeState(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err == nil {
			err = os.WriteFile(path, data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
