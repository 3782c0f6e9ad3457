package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// figures of a command and the processes it has started.
type figures struct {
	wall      time.Duration // from start to exit
	first     time.Duration // from start until its output was no longer empty
	cpu       time.Duration // user and system, of all processes
	private   float64       // MiB of anonymous memory of all processes at the peak; 0 where /proc does not tell
	processes int           // at the peak, itself among them; 0 where /proc does not tell
	twice     int           // records that arrived more than once
}

// measure runs a command to its end. out is the file whose first byte is waited for.
func measure(ctx context.Context, cmd *exec.Cmd, out string) (figures, error) {
	w, err := launch(cmd)
	if err != nil {
		return figures{}, err
	}
	var f figures
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.done:
			if ctx.Err() != nil { // which has killed it
				return f, ctx.Err()
			}
			f.cpu, f.private, f.wall, err = w.finish()
			f.processes = w.processes
			if f.first == 0 {
				f.first = f.wall
			}
			return f, err
		case <-tick.C:
			if st, err := os.Stat(out); f.first == 0 && err == nil && st.Size() > 0 {
				f.first = time.Since(w.began)
			}
			w.look()
		}
	}
}

// watched is a command under way.
type watched struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	began  time.Time
	ended  time.Time // valid once done is closed
	done   chan struct{}
	err    error

	looked    time.Time
	peak      int64
	processes int
}

func launch(cmd *exec.Cmd) (*watched, error) {
	w := &watched{cmd: cmd, began: time.Now(), done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &w.output, &w.output
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process, which the caller waits for or kills
		w.err, w.ended = cmd.Wait(), time.Now()
		close(w.done)
	}()
	return w, nil
}

// look takes a sample of the private memory, at most fifty a second.
func (w *watched) look() {
	if time.Since(w.looked) < 20*time.Millisecond {
		return
	}
	w.looked = time.Now()
	memory, processes := private(strconv.Itoa(w.cmd.Process.Pid))
	w.peak, w.processes = max(w.peak, memory), max(w.processes, processes)
}

// finish waits for the process. Its times hold those of all processes that it has waited for, as the engine does for its plugins.
func (w *watched) finish() (cpu time.Duration, private float64, wall time.Duration, err error) {
	<-w.done
	if w.err != nil {
		return 0, 0, 0, fmt.Errorf("%s: %w\n%s", w.cmd, w.err, w.output.Bytes())
	}
	s := w.cmd.ProcessState
	return s.UserTime() + s.SystemTime(), float64(w.peak) / (1 << 20), w.ended.Sub(w.began), nil
}

// private is the anonymous memory of a process and all below it, in bytes, and how many they are.
func private(pid string) (sum int64, processes int) {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			sum = kib << 10
		}
	}
	processes = 1
	lists, _ := filepath.Glob(filepath.Join("/proc", pid, "task", "*", "children"))
	for _, list := range lists {
		children, _ := os.ReadFile(list)
		for _, child := range strings.Fields(string(children)) {
			bytes, n := private(child)
			sum, processes = sum+bytes, processes+n
		}
	}
	return sum, processes
}
