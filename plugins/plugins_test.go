package plugins

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What loads native code has a process of its own: nothing else is to share it.
func TestNativeCodeIsAlone(t *testing.T) {
	var loads []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "native") {
			return err
		}
		text, err := os.ReadFile(path)
		if name, _, _ := strings.Cut(filepath.ToSlash(path), "/"); strings.Contains(string(text), `weir/plugins/native"`) && !slices.Contains(loads, name) {
			loads = append(loads, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	alone := Alone()
	slices.Sort(alone)
	if slices.Sort(loads); !slices.Equal(alone, loads) || len(loads) == 0 {
		t.Errorf("alone are %v, native code is loaded by %v", alone, loads)
	}
}
