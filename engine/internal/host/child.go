package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"

	"github.com/weir-etl/weir/engine/internal/plain"
)

// child is the process for go-plugin (runner.Runner). Beside what go-plugin's own runner does, it ties the process's life to ours and
// reads its standard error itself.
type child struct {
	cmd    *exec.Cmd
	image  *image
	stdin  *os.File // held open and never written: its end tells the plugin that we are gone
	stdout *os.File
	stderr *os.File
	theirs []*os.File // the process's ends

	sockets string // folder in which it has to listen
	lines   *lines
	logged  *io.PipeReader // ends when all of stderr is read; go-plugin waits for that

	done chan struct{}
	err  error // of the process; set before done is closed

	mu     sync.Mutex
	pid    int  // 0 = not started
	killed bool // also before the start
}

func newChild(exe Executable, img *image, lines *lines) *child {
	c := &child{cmd: exec.Command(img.path, exe.Args...), image: img, lines: lines, done: make(chan struct{})}
	c.cmd.Args[0] = exe.Name
	c.cmd.ExtraFiles = img.extra
	c.cmd.SysProcAttr = dieWithUs()
	return c
}

// prepare gives the process its environment and pipes.
func (c *child) prepare(env []string) error {
	c.cmd.Env = env
	var err error
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	stdin, w0 := pipe()
	r1, stdout := pipe()
	r2, stderr := pipe()
	c.stdin, c.stdout, c.stderr = w0, r1, r2
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = stdin, stdout, stderr
	c.theirs = []*os.File{stdin, stdout, stderr}
	if err != nil {
		c.closeTheirs()
		c.closeOurs()
	}
	return err
}

func (c *child) closeTheirs() {
	for _, f := range c.theirs {
		f.Close() // closing nil is an error, and harmless
	}
}

func (c *child) closeOurs() {
	c.stdin.Close()
	c.stdout.Close()
	c.stderr.Close()
}

// Start starts the process.
func (c *child) Start(context.Context) error {
	started := make(chan error)
	go func() {
		// The kernel's parent-death signal follows the thread that started the process, not our process: this goroutine keeps its
		// thread until the process has ended, and takes it along.
		runtime.LockOSThread()
		err := c.spawn()
		c.closeTheirs()
		started <- err
		if err == nil {
			c.wait()
		}
	}()
	if err := <-started; err != nil {
		c.closeOurs()
		return err
	}
	var end *io.PipeWriter
	c.logged, end = io.Pipe()
	go func() { // ends with the process
		c.lines.read(c.stderr)
		c.stderr.Close()
		end.Close()
	}()
	return nil
}

func (c *child) spawn() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.image.started()
	if c.killed {
		return errors.New("ended before it was started")
	}
	err := c.start()
	for i := 0; busy(err) && i < 50; i++ {
		time.Sleep(10 * time.Millisecond)
		err = c.start()
	}
	if err != nil {
		c.image.remove()
		return err
	}
	c.pid = c.cmd.Process.Pid
	return nil
}

// start tries to start the process; the description of a command can be tried only once.
func (c *child) start() error {
	keepDescriptors()
	d := c.cmd
	c.cmd = &exec.Cmd{Path: d.Path, Args: d.Args, Env: d.Env, Dir: d.Dir, Stdin: d.Stdin, Stdout: d.Stdout, Stderr: d.Stderr,
		ExtraFiles: d.ExtraFiles, SysProcAttr: d.SysProcAttr}
	return c.cmd.Start()
}

func (c *child) wait() {
	c.err = c.cmd.Wait()
	c.image.remove()
	close(c.done)
	c.stdin.Close()
	// Whoever has inherited the other pipes may hold them for ever; what was in them is read in a moment.
	soon := time.Now().Add(time.Second)
	c.stdout.SetReadDeadline(soon)
	c.stderr.SetReadDeadline(soon)
}

// Wait waits for the end of the process.
func (c *child) Wait(context.Context) error {
	<-c.done
	return c.err
}

// Kill ends the process at once, or keeps it from starting.
func (c *child) Kill(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.killed = true
	if c.pid == 0 {
		return nil
	}
	if err := c.cmd.Process.Kill(); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (c *child) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pid
}

func (c *child) Stdout() io.ReadCloser { return c.stdout }
func (c *child) Stderr() io.ReadCloser { return c.logged }
func (c *child) Name() string          { return c.cmd.Args[0] }
func (c *child) ID() string            { return strconv.Itoa(c.number()) }

// Diagnose adds nothing: go-plugin's error says what it got.
func (c *child) Diagnose(context.Context) string { return "" }

// PluginToHost says where to reach the process. It is reached through a socket in the folder that was made for it, which nobody but the
// owner can enter: that is what keeps others from speaking to it, or in its place. The cookie of the handshake is no secret.
func (c *child) PluginToHost(network, addr string) (string, string, error) {
	if runtime.GOOS != "windows" && (network != "unix" || filepath.Dir(addr) != c.sockets) {
		return "", "", fmt.Errorf("it listens on %s %s, want a unix socket in the folder of %s", network, plain.Line(addr), plugin.EnvUnixSocketDir)
	}
	return network, addr, nil
}

// HostToPlugin: both see the same files.
func (c *child) HostToPlugin(network, addr string) (string, string, error) { return network, addr, nil }
