package state

import (
	"context"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	lookEvery     = time.Minute
	worthwhile    = 500              // entries written since the last Compact
	worthwhileNow = 20_000           // while the engine is busy
	patience      = 10 * time.Minute // the longest a busy engine goes without
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
		case <-tick.C:
		}
		writes := db.writes.Load()
		idle := writes == before
		before = writes
		if idle && writes >= worthwhile || writes >= worthwhileNow && time.Since(last) > patience {
			if err := db.Compact(ctx); err != nil && ctx.Err() == nil {
				db.options.Log("state not compacted", "error", err)
			}
			last, before = time.Now(), db.writes.Load()
		}
	}
}

// Compact gives back the disk space of what was deleted and replaced. Commits wait for a part of it, about the time of writing a
// memtable (8 MB). Badger frees the value log only where compaction has met the deletion, and compaction only sees what has left
// the memtable; dropping a prefix is its one way to make the memtable leave.
func (db *DB) Compact(ctx context.Context) error {
	if db.options.ReadOnly {
		return ErrReadOnly
	}
	db.tidying.Lock()
	defer db.tidying.Unlock()
	err := db.ask(func() error {
		if err := db.apply([]op{{[]byte{prefixFlush}, []byte{0}}}); err != nil {
			return err
		}
		return db.badger.DropPrefix([]byte{prefixFlush})
	})
	if err != nil {
		return err
	}
	db.writes.Store(0)
	if err := db.badger.Flatten(1); err != nil {
		return err
	}
	for ctx.Err() == nil {
		switch err := db.badger.RunValueLogGC(0.3); {
		case errors.Is(err, badger.ErrNoRewrite):
			return nil
		case err != nil:
			return err
		}
	}
	return ctx.Err()
}
