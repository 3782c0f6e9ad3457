//go:build real

package finance

import (
	"os"
	"testing"
)

func TestLibraryDecode(t *testing.T) {
	path := os.Getenv("WEIR_WECOM_LIBRARY")
	if path == "" {
		t.Fatal("WEIR_WECOM_LIBRARY does not name the official library")
	}
	library, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	checkVectors(t, library.Decode)
	for _, message := range []string{"", "short", string(make([]byte, 100))} {
		if _, err := library.Decode("AAAA", message); err == nil {
			t.Errorf("%q: got no error", message)
		}
	}
}
