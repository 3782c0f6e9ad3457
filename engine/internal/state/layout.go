package state

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Layout of format 2. dir/format.json holds the version and proves the key (format.go); dir/db is Badger's. Numbers in keys are
// big-endian, so that they sort. Addresses never appear in a key: the first mention of one gives it a number, and only the sealed
// table of names knows which. A rename is therefore one write, whatever the step owes.
//
//	key                    value
//	'n' name32             sealed: alias flag, pipeline, address                           (names.go)
//	'm'                    sealed: the largest parcel and event number ever committed
//	'c' name32             sealed: position and statistics of a source
//	's' name32             sealed: configuration hash of a step
//	'o' name32 parcel64    sealed: what the step owes of the parcel                        (encode.go)
//	'a' time64 random32    sealed: what somebody did to the state, as JSON                 (audit.go)
//	'w'                    sealed: number of the transaction, and the sum over all entries (tally.go)
//	't' name32 id64        sealed: how often the record was sent to the step alone         (Mark)
//	'p' parcel64           0 ‖ sealed: rest, body        or, where the body is opaque:
//	                       1 ‖ length of the sealed rest (uvarint) ‖ sealed rest ‖ body as given
//	'e' name32 event64     sealed: data; the name is the pipeline's, without an address
//	'j' piece32            operations of a change that spans transactions                  (journal.go)
//	'k'                    sealed: how many pieces of 'j' are to be applied
//
// Each sealed value has its key as additional data, and its plaintext begins with the version of its encoding. Format 1 knew no 't',
// and no keys and orders in 'o': its plaintexts have version 1 and are read as they are; a value that is written has version 2.
//
// Limits: one transaction of Badger takes 15 % of the memtable, 1.2 MB and some 13,000 entries, in which a value from valueThreshold
// on counts as 12 bytes, because it goes to the value log; of that it may fill a file. What takes more goes through the
// journal. A value may have MaxValue bytes, a change MaxChange.
const (
	prefixName       = 'n'
	prefixLargest    = 'm'
	prefixCheckpoint = 'c'
	prefixStep       = 's'
	prefixOwing      = 'o'
	prefixMark       = 't'
	prefixParcel     = 'p'
	prefixEvent      = 'e'
	prefixJournal    = 'j'
	prefixPromise    = 'k'
	prefixAudit      = 'a'
	prefixTally      = 'w'
	prefixFlush      = 'z' // never stays; see Compact
)

const (
	valueThreshold = 2 << 10

	// valueLogFile bounds what stays of what was deleted: garbage in the file that is written to is only given back once that is full.
	valueLogFile = 64 << 20

	// transactionRoom is what a transaction leaves free of valueLogFile: a file is mapped at twice that and rotated between transactions
	// once it holds it.
	transactionRoom = 1 << 20

	// MaxValue bounds one value in bytes, sealed: a parcel with its rest, an event.
	MaxValue = 60 << 20
	// MaxChange bounds one Change in bytes, sealed. It stands in memory several times while it is committed.
	MaxChange = 1 << 30
)

func key32(prefix byte, n uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{prefix}, n)
}

func key64(prefix byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, n)
}

// eventKey names an event of a pipeline.
func eventKey(pipeline uint32, event uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(prefixEvent, pipeline), event)
}

func markKey(name uint32, id uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(prefixMark, name), id)
}

func owingKey(name uint32, parcel uint64) []byte {
	return binary.BigEndian.AppendUint64(key32(prefixOwing, name), parcel)
}

// op is one entry of a transaction; a nil value deletes.
type op struct{ key, value []byte }

// sealed makes an op of a writer whose buffer began as newWriter.
func (db *DB) sealed(key []byte, w *writer) op {
	return op{key, db.seal.inPlace(w.buf, key)}
}

// opened decodes one sealed value. The reader is valid until the next call with the same scratch.
func (db *DB) opened(key, value []byte, scratch *[]byte) (*reader, error) {
	plain, err := db.seal.open((*scratch)[:0], value, key)
	if err != nil {
		return nil, db.damaged(fmt.Errorf("entry %x: %w", key, err))
	}
	*scratch = plain
	r := &reader{rest: plain}
	if r.version = r.byte(); r.version > encodingVersion {
		return nil, fmt.Errorf("%w: entry %x of %s has version %d", ErrNewer, key, db.dir, r.version)
	}
	return r, nil
}

// scan walks the entries whose keys begin with prefix, from the key start (or the first), until each answers an error. The reader
// and the key are valid during the call.
func (db *DB) scan(prefix, start []byte, each func(key []byte, r *reader) error) error {
	var scratch []byte
	return db.scanRaw(prefix, start, true, func(key, value []byte) error {
		r, err := db.opened(key, value, &scratch)
		if err != nil {
			return err
		}
		if err := each(key, r); err != nil {
			return err
		}
		return db.decoded(key, r)
	})
}

func (db *DB) scanRaw(prefix, start []byte, values bool, each func(key, value []byte) error) error {
	if start == nil {
		start = prefix
	}
	return db.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: values, PrefetchSize: 8})
		defer it.Close()
		for it.Seek(start); it.Valid(); it.Next() {
			item := it.Item()
			if !values {
				if err := each(item.Key(), nil); err != nil {
					return err
				}
				continue
			}
			if err := db.value(item, func(value []byte) error { return each(item.Key(), value) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// value hands the value of an entry to f. Badger logs that it could not read one, and answers none.
func (db *DB) value(item *badger.Item, f func(value []byte) error) error {
	var answer error
	err := item.Value(func(value []byte) error {
		if len(value) == 0 {
			return db.log.unread()
		}
		answer = f(value)
		return nil
	})
	if err != nil {
		return db.damaged(fmt.Errorf("entry %x: %w", item.Key(), err))
	}
	return answer
}

func (db *DB) view(f func(*badger.Txn) error) error {
	if db.dead.Load() {
		return ErrBroken
	}
	err := db.badger.View(f)
	if errors.Is(err, badger.ErrDBClosed) {
		return ErrClosed
	}
	return err
}

// decoded checks that a reader came out even.
func (db *DB) decoded(key []byte, r *reader) error {
	if r.bad || len(r.rest) > 0 {
		return db.damaged(fmt.Errorf("entry %x does not decode", key))
	}
	return nil
}

func (db *DB) largestOp(parcel, event uint64) op {
	w := newWriter(32)
	w.uint(parcel)
	w.uint(event)
	return db.sealed([]byte{prefixLargest}, w)
}

func (db *DB) loadLargest() error {
	return db.scan([]byte{prefixLargest}, nil, func(_ []byte, r *reader) error {
		db.lastParcel.Store(r.uint())
		db.lastEvent.Store(r.uint())
		return nil
	})
}
