//go:build unix

package engine

import "syscall"

// umask sets the permissions that new files do not get, and returns what it was.
func umask(mask int) int { return syscall.Umask(mask) }
