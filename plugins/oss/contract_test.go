package oss

import (
	"testing"

	"github.com/weir-etl/weir/plugins/oss/osssim"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	sim, err := osssim.Start(osssim.Options{Buckets: []osssim.Bucket{{Name: "archive"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	records := sdktest.Records("chat.message/1", 20)
	for i := range records {
		records[i].Files = []sdk.File{{Name: "a.txt", Size: -1}}
	}
	sdktest.Run(t, Plugin(), sdktest.Case{
		Kind: sdk.KindSink, Type: "oss", Args: map[string]any{"storage_class": "IA", "on_differs": "version"},
		Connection: map[string]any{"endpoint": sim.URL, "region": "cn-hangzhou", "bucket": "archive", "access_key_id": "ossid",
			"access_key_secret": "osssecret", "signature": "v4", "silence": "5s"},
		Records: records, Bytes: map[string][]byte{"a.txt": []byte("weir")},
		RecordArgs: func(r sdk.Record) any {
			return map[string]any{"files": []int{0}, "key": []string{r.ID}, "metadata": []any{map[string]string{"msgid": r.ID}}}
		},
		Check: func(t testing.TB) {
			for _, r := range records {
				if _, ok := sim.Object("archive", r.ID); !ok {
					t.Errorf("%s is not there", r.ID)
				}
			}
		},
	})
}
