package parse

import (
	"fmt"
	"testing"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	records := sdktest.Records(KindPlain, 20)
	for i := range records {
		records[i].Body = fmt.Appendf(nil, `{"msgid":%q,"action":"send","from":"li","tolist":["wang"],"roomid":"","msgtime":1603875601000,`+
			`"msgtype":"text","text":{"content":"水は低きに流る"}}`, records[i].ID)
	}
	sdktest.Run(t, Plugin(), sdktest.Case{Kind: sdk.KindTransform, Type: "parse", Records: records})
}
