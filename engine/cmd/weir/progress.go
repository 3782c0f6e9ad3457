package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/mattn/go-isatty"

	"github.com/weir-etl/weir/engine"
)

// screen is where a run writes its log. On a terminal the last line tells the progress, and log lines go above it; elsewhere the
// progress is a log line now and then.
type screen struct {
	w    io.Writer
	live bool

	mu   sync.Mutex
	line string // on the screen now
}

// logEvery is how often the progress is told where there is no terminal.
const logEvery = time.Minute

func newScreen(w io.Writer, plain bool) *screen {
	f, ok := w.(*os.File)
	return &screen{w: w, live: !plain && ok && isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb"}
}

// Write takes a log line.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := s.line
	s.show("")
	n, err := s.w.Write(b)
	s.show(line)
	return n, err
}

// show replaces the progress line.
func (s *screen) show(line string) {
	if s.line != "" {
		io.WriteString(s.w, "\r\x1b[K") // carriage return, erase to the end of the line
	}
	io.WriteString(s.w, line)
	s.line = line
}

// clear takes the progress line away for good.
func (s *screen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show("")
	s.live = false
}

// progress is called by the engine about twice a second.
func (s *screen) progress(log hclog.Logger) func(engine.Status) {
	started := time.Now()
	var first, before uint64
	told := started
	return func(st engine.Status) {
		p := measure(st)
		if told.Equal(started) && first == 0 {
			first, before = p.read, p.read // counted by earlier runs
		}
		if s.live {
			s.mu.Lock()
			s.show(p.line(float64(p.read-first) / time.Since(started).Seconds()))
			s.mu.Unlock()
			return
		}
		if since := time.Since(told); since >= logEvery {
			log.Info("progress", "records", p.read, "per_second", int(float64(p.read-before)/since.Seconds()), "under_way", p.underWay, "owed", p.owed, "dead", p.dead)
			told, before = time.Now(), p.read
		}
	}
}

type progress struct {
	read       uint64
	underWay   int
	owed, dead int
	missing    uint64
	down       []string
	drained    bool
}

func measure(st engine.Status) progress {
	p := progress{drained: true}
	for _, s := range st.Sources {
		p.read += s.Records
		p.missing += s.Missing
		p.drained = p.drained && s.Drained
		if s.Down != "" {
			p.down = append(p.down, s.Address)
		}
	}
	for _, s := range st.Steps {
		p.underWay += s.Units
		p.owed += s.Owed
		p.dead += s.Dead
		if s.Down != "" {
			p.down = append(p.down, s.Address)
		}
	}
	return p
}

// line fits into 79 columns.
func (p progress) line(perSecond float64) string {
	line := fmt.Sprintf("%s read, %.0f/s, %d under way, %d owed, %d dead", thousands(p.read), perSecond, p.underWay, p.owed, p.dead)
	if p.missing > 0 {
		line += fmt.Sprintf(", %d missing", p.missing)
	}
	if len(p.down) > 0 {
		line += ", down: " + strings.Join(p.down, " ")
	} else if p.drained && p.underWay == 0 {
		line += ", up to date"
	}
	if len(line) > 79 {
		line = line[:76] + "..."
	}
	return line
}

// thousands writes 12345 as 12,345.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
