package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Report is what Check found. Without problems everything that was committed is there and can be read.
type Report struct {
	Entries  int      `json:"entries"`
	Parcels  int      `json:"parcels"`
	Bytes    int64    `json:"bytes"`            // of all values
	Unused   int      `json:"unused,omitempty"` // parcels of which nothing is owed
	Problems []string `json:"problems"`
}

// maxProblems is how many problems a report tells.
const maxProblems = 100

// Check reads and opens every value, bodies too, and compares what is owed with the parcels that are there. It may run beside commits:
// it sees the state of one instant.
func (db *DB) Check(ctx context.Context) (Report, error) {
	r := Report{Problems: []string{}}
	problem := func(format string, args ...any) {
		if len(r.Problems) < maxProblems {
			r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
		}
	}
	held, owed := map[uint64]bool{}, map[uint64]string{}
	err := db.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 8})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			item := it.Item()
			key := item.Key()
			r.Entries++
			if key[0] == prefixParcel && len(key) == 9 {
				r.Parcels++
				held[binary.BigEndian.Uint64(key[1:])] = false
			}
			err := db.value(item, func(value []byte) error {
				r.Bytes += int64(len(value))
				return db.look(key, value, func(parcel uint64, step string) { owed[parcel] = step })
			})
			if err != nil {
				problem("entry %x: %v", key, rooted(err))
			}
		}
		return nil
	})
	if err != nil {
		return r, err
	}
	for id, step := range owed {
		if _, ok := held[id]; !ok {
			problem("%s owes rows of parcel %d, which is not there", step, id)
		}
		held[id] = true
	}
	for _, used := range held {
		if !used {
			r.Unused++
		}
	}
	return r, nil
}

// rooted leaves away what every damage says.
func rooted(err error) error {
	var d *damageError
	if errors.As(err, &d) {
		return fmt.Errorf("%w%s", d.cause, suspect(d.cause))
	}
	return err
}

// look opens one value. With owed it decodes what a step owes, which takes the table of names, and tells it.
func (db *DB) look(key, value []byte, owed func(parcel uint64, step string)) error {
	var scratch []byte
	switch key[0] {
	case prefixParcel:
		var p Parcel
		return db.decodeParcel(&p, append([]byte(nil), key...), value)
	case prefixJournal:
		_, err := unpack(value)
		return err
	case prefixFlush:
		return nil
	}
	plain, err := db.seal.open(scratch, value, key)
	if err != nil {
		return err
	}
	r := &reader{rest: plain}
	r.version = r.byte()
	if key[0] == prefixOwing && len(key) == 13 && owed != nil {
		decodeOwing(r, db.addressOf)
		step, _ := db.addressOf(binary.BigEndian.Uint32(key[1:]))
		owed(binary.BigEndian.Uint64(key[5:]), step)
		if r.bad || len(r.rest) > 0 {
			return errDecode
		}
	}
	return nil
}
