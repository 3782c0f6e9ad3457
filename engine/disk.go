package engine

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
)

// What an outage costs is disk. The engine says long before how long there is enough of it, and stops fetching before there is none: the
// sources keep what they have, and an engine that cannot write could neither deliver nor settle. Replays go on, they make room.
const (
	// stopBelow is how many bytes must be free for the sources to get credit. What lies between it and the 64 MiB that the spool leaves
	// free (sdk.Spool) is for rows under way and for replays, so that old rows find room when fresh ones do not.
	stopBelow = 256 << 20

	forecastFrom = 30 * time.Minute // of growth, before anything is said about the future
	forecastOver = 2 * time.Hour    // … which the latest growth decides
	roomEvery    = 500 * time.Millisecond
)

// forecasts are told when the disk lasts no longer than this, and taken back when it lasts half as long again.
var forecasts = [...]struct {
	within   time.Duration
	cause    string
	severity sdk.Severity
}{{72 * time.Hour, "72 hours", sdk.Info}, {24 * time.Hour, "24 hours", sdk.Warning}, {4 * time.Hour, "4 hours", sdk.Critical}}

// Disk is what a pipeline takes of the disk under its data directory, in bytes.
type Disk struct {
	State      int64   `json:"state"`
	Kept       int64   `json:"kept"`       // files that a sink still owes and the source will soon have forgotten
	Spool      int64   `json:"spool"`      // files in flight
	Free       int64   `json:"free"`       // what the disk still takes from us; 0 with Known false
	Known      bool    `json:"free_known"` // the system says how much is free
	StopsBelow int64   `json:"stops_below,omitempty"`
	Stopped    bool    `json:"stopped,omitempty"`     // too little is free: nothing is fetched
	PerHour    int64   `json:"per_hour,omitempty"`    // by which state and kept files grow; negative = they shrink
	LastsHours float64 `json:"lasts_hours,omitempty"` // until nothing is fetched any more, at this rate; 0 = it does not grow
}

// lasts is LastsHours as a duration, 0 = for ever.
func (d *Disk) lasts() time.Duration {
	return time.Duration(min(d.LastsHours, 1e6) * float64(time.Hour))
}

// volume is the disk under a folder.
type volume struct {
	free, size int64
	known      bool
}

// stopsBelow is where fetching stops: not at once on a small disk.
func (v volume) stopsBelow() int64 { return min(stopBelow, v.size/10) }

// goesOnAbove is where it begins again.
func (v volume) goesOnAbove() int64 { return v.stopsBelow() * 5 / 4 }

// disk watches the disk; of the loop.
type disk struct {
	e        *Engine
	now      Disk
	samples  []diskSample // of forecastOver, oldest first
	told     [len(forecasts)]bool
	withheld map[int]credit // by source: what the machine has granted since fetching stopped
}

type diskSample struct {
	at   time.Time
	used int64 // by state and kept files
}

// watchDisk looks at the disk until ctx ends: how much is free at short intervals, because a disk can fill in a minute; what the engine
// itself takes once a minute of its clock.
func (e *Engine) watchDisk(ctx context.Context) {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	var next time.Time // by the real clock
	for {
		v := e.volume(e.Dir)
		e.post(func() { e.disk.room(v) })
		if began := time.Now(); !began.Before(next) {
			used, err := e.usage()
			next = began.Add(max(e.Clock.Wall(time.Minute), 20*time.Since(began))) // many kept files take long to count
			if err != nil {
				e.Log.Warn("the size of the state cannot be read", "error", err)
			} else {
				e.post(func() { e.disk.measured(e.Clock.Now(), used) })
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// usage measures what the engine takes.
func (e *Engine) usage() (d Disk, err error) {
	d.Kept, d.Spool = folderSize(e.spool.kept), folderSize(e.spool.dir)
	d.State, err = e.db.Size()
	return d, err
}

// folderSize adds up the files of a folder; what is removed meanwhile does not count.
func folderSize(dir string) (sum int64) {
	filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}

// measured takes what the engine uses, and tells what that means for the future.
func (d *disk) measured(at time.Time, used Disk) {
	d.now.State, d.now.Kept, d.now.Spool = used.State, used.Kept, used.Spool
	d.samples = append(d.samples, diskSample{at, used.State + used.Kept})
	for len(d.samples) > 2 && at.Sub(d.samples[1].at) >= forecastOver {
		d.samples = d.samples[1:]
	}
	d.forecast()
	for i, f := range forecasts {
		lasts := d.now.lasts()
		soon := lasts > 0 && lasts <= f.within
		over := lasts == 0 || lasts > f.within*3/2
		switch {
		case soon && !d.told[i]:
			d.told[i] = true
			d.e.news.tell(event{Code: "DISK_FORECAST", Severity: f.severity, Step: diskAddress, Cause: f.cause, Attrs: map[string]string{
				"lasts": hours(lasts), "free": Bytes(d.now.Free), "per_hour": Bytes(d.now.PerHour)}})
		case over && d.told[i]:
			d.told[i] = false
			d.e.news.tell(event{Code: "DISK_FORECAST", Step: diskAddress, Cause: f.cause, Recovered: true})
		}
	}
}

// diskAddress is the step of events about the disk.
const diskAddress = "weir.disk"

// forecast says how long the disk lasts if the state and the kept files go on growing as they did.
func (d *disk) forecast() {
	d.now.PerHour, d.now.LastsHours = 0, 0
	first, last := d.samples[0], d.samples[len(d.samples)-1]
	over := last.at.Sub(first.at)
	if over < forecastFrom {
		return
	}
	perHour := float64(last.used-first.used) / over.Hours()
	d.now.PerHour = int64(math.Round(perHour))
	if d.now.PerHour > 0 && d.now.Known {
		d.now.LastsHours = math.Round(max(float64(d.now.Free-d.now.StopsBelow)/perHour, 0.01)*100) / 100
	}
}

// room takes how much is free, and stops the sources or lets them go on.
func (d *disk) room(v volume) {
	d.now.Free, d.now.Known, d.now.StopsBelow = v.free, v.known, v.stopsBelow()
	switch {
	case v.known && !d.now.Stopped && v.free < v.stopsBelow():
		d.now.Stopped = true
		d.e.news.tell(event{Code: "DISK_FULL", Severity: sdk.Critical, Step: diskAddress, Attrs: map[string]string{
			"free": Bytes(v.free), "stops_below": Bytes(v.stopsBelow())}})
		if d.e.Once && d.e.Until.IsZero() { // there is nothing that such a run could wait for
			d.e.fail(fmt.Errorf("%w: %s: %s are free, and nothing is fetched below %s: make room and run again",
				state.ErrFull, d.e.Dir, Bytes(v.free), Bytes(v.stopsBelow())))
		}
	case d.now.Stopped && (!v.known || v.free >= v.goesOnAbove()):
		d.now.Stopped = false
		d.e.news.tell(event{Code: "DISK_FULL", Step: diskAddress, Recovered: true})
		for source, c := range d.withheld {
			d.e.steps[source].source.grant(c.rows, c.bytes)
		}
		clear(d.withheld)
	}
}

// grant gives a source credit, unless nothing is to be fetched.
func (d *disk) grant(g flow.Grant) {
	if !d.now.Stopped {
		d.e.steps[g.Source].source.grant(g.Rows, g.Bytes)
		return
	}
	c := d.withheld[g.Source]
	d.withheld[g.Source] = credit{c.rows + g.Rows, c.bytes + g.Bytes}
}

// hours says how long a disk lasts.
func hours(d time.Duration) string {
	if d < 10*time.Hour {
		return d.Round(time.Minute).String()
	}
	return fmt.Sprintf("%.0fh", d.Hours())
}

// Bytes says a size to people.
func Bytes(n int64) string {
	size := float64(n)
	for _, unit := range []string{"B", "KiB", "MiB", "GiB"} {
		if math.Abs(size) < 1024 {
			if unit == "B" || math.Abs(size) >= 10 {
				return fmt.Sprintf("%.0f %s", size, unit)
			}
			return fmt.Sprintf("%.1f %s", size, unit)
		}
		size /= 1024
	}
	return fmt.Sprintf("%.1f TiB", size)
}
