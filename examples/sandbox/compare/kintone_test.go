package compare

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// An app of one record, which is written or deleted between the list and the download of its file.
func TestRowWrittenWhileItIsRead(t *testing.T) {
	for name, c := range map[string]struct {
		revisions []string // of each list; "" has no record
		want      string
		rows      int
	}{
		"untouched":              {[]string{"2"}, "", 1},
		"written":                {[]string{"1", "2"}, "", 1},
		"deleted":                {[]string{"1", ""}, "", 0},
		"a file that is missing": {[]string{"1", "1"}, "app 7, record 5: download: 404", 0},
	} {
		t.Run(name, func(t *testing.T) {
			lists := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/k/v1/file.json" {
					if r.FormValue("fileKey") != "key of 2" {
						http.Error(w, "", http.StatusNotFound)
						return
					}
					io.WriteString(w, "bytes")
					return
				}
				revision := c.revisions[lists]
				lists++
				if revision == "" {
					io.WriteString(w, `{"records": []}`)
					return
				}
				fmt.Fprintf(w, `{"records": [{"$id": {"type": "__ID__", "value": "5"}, "$revision": {"type": "__REVISION__", "value": %[1]q},
					"file": {"type": "FILE", "value": [{"fileKey": "key of %[1]s", "name": "a.txt"}]}}]}`, revision)
			}))
			defer server.Close()
			rows, err := Kintone{URL: server.URL}.rows(t.Context(), 7, "")
			if err == nil != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Fatal(err)
			}
			if len(rows) != c.rows || c.rows == 1 && rows[0].Files["file"][0].Size != 5 {
				t.Errorf("%+v", rows)
			}
			if lists != len(c.revisions) {
				t.Errorf("%d lists", lists)
			}
		})
	}
}
