//go:build !linux

package host

import (
	"os"
	"syscall"
)

// dieWithUs has nothing to add where the kernel offers no parent-death signal: the plugin watches its standard input.
func dieWithUs() *syscall.SysProcAttr { return nil }

func self() (string, error) { return os.Executable() }
