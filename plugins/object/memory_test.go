package object_test

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/weir-etl/weir/plugins/object"
)

// bucket is a strict store in memory: it never overwrites, computes its own checksums, and goes wrong on demand.
type bucket struct {
	t *testing.T

	mu      sync.Mutex
	stored  map[string]stored
	calls   []string
	locked  bool // delete is refused
	fail    map[string]error
	corrupt int                   // that many puts store something else
	race    func(b *bucket)       // runs once, between a HEAD and the put that follows
	noHead  func(key string) bool // HEAD does not see the key yet
}

type stored struct {
	content string
	sha256  string // as the writer said
	damaged bool
}

func newBucket(t *testing.T) *bucket {
	return &bucket{t: t, stored: map[string]stored{}, fail: map[string]error{}}
}

func (b *bucket) info(key string) object.Info {
	s := b.stored[key]
	sum := md5.Sum([]byte(s.content))
	return object.Info{
		URL: "mem://" + key, Size: int64(len(s.content)), SHA256: s.sha256, MD5: hex.EncodeToString(sum[:]),
		Damaged: s.damaged, ETag: "etag", VersionID: "1",
	}
}

func (b *bucket) begin(op, key string) error {
	b.calls = append(b.calls, op+" "+key)
	return b.fail[op]
}

func (b *bucket) Head(_ context.Context, key string) (object.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.begin("head", key); err != nil {
		return object.Info{}, err
	}
	if _, ok := b.stored[key]; !ok || b.noHead != nil && b.noHead(key) {
		return object.Info{}, object.ErrNotFound
	}
	return b.info(key), nil
}

func (b *bucket) Put(_ context.Context, key string, o *object.Object) (object.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.race != nil {
		race := b.race
		b.race = nil
		race(b)
	}
	if err := b.begin("put", key); err != nil {
		return object.Info{}, err
	}
	r, err := o.Open()
	if err != nil {
		return object.Info{}, object.Unreadable(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return object.Info{}, object.Unreadable(err)
	}
	if int64(len(content)) != o.Size {
		b.t.Errorf("put %s: got %d bytes, want %d", key, len(content), o.Size)
	}
	if _, ok := b.stored[key]; ok {
		return object.Info{}, object.ErrTaken
	}
	if b.corrupt > 0 {
		b.corrupt--
		b.stored[key] = stored{"?" + string(content)[1:], o.SHA256, true}
		return b.info(key), fmt.Errorf("%w: test", object.ErrDamaged)
	}
	b.stored[key] = stored{content: string(content), sha256: o.Metadata()["sha256"]}
	return b.info(key), nil
}

func (b *bucket) Delete(_ context.Context, key string, _ object.Info) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.begin("delete", key); err != nil {
		return err
	}
	if b.locked {
		return object.ErrTaken
	}
	if _, ok := b.stored[key]; !ok {
		return errors.New("nothing to delete")
	}
	delete(b.stored, key)
	return nil
}

// thing is an object with this content.
func thing(key, content string) *object.Object {
	sum5, sum := md5.Sum([]byte(content)), sha256.Sum256([]byte(content))
	return &object.Object{
		Key: key, Size: int64(len(content)), MD5: hex.EncodeToString(sum5[:]), SHA256: hex.EncodeToString(sum[:]),
		Open: func() (io.ReadSeekCloser, error) {
			return struct {
				io.ReadSeeker
				io.Closer
			}{readSeeker(content), io.NopCloser(nil)}, nil
		},
	}
}
