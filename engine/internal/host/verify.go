package host

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxExecutable bounds what is read of a file that is said to be a plugin.
const maxExecutable = 1 << 30

// OriginVar is the variable that tells an external plugin where its executable lies: what runs is a copy, which has nothing beside it.
const OriginVar = "WEIR_PLUGIN_PATH"

// ChecksumError says that a plugin was not started, because its executable is not the one that was looked at.
type ChecksumError struct {
	Path        string
	Want, Found string // sha256, hex
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("%s is not the executable that was locked: its sha256 is %s, want %s", e.Path, e.Found, e.Want)
}

// Sum is the sha256, in hex, and the size of an executable.
func Sum(path string) (sum string, size int64, err error) {
	in, err := openExecutable(path)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	return copyExecutable(io.Discard, in)
}

// openExecutable opens a file that may be run. It never waits: to open a pipe would.
func openExecutable(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is not a file", path)
	case info.Mode()&anyExecute == 0:
		err = fmt.Errorf("%s cannot be executed: chmod +x", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func copyExecutable(to io.Writer, in *os.File) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(io.MultiWriter(to, h), io.LimitReader(in, maxExecutable+1))
	if err == nil && size > maxExecutable {
		err = fmt.Errorf("%s is larger than %d MiB", in.Name(), maxExecutable>>20)
	}
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// image is what is started instead of an executable whose checksum is known: a copy that was hashed while it was made, and that nobody
// can change. Whatever becomes of the original between the check and the start, or during the check, what runs is what was hashed.
//
// On Linux the copy is a sealed piece of memory, which no process can write to any more, and which the new process starts from its own
// descriptor 3. The descriptor stays open there, because a script is opened a second time, by its interpreter. Elsewhere, and where
// the kernel gives no such memory, it is a file in the private folder of the run, which is the owner's alone, and which is removed when
// the process has ended.
//
// A script is checked, not its interpreter, nor what it loads: ship a plugin as one file.
type image struct {
	path  string
	extra []*os.File // descriptors 3 and on of the new process
	file  string     // to be removed; "" = none
}

// newImage makes the image of an executable that must have the checksum want. dir is a private folder.
func newImage(path, want, dir string) (*image, error) {
	in, err := openExecutable(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	img, err := fill(in, want, inMemory)
	if errors.Is(err, errNoMemory) {
		if _, err = in.Seek(0, io.SeekStart); err == nil {
			img, err = fill(in, want, func() (*os.File, error) { return os.CreateTemp(dir, "exe-") })
		}
	}
	return img, err
}

// errNoMemory says that an image has to be a file.
var errNoMemory = errors.New("no sealed memory here")

func fill(in *os.File, want string, make func() (*os.File, error)) (*image, error) {
	out, err := make()
	if err != nil {
		return nil, err
	}
	img := &image{path: out.Name(), file: out.Name()}
	if isMemory(out) {
		img = &image{path: "/proc/self/fd/3", extra: []*os.File{out}}
	}
	sum, _, err := copyExecutable(out, in)
	switch {
	case err != nil:
	case sum != want:
		err = &ChecksumError{Path: in.Name(), Want: want, Found: sum}
	case img.file == "":
		err = seal(out)
	default:
		err = errors.Join(out.Chmod(0o500), out.Close()) // a file that is open for writing cannot be run
	}
	if err != nil {
		out.Close()
		img.remove()
		return nil, err
	}
	return img, nil
}

// started lets go of what only the start needed.
func (img *image) started() {
	for _, f := range img.extra {
		f.Close()
	}
}

// remove is for when the process has ended: until then an interpreter may still read the file.
func (img *image) remove() {
	if img.file != "" {
		os.Remove(img.file)
	}
}

// busy reports whether a start failed because another process, forked by us at the same moment, still holds the descriptor through
// which the file was written. It is gone in a moment.
func busy(err error) bool { return errors.Is(err, syscall.ETXTBSY) }
