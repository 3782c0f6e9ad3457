package main

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/weir-etl/weir/engine"
)

// What senders, services and plugins say is shown, and does nothing else: no escape reaches the terminal, and no line is faked.
func TestHostileTexts(t *testing.T) {
	const hostile = "m1\x1b[2J\r\nsink.file.out  m2  -  \u009b31mplanned\tx\u202etxt.exe\x00\x7f\xff"
	now := time.Now()
	entry := engine.Entry{Step: "sink.file.out", Door: "sink.file.out", Source: hostile, ID: hostile, Kind: hostile, Cause: hostile, Code: hostile,
		Detail: hostile, Body: "{\"a\":1,\n\"b\":\"" + hostile + "\"}", Since: now}
	listing := engine.Listing{Total: 1, Entries: []engine.Entry{entry}, Groups: []engine.Waits{{Step: "sink.file.out", Cause: hostile, Code: hostile, Entries: 1, Since: now}}}
	status := engine.Status{Pipeline: "p", Running: true, Sources: []engine.SourceStatus{{Address: "source.file.in", Down: hostile}},
		Steps: []engine.StepStatus{{Address: "sink.file.out", Enabled: true, Down: hostile, Detail: hostile}}}
	for name, row := range map[string]struct {
		print func(*strings.Builder)
		lines int
	}{
		"list":   {func(b *strings.Builder) { printListing(b, listing, true) }, 5}, // how many, by cause, empty, head, the entry
		"show":   {func(b *strings.Builder) { printEntry(b, entry) }, 14},
		"status": {func(b *strings.Builder) { printStatus(b, status) }, 4},
		"plugins": {func(b *strings.Builder) {
			printPlugins(b, []pluginLine{{Name: "acme", Version: hostile, Path: hostile, Problem: hostile, State: "unreadable"}})
		}, 1},
	} {
		var b strings.Builder
		row.print(&b)
		got := b.String()
		if n := strings.Count(got, "\n"); n != row.lines {
			t.Errorf("%s: %d lines, want %d:\n%q", name, n, row.lines, got)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return r != '\n' && !unicode.IsGraphic(r) }); i >= 0 {
			t.Errorf("%s: %q", name, got[i:])
		}
		if !strings.Contains(got, `\x1b[2J`) || !strings.Contains(got, `\u202e`) {
			t.Errorf("%s does not show what there was:\n%s", name, got)
		}
		for line := range strings.Lines(got) {
			if strings.HasPrefix(line, "sink.file.out  m2") {
				t.Errorf("%s: a faked line: %s", name, line)
			}
		}
	}
}
