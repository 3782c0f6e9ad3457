package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
)

// told are the events in a log: severity, code, cause and whether it is over.
func told(t *testing.T, log *bytes.Buffer) (list []string) {
	t.Helper()
	for text := range strings.Lines(log.String()) {
		var line struct {
			Level     string `json:"@level"`
			Message   string `json:"@message"`
			Code      string
			Cause     string
			Recovered bool
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Message == "event" {
			word := line.Level + " " + strings.TrimSpace(line.Code+" "+line.Cause)
			if line.Recovered {
				word += " over"
			}
			list = append(list, word)
		}
	}
	log.Reset()
	return list
}

func TestForecast(t *testing.T) {
	var log bytes.Buffer
	e := &Engine{Options: Options{Clock: &sdk.Clock{}, Log: hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: true})}}
	e.news = newNews(e, state.Snapshot{})
	e.disk = &disk{e: e, withheld: map[int]credit{}}
	const gib = 1 << 30
	at, used, free := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), int64(5*gib), int64(100*gib)
	// pass lives through some hours in which the pipeline, and nobody else, takes so much an hour.
	pass := func(d time.Duration, perHour int64) {
		for range d / time.Minute {
			at, used, free = at.Add(time.Minute), used+perHour/60, free-perHour/60
			e.disk.room(volume{free: free, size: 500 * gib, known: true})
			e.disk.measured(at, Disk{State: used})
		}
	}
	want := func(what string, events ...string) {
		t.Helper()
		if diff := cmp.Diff(events, slices.Sorted(slices.Values(told(t, &log)))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	pass(29*time.Minute, gib)
	if e.disk.now.LastsHours != 0 {
		t.Errorf("after half an hour it is said to last %v h", e.disk.now.LastsHours)
	}
	pass(31*time.Minute, gib)
	if got := e.disk.now.LastsHours; got < 98 || got > 99 || e.disk.now.PerHour != gib/60*60 {
		t.Errorf("lasts %v h at %d an hour, want 98.8 and 1 GiB", got, e.disk.now.PerHour)
	}
	want("it lasts for days")
	pass(27*time.Hour, gib)
	want("71 hours are left", "info DISK_FORECAST 72 hours")
	pass(48*time.Hour, gib)
	want("24 hours are left", "warn DISK_FORECAST 24 hours")
	for range 3 { // to and fro, from 24 hours to 30 and back
		left := free
		pass(2*time.Hour, gib*8/10)
		if e.disk.now.LastsHours < 25 {
			t.Errorf("it lasts %v h, which is too little for this test", e.disk.now.LastsHours)
		}
		free = left
		pass(2*time.Hour, gib)
		free = left
	}
	want("it does not flap")
	pass(20*time.Hour, gib)
	want("4 hours are left", "error DISK_FORECAST 4 hours")
	pass(3*time.Hour, -12*gib) // the sink is back
	want("all is over", "info DISK_FORECAST 24 hours over", "info DISK_FORECAST 4 hours over", "info DISK_FORECAST 72 hours over")
	if e.disk.now.LastsHours != 0 || e.disk.now.PerHour >= 0 {
		t.Errorf("got %+v while it shrinks", e.disk.now)
	}
}

func TestLimits(t *testing.T) {
	for _, c := range []struct{ size, stops, goesOn int64 }{
		{100 << 30, 256 << 20, 320 << 20}, {1 << 30, 107374182, 134217727}, {0, 0, 0},
	} {
		v := volume{size: c.size}
		if v.stopsBelow() != c.stops || v.goesOnAbove() != c.goesOn {
			t.Errorf("a disk of %d: stops below %d, goes on above %d", c.size, v.stopsBelow(), v.goesOnAbove())
		}
	}
}

func TestSizes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", -5 << 30: "-5.0 GiB", 31 << 30: "31 GiB", 2 << 40: "2.0 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

const fillText = `
weir { name = "full" }
source "count" "in" {
  to   = 20000
  page = 500
}
sink "list" "out" {
  input = source.count.in
  path  = %q
}
`

// A disk without room stops the sources, and nothing else; with room they go on by themselves.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(fillText, list))
	o.Once = false
	var free atomic.Int64
	free.Store(100 << 20)
	o.volume = func(string) volume { return volume{free: free.Load(), size: 100 << 30, known: true} }
	var log bytes.Buffer
	o.Log = hclog.New(&hclog.LoggerOptions{Output: &log, JSONFormat: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	looks := 0
	o.Progress = func(s Status) {
		switch looks++; {
		case looks < 4:
			if s.Sources[0].Records > 0 || !s.Disk.Stopped || s.Disk.Free != 100<<20 {
				t.Errorf("got %d records, %+v on a disk without room", s.Sources[0].Records, s.Disk)
			}
		case looks == 4:
			free.Store(300 << 20) // more than where it stopped, but not yet enough
		case looks == 7:
			if s.Sources[0].Records > 0 || !s.Disk.Stopped {
				t.Errorf("got %d records, %+v with hardly any room", s.Sources[0].Records, s.Disk)
			}
			free.Store(1 << 30)
		case s.Steps[0].Done == 20_000:
			if s.Disk.Stopped {
				t.Errorf("got %+v with room", s.Disk)
			}
			cancel()
		}
	}
	if _, err := Run(ctx, o); err != nil {
		t.Fatal(err)
	}
	if n := len(listed(t, list)); n != 20_000 {
		t.Errorf("%d of 20000 records arrived", n)
	}
	if got, want := told(t, &log), []string{"error DISK_FULL", "info DISK_FULL over"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// A run with an end cannot wait for room.
func TestFullDiskEndsARunWithAnEnd(t *testing.T) {
	dir := t.TempDir()
	o := mortalRun(t, dir, fmt.Sprintf(fillText, filepath.Join(dir, "list")))
	o.volume = func(string) volume { return volume{free: 100 << 20, size: 100 << 30, known: true} }
	_, err := Run(t.Context(), o)
	if !errors.Is(err, state.ErrFull) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("got %v", err)
	}
}
