//go:build failpoints || real

package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The run of TestRandomKills. 1,000 kills want 100,000 messages, so that there is work for half an hour; see make chaos.
var (
	killsFlag    = flag.Int("kills", 50, "TestRandomKills: how many")
	messagesFlag = flag.Int("messages", 5000, "TestRandomKills: messages of the company; some 100 for each kill keep weir busy")
	seedFlag     = flag.Uint64("seed", 1, "TestRandomKills: decides who is killed when, and the corpus")
)

// mostMemory is what all processes of the main job may take together, whatever happens to them. It is generous: files that are not ready are
// asked for every few minutes, which here is several hundred times a second.
const mostMemory = 640 << 20

// The engine or one of its plugins is killed at random, 0.2 to 3 seconds after the one before, while the sandbox serves as fast as it is
// asked. Most kills hit rows on their way; in the end the archive equals the truth, with no row twice and no process left.
func TestRandomKills(t *testing.T) {
	kills, random := *killsFlag, rand.New(rand.NewPCG(*seedFlag, 0x6b696c6c))
	c := open(t, "--messages", fmt.Sprint(*messagesFlag), "--seed", fmt.Sprint(*seedFlag))
	// Answers take longer while weir is ahead of the kills: a fast machine would be through before half of them.
	takes := 30 * time.Millisecond
	govern := func(arrived, struck float64) {
		if arrived > struck {
			takes = min(takes*3/2, 100*time.Millisecond)
		} else {
			takes = max(takes*2/3, time.Millisecond)
		}
		c.control(http.MethodPost, "/fault", url.Values{"kintone": {"slow"}, "oss": {"slow"}, "wecom": {"slow"}, "for": {takes.String()}})
	}
	govern(1, 0)
	e := c.start(run{})
	began := time.Now()

	ctx, cancel := context.WithCancel(t.Context())
	var memory meter
	var reading sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			memory.read(c.site)
			time.Sleep(250 * time.Millisecond)
		}
	})
	stop := func() { cancel(); reading.Wait() }
	defer stop()

	hit, victims := 0, map[string]int{}
	var rows []int
	for k := range kills {
		time.Sleep(200*time.Millisecond + time.Duration(random.Int64N(int64(2800*time.Millisecond))))
		select {
		case <-e.ended:
			t.Fatalf("the run was over after %d kills (%v): it wants more messages\n%s", k, e.err, tail(e.log, 20))
		default:
		}
		n, now := c.underWay(), c.look()
		govern(float64(now.Kintone.Inserted)/float64(2**messagesFlag), float64(k)/float64(kills))
		if n > 0 || now.Kintone.Running+now.OSS.Running+now.WeCom.Running["getchatmediadata"] > 0 {
			hit++
		}
		rows = append(rows, n)
		plugins := c.plugins(e)
		if i := random.IntN(8); i < len(plugins) && i < 6 { // the engine gets two of eight
			p := plugins[i]
			syscall.Kill(p.pid, syscall.SIGKILL)
			victims[strings.Fields(p.command)[0]]++
		} else {
			e.kill()
			victims["the engine"]++
			c.noOrphans()
			e = c.start(run{})
		}
		if k%100 == 99 {
			t.Logf("%s: %d kills, %d with rows on their way; %d rows in kintone, %d objects", time.Since(began).Round(time.Second), k+1, hit,
				now.Kintone.Inserted, now.OSS.Stored)
		}
	}
	struck := time.Since(began)
	now := c.look()
	t.Logf("%d kills in %s: %v; when they were over, kintone had %d rows of some %d", kills, struck.Round(time.Second), victims,
		now.Kintone.Inserted, 2**messagesFlag)
	c.control(http.MethodPost, "/fault", url.Values{"kintone": {"off"}, "oss": {"off"}, "wecom": {"off"}})
	e.finish(time.Hour)
	stop()
	// A record whose plugin, or engine, was killed five times in a row while it was alone there is taken for the killer. It is a dead letter
	// that says so, and waits for a person.
	if blamed := strings.Count(c.ask("dead", "list"), "KILLED_ITS_PLUGIN"); blamed > 0 {
		t.Logf("%d dead letters KILLED_ITS_PLUGIN (groups and entries) are replayed", blamed)
		c.ask("dead", "replay", "--all")
		c.runOn()
	}
	t.Logf("%d of %d kills hit rows on their way (%d %%): %s", hit, kills, hit*100/max(kills, 1), spread(rows))
	t.Logf("memory: %s", &memory)
	t.Logf("asked for or sent again: %d; the whole run took %s", now.again(), time.Since(began).Round(time.Second))
	if hit*100 < kills*80 {
		t.Errorf("%d of %d kills hit rows on their way, want 80 %%", hit, kills)
	}
	if memory.most > mostMemory {
		t.Errorf("%s; want at most %d MiB", &memory, mostMemory>>20)
	}
	c.equal()
}

// underWay is how many rows the running engine works on; 0 when it does not answer yet.
func (c *site) underWay() (rows int) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return net.Dial("unix", filepath.Join(c.data, "weir.sock"))
		},
	}}
	response, err := client.Get("http://weir/status")
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	var s status
	if json.NewDecoder(response.Body).Decode(&s) == nil {
		for _, step := range s.Steps {
			rows += step.UnderWay
		}
	}
	return rows
}

// spread says how numbers are distributed.
func spread(list []int) string {
	count := map[string]int{}
	for _, n := range list {
		switch {
		case n == 0:
			count["none"]++
		case n < 10:
			count["1-9"]++
		case n < 100:
			count["10-99"]++
		case n < 1000:
			count["100-999"]++
		default:
			count["1000-"]++
		}
	}
	return fmt.Sprintf("rows on their way, and how often: %v", count)
}
