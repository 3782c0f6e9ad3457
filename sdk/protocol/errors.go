package protocol

import (
	"fmt"
	"time"
)

// ProtocolError says that a plugin broke the contract of the wire. What it had answered before in the same call stands.
type ProtocolError struct {
	Plugin  string
	Step    string // address
	Problem string // such as "row 3 was answered twice"
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("plugin %s, %s: broke the protocol: %s", e.Plugin, e.Step, e.Problem)
}

// SilentError says that a plugin gave no sign of life for too long, in real time.
type SilentError struct {
	Plugin string
	Step   string // address; "" before a step is open
	Limit  time.Duration
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("plugin %s, %s: silent for %s", e.Plugin, e.Step, e.Limit)
}

// GoneError says that the plugin's process, or the connection to it, ended.
type GoneError struct {
	Plugin string
	Step   string // address; "" before a step is open
	Err    error
}

func (e *GoneError) Error() string {
	return fmt.Sprintf("plugin %s, %s: gone: %v", e.Plugin, e.Step, e.Err)
}

func (e *GoneError) Unwrap() error { return e.Err }
