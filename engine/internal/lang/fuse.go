package lang

import "github.com/weir-etl/weir/sdk"

// fuse finds the transforms that can answer for the rows of the step before them in its own process, before the engine has seen those: it
// would have nothing to decide in between. At most one is behind a step; the others are called.
func (l *loader) fuse() {
	taken := map[*Step]bool{}
	for _, d := range l.order {
		if len(d.Inputs) != 1 || !d.fusible() {
			continue
		}
		before := l.steps[d.Inputs[0]]
		if before == nil || taken[before.Step] || !before.Enabled || before.Isolate || before.Volatile || !l.oneProcess(before.Step, d.Step) {
			continue
		}
		taken[before.Step], d.Behind = true, before.Step
	}
}

// fusible reports whether a transform takes every row as it comes, with nothing said for it alone.
func (d *draft) fusible() bool {
	return d.Kind == sdk.KindTransform && d.component != nil && d.Enabled && !d.Isolate && !d.Volatile && !d.HasWhen && !d.HasAbout && !d.Ordered &&
		len(d.After) == 0 && len(d.rows.args) == 0 && d.component.Connection == "" && !d.component.MakesFiles &&
		d.component.MaxRecords == 0 && d.component.MaxBytes == 0 && d.component.MaxInFlight == 0 && d.Limit == (Limit{}) && d.Batch == (Batch{})
}

// oneProcess reports whether two steps may share a process: they are of one executable, and neither plugin wants to be alone.
func (l *loader) oneProcess(a, b *Step) bool {
	return a.Plugin == b.Plugin || l.shares[a.Plugin] && l.shares[b.Plugin]
}
