package engine

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// holder is what the row says, as JSON. It is for people too.
type holder struct {
	Engine  string    `json:"engine"` // id in the data directory; "" = given back
	Run     string    `json:"run"`    // of one start
	Host    string    `json:"host"`
	Dir     string    `json:"data_dir"`
	Started time.Time `json:"started"` // by its own clock, as Renewed
	Renewed time.Time `json:"renewed"`
	Hold    string    `json:"hold"`
	// Previous is who held the row when it was taken over, until that engine has said that it has stopped, or its hold has ended.
	Previous *holder `json:"previous,omitempty"`
}

// readHolder reads a row. What cannot be read counts as somebody who holds it for as long as we would.
func readHolder(text string) holder {
	var h holder
	if text != "" && json.Unmarshal([]byte(text), &h) != nil {
		h = holder{Engine: "?", Host: "unknown (the row is not weir's)"}
	}
	return h
}

func (h holder) hold(otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(h.Hold); err == nil && d > 0 {
		return d
	}
	return otherwise
}

func (h holder) String() string {
	s := h.Host
	if h.Dir != "" {
		s += ", data directory " + h.Dir
	}
	if !h.Started.IsZero() {
		s += ", running since " + h.Started.UTC().Format(time.RFC3339)
	}
	return s
}

// HeldError says that another engine holds the lease of the pipeline.
type HeldError struct {
	Address, Pipeline string
	Holder            string    // host, data directory and start
	Until             time.Time // by the destination's clock; zero = it shows none
	Now               time.Time // likewise
	Hold              time.Duration
	Copy              bool // it has the id of this data directory: one of the two is a copy
	Waiting           bool // it is about to take over from another one
}

func (e *HeldError) Error() string {
	s := fmt.Sprintf("another engine runs pipeline %q: %s. It holds %s", e.Pipeline, e.Holder, e.Address)
	if !e.Until.IsZero() {
		s += fmt.Sprintf(" until %s (there it is %s now), and renews it before", e.Until.UTC().Format(time.RFC3339), e.Now.UTC().Format(time.RFC3339))
	} else {
		s += fmt.Sprintf(" and has renewed it within the last %s", e.Hold)
	}
	if e.Waiting {
		s += "; it is taking over from a third one"
	}
	if e.Copy {
		s += ". It has the identity of this data directory: one of the two was moved or copied"
	}
	return s
}

// LostError says that another engine has taken the lease while this one ran.
type LostError struct {
	Address, Pipeline string
	Holder            string // "" = the row was given back, or deleted, since
}

func (e *LostError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s of pipeline %q is no longer ours: another engine has held it since, or somebody has deleted its row. "+
			"This engine has stopped writing", e.Address, e.Pipeline)
	}
	return fmt.Sprintf("another engine has taken %s of pipeline %q: %s. This engine has stopped writing; what it owes stays in its data directory",
		e.Address, e.Pipeline, e.Holder)
}

// identityOf reads the id of a data directory, and makes it for a new one. The caller holds the directory alone.
func identityOf(dir string) (string, error) {
	path := filepath.Join(dir, identityFile)
	text, err := os.ReadFile(path)
	if id := strings.TrimSpace(string(text)); err == nil && len(id) == 32 {
		return id, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("identity of the data directory: %w", err)
	}
	id := random() // also in place of a file that a crash has cut: an engine with a new id waits for the hold to end
	f, err := os.CreateTemp(dir, identityFile)
	if err != nil {
		return "", fmt.Errorf("identity of the data directory: %w", err)
	}
	_, err = f.WriteString(id + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return "", fmt.Errorf("identity of the data directory: %w", err)
	}
	return id, nil
}

func random() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
