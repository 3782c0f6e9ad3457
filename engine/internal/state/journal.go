package state

import (
	"encoding/binary"
	"fmt"
)

// A change that does not fit into one transaction is written to a journal first: its operations, packed into pieces so large that
// they go to the value log and hardly count against a transaction, then the promise, which is the commit. The operations are applied
// afterwards in as many transactions as they need, and promise and pieces deleted last. A promise that is found at Open is kept then,
// which changes nothing where it had been kept already; pieces without a promise are dropped.
//
//	piece = { flag (0 delete, 1 set) ‖ key ‖ value where set }*     key and value with their length (uvarint)

const pieceSize = 1 << 20

func (db *DB) commitByJournal(p *prepared) error {
	p.ops = db.withLargest(p)
	pieces := pack(p.ops)
	db.options.Failpoint("commit.before")
	if err := db.applyAll(pieces); err != nil {
		return err
	}
	db.options.Failpoint("commit.pieces")
	w := newWriter(8)
	w.uint(uint64(len(pieces)))
	if err := db.apply([]op{db.sealed([]byte{prefixPromise}, w)}); err != nil {
		return err
	}
	db.options.Failpoint("commit.journal")
	err := db.applyAll(p.ops)
	if err == nil {
		err = db.dropJournal()
	}
	if err != nil {
		db.broken = fmt.Errorf("%w: a change is promised but not applied: %v", ErrBroken, err)
		return db.broken
	}
	db.options.Failpoint("commit.after")
	db.committed(p)
	return nil
}

// replayJournal keeps what a killed engine had promised.
func (db *DB) replayJournal() error {
	var promised uint64
	err := db.scan([]byte{prefixPromise}, nil, func(_ []byte, r *reader) error {
		promised = r.uint()
		return nil
	})
	if err != nil {
		return err
	}
	found := uint64(0)
	err = db.scanRaw([]byte{prefixJournal}, nil, true, func(key, piece []byte) error {
		if found++; found > promised {
			return nil
		}
		ops, err := unpack(piece)
		if err != nil {
			return db.damaged(fmt.Errorf("entry %x: %w", key, err))
		}
		return db.applyAll(ops)
	})
	if err != nil || found == 0 {
		return err
	}
	if found < promised {
		return db.damaged(fmt.Errorf("the journal has %d of %d pieces", found, promised))
	}
	return db.dropJournal()
}

// dropJournal deletes the promise and every piece in one transaction: MaxChange makes some thousand pieces at most.
func (db *DB) dropJournal() error {
	drop := []op{{[]byte{prefixPromise}, nil}}
	err := db.scanRaw([]byte{prefixJournal}, nil, false, func(key, _ []byte) error {
		drop = append(drop, op{append([]byte(nil), key...), nil})
		return nil
	})
	if err != nil {
		return err
	}
	return db.apply(drop)
}

// applyAll applies operations in order, in as many transactions as they need.
func (db *DB) applyAll(ops []op) error {
	var sum cost
	start := 0
	for i, o := range ops {
		next := sum.add(o)
		if !db.fits(next) && i > start {
			if err := db.apply(ops[start:i]); err != nil {
				return err
			}
			start, next = i, cost{}.add(o)
		}
		sum = next
	}
	if start == len(ops) {
		return nil
	}
	return db.apply(ops[start:])
}

func pack(ops []op) []op {
	var pieces []op
	var piece []byte
	flush := func() {
		pieces = append(pieces, op{key32(prefixJournal, uint32(len(pieces))), piece})
		piece = nil
	}
	for _, o := range ops {
		if len(piece) > 0 && len(piece)+len(o.key)+len(o.value) > pieceSize {
			flush()
		}
		if o.value == nil {
			piece = append(piece, 0)
		} else {
			piece = append(piece, 1)
		}
		piece = append(binary.AppendUvarint(piece, uint64(len(o.key))), o.key...)
		if o.value != nil {
			piece = append(binary.AppendUvarint(piece, uint64(len(o.value))), o.value...)
		}
	}
	if len(piece) > 0 {
		flush()
	}
	return pieces
}

// unpack copies: pieces are only valid while they are scanned.
func unpack(piece []byte) ([]op, error) {
	var ops []op
	r := &reader{rest: piece}
	for len(r.rest) > 0 {
		set := r.byte() == 1
		o := op{key: r.bytes()}
		if set {
			o.value = append([]byte{}, r.take(r.uint())...)
		}
		ops = append(ops, o)
	}
	if r.bad {
		return nil, fmt.Errorf("the journal does not decode")
	}
	return ops, nil
}
