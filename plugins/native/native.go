// Package native loads libraries of C at run time, without cgo, and one of them into a process.
//
// WeCom's library brings an OpenSSL of its own, of another age than the system's, and exports some 2,600 of its names: the two would find
// each other's functions, and decrypt with one half of each. So whichever comes first keeps the process to itself. No other package
// imports purego (engine/rooms_test.go): there is no way round.
package native

import (
	"fmt"
	"sync"
)

// A Library is one that weir may load.
type Library string

// The libraries.
const (
	WeCom   Library = "the WeCom library"
	OpenSSL Library = "OpenSSL"
)

// loaded is a fact of the process and not of a value in it: what is loaded stays until the process ends.
var loaded struct {
	mu      sync.Mutex
	library Library // "" while there is none
	path    string
}

// OtherError says that the process has another library, or the same from another path.
type OtherError struct {
	Loaded, Wanted Library
	Path           string // of what is loaded
}

func (e *OtherError) Error() string {
	return fmt.Sprintf("%s cannot be loaded into a process that has %s from %s", e.Wanted, e.Loaded, e.Path)
}

// Load loads a library from path, which may be a bare name if it is the system's, and points functions, by the names of their symbols, to
// what it exports. It may be called again for what is loaded. An error is an [*OtherError], or in the loader's own words, because they
// name what is missing (on musl: glibc). Where the loader finds something that lacks a symbol, the process is taken nevertheless.
func Load(l Library, path string, functions map[string]any) error {
	loaded.mu.Lock()
	defer loaded.mu.Unlock()
	if loaded.library != "" && (loaded.library != l || loaded.path != path) {
		return &OtherError{Loaded: loaded.library, Wanted: l, Path: loaded.path}
	}
	handle, err := open(path)
	if err != nil {
		return err
	}
	loaded.library, loaded.path = l, path
	return bind(handle, functions)
}
