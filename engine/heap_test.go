package engine

import (
	"context"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestSpare(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, 1: 100, 4 << 20: 100, 32 << 20: 100, 64 << 20: 50, 100 << 20: 32, 128 << 20: 25, 1 << 40: 25} {
		if got := spare(live); got != want {
			t.Errorf("%d bytes alive: %d percent, want %d", live, got, want)
		}
	}
}

// A large heap gets less room while an engine runs, and the program has its own way afterwards.
func TestHeapIsBound(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(90))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); boundHeap(ctx) }()
	large := make([]byte, 256<<20)
	runtime.GC()
	percent := 0
	for range 100 { // ten seconds
		time.Sleep(100 * time.Millisecond)
		percent = debug.SetGCPercent(1)
		debug.SetGCPercent(percent)
		if percent == leastSpare {
			break
		}
	}
	if runtime.KeepAlive(large); percent != leastSpare {
		t.Errorf("a heap of 256 MiB may grow by %d percent, want %d", percent, leastSpare)
	}
	stop()
	<-ended
	if got := debug.SetGCPercent(90); got != 90 {
		t.Errorf("%d percent are left behind, want 90", got)
	}
}
