package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

// external is a copy of this program, as a plugin of somebody else, with its checksum.
func external(t *testing.T) Executable {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	exe := Executable{Name: "acme", Path: filepath.Join(t.TempDir(), "acme"), Args: []string{ServeArg, "probe"}}
	copyFile(t, self, exe.Path)
	return locked(t, exe)
}

func locked(t *testing.T, exe Executable) Executable {
	t.Helper()
	var err error
	if exe.SHA256, _, err = Sum(exe.Path); err != nil {
		t.Fatal(err)
	}
	return exe
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, b)
}

// write makes an executable file, under a name that it takes from an older one, as installers do.
func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", content, 0o700), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// script starts a program by way of an interpreter.
func script(t *testing.T, program Executable) Executable {
	t.Helper()
	exe := Executable{Name: "acme", Path: filepath.Join(t.TempDir(), "acme.sh"), Args: program.Args}
	write(t, exe.Path, fmt.Appendf(nil, "#!/bin/sh\n: \"$%s\"\nexec '%s' \"$@\"\n", OriginVar, program.Path))
	return locked(t, exe)
}

func killed(p *Process) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p.Kill(ctx)
}

func TestChecked(t *testing.T) {
	good := external(t)
	link := good
	link.Path = filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(good.Path, link.Path); err != nil {
		t.Fatal(err)
	}
	for name, exe := range map[string]Executable{"program": good, "symlink": link, "script": script(t, good)} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			p, err := Start(t.Context(), exe, Options{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.PID()))
			if want := OriginVar + "=" + exe.Path + "\x00"; err != nil || !bytes.Contains(env, []byte(want)) {
				t.Errorf("the plugin is not told where it comes from: %q, %v", env, err)
			}
			if err := p.Kill(t.Context()); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left in the folder: %v", left)
			}
		})
	}
}

// Somebody replaces the executable, in every way: it is not started.
func TestTampered(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"another file under its name": func(t *testing.T, path string) { write(t, path, []byte("#!/bin/sh\nexit 1\n")) },
		"a byte more": func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.Write([]byte{0})
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		},
		"a link that leads elsewhere": func(t *testing.T, path string) {
			if err := errors.Join(os.Remove(path), os.Symlink("/bin/sh", path)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			exe := external(t)
			spoil(t, exe.Path)
			dir := folder(t)
			p, err := Start(t.Context(), exe, Options{Dir: dir})
			var sum *ChecksumError
			if !errors.As(err, &sum) {
				if err == nil {
					killed(p)
				}
				t.Fatalf("got %v", err)
			}
			if now := locked(t, exe); sum.Want != exe.SHA256 || sum.Found != now.SHA256 || sum.Path != exe.Path {
				t.Errorf("got %+v", sum)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left in the folder: %v", left)
			}
		})
	}
	for name, spoil := range map[string]func(path string) error{
		"gone":     os.Remove,
		"a folder": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
		"a pipe":   func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o700)) },
		"no x":     func(path string) error { return os.Chmod(path, 0o600) },
	} {
		exe := external(t)
		if err := spoil(exe.Path); err != nil {
			t.Fatal(err)
		}
		if p, err := Start(t.Context(), exe, Options{Dir: folder(t)}); err == nil {
			killed(p)
			t.Errorf("%s: started", name)
		}
	}
}

// A plugin that is killed is checked again before it starts again.
func TestTamperedBeforeRestart(t *testing.T) {
	exe := external(t)
	good, err := os.ReadFile(exe.Path)
	if err != nil {
		t.Fatal(err)
	}
	var starts, refused int
	err = Supervise(t.Context(), exe, Options{Dir: folder(t)}, func(ctx context.Context, p *Process) error {
		if starts++; starts == 2 {
			return nil
		}
		write(t, exe.Path, []byte("#!/bin/sh\nexit 1\n"))
		syscall.Kill(p.PID(), syscall.SIGKILL)
		<-ctx.Done()
		return ctx.Err()
	}, func(err error, _ time.Duration) {
		var sum *ChecksumError
		if errors.As(err, &sum) {
			if refused++; refused == 2 {
				write(t, exe.Path, good) // the operator puts it back
			}
		}
	})
	if err != nil || starts != 2 || refused != 2 {
		t.Errorf("%d starts, %d refused, %v: want 2 and 2", starts, refused, err)
	}
}

// What is written to the file after it was checked does not run: the image is another one, and nobody can write to it.
func TestSwappedAfterCheck(t *testing.T) {
	exe := external(t)
	img, err := newImage(exe.Path, exe.SHA256, folder(t))
	if err != nil {
		t.Fatal(err)
	}
	defer img.started()
	defer img.remove()
	f, err := os.OpenFile(exe.Path, os.O_WRONLY|os.O_TRUNC, 0) // in place: whoever has it open, or mapped, sees it
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("#!/bin/sh\necho swapped\n"); err != nil {
		t.Fatal(err)
	}
	f.Close()
	cmd := exec.Command(img.path, exe.Args...)
	cmd.ExtraFiles = img.extra
	out, _ := cmd.CombinedOutput()
	if !strings.Contains(string(out), `plugin "probe"`) {
		t.Errorf("it ran: %s", out)
	}
	if len(img.extra) == 0 {
		t.Fatal("this kernel has no sealed memory")
	}
	if _, err := img.extra[0].WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("the image can be written: %v", err)
	}
	if err := img.extra[0].Truncate(0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("the image can be cut: %v", err)
	}
}

// Where there is no sealed memory the image is a file that only the owner can read, and that is gone with its process.
func TestImageAsFile(t *testing.T) {
	for name, exe := range map[string]Executable{"program": external(t), "script": script(t, external(t))} {
		dir := t.TempDir()
		in, err := openExecutable(exe.Path)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		img, err := fill(in, exe.SHA256, func() (*os.File, error) { return os.CreateTemp(dir, "exe-") })
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(img.path); err != nil || info.Mode().Perm() != 0o500 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		c := newChild(exe, img, newLines(hclog.NewNullLogger()))
		if err := c.prepare(nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		said, _ := io.ReadAll(c.stdout)
		c.Wait(t.Context())
		if exit := new(exec.ExitError); !errors.As(c.err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%s: it said %q and ended with %v, want the greeting's exit status", name, said, c.err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left in the folder: %v", name, left)
		}
		in.Seek(0, io.SeekStart)
		var sum *ChecksumError
		if _, err := fill(in, strings.Repeat("0", 64), func() (*os.File, error) { return os.CreateTemp(dir, "exe-") }); !errors.As(err, &sum) {
			t.Errorf("%s: %v", name, err)
		}
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s: left of a wrong one: %v", name, left)
		}
	}
}

// A new weir is installed while the old one runs: the old one goes on with its own plugins. The wire between the two may have changed.
func TestReplacedSelf(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(t.TempDir(), "weir")
	copyFile(t, self, mine)
	engine := exec.Command(mine, "host-again", folder(t))
	stdin, err := engine.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := engine.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Process.Kill(); engine.Wait() })
	lines := bufio.NewScanner(out)
	for i, replaced := range []func(){func() {}, func() { write(t, mine, []byte("#!/bin/sh\nexit 1\n")) }, func() { os.Remove(mine) }} {
		replaced()
		fmt.Fprintln(stdin, "start")
		if !lines.Scan() {
			t.Fatal("the engine ended")
		}
		if got, _ := strings.CutSuffix(lines.Text(), " (deleted)"); got != mine {
			t.Errorf("start %d runs %q, want %s", i, lines.Text(), mine)
		}
	}
}

// What whoever started us has left open does not reach plugins.
func TestInheritedDescriptors(t *testing.T) {
	for name, keep := range map[string]func(){"as a whole": keepDescriptors, "one by one": closeEachOnExec} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		defer w.Close()
		left, err := syscall.Dup(int(r.Fd())) // without close-on-exec
		if err != nil {
			t.Fatal(err)
		}
		defer syscall.Close(left)
		look := func() string {
			out, err := exec.Command("/bin/sh", "-c", "ls -l /proc/$$/fd").Output()
			if err != nil {
				t.Fatal(err)
			}
			return string(out)
		}
		pipe, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", left))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(look(), pipe) {
			t.Errorf("%s: the control shows nothing", name)
		}
		if keep(); strings.Contains(look(), pipe) {
			t.Errorf("%s: a new process has it", name)
		}
	}
}

// Only the owner gets to the socket of a plugin, and a connection that says nothing is not kept.
func TestSocketOfPlugin(t *testing.T) {
	t.Parallel() // it waits for five seconds
	dir := folder(t)
	started(t, Options{Dir: dir})
	sockets, err := filepath.Glob(filepath.Join(dir, "*", "plugin*"))
	if err != nil || len(sockets) != 1 {
		t.Fatal(sockets, err)
	}
	for _, d := range []string{dir, filepath.Dir(sockets[0])} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", d, info, err)
		}
	}
	c, err := net.Dial("unix", sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	_, err = io.Copy(io.Discard, c) // the server greets, then waits
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("a silent connection is still open")
	}
}
