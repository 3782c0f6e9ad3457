package file

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-etl/weir/sdk"
)

// store writes the wanted files that have bytes here and returns the receipt for all that lie there now. Files without bytes are left
// out of it; a row of which none is wanted has no receipt.
func (s *sink) store(row *sdk.Row, wanted []int) (*sdk.Receipt, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	receipt := &sdk.Receipt{}
	for _, index := range wanted {
		f := fileOf(row, index)
		if !f.HasBytes() {
			continue
		}
		path, err := s.storeFile(row.ID, f)
		if err != nil {
			return nil, fmt.Errorf("file %d: %w", index, err)
		}
		receipt.Files = append(receipt.Files, index)
		receipt.URLs = append(receipt.URLs, fileURL(path))
	}
	return receipt, nil
}

// storeFile writes one file under the first of its names that is free or holds the same bytes.
func (s *sink) storeFile(id string, f *sdk.File) (string, error) {
	if err := os.Mkdir(s.folder(), 0o700); err == nil {
		err = syncFolder(filepath.Dir(s.path))
		if err != nil {
			return "", sdk.Down("FILE_UNWRITABLE", err).Err()
		}
	} else if !errors.Is(err, os.ErrExist) {
		return "", sdk.Down("FILE_UNWRITABLE", err).Err()
	}
	for version := 1; ; version++ {
		path := s.filePath(id, f, version)
		there, err := sumOf(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return path, s.copyFile(path, f)
		case err != nil:
			return "", sdk.Down("FILE_UNREADABLE", pathless(err)).Err()
		case there == f.SHA256:
			return path, syncFolder(s.folder()) // the crash may have come between rename and sync
		}
	}
}

func (s *sink) copyFile(path string, f *sdk.File) error {
	r, err := s.spool.Open(f)
	if err != nil {
		return sdk.Retry(0, "NO_BYTES", err).Err()
	}
	defer r.Close()
	if err := writeWhole(path, r); err != nil {
		return sdk.Down("FILE_UNWRITABLE", pathless(err)).Err()
	}
	return nil
}

// pathless takes the path out of an error: it ends in the name of a record's file, which is no business of the log.
func pathless(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	case errors.As(err, &link):
		return fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	return err
}

// find is the receipt of a row whose wanted files all lie here with equal bytes; nil when one does not, or is not known by its sha256.
func (s *sink) find(row *sdk.Row, wanted []int) (*sdk.Receipt, error) {
	receipt := &sdk.Receipt{}
next:
	for _, index := range wanted {
		f := fileOf(row, index)
		if f.SHA256 == "" {
			return nil, nil
		}
		for version := 1; ; version++ {
			path := s.filePath(row.ID, f, version)
			there, err := sumOf(path)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return nil, nil
			case err != nil:
				return nil, sdk.Down("FILE_UNREADABLE", pathless(err)).Err()
			case there == f.SHA256:
				receipt.Files = append(receipt.Files, index)
				receipt.URLs = append(receipt.URLs, fileURL(path))
				continue next
			}
		}
	}
	return receipt, nil
}

func (s *sink) folder() string { return s.path + ".files" }

// filePath is PATH.files/ID-INDEX_NAME, for later versions ID-INDEX_NAME-v2 with the extension behind it.
func (s *sink) filePath(id string, f *sdk.File, version int) string {
	name := safeName(f.Name)
	if version > 1 {
		ext := filepath.Ext(name)
		name = strings.TrimSuffix(name, ext) + "-v" + strconv.Itoa(version) + ext
	}
	return filepath.Join(s.folder(), fmt.Sprintf("%s-%d_%s", safeID(id), f.Index, name))
}

// safeID keeps a short id of letters, digits, - and _ and gives any other a part of its hash, so that two ids stay two.
func safeID(id string) string {
	plain := func(r rune) bool {
		return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_')
	}
	safe := strings.Map(func(r rune) rune {
		if plain(r) {
			return r
		}
		return '_'
	}, id)
	if safe == id && len(id) <= 64 {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return safe[:min(len(safe), 40)] + "-" + hex.EncodeToString(sum[:8])
}

// safeName makes a name that a sender chose harmless: no separators, no control or invisible characters, not hidden, at most 100
// bytes with its extension.
func safeName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, name)
	name = strings.Trim(name, ". ")
	if name == "" {
		return "file"
	}
	ext := filepath.Ext(name)
	if len(ext) > 20 {
		ext = ""
	}
	base := strings.TrimSuffix(name, ext)
	for len(base)+len(ext) > 100 {
		_, n := utf8.DecodeLastRuneInString(base)
		base = base[:len(base)-n]
	}
	return strings.TrimRight(base+ext, ". ") // the cut may have come behind a dot
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func fileURL(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()
}
