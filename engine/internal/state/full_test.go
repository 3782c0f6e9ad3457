//go:build unix

package state_test

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

// A full disk is an error before anything is written; with room again the state is as it was.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	commitAndClose(t, dir)
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	if _, err := state.Open(dir, state.Options{Key: testKey, Reserve: 4 * free}); !errors.Is(err, state.ErrFull) {
		t.Errorf("open: %v; want ErrFull", err)
	}
	db, err := state.Open(dir, state.Options{Key: testKey, Reserve: free + free/2})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Commit(context.Background(), &state.Change{Pipeline: "archive", DropSteps: []string{"sink.kintone.log"}})
	if !errors.Is(err, state.ErrFull) {
		t.Errorf("commit: %v; want ErrFull", err)
	}
	db.Close()
	if n := len(load(t, open(t, dir), "archive").Owing); n != 2 {
		t.Errorf("%d owing; want 2", n)
	}
}
