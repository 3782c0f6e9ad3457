package state

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrNoKey is answered for an empty key: a variable that is set but empty must not silently mean "another key".
var ErrNoKey = errors.New("the state key is empty")

// ParseKey reads a sealing key written as 64 hexadecimal digits or as base64 of 32 bytes, with white space around it. The text of
// a key never appears in the error.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, ErrNoKey
	}
	for _, decode := range []func(string) ([]byte, error){
		hex.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString,
		base64.URLEncoding.DecodeString, base64.RawURLEncoding.DecodeString,
	} {
		if key, err := decode(text); err == nil && len(key) == KeySize {
			return key, nil
		}
	}
	return nil, fmt.Errorf("the state key is neither %d hexadecimal digits nor base64 of %d bytes", 2*KeySize, KeySize)
}

// DefaultKey reads the key file at path, and creates it with a new random key, for its owner alone, when it is not there: created
// then tells the caller to announce it, because whoever loses this file loses the state. An empty path means weir/state.key in the
// user's configuration folder. Two engines that start at once get the same key. A file that others may read is refused.
func DefaultKey(path string) (key []byte, created bool, err error) {
	if path == "" {
		folder, err := os.UserConfigDir()
		if err != nil {
			return nil, false, err
		}
		path = filepath.Join(folder, "weir", "state.key")
	}
	key, err = readKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, false, err
	}
	created, err = createKey(path)
	if err != nil {
		return nil, false, err
	}
	key, err = readKey(path)
	return key, created, err
}

func readKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !private(info) {
		return nil, fmt.Errorf("others may read the state key: chmod 600 %s", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKey writes the file under another name and links it, so that it is never seen half written and never replaced.
func createKey(path string) (created bool, err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return false, err
	}
	key := make([]byte, KeySize)
	rand.Read(key)
	f, err := os.CreateTemp(folder, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return false, err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(hex.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return false, err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, syncFolder(folder)
}
