package host

import (
	"os"
	"syscall"
)

// dieWithUs: the kernel kills the process when we die. A process group of its own keeps it away from the terminal's signals: Ctrl-C
// is for the engine, which then ends its plugins in order.
func dieWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// self is a path that stays this executable, even when the file has been replaced by a newer one.
func self() (string, error) {
	const path = "/proc/self/exe"
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	return os.Executable()
}
