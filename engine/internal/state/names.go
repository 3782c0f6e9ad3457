package state

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/dgraph-io/badger/v4"
)

// name is an address within a pipeline; both may be empty.
type name struct{ pipeline, address string }

// names is the table that keeps addresses out of keys. It is small (one entry for each address that was ever mentioned) and stands
// in memory. An alias is a number that still stands in doors, while another number has taken over its name by a rename.
type names struct {
	mu       sync.RWMutex
	number   map[name]uint32
	byNumber map[uint32]name
	last     uint32
}

func (db *DB) loadNames() error {
	db.names.number, db.names.byNumber = map[name]uint32{}, map[uint32]name{}
	return db.scan([]byte{prefixName}, nil, func(key []byte, r *reader) error {
		n := binary.BigEndian.Uint32(key[1:])
		alias, name := r.byte() == 1, name{r.text(), r.text()}
		db.names.last = max(db.names.last, n)
		db.names.byNumber[n] = name
		if !alias {
			db.names.number[name] = n
		}
		return nil
	})
}

func (db *DB) nameOp(n uint32, name name, alias bool) op {
	w := newWriter(16 + len(name.pipeline) + len(name.address))
	if alias {
		w.byte(1)
	} else {
		w.byte(0)
	}
	w.text(name.pipeline)
	w.text(name.address)
	return db.sealed(key32(prefixName, n), w)
}

// numberOf gives a name its number. A new one is made durable at once, on its own: a name that nothing mentions harms nobody,
// a number without its name would.
func (db *DB) numberOf(name name) (uint32, error) {
	db.names.mu.RLock()
	n, ok := db.names.number[name]
	db.names.mu.RUnlock()
	if ok {
		return n, nil
	}
	db.names.mu.Lock()
	defer db.names.mu.Unlock()
	if n, ok := db.names.number[name]; ok {
		return n, nil
	}
	n = db.names.last + 1
	if err := db.ask(func() error { return db.apply([]op{db.nameOp(n, name, false)}) }); err != nil {
		return 0, err
	}
	db.names.last = n
	db.names.number[name] = n
	db.names.byNumber[n] = name
	return n, nil
}

// known is numberOf for readers and deletions.
func (db *DB) known(name name) (uint32, bool) {
	db.names.mu.RLock()
	defer db.names.mu.RUnlock()
	n, ok := db.names.number[name]
	return n, ok
}

// addressOf is the way back; 0 is the empty address.
func (db *DB) addressOf(n uint32) (string, bool) {
	db.names.mu.RLock()
	defer db.names.mu.RUnlock()
	name, ok := db.names.byNumber[n]
	return name.address, ok || n == 0
}

// Pipelines lists the pipelines that ever wrote to this state, in order.
func (db *DB) Pipelines() []string {
	db.names.mu.RLock()
	defer db.names.mu.RUnlock()
	var list []string
	for _, name := range db.names.byNumber {
		list = append(list, name.pipeline)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Rename gives everything that the state holds of one step or source to another address, atomically: checkpoint, configuration
// hash, marks, what it owes, and where it stands as a door. A name that the state does not know is no error, so that `moved` may stay in a
// pipeline file. It refuses a new address that has state of its own (ErrTaken). Addresses inside Parcel.Rest are the engine's.
func (db *DB) Rename(pipeline, from, to string) error {
	if db.options.ReadOnly {
		return ErrReadOnly
	}
	old, wanted := name{pipeline, from}, name{pipeline, to}
	db.names.mu.Lock()
	defer db.names.mu.Unlock()
	n, ok := db.names.number[old]
	if !ok || from == to {
		return nil
	}
	ops := []op{db.nameOp(n, wanted, false)}
	other, both := db.names.number[wanted]
	if both {
		if used, err := db.used(other); err != nil {
			return err
		} else if used {
			return fmt.Errorf("rename %s to %s: %w", from, to, ErrTaken)
		}
		ops = append(ops, db.nameOp(other, wanted, true))
	}
	if err := db.ask(func() error { return db.apply(ops) }); err != nil {
		return err
	}
	delete(db.names.number, old)
	db.names.number[wanted] = n
	db.names.byNumber[n] = wanted
	return nil
}

// used tells whether a number has a checkpoint, a configuration, a mark or something owed.
func (db *DB) used(n uint32) (bool, error) {
	found := false
	err := db.view(func(txn *badger.Txn) error {
		for _, prefix := range []byte{prefixCheckpoint, prefixStep, prefixOwing, prefixMark} {
			it := txn.NewIterator(badger.IteratorOptions{Prefix: key32(prefix, n)})
			it.Rewind()
			found = found || it.Valid()
			it.Close()
		}
		return nil
	})
	return found, err
}
