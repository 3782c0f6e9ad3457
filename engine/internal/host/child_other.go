//go:build !linux

package host

import (
	"os"
	"strings"
	"syscall"
)

// dieWithUs has nothing to add where the kernel offers no parent-death signal: the plugin watches its standard input.
func dieWithUs() *syscall.SysProcAttr { return nil }

// keepDescriptors lets no new process inherit what whoever started us has left open.
func keepDescriptors() { closeEachOnExec() }

// Bundled is this executable as the plugins of these names together, as it is now: once it has been replaced by a newer one, it is not started any more.
func Bundled(names ...string) (Executable, error) { return checkedSelf(strings.Join(names, ",")) }

func inMemory() (*os.File, error) { return nil, errNoMemory }

func isMemory(*os.File) bool { return false }

func seal(*os.File) error { return nil }
