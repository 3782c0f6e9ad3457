package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// A tally is how a state notices that some of it is gone. Badger drops what it cannot read at the end of a log, and every table that
// its manifest does not name: that is how it recovers from a kill, and also how a file that was cut or lost takes acknowledged commits
// with it in silence. So each transaction carries the sum over all entries as it leaves them, and Open adds them up again. A commit that
// is lost together with its tally is missed by the file head beside Badger's folder, which holds the number of the last one. It is
// written when a commit is durable and not synchronised: after a loss of power it may be old, and then only says less.
//
// The journal is not part of the sum: it is checked by itself (journal.go), and what it held is.
type tally struct {
	serial  uint64 // of the transaction
	entries uint64
	sum     uint64 // of share, over all entries
}

const headFile = "head"

// share is what an entry adds to the sum. A value begins with its random nonce, so that an older version of it adds something else.
// A parcel never changes and counts by its key alone: bodies are not read at every start.
func share(key, value []byte) uint64 {
	text := make([]byte, 0, 32)
	text = append(text, key...)
	if key[0] != prefixParcel {
		text = append(text, value[:min(8, len(value))]...)
	}
	sum := sha256.Sum256(text)
	return binary.BigEndian.Uint64(sum[:])
}

func tallied(key []byte) bool {
	switch key[0] {
	case prefixTally, prefixJournal, prefixPromise, prefixFlush:
		return false
	}
	return true
}

// count counts an operation that is about to join txn.
func (db *DB) count(t *tally, txn *badger.Txn, o op) error {
	if !tallied(o.key) {
		return nil
	}
	if o.value != nil {
		defer func() { t.entries, t.sum = t.entries+1, t.sum+share(o.key, o.value) }()
	}
	old, err := txn.Get(o.key)
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
	case err != nil:
		return err
	case o.key[0] == prefixParcel:
		t.entries, t.sum = t.entries-1, t.sum-share(o.key, nil)
	default:
		return db.value(old, func(value []byte) error {
			t.entries, t.sum = t.entries-1, t.sum-share(o.key, value)
			return nil
		})
	}
	return nil
}

func (db *DB) tallyOp(t tally) op {
	w := newWriter(32)
	w.uint(t.serial)
	w.uint(t.entries)
	w.fixed(t.sum)
	return db.sealed([]byte{prefixTally}, w)
}

// loadTally compares what is there with what was written. A state of format 1 has no tally; it gets one when it is upgraded.
func (db *DB) loadTally(format int) error {
	kept := false
	err := db.scan([]byte{prefixTally}, nil, func(_ []byte, r *reader) error {
		kept = true
		db.tally = tally{r.uint(), r.uint(), r.fixed()}
		return nil
	})
	if err != nil {
		return err
	}
	head, err := readHead(db.dir)
	if err != nil {
		return err
	}
	if db.tally.serial < head {
		return db.damaged(fmt.Errorf("the last %d of %d commits are missing: a file of the folder db (*.mem, *.sst or MANIFEST) was cut or is gone, or was put back "+
			"from an older copy; remove the file %q to go on from what is there", head-db.tally.serial, head, headFile))
	}
	found, err := db.countAll(lookAt)
	if err != nil {
		return err
	}
	found.serial = db.tally.serial
	switch {
	case format < 2:
		db.tally = found
	case !kept && found.entries > 0:
		return db.damaged(fmt.Errorf("the count of its entries is missing: a file of the folder db (*.sst, *.mem or MANIFEST) was cut or is gone"))
	case found != db.tally:
		return db.damaged(fmt.Errorf("%d entries were found, %d were written, and not all are those that were: "+
			"a file of the folder db (*.sst, *.mem or MANIFEST) was cut or is gone",
			found.entries, db.tally.entries))
	}
	return nil
}

// lookAt is how many bytes of parcels a start reads to see whether they can be read. A small state is looked at as a whole, a large one
// by Check.
const lookAt = 64 << 20

// countAll adds up all entries, and reads parcels of so many bytes on the way.
func (db *DB) countAll(budget int64) (found tally, err error) {
	err = db.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			item := it.Item()
			key := item.Key()
			if !tallied(key) {
				continue
			}
			if key[0] == prefixParcel {
				if budget -= item.ValueSize(); budget < 0 {
					found.entries, found.sum = found.entries+1, found.sum+share(key, nil)
					continue
				}
			}
			err := db.value(item, func(value []byte) error {
				found.entries, found.sum = found.entries+1, found.sum+share(key, value)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

// readHead returns the number in the file head, 0 where there is none or it says nothing: it was never synchronised.
func readHead(dir string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, headFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	if len(text) != 12 || crc32.ChecksumIEEE(text[:8]) != binary.BigEndian.Uint32(text[8:]) {
		return 0, nil
	}
	return binary.BigEndian.Uint64(text), nil
}

// writeHead notes the number of the last durable transaction. What goes wrong is no error: the commit is durable.
func (db *DB) writeHead() {
	text := binary.BigEndian.AppendUint64(nil, db.tally.serial)
	text = binary.BigEndian.AppendUint32(text, crc32.ChecksumIEEE(text))
	if _, err := db.head.WriteAt(text, 0); err != nil {
		db.options.Log("head not written", "error", err)
	}
}
