package state

import (
	"os"
	"path/filepath"
	"time"
)

// Badger writes its memory table to a file when it is full, and when the state is closed: to a mapped file, where a full disk ends the
// process. Commits stop long before (room), but others fill disks too. So a file of spareSize lies beside, allocated and never written,
// and is given up when there is hardly anything left: for what Badger still has to write, and for the next opening. Without it there
// are no commits.
const (
	spareFile = "spare"
	spareSize = 24 << 20 // two memory tables, and the tables that become of them

	hardlyAny  = 12 << 20
	watchEvery = time.Second
)

// keepSpare allocates the file, and answers ErrFull where there is no room for it beside need. Where files cannot be allocated there is
// none.
func keepSpare(dir string, need int64) error {
	path := filepath.Join(dir, spareFile)
	if info, err := os.Stat(path); err == nil && info.Size() == spareSize {
		return nil
	}
	if err := room(dir, need+spareSize); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if allocate(f, spareSize) != nil {
		return os.Remove(path)
	}
	return nil
}

// giveSpare removes the file where fewer than need bytes are free.
func giveSpare(dir string, need int64) {
	if n, known := free(dir); known && n < need {
		os.Remove(filepath.Join(dir, spareFile))
	}
}

// watch looks at the disk until the state is closed.
func (db *DB) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-db.closing:
			return
		case <-tick.C:
			giveSpare(db.dir, hardlyAny)
		}
	}
}
