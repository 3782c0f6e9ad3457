package md5

import (
	"testing"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	records := sdktest.Records("note/1", 20)
	records[3].Files = []sdk.File{{Name: "a.txt", Size: -1}}
	sdktest.Run(t, Plugin(), sdktest.Case{Kind: sdk.KindTransform, Type: "md5", Records: records,
		Bytes: map[string][]byte{"a.txt": []byte("weir")}})
}
