package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	sdktest.Run(t, plugin(), sdktest.Case{Kind: sdk.KindTransform, Type: "redact", Args: map[string]any{"fields": []string{"text"}},
		Records: sdktest.Records("note/1", 20)})
}

func TestRedact(t *testing.T) {
	for body, want := range map[string]string{
		`{"n":1,"text":"水は低きに流る"}`: `{"n":1,"text":"█"}`,
		`{"n":2}`:                  `{"n":2}`,
		`{"text":{"deep":1}}`:      `{"text":"█"}`,
		`not JSON`:                 "NOT_JSON",
	} {
		var got string
		call := sdk.NewCall([]sdk.Row{{Record: sdk.Record{ID: "1", Body: []byte(body)}}}, time.Time{}, false, func(_ int, o sdk.Outcome) {
			if got = o.Code; len(o.Outputs) > 0 {
				got = string(o.Outputs[0].Body)
			}
		})
		r := redact{Fields: []string{"text"}}
		if err := r.Apply(t.Context(), call); err != nil || got != want {
			t.Errorf("%s: got %s (%v), want %s", body, got, err, want)
		}
	}
}

// The pipeline beside this file, run as its first lines say.
func TestPipeline(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config")) // the first run makes the state key there
	pipeline, err := os.ReadFile("pipeline.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pipeline.hcl"), pipeline, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"go", "build", "-o", filepath.Join(dir, "acme"), "."},
		{"go", "build", "-o", filepath.Join(dir, "weir"), "github.com/weir-etl/weir/engine/cmd/weir"},
		{filepath.Join(dir, "weir"), "plugin", "lock", filepath.Join(dir, "pipeline.hcl")},
		{filepath.Join(dir, "weir"), "run", "--once", filepath.Join(dir, "pipeline.hcl"), "--var", "out=" + filepath.Join(dir, "out")},
	} {
		if b, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, b)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "out"))
	if n := bytes.Count(b, []byte(`"text":"█"}`)); err != nil || n != 1000 {
		t.Errorf("got %d redacted lines (%v), want 1000", n, err)
	}
}
