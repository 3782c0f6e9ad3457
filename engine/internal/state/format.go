package state

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// formatVersion is the version of everything this package writes: the layout of keys and the encoding of values. A state with a
// larger one is refused; a change that an older weir would misread raises it. One with a smaller number is read as it is (layout.go), and
// becomes formatVersion before the first write, so that the older weir refuses it from then on.
const formatVersion = 2

// formatFile lies beside Badger's folder, so that a newer format or another key is refused before Badger touches a file.
const formatFile = "format.json"

const formatCheck = "weir state"

type format struct {
	Format  int    `json:"format"`
	Check   []byte `json:"check"`             // formatCheck, sealed for the place formatFile
	Retired []byte `json:"retired,omitempty"` // an Audit as JSON, sealed for the place retiredPlace
}

const retiredPlace = formatFile + " retired"

// known is what the format file says.
type known struct {
	version int
	retired *Audit
}

// checkFormat returns what the format file says, or fs.ErrNotExist where there is no state yet.
func checkFormat(dir string, s *sealer) (k known, err error) {
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return k, fmt.Errorf("no state in %s: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return k, err
	}
	var f format
	if err := json.Unmarshal(text, &f); err != nil || f.Format < 1 {
		return k, damaged(dir, fmt.Errorf("the file %q cannot be read", formatFile))
	}
	if f.Format > formatVersion {
		return k, fmt.Errorf("%w: %s has format %d, this one reads up to %d", ErrNewer, dir, f.Format, formatVersion)
	}
	if check, err := s.open(nil, f.Check, []byte(formatFile)); err != nil || string(check) != formatCheck {
		return k, fmt.Errorf("%w, or its file %q was damaged: %s", ErrWrongKey, formatFile, dir)
	}
	k.version = f.Format
	if f.Retired == nil {
		return k, nil
	}
	plain, err := s.open(nil, f.Retired, []byte(retiredPlace))
	if err == nil {
		err = json.Unmarshal(plain, &k.retired)
	}
	if err != nil {
		return k, damaged(dir, fmt.Errorf("the file %q cannot be read", formatFile))
	}
	return k, nil
}

func writeFormat(dir string, s *sealer, retired *Audit) error {
	seal := func(plain []byte, place string) []byte {
		return s.inPlace(append(make([]byte, nonceSize), plain...), []byte(place))
	}
	f := format{Format: formatVersion, Check: seal([]byte(formatCheck), formatFile)}
	if retired != nil {
		plain, err := json.Marshal(retired)
		if err != nil {
			return err
		}
		f.Retired = seal(plain, retiredPlace)
	}
	text, err := json.Marshal(f)
	if err != nil {
		return err
	}
	temp := filepath.Join(dir, formatFile+".new")
	if err := writeDurable(temp, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(temp, filepath.Join(dir, formatFile)); err != nil {
		return err
	}
	return syncFolder(dir)
}

// refuseRetired says who gave a state away, when and where to.
func refuseRetired(dir string, a *Audit) error {
	return fmt.Errorf("%w: %s: at %s %s %s. Two engines with one state would both deliver what it owes: run the pipeline where it went, or "+
		"move this folder away and weir state import that file here", ErrRetired, dir, a.When.UTC().Format(time.RFC3339), a.Who, a.What)
}

// Retire ends the life of a state: it can be looked at, but not opened for writing any more. The entry a says where it goes on.
func (db *DB) Retire(ctx context.Context, a Audit) error {
	if err := db.Commit(ctx, &Change{Audit: []Audit{a}}); err != nil {
		return err
	}
	return db.pause(func() error { return writeFormat(db.dir, db.seal, &a) })
}

// writeDurable creates or replaces a file for its owner alone and returns when its bytes are on disk.
func writeDurable(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
