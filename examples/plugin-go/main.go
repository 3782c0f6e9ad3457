// Command plugin-go is a plugin to copy: a transform that blacks out fields of JSON bodies. See pipeline.hcl for how it is used.
package main

import (
	"context"
	"encoding/json"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/serve"
)

func main() { serve.Main(plugin()) }

func plugin() sdk.Plugin {
	return sdk.Plugin{Name: "acme", Version: "0.1.0", Components: []sdk.Component{{
		Kind:         sdk.KindTransform,
		Type:         "redact",
		Doc:          "Blacks out fields of JSON bodies.",
		Args:         []sdk.Arg{{Name: "fields", Type: sdk.Strings, Required: true, Doc: "Names of fields at the top of the body."}},
		NewTransform: func() sdk.Transform { return &redact{} },
	}}}
}

type redact struct {
	Fields []string `json:"fields"`
}

// Open reads the arguments. The engine has checked their types.
func (r *redact) Open(_ context.Context, env *sdk.Env) error { return env.Decode(r) }

// Apply answers each row once: with what takes its place, or why it cannot.
func (r *redact) Apply(_ context.Context, call *sdk.Call) error {
	for i, row := range call.Rows {
		var body map[string]json.RawMessage
		if json.Unmarshal(row.Body, &body) != nil {
			call.Answer(i, sdk.Reject("NOT_JSON", nil)) // a code, never content
			continue
		}
		for _, name := range r.Fields {
			if _, ok := body[name]; ok {
				body[name] = json.RawMessage(`"█"`)
			}
		}
		record := row.Record
		record.Body, _ = json.Marshal(body) // it was JSON before
		call.Answer(i, sdk.Emit(record))
	}
	return nil
}

// Close does nothing.
func (r *redact) Close(context.Context) error { return nil }
