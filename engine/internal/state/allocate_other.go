//go:build !linux

package state

import (
	"errors"
	"os"
)

// allocate is not known here.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }
