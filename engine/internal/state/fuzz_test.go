package state

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// heapBytes is what has been allocated so far, in bytes.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// FuzzDecode takes bytes for every value that the state holds. Values are sealed, so only a mistake of ours, or a newer weir, can have
// written such bytes: they are refused, or mean the same when they are written again.
func FuzzDecode(f *testing.F) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 5, time.UTC)
	w, err := encodeOwing(&Owing{Rows: 20, IDs: make([]uint64, 20), Groups: []Group{
		{Rows: []uint32{0, 3, 19}, Door: "address 1", Cause: "key version 9", Code: "C", Detail: "d", Due: at, Deadline: at.Add(time.Hour), Since: at, Tries: 3},
		{Dead: true, Revisit: true, Kept: true, Raised: true, Rows: []uint32{1}, Door: "address 2", AboutAt: "address 0", About: 7},
	}}, func(address string) (n uint32, err error) {
		_, err = fmt.Sscanf(address, "address %d", &n)
		return n, err
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(w.buf[nonceSize+1:])
	f.Add(pack([]op{{[]byte("key"), []byte("value")}, {[]byte("gone"), nil}, {[]byte{}, []byte{}}})[0].value)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0x07, 0, 0xff, 0xff, 0xff, 0xff, 0x07})
	f.Add([]byte{4, 0, 1, 0, 1, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add(append([]byte{recordFile, 1, 'f'}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, recordEnd, 0, 1))
	f.Add([]byte("\x01 said in confidence"))
	f.Add(bytes.Repeat([]byte{1}, 300))
	seal, err := newSealer(make([]byte, KeySize))
	if err != nil {
		f.Fatal(err)
	}
	db := &DB{dir: "DIR", seal: seal}
	f.Fuzz(func(t *testing.T, data []byte) {
		before := heapBytes()
		old, oldOK := decodeAll(data, 1)
		o, ok := decodeAll(data, encodingVersion)
		ops, opsErr := unpack(data)
		if took, most := heapBytes()-before, uint64(200*len(data)+8<<20); took > most {
			t.Errorf("%d bytes made the reader allocate %d, want at most %d", len(data), took, most)
		}
		if ok {
			checkOwing(t, o)
		}
		if oldOK {
			checkOwing(t, old)
		}
		checkArchive(t, data)
		if opsErr == nil {
			var again []op
			for _, piece := range pack(ops) {
				part, err := unpack(piece.value)
				if err != nil {
					t.Fatal(err)
				}
				again = append(again, part...)
			}
			if len(again) != len(ops) {
				t.Fatalf("%d operations became %d", len(ops), len(again))
			}
			for i := range ops {
				if !bytes.Equal(again[i].key, ops[i].key) || !bytes.Equal(again[i].value, ops[i].value) || (again[i].value == nil) != (ops[i].value == nil) {
					t.Errorf("operation %d: got %q, want %q", i, again[i], ops[i])
				}
			}
		}
		checkSealed(t, db, data)
		if key, err := ParseKey(string(data)); err == nil && len(key) != KeySize {
			t.Errorf("a key of %d bytes", len(key))
		} else if err != nil && len(data) > 24 && strings.Contains(err.Error(), string(data)) {
			t.Errorf("the key is told: %v", err)
		}
	})
}

func decodeAll(data []byte, version byte) (Owing, bool) {
	r := &reader{rest: data, version: version}
	o := decodeOwing(r, func(n uint32) (string, bool) { return fmt.Sprint("address ", n), n < 8 })
	return o, !r.bad && len(r.rest) == 0
}

// checkOwing writes what was read. What the writer refuses, it has never written; what it takes is read as it was.
func checkOwing(t *testing.T, o Owing) {
	w, err := encodeOwing(&o, func(address string) (n uint32, err error) {
		_, err = fmt.Sscanf(address, "address %d", &n)
		return n, err
	})
	if err != nil {
		return
	}
	again, ok := decodeAll(w.buf[nonceSize+1:], encodingVersion)
	if !ok || !reflect.DeepEqual(again, o) {
		t.Errorf("got %+v, %v, want %+v", again, ok, o)
	}
}

// checkArchive reads data as an archive, behind the head of one, and as what an archive holds.
func checkArchive(t *testing.T, data []byte) {
	const head = `{"weir":"state archive","archive":1,"format":1}` + "\n"
	for _, text := range [][]byte{data, append([]byte(head), data...)} {
		var entries, files int
		var size int64
		info, _, _, err := readArchive(bytes.NewReader(text), nil, func(o op) error {
			entries, size = entries+1, size+int64(len(o.key)+len(o.value))
			return nil
		}, func(path string, n int64, _ io.Reader) error {
			if n < 0 {
				t.Errorf("a file of %d bytes", n)
			}
			files, size = files+1, size+n
			return nil
		})
		switch {
		case err == nil && (info.Entries != entries || info.Files != files || size > info.Bytes || info.Bytes > int64(len(text))):
			t.Errorf("got %+v of %d bytes with %d entries and %d files of %d bytes", info, len(text), entries, files, size)
		case err != nil && !errors.Is(err, ErrArchive) && !errors.Is(err, ErrNewer) && len(err.Error()) > 200:
			t.Errorf("got %v", err)
		}
	}
	var b bytes.Buffer
	w := &archiveWriter{w: bufio.NewWriter(&b), sum: sha256.New()}
	io.WriteString(w, head)
	key, value, path := data[:min(len(data), 9)], data[min(len(data), 9):], "folder/1-0"
	if len(value) > 0 {
		w.numbers(recordEntry)
		w.bytes(key)
		w.bytes(value)
	}
	w.numbers(recordFile)
	w.bytes([]byte(path))
	w.bytes(data)
	w.numbers(recordEnd, uint64(min(len(value), 1)), 1)
	w.Write(append(w.sum.Sum(nil), make([]byte, 32)...))
	w.w.Flush()
	var got []byte
	info, _, _, err := readArchive(bytes.NewReader(b.Bytes()), nil, func(o op) error {
		if !bytes.Equal(o.key, key) || !bytes.Equal(o.value, value) {
			t.Errorf("got entry %q, want %q, %q", o, key, value)
		}
		return nil
	}, func(name string, _ int64, file io.Reader) (err error) {
		if name != path {
			t.Errorf("got file %q", name)
		}
		got, err = io.ReadAll(file)
		return err
	})
	if err != nil || !bytes.Equal(got, data) || info.Bytes != int64(b.Len()) {
		t.Errorf("got %+v, %v, %q, want %q", info, err, got, data)
	}
	if len(data) > 0 {
		b.Bytes()[len(head)+int(data[0])%(b.Len()-len(head)-32)] ^= 1
		if _, err := CheckArchive(bytes.NewReader(b.Bytes())); err == nil {
			t.Error("a flipped bit went unnoticed")
		}
	}
}

// checkSealed opens data as a sealed value, and sealed as one.
func checkSealed(t *testing.T, db *DB, data []byte) {
	key := key64(prefixParcel, 7)
	var p Parcel
	if err := db.decodeParcel(&p, key, data); err == nil || len(data) > 24 && strings.Contains(err.Error(), string(data)) {
		t.Errorf("bytes that nobody has sealed: got %v", err)
	}
	sealed := db.seal.inPlace(append(make([]byte, nonceSize, nonceSize+len(data)+tagSize), data...), append(bytes.Clone(key), 0))
	value := append([]byte{0}, sealed...)
	if err := db.decodeParcel(&p, key, value); err == nil {
		if len(p.Rest)+len(p.Body) > len(data) {
			t.Errorf("%d and %d bytes came out of %d", len(p.Rest), len(p.Body), len(data))
		}
	} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) || len(data) > 24 && strings.Contains(err.Error(), string(data)) {
		t.Errorf("got %v", err)
	}
	if len(data) > 0 {
		value[1+len(data)%len(sealed)] ^= 1
		if err := db.decodeParcel(&p, key, value); !errors.Is(err, ErrDamaged) {
			t.Errorf("a flipped bit: got %v", err)
		}
	}
}
