package state

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// An archive is a state in one file: for back-ups, and to move to another machine that has the same key. Values stay sealed as they are,
// each for its key, so that nothing can be read in it that could not be read in the state. Format 1:
//
//	header, one line of JSON: {"weir":"state archive","archive":1,"format":2,"made":TIME,"who":…,"verb":…,"check":…}
//	{ 1 ‖ key ‖ value }*              entries, as they are in layout.go; without tally and journal
//	{ 2 ‖ path ‖ size ‖ bytes }*      kept files, by their path in the folder for them; they are sealed by themselves
//	0 ‖ number of entries ‖ number of files ‖ SHA-256 of all before ‖ HMAC-SHA-256 of that hash
//
// Numbers are uvarints; key, value and path have their length before them. The first hash tells without the key whether an archive is
// whole, the second, whose key is HKDF(sealing key, info "weir state archive"), that it was written by who had the key.
const (
	archiveName    = "state archive"
	archiveVersion = 1

	recordEnd   = 0
	recordEntry = 1
	recordFile  = 2
)

// ErrArchive is answered for an archive that is cut, spoiled, or none.
var ErrArchive = errors.New("not a whole state archive")

// ErrExists is answered by Restore where there is a state.
var ErrExists = errors.New("there is a state already")

// Archived describes an archive.
type Archived struct {
	Made    time.Time `json:"made"`
	Who     string    `json:"who"`
	Verb    string    `json:"verb"`
	Format  int       `json:"format"` // of the state in it
	Entries int       `json:"entries"`
	Files   int       `json:"files"`
	Bytes   int64     `json:"bytes"`
}

type archiveHeader struct {
	Weir    string    `json:"weir"`
	Archive int       `json:"archive"`
	Format  int       `json:"format"`
	Made    time.Time `json:"made"`
	Who     string    `json:"who"`
	Verb    string    `json:"verb"`
	Check   []byte    `json:"check"` // formatCheck, sealed for the place archiveName
}

// archiveWriter counts and hashes what goes by.
type archiveWriter struct {
	w    *bufio.Writer
	sum  hash.Hash
	size int64
}

func (a *archiveWriter) Write(p []byte) (int, error) {
	a.sum.Write(p)
	a.size += int64(len(p))
	return a.w.Write(p)
}

func (a *archiveWriter) numbers(list ...uint64) error {
	var text []byte
	for _, n := range list {
		text = binary.AppendUvarint(text, n)
	}
	_, err := a.Write(text)
	return err
}

func (a *archiveWriter) bytes(p []byte) error {
	if err := a.numbers(uint64(len(p))); err != nil {
		return err
	}
	_, err := a.Write(p)
	return err
}

// Archive writes the state of one instant, while commits go on, with the files under the folder kept ("" or not there: none). It opens
// every value on the way: a damaged state has no archive. By who, when and what for is a says.
func (db *DB) Archive(ctx context.Context, w io.Writer, kept string, a Audit) (Archived, error) {
	db.archiving.Lock()
	defer db.archiving.Unlock()
	links := db.dir + ".links"
	if err := os.RemoveAll(links); err != nil { // of a killed engine
		return Archived{}, err
	}
	defer os.RemoveAll(links)

	// Between two transactions a file is there for every entry that names one: it is kept before and dropped after its commit.
	var txn *badger.Txn
	var it *badger.Iterator
	err := db.pause(func() error {
		if db.broken != nil {
			return db.broken
		}
		txn = db.badger.NewTransaction(false)
		it = txn.NewIterator(badger.IteratorOptions{PrefetchValues: true, PrefetchSize: 8})
		return linkAll(kept, links)
	})
	if it != nil {
		defer txn.Discard()
		defer it.Close()
	}
	if err != nil {
		return Archived{}, err
	}

	out := &archiveWriter{w: bufio.NewWriterSize(w, 256<<10), sum: sha256.New()}
	info := Archived{Made: a.When, Who: a.Who, Verb: a.Verb, Format: formatVersion}
	check := db.seal.inPlace(append(make([]byte, nonceSize), formatCheck...), []byte(archiveName))
	header, err := json.Marshal(archiveHeader{archiveName, archiveVersion, formatVersion, a.When, a.Who, a.Verb, check})
	if err != nil {
		return info, err
	}
	if _, err := out.Write(append(header, '\n')); err != nil {
		return info, err
	}
	for it.Rewind(); it.Valid(); it.Next() {
		if err := ctx.Err(); err != nil {
			return info, err
		}
		item := it.Item()
		key := item.Key()
		if !tallied(key) {
			continue
		}
		err := db.value(item, func(value []byte) error {
			if err := db.look(key, value, func(uint64, string) {}); err != nil {
				return db.damaged(fmt.Errorf("entry %x: %w", key, err))
			}
			return errors.Join(out.numbers(recordEntry), out.bytes(key), out.bytes(value))
		})
		if err != nil {
			return info, err
		}
		info.Entries++
	}
	err = eachFile(links, func(path string, f *os.File, size int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		info.Files++
		if err := errors.Join(out.numbers(recordFile), out.bytes([]byte(filepath.ToSlash(path))), out.numbers(uint64(size))); err != nil {
			return err
		}
		_, err := io.CopyN(out, f, size)
		return err
	})
	if err != nil {
		return info, err
	}
	if err := out.numbers(recordEnd, uint64(info.Entries), uint64(info.Files)); err != nil {
		return info, err
	}
	sum := out.sum.Sum(nil)
	mac, err := archiveMAC(db.options.Key, sum)
	if err != nil {
		return info, err
	}
	if _, err := out.Write(append(sum, mac...)); err != nil {
		return info, err
	}
	info.Bytes = out.size
	return info, out.w.Flush()
}

func archiveMAC(key, sum []byte) ([]byte, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, "weir state archive", KeySize)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, derived)
	mac.Write(sum)
	return mac.Sum(nil), nil
}

// linkAll gives every file under from a second name under to.
func linkAll(from, to string) error {
	if from == "" {
		return nil
	}
	if _, err := os.Lstat(from); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		if err := os.Link(path, filepath.Join(to, rel)); err != nil {
			if _, gone := os.Lstat(path); errors.Is(gone, fs.ErrNotExist) {
				return nil // its parcel was dropped before; the others stay
			}
			return err
		}
		return nil
	})
}

func eachFile(root string, f func(path string, file *os.File, size int64) error) error {
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		return f(rel, file, info.Size())
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// archiveReader hashes what it has handed out.
type archiveReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	size int64
	err  error // of a read
}

func (a *archiveReader) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	a.sum.Write(p[:n])
	a.size += int64(n)
	return n, err
}

func (a *archiveReader) ReadByte() (byte, error) {
	b, err := a.r.ReadByte()
	if err == nil {
		a.sum.Write([]byte{b})
		a.size++
	}
	a.err = err
	return b, err
}

// number reads one that stands as a varint.
func (a *archiveReader) number() (uint64, error) {
	n, err := binary.ReadUvarint(a)
	if err != nil && a.err == nil { // it is none
		err = fmt.Errorf("%w: spoiled at byte %d", ErrArchive, a.size)
	}
	return n, err
}

func (a *archiveReader) bytes(limit uint64) ([]byte, error) {
	n, err := a.number()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%w: %d bytes where at most %d can be", ErrArchive, n, limit)
	}
	var buf bytes.Buffer // grows with what is there, not with what is promised
	_, err = io.CopyN(&buf, a, int64(n))
	return buf.Bytes(), err
}

// readArchive reads an archive, without a key, and calls the functions that are not nil. What they are told is only true when it
// answers no error. sum and mac are the hashes at its end.
func readArchive(r io.Reader, begin func(h archiveHeader) error, entry func(o op) error,
	file func(path string, size int64, data io.Reader) error) (info Archived, sum, mac []byte, err error) {
	in := &archiveReader{r: bufio.NewReaderSize(r, 256<<10), sum: sha256.New()}
	fail := func(err error) (Archived, []byte, []byte, error) {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: it ends after %d bytes", ErrArchive, in.size)
		}
		return info, nil, nil, err
	}
	var h archiveHeader
	line, err := readLine(in, 64<<10)
	if err != nil {
		return fail(err)
	}
	if json.Unmarshal(line, &h) != nil || h.Weir != archiveName {
		return fail(fmt.Errorf("%w: it does not begin as one", ErrArchive))
	}
	if h.Archive > archiveVersion || h.Format > formatVersion {
		return fail(fmt.Errorf("%w: the archive has format %d of archives and %d of states, this one reads up to %d and %d",
			ErrNewer, h.Archive, h.Format, archiveVersion, formatVersion))
	}
	if begin != nil {
		if err := begin(h); err != nil {
			return fail(err)
		}
	}
	info = Archived{Made: h.Made, Who: h.Who, Verb: h.Verb, Format: h.Format}
	for {
		kind, err := in.ReadByte()
		if err != nil {
			return fail(err)
		}
		switch kind {
		case recordEntry:
			key, err := in.bytes(1 << 10)
			if err != nil {
				return fail(err)
			}
			value, err := in.bytes(MaxValue)
			if err != nil {
				return fail(err)
			}
			if len(key) == 0 || len(value) == 0 {
				return fail(fmt.Errorf("%w: an entry is empty", ErrArchive))
			}
			if entry != nil {
				if err := entry(op{key, value}); err != nil {
					return fail(err)
				}
			}
			info.Entries++
		case recordFile:
			path, err := in.bytes(4 << 10)
			if err != nil {
				return fail(err)
			}
			size, err := in.number()
			if err != nil {
				return fail(err)
			}
			if size > math.MaxInt64 {
				return fail(fmt.Errorf("%w: a file of %d bytes", ErrArchive, size))
			}
			data := &io.LimitedReader{R: in, N: int64(size)}
			if file != nil {
				if err := file(string(path), int64(size), data); err != nil {
					return fail(err)
				}
			}
			if _, err := io.Copy(io.Discard, data); err != nil || data.N > 0 {
				return fail(errors.Join(err, io.ErrUnexpectedEOF))
			}
			info.Files++
		case recordEnd:
			entries, err := in.number()
			if err != nil {
				return fail(err)
			}
			files, err := in.number()
			if err != nil {
				return fail(err)
			}
			want := in.sum.Sum(nil)
			var hashes [64]byte
			if _, err := io.ReadFull(in, hashes[:]); err != nil {
				return fail(err)
			}
			if !bytes.Equal(hashes[:32], want) || entries != uint64(info.Entries) || files != uint64(info.Files) {
				return fail(fmt.Errorf("%w: its checksum is wrong", ErrArchive))
			}
			info.Bytes = in.size
			return info, hashes[:32], hashes[32:], nil
		default:
			return fail(fmt.Errorf("%w: spoiled at byte %d", ErrArchive, in.size))
		}
	}
}

func readLine(in *archiveReader, limit int) ([]byte, error) {
	var line []byte
	for len(line) < limit {
		b, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		if b == '\n' {
			return line, nil
		}
		line = append(line, b)
	}
	return nil, fmt.Errorf("%w: it does not begin as one", ErrArchive)
}

// CheckArchive tells whether an archive is whole. It needs no key.
func CheckArchive(r io.Reader) (Archived, error) {
	info, _, _, err := readArchive(r, nil, nil, nil)
	return info, err
}

// SaveArchive writes an archive to a file that was not there (fs.ErrExist): as a whole, for its owner alone, durable and read again when
// it returns, or not at all.
func SaveArchive(path string, write func(w io.Writer) error) (Archived, error) {
	if _, err := os.Lstat(path); err == nil {
		return Archived{}, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	folder := filepath.Dir(path)
	f, err := os.CreateTemp(folder, ".weir-*.part") // mode 0600
	if err != nil {
		return Archived{}, elsewhere(err, folder)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return Archived{}, err
	}
	if err := f.Sync(); err != nil {
		return Archived{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Archived{}, err
	}
	info, err := CheckArchive(f)
	if err != nil {
		return info, err
	}
	if err := os.Link(f.Name(), path); err != nil { // a rename would replace
		return info, err
	}
	return info, syncFolder(folder)
}

// Restore makes a state in dir of an archive, and a folder kept of the files in it; neither may hold a state before (ErrExists). What it
// makes has been opened and read as a whole; until then nothing is at its place. The entry a is added to the state.
func Restore(dir, kept string, r io.Reader, o Options, a Audit) (Archived, error) {
	if names, err := os.ReadDir(dir); err == nil && len(names) > 0 {
		return Archived{}, fmt.Errorf("%w: %s; move it away, or name another data directory", ErrExists, dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Archived{}, err
	}
	if o.Reserve == 0 {
		o.Reserve = reserve
	}
	seal, err := newSealer(o.Key)
	if err != nil {
		return Archived{}, err
	}
	newDir, newKept := dir+".new", kept+".new"
	for _, d := range []string{newDir, newKept} { // of a restore that was killed
		if err := os.RemoveAll(d); err != nil {
			return Archived{}, err
		}
		defer os.RemoveAll(d)
	}
	var db *DB
	begin := func(h archiveHeader) error {
		if check, err := seal.open(nil, h.Check, []byte(archiveName)); err != nil || string(check) != formatCheck {
			return fmt.Errorf("%w: the archive", ErrWrongKey)
		}
		if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
			return err
		}
		db, err = Open(newDir, o)
		return err
	}
	var ops []op
	var sum cost
	flush := func() error {
		list := ops
		ops, sum = nil, cost{}
		return db.ask(func() error { return db.apply(list) })
	}
	entry := func(e op) error {
		if err := db.look(e.key, e.value, nil); err != nil || !tallied(e.key) {
			return fmt.Errorf("%w: entry %x cannot be opened", ErrArchive, e.key)
		}
		if next := sum.add(e); len(ops) > 0 && (!db.fits(next) || next.log > gatherBytes) {
			if err := flush(); err != nil {
				return err
			}
		}
		ops, sum = append(ops, e), sum.add(e)
		return nil
	}
	file := func(path string, size int64, data io.Reader) error {
		local := filepath.FromSlash(path)
		if !filepath.IsLocal(local) {
			return fmt.Errorf("%w: it names the file %q", ErrArchive, path)
		}
		if err := room(filepath.Dir(dir), o.Reserve+size); err != nil {
			return err
		}
		return writeFile(filepath.Join(newKept, local), data)
	}
	info, hash, mac, err := readArchive(r, begin, entry, file)
	if err == nil && len(ops) > 0 {
		err = flush()
	}
	if db != nil {
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		return info, err
	}
	want, err := archiveMAC(o.Key, hash)
	if err != nil {
		return info, err
	}
	if subtle.ConstantTimeCompare(want, mac) != 1 {
		return info, fmt.Errorf("%w: it was written by somebody without the key", ErrArchive)
	}
	if err := proveRestored(newDir, o, a, info); err != nil {
		return info, err
	}
	// The state comes last: without it kept files are nothing.
	if info.Files > 0 {
		if err := errors.Join(os.RemoveAll(kept), os.Rename(newKept, kept), syncFolder(filepath.Dir(kept))); err != nil {
			return info, err
		}
	}
	os.Remove(dir) // where it is empty
	if err := os.Rename(newDir, dir); err != nil {
		return info, err
	}
	return info, syncFolder(filepath.Dir(dir))
}

// proveRestored opens what was made as an engine would, reads everything and notes where it comes from.
func proveRestored(dir string, o Options, a Audit, info Archived) error {
	db, err := Open(dir, o)
	if err != nil {
		return err
	}
	report, err := db.Check(context.Background())
	if err == nil && len(report.Problems) > 0 {
		err = db.damaged(errors.New(report.Problems[0]))
	}
	if err == nil && db.tally.entries != uint64(info.Entries) {
		err = fmt.Errorf("%w: %d entries became %d", ErrArchive, info.Entries, db.tally.entries)
	}
	if err == nil {
		err = db.Commit(context.Background(), &Change{Audit: []Audit{a}})
	}
	return errors.Join(err, db.Close())
}

func writeFile(path string, data io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, data)
	return errors.Join(err, f.Sync(), f.Close(), syncFolder(filepath.Dir(path)))
}
