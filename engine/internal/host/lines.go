package host

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"github.com/weir-etl/weir/engine/internal/plain"
)

// How much a plugin may write into our log.
const (
	linesPerSecond = 100
	linesAtOnce    = 1000
	lineBytes      = 64 << 10 // longer lines are cut
)

// lines brings what a plugin writes into the log: JSON lines of hclog with their level and attributes, the last words of a process
// that panics as errors, and anything else as debug lines.
type lines struct {
	log hclog.Logger

	mu      sync.Mutex
	limit   *rate.Limiter
	dropped int
	dying   bool // a panic or fatal error was seen: the rest is its trace
}

func newLines(log hclog.Logger) *lines {
	return &lines{log: log, limit: rate.NewLimiter(linesPerSecond, linesAtOnce)}
}

// read takes lines until r ends.
func (l *lines) read(r io.Reader) {
	in := bufio.NewReaderSize(r, lineBytes)
	for {
		line, more, err := in.ReadLine()
		if err != nil {
			return
		}
		l.write(line)
		for more && err == nil {
			_, more, err = in.ReadLine()
		}
	}
}

func (l *lines) write(line []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.limit.Allow() {
		l.dropped++
		return
	}
	if l.dropped > 0 {
		l.log.Warn("plugin writes too much, log lines dropped", "lines", l.dropped)
		l.dropped = 0
	}
	var entry map[string]any
	if json.Unmarshal(line, &entry) == nil {
		message, ok := entry["@message"].(string)
		name, _ := entry["@level"].(string)
		if level := hclog.LevelFromString(name); ok && level != hclog.NoLevel {
			l.log.Log(level, plain.Line(message), attributes(entry)...)
			return
		}
	}
	text := strings.ToValidUTF8(string(line), "\uFFFD")
	l.dying = l.dying || strings.HasPrefix(text, "panic: ") || strings.HasPrefix(text, "fatal error: ")
	if l.dying {
		l.log.Error("plugin died", "line", text)
		return
	}
	l.log.Debug("plugin wrote", "line", text)
}

func attributes(entry map[string]any) []any {
	var list []any
	for _, k := range slices.Sorted(maps.Keys(entry)) {
		if !strings.HasPrefix(k, "@") { // @timestamp, @module, @caller: ours say the same
			list = append(list, plain.Line(k), entry[k]) // the log escapes values, not names
		}
	}
	return list
}

// writer cuts a stream into lines, for what a plugin prints by way of go-plugin.
type writer struct {
	lines *lines
	part  []byte
}

func (w *writer) Write(p []byte) (int, error) {
	w.part = append(w.part, p...)
	for {
		line, rest, ok := bytes.Cut(w.part, []byte("\n"))
		if !ok {
			if len(w.part) > lineBytes {
				w.part = nil
			}
			return len(p), nil
		}
		w.lines.write(line)
		w.part = rest
	}
}
