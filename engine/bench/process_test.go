package bench

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// build makes a command of this module, named by its folder.
func build(tb testing.TB, folder string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), filepath.Base(folder))
	make := exec.Command("go", "build", "-o", path, folder)
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
