package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// BenchmarkListing: what it takes to look at a million owed rows that no engine works on, in large parcels and in small ones.
func BenchmarkListing(b *testing.B) {
	for _, size := range []int{500, 10} {
		b.Run(fmt.Sprintf("parcel=%d", size), func(b *testing.B) {
			i := backlog(b, 1_000_000, size)
			defer i.Close()
			var took [3]time.Duration
			for b.Loop() {
				for k, look := range []func() error{
					func() error { _, err := i.Status(); return err },
					func() error { _, err := i.Entries(Pick{}); return err },
					func() error { _, err := i.Entries(Pick{ID: "r-7"}); return err },
				} {
					began := time.Now()
					if err := look(); err != nil {
						b.Fatal(err)
					}
					took[k] += time.Since(began)
				}
			}
			b.ReportMetric(0, "ns/op")
			for k, name := range []string{"status-ms", "list-ms", "show-ms"} {
				b.ReportMetric(float64(took[k].Microseconds())/1000/float64(b.N), name)
			}
		})
	}
}

// backlog makes a state that owes rows, and opens it.
func backlog(tb testing.TB, rows, size int) *Idle {
	tb.Helper()
	o := mortalRun(tb, tb.TempDir(), `
weir { name = "backlog" }
source "count" "in" {
  to   = 1
  page = 1
}
sink "list" "out" { input = source.count.in }
`)
	o.Log, o.Failpoint = hclog.NewNullLogger(), func(string) {}
	db, err := openState(o)
	if err != nil {
		tb.Fatal(err)
	}
	records := make([]sdk.Record, size)
	ids, all := make([]uint64, size), make([]uint32, size)
	for i := range records {
		records[i], all[i] = sdk.Record{ID: fmt.Sprint("r-", i), Kind: "n/1", Body: []byte("{}")}, uint32(i)
	}
	p := parcel{at: protocol.FromRecords(records), receipts: make([]map[string]cell, size)}
	var changes []*state.Change
	for n := 0; n < rows; n += size {
		p.id = uint64(n/size + 1)
		stored, err := p.pack()
		if err != nil {
			tb.Fatal(err)
		}
		for i := range ids {
			ids[i] = uint64(n+i)*0x9e3779b97f4a7c15 + 1
		}
		owing := state.Owing{Step: "sink.list.out", Parcel: p.id, Rows: size, IDs: append([]uint64{}, ids...), Groups: []state.Group{{
			Rows: all, Door: "sink.list.out", Cause: flow.CauseDown, Code: "AWAY", Since: time.Unix(1_700_000_000, 0)}}}
		changes = append(changes, &state.Change{Pipeline: "backlog", Parcels: []state.Parcel{stored}, Owing: []state.Owing{owing}})
		if len(changes) == 1000 || n+size >= rows {
			if err := db.Commit(tb.Context(), changes...); err != nil {
				tb.Fatal(err)
			}
			changes = nil
		}
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
	i, err := OpenIdle(o, false)
	if err != nil {
		tb.Fatal(err)
	}
	return i
}
