package engine

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// spooled is a parcel to be kept, of rows with a file each. Only the files are there that are not to come later.
func spooled(t *testing.T, s *spool, id uint64, there bool, names ...string) parcel {
	t.Helper()
	var records []sdk.Record
	for _, name := range names {
		if there {
			arrive(t, s, name)
		}
		records = append(records, sdk.Record{ID: name, Files: []sdk.File{{Name: name, Spool: name, SpoolKey: sdk.NewSecret("k")}}})
	}
	return parcel{id: id, at: protocol.FromRecords(records), keep: true}
}

func arrive(t *testing.T, s *spool, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
}

// content of a folder, by name.
func content(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, f := range entries {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		found[f.Name()] = string(text)
	}
	return found
}

// A full disk may refuse the second of two parcels whose files are to be kept. When there is room again both are written.
func TestKeepingGoesOnWhereItWasRefused(t *testing.T) {
	e := forwarder(t)
	group := []commit{{change: state.Change{Pipeline: "forward"}, parcels: []parcel{
		spooled(t, e.spool, 1, true, "a", "b"), spooled(t, e.spool, 2, false, "c"),
	}}}
	if err := e.persist(t.Context(), group); err == nil {
		t.Fatal("a file that is not there was kept")
	}
	arrive(t, e.spool, "c")
	if err := e.persist(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[uint64][]string{1: {"a", "b"}, 2: {"c"}} {
		p, err := e.readParcel(id)
		if err != nil {
			t.Fatal(err)
		}
		kept := content(t, e.spool.kept)
		for i, name := range want {
			if got := kept[p.at.Files(i)[0].Spool]; got != name {
				t.Errorf("parcel %d, row %d: kept file says %q, want %q", id, i, got, name)
			}
		}
	}
}

// Rows of a parcel come back a few at a time. Only their files may come into the spool: nobody would remove the others.
func TestOnlyFilesOfRowsThatComeBackAreFetched(t *testing.T) {
	e := forwarder(t)
	group := []commit{{change: state.Change{Pipeline: "forward"}, parcels: []parcel{spooled(t, e.spool, 1, true, "a", "b", "c")}}}
	if err := e.persist(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		os.Remove(filepath.Join(e.spool.dir, name)) // its lot is settled
	}
	p, err := e.readParcel(1)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.spool.fetch(p, []uint32{1}); err != nil {
		t.Fatal(err)
	}
	there := content(t, e.spool.dir)
	if len(there) != 1 || there[p.at.Files(1)[0].Spool] != "b" {
		t.Errorf("in the spool: %v", there)
	}
}
