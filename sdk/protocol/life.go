package protocol

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// silence is how long a call may show no progress when its step does not say, in real time.
const silence = 5 * time.Minute

// patience is how many times as long a call may take that does nothing but sleep, as one that polls does.
const patience = 12

// life watches the progress of one call. It counts ticks rather than time, so that a process which was stopped, or a machine that was
// asleep, is not taken for a component that hangs.
type life struct {
	batch *Batch // whose files are those of the call

	moved  atomic.Uint64
	asleep atomic.Int32

	seen       uint64 // of moved; these are of the goroutine that ticks
	idle, dull int    // ticks without progress: awake, and in all
}

var _ sdk.Life = (*life)(nil)

// Moved implements [sdk.Life].
func (l *life) Moved() { l.moved.Add(1) }

// Asleep implements [sdk.Life].
func (l *life) Asleep(n int) { l.asleep.Add(int32(n)) }

// lost counts a tick and reports whether there have been too many without progress.
func (l *life) lost(limit int) bool {
	if n := l.moved.Load(); n != l.seen {
		l.seen, l.idle, l.dull = n, 0, 0
		return false
	}
	l.dull++
	if l.asleep.Load() == 0 {
		l.idle++
	}
	return l.idle >= limit || l.dull >= patience*limit
}

// has reports whether a file is one of the call. Only what no step writes is compared: the component may be changing the rest.
func (l *life) has(f *sdk.File) bool {
	for _, w := range l.batch.files.wire.GetFile() {
		if string(w.GetName()) == f.Name && string(w.GetRef()) == f.Ref.Reveal() && w.GetMd5Claimed() == f.MD5Claimed {
			return true
		}
	}
	return false
}

// lives are the calls of a step that are under way.
type lives struct {
	mu   sync.Mutex
	list map[*life]bool
}

func (s *lives) begin(l *life) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = map[*life]bool{}
	}
	s.list[l] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.list, l)
	}
}

// watch finds the calls that move bytes of a file: those that it belongs to, else, for a file that a component has made up, all.
func (s *lives) watch(f *sdk.File) (moved func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own, all []*life
	for l := range s.list {
		all = append(all, l)
		if l.has(f) {
			own = append(own, l)
		}
	}
	if len(own) == 0 {
		own = all
	}
	return func() {
		for _, l := range own {
			l.Moved()
		}
	}
}

// stacks shows where all goroutines are. It holds no values but addresses.
func stacks() string {
	buf := make([]byte, 32<<10)
	return string(buf[:runtime.Stack(buf, true)])
}
