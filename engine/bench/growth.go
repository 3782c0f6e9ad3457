package bench

import (
	"context"
	"fmt"
	"math"
)

// Series is how the cost of a record grows with something. A cost that does not is a level line.
type Series struct {
	Name   string  `json:"name"` // records, steps, sources
	Unit   string  `json:"unit"` // of Y
	Log    bool    `json:"log"`  // the line is straight over the logarithm of X
	Points []Point `json:"points"`
	// Slope is by how much the line through the medians (least squares) rises from its first point to its last, in percent of the
	// first; SlopeError is the standard error of that.
	Slope      float64 `json:"slope_percent"`
	SlopeError float64 `json:"slope_percent_error"`
	// Each is what one more step or source adds to the cost of a record, in µs, by the line through the medians of CPU.
	Each float64 `json:"cpu_us_per_record_each,omitempty"`
}

// Point is a measurement of a series.
type Point struct {
	X int    `json:"x"`
	Y Spread `json:"y"`
	Measured
}

func (b *bench) growth(ctx context.Context, r *Report) error {
	upTo := func(most int) int { return min(max(b.Records/10, 1), most) }
	for _, s := range []struct {
		series Series
		xs     []int
		shape  func(x int) shape
		share  func(x int) float64 // Y by CPU
	}{
		{Series{Name: "records", Unit: "µs of CPU per record", Log: true}, decades(b.Records),
			func(x int) shape { return shape{records: x, sources: 1, steps: 1} }, func(int) float64 { return 1 }},
		{Series{Name: "steps", Unit: "µs of CPU per record and step"}, []int{1, 2, 5, 10, 20},
			func(x int) shape { return shape{records: upTo(50_000), sources: 1, steps: x} }, func(x int) float64 { return 1 / float64(x+2) }},
		{Series{Name: "sources", Unit: "µs of CPU per record"}, []int{1, 2, 4, 8, 16},
			func(x int) shape { return shape{records: upTo(100_000), sources: x, steps: 1} }, func(int) float64 { return 1 }},
	} {
		var variants []variant
		place := map[shape]int{} // of a variant
		add := func(what string, p shape) {
			if _, ok := place[p]; !ok {
				place[p] = len(variants)
				what = fmt.Sprintf("%s%d records, %d sources, %d transforms", what, p.records, p.sources, p.steps)
				variants = append(variants, variant{what, func(ctx context.Context) (figures, error) { return b.weir(ctx, p) }})
			}
		}
		for _, x := range s.xs {
			full := s.shape(x).even()
			add("", full)
			add("next to nothing: ", full.empty())
		}
		all, err := b.alternate(ctx, variants)
		if err != nil {
			return fmt.Errorf("%s: %w", s.series.Name, err)
		}
		series := s.series
		var xs, ys, cpu []float64
		for _, x := range s.xs {
			full := s.shape(x).even()
			m := measured(fmt.Sprintf("%s=%d", series.Name, x), full.records, all[place[full]], all[place[full.empty()]])
			share := s.share(x)
			y := Spread{m.CPU.Median * share, m.CPU.Min * share, m.CPU.Max * share}
			series.Points = append(series.Points, Point{x, y, m})
			xs, ys, cpu = append(xs, series.scale(x)), append(ys, y.Median), append(cpu, m.CPU.Median)
		}
		series.Slope, series.SlopeError = fit(xs, ys).percent(xs[0], xs[len(xs)-1])
		if !series.Log {
			series.Each = fit(xs, cpu).slope
		}
		r.Growth = append(r.Growth, series)
	}
	return nil
}

// scale is where x stands on the axis.
func (s *Series) scale(x int) float64 {
	if s.Log {
		return math.Log10(float64(x))
	}
	return float64(x)
}

// decades are two numbers for each power of ten, from 10,000 or a hundredth of most, up to most.
func decades(most int) []int {
	first := 10_000
	if first > most/10 {
		first = max(most/100, 1)
	}
	var xs []int
	for i := 0; ; i++ {
		x := first * int(math.Pow10(i/2))
		if i%2 == 1 {
			x *= 3
		}
		if x >= most {
			return append(xs, most)
		}
		xs = append(xs, x)
	}
}

// trend is the line y = at + slope·x.
type trend struct {
	at, slope  float64
	slopeError float64 // standard error; 0 with two points
}

// fit is the line with the least squares through at least two points.
func fit(xs, ys []float64) trend {
	n := float64(len(xs))
	var meanX, meanY float64
	for i := range xs {
		meanX, meanY = meanX+xs[i]/n, meanY+ys[i]/n
	}
	var xx, xy float64
	for i := range xs {
		xx += (xs[i] - meanX) * (xs[i] - meanX)
		xy += (xs[i] - meanX) * (ys[i] - meanY)
	}
	t := trend{slope: xy / xx}
	t.at = meanY - t.slope*meanX
	if len(xs) > 2 {
		var left float64
		for i := range xs {
			d := ys[i] - t.at - t.slope*xs[i]
			left += d * d
		}
		t.slopeError = math.Sqrt(left / (n - 2) / xx)
	}
	return t
}

// percent is how much the line rises from one x to another, and the standard error of that.
func (t trend) percent(from, to float64) (rise, err float64) {
	first := t.at + t.slope*from
	return 100 * t.slope * (to - from) / first, 100 * t.slopeError * (to - from) / math.Abs(first)
}
