package e2e

import (
	"testing"
	"time"
)

// phase is where an engine is killed: in a window, or, where a service is named, while that service has a call and does not answer.
type phase struct{ name, window, hangs string }

// The windows of the phases. An answer that nothing knows of yet is the worst moment of a call: the service has done it.
const (
	inFetch  = "fetch:1"
	inMedia  = "transform.wecom_media.got.answer:3"
	inUpload = "sink.oss.large.answer:1"
	inLog    = "sink.kintone.log.answer:2"
	inRaw    = "sink.kintone.raw.answer:1"
	before   = "commit.before:3"
	after    = "commit.after:3"
)

// strike runs an engine into a window and kills it there.
func (c *company) strike(p phase) {
	c.t.Helper()
	var e *engine
	if p.hangs != "" {
		c.fault(p.hangs, "hang")
		e = c.start(run{})
		until(c.t, 2*time.Minute, "a call that hangs", func() bool {
			now := c.look()
			return p.hangs == "oss" && now.OSS.Running > 0 || p.hangs == "kintone" && now.Kintone.Running > 0
		})
	} else {
		e = c.start(run{stop: p.window})
		e.stopped(2 * time.Minute)
	}
	rows := 0
	for _, step := range c.status().Steps {
		rows += step.UnderWay
	}
	now := c.look()
	e.kill()
	if p.hangs != "" {
		c.fault(p.hangs, "off")
		p.window = p.hangs + " does not answer"
	}
	c.t.Logf("kill -9 in %-7s (%s): %d rows under way; the services saw %d messages, %d pieces of media, %d rows in kintone, %d objects; "+
		"in flight %d media, %d kintone, %d oss", p.name, p.window, rows, now.WeCom.Rows, now.WeCom.Shards, now.Kintone.Inserted,
		now.OSS.Stored, now.WeCom.Running["getchatmediadata"], now.Kintone.Running, now.OSS.Running)
}

// Five kills, one in each phase, and 2,000 messages are archived once each.
func TestFiveKills(t *testing.T) {
	t.Parallel()
	c := open(t, "--messages", "2000", "--seed", "5", "--speed", "200")
	for _, p := range []phase{
		{name: "fetch", window: inFetch}, {name: "media", window: inMedia}, {name: "upload", window: inUpload},
		{name: "kintone", window: inLog}, {name: "commit", window: before},
	} {
		c.strike(p)
	}
	if n := c.look().again(); n == 0 {
		t.Error("no kill made weir ask or send anything again: they hit nothing")
	}
	c.start(run{}).finish(5 * time.Minute)
	c.equal()
}
