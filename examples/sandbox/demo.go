package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// demoCommand shows in less than a minute what weir promises: the main job runs against the sandbox, its engine is killed three times
// where it hurts, kintone is away for a while, and in the end the archive is held against the truth. With --tamper the run is left in
// peace and the archive is spoilt afterwards, to show that the comparison would have noticed.
func demoCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("weir-sandbox demo", flag.ContinueOnError)
	flags.SetOutput(stderr)
	weir := flags.String("weir", "", "path of weir (default: beside weir-sandbox)")
	dir := flags.String("dir", "", "folder for truth, state and log (default: a temporary one, kept when something is wrong)")
	pipeline := flags.String("pipeline", "pipelines/wecom-kintone-oss.hcl", "the pipeline to run")
	tamper := flags.Bool("tamper", false, "kill nothing, but spoil the archive and show that the comparison notices")
	slower := flags.Float64("slower", 1, "let the made-up time pass so many times slower, on a machine that is busy with other things")
	if err := parse(flags, args, false); err != nil {
		return err
	}
	if *weir == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		*weir = filepath.Join(filepath.Dir(self), "weir")
	}
	temporary := *dir == ""
	if temporary {
		var err error
		if *dir, err = os.MkdirTemp("", "weir-demo"); err != nil {
			return err
		}
	}
	start, err := time.Parse(time.RFC3339, firstInstant)
	if err != nil {
		return err
	}
	o := options{messages: 200, seed: 9, corp: "seed", start: start, dir: *dir, env: filepath.Join(*dir, "env"), slower: *slower}.paced()
	d := &demo{weir: *weir, pipeline: *pipeline, options: o, out: stdout}
	err = d.run(ctx, *tamper)
	if err != nil {
		fmt.Fprintf(stdout, "  truth, state and log lie in %s\n", *dir)
	} else if temporary {
		err = os.RemoveAll(*dir)
	}
	return err
}

// demo is one show.
type demo struct {
	weir, pipeline string
	options        options
	out            io.Writer

	box   *sandbox
	log   *os.File // of all engines
	began time.Time
	end   time.Time // when the engine is done; zero = at the instant for which the truth holds

	engine *exec.Cmd
	ended  chan error // of 1: the engine's end, whether somebody waits for it or not
}

func (d *demo) run(ctx context.Context, tamper bool) (err error) {
	if d.box, err = newSandbox(d.options); err != nil {
		return err
	}
	defer d.box.close()
	if d.log, err = os.Create(d.path("weir.log")); err != nil {
		return err
	}
	defer d.log.Close()
	d.began = time.Now()
	d.introduce()
	if err := d.start(); err != nil {
		return err
	}
	defer d.kill()
	if !tamper {
		if err := d.hurt(ctx); err != nil {
			return err
		}
	}
	if err := d.finish(ctx); err != nil {
		return err
	}
	if tamper {
		return d.spoil(ctx)
	}
	return d.judge(ctx)
}

func (d *demo) path(name string) string { return filepath.Join(d.box.options.dir, name) }

// introduce says what the company is.
func (d *demo) introduce() {
	s := d.box
	var bytes int64
	for _, m := range s.corp.Media {
		bytes += m.Size
	}
	span := s.truth.Holds.Sub(s.truth.Starts)
	fmt.Fprintf(d.out, "  A company on this machine: WeCom holds %d encrypted messages and %d files (%d MiB); kintone and OSS are empty.\n",
		len(s.corp.Messages), len(s.corp.Media), bytes>>20)
	fmt.Fprintf(d.out, "  Time is made up: %g hours pass in %d seconds.\n", span.Hours(), int(s.clock.Wall(span).Seconds()))
}

// say tells one thing that happened, with the real time since the start.
func (d *demo) say(what, format string, args ...any) {
	fmt.Fprintf(d.out, "  %5.1f s  %-8s  %s\n", time.Since(d.began).Seconds(), what, fmt.Sprintf(format, args...))
}

// look is what the services see at this moment.
func (d *demo) look() counters { return d.box.control.look() }

// start starts an engine on the same data directory as the one before.
func (d *demo) start() error {
	d.engine = exec.Command(d.weir, "run", "--once", "--data-dir", d.path("data"), d.pipeline)
	d.engine.Stdout, d.engine.Stderr = d.log, d.log
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		d.engine.Env = append(d.engine.Env, name+"="+os.Getenv(name))
	}
	values := d.box.variables()
	if !d.end.IsZero() {
		values["WEIR_CLOCK"] = d.box.clock.Text() + "," + d.end.UTC().Format(time.RFC3339Nano)
	}
	for name, value := range values {
		d.engine.Env = append(d.engine.Env, name+"="+value)
	}
	if err := d.engine.Start(); err != nil {
		return err
	}
	ended, engine := make(chan error, 1), d.engine
	d.ended = ended
	go func() { ended <- engine.Wait() }()
	d.say("start", "weir run --once %s   (process %d)", d.pipeline, engine.Process.Pid)
	return nil
}

// kill ends the engine as a power cut would. Its plugins end with it.
func (d *demo) kill() {
	if d.ended != nil {
		d.engine.Process.Kill()
		<-d.ended
		d.ended = nil
	}
}

// until waits for a moment in the life of the run.
func (d *demo) until(ctx context.Context, what string, when func(counters) bool) (counters, error) {
	tick := time.NewTicker(time.Millisecond) // requests on loopback take a few
	defer tick.Stop()
	for {
		if now := d.look(); when(now) {
			return now, nil
		}
		select {
		case <-tick.C:
		case err := <-d.ended:
			d.ended = nil
			return counters{}, fmt.Errorf("weir ended before %s: %w", what, errors.Join(err, d.lastWords()))
		case <-ctx.Done():
			return counters{}, ctx.Err()
		}
	}
}

// hurt kills the engine three times, and takes kintone away.
func (d *demo) hurt(ctx context.Context) error {
	media := func(c counters) int { return c.WeCom.Running["getchatmediadata"] }
	for _, strike := range []struct {
		moment string
		when   func(counters) bool
	}{
		{"the first page was fetched", func(c counters) bool { return c.WeCom.Rows > 0 }},
		{"media was on its way", func(c counters) bool { return c.WeCom.Shards > 60 && media(c) > 1 }},
		{"kintone was writing", func(c counters) bool { return c.Kintone.Attached > 3 && c.Kintone.Running > 0 }},
	} {
		now, err := d.until(ctx, strike.moment, strike.when)
		if err != nil {
			return err
		}
		d.kill()
		d.say("kill -9", "%s: %d messages fetched, %s in flight, %s in flight,", strike.moment, now.WeCom.Rows,
			several(media(now), "download"), several(now.Kintone.Running, "kintone call"))
		fmt.Fprintf(d.out, "                     %d rows and %s in kintone, %s in OSS\n", now.Kintone.Inserted,
			several(now.Kintone.Attached, "file"), several(now.OSS.Stored, "file"))
		if err := d.start(); err != nil {
			return err
		}
	}

	if _, err := post(ctx, d.box.options.dir, "/fault", url.Values{"kintone": {"refuse"}}); err != nil {
		return err
	}
	before := d.look()
	d.say("outage", "kintone refuses every connection")
	after, err := d.until(ctx, "kintone came back", func(c counters) bool {
		return c.WeCom.Pages >= before.WeCom.Pages+6
	})
	if err != nil {
		return err
	}
	if _, err := post(ctx, d.box.options.dir, "/fault", url.Values{"kintone": {"off"}}); err != nil {
		return err
	}
	d.say("back", "kintone answers again after %d minutes; meanwhile weir went on: %d pages asked, %d messages fetched",
		int(after.Now.Sub(before.Now).Minutes()), after.WeCom.Pages-before.WeCom.Pages, after.WeCom.Rows-before.WeCom.Rows)
	return nil
}

func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// finish waits for the end of the run: 3 says that it is drained, with the dead letter and the holes that this company has.
func (d *demo) finish(ctx context.Context) error {
	select {
	case err := <-d.ended:
		d.ended = nil
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() != 3 {
			return fmt.Errorf("weir run: %w", errors.Join(err, d.lastWords()))
		}
		now := d.look()
		d.say("end", "weir is done: exit %d. WeCom was asked again for %s and %s of files",
			d.engine.ProcessState.ExitCode(), several(now.WeCom.PagesAgain, "page"), several(now.WeCom.ShardsAgain, "piece"))
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lateHours is how long after its end a run may go on when the archive is not complete by then.
const lateHours = 6

// judge holds the archive against the truth. The made-up time waits for nobody: on a slow machine the last tries may fall behind its end.
// Then they are waited for, because what is late is not lost.
func (d *demo) judge(ctx context.Context) error {
	o := comparing{dir: d.box.options.dir, data: folders{d.path("data")}, spool: folders{d.path("data/spool")}}
	report, err := o.compare(ctx)
	for late := 0; err == nil && !report.Good() && late < lateHours; late++ {
		d.end = d.box.clock.Now().Add(time.Hour)
		d.say("late", "this machine is slow for time that passes %g times as fast: weir goes on for another hour", d.box.options.speed)
		if err := d.start(); err != nil {
			return err
		}
		if err := d.finish(ctx); err != nil {
			return err
		}
		report, err = o.compare(ctx)
	}
	if err != nil {
		return err
	}
	report.Print(d.out)
	if !report.Good() {
		return errDiffers
	}
	fmt.Fprintf(d.out, "  Doubt it?   make demo-tamper      Yours:  %s -> weir validate -> weir run\n", d.pipeline)
	return nil
}

// spoil shows that a comparison that says "equal" could have said something else.
func (d *demo) spoil(ctx context.Context) error {
	fmt.Fprintln(d.out, "  Now the archive is spoilt behind weir's back, in one way after the other, and compared each time.")
	if err := tamperAll(ctx, comparing{dir: d.box.options.dir}, d.out); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  all %d were noticed\n", len(tamperings))
	return nil
}

// lastWords are the last lines of the engine's log.
func (d *demo) lastWords() error {
	b, err := os.ReadFile(d.log.Name())
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return errors.New(strings.Join(lines[max(0, len(lines)-10):], "\n"))
}
