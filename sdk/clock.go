package sdk

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Clock is the only source of time, timers and sleeps in a plugin. It maps real time to the engine's time: at speed 3600 an hour
// passes in a second, so that 120 hours can be lived through with real processes. The nil Clock and the zero Clock are the real one.
type Clock struct {
	real, simulated time.Time
	speed           float64
}

// NewClock makes a clock that shows simulated at the real instant real and runs speed times as fast.
func NewClock(real, simulated time.Time, speed float64) *Clock {
	return &Clock{real: real, simulated: simulated, speed: speed}
}

// Real reports whether this is the real clock.
func (c *Clock) Real() bool { return c == nil || c.speed == 0 }

// Speed is 1 for the real clock.
func (c *Clock) Speed() float64 {
	if c.Real() {
		return 1
	}
	return c.speed
}

// Now is the current instant.
func (c *Clock) Now() time.Time {
	if c.Real() {
		return time.Now()
	}
	return c.simulated.Add(time.Duration(float64(time.Since(c.real)) * c.speed))
}

// Wall converts a duration of this clock into real time, for timers.
func (c *Clock) Wall(d time.Duration) time.Duration {
	if c.Real() || d <= 0 {
		return d
	}
	return time.Duration(min(float64(d)/c.speed, 1<<62)) // more would be less than nothing
}

// Timer fires after d of this clock.
func (c *Clock) Timer(d time.Duration) *time.Timer { return time.NewTimer(c.Wall(d)) }

// Sleep waits for d of this clock, or until ctx ends, and then returns its error. A call that sleeps by it does not hang.
func (c *Clock) Sleep(ctx context.Context, d time.Duration) error {
	defer asleep(ctx)()
	t := c.Timer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Text writes the clock as real,simulated,speed: RFC 3339 with nanoseconds, and a number. ParseClock reads it.
func (c *Clock) Text() string {
	if c.Real() {
		return ""
	}
	return c.real.UTC().Format(time.RFC3339Nano) + "," + c.simulated.UTC().Format(time.RFC3339Nano) + "," +
		strconv.FormatFloat(c.speed, 'g', -1, 64)
}

// ParseClock reads what Text wrote; "" is the real clock.
func ParseClock(s string) (*Clock, error) {
	if s == "" {
		return &Clock{}, nil
	}
	part := strings.Split(s, ",")
	if len(part) != 3 {
		return nil, fmt.Errorf("clock %q: want real,simulated,speed", s)
	}
	real, err := time.Parse(time.RFC3339Nano, part[0])
	if err != nil {
		return nil, fmt.Errorf("clock: real instant: %w", err)
	}
	simulated, err := time.Parse(time.RFC3339Nano, part[1])
	if err != nil {
		return nil, fmt.Errorf("clock: simulated instant: %w", err)
	}
	speed, err := strconv.ParseFloat(part[2], 64)
	if err != nil || !(speed > 0) || math.IsInf(speed, 0) {
		return nil, fmt.Errorf("clock: speed %q: want a number above 0", part[2])
	}
	return NewClock(real, simulated, speed), nil
}
