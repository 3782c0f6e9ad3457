package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
)

// Env is what a step is given when it opens.
type Env struct {
	Address    string          // "sink.kintone.log"
	Args       json.RawMessage // the block's arguments, a JSON object; see Decode
	Connection json.RawMessage // the connection's arguments
	Clock      *Clock
	Log        *slog.Logger // arrives in the engine's log
	Spool      *Spool
}

// Decode reads the step's arguments into v; an argument that v does not know is an error, because it would be ignored silently.
func (e *Env) Decode(v any) error { return strict(e.Args, v, "arguments") }

// DecodeConnection reads the connection's arguments into v.
func (e *Env) DecodeConnection(v any) error { return strict(e.Connection, v, "connection") }

func strict(raw json.RawMessage, v any, what string) error {
	if len(raw) == 0 {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
