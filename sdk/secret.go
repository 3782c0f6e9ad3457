package sdk

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// Secret is a value that never prints: not by fmt, not as JSON, not in a log. Reveal is the only way to it.
type Secret struct{ value string }

// NewSecret hides value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the value.
func (s Secret) Reveal() string { return s.value }

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.value == "" }

const hidden = "(secret)"

// String returns "(secret)".
func (s Secret) String() string { return hidden }

// Format prints "(secret)" for every verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, hidden) }

// GoString returns "(secret)".
func (s Secret) GoString() string { return hidden }

// LogValue returns "(secret)".
func (s Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON writes "(secret)".
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// UnmarshalJSON takes the value from a JSON string.
func (s *Secret) UnmarshalJSON(b []byte) error {
	if err := json.Unmarshal(b, &s.value); err != nil {
		return fmt.Errorf("secret: want a string") // never the value
	}
	return nil
}

// Duration is a time.Duration that arguments write as text: "5m", "30s".
type Duration time.Duration

// Std returns the time.Duration.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// UnmarshalJSON reads "5m".
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("duration: want text such as \"5m\"")
	}
	v, err := time.ParseDuration(s)
	*d = Duration(v)
	return err
}

// MarshalJSON writes "5m0s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }
