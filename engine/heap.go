package engine

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The engine's heap may grow by as much as is alive in it before it is collected, as any Go program's, but by no more than spareHeap: a
// million owed rows are a hundred megabytes of bookkeeping that hardly changes, and nobody has to have them twice. Collecting more often
// costs a tenth of the processor time of catching up.
const (
	spareHeap  = 32 << 20
	leastSpare = 25 // percent; below it a large heap would be collected all the time
	mostSpare  = 100
)

// spare is how many percent a heap may grow before it is collected.
func spare(live uint64) int {
	return int(min(max(100*spareHeap/max(live, 1), leastSpare), mostSpare))
}

// boundHeap sees to that until ctx ends, unless the environment has GOGC: then somebody has decided otherwise.
func boundHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(mostSpare))
	sample, now := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}, mostSpare
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		metrics.Read(sample)
		if percent := spare(sample[0].Value.Uint64()); percent != now {
			now = percent
			debug.SetGCPercent(now)
		}
	}
}
