package state_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

// A directory that is not ours to write is refused, with its name and what the system says. Root may write everywhere: then the one who
// tries is nobody.
func TestNotOurs(t *testing.T) {
	for _, test := range []struct {
		name string
		what func(dir string) error // makes it not ours
	}{
		{"a folder that may only be read", func(dir string) error { return os.Chmod(dir, 0o555) }},
		{"a folder of Badger that may only be read", func(dir string) error { return os.Chmod(filepath.Join(dir, "db"), 0o555) }},
		{"a folder of somebody else", func(dir string) error { return os.Chmod(dir, 0o000) }},
		{"a file of somebody else", func(dir string) error { return os.Chmod(filepath.Join(dir, "format.json"), 0o000) }},
		{"a log that may only be read", func(dir string) error { return os.Chmod(filepath.Join(dir, "db", "000001.vlog"), 0o444) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			root, err := os.MkdirTemp("", "weir-state-") // others may pass, other than through t.TempDir
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(root, "state")
			t.Cleanup(func() {
				os.Chmod(dir, 0o700)
				os.Chmod(filepath.Join(dir, "db"), 0o700)
				os.RemoveAll(root)
			})
			commitAndClose(t, dir)
			cmd := exec.Command(os.Args[0])
			if os.Getuid() == 0 {
				const nobody = 65534
				program := filepath.Join(root, "program")
				text, err := os.ReadFile(os.Args[0])
				if err := errors.Join(err, os.WriteFile(program, text, 0o755), os.Chmod(root, 0o755)); err != nil {
					t.Fatal(err)
				}
				filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error { return os.Chown(path, nobody, nobody) })
				cmd = exec.Command(program)
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
			if err := test.what(dir); err != nil {
				t.Fatal(err)
			}
			before := listingOf(dir)
			cmd.Env = append(os.Environ(), childEnv+"=try", dirEnv+"="+dir)
			out, err := cmd.CombinedOutput()
			said := string(out)
			if err != nil || !strings.Contains(said, "permission denied") || !strings.Contains(said, dir) || strings.Contains(said, "is damaged") {
				t.Errorf("said %q, %v; want the directory and permission denied", out, err)
			}
			if after := listingOf(dir); after != before && !strings.HasPrefix(test.name, "a log") {
				t.Errorf("it left\n%s\nof\n%s", after, before)
			}
		})
	}
}

// listingOf is what a folder holds, but for times.
func listingOf(dir string) string {
	var list []string
	filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		list = append(list, path)
		return nil
	})
	return strings.Join(list, "\n")
}

// Too few file descriptors are said, at whichever of them it ends, and nothing is lost by it.
func TestFewDescriptors(t *testing.T) {
	dir := memory(t)
	commitAndClose(t, dir)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=few", dirEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasSuffix(string(out), "PASS\n") {
		t.Fatalf("%v:\n%s", err, out)
	}
	t.Logf("%s", out)
	if n := len(load(t, open(t, dir), "archive").Owing); n != 2 {
		t.Errorf("%d owing; want 2", n)
	}
}

// starved opens a state with fewer and fewer descriptors, and works with what it got.
func starved(dir string) error {
	used, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		used, err = os.ReadDir("/dev/fd")
	}
	if err != nil {
		return err
	}
	said := map[string]int{}
	for n := uint64(len(used)) + 40; n >= uint64(len(used)); n-- {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			return err
		}
		few := now
		few.Cur = n
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			return err
		}
		db, failed := state.Open(dir, state.Options{Key: testKey})
		if failed == nil {
			failed = db.Compact(context.Background())
			if err := errors.Join(syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now), db.Close()); err != nil {
				return err
			}
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			return err
		}
		switch {
		case failed == nil:
			said["worked"]++
		case errors.Is(failed, state.ErrDamaged) || !strings.Contains(failed.Error(), "too many open files"):
			return fmt.Errorf("with %d: %w; want too many open files", n, failed)
		default:
			said["refused"]++
		}
	}
	fmt.Println(said)
	if said["worked"] == 0 || said["refused"] == 0 {
		return errors.New("there were never too few, or always")
	}
	return nil
}
