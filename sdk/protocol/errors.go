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

// BrokenError says that a call came to nothing although its process lives on: the component panicked, or an answer was larger than a
// message can be. One of the rows without an answer may be the reason.
type BrokenError struct {
	Plugin  string
	Step    string // address
	Problem string
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("plugin %s, %s: %s", e.Plugin, e.Step, e.Problem)
}

// SilentError says that a plugin gave no sign of life, or a component made no progress, for too long, in real time. Its process is of no
// more use.
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
