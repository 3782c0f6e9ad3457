package state

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// A kept file may be dropped while an archive is begun: its parcel is gone. All others must be in the archive.
func TestKeptFilesThatGoMeanwhile(t *testing.T) {
	const n = 300
	for range 10 {
		dir := t.TempDir()
		kept, links := filepath.Join(dir, "kept"), filepath.Join(dir, "links")
		if err := os.MkdirAll(kept, 0o700); err != nil {
			t.Fatal(err)
		}
		for parcel := 1; parcel <= 2; parcel++ {
			for i := range n {
				if err := os.WriteFile(filepath.Join(kept, fmt.Sprintf("%d-%03d", parcel, i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		dropped := make(chan struct{})
		go func() {
			defer close(dropped)
			for i := n - 1; i >= 0; i-- { // so that the two meet
				os.Remove(filepath.Join(kept, fmt.Sprintf("1-%03d", i)))
			}
		}()
		if err := linkAll(kept, links); err != nil {
			t.Fatal(err)
		}
		<-dropped
		found, err := filepath.Glob(filepath.Join(links, "2-*"))
		if err != nil || len(found) != n {
			t.Fatalf("%d of %d files that stay, %v", len(found), n, err)
		}
	}
}

func TestNoKeptFiles(t *testing.T) {
	dir := t.TempDir()
	if err := linkAll(filepath.Join(dir, "kept"), filepath.Join(dir, "links")); err != nil {
		t.Error(err)
	}
}
