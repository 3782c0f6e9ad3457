package engine

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// ringer is a transform that lets records pass when it has the key of version 2. To open takes it long, the first time.
type ringer struct {
	Path string
	Keys map[string]sdk.Secret
}

func (r *ringer) Open(ctx context.Context, env *sdk.Env) error {
	if err := env.Decode(r); err != nil {
		return err
	}
	if _, err := os.Stat(r.Path); err != nil {
		os.WriteFile(r.Path, nil, 0o600)
		time.Sleep(2 * time.Second)
	}
	return nil
}

func (r *ringer) Close(context.Context) error { return nil }

func (r *ringer) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		if _, ok := r.Keys["2"]; ok {
			call.Answer(i, sdk.Emit(call.Rows[i].Record))
		} else {
			call.Answer(i, sdk.WaitFor("key version 2", "NO_KEY"))
		}
	}
	return nil
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// A key that is added while the step that uses it is being opened takes effect all the same.
func TestAKeyThatComesWhileItsStepIsOpened(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	mark, list := filepath.Join(dir, "mark"), filepath.Join(dir, "list")
	writeKey(t, filepath.Join(dir, "v1.pem"))
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "ring" }
source "count" "in" {
  to   = 1
  page = 1
}
transform "ring" "on" {
  input = source.count.in
  path  = %q
  keys  = keyring("v*.pem")
}
sink "list" "out" {
  input = transform.ring.on
  path  = %q
}
`, mark, list))
	o.Once, o.Clock = false, sdk.NewClock(time.Now(), time.Now(), 600) // a minute is 100 ms
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := Run(ctx, o)
		ended <- err
	}()
	there := func(path string) bool {
		for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if _, err := os.Stat(path); err == nil {
				return true
			}
		}
		return false
	}
	if !there(mark) {
		t.Error("the step is not opened")
	}
	writeKey(t, filepath.Join(dir, "v2.pem"))
	if !there(list) {
		t.Error("the record still waits for the key")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
