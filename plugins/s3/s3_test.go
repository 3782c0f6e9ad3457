package s3

import (
	"encoding/json"
	"testing"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// What talks to a server is tested against a real one, see real_test.go.

func TestObjectURLs(t *testing.T) {
	for connection, want := range map[string]string{
		`{"bucket":"b","region":"eu-central-1"}`:                                      "https://b.s3.eu-central-1.amazonaws.com/a/%E6%96%87%201",
		`{"bucket":"b"}`:                                                              "https://b.s3.us-east-1.amazonaws.com/a/%E6%96%87%201",
		`{"bucket":"b","endpoint":"https://minio.example:9000"}`:                      "https://b.minio.example:9000/a/%E6%96%87%201",
		`{"bucket":"b","endpoint":"https://minio.example/s3/","path_style":true}`:     "https://minio.example/s3/b/a/%E6%96%87%201",
		`{"bucket":"b","endpoint":"http://127.0.0.1:7070","access_key_secret":"key"}`: "http://127.0.0.1:7070/b/a/%E6%96%87%201",
	} {
		made, err := connect(&sdk.Env{Connection: json.RawMessage(connection)}, object.Step{})
		if err != nil {
			t.Errorf("%s: %v", connection, err)
			continue
		}
		if got := made.(*store).info("a/文 1", nil, nil).URL; got != want {
			t.Errorf("%s: got %s, want %s", connection, got, want)
		}
	}
}

func TestConnectionMistakes(t *testing.T) {
	for _, connection := range []string{
		`{"bucket":"b","endpoint":"minio.example:9000"}`,
		`{"bucket":"b","proxy":"not a proxy"}`,
		`{"bucket":"b","ca":"/nowhere/ca.pem"}`,
		`{"bucket":"b","ca":"-----BEGIN NOTHING-----"}`,
		`{"bucket":"b","silence":"soon"}`,
		`{"bucket":"b","colour":"red"}`,
	} {
		if _, err := connect(&sdk.Env{Connection: json.RawMessage(connection)}, object.Step{}); err == nil {
			t.Errorf("%s: got no error", connection)
		}
	}
}
