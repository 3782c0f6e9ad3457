package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
)

// Snapshot is all that an engine needs at its start; the parcels themselves are read one by one when they are due.
type Snapshot struct {
	Checkpoints []Checkpoint
	Owing       []Owing // by step, then by parcel: oldest first
	Steps       []StepState
	Marks       []Mark // by step
	LastEvent   uint64 // the largest number ever committed by any pipeline, 0 for none
	NextParcel  uint64 // larger than every ID ever committed by any pipeline, at least 1
}

// Load reads what the state holds of one pipeline. It decodes straight into the snapshot.
func (db *DB) Load(pipeline string) (Snapshot, error) {
	s := Snapshot{LastEvent: db.lastEvent.Load(), NextParcel: db.lastParcel.Load() + 1}
	db.names.mu.RLock()
	mine := map[uint32]string{}
	for name, n := range db.names.number {
		if name.pipeline == pipeline {
			mine[n] = name.address
		}
	}
	db.names.mu.RUnlock()

	read := func(prefix byte, each func(address string, key []byte, r *reader)) error {
		return db.scan([]byte{prefix}, nil, func(key []byte, r *reader) error {
			if address, ok := mine[binary.BigEndian.Uint32(key[1:])]; ok {
				each(address, key, r)
			} else {
				r.rest = nil
			}
			return nil
		})
	}
	err := errors.Join(
		read(prefixCheckpoint, func(address string, _ []byte, r *reader) {
			s.Checkpoints = append(s.Checkpoints, Checkpoint{address, r.bytes(), r.bytes()})
		}),
		read(prefixStep, func(address string, _ []byte, r *reader) {
			s.Steps = append(s.Steps, StepState{address, r.bytes()})
		}),
		read(prefixOwing, func(address string, key []byte, r *reader) {
			o := decodeOwing(r, db.addressOf)
			o.Step, o.Parcel = address, binary.BigEndian.Uint64(key[5:])
			s.Owing = append(s.Owing, o)
		}),
		read(prefixMark, func(address string, key []byte, r *reader) {
			s.Marks = append(s.Marks, Mark{address, binary.BigEndian.Uint64(key[5:]), r.int()})
		}),
	)
	return s, err
}

// Parcel reads a parcel; ErrNotFound when it was dropped or never written.
func (db *DB) Parcel(id uint64) (Parcel, error) {
	p := Parcel{ID: id}
	key := key64(prefixParcel, id)
	err := db.view(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return err
		}
		return db.value(item, func(value []byte) error { return db.decodeParcel(&p, key, value) })
	})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return Parcel{}, fmt.Errorf("parcel %d: %w", id, ErrNotFound)
	case err != nil:
		return Parcel{}, err
	}
	return p, nil
}

func (db *DB) decodeParcel(p *Parcel, key, value []byte) error {
	outer := &reader{rest: value}
	tag := outer.byte()
	sealed := outer.rest
	if p.Opaque = tag == 1; p.Opaque {
		sealed = outer.take(outer.uint())
		p.Body = append([]byte(nil), outer.rest...)
	}
	var scratch []byte
	r, err := db.opened(append(key, tag), sealed, &scratch)
	if err != nil {
		return err
	}
	p.Rest = r.take(r.uint()) // scratch is ours alone
	if !p.Opaque {
		p.Body = r.take(r.uint())
	}
	return db.decoded(key, r)
}

// Events reads up to limit events of a pipeline numbered above after, in order.
func (db *DB) Events(pipeline string, after uint64, limit int) ([]Event, error) {
	n, ok := db.known(name{pipeline, ""})
	if !ok {
		return nil, nil
	}
	var events []Event
	errEnd := errors.New("end")
	start := eventKey(n, max(after, db.trimmedTo(n))+1)
	err := db.scan(key32(prefixEvent, n), start, func(key []byte, r *reader) error {
		if len(events) >= limit {
			return errEnd
		}
		events = append(events, Event{binary.BigEndian.Uint64(key[5:]), r.bytes()})
		return nil
	})
	if err != nil && err != errEnd {
		return nil, err
	}
	return events, nil
}

// Size is what the state takes on disk, in bytes, without the spare that is given back when it is needed.
func (db *DB) Size() (int64, error) {
	var sum int64
	err := filepath.WalkDir(db.dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && entry.Name() != spareFile {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				sum += allocated(info)
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // compacted away meanwhile
		}
		return err
	})
	return sum, err
}

// Info describes a state as files.
type Info struct {
	Format   int    `json:"format"`
	Retired  *Audit `json:"retired,omitempty"`
	Commits  uint64 `json:"commits"` // ever
	Entries  uint64 `json:"entries"`
	Tables   int64  `json:"tables_bytes"`    // on disk: keys, bookkeeping, small values
	ValueLog int64  `json:"value_log_bytes"` // bodies
	Logs     int64  `json:"logs_bytes"`      // what is not in tables yet
}

// Info looks at the state as files. It may be asked beside commits.
func (db *DB) Info() (Info, error) {
	i := Info{Format: db.about.version, Retired: db.about.retired}
	err := db.scan([]byte{prefixTally}, nil, func(_ []byte, r *reader) error {
		i.Commits, i.Entries = r.uint(), r.uint()
		r.fixed()
		return nil
	})
	if err != nil {
		return i, err
	}
	for pattern, sum := range map[string]*int64{"*.sst": &i.Tables, "*.vlog": &i.ValueLog, "*.mem": &i.Logs} {
		files, err := filepath.Glob(filepath.Join(db.dir, "db", pattern))
		if err != nil {
			return i, err
		}
		for _, file := range files {
			if info, err := os.Stat(file); err == nil { // else compacted away meanwhile
				*sum += allocated(info)
			}
		}
	}
	return i, nil
}
