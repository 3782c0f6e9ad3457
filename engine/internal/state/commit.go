package state

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// request is what the writer does for somebody: a change that may share a transaction, or a function that must run alone.
type request struct {
	change *prepared
	alone  func() error
	look   bool       // alone only looks: it may whatever the disk says
	done   chan error // of 1: the writer never waits for the asker
}

// prepared is a sealed change.
type prepared struct {
	ops                   []op
	cost                  cost
	bytes                 int
	lastParcel, lastEvent uint64
}

// cost is what operations take of a transaction, as Badger counts it (Txn.checkSize, v4.9.6), and of the value log.
type cost struct{ entries, bytes, log int64 }

func (c cost) add(o op) cost {
	size, log := len(o.value), 0
	if size >= valueThreshold {
		size, log = 12, len(o.key)+len(o.value)+64 // a pointer, and what it points to
	}
	return c.plus(cost{1, int64(len(o.key) + size + 2 + 10), int64(log)})
}

func (c cost) plus(d cost) cost {
	return cost{c.entries + d.entries, c.bytes + d.bytes, c.log + d.log}
}

// fits leaves room for the largest numbers, which the writer adds. Badger accepts more for the value log, but then grows a
// mapped file under the feet of its readers.
func (db *DB) fits(c cost) bool {
	return c.entries+8 < db.badger.MaxBatchCount() && c.bytes+1024 < db.badger.MaxBatchSize() && c.log <= db.options.logFile-transactionRoom
}

// Commit returns when the whole change is durable, or an error when nothing of it is known to be. ctx only bounds the wait until
// the change is taken: a change that is being written is waited for. The state keeps no reference to the change. Errors: ErrTooLarge
// (see MaxValue, MaxChange), ErrFull, ErrReadOnly, ErrClosed, and what the disk says.
//
// Several changes are written one after the other, and share a synchronisation of the disk as far as they fit together: a disk takes some
// hundred of those a second, and a change may be a single row. After an error the first of them may be durable, each whole.
func (db *DB) Commit(ctx context.Context, changes ...*Change) error {
	if db.options.ReadOnly {
		return ErrReadOnly
	}
	var group *prepared
	for _, c := range changes {
		p, err := db.prepare(c)
		if err != nil {
			return err
		}
		if group != nil && (!db.fits(group.cost.plus(p.cost)) || group.bytes+p.bytes > gatherBytes) {
			if err := db.submit(ctx, group); err != nil {
				return err
			}
			group = nil
		}
		if group == nil {
			group = p
			continue
		}
		group.add(p.ops...)
		group.lastParcel, group.lastEvent = max(group.lastParcel, p.lastParcel), max(group.lastEvent, p.lastEvent)
	}
	if group == nil {
		return nil
	}
	return db.submit(ctx, group)
}

// submit hands a prepared change to the writer and waits for it.
func (db *DB) submit(ctx context.Context, p *prepared) error {
	r := request{change: p, done: make(chan error, 1)}
	select {
	case db.requests <- r:
		return <-r.done
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closing:
		return ErrClosed
	}
}

// ask has the writer run f, which writes, between two transactions.
func (db *DB) ask(f func() error) error { return db.send(request{alone: f, done: make(chan error, 1)}) }

// pause has the writer run f, which only looks, between two transactions.
func (db *DB) pause(f func() error) error {
	return db.send(request{alone: f, look: true, done: make(chan error, 1)})
}

func (db *DB) send(r request) error {
	select {
	case db.requests <- r:
		return <-r.done
	case <-db.closing:
		return ErrClosed
	}
}

// prepare seals a change on the caller's goroutine: the deletions first, so that what is dropped and written is written.
func (db *DB) prepare(c *Change) (*prepared, error) {
	number := func(address string) (uint32, error) { return db.numberOf(name{c.Pipeline, address}) }
	door := func(address string) (uint32, error) {
		if address == "" {
			return 0, nil
		}
		return number(address)
	}
	p := &prepared{}
	for _, address := range c.DropSteps {
		if n, ok := db.known(name{c.Pipeline, address}); ok {
			p.add(op{key32(prefixStep, n), nil}, op{key32(prefixCheckpoint, n), nil})
			err := db.scanRaw(key32(prefixMark, n), nil, false, func(key, _ []byte) error {
				p.add(op{append([]byte(nil), key...), nil})
				return nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	for _, key := range c.DropOwing {
		if n, ok := db.known(name{c.Pipeline, key.Step}); ok {
			p.add(op{owingKey(n, key.Parcel), nil})
		}
	}
	for _, id := range c.DropParcels {
		p.add(op{key64(prefixParcel, id), nil})
	}
	if err := db.trim(p, c.Pipeline, c.TrimEvents); err != nil {
		return nil, err
	}

	for _, s := range c.Steps {
		n, err := number(s.Address)
		if err != nil {
			return nil, err
		}
		w := newWriter(len(s.ConfigHash) + 8)
		w.bytes(s.ConfigHash)
		p.add(db.sealed(key32(prefixStep, n), w))
	}
	for _, k := range c.Checkpoints {
		n, err := number(k.Source)
		if err != nil {
			return nil, err
		}
		w := newWriter(len(k.Position) + len(k.Stats) + 16)
		w.bytes(k.Position)
		w.bytes(k.Stats)
		p.add(db.sealed(key32(prefixCheckpoint, n), w))
	}
	for i := range c.Owing {
		o := &c.Owing[i]
		n, err := number(o.Step)
		if err != nil {
			return nil, err
		}
		w, err := encodeOwing(o, door)
		if err != nil {
			return nil, err
		}
		p.add(db.sealed(owingKey(n, o.Parcel), w))
	}
	for _, m := range c.Marks {
		if err := db.mark(p, name{c.Pipeline, m.Step}, m); err != nil {
			return nil, err
		}
	}
	for i := range c.Parcels {
		p.add(db.parcelOp(&c.Parcels[i]))
		p.lastParcel = max(p.lastParcel, c.Parcels[i].ID)
	}
	for _, a := range c.Audit {
		op, err := db.auditOp(a)
		if err != nil {
			return nil, err
		}
		p.add(op)
	}
	for _, e := range c.Events {
		n, err := number("")
		if err != nil {
			return nil, err
		}
		w := newWriter(len(e.Data) + 8)
		w.bytes(e.Data)
		p.add(db.sealed(eventKey(n, e.Number), w))
		p.lastEvent = max(p.lastEvent, e.Number)
	}
	return p, p.check()
}

func (p *prepared) add(ops ...op) {
	for _, o := range ops {
		p.ops = append(p.ops, o)
		p.cost = p.cost.add(o)
		p.bytes += len(o.key) + len(o.value) + 32
	}
}

func (p *prepared) check() error {
	for _, o := range p.ops {
		if len(o.value) > MaxValue {
			return fmt.Errorf("%w: a value of %d bytes, the limit is %d", ErrTooLarge, len(o.value), MaxValue)
		}
	}
	if p.bytes > MaxChange {
		return fmt.Errorf("%w: a change of %d bytes, the limit is %d", ErrTooLarge, p.bytes, MaxChange)
	}
	return nil
}

// mark writes a mark, or deletes one without tries: where the step is not known there is none.
func (db *DB) mark(p *prepared, step name, m Mark) error {
	if m.Tries == 0 {
		if n, ok := db.known(step); ok {
			p.add(op{markKey(n, m.ID), nil})
		}
		return nil
	}
	n, err := db.numberOf(step)
	if err != nil {
		return err
	}
	w := newWriter(8)
	w.uint(uint64(m.Tries))
	p.add(db.sealed(markKey(n, m.ID), w))
	return nil
}

// parcelOp lays out a parcel as layout.go says. The first byte is part of the additional data.
func (db *DB) parcelOp(p *Parcel) op {
	key := key64(prefixParcel, p.ID)
	if !p.Opaque {
		w := newWriter(len(p.Rest) + len(p.Body) + 16)
		w.bytes(p.Rest)
		w.bytes(p.Body)
		return op{key, append([]byte{0}, db.seal.inPlace(w.buf, append(key, 0))...)}
	}
	w := newWriter(len(p.Rest) + 8)
	w.bytes(p.Rest)
	rest := db.seal.inPlace(w.buf, append(key, 1))
	value := make([]byte, 1, len(rest)+len(p.Body)+8)
	value[0] = 1
	value = binary.AppendUvarint(value, uint64(len(rest)))
	return op{key, append(append(value, rest...), p.Body...)}
}

// trim deletes the events of a pipeline up to last that are there.
func (db *DB) trim(p *prepared, pipeline string, last uint64) error {
	n, ok := db.known(name{pipeline, ""})
	if !ok || last <= db.trimmedTo(n) {
		return nil
	}
	errEnd := errors.New("end")
	err := db.scanRaw(key32(prefixEvent, n), eventKey(n, db.trimmedTo(n)), false, func(key, _ []byte) error {
		if binary.BigEndian.Uint64(key[5:]) > last {
			return errEnd
		}
		p.add(op{append([]byte(nil), key...), nil})
		return nil
	})
	if err == errEnd {
		err = nil
	}
	return err
}

// write is the one goroutine that writes. It takes what is waiting and fits into one transaction.
func (db *DB) write() {
	var next *request // taken, but did not fit
	for {
		var first request
		if next != nil {
			first, next = *next, nil
		} else {
			select {
			case first = <-db.requests:
			case <-db.closing:
				return
			}
		}
		if first.alone != nil {
			if first.look {
				first.done <- first.alone()
			} else {
				first.done <- db.sound(0, first.alone)
			}
			continue
		}
		if !db.fits(first.change.cost) {
			first.done <- db.sound(first.change.bytes, func() error { return db.commitByJournal(first.change) })
			continue
		}
		group := []request{first}
		sum, bytes := first.change.cost, first.change.bytes
	gather:
		for bytes < gatherBytes {
			select {
			case r := <-db.requests:
				if r.alone != nil || !db.fits(sum.plus(r.change.cost)) {
					next = &r
					break gather
				}
				group = append(group, r)
				sum, bytes = sum.plus(r.change.cost), bytes+r.change.bytes
			default:
				break gather
			}
		}
		err := db.sound(bytes, func() error { return db.commitGroup(group) })
		for _, r := range group {
			r.done <- err
		}
	}
}

// gatherBytes bounds what waits for one synchronisation, so that a small change does not wait behind many large ones.
const gatherBytes = 8 << 20

// sound runs f, which writes so many bytes, unless the disk has no room for it or a half-applied journal forbids it: later writes
// would be undone when the journal is applied again.
func (db *DB) sound(bytes int, f func() error) error {
	if db.broken != nil {
		return db.broken
	}
	need := db.reserve() + 2*int64(bytes) // twice: a journal holds them once more
	if err := room(db.dir, need); err != nil {
		return err
	}
	if err := keepSpare(db.dir, need); err != nil {
		return err
	}
	return f()
}

func (db *DB) commitGroup(group []request) error {
	var all prepared
	for _, r := range group {
		all.ops = append(all.ops, r.change.ops...)
		all.lastParcel = max(all.lastParcel, r.change.lastParcel)
		all.lastEvent = max(all.lastEvent, r.change.lastEvent)
	}
	ops := db.withLargest(&all)
	if len(ops) == 0 {
		return nil
	}
	db.options.Failpoint("commit.before")
	if err := db.apply(ops); err != nil {
		return err
	}
	db.options.Failpoint("commit.after")
	db.committed(&all)
	return nil
}

// withLargest adds the new largest numbers to the operations that raise them.
func (db *DB) withLargest(p *prepared) []op {
	parcel, event := max(p.lastParcel, db.lastParcel.Load()), max(p.lastEvent, db.lastEvent.Load())
	if parcel == db.lastParcel.Load() && event == db.lastEvent.Load() {
		return p.ops
	}
	return append(p.ops, db.largestOp(parcel, event))
}

// trimmedTo is up to where the events of a pipeline are gone.
func (db *DB) trimmedTo(pipeline uint32) uint64 {
	last, _ := db.trimmed.Load(pipeline)
	n, _ := last.(uint64)
	return n
}

func (db *DB) committed(p *prepared) {
	db.lastParcel.Store(max(p.lastParcel, db.lastParcel.Load()))
	db.lastEvent.Store(max(p.lastEvent, db.lastEvent.Load()))
	for _, o := range p.ops {
		if o.key[0] == prefixEvent && o.value == nil {
			db.trimmed.Store(binary.BigEndian.Uint32(o.key[1:]), binary.BigEndian.Uint64(o.key[5:])) // in order: the last is the largest
		}
	}
}

// apply writes operations in one durable transaction. Only the writer calls it.
func (db *DB) apply(ops []op) error {
	txn := db.badger.NewTransaction(true)
	defer txn.Discard()
	next := db.tally
	next.serial++
	write := func(o op) error {
		if o.value == nil {
			return txn.Delete(o.key)
		}
		return txn.SetEntry(badger.NewEntry(o.key, o.value))
	}
	for _, o := range ops {
		if err := db.count(&next, txn, o); err != nil {
			return err
		}
		if err := write(o); err != nil {
			return err
		}
	}
	if err := write(db.tallyOp(next)); err != nil {
		return err
	}
	err := txn.Commit()
	if err == nil {
		err = db.log.unsynced()
	}
	if err != nil {
		// Badger does not say how much of it was written, and goes on badly after some errors: nothing may follow.
		db.broken = fmt.Errorf("%w: %v", ErrBroken, err)
		db.dead.Store(true)
		return db.broken
	}
	db.tally = next
	db.writeHead()
	db.writes.Add(int64(len(ops)))
	for _, o := range ops {
		db.grown += cost{}.add(o).bytes
	}
	if db.grown > grownTooMuch {
		select {
		case db.fat <- struct{}{}:
		default: // it is known
		}
	}
	return nil
}
