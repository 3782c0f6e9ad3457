//go:build (amd64 || arm64) && !weirstatic

package decrypt

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/weir-etl/weir/sdk"
)

// alone runs the rest of the test in a new process, because a library that is loaded stays. It reports whether this is that process.
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

// standIn is loaded as WeCom's library is, and then found not to be it; the process is taken.
const standIn = "libanl.so.1"

func openWithLibrary(path string) error {
	raw, _ := json.Marshal(map[string]any{"private_keys": map[string]string{}, "decoder": "library", "library": path})
	return newTransform().Open(context.Background(), &sdk.Env{Args: raw})
}

func TestOpenSSLFirst(t *testing.T) {
	if !alone(t) {
		return
	}
	tr, log := openWith(t, bothKeys(t))
	if !strings.Contains(log, "rsa=\"OpenSSL") { // there is none: the system's C library takes its place
		tr, _ = openWith(t, bothKeys(t), "libutil.so.1")
	} else if !mapped(t, "libcrypto.so") {
		t.Error("OpenSSL is not in the process")
	}
	checkVectors(t, tr)
	if err := openWithLibrary(standIn); err == nil || !strings.Contains(err.Error(), "isolate = true") {
		t.Errorf("got %v, want a refusal that tells the way out", err)
	}
	if mapped(t, standIn) {
		t.Error("both libraries are in the process")
	}
	if again, log := openWith(t, bothKeys(t)); !strings.Contains(log, " rsa=") {
		t.Errorf("a second time: got log %s", log)
	} else {
		checkVectors(t, again)
	}
}

func TestWeComFirst(t *testing.T) {
	if !alone(t) {
		return
	}
	if err := openWithLibrary(standIn); err == nil || strings.Contains(err.Error(), "isolate") || !mapped(t, standIn) {
		t.Fatalf("got %v", err)
	}
	tr, log := openWith(t, bothKeys(t))
	if strings.Count(log, "rsa=crypto/rsa") != 2 || !strings.Contains(log, "the WeCom library") {
		t.Errorf("got log %s", log)
	}
	if mapped(t, "libcrypto") {
		t.Error("both libraries are in the process")
	}
	checkVectors(t, tr)
}

// Something by the right name that is no OpenSSL.
func TestOtherLibraryByThatName(t *testing.T) {
	if !alone(t) {
		return
	}
	tr, log := openWith(t, bothKeys(t), "libutil.so.1", "libcrypto.so.3", "libcrypto.so.1.1")
	if strings.Count(log, "rsa=crypto/rsa") != 2 || mapped(t, "libcrypto") {
		t.Errorf("got log %s", log)
	}
	checkVectors(t, tr)
}
