package state_test

import (
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

func TestMarks(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	mark := func(pipeline, step string, id uint64, tries int) {
		commit(t, db, &state.Change{Pipeline: pipeline, Marks: []state.Mark{{Step: step, ID: id, Tries: tries}}})
	}
	mark("p", "sink.a.b", 1, 1)
	mark("p", "sink.a.b", 1, 2) // again
	mark("p", "sink.a.b", 2, 1)
	mark("p", "sink.a.b", 3, 1)
	mark("p", "sink.c.d", 1, 1)
	mark("p", "sink.e.f", 1, 1)
	mark("q", "sink.a.b", 1, 9)
	mark("p", "sink.a.b", 3, 0) // gone
	mark("p", "sink.unknown.step", 7, 0)
	commit(t, db, &state.Change{
		Pipeline: "p", DropSteps: []string{"sink.c.d", "sink.e.f"}, Marks: []state.Mark{{Step: "sink.e.f", ID: 2, Tries: 1}},
	})
	for range 2 {
		same(t, "marks", load(t, db, "p").Marks, []state.Mark{
			{Step: "sink.a.b", ID: 1, Tries: 2}, {Step: "sink.a.b", ID: 2, Tries: 1}, {Step: "sink.e.f", ID: 2, Tries: 1},
		})
		same(t, "marks of another", load(t, db, "q").Marks, []state.Mark{{Step: "sink.a.b", ID: 1, Tries: 9}})
		db = reopen(t, db, dir)
	}
}
