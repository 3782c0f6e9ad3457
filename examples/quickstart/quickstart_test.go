// Package quickstart runs the smallest pipeline, as a newcomer would.
package quickstart

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestPipeline(t *testing.T) {
	dir := t.TempDir()
	weir, out := filepath.Join(dir, "weir"), filepath.Join(dir, "out.jsonl")
	if b, err := exec.Command("go", "build", "-o", weir, "github.com/weir-etl/weir/engine/cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	run := func(count string) []byte {
		t.Helper()
		cmd := exec.Command(weir, "run", "--once", "--data-dir", filepath.Join(dir, "data"), "--var", "count="+count, "--var", "out="+out, "pipeline.hcl")
		cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(dir, "config")) // the first run makes the state key there
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}

	first := run("1000")
	lines := bytes.Split(bytes.TrimSuffix(first, []byte("\n")), []byte("\n"))
	if len(lines) != 1000 {
		t.Fatalf("got %d lines, want 1000", len(lines))
	}
	seen := map[int]bool{} // batches may overtake each other
	for _, line := range lines {
		var body struct{ N int }
		if err := json.Unmarshal(line, &body); err != nil || body.N < 1 || body.N > 1000 || seen[body.N] || len(line) != 256 {
			t.Fatalf("got %d bytes with n=%d (%v), seen before: %v; want 256 bytes, n from 1 to 1000, each once", len(line), body.N, err, seen[body.N])
		}
		seen[body.N] = true
	}
	if again := run("1000"); !bytes.Equal(again, first) {
		t.Errorf("a second run changed the file: got %d bytes, want %d", len(again), len(first))
	}
	if more := run("1500"); !bytes.HasPrefix(more, first) || bytes.Count(more, []byte("\n")) != 1500 {
		t.Errorf("a longer source: got %d lines, want 1500, the first 1000 as they were", bytes.Count(more, []byte("\n")))
	}
}
