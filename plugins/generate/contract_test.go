package generate

import (
	"testing"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	sdktest.Run(t, Plugin(), sdktest.Case{Kind: sdk.KindSource, Type: "generate", Args: map[string]any{"count": 3000, "size": 64, "seed": 1, "rate": 0}})
}
