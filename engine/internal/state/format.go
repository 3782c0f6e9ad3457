package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// formatVersion is the version of everything this package writes: the layout of keys and the encoding of values. A state with a
// larger one is refused; a change that an older weir would misread raises it.
const formatVersion = 1

// formatFile lies beside Badger's folder, so that a newer format or another key is refused before Badger touches a file.
const formatFile = "format.json"

const formatCheck = "weir state"

type format struct {
	Format int    `json:"format"`
	Check  []byte `json:"check"` // formatCheck, sealed for the place formatFile
}

// checkFormat returns fs.ErrNotExist where there is no state yet.
func checkFormat(dir string, s *sealer) error {
	text, err := os.ReadFile(filepath.Join(dir, formatFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no state in %s: %w", dir, fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	var f format
	if err := json.Unmarshal(text, &f); err != nil || f.Format < 1 {
		return damaged(dir, fmt.Errorf("the file %q cannot be read", formatFile))
	}
	if f.Format > formatVersion {
		return fmt.Errorf("%w: %s has format %d, this weir reads up to %d", ErrNewer, dir, f.Format, formatVersion)
	}
	if check, err := s.open(nil, f.Check, []byte(formatFile)); err != nil || string(check) != formatCheck {
		return fmt.Errorf("%w: %s", ErrWrongKey, dir)
	}
	return nil
}

func writeFormat(dir string, s *sealer) error {
	check := s.inPlace(append(make([]byte, nonceSize), formatCheck...), []byte(formatFile))
	text, err := json.Marshal(format{formatVersion, check})
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

// writeDurable creates or replaces a file for its owner alone and returns when its bytes are on disk.
func writeDurable(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}
