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
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
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
	ErrRetired  = errors.New("the state was moved away")
	ErrBroken   = errors.New("the disk refused a write: the state must be opened again")
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

	logFile int64 // size of a file of the value log, for tests; 0 = valueLogFile
}

// DB is an open state. Its methods may be called from any goroutine.
type DB struct {
	dir       string
	options   Options
	badger    *badger.DB
	seal      *sealer
	names     names
	log       *badgerLog
	about     known         // what the format file said
	head      *os.File      // see tally.go; of the writer
	tally     tally         // of the writer
	grown     int64         // bytes written to tables since the last rewrite; of the writer
	started   uint64        // serial of the tally when it was opened
	fat       chan struct{} // of 1: that is too much
	requests  chan request
	closing   chan struct{}
	closed    sync.Once
	release   func() error // the lock on the directory
	writer    sync.WaitGroup
	tidying   sync.Mutex // held by Compact, so that Close waits for it
	archiving sync.Mutex // held by Archive, likewise

	lastParcel atomic.Uint64 // the largest numbers ever committed; set by the writer
	lastEvent  atomic.Uint64
	trimmed    sync.Map     // pipeline's number -> events up to here are gone: where the next trim starts to look, past the tombstones
	writes     atomic.Int64 // entries written since Compact
	broken     error        // of the writer: after an error of which nobody knows how much is written
	dead       atomic.Bool  // likewise: Badger panics in readers after some errors
}

// Open opens the state in dir and creates it, for its owner alone, where there is none. It refuses a directory that another
// process (or this one) has open (ErrInUse), a key that did not seal it (ErrWrongKey), a format it does not know (ErrNewer, before
// anything is touched), a state that was moved away (ErrRetired, unless ReadOnly), a disk without room (ErrFull) and files that do
// not add up (ErrDamaged). An older format is opened, and raised: the weir that wrote it refuses it from then on. An engine that was
// killed loses nothing that Commit had acknowledged.
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
	if o.logFile == 0 {
		o.logFile = valueLogFile
	}
	seal, err := newSealer(o.Key)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		_, err = checkFormat(dir, seal)
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
	db.started = db.tally.serial
	db.writer.Go(db.write)
	db.writer.Go(db.watch)
	return db, nil
}

func openLocked(dir string, o Options, seal *sealer) (*DB, error) {
	known, err := checkFormat(dir, seal)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if known.retired != nil && !o.ReadOnly {
		return nil, refuseRetired(dir, known.retired)
	}
	giveSpare(dir, o.Reserve/2)
	if err := room(dir, o.Reserve/2); err != nil {
		return nil, err
	}
	if err := writable(dir); err != nil {
		return nil, fmt.Errorf("open state %s: %w", dir, err)
	}
	if err := unfinished(dir); err != nil {
		return nil, err
	}
	log := &badgerLog{log: o.Log}
	bdb, err := openBadger(dir, o.logFile, log)
	if err != nil {
		return nil, err
	}
	db := &DB{
		dir: dir, options: o, badger: bdb, seal: seal, log: log,
		requests: make(chan request), closing: make(chan struct{}), fat: make(chan struct{}, 1),
	}
	if err := db.recover(); err != nil {
		if db.head != nil {
			db.head.Close()
		}
		return nil, errors.Join(err, bdb.Close())
	}
	return db, nil
}

// elsewhere names the folder in which a temporary file could not be made, rather than a file that nobody knows.
func elsewhere(err error, folder string) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return fmt.Errorf("folder %s: %w", folder, at.Err)
	}
	return err
}

// writable tells whether files can be made in dir, before Badger makes some and fails at others.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".probe-*")
	if err != nil {
		return elsewhere(err, dir)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// reserve is what a memory table, the table that it becomes and its first compaction take on disk.
const reserve = 32 << 20

// reserve is what must stay free: Badger writes its tables anew before it removes the old ones.
func (db *DB) reserve() int64 {
	tables, _ := db.badger.Size()
	return db.options.Reserve + min(tables, maxCompaction)
}

// maxCompaction bounds what Badger writes anew at a time: tables of a level, with those of the next that they overlap.
const maxCompaction = 256 << 20

// room answers ErrFull where fewer than need bytes are free. Badger writes to mapped files, where a full disk is no error but the end
// of the process (SIGBUS): so the disk is asked before.
func room(dir string, need int64) error {
	if n, known := free(dir); known && n < need {
		return fmt.Errorf("%w: %s: %d MiB are free, %d MiB are needed", ErrFull, dir, n>>20, (need+1<<20-1)>>20)
	}
	return nil
}

// recover does what must happen before the first commit: the format is checked again, now that nobody else can create it,
// and raised; a journal that a killed engine left is applied; the small tables are read.
func (db *DB) recover() error {
	known, err := checkFormat(db.dir, db.seal)
	created := errors.Is(err, fs.ErrNotExist)
	switch {
	case created && !db.empty():
		return db.damaged(fmt.Errorf("the file %q is missing", formatFile))
	case created:
		known.version = formatVersion
	case err != nil:
		return err
	}
	if err := db.loadTally(known.version); err != nil {
		return err
	}
	if db.head, err = os.OpenFile(filepath.Join(db.dir, headFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	upgrade := known.version < formatVersion && !db.options.ReadOnly
	db.about = known
	if upgrade {
		// With it goes the tally. The older weir minds neither.
		var note op
		if note, err = db.auditOp(Audit{time.Now().UTC(), "weir", "upgrade", fmt.Sprintf("format %d to %d", known.version, formatVersion)}); err == nil {
			err = db.apply([]op{note})
		}
		db.about.version = formatVersion
	}
	if err == nil && (created || upgrade) {
		err = writeFormat(db.dir, db.seal, nil)
	}
	if err != nil {
		return err
	}
	if err := db.replayJournal(); err != nil {
		return err
	}
	if err := db.loadLargest(); err != nil {
		return err
	}
	return db.loadNames()
}

// openBadger opens Badger with a profile that costs tens of megabytes, not the 531 MB of its defaults (a million entries owed).
// Values from valueThreshold on live in the value log: they are written once, count only as pointers against the size of a
// transaction, and keep the tree so small that compaction is cheap. Every write is synchronised before it is acknowledged.
func openBadger(dir string, logFile int64, log *badgerLog) (*badger.DB, error) {
	o := badger.DefaultOptions(filepath.Join(dir, "db")).
		WithSyncWrites(true).
		WithDetectConflicts(false).    // one writer, and it only writes blindly
		WithCompression(options.None). // sealed bytes do not shrink
		WithVerifyValueChecksum(true).
		WithMetricsEnabled(false).
		WithLogger(log).
		WithMemTableSize(8 << 20).
		WithNumMemtables(2).
		WithBaseTableSize(4 << 20).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(logFile).
		WithBlockCacheSize(2 << 20).
		WithIndexCacheSize(2 << 20).
		WithNumCompactors(0). // see rewrite
		WithNumLevelZeroTablesStall(1 << 20).
		WithNumGoroutines(1)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	var bdb *badger.DB
	err := errors.Join(dropEmpty(o.Dir), checkFiles(o))
	if err == nil {
		bdb, err = badger.Open(o)
	}
	switch {
	case err == nil:
		return bdb, nil
	case strings.Contains(err.Error(), "Another process is using this Badger database"):
		return nil, fmt.Errorf("%w: %s", ErrInUse, dir) // where lockFolder cannot tell; Badger has no sentinel for it
	case strings.Contains(err.Error(), "too many open files"):
		return nil, fmt.Errorf("the machine refuses to open the state %s, which is not damaged: %w; allow this process more of them (ulimit -n, "+
			"LimitNOFILE)", dir, err)
	case refused(err):
		return nil, fmt.Errorf("the machine refuses to open the state %s, which is not damaged: %w", dir, err)
	default:
		return nil, damaged(dir, err)
	}
}

// refused reports whether the machine keeps us from the files, so that nothing is known of them. Badger has not always wrapped what the
// system says.
func refused(err error) bool {
	return errors.Is(err, fs.ErrPermission) || slices.ContainsFunc([]error{
		syscall.EACCES, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.EFBIG, syscall.ENOSPC, syscall.EDQUOT, syscall.ENOMEM, syscall.EIO,
	}, func(e error) bool { return errors.Is(err, e) || strings.Contains(err.Error(), e.Error()) })
}

// dropEmpty removes value logs and memory tables without a byte. An engine was killed between giving one a name and a length, or between
// taking its length and its name away: Badger does both in two steps, and takes an empty file that it finds for damage (v4.9.6,
// logFile.open; ristretto v2.2.0, MmapFile.Delete).
func dropEmpty(dir string) error {
	for _, kind := range []string{"*.vlog", "*.mem"} {
		names, err := filepath.Glob(filepath.Join(dir, kind))
		if err != nil {
			return err
		}
		for _, name := range names {
			if st, err := os.Stat(name); err == nil && st.Size() == 0 {
				if err := os.Remove(name); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// Close waits for the change being written and for Compact, and releases the directory. Commits that were not taken yet get ErrClosed.
func (db *DB) Close() error {
	var err error
	db.closed.Do(func() {
		close(db.closing)
		db.writer.Wait()
		db.tidying.Lock()
		defer db.tidying.Unlock()
		db.archiving.Lock()
		defer db.archiving.Unlock()
		giveSpare(db.dir, spareSize)
		if full := room(db.dir, hardlyAny); full != nil && db.tally.serial != db.started {
			// Closing writes a table, which would end the process. The logs have everything, and the next start writes it.
			err = errors.Join(fmt.Errorf("the state is left as it is: %w", full), db.release())
			return
		}
		err = errors.Join(db.badger.Close(), db.head.Sync(), db.head.Close(), db.release())
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

// badgerLog hands Badger's messages to the engine's debug log; what matters of them comes back as errors, but for one.
type badgerLog struct {
	log  func(msg string, args ...any)
	sync atomic.Pointer[string] // what Badger logged instead of failing a commit
	read atomic.Pointer[string] // what it logged instead of failing a read, the last time
}

func (l *badgerLog) Errorf(f string, v ...any)   { l.say("error", f, v) }
func (l *badgerLog) Warningf(f string, v ...any) { l.say("warning", f, v) }
func (l *badgerLog) Infof(f string, v ...any)    { l.say("info", f, v) }
func (l *badgerLog) Debugf(f string, v ...any)   { l.say("debug", f, v) }

func (l *badgerLog) say(level, format string, v []any) {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	if strings.HasPrefix(format, "Error while curlf sync") { // v4.9.6, valueLog.write: the commit goes on as if it were durable
		l.sync.Store(&text)
	}
	if strings.HasPrefix(format, "Unable to read: Key") { // v4.9.6, Item.yieldItemValue
		_, why, _ := strings.Cut(text, " Error: ")
		l.read.Store(&why)
	}
	if why := l.read.Load(); why != nil && strings.HasPrefix(format, "Key: %v, Version") && !strings.Contains(*why, "Fid:") {
		_, pointer, _ := strings.Cut(text, "valuePointer: ") // … and then, where it should be
		where := *why + " " + pointer
		l.read.Store(&where)
	}
	if text != "" {
		l.log("badger", "severity", level, "text", text)
	}
}

// unread is why a value cannot be read.
func (l *badgerLog) unread() error {
	if text := l.read.Load(); text != nil {
		return errors.New(*text)
	}
	return errors.New("it is empty")
}

// unsynced is what became of the value log's synchronisation.
func (l *badgerLog) unsynced() error {
	if text := l.sync.Load(); text != nil {
		return errors.New(*text)
	}
	return nil
}
