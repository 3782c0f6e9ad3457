//go:build real

// Package real checks the simulator with the official JavaScript client, @kintone/rest-api-client. It needs node and npm, and the
// network or a cache for the packages that package-lock.json pins by hash.
package real

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
)

func TestOfficialClient(t *testing.T) {
	srv, err := kintonesim.Start(kintonesim.Options{
		Now: func() time.Time { return time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC) },
		Apps: []kintonesim.App{{ID: 7, Token: "log", Fields: []kintonesim.Field{
			{Code: "msgid", Type: "SINGLE_LINE_TEXT", Unique: true, Required: true},
			{Code: "seq", Type: "NUMBER"},
			{Code: "msgtime", Type: "DATETIME"},
			{Code: "status", Type: "DROP_DOWN", Options: []string{"FINISHED"}},
			{Code: "file", Type: "FILE"},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()

	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "drive.mjs"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(name string, args ...string) []byte {
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
		}
		return stdout.Bytes()
	}
	run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	// The client refuses plain HTTP to any host but this one.
	url := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)

	type object = map[string]any
	type list = []any
	refused := func(status float64, code string, paths ...any) object {
		if paths == nil {
			paths = list{}
		}
		return object{"status": status, "code": code, "paths": paths, "name": "KintoneRestAPIError"}
	}
	want := object{
		"fields":     list{"file", "msgid", "msgtime", "seq", "status", "レコード番号", "作成日時", "更新日時"},
		"addRecord":  object{"id": "1", "revision": "1"},
		"addRecords": object{"ids": list{"2", "3", "4"}, "revisions": list{"1", "1", "1"}, "records": list{object{"id": "2", "revision": "1"}, object{"id": "3", "revision": "1"}, object{"id": "4", "revision": "1"}}},
		"upsert": object{"records": list{
			object{"id": "4", "revision": "2", "operation": "UPDATE"},
			object{"id": "5", "revision": "1", "operation": "INSERT"},
		}},
		"addAllRecords":           250.0,
		"getAllRecords":           object{"n": 254.0, "first": "m1", "last": "m349"},
		"getAllRecordsWithCursor": 255.0,
		"getRecords": object{"total": "1", "values": object{
			"$id": "5", "$revision": "1", "レコード番号": "5", "作成日時": "2026-11-22T01:02:00Z", "更新日時": "2026-11-22T01:02:00Z",
			"msgid": "m4", "seq": "", "msgtime": "2026-11-22T01:02:00Z", "status": nil, "file": list{},
		}},
		"file":            object{"name": "截图 日本語.png", "size": "6000", "same": true, "sha256": fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Repeat("内容", 1000))))},
		"unknownFile":     refused(404, "GAIA_BL01"),
		"101":             refused(400, "CB_VA01", "records"),
		"duplicate":       refused(400, "CB_VA01", "records[1].msgid.value"),
		"missingKey":      refused(404, "GAIA_RE20"),
		"conflict":        refused(409, "GAIA_CO02"),
		"allRecordsError": refused(400, "CB_VA01", "records[0].msgid.value"),
		"deleteRecords":   object{},
		"wrongToken":      refused(400, "GAIA_IA02"),
	}
	var got object
	if err := json.Unmarshal(run("node", "drive.mjs", url, "log", "7"), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the official client saw (-want +got):\n%s", diff)
	}
	if n := len(srv.Rows(7)); n != 253 {
		t.Errorf("got %d rows, want 253", n)
	}
}
