package engine

import (
	"context"
	"sync"
	"time"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

// pace spreads calls evenly: a limit of 600 in a minute lets one start every 100 ms. The nil pace lets everything pass.
type pace struct {
	clock *sdk.Clock
	every time.Duration

	mu   sync.Mutex
	next time.Time
}

func newPace(clock *sdk.Clock, l lang.Limit) *pace {
	if l.Count <= 0 || l.Per <= 0 {
		return nil
	}
	return &pace{clock: clock, every: l.Per / time.Duration(l.Count)}
}

// wait takes the next place in line and waits for it.
func (p *pace) wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	now := p.clock.Now()
	at := p.next
	if at.Before(now) {
		at = now
	}
	p.next = at.Add(p.every)
	p.mu.Unlock()
	if !at.After(now) {
		return nil
	}
	return p.clock.Sleep(ctx, at.Sub(now))
}
