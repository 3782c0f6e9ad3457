//go:build real

package decrypt

import (
	"context"
	"encoding/json"
	"os"
	"testing"

	"github.com/weir-etl/weir/sdk"
)

func TestVectorsWithLibrary(t *testing.T) {
	path := os.Getenv("WEIR_WECOM_LIBRARY")
	if path == "" {
		t.Fatal("WEIR_WECOM_LIBRARY does not name the official library")
	}
	raw, _ := json.Marshal(map[string]any{"private_keys": bothKeys(t), "decoder": "library", "library": path})
	tr := newTransform()
	if err := tr.Open(context.Background(), &sdk.Env{Args: raw}); err != nil {
		t.Fatal(err)
	}
	checkVectors(t, tr)
}
