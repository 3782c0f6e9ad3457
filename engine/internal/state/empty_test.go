package state_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// An engine may be killed between giving a file of Badger's its name and its length, or between taking away its length and its name. Such a
// file holds nothing, be it the newest or not.
func TestAFileWithoutBytes(t *testing.T) {
	for _, kind := range []string{"%06d.vlog", "%05d.mem"} {
		for _, place := range []int{1, 500} {
			t.Run(fmt.Sprintf(kind, place), func(t *testing.T) {
				dir := t.TempDir()
				commitAndClose(t, dir)
				db := filepath.Join(dir, "db")
				last := 0
				files, err := filepath.Glob(filepath.Join(db, "*"+filepath.Ext(kind)))
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range files {
					fmt.Sscanf(filepath.Base(name), "%d", &last)
				}
				empty := filepath.Join(db, fmt.Sprintf(kind, last+place))
				if err := os.WriteFile(empty, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				if place > 1 { // and a newer one with nothing but its head
					if err := os.WriteFile(filepath.Join(db, fmt.Sprintf(kind, last+place+1)), make([]byte, 20), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if n := len(load(t, open(t, dir), "archive").Owing); n != 2 {
					t.Errorf("%d owing; want 2", n)
				}
			})
		}
	}
}
