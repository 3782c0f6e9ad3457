//go:build !unix

package state

import "io/fs"

// lockFolder leaves it to Badger, which locks its own folder.
func lockFolder(string) (release func() error, err error) { return func() error { return nil }, nil }

// syncFolder: elsewhere folders cannot be synchronised, and need not be on NTFS.
func syncFolder(string) error { return nil }

// free is not measured here.
func free(string) (int64, bool) { return 0, false }

func allocated(info fs.FileInfo) int64 { return info.Size() }

// private cannot be told from mode bits here; the user's configuration folder is private by its access list.
func private(fs.FileInfo) bool { return true }
