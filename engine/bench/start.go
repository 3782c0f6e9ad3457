package bench

import (
	"context"
	"fmt"
)

// Start is how long a pipeline takes to do anything.
type Start struct {
	Plugins   int    `json:"plugin_processes"`
	Processes int    `json:"processes"`   // seen, the engine among them; 0: the system does not tell
	First     Spread `json:"first_ms"`    // to the first record in the file
	Whole     Spread `json:"whole_ms"`    // start, one record, end
	CPU       Spread `json:"cpu_ms"`      // of that, all processes
	Validate  Spread `json:"validate_ms"` // weir validate, from start to end
	Private   Spread `json:"private_mib"` // at the peak
}

func (b *bench) start(ctx context.Context, r *Report) error {
	shapes := []shape{{records: 1, sources: 1, steps: 1, apart: true}, {records: 1, sources: 1, steps: 1, apart: true, idle: 3}}
	var variants []variant
	for _, s := range shapes {
		variants = append(variants,
			variant{fmt.Sprintf("one record with %d plugin processes", 3+s.idle), func(ctx context.Context) (figures, error) { return b.weir(ctx, s) }},
			variant{fmt.Sprintf("weir validate, %d plugin processes", 3+s.idle), func(ctx context.Context) (figures, error) { return b.validate(ctx, s) }})
	}
	all, err := b.alternate(ctx, variants)
	if err != nil {
		return err
	}
	for i, s := range shapes {
		runs, checks := all[2*i], all[2*i+1]
		one := Start{
			Plugins:  3 + s.idle,
			First:    spread(runs, func(f figures) float64 { return millis(f.first) }),
			Whole:    spread(runs, func(f figures) float64 { return millis(f.wall) }),
			CPU:      spread(runs, func(f figures) float64 { return millis(f.cpu) }),
			Validate: spread(checks, func(f figures) float64 { return millis(f.wall) }),
			Private:  spread(runs, func(f figures) float64 { return f.private }),
		}
		for _, f := range runs {
			one.Processes = max(one.Processes, f.processes)
		}
		r.Start = append(r.Start, one)
	}
	return nil
}
