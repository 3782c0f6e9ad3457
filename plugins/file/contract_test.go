package file

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestSourceContract(t *testing.T) {
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, bytes.Repeat([]byte("a line\n"), 3000), 0o600); err != nil {
		t.Fatal(err)
	}
	sdktest.Run(t, Plugin(), sdktest.Case{Kind: sdk.KindSource, Type: "file", Args: map[string]any{"path": path, "kind": "text/1"}})
}

func TestSinkContract(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out")
	records := sdktest.Records("note/1", 20)
	records[3].Files = []sdk.File{{Name: "a.txt", Size: -1}}
	sdktest.Run(t, Plugin(), sdktest.Case{
		Kind: sdk.KindSink, Type: "file", Args: map[string]any{"path": path}, Records: records, Bytes: map[string][]byte{"a.txt": []byte("weir")},
		RecordArgs: func(r sdk.Record) any {
			files := []int{}
			for _, f := range r.Files {
				files = append(files, f.Index)
			}
			return map[string]any{"key": r.ID, "files": files}
		},
		Check: func(t testing.TB) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if n := bytes.Count(text, append(r.Body, '\n')); n != 1 {
					t.Errorf("%s stands there %d times", r.ID, n)
				}
			}
			files, err := os.ReadDir(path + ".files")
			if err != nil || len(files) != 1 {
				t.Errorf("%d files (%v), want 1", len(files), err)
			}
		},
	})
}
