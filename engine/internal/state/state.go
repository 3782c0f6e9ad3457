// Package state is the durable memory of an engine: how far each source was read, what is still owed to which step, the bodies
// that are owed, and the events that were told. It is the only room that knows Badger.
//
// An engine opens one state, loads it once (Load) and from then on keeps the bookkeeping in memory; the state only has to make
// changes durable (Commit) and hand out bodies again (Parcel). A Change is atomic: after a crash all of it is there or nothing.
// One goroutine writes; what many pipelines want to commit at the same moment shares one disk synchronisation.
//
// Nothing on disk can be read without the key: keys are numbers, values are sealed (seal.go), and only what a source calls opaque
// (bytes that are encrypted already) is stored as given. The layout is specified in layout.go.
package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

// What Open, Commit and the readers may answer; callers branch with errors.Is. The text around them names the directory or entry.
var (
	ErrInUse    = errors.New("another engine uses this state")
	ErrWrongKey = errors.New("the state was sealed with another key")
	ErrNewer    = errors.New("the state was written by a newer weir")
	ErrDamaged  = errors.New("the state is damaged")
	ErrFull     = errors.New("the disk is full")
	ErrReadOnly = errors.New("the state is open for reading only")
	ErrClosed   = errors.New("the state is closed")
	ErrTooLarge = errors.New("too large for the state")
	ErrNotFound = errors.New("not in the state")
	ErrTaken    = errors.New("the name has state of its own")
)

// Options of Open. Key is required; the rest may stay zero.
type Options struct {
	// Key is the sealing key, KeySize bytes (see ParseKey and DefaultKey). The state keeps no copy of it on disk.
	Key []byte
	// ReadOnly refuses every Commit and Rename with ErrReadOnly, and does not create a state where there is none (fs.ErrNotExist).
	// It still takes the directory for itself and repairs what a killed engine left half written.
	ReadOnly bool
	// Reserve is how many bytes must be free on the disk for a Commit, beside what it writes: else it is refused with ErrFull. Open
	// wants half of that. 0 = 32 MiB.
	Reserve int64
	// Log gets Badger's own messages and what maintenance did: a constant message, then keys and values, as the Debug method of
	// hclog.Logger and slog.Logger takes them. Nil is silent.
	Log func(msg string, args ...any)
	// Failpoint is called on the committing goroutine at commit.before (nothing written) and commit.after (durable, not yet
	// acknowledged), and for a change that spans transactions also at commit.pieces (written, not promised) and commit.journal
	// (promised, not applied). For crash tests; nil otherwise.
	Failpoint func(name string)
}

// DB is an open state. Its methods may be called from any goroutine.
type DB struct {
	dir      string
	options  Options
	badger   *badger.DB
	seal     *sealer
	names    names
	requests chan request
	closing  chan struct{}
	closed   sync.Once
	release  func() error // the lock on the directory
	writer   sync.WaitGroup
	tidying  sync.Mutex // held by Compact, so that Close waits for it

	lastParcel atomic.Uint64 // the largest numbers ever committed; set by the writer
	lastEvent  atomic.Uint64
	trimmed    sync.Map     // pipeline's number -> events up to here are gone: where the next trim starts to look, past the tombstones
	writes     atomic.Int64 // entries written since Compact
	broken     error        // of the writer: a journal could not be applied, and nothing may be written over it
}

// Open opens the state in dir and creates it, for its owner alone, where there is none. It refuses a directory that another
// process (or this one) has open (ErrInUse), a key that did not seal it (ErrWrongKey), a format it does not know (ErrNewer, before
// anything is touched), a disk without room (ErrFull) and files that do not add up (ErrDamaged). An engine that was killed loses nothing that Commit had
// acknowledged.
func Open(dir string, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	if o.Reserve == 0 {
		o.Reserve = reserve
	}
	seal, err := newSealer(o.Key)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		err = checkFormat(dir, seal)
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, err
	}
	release, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	db, err := openLocked(dir, o, seal)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	db.release = release
	db.writer.Go(db.write)
	return db, nil
}

func openLocked(dir string, o Options, seal *sealer) (*DB, error) {
	if err := checkFormat(dir, seal); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := room(dir, o.Reserve/2); err != nil {
		return nil, err
	}
	bdb, err := openBadger(dir, o.Log)
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: dir, options: o, badger: bdb, seal: seal,
		requests: make(chan request), closing: make(chan struct{}),
	}
	if err := db.recover(); err != nil {
		return nil, errors.Join(err, bdb.Close())
	}
	return db, nil
}

// reserve is what a memory table, the table that it becomes and a compaction of it take on disk.
const reserve = 32 << 20

// room answers ErrFull where fewer than need bytes are free. Badger writes to mapped files, where a full disk is no error but the end
// of the process (SIGBUS): so the disk is asked before.
func room(dir string, need int64) error {
	if n, known := free(dir); known && n < need {
		return fmt.Errorf("%w: %s: %d MiB are free, %d MiB are needed", ErrFull, dir, n>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// recover does what must happen before the first commit: the format is checked again, now that nobody else can create it, a
// journal that a killed engine left is applied, and the small tables are read.
func (db *DB) recover() error {
	err := checkFormat(db.dir, db.seal)
	if errors.Is(err, fs.ErrNotExist) {
		if !db.empty() {
			return damaged(db.dir, fmt.Errorf("the file %q is missing", formatFile))
		}
		err = writeFormat(db.dir, db.seal)
	}
	if err != nil {
		return err
	}
	if err := db.replayJournal(); err != nil {
		return err
	}
	if err := db.loadMarks(); err != nil {
		return err
	}
	return db.loadNames()
}

// openBadger opens Badger with a profile that costs tens of megabytes, not the 531 MB of its defaults (a million entries owed).
// Values from valueThreshold on live in the value log: they are written once, count only as pointers against the size of a
// transaction, and keep the tree so small that compaction is cheap. Every write is synchronised before it is acknowledged.
func openBadger(dir string, log func(string, ...any)) (*badger.DB, error) {
	o := badger.DefaultOptions(filepath.Join(dir, "db")).
		WithSyncWrites(true).
		WithDetectConflicts(false).    // one writer, and it only writes blindly
		WithCompression(options.None). // sealed bytes do not shrink
		WithVerifyValueChecksum(true).
		WithMetricsEnabled(false).
		WithLogger(badgerLog(log)).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(4 << 20).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(valueLogFile).
		WithBlockCacheSize(2 << 20).
		WithIndexCacheSize(2 << 20).
		WithNumCompactors(2).
		WithNumGoroutines(1)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	var bdb *badger.DB
	err := checkTables(o)
	if err == nil {
		bdb, err = badger.Open(o)
	}
	switch {
	case err == nil:
		return bdb, nil
	case strings.Contains(err.Error(), "Another process is using this Badger database"):
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir) // where lockFolder cannot tell; Badger has no sentinel for it
	case errors.Is(err, fs.ErrPermission), strings.Contains(err.Error(), "permission denied"), strings.Contains(err.Error(), "read-only file system"):
		return nil, fmt.Errorf("open state %s: %w", dir, err)
	default:
		return nil, damaged(dir, err)
	}
}

// checkTables looks at the end of each table file, ‖ index length (4) ‖ checksum ‖ checksum length (4), because Badger panics on a
// goroutine of its own where these lengths are nonsense (v4.9.6, table.initIndex). All other damage it reports as an error. A table
// that the manifest does not name is what a killed engine left half written; Badger deletes it.
func checkTables(o badger.Options) error {
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) { // a new state, or one that Badger would take for new
		if files, _ := filepath.Glob(filepath.Join(o.Dir, "[0-9]*")); len(files) > 0 { // Badger makes its manifest before them
			return err
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	manifest, _, err := badger.ReplayManifestFile(f, 0, o)
	if err != nil {
		return err
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, o.Dir)); err != nil {
			return fmt.Errorf("table %d: %w", id, err)
		}
	}
	return nil
}

func checkTable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for _, largest := range []int64{128, end} { // the checksum, then the index
		var length [4]byte
		if _, err := f.ReadAt(length[:], end-4); err != nil {
			return errors.New("the table is cut")
		}
		n := int64(binary.BigEndian.Uint32(length[:]))
		if end -= 4 + n; n == 0 || n > largest || end < 0 {
			return errors.New("the table has no index")
		}
	}
	return nil
}

// damaged says what is wrong and what an operator can do.
func damaged(dir string, cause error) error {
	return fmt.Errorf("%w: %s: %v; restore the folder from a backup, or move it away and let the sources be read again from where "+
		"you start them (what was owed is then lost with it)", ErrDamaged, dir, cause)
}

// Close waits for the change being written and for Compact, and releases the directory. Commits that were not taken yet get ErrClosed.
func (db *DB) Close() error {
	var err error
	db.closed.Do(func() {
		close(db.closing)
		db.writer.Wait()
		db.tidying.Lock()
		defer db.tidying.Unlock()
		err = errors.Join(db.badger.Close(), db.release())
	})
	return err
}

// empty tells whether nothing was ever written.
func (db *DB) empty() bool {
	none := true
	_ = db.badger.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		it.Rewind()
		none = !it.Valid()
		return nil
	})
	return none
}

// badgerLog hands Badger's messages to the engine's debug log; what matters of them comes back as errors.
type badgerLog func(msg string, args ...any)

func (l badgerLog) Errorf(f string, v ...any)   { l.log("error", f, v) }
func (l badgerLog) Warningf(f string, v ...any) { l.log("warning", f, v) }
func (l badgerLog) Infof(f string, v ...any)    { l.log("info", f, v) }
func (l badgerLog) Debugf(f string, v ...any)   { l.log("debug", f, v) }

func (l badgerLog) log(level, format string, v []any) {
	if text := strings.TrimSpace(fmt.Sprintf(format, v...)); text != "" {
		l("badger", "severity", level, "text", text)
	}
}
