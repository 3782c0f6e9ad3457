//go:build real

package decrypt

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/weir-etl/weir/sdk"
)

func officialLibrary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("WEIR_WECOM_LIBRARY")
	if path == "" {
		t.Fatal("WEIR_WECOM_LIBRARY does not name the official library")
	}
	return path
}

func TestVectorsWithLibrary(t *testing.T) {
	path := officialLibrary(t)
	if !alone(t) { // the other tests have OpenSSL in their process
		return
	}
	raw, _ := json.Marshal(map[string]any{"private_keys": bothKeys(t), "decoder": "library", "library": path})
	tr := newTransform()
	if err := tr.Open(context.Background(), &sdk.Env{Args: raw}); err != nil {
		t.Fatal(err)
	}
	checkVectors(t, tr)
	if beside, log := openWith(t, bothKeys(t)); strings.Count(log, "rsa=crypto/rsa") != 2 || mapped(t, "libcrypto") || !mapped(t, filepath.Base(path)) {
		t.Errorf("got log %s", log)
	} else {
		checkVectors(t, beside)
	}
}

func TestLibraryBehindOpenSSL(t *testing.T) {
	path := officialLibrary(t)
	if !alone(t) {
		return
	}
	if _, log := openWith(t, bothKeys(t)); strings.Count(log, "rsa=\"OpenSSL") != 2 {
		t.Fatalf("got log %s", log)
	}
	if err := openWithLibrary(path); err == nil || !strings.Contains(err.Error(), "isolate = true") || mapped(t, filepath.Base(path)) {
		t.Errorf("got %v, want a refusal", err)
	}
}

// Where real servers are promised, so is the system's OpenSSL.
func TestOpenSSLIsHere(t *testing.T) {
	if _, log := openWith(t, bothKeys(t)); strings.Count(log, "rsa=\"OpenSSL") != 2 {
		t.Errorf("got log %s", log)
	}
}

// Nothing stays behind of a message, nor of a key. A ciphertext and its text are 344 bytes: 100,000 of them would show, and so would
// 3,000 keys.
func TestMemoryOfOpenSSL(t *testing.T) {
	if !alone(t) {
		return
	}
	k := testKey(t, "3")
	lib, err := loadOpenSSL(newTransform().(*transform).openssl)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := lib.fasten(k)
	if err != nil {
		t.Fatal(err)
	}
	good := raise(k, padded(256, 165, bytes.Repeat([]byte("k"), 88)))
	bad := raise(k, []byte("no padding"))
	messages := func(n int) {
		for range n {
			if _, err := fast.Decrypt(nil, good, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := fast.Decrypt(nil, bad, nil); err == nil {
				t.Fatal("opened")
			}
		}
	}
	keys := func(n int) {
		for i := range n {
			if _, err := lib.fasten(k); err != nil {
				t.Fatal(err)
			}
			if i%100 == 0 {
				runtime.GC()
			}
		}
	}
	messages(2000)
	keys(300)
	before := residentKiB(t)
	messages(50_000) // two operations each
	afterMessages := residentKiB(t)
	keys(3000)
	afterKeys := residentKiB(t)
	t.Logf("%d KiB, after 100,000 operations %d, after 3,000 keys %d", before, afterMessages, afterKeys)
	if afterMessages-before > 4<<10 || afterKeys-afterMessages > 4<<10 {
		t.Error("something stays behind")
	}
}

func residentKiB(t *testing.T) int {
	t.Helper()
	runtime.GC()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}
