package state_test

import (
	"crypto/rand"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

var wholeYear = flag.Bool("year", false, "TestAYear lives through a year as it is, and not a sixteenth of it")

// life is what a busy pipeline of the main job does to its state: pages every five minutes whose rows are delivered, a file that is late
// now and then, an outage every week in which everything is owed by the batch and drained, events, marks. It keeps the books as an engine
// does: parcels that nothing owes any more are dropped with the last entry.
type life struct {
	t      *testing.T
	db     *state.DB
	noise  []byte
	n      uint64 // pages so far
	parcel uint64
	event  uint64
	owed   []uint64 // of the outage
	late   []uint64

	commits int // since the last Compact
}

const pagesADay = 24 * 12

func (l *life) commit(c *state.Change) {
	c.Pipeline = "archive"
	l.commits++
	if err := l.db.Commit(l.t.Context(), c); err != nil {
		l.t.Fatal(err)
	}
}

func (l *life) checkpoint(c *state.Change) {
	c.Checkpoints = []state.Checkpoint{{Source: "source.wecom_chat.chat", Position: fmt.Append(nil, l.n*40), Stats: l.noise[:300]}}
}

// own stores a parcel of rows rows that a step owes.
func (l *life) own(c *state.Change, step string, rows, body int) uint64 {
	l.parcel++
	c.Parcels = append(c.Parcels, state.Parcel{ID: l.parcel, Rest: l.noise[:60*rows], Body: l.noise[:body*rows], Opaque: rows == 350})
	c.Owing = append(c.Owing, state.Owing{Step: step, Parcel: l.parcel, Rows: rows, IDs: ids(rows),
		Groups: []state.Group{{Rows: everyRow(rows), Door: step, Cause: "service down", Since: since}}})
	return l.parcel
}

func (l *life) drain(c *state.Change, step string, parcel uint64) {
	c.DropOwing = append(c.DropOwing, state.OwingKey{Step: step, Parcel: parcel})
	c.DropParcels = append(c.DropParcels, parcel)
}

// day lives one day; every says which of its pages are lived.
func (l *life) day(d, every int) {
	for page := range pagesADay {
		if page%every != 0 {
			continue
		}
		l.n++
		c := &state.Change{}
		l.checkpoint(c)
		outage := d%7 == 3 && page < pagesADay/4 // six hours a week
		if outage {
			l.owed = append(l.owed, l.own(c, "sink.kintone.log", 350, 1500))
		}
		if l.n%3 == 0 { // a late file: owed, tried again, delivered
			l.late = append(l.late, l.own(c, "sink.oss.large", 5, 1500))
			l.event++
			c.Events = append(c.Events, state.Event{Number: l.event, Data: l.noise[:400]})
			c.Marks = append(c.Marks, state.Mark{Step: "sink.mail.ops", ID: l.n, Tries: 1})
		}
		l.commit(c)
		if l.n%3 == 1 && l.n > 1 {
			c := &state.Change{TrimEvents: l.event, Marks: []state.Mark{{Step: "sink.mail.ops", ID: l.n - 1}}}
			for _, parcel := range l.late {
				l.drain(c, "sink.oss.large", parcel)
			}
			l.late = nil
			l.commit(c)
		}
		if !outage && len(l.owed) > 0 {
			n := min(20, len(l.owed))
			for _, parcel := range l.owed[:n] {
				c := &state.Change{}
				l.drain(c, "sink.kintone.log", parcel)
				l.commit(c)
			}
			l.owed = l.owed[n:]
		}
	}
}

// TestAYear lives through a year, and looks at the size every day. What is lived is a sixteenth: as many bytes less, and files of the value
// log as much smaller, so that they fill and are given back as often. With -year it is all of it: 100,000 messages a day.
func TestAYear(t *testing.T) {
	for _, test := range []struct {
		name string
		live func(l *life, day, every int)
	}{
		{"busy", (*life).day},
		{"idle", func(l *life, day, every int) { // nothing comes: only the checkpoint is written again, with the time of the last look
			for range pagesADay / every {
				c := &state.Change{}
				l.checkpoint(c)
				l.commit(c)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			every, o := 16, state.SmallLogs(state.Options{Key: testKey}, 4<<20)
			dir := memory(t)
			if *wholeYear {
				every, o, dir = 1, state.Options{Key: testKey}, t.TempDir()
			}
			db, err := state.Open(dir, o)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			l := &life{t: t, db: db, noise: make([]byte, 600_000)}
			rand.Read(l.noise)
			start := time.Now()
			sizes := make([]int64, 12) // the largest of each month, in KiB, as it is before anything is given back
			for day := range 360 {
				test.live(l, day, every)
				n, err := l.db.Size()
				if err != nil {
					t.Fatal(err)
				}
				sizes[day/30] = max(sizes[day/30], n>>10)
				if l.commits < 500 { // as Maintain does, whose times are real ones
					continue
				}
				l.commits = 0
				if err := l.db.Compact(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			info, err := l.db.Info()
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d commits in %v; largest KiB of each month: %v", info.Commits, time.Since(start).Round(time.Second), sizes)
			if last := sizes[len(sizes)-1]; float64(last) > 1.2*float64(sizes[0]) {
				t.Errorf("%d KiB at most in the last month, %d in the first: more than 1.2 times", last, sizes[0])
			}
			if len(load(t, l.db, "archive").Owing) > 60 {
				t.Error("what was drained is still there")
			}
		})
	}
}
