// Package bench measures weir as an operator meets it: the built binary, with its plugins as processes of their own, from start to end.
// `weir bench` is its command, and tells what each part measures.
//
// Figures of a busy machine mean little by themselves. So every part takes turns between what it compares, and measures beside weir what
// the machine could do at best: the same work as a plain loop in one process (hop), bytes through a bare socket (hop), the RSA operations
// that no archive of WeCom can do without (BenchmarkMainJob). What weir measures of itself twice tells how much of a difference is noise.
// What counts as delivered is what stands in the file at the end.
//
// Figures need a quiet machine and decide about no release. What does is counted instead of timed: TestCounts has the limits. The tests
// hold what needs a sandbox, too: the main job, and outages of a day.
package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Parts that can be measured, in their order.
var Parts = []string{"hop", "start", "growth"}

// Options of a measurement. Weir is required.
type Options struct {
	Weir    string    // the executable
	Version string    // of it, for the report
	Parts   []string  // of [Parts]; none = all
	Runs    int       // of each variant; 0 = 5
	Records int       // of the largest run, at least 100; 0 = a million
	Dir     string    // folder to work in, which has room for Records KiB; "" = the one for temporary files
	Log     io.Writer // is told what is measured at the moment; nil = nobody
}

// bench is a measurement under way.
type bench struct {
	Options
	dir string // its own
}

// Run measures. It takes minutes, and ends early with ctx.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Runs == 0 {
		o.Runs = 5
	}
	if o.Records == 0 {
		o.Records = 1_000_000
	}
	if len(o.Parts) == 0 {
		o.Parts = Parts
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	dir, err := os.MkdirTemp(o.Dir, "weir-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if dir, err = filepath.Abs(dir); err != nil { // commands run elsewhere
		return nil, err
	}
	b := &bench{o, dir}
	began := time.Now()
	r := &Report{Format: Format, Weir: o.Version, At: began.UTC().Truncate(time.Second), Runs: o.Runs, Records: o.Records, Machine: machine(dir)}
	for _, p := range []struct {
		name string
		run  func(context.Context, *Report) error
	}{{"hop", b.hop}, {"start", b.start}, {"growth", b.growth}} {
		if !slices.Contains(o.Parts, p.name) {
			continue
		}
		if err := p.run(ctx, r); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	r.Seconds = time.Since(began).Seconds()
	return r, nil
}

// variant is one of several things that are compared.
type variant struct {
	name string
	run  func(context.Context) (figures, error)
}

// alternate runs all variants in turns, so that what else the machine does in the meantime meets each of them; every other turn goes
// backwards, so that none always comes after the same one. The figures of variant v in turn t are [v][t].
func (b *bench) alternate(ctx context.Context, variants []variant) ([][]figures, error) {
	all := make([][]figures, len(variants))
	for turn := range b.Runs {
		for i := range variants {
			if turn%2 == 1 {
				i = len(variants) - 1 - i
			}
			fmt.Fprintf(b.Log, "run %d of %d: %s\n", turn+1, b.Runs, variants[i].name)
			f, err := variants[i].run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", variants[i].name, err)
			}
			all[i] = append(all[i], f)
		}
	}
	return all, nil
}

// Spread is the figure of several runs.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// spread of what f reads from each of list, which is not empty.
func spread[T any](list []T, f func(T) float64) Spread {
	values := make([]float64, len(list))
	for i, v := range list {
		values[i] = f(v)
	}
	slices.Sort(values)
	n := len(values)
	return Spread{Median: (values[(n-1)/2] + values[n/2]) / 2, Min: values[0], Max: values[n-1]}
}

// Measured is what so many records cost.
type Measured struct {
	Name       string `json:"name"`
	Records    int    `json:"records"`
	Twice      int    `json:"arrived_twice"` // of all runs; a record that is missing is an error instead
	Processes  int    `json:"processes"`     // 0: the system does not tell
	Seconds    Spread `json:"seconds"`       // from start to exit
	PerSecond  Spread `json:"records_per_second"`
	CPU        Spread `json:"cpu_us_per_record"`            // of all processes, without what the same processes take for next to no records
	CPUAll     Spread `json:"cpu_us_per_record_with_start"` // … and with it
	PrivateMiB Spread `json:"private_mib"`                  // anonymous memory of all processes at the peak; 0: the system does not tell
}

// measured sums up the runs of a variant. empty are the runs of the same processes with next to no records.
func measured(name string, records int, runs, empty []figures) Measured {
	n := float64(records)
	begin := beginning(empty)
	m := Measured{
		Name: name, Records: records,
		Seconds:    spread(runs, func(f figures) float64 { return f.wall.Seconds() }),
		PerSecond:  spread(runs, func(f figures) float64 { return n / f.wall.Seconds() }),
		CPU:        spread(runs, func(f figures) float64 { return (micros(f.cpu) - begin) / n }),
		CPUAll:     spread(runs, func(f figures) float64 { return micros(f.cpu) / n }),
		PrivateMiB: spread(runs, func(f figures) float64 { return f.private }),
	}
	for _, f := range runs {
		m.Processes, m.Twice = max(m.Processes, f.processes), m.Twice+f.twice
	}
	return m
}

// beginning is the processor time in µs of processes that do next to nothing.
func beginning(empty []figures) float64 {
	return spread(empty, func(f figures) float64 { return micros(f.cpu) }).Median
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func millis(d time.Duration) float64 { return micros(d) / 1000 }
