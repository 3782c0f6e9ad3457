package main

import (
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine"
)

// On a terminal a log line goes above the progress line, which comes back behind it.
func TestProgressLine(t *testing.T) {
	var out strings.Builder
	s := &screen{w: &out, live: true}
	tell := s.progress(hclog.NewNullLogger())
	tell(engine.Status{Sources: []engine.SourceStatus{{Records: 12345, Missing: 2}}, Steps: []engine.StepStatus{{Address: "sink.a.b", Owed: 3, Down: "503"}}})
	s.Write([]byte("log line\n"))
	s.clear()
	const line = "12,345 read, 0/s, 0 under way, 3 owed, 0 dead, 2 missing, down: sink.a.b"
	const erased = "\r\x1b[K"
	if got, want := out.String(), line+erased+"log line\n"+line+erased; got != want {
		t.Errorf("screen got\n%q, want\n%q", got, want)
	}
}

func TestProgressLineIsShort(t *testing.T) {
	p := progress{read: 1 << 60, owed: 1 << 40, down: []string{strings.Repeat("x", 100)}}
	if got := len(p.line(1e9)); got != 79 {
		t.Errorf("the line has %d columns, want 79", got)
	}
}
