package kintone_test

import (
	"testing"

	"github.com/weir-etl/weir/plugins/kintone"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	srv := start(t)
	records := sdktest.Records("chat.message/1", 20)
	records[3].Files = []sdk.File{{Name: "a.txt", Size: -1}}
	sdktest.Run(t, kintone.Plugin(), sdktest.Case{
		Kind: sdk.KindSink, Type: "kintone",
		Args:       object{"token": "log", "mode": "upsert", "overflow": "", "max_text": 64_000, "max_request": 900_000},
		Connection: object{"url": srv.URL, "certificate": "", "basic_auth": "", "proxy": "", "stall": "2s"},
		Records:    records, Bytes: map[string][]byte{"a.txt": []byte("weir")},
		RecordArgs: func(r sdk.Record) any {
			files := []int{}
			for _, f := range r.Files {
				files = append(files, f.Index)
			}
			return object{"app": appLog, "key": object{"msgid": r.ID}, "fields": object{"seq": r.Seq, "content": string(r.Body)},
				"files": object{"file": files}}
		},
		Check: func(t testing.TB) {
			if n := len(srv.Rows(appLog)); n != len(records) {
				t.Errorf("%d rows, want %d", n, len(records))
			}
		},
	})
}
