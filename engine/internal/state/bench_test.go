package state_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

// BenchmarkOwe owes a million records of 600 bytes by the batch of 500, loads them as an engine does at its start, drains them and
// compacts. Run it with -benchtime=1x; it reports seconds of each phase and private memory after it.
func BenchmarkOwe(b *testing.B) {
	const batches, rows, size = 2000, 500, 600
	body := make([]byte, rows*size)
	rand.Read(body)
	identities, all := ids(rows), everyRow(rows)
	for b.Loop() {
		dir := b.TempDir()
		db, err := state.Open(dir, state.Options{Key: testKey})
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		lap := func(phase string) {
			b.ReportMetric(time.Since(start).Seconds(), phase+"-s")
			b.ReportMetric(privateMemory(b), phase+"-MB")
			start = time.Now()
		}
		for n := range uint64(batches) {
			c := state.Change{
				Pipeline:    "p",
				Checkpoints: []state.Checkpoint{{Source: "source.s.s", Position: []byte("500000"), Stats: make([]byte, 200)}},
				Parcels:     []state.Parcel{{ID: n + 1, Rest: make([]byte, 2000), Body: body}},
				Owing: []state.Owing{{Step: "sink.a.b", Parcel: n + 1, Rows: rows, IDs: identities,
					Groups: []state.Group{{Rows: all, Door: "sink.a.b", Cause: "sink down", Since: start}}}},
			}
			if err := db.Commit(b.Context(), &c); err != nil {
				b.Fatal(err)
			}
		}
		lap("owe")
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		if db, err = state.Open(dir, state.Options{Key: testKey}); err != nil {
			b.Fatal(err)
		}
		s, err := db.Load("p")
		if err != nil || len(s.Owing) != batches {
			b.Fatalf("%d owing, %v", len(s.Owing), err)
		}
		lap("load")
		s = state.Snapshot{}
		for n := range uint64(batches) {
			if _, err := db.Parcel(n + 1); err != nil {
				b.Fatal(err)
			}
			c := state.Change{Pipeline: "p", DropParcels: []uint64{n + 1}, DropOwing: []state.OwingKey{{Step: "sink.a.b", Parcel: n + 1}}}
			if err := db.Commit(b.Context(), &c); err != nil {
				b.Fatal(err)
			}
		}
		lap("drain")
		if err := db.Compact(b.Context()); err != nil {
			b.Fatal(err)
		}
		lap("compact")
		left, err := db.Size()
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(left)/1e6, "left-MB")
		db.Close()
	}
}

// BenchmarkSettle is the everyday commit: one checkpoint.
func BenchmarkSettle(b *testing.B) {
	db, err := state.Open(b.TempDir(), state.Options{Key: testKey})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	c := state.Change{Pipeline: "p", Checkpoints: []state.Checkpoint{{Source: "s", Position: []byte("500000"), Stats: make([]byte, 300)}}}
	for b.Loop() {
		if err := db.Commit(b.Context(), &c); err != nil {
			b.Fatal(err)
		}
	}
}

// privateMemory is RssAnon in MB, 0 where the system does not tell.
func privateMemory(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "RssAnon:")
	var kb float64
	if _, err := fmt.Sscan(rest, &kb); err != nil {
		b.Fatal(err)
	}
	return kb / 1000
}
