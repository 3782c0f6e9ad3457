package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/weir-etl/weir/sdk"
)

// packer packs records into files of its folder. It dies while it holds some, and kills the engine in the middle of a flush when a file
// says so.
type packer struct {
	mortal
	mu  sync.Mutex // calls run at once
	f   *os.File
	ids []string
}

func (p *packer) Write(_ context.Context, call *sdk.Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.f == nil {
		var err error
		if p.f, err = os.CreateTemp(p.Path, ".part-*"); err != nil {
			return err
		}
	}
	for i := range call.Rows {
		if _, err := fmt.Fprintln(p.f, call.Rows[i].ID); err != nil {
			return err
		}
		p.ids = append(p.ids, call.Rows[i].ID)
		p.reach(call.Rows[i].Seq)
		call.Answer(i, sdk.Hold())
	}
	return nil
}

func (p *packer) Flush(_ context.Context, f *sdk.Flush) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.ids)
	if want := slices.Sorted(slices.Values(f.IDs)); !slices.Equal(p.ids, want) {
		return errors.New("asked to flush others than those held")
	}
	name := sha256.Sum256([]byte(strings.Join(p.ids, "\n")))
	if err := errors.Join(p.f.Sync(), p.f.Close()); err != nil {
		return err
	}
	p.obey(killBefore)
	if err := os.Rename(p.f.Name(), filepath.Join(p.Path, hex.EncodeToString(name[:8]))); err != nil {
		return err
	}
	p.obey(killAfter)
	p.f, p.ids = nil, nil
	for i := range f.IDs {
		f.Answer(i, sdk.Done(nil))
	}
	return nil
}

const killBefore, killAfter = ".kill-before", ".kill-after"

func order(t *testing.T, objects, what string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(objects, what), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *packer) obey(what string) {
	if os.Remove(filepath.Join(p.Path, what)) == nil {
		syscall.Kill(os.Getppid(), syscall.SIGKILL)
		os.Exit(3)
	}
}

func (p *packer) Close(context.Context) error {
	p.f, p.ids = nil, nil
	return nil
}

// packed reads the finished objects: how often each record is in one, and how many records each object has.
func packed(t *testing.T, dir string) (seen map[string]int, sizes []int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	seen = map[string]int{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		n := 0
		for id, k := range listed(t, filepath.Join(dir, e.Name())) {
			seen[id] += k
			n += k
		}
		sizes = append(sizes, n)
	}
	return seen, sizes
}

func packing(t *testing.T, dir, dies string) (o Options, objects string) {
	t.Helper()
	objects = filepath.Join(dir, "objects")
	if err := os.MkdirAll(objects, 0o700); err != nil {
		t.Fatal(err)
	}
	return mortalRun(t, dir, fmt.Sprintf(`
weir { name = "packing" }
source "count" "in" {
  to   = 6500
  page = 500
}
sink "pack" "out" {
  input = source.count.in
  path  = %q
  dies  = %q
  batch { max_records = 1000 }
}
`, objects, dies)), objects
}

func wantEachOnce(t *testing.T, seen map[string]int, n int) {
	t.Helper()
	wrong := 0
	for i := 1; i <= n; i++ {
		if id := fmt.Sprint("n", i); seen[id] != 1 {
			if wrong++; wrong < 10 {
				t.Errorf("%s is in %d finished objects", id, seen[id])
			}
		}
	}
	if len(seen) != n {
		t.Errorf("%d records, want %d", len(seen), n)
	}
}

func TestObjectsOfAThousandRecords(t *testing.T) {
	o, objects := packing(t, t.TempDir(), "")
	sum := finish(t, o)
	seen, sizes := packed(t, objects)
	wantEachOnce(t, seen, 6500)
	for _, n := range sizes {
		if n > 2000 { // a call and a page that were on their way when it was full
			t.Errorf("an object of %d records", n)
		}
	}
	if len(sizes) < 4 || len(sizes) > 10 {
		t.Errorf("%d objects", len(sizes))
	}
	if s := stepOf(t, sum, "sink.pack.out"); s.Done != 6500 || s.Held != 0 || s.Owed != 0 || s.Dead != 0 {
		t.Errorf("%+v", s)
	}
}

// What a process holds when it dies comes again; nothing of it shows before.
func TestDeathWhileHolding(t *testing.T) {
	dir := t.TempDir()
	o, objects := packing(t, dir, filepath.Join(dir, "dies"))
	sum := finish(t, o)
	deaths, _ := filepath.Glob(filepath.Join(dir, "dies*"))
	if len(deaths) != 2 {
		t.Errorf("it died at %v", deaths)
	}
	seen, _ := packed(t, objects)
	wantEachOnce(t, seen, 6500)
	if s := stepOf(t, sum, "sink.pack.out"); s.Owed != 0 || s.Dead != 0 {
		t.Errorf("%+v", s)
	}
}

// An engine that is killed while its sink holds rows has promised nothing of them: they come again, and show once.
func TestEngineKilledWhileHolding(t *testing.T) {
	dir := t.TempDir()
	o, objects := packing(t, dir, "")
	for range 2 {
		for _, w := range []struct {
			window string
			n      int
		}{{"sink.pack.out.call", 2}, {"sink.pack.out.answer", 1}, {"in a flush", 1}} {
			if w.window == "in a flush" {
				order(t, objects, killBefore)
			}
			if !killedIn(t, dir, w.window, w.n) {
				t.Errorf("not killed in %s:%d", w.window, w.n)
			}
		}
	}
	if s := stepOf(t, finish(t, o), "sink.pack.out"); s.Owed != 0 || s.Dead != 0 || s.Held != 0 {
		t.Errorf("%+v", s)
	}
	seen, _ := packed(t, objects)
	wantEachOnce(t, seen, 6500)
}

// Only when an object is finished, and the engine dies before it has written that down, can its records show twice.
func TestEngineKilledBehindAFlush(t *testing.T) {
	for _, how := range []string{killAfter, "commit.before"} {
		dir := t.TempDir()
		o, objects := packing(t, dir, "")
		if how == killAfter {
			order(t, objects, killAfter)
		}
		if !killedIn(t, dir, how, 1) {
			t.Errorf("%s: not killed", how)
		}
		first, _ := packed(t, objects)
		finish(t, o)
		seen, _ := packed(t, objects)
		for i := 1; i <= 6500; i++ {
			id := fmt.Sprint("n", i)
			if n := seen[id]; n == 0 || n > 1+first[id] {
				t.Errorf("%s: %s is in %d objects, %d of them finished when the engine died", how, id, n, first[id])
			}
		}
	}
}
