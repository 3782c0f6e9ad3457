package object

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-etl/weir/sdk"
)

// Writer writes once.
type Writer struct {
	Store  Store
	Reject bool // other bytes under the key are a dead letter, not a new version
}

// Placed says where an object lies.
type Placed struct {
	URLs      []string // of every version, newest first
	Key       string
	Version   int // 1, or the N of …-vN
	VersionID string
	SHA256    string
	ETag      string
	Again     bool // it was there already
}

const (
	// maxVersions bounds the walk: so many different contents under one key are a mistake in the key.
	maxVersions = 100
	// askFirst is the size from which a look before the put is cheaper than a refused put.
	askFirst = 256 << 10
)

// Find looks for o under its key and the versions of it. found is false when it has to be sent.
func (w Writer) Find(ctx context.Context, o *Object) (p Placed, found bool, err error) {
	if err := o.check(); err != nil {
		return Placed{}, false, err
	}
	return w.walk(ctx, o, false)
}

// walk goes through the versions until it meets o, or the first free key, which it returns as Placed with found = false. With repair it
// deletes damaged objects on the way; one that cannot be deleted counts as a version.
func (w Writer) walk(ctx context.Context, o *Object, repair bool) (p Placed, found bool, err error) {
	for n := 1; n <= maxVersions; n++ {
		p.Key, p.Version = VersionKey(o.Key, n), n
		info, err := w.Store.Head(ctx, p.Key)
		switch {
		case errors.Is(err, ErrNotFound):
			return p, false, nil
		case err != nil:
			return p, false, err
		case info.holds(o):
			p.Again = true
			return p.with(info, o), true, nil
		case info.Damaged && repair && w.Store.Delete(ctx, p.Key, info) == nil:
			return p, false, nil
		case w.Reject:
			return p, false, sdk.Reject("differs", errors.New("the key holds other bytes")).Err()
		}
		p.URLs = append([]string{info.URL}, p.URLs...)
	}
	return p, false, sdk.Reject("too_many_versions", fmt.Errorf("%d different contents under one key", maxVersions)).Err()
}

func (p Placed) with(info Info, o *Object) Placed {
	p.URLs = append([]string{info.URL}, p.URLs...)
	p.VersionID, p.ETag, p.SHA256 = info.VersionID, info.ETag, o.SHA256
	return p
}

// Place makes sure that o lies in the store, and says where. A small object is simply put, because most are new; a large one is
// looked for first, and so is whatever was refused.
func (w Writer) Place(ctx context.Context, o *Object) (Placed, error) {
	if err := o.check(); err != nil {
		return Placed{}, err
	}
	p := Placed{Key: o.Key, Version: 1}
	if o.Size >= askFirst {
		var found bool
		var err error
		if p, found, err = w.walk(ctx, o, true); found || err != nil {
			return p, err
		}
	}
	info, err := w.Store.Put(ctx, p.Key, o)
	if errors.Is(err, ErrTaken) { // by a put whose answer was lost, or by somebody else
		taken := p.Key
		var found bool
		if p, found, err = w.walk(ctx, o, true); found || err != nil {
			return p, err
		}
		if p.Key == taken {
			return p, sdk.Retry(0, "key_in_flux", errors.New("the service says both taken and not there")).Err()
		}
		info, err = w.Store.Put(ctx, p.Key, o)
	}
	switch {
	case errors.Is(err, ErrTaken):
		return p, sdk.Retry(0, "key_in_flux", errors.New("somebody writes the same versions")).Err()
	case errors.Is(err, ErrDamaged):
		// Where deletion is not allowed (retention), the damaged object stays and the next try finds and passes it.
		detail := err
		if w.Store.Delete(ctx, p.Key, info) != nil {
			detail = fmt.Errorf("%w, and cannot be deleted", err)
		}
		return p, sdk.Retry(0, "damaged", detail).Err()
	case err != nil:
		return p, err
	}
	return p.with(info, o), nil
}
