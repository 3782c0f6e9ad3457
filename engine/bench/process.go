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
	ours      map[string]bool // processes by number: whether they belong to the command
	peak      int64
	processes int
}

func launch(cmd *exec.Cmd) (*watched, error) {
	w := &watched{cmd: cmd, done: make(chan struct{}), ours: map[string]bool{}}
	for _, pid := range processes() {
		w.ours[pid] = false
	}
	w.began = time.Now()
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
//
// It finds children by their parents. /proc/PID/task/TID/children would be shorter, but whoever reads it holds up the processes that it
// lists: read fifty times a second, it was seen to cost a start of six plugins up to two seconds of processor time (Linux 6.18).
func (w *watched) look() {
	if time.Since(w.looked) < 20*time.Millisecond {
		return
	}
	w.looked = time.Now()
	w.ours[strconv.Itoa(w.cmd.Process.Pid)] = true
	for _, pid := range processes() {
		if _, known := w.ours[pid]; !known {
			w.ours[pid] = w.ours[parent(pid)]
		}
	}
	var memory int64
	n := 0
	for pid, ours := range w.ours {
		if !ours {
			continue
		}
		bytes, alive := private(pid)
		memory += bytes
		if alive {
			n++
		}
	}
	w.peak, w.processes = max(w.peak, memory), max(w.processes, n)
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

// processes are the numbers of all, parents mostly before their children; none where there is no /proc.
func processes() (pids []string) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // in the order of their numbers
	for _, name := range names {
		if name[0] >= '1' && name[0] <= '9' {
			pids = append(pids, name)
		}
	}
	return pids
}

// parent is the number of a process's parent, "" when it is gone.
func parent(pid string) string {
	stat, _ := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // behind the name, which may hold anything: state, parent
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

// private is the anonymous memory of a process in bytes, and whether it is there.
func private(pid string) (sum int64, alive bool) {
	status, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kib << 10, true
		}
	}
	return 0, false // a zombie has none
}
