package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// outage is a pipeline with two sinks, of which "away" is of some kind and "here" is a tide that never is away. Its records are made by
// generate over a day, and by the source of fresh rows as long as that one's gate is not there.
type outage struct {
	tb         testing.TB
	weir, dir  string
	file       string
	kind       string // of the sink "away"
	gate, calm string // of that sink where it is a tide, and of the fresh rows
	simulated  time.Time
	running    *watched
	vars       []string
}

// newOutage is the outage of a tide, which is away as long as its gate is there.
func newOutage(tb testing.TB, weir string, records, page int) *outage {
	dir := tb.TempDir()
	o := &outage{tb: tb, weir: weir, dir: dir, kind: "tide", gate: filepath.Join(dir, "gate")}
	o.close(o.gate)
	o.write(records, page, fmt.Sprintf(`sink "tide" "away" {
  input = [source.generate.day, source.tide.fresh]
  gate  = %q
  path  = %q
}
`, o.gate, o.out("away")))
	return o
}

// write writes the pipeline. sink is the block of the sink "away", and what it needs.
func (o *outage) write(records, page int, sink string) {
	o.file, o.calm = filepath.Join(o.dir, "p.hcl"), filepath.Join(o.dir, "calm")
	o.simulated = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	self, err := os.Executable()
	if err != nil {
		o.tb.Fatal(err)
	}
	text := fmt.Sprintf(`weir { name = "outage" }
variable "fresh" {
  type    = number
  default = 0
}
plugin "tide" { path = %q }
source "generate" "day" {
  count = %d
  rate  = %d / 86400
  page  = %d
}
source "tide" "fresh" {
  gate = %q
  rate = var.fresh
  page = 50
}
sink "tide" "here" {
  input = [source.generate.day, source.tide.fresh]
  path  = %q
}
%s`, self, records, records, page, o.calm, o.out("here"), sink)
	if err := os.WriteFile(o.file, []byte(text), 0o600); err != nil {
		o.tb.Fatal(err)
	}
	o.close(o.calm)
	lock := exec.Command(o.weir, "plugin", "lock", o.file)
	if out, err := lock.CombinedOutput(); err != nil {
		o.tb.Fatalf("%s: %v\n%s", lock, err, out)
	}
}

func (o *outage) out(sink string) string { return filepath.Join(o.dir, sink+".out") }

func (o *outage) close(gate string) {
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		o.tb.Fatal(err)
	}
}

func (o *outage) open(gate string) {
	if err := os.Remove(gate); err != nil {
		o.tb.Fatal(err)
	}
}

func (o *outage) command(args ...string) *exec.Cmd {
	cmd := exec.Command(o.weir, append(args, "--data-dir", filepath.Join(o.dir, "data"), o.file)...)
	cmd.Args = append(cmd.Args, o.vars...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+o.dir, "HOME="+o.dir, "WEIR_CLOCK=")
	return cmd
}

// run starts the engine with a clock of this speed.
func (o *outage) run(speed float64) {
	cmd := o.command("run")
	now := time.Now()
	cmd.Env = append(cmd.Env, fmt.Sprintf("WEIR_CLOCK=%s,%s,%g,", now.UTC().Format(time.RFC3339Nano), o.simulated.Format(time.RFC3339Nano), speed))
	o.running = start(o.tb, cmd)
}

// stop ends the engine, and stops the simulated time with it.
func (o *outage) stop(speed float64) {
	interrupt(o.running)
	o.simulated = o.simulated.Add(time.Duration(float64(time.Since(o.running.began)) * speed))
	if o.running.err != nil {
		o.tb.Fatalf("weir ended: %v\n%s", o.running.err, o.running.output.Bytes())
	}
}

// state is what `weir status --json` tells of the two sinks.
type state struct {
	Running bool
	Steps   []struct {
		Address string
		Owed    int
		Down    string
	}
}

func (s state) owed(sink string) int {
	for _, step := range s.Steps {
		if strings.HasPrefix(step.Address, "sink.") && strings.HasSuffix(step.Address, "."+sink) {
			return step.Owed
		}
	}
	return -1
}

func (s state) down(sink string) string {
	for _, step := range s.Steps {
		if strings.HasSuffix(step.Address, "."+sink) {
			return step.Down
		}
	}
	return ""
}

// ask runs a command, says how long it took, and reads its answer unless into is nil.
func (o *outage) ask(into any, args ...string) time.Duration {
	o.tb.Helper()
	cmd := o.command(args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	began := time.Now()
	out, err := cmd.Output()
	took := time.Since(began)
	if err == nil && into != nil {
		err = json.Unmarshal(out, into)
	}
	if err != nil {
		o.tb.Fatalf("%s: %v\n%s", cmd, err, errs.Bytes())
	}
	return took
}

// await looks at the engine's memory until done, and fails after limit.
func (o *outage) await(what string, limit time.Duration, done func() bool) {
	o.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for began := time.Now(); !done(); {
		select {
		case <-o.running.done:
			o.tb.Fatalf("weir ended: %v\n%s", o.running.err, o.running.output.Bytes())
		case <-tick.C:
			o.running.look()
		}
		if time.Since(began) > limit {
			o.tb.Fatalf("%s: not within %v\n%s", what, limit, o.running.output.Bytes())
		}
	}
}

// line is a row as a sink has written it.
type line struct {
	fresh bool
	n     int // of generate or of the fresh rows, from 1
	at    time.Time
	age   time.Duration
}

// newLine reads the number of a row from its id.
func newLine(id string, at time.Time) (line, error) {
	n, err := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	return line{fresh: strings.HasPrefix(id, "fresh-"), n: n, at: at}, err
}

// reader reads lines of a sink as they come.
type reader struct {
	tb    testing.TB
	path  string
	from  int64
	lines []line
	day   int // rows of generate among them
}

func (r *reader) read() []line {
	r.tb.Helper()
	f, err := os.Open(r.path)
	if os.IsNotExist(err) {
		return r.lines
	}
	if err != nil {
		r.tb.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		r.tb.Fatal(err)
	}
	text := make([]byte, st.Size()-r.from)
	if _, err := f.ReadAt(text, r.from); err != nil {
		r.tb.Fatal(err)
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	r.from += int64(len(text))
	for text := range strings.Lines(string(text)) {
		words := strings.Fields(text)
		at, err1 := strconv.ParseInt(words[1], 10, 64)
		age, err2 := strconv.ParseInt(words[2], 10, 64)
		l, err3 := newLine(words[0], time.Unix(0, at))
		if err1 != nil || err2 != nil || err3 != nil {
			r.tb.Fatalf("%s holds %q", r.path, text)
		}
		l.age = time.Duration(age)
		if !l.fresh {
			r.day++
		}
		r.lines = append(r.lines, l)
	}
	return r.lines
}

// once checks that a sink has each row of generate, and each fresh one up to some number, exactly once.
func once(tb testing.TB, sink string, lines []line, records int) {
	tb.Helper()
	seen := map[bool][]int{}
	for _, l := range lines {
		seen[l.fresh] = append(seen[l.fresh], l.n)
	}
	for isFresh, list := range seen {
		slices.Sort(list)
		for i, n := range list {
			if n != i+1 {
				tb.Fatalf("%s: of %d rows (fresh %v) the one in place %d has number %d", sink, len(list), isFresh, i+1, n)
			}
		}
	}
	if len(seen[false]) != records {
		tb.Errorf("%s has %d rows of the day, want %d", sink, len(seen[false]), records)
	}
}

// TestOutage: a day away, ten thousand rows owed, and a source of fresh ones that would fill every call when the sink is back.
func TestOutage(t *testing.T) {
	const records, speed = 10_000, 86400 / 4
	o := newOutage(t, build(t, "./engine/cmd/weir"), records, 50)
	away, here := &reader{tb: t, path: o.out("away")}, &reader{tb: t, path: o.out("here")}
	o.run(speed)
	o.await("the other sink has the day", time.Minute, func() bool { here.read(); return here.day == records })
	if n := len(away.read()); n != 0 {
		t.Errorf("%d rows came to the sink that is away", n)
	}
	var s state
	o.await("the day is owed", time.Minute, func() bool { o.ask(&s, "status", "--json"); return s.owed("away") == records })
	var listing struct{ Total int }
	o.ask(&listing, "owed", "list", "--json")
	if listing.Total != records || s.down("away") != "AWAY" || s.owed("here") != 0 {
		t.Errorf("got %d in the listing and %+v, want %d owed by the sink that is away", listing.Total, s, records)
	}

	// The outage outlives its engine: what is owed is listed without one, and the next one tells that it is over.
	if !strings.Contains(o.running.output.String(), "code=SERVICE_DOWN step=sink.tide.away why=AWAY") {
		t.Errorf("the outage was not told:\n%s", o.running.output.Bytes())
	}
	o.stop(speed)
	o.ask(&s, "status", "--json")
	o.ask(&listing, "owed", "list", "--json")
	if listing.Total != records || s.Running || s.owed("away") != records {
		t.Errorf("without an engine got %d in the listing and %+v, want %d owed", listing.Total, s, records)
	}
	o.open(o.calm)
	o.open(o.gate)
	o.run(speed)
	o.await("the sink has caught up", 2*time.Minute, func() bool { away.read(); return away.day == records })
	o.close(o.calm)
	o.await("nothing is owed", time.Minute, func() bool {
		o.ask(&s, "status", "--json")
		return s.owed("away") == 0 && len(away.read()) == len(here.read())
	})
	o.stop(speed)
	if n := strings.Count(o.running.output.String(), "code=SERVICE_DOWN step=sink.tide.away recovered=true"); n != 1 {
		t.Errorf("the end of the outage was told %d times:\n%s", n, o.running.output.Bytes())
	}
	once(t, "away", away.read(), records)
	once(t, "here", here.read(), records)

	between, ours := 0, 0
	first := slices.IndexFunc(away.lines, func(l line) bool { return !l.fresh })
	for _, l := range away.lines[first:] {
		if l.fresh {
			between++
		} else if ours++; ours == records {
			break
		}
	}
	if share := float64(between) / float64(between+records); share < 0.25 {
		t.Errorf("%d of %d rows were fresh while the sink caught up, want a quarter at least", between, between+records)
	} else {
		t.Logf("%.0f %% of the rows were fresh while the sink caught up", 100*share)
	}
}

// TestSinksAreIndependent: while one sink is away the other takes what it can, and a little more, because nobody shares with it.
func TestSinksAreIndependent(t *testing.T) {
	o := newOutage(t, build(t, "./engine/cmd/weir"), 1, 50)
	away, here := &reader{tb: t, path: o.out("away")}, &reader{tb: t, path: o.out("here")}
	// rate is how many rows the other sink takes in a second.
	rate := func(d time.Duration) float64 {
		from, began := len(here.read()), time.Now()
		o.await("a while", time.Minute, func() bool { return time.Since(began) > d })
		return float64(len(here.read())-from) / time.Since(began).Seconds()
	}
	o.open(o.gate)
	o.open(o.calm)
	o.run(1)
	o.await("rows flow", time.Minute, func() bool { return len(here.read()) > 1000 && len(away.read()) > 1000 })
	both := rate(2 * time.Second)
	o.close(o.gate)
	o.await("the sink is away", time.Minute, func() bool {
		var s state
		o.ask(&s, "status", "--json")
		return s.owed("away") > 0
	})
	alone := rate(2 * time.Second)
	o.open(o.gate)
	o.close(o.calm)
	o.await("nothing is owed", 2*time.Minute, func() bool {
		var s state
		o.ask(&s, "status", "--json")
		return s.owed("away") == 0 && len(away.read()) == len(here.read())
	})
	o.stop(1)
	once(t, "away", away.read(), 1)
	once(t, "here", here.read(), 1)
	t.Logf("with both sinks %.0f rows a second, with one away %.0f: %.2f of it", both, alone, alone/both)
	if alone < both/2 { // seconds of a busy machine
		t.Errorf("the sink that is here took %.0f rows a second, and %.0f while the other one was away", both, alone)
	}
}

// BenchmarkOutage: a sink is away for a day in which a million records come, in pages of some size; then it comes back.
// OUTAGE_RECORDS takes another number than a million.
//
// The day passes in a minute and a half. Then the engine is stopped and started again by a clock of speed 1, so that what follows are
// real times: fresh rows come at 1000 a second, the sink comes back, and when nothing is owed any more the fresh rows go on for a while,
// to compare with. The figures are
//
//	private-MiB      of the engine and its four plugins at the peak; start-MiB of an engine that owes nothing yet
//	status-ms, list-ms  weir status and weir owed list while the engine runs, slowest of all, idle-… when none does, and empty-… when
//	                    nothing is owed: a command of its own takes most of it
//	start-ms         from the start with a million rows owed to the first fresh row
//	owed/s           rows delivered while the sink catches up, beside the fresh ones
//	age-ms           of fresh rows at the sink while it catches up, and calm-… after that: median and 99th of a hundred
//	fresh/calm       rate of fresh rows while it catches up, by that after it
func BenchmarkOutage(b *testing.B) {
	records := number(b, "OUTAGE_RECORDS", 1_000_000)
	weir := build(b, "./engine/cmd/weir")
	for _, page := range []int{500, 10} {
		b.Run(fmt.Sprintf("page=%d", page), func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(0, "ns/op")
				o := newOutage(b, weir, records, page)
				measureOutage(b, o, coast{o, &reader{tb: b, path: o.out("away")}}, records, 1000)
			}
		})
	}
}

// number is what the environment says, or otherwise.
func number(b *testing.B, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatalf("%s: %v", name, err)
	}
	return n
}

// destination is where the sink "away" writes: a service that is away until it comes back, once.
type destination interface {
	back()
	rows() []line // all that it holds, in the order in which they came; ages are not told
}

// coast is the destination of a tide.
type coast struct {
	o      *outage
	reader *reader
}

func (c coast) back()        { c.o.open(c.o.gate) }
func (c coast) rows() []line { return c.reader.read() }

// measureOutage takes an outage through its day and back, with so many fresh rows a second.
func measureOutage(b *testing.B, o *outage, away destination, records, fresh int) {
	const speed = 960 // a day in 90 s
	here := &reader{tb: b, path: o.out("here")}

	o.run(speed)
	var s state
	var status, list time.Duration
	asked := time.Now()
	o.await("the first row", time.Minute, func() bool { return len(here.read()) > 0 })
	o.running.look()
	begin := float64(o.running.peak) / (1 << 20)
	o.await("a moment", time.Minute, func() bool { return time.Since(asked) > 2*time.Second })
	emptyStatus, emptyList := o.ask(nil, "status", "--json"), o.ask(nil, "owed", "list")
	o.await("the day is owed", time.Hour, func() bool {
		if time.Since(asked) < 2*time.Second {
			return false
		}
		asked = time.Now()
		status = max(status, o.ask(&s, "status", "--json"))
		return s.owed("away") == records && s.owed("here") == 0
	})
	day := time.Since(o.running.began)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	for range 3 {
		status = max(status, o.ask(&s, "status", "--json"))
		list = max(list, o.ask(nil, "owed", "list"), o.ask(nil, "owed", "list", "--json"), o.ask(nil, "owed", "list", "--step", "sink."+o.kind+".away", "--id", "g-1-777"))
	}
	o.stop(speed)
	peak := float64(o.running.peak) / (1 << 20)
	b.ReportMetric(ms(emptyStatus), "empty-status-ms")
	b.ReportMetric(ms(emptyList), "empty-list-ms")
	b.ReportMetric(begin, "start-MiB")
	b.ReportMetric(peak, "private-MiB")
	b.ReportMetric(ms(status), "status-ms")
	b.ReportMetric(ms(list), "list-ms")
	b.ReportMetric(ms(o.ask(&s, "status", "--json")), "idle-status-ms")
	b.ReportMetric(ms(o.ask(nil, "owed", "list")), "idle-list-ms")
	b.Logf("a day of %d records took %v; %.0f MiB at the start, %.0f at the peak", records, day.Round(time.Second), begin, peak)

	o.vars = []string{"--var", fmt.Sprint("fresh=", fresh)}
	o.open(o.calm)
	before := len(here.read())
	o.run(1)
	o.await("the first fresh row", time.Minute, func() bool { return len(here.read()) > before })
	b.ReportMetric(ms(time.Since(o.running.began)), "start-ms")
	o.await("a while", time.Hour, func() bool { return time.Since(o.running.began) > 8*time.Second })
	away.back()
	asked = time.Now()
	o.await("the sink has caught up", time.Hour, func() bool {
		if time.Since(asked) < 2*time.Second {
			return false
		}
		asked = time.Now()
		o.ask(&s, "status", "--json")
		return s.owed("away") == 0
	})
	caught := time.Now()
	o.await("a while", time.Hour, func() bool { return time.Since(caught) > 15*time.Second })
	o.close(o.calm)
	o.await("nothing is owed", time.Minute, func() bool {
		o.ask(&s, "status", "--json")
		return s.owed("away") == 0 && len(away.rows()) == len(here.read())
	})
	o.stop(1)
	b.ReportMetric(float64(o.running.peak)/(1<<20), "catch-up-MiB")
	rows := away.rows()
	once(b, "away", rows, records)

	made := map[int]time.Time{} // fresh rows, as the other sink tells
	for _, l := range here.lines {
		if l.fresh {
			made[l.n] = l.at.Add(-l.age)
		}
	}
	var days, with, without []line
	for _, l := range rows {
		if !l.fresh {
			days = append(days, l)
		}
	}
	first, last := days[0].at, days[len(days)-1].at
	for _, l := range rows {
		l.age = l.at.Sub(made[l.n])
		switch {
		case !l.fresh:
		case l.age > last.Sub(first)+20*time.Second, l.at.Add(-l.age).Before(first): // it was owed itself
		case l.at.After(first) && l.at.Before(last):
			with = append(with, l)
		case l.at.After(last.Add(2*time.Second)) && l.at.Before(last.Add(14*time.Second)):
			without = append(without, l)
		}
	}
	took := last.Sub(first)
	b.ReportMetric(float64(records)/took.Seconds(), "owed/s")
	report := func(name string, list []line, took time.Duration) float64 {
		slices.SortFunc(list, func(a, b line) int { return int(a.age - b.age) })
		if len(list) == 0 {
			b.Fatalf("no %s row", name)
		}
		b.ReportMetric(ms(list[len(list)/2].age), name+"-p50-ms")
		b.ReportMetric(ms(list[len(list)*99/100].age), name+"-p99-ms")
		return float64(len(list)) / took.Seconds()
	}
	rate, calm := report("age", with, took), report("calm", without, 12*time.Second)
	b.ReportMetric(rate/calm, "fresh/calm")
	b.Logf("caught up in %v; fresh rows %.0f/s meanwhile, %.0f/s after", took.Round(time.Second/10), rate, calm)
}
