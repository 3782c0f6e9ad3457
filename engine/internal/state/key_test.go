package state_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

func TestParseKey(t *testing.T) {
	key := bytes.Repeat([]byte{0xfb}, state.KeySize)
	for _, text := range []string{
		hex.EncodeToString(key), strings.ToUpper(hex.EncodeToString(key)), " " + hex.EncodeToString(key) + "\n",
		base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key),
	} {
		if got, err := state.ParseKey(text); err != nil || !bytes.Equal(got, key) {
			t.Errorf("ParseKey(%q) = %x, %v; want %x", text, got, err, key)
		}
	}
	for _, text := range []string{"", " \n"} {
		if _, err := state.ParseKey(text); !errors.Is(err, state.ErrNoKey) {
			t.Errorf("ParseKey(%q) = %v; want ErrNoKey", text, err)
		}
	}
	for _, text := range []string{"hunter2hunter2", hex.EncodeToString(key[1:])} {
		if _, err := state.ParseKey(text); err == nil || strings.Contains(err.Error(), text) {
			t.Errorf("ParseKey(%q) = %v; want an error without the text", text, err)
		}
	}
}

func TestDefaultKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir", "state.key")
	var all sync.WaitGroup
	var keys [8][]byte
	var made [8]bool
	for i := range keys {
		all.Go(func() {
			var err error
			if keys[i], made[i], err = state.DefaultKey(path); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	creators := 0
	for i := range keys {
		if made[i] {
			creators++
		}
		if !bytes.Equal(keys[i], keys[0]) || len(keys[i]) != state.KeySize {
			t.Errorf("engine %d got another key", i)
		}
	}
	if creators != 1 {
		t.Errorf("%d engines created the key; want 1", creators)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file %v, %v; want mode 0600", info.Mode(), err)
	}
	left, _ := os.ReadDir(filepath.Dir(path))
	if len(left) != 1 {
		t.Errorf("%d files beside the key; want none", len(left)-1)
	}

	os.Chmod(path, 0o644)
	if _, _, err := state.DefaultKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v; want a refusal that says chmod 600", err)
	}
	os.Chmod(path, 0o600)
	os.WriteFile(path, []byte("\n"), 0o600)
	if _, _, err := state.DefaultKey(path); !errors.Is(err, state.ErrNoKey) {
		t.Errorf("empty file: %v; want ErrNoKey", err)
	}
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	if _, made, err := state.DefaultKey(""); err != nil || !made {
		t.Errorf("in the configuration folder: created %v, %v", made, err)
	}
}
