package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"os"
	"path/filepath"
)

// A journal is a file of lines, PATH, with an index of identities beside it, PATH.ids.
//
// The index is a sequence of entries of 32 bytes, so that none crosses a disk sector:
//
//	16 bytes  first half of the sha256 of the identity; in the first entry "weir file ids/1\n"
//	 8 bytes  big-endian, the place in PATH behind the line; in the first entry the size that PATH had before
//	 8 bytes  big-endian, CRC-64 (ECMA) of the 24 bytes before
//
// Lines are written and synced, then their entries are written and synced, and only then the records are acknowledged. So a
// crash leaves, behind a good part, either lines without entries or damaged entries, and none of those was ever acknowledged:
// openJournal cuts both. What PATH held before the first line is never touched.
//
// Memory: the identities stand in a map, about 40 bytes each (40 MB for a million records).
type journal struct {
	lines, ids *os.File
	end        int64 // of the good part of lines
	idsEnd     int64
	known      map[identity]struct{}

	data    []byte     // lines that wait for flush,
	entries []byte     // their entries …
	fresh   []identity // … and identities
}

type identity [16]byte

func identityOf(key string) identity {
	sum := sha256.Sum256([]byte(key))
	return identity(sum[:16])
}

const entrySize = 32

var (
	journalMagic = identity([]byte("weir file ids/1\n"))
	crcTable     = crc64.MakeTable(crc64.ECMA)
)

// openJournal opens or creates both files and cuts off what a crash left behind. errLocked says that another process has them.
func openJournal(path string) (*journal, error) {
	lines, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	j := &journal{lines: lines}
	if err := j.open(path); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

func (j *journal) open(path string) error {
	if err := lock(j.lines); err != nil {
		return err
	}
	ids, err := os.OpenFile(path+".ids", os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		ids, err = j.create(path)
	}
	if err != nil {
		return err
	}
	j.ids = ids
	if err := j.load(); err != nil {
		return fmt.Errorf("%s.ids: %w", path, err)
	}
	return j.cut()
}

// create begins an index behind what PATH holds already. It appears whole or not at all.
func (j *journal) create(path string) (*os.File, error) {
	size, err := endLine(j.lines)
	if err != nil {
		return nil, err
	}
	if err := j.lines.Sync(); err != nil {
		return nil, err
	}
	if err := writeWhole(path+".ids", bytes.NewReader(appendEntry(nil, journalMagic, size))); err != nil {
		return nil, err
	}
	return os.OpenFile(path+".ids", os.O_RDWR, 0o600)
}

// endLine gives the last line a newline, if it has none, and returns the size.
func endLine(f *os.File) (int64, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return 0, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], size-1); err != nil {
		return 0, err
	}
	if last[0] == '\n' {
		return size, nil
	}
	_, err = f.WriteAt([]byte{'\n'}, size)
	return size + 1, err
}

// load reads the good part of the index. An entry is good if its sum is right and its line lies, in order, in the file.
func (j *journal) load() error {
	st, err := j.lines.Stat()
	if err != nil {
		return err
	}
	all, err := io.ReadAll(j.ids)
	if err != nil {
		return err
	}
	key, end, ok := readEntry(all)
	if !ok || key != journalMagic {
		return errors.New("is not an index of weir")
	}
	if end > st.Size() {
		return fmt.Errorf("belongs to a file that had %d bytes, not %d", end, st.Size())
	}
	j.known = make(map[identity]struct{}, len(all)/entrySize)
	j.end, j.idsEnd = end, entrySize
	for {
		key, end, ok := readEntry(all[j.idsEnd:])
		if !ok || end <= j.end || end > st.Size() {
			return nil
		}
		j.known[key] = struct{}{}
		j.end = end
		j.idsEnd += entrySize
	}
}

// cut removes everything behind the good parts; index first, so that a crash in between leaves lines without entries.
func (j *journal) cut() error {
	for _, f := range []struct {
		*os.File
		size int64
	}{{j.ids, j.idsEnd}, {j.lines, j.end}} {
		if err := f.Truncate(f.size); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// errLocked says that another process has the file.
var errLocked = errors.New("another process writes this file")

// errForeign says that somebody else wrote into the file.
var errForeign = errors.New("somebody else has written into the file")

// add takes a line, without its newline, and its identity for the next flush. A line that is known or waiting already is left out.
func (j *journal) add(line []byte, key identity) {
	if j.has(key) {
		return
	}
	j.known[key] = struct{}{}
	j.fresh = append(j.fresh, key)
	j.data = append(append(j.data, line...), '\n')
	j.entries = appendEntry(j.entries, key, j.end+int64(len(j.data)))
}

// flush writes what waits, durably; nothing waits afterwards. It returns errForeign without having written anything. After any other
// error the journal must be closed and opened again, which leaves the first few of the lines, or none.
func (j *journal) flush() (err error) {
	if len(j.fresh) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			for _, key := range j.fresh {
				delete(j.known, key)
			}
		}
		j.data, j.entries, j.fresh = reuse(j.data), j.entries[:0], j.fresh[:0]
	}()
	st, err := j.lines.Stat()
	if err != nil {
		return err
	}
	if st.Size() != j.end {
		return errForeign
	}
	if err := writeSync(j.lines, j.data, j.end); err != nil {
		return err
	}
	if err := writeSync(j.ids, j.entries, j.idsEnd); err != nil {
		return err
	}
	j.end += int64(len(j.data))
	j.idsEnd += int64(len(j.entries))
	return nil
}

// reuse is b's memory for the next call, unless a large record made it larger than calls usually are.
func reuse(b []byte) []byte {
	if cap(b) > 2<<20 {
		return nil
	}
	return b[:0]
}

func (j *journal) has(key identity) bool {
	_, ok := j.known[key]
	return ok
}

func (j *journal) close() error {
	var errs []error
	for _, f := range []*os.File{j.ids, j.lines} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func appendEntry(b []byte, key identity, end int64) []byte {
	from := len(b)
	b = append(b, key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	return binary.BigEndian.AppendUint64(b, crc64.Checksum(b[from:], crcTable))
}

func readEntry(b []byte) (key identity, end int64, ok bool) {
	if len(b) < entrySize {
		return key, 0, false
	}
	end = int64(binary.BigEndian.Uint64(b[16:24]))
	return identity(b[:16]), end, end >= 0 && binary.BigEndian.Uint64(b[24:32]) == crc64.Checksum(b[:24], crcTable)
}

func writeSync(f *os.File, b []byte, at int64) error {
	if _, err := f.WriteAt(b, at); err != nil {
		return err
	}
	return f.Sync()
}

// writeWhole writes a file that appears under its name only when it is whole and on the disk. What a crash leaves of it, .NAME.part,
// the next try replaces.
func writeWhole(path string, from io.Reader) (err error) {
	part := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".part")
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(part)
		}
	}()
	if _, err := io.Copy(f, from); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
