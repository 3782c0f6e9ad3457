//go:build failpoints || real

package e2e

import (
	"syscall"
	"testing"
	"time"
)

// Twenty kills of the engine in all phases, then one of each plugin, in a run of 20,000 messages with up to 1 GiB of media.
func TestKills(t *testing.T) {
	c := open(t, "--messages", "20000", "--seed", "3")
	fetch, media := phase{name: "fetch", window: inFetch}, phase{name: "media", window: inMedia}
	phases := []phase{
		fetch, media, {name: "upload", window: inUpload}, {name: "kintone", window: inLog}, {name: "commit", window: before},
		fetch, media, {name: "upload", hangs: "oss"}, {name: "kintone", hangs: "kintone"}, {name: "commit", window: after},
		fetch, media, {name: "upload", window: inUpload}, {name: "kintone", window: inRaw}, {name: "commit", window: before},
		fetch, media, {name: "upload", hangs: "oss"}, {name: "kintone", window: inLog}, {name: "commit", window: before},
	}
	repeated, last := 0, 0
	for i, p := range phases {
		c.strike(p)
		if i > 0 { // what a kill has caused shows in the run after it
			if now := c.look().again(); now > last {
				repeated++
			}
		}
		last = c.look().again()
	}
	e := c.start(run{})
	until(t, time.Minute, "six plugins", func() bool { return len(c.plugins(e)) == 6 })
	for _, victim := range c.plugins(e) {
		c.replaced(e, victim, syscall.SIGKILL)
	}
	if now := c.look().again(); now > last {
		repeated++
	}
	t.Logf("%d of 20 kills made weir ask or send something again", repeated)
	if repeated < 15 {
		t.Error("want at least 15")
	}
	e.finish(20 * time.Minute)
	c.equal()
}
