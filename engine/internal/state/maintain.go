package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	lookEvery     = time.Minute
	worthwhile    = 500              // entries written since the last Compact
	worthwhileNow = 20_000           // while the engine is busy
	patience      = 10 * time.Minute // the longest a busy engine goes without
	grownTooMuch  = 48 << 20         // bytes written to tables since: about six of them lie over each other, and each is asked at each look
)

// Maintain gives disk space back until ctx ends: when the engine has been idle for a minute after some work, and now and then
// while it is busy. It returns when ctx ends; what goes wrong is logged and tried again. Its times are real time.
func (db *DB) Maintain(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last, before := time.Now(), db.writes.Load()
	for {
		select {
		case <-ctx.Done():
			return
		case <-db.fat:
			db.tidy(ctx)
			last, before = time.Now(), db.writes.Load()
			continue
		case <-tick.C:
		}
		writes := db.writes.Load()
		idle := writes == before
		before = writes
		if idle && writes >= worthwhile || writes >= worthwhileNow && time.Since(last) > patience {
			db.tidy(ctx)
			last, before = time.Now(), db.writes.Load()
		}
	}
}

func (db *DB) tidy(ctx context.Context) {
	if err := db.Compact(ctx); err != nil && ctx.Err() == nil {
		db.options.Log("state not compacted", "error", err)
	}
}

// Compact gives back the disk space of what was deleted and replaced. Commits wait while tables are written anew (see rewrite), not while
// the value log is.
func (db *DB) Compact(ctx context.Context) error {
	if db.options.ReadOnly {
		return ErrReadOnly
	}
	db.tidying.Lock()
	defer db.tidying.Unlock()
	if err := room(db.dir, db.reserve()); err != nil {
		return err
	}
	if err := db.ask(db.rewrite); err != nil {
		return err
	}
	for ctx.Err() == nil {
		garbage, err := db.worthwhile()
		if err != nil {
			return err
		}
		switch err := db.badger.RunValueLogGC(garbage); {
		case errors.Is(err, badger.ErrNoRewrite):
			return nil
		case err != nil:
			return err
		}
	}
	return ctx.Err()
}

// holdFile is a copy of Badger's manifest while tables are written anew. Where Open finds it, that was not finished, and it takes its
// place again.
const holdFile = "MANIFEST.hold"

// rewrite writes all tables anew, without what was deleted and replaced, and with what is in the memory table: Badger frees the value log
// only where that has met a deletion. Dropping a prefix is its one way to make the memory table leave.
//
// Badger's own background compaction is off, because it loses tables: it takes no notice of a new table that could not be made (v4.9.6,
// levelsController.subcompact: the deferred Done has taken its error before there is one) and deletes the old ones. One file descriptor,
// inode or quota too few is enough. So it is done here between two commits, while an open iterator keeps all old files, and the tally
// says whether everything is still there. If not, the state must be opened again, and the old manifest takes its place.
func (db *DB) rewrite() error {
	if err := db.apply([]op{{[]byte{prefixFlush}, []byte{0}}}); err != nil {
		return err
	}
	txn := db.badger.NewTransaction(false)
	pin := txn.NewIterator(badger.IteratorOptions{})
	hold := filepath.Join(db.dir, holdFile)
	manifest, err := os.ReadFile(filepath.Join(db.dir, "db", badger.ManifestFilename))
	if err == nil {
		err = errors.Join(writeDurable(hold+".new", manifest), os.Rename(hold+".new", hold), syncFolder(db.dir))
	}
	if err != nil { // nothing has happened
		os.Remove(hold)
		pin.Close()
		txn.Discard()
		return err
	}
	if err = db.badger.DropPrefix([]byte{prefixFlush}); err == nil {
		err = db.badger.Flatten(1)
	}
	var found tally
	if err == nil {
		found, err = db.countAll(0)
	}
	if found.serial = db.tally.serial; err == nil && found != db.tally {
		err = errors.New("tables were lost while they were written anew")
	}
	if err != nil { // the iterator stays open: the old files must not go
		db.broken = fmt.Errorf("%w: compaction: %v", ErrBroken, err)
		db.dead.Store(true)
		return db.broken
	}
	if err := errors.Join(os.Remove(hold), syncFolder(db.dir)); err != nil {
		db.broken = fmt.Errorf("%w: compaction: %v", ErrBroken, err)
		db.dead.Store(true)
		return db.broken
	}
	pin.Close()
	txn.Discard()
	db.writes.Store(0)
	db.grown = 0
	return nil
}

// unfinished puts the manifest back that a rewrite had begun with.
func unfinished(dir string) error {
	os.Remove(filepath.Join(dir, holdFile+".new"))
	err := os.Rename(filepath.Join(dir, holdFile), filepath.Join(dir, "db", badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, syncFolder(filepath.Join(dir, "db")), syncFolder(dir))
}

// worthwhile is how much of a file of the value log must be garbage for it to be written anew without the rest. Where there is not much
// room, only a file is that leaves little.
func (db *DB) worthwhile() (float64, error) {
	if err := room(db.dir, db.reserve()+db.options.logFile/16); err != nil {
		return 0, err
	}
	space, known := free(db.dir)
	if space -= db.reserve(); !known || space > db.options.logFile {
		return 0.3, nil
	}
	return max(0.3, 1-float64(space)/float64(2*db.options.logFile)), nil
}
