package main

import (
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/sdktest"
)

func TestContract(t *testing.T) {
	sdktest.Run(t, plugin(), sdktest.Case{Kind: sdk.KindTransform, Type: "redact", Args: map[string]any{"fields": []string{"text"}},
		Records: sdktest.Records("note/1", 20)})
}

func TestRedact(t *testing.T) {
	for body, want := range map[string]string{
		`{"n":1,"text":"水は低きに流る"}`: `{"n":1,"text":"█"}`,
		`{"n":2}`:                  `{"n":2}`,
		`{"text":{"deep":1}}`:      `{"text":"█"}`,
		`not JSON`:                 "NOT_JSON",
	} {
		var got string
		call := sdk.NewCall([]sdk.Row{{Record: sdk.Record{ID: "1", Body: []byte(body)}}}, time.Time{}, false, func(_ int, o sdk.Outcome) {
			if got = o.Code; len(o.Outputs) > 0 {
				got = string(o.Outputs[0].Body)
			}
		})
		r := redact{Fields: []string{"text"}}
		if err := r.Apply(t.Context(), call); err != nil || got != want {
			t.Errorf("%s: got %s (%v), want %s", body, got, err, want)
		}
	}
}
