package decrypt

import (
	"encoding/json"
	"testing"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	var records []sdk.Record
	for _, v := range loadVectors(t).Vectors {
		body, err := json.Marshal(map[string]any{"seq": v.Seq, "msgid": v.MsgID, "publickey_ver": v.Version,
			"encrypt_random_key": v.RandomKey, "encrypt_chat_msg": v.Message})
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, sdk.Record{ID: v.MsgID, Seq: v.Seq, Kind: KindRaw, Body: body})
	}
	sdktest.Run(t, Plugin(), sdktest.Case{Kind: sdk.KindTransform, Type: "decrypt", Args: map[string]any{"private_keys": bothKeys(t)}, Records: records})
}
