package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
)

func (db *DB) damaged(cause error) error { return damaged(db.dir, cause) }

// damaged says what is wrong, in which file where that is known, and what an operator can do.
func damaged(dir string, cause error) error {
	var d *damageError
	if errors.As(cause, &d) {
		return cause
	}
	return &damageError{dir, cause}
}

type damageError struct {
	dir   string
	cause error // what is wrong may be a file that is not there: that is no fs.ErrNotExist to whoever opens a state
}

func (d *damageError) Is(target error) bool { return target == ErrDamaged }

func (d *damageError) Error() string {
	return fmt.Sprintf("%v: %s: %v%s; move the folder away, then restore a back-up (weir state restore) or begin again from what the "+
		"destinations hold (weir rebuild; what was owed is then asked for again)", ErrDamaged, d.dir, d.cause, suspect(d.cause))
}

var inValueLog = regexp.MustCompile(`(?:Fid:|file with ID: )(\d+)`)

// suspect names the file of the value log that Badger only gives the number of.
func suspect(cause error) string {
	var n int
	if m := inValueLog.FindStringSubmatch(cause.Error()); m != nil {
		fmt.Sscan(m[1], &n)
		return fmt.Sprintf(" (file db/%06d.vlog)", n)
	}
	return ""
}

// checkFiles looks at what Badger trusts (v4.9.6): it panics, on a goroutine of its own, where the end of a table is nonsense, reads no
// checksums of what is in it, and can search for ever in statistics that are wrong. All other damage it reports as an error, or the
// tally notices it. A table that the manifest does not name is what a killed engine left half written; Badger deletes it.
func checkFiles(o badger.Options) error {
	if err := errors.Join(checkDiscard(o.Dir), checkRegistry(o.Dir), removeEmpty(o.Dir)); err != nil {
		return err
	}
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
		return fmt.Errorf("file db/%s: %w", badger.ManifestFilename, err)
	}
	for id := range manifest.Tables {
		path := table.NewFilename(id, o.Dir)
		if err := checkTable(path, id); err != nil {
			return fmt.Errorf("file db/%s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

// checkTable reads a table as Badger does, and all its checksums. First come the lengths at its end, ‖ index length (4) ‖ checksum ‖
// checksum length (4): where they are nonsense Badger ends the process.
func checkTable(path string, id uint64) (err error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	end := int64(len(data))
	for _, largest := range []int64{128, end} { // the checksum, then the index
		if end < 4 {
			return errors.New("the table is cut")
		}
		n := int64(binary.BigEndian.Uint32(data[end-4:]))
		if end -= 4 + n; n == 0 || n > largest || end < 0 {
			return errors.New("the table has no index")
		}
	}
	defer func() {
		if r := recover(); r != nil {
			text, _, _ := strings.Cut(fmt.Sprint(r), "\n")
			err = fmt.Errorf("the table cannot be read: %s", text)
		}
	}()
	t, err := table.OpenInMemoryTable(data, id, &table.Options{BlockSize: 4 << 10, Compression: options.None})
	if err != nil {
		return err
	}
	return t.VerifyChecksum()
}

// removeEmpty removes logs without a byte: an engine was killed, or the disk full, between their first system call and the second. Badger
// takes no other notice of them than to fail. Where there was something in them the tally misses it.
func removeEmpty(dir string) error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, file := range files {
			if info, err := os.Stat(file); err != nil {
				return err
			} else if info.Size() > 0 {
				continue
			}
			if err := os.Remove(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkRegistry removes a damaged list of Badger's own keys. Badger makes a new one, and we use none: values are sealed by us.
func checkRegistry(dir string) error {
	path := filepath.Join(dir, badger.KeyRegistryFileName)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || len(data) == 28 && string(data[16:]) == "Hello Badger" {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(path)
}

// checkDiscard removes statistics of garbage that cannot be true: 16 bytes for each file of the value log, its number and how much of it
// is garbage. Without them the garbage of old files stays until there is more of it.
func checkDiscard(dir string) error {
	path := filepath.Join(dir, "DISCARD")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	plausible := len(data) >= 1<<20 && len(data)%16 == 0
	for ; plausible && len(data) > 0; data = data[16:] {
		file, garbage := binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])
		if file == 0 {
			break
		}
		plausible = file <= 1<<32 && garbage <= 1<<33
	}
	if plausible {
		return nil
	}
	return os.Remove(path)
}
