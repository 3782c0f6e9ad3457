package host

import (
	"errors"
	"math"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dieWithUs: the kernel kills the process when we die. A process group of its own keeps it away from the terminal's signals: Ctrl-C
// is for the engine, which then ends its plugins in order.
func dieWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// keepDescriptors lets no new process inherit what we have open. Our own files are closed on exec anyway; those that whoever started us
// has left open, knowingly or not, are not.
func keepDescriptors() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) != nil { // Linux before 5.11
		closeEachOnExec()
	}
}

// Bundled is this executable as the plugins of these names together. The kernel keeps what it runs: also when the file has been replaced by a newer one, or
// is gone, this path is still the executable of this very process.
func Bundled(names ...string) (Executable, error) {
	const path = "/proc/self/exe"
	name := strings.Join(names, ",")
	if _, err := os.Stat(path); err != nil {
		return checkedSelf(name)
	}
	return Executable{Name: name, Path: path, Args: []string{ServeArg, name}}, nil
}

// inMemory is a file that lies nowhere, and that can be sealed.
func inMemory() (*os.File, error) {
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		return nil, errNoMemory // it could not be named
	}
	fd, err := unix.MemfdCreate(memoryName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3, where every such file could be run
		fd, err = unix.MemfdCreate(memoryName, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, errNoMemory // forbidden (vm.memfd_noexec), or an old kernel
	}
	return os.NewFile(uintptr(fd), memoryName), nil
}

const memoryName = "weir-plugin"

func isMemory(f *os.File) bool { return f.Name() == memoryName }

// seal makes a file in memory unchangeable, for everybody and for ever.
func seal(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	return err
}
