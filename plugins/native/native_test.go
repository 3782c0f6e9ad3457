//go:build linux && (amd64 || arm64) && !weirstatic

package native_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weir-etl/weir/plugins/native"
)

// What is loaded stays: each test runs in a process of its own. glibc's small libraries, which nothing here needs, stand for the big ones.
const (
	one   = "libanl.so.1"
	other = "libutil.so.1"
)

// alone runs the rest of the test in a new process, and reports whether this is that.
func alone(t *testing.T) bool {
	t.Helper()
	const child = "WEIR_TEST_ALONE"
	if os.Getenv(child) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func mapped(t *testing.T, library string) bool {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(maps), "/"+library)
}

func TestOneLibraryInAProcess(t *testing.T) {
	if !alone(t) {
		return
	}
	if err := native.Load(native.WeCom, one, nil); err != nil || !mapped(t, one) {
		t.Fatal(err)
	}
	var refused *native.OtherError
	if err := native.Load(native.OpenSSL, other, nil); !errors.As(err, &refused) || *refused != (native.OtherError{Loaded: native.WeCom, Wanted: native.OpenSSL, Path: one}) {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := native.Load(native.WeCom, other, nil); !errors.As(err, &refused) {
		t.Errorf("from another path: got %v, want a refusal", err)
	}
	if mapped(t, other) {
		t.Error("both are in the process")
	}
	if err := native.Load(native.WeCom, one, nil); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	if !alone(t) {
		return
	}
	var wait sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wait.Go(func() {
			if i%2 == 0 {
				errs[i] = native.Load(native.WeCom, one, nil)
			} else {
				errs[i] = native.Load(native.OpenSSL, other, nil)
			}
		})
	}
	wait.Wait()
	if mapped(t, one) == mapped(t, other) {
		t.Errorf("one: %v, other: %v", mapped(t, one), mapped(t, other))
	}
	for i, err := range errs {
		if want := mapped(t, []string{one, other}[i%2]); (err == nil) != want {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// What was never loaded takes no process; what was, does, whatever it lacks.
func TestWhatTakesAProcess(t *testing.T) {
	if !alone(t) {
		return
	}
	garbage := filepath.Join(t.TempDir(), "garbage.so")
	if err := os.WriteFile(garbage, []byte("\x7fELF, but not for long"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/nowhere.so", garbage, t.TempDir()} {
		if err := native.Load(native.WeCom, path, nil); err == nil {
			t.Errorf("%s is loaded", path)
		}
	}
	var f func()
	if err := native.Load(native.OpenSSL, other, map[string]any{"no_such_function": &f}); err == nil || !strings.Contains(err.Error(), "no_such_function") {
		t.Errorf("got %v", err)
	}
	var refused *native.OtherError
	if err := native.Load(native.WeCom, one, nil); !errors.As(err, &refused) || mapped(t, one) {
		t.Errorf("got %v", err)
	}
}
