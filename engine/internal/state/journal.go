package state

import (
	"encoding/binary"
	"fmt"
)

// A change that does not fit into one transaction is written to a journal first: its operations, packed into pieces so large that
// they go to the value log and hardly count against a transaction. That one transaction is the commit; the operations are applied
// afterwards in as many transactions as they need, and the pieces deleted last. A journal that is found at Open is applied again,
// which changes nothing where it had been applied already.
//
//	piece = { flag (0 delete, 1 set) ‖ key ‖ value where set }*     key and value with their length (uvarint)

const pieceSize = 1 << 20

func (db *DB) commitByJournal(p *prepared) error {
	p.ops = db.withMarks(p)
	pieces := pack(p.ops)
	db.options.Failpoint("commit.before")
	if err := db.apply(pieces); err != nil {
		return err
	}
	db.options.Failpoint("commit.journal")
	if err := db.applyAll(p.ops, len(pieces)); err != nil {
		db.broken = fmt.Errorf("a change is promised but not applied, open the state again: %w", err)
		return db.broken
	}
	db.options.Failpoint("commit.after")
	db.committed(p)
	return nil
}

// replayJournal applies what a killed engine had promised.
func (db *DB) replayJournal() error {
	pieces := 0
	err := db.scanRaw([]byte{prefixJournal}, nil, true, func(key, piece []byte) error {
		ops, err := unpack(piece)
		if err != nil {
			return damaged(db.dir, fmt.Errorf("entry %x: %w", key, err))
		}
		pieces++
		return db.applyAll(ops, 0)
	})
	if err != nil || pieces == 0 {
		return err
	}
	return db.applyAll(nil, pieces)
}

// applyAll applies operations in order, then deletes the journal's pieces.
func (db *DB) applyAll(ops []op, pieces int) error {
	var sum cost
	start := 0
	for i, o := range ops {
		if next := sum.add(o); db.fits(next) {
			sum = next
			continue
		}
		if err := db.apply(ops[start:i]); err != nil {
			return err
		}
		start, sum = i, cost{}.add(o)
	}
	if start < len(ops) {
		if err := db.apply(ops[start:]); err != nil {
			return err
		}
	}
	if pieces == 0 {
		return nil
	}
	var drop []op
	for i := range pieces {
		drop = append(drop, op{key32(prefixJournal, uint32(i)), nil})
	}
	return db.apply(drop)
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
