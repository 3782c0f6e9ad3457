package bench

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
)

// Measures of the chart, in pixels. Panels stand side by side.
const (
	panelWidth, panelHeight = 300, 190 // of the plot
	panelLeft, panelRight   = 56, 28
	panelTop, panelBottom   = 84, 64
)

// Chart draws growth as an SVG: a panel for each series, medians as dots, ranges as bars, the line through the medians dashed. It brings
// its colours for light and dark surroundings.
func (r *Report) Chart() []byte {
	const step = panelLeft + panelWidth + panelRight
	width, height := max(len(r.Growth), 1)*step, panelTop+panelHeight+panelBottom
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img" aria-labelledby="t">
<title id="t">How the cost of a record grows</title>
<style>
svg { --ground: #ffffff; --text: #1f2328; --soft: #59636e; --grid: #d8dee4; --line: #2a6fc9;
  font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg { --ground: #15191e; --text: #e6edf3; --soft: #9198a1; --grid: #333a42; --line: #6cb0ff; } }
.ground { fill: var(--ground) } text { fill: var(--soft) } .head { fill: var(--text); font-size: 15px; font-weight: 600 }
.sub { fill: var(--text) } .end { text-anchor: end } .mid { text-anchor: middle }
.grid { stroke: var(--grid) } .axis { stroke: var(--soft) }
.dot { fill: var(--line) } .bar { stroke: var(--line); stroke-width: 1.5 } .fit { stroke: var(--line); stroke-dasharray: 5 4; stroke-width: 1.5 }
</style>
<rect class="ground" width="100%%" height="100%%"/>
`, width, height)
	fmt.Fprintf(&b, "<text class=\"head\" x=\"%d\" y=\"26\">%s</text>\n", panelLeft-40, escape("Growth of the cost of a record, weir "+r.Weir))
	fmt.Fprintf(&b, "<text x=\"%d\" y=\"45\">%s</text>\n", panelLeft-40, escape(fmt.Sprintf("%s, %d cores; median, least and most of %d runs; %s",
		words(r.Machine.CPU, r.Machine.Platform), r.Machine.Cores, r.Runs, r.At.Format("2006-01-02"))))
	for i := range r.Growth {
		r.Growth[i].draw(&b, i*step+panelLeft)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// draw draws a panel whose plot begins at x = left.
func (s *Series) draw(b *bytes.Buffer, left int) {
	from, to := s.scale(s.Points[0].X), s.scale(s.Points[len(s.Points)-1].X)
	top := 0.0
	for _, p := range s.Points {
		top = max(top, p.Y.Max)
	}
	gap, top := ticks(top)
	x := func(v float64) float64 { return float64(left) + panelWidth*(v-from)/max(to-from, 1e-9) }
	y := func(v float64) float64 { return panelTop + panelHeight*(1-min(max(v, 0), top)/top) }

	fmt.Fprintf(b, "<text class=\"sub\" x=\"%d\" y=\"%d\">%s</text>\n", left-40, panelTop-14, escape(fmt.Sprintf("%s; %+.1f %% ± %.1f", s.Unit, s.Slope, s.SlopeError)))
	for v := 0.0; v <= top*1.001; v += gap {
		class := "grid"
		if v == 0 {
			class = "axis"
		}
		fmt.Fprintf(b, "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1[4]f\"/>", class, left, left+panelWidth, y(v))
		fmt.Fprintf(b, "<text class=\"end\" x=\"%d\" y=\"%.1f\">%g</text>\n", left-8, y(v)+4, math.Round(v*1000)/1000)
	}
	var xs, ys []float64
	last := math.Inf(-1)
	for _, p := range s.Points {
		at := x(s.scale(p.X))
		fmt.Fprintf(b, "<line class=\"bar\" x1=\"%.1f\" x2=\"%.1[1]f\" y1=\"%.1f\" y2=\"%.1f\"/>", at, y(p.Y.Min), y(p.Y.Max))
		fmt.Fprintf(b, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"><title>%s</title></circle>\n", at, y(p.Y.Median),
			escape(fmt.Sprintf("%s %s: %s", thousands(p.X), s.Name, p.Y.text())))
		if at-last > 18 { // else labels would touch
			fmt.Fprintf(b, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">%s</text>\n", at, panelTop+panelHeight+20, tick(p.X))
			last = at
		}
		xs, ys = append(xs, s.scale(p.X)), append(ys, p.Y.Median)
	}
	t := fit(xs, ys)
	fmt.Fprintf(b, "<line class=\"fit\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n", x(from), x(to), y(t.at+t.slope*from), y(t.at+t.slope*to))
	fmt.Fprintf(b, "<text class=\"mid\" x=\"%d\" y=\"%d\">%s</text>\n", left+panelWidth/2, panelTop+panelHeight+44, escape(axis[s.Name]))
}

var axis = map[string]string{
	"records": "records of a run, logarithmic", "steps": "transforms in a row", "sources": "sources beside each other",
}

// ticks are so far apart that four to ten of them reach top, which is rounded up to one.
func ticks(top float64) (gap, rounded float64) {
	if top <= 0 {
		return 1, 1
	}
	gap = math.Pow(10, math.Floor(math.Log10(top)))
	for _, part := range []float64{1, 0.5, 0.2, 0.1} {
		if top/(gap*part) >= 4 {
			gap *= part
			break
		}
	}
	return gap, gap * math.Ceil(top/gap)
}

// tick is a number for which there is little room.
func tick(n int) string {
	switch {
	case n >= 1_000_000 && n%100_000 == 0:
		return fmt.Sprintf("%gM", float64(n)/1e6)
	case n >= 1000 && n%1000 == 0:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}

func escape(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
