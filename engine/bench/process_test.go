package bench

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// build makes a command of this module, named by its folder.
func build(tb testing.TB, folder string, flags ...string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), filepath.Base(folder))
	make := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, folder)...)
	make.Dir = root(tb)
	if out, err := make.CombinedOutput(); err != nil {
		tb.Fatalf("go build %s: %v\n%s", folder, err, out)
	}
	return path
}

// root is the module's folder.
func root(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// start starts a command that is looked at until its end.
func start(tb testing.TB, cmd *exec.Cmd) *watched {
	tb.Helper()
	w, err := launch(cmd)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// end is finish for tests.
func (w *watched) end(tb testing.TB) (cpu time.Duration, private float64, wall time.Duration) {
	tb.Helper()
	cpu, private, wall, err := w.finish()
	if err != nil {
		tb.Fatal(err)
	}
	return cpu, private, wall
}

// A process is looked at with all below it, and with no other.
func TestLook(t *testing.T) {
	if len(processes()) == 0 {
		t.Log("there is no /proc: nothing is told")
		return
	}
	cmd := exec.Command("sh", "-c", "exec 3<&0; cat <&3 & (cat <&3; true) & wait")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, cmd)
	for deadline := time.Now().Add(time.Minute); w.processes < 4 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		w.look()
	}
	w.looked, w.peak, w.processes = time.Time{}, 0, 0 // once all run what they are to run
	w.look()
	in.Close()
	_, memory, _ := w.end(t)
	if w.processes != 4 || memory <= 0 || memory > 50 {
		t.Errorf("got %d processes with %.1f MiB, want a shell, another one and two times cat", w.processes, memory)
	}
}
