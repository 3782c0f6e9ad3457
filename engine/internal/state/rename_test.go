package state_test

import (
	"errors"
	"testing"

	"github.com/weir-etl/weir/engine/internal/state"
)

func TestRename(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	c := fullChange()
	commit(t, db, c)
	for _, move := range [][2]string{
		{"sink.kintone.log", "sink.kintone.chat"},
		{"source.wecom_chat.chat", "source.wecom_chat.archive"},
		{"sink.never.was", "sink.kintone.chat"},   // unknown: nothing to do
		{"sink.kintone.log", "sink.kintone.chat"}, // again: nothing to do
	} {
		if err := db.Rename("archive", move[0], move[1]); err != nil {
			t.Errorf("rename %v: %v", move, err)
		}
	}
	if err := db.Rename("archive", "sink.oss.large", "sink.kintone.chat"); !errors.Is(err, state.ErrTaken) {
		t.Errorf("rename onto another step: %v; want ErrTaken", err)
	}
	if err := db.Rename("other", "sink.oss.large", "sink.x.y"); err != nil {
		t.Errorf("rename in another pipeline: %v", err)
	}
	c.Checkpoints[0].Source = "source.wecom_chat.archive"
	c.Owing[0].Step, c.Steps[0].Address = "sink.kintone.chat", "sink.kintone.chat"
	c.Marks[0].Step, c.Marks[1].Step = "sink.kintone.chat", "sink.kintone.chat"
	c.Owing[0].Groups[0].Door = "sink.kintone.chat"
	c.Owing[0].Groups[1].AboutAt = "sink.kintone.chat"
	want := state.Snapshot{Checkpoints: c.Checkpoints, Owing: c.Owing, Steps: c.Steps, Marks: c.Marks, LastEvent: 5, NextParcel: 3}
	for range 2 {
		same(t, "renamed", load(t, db, "archive"), want)
		db = reopen(t, db, dir)
	}
	// The old name is free again.
	commit(t, db, &state.Change{Pipeline: "archive", Steps: []state.StepState{{Address: "sink.kintone.log", ConfigHash: []byte{9}}}})
	db = reopen(t, db, dir)
	if n := len(load(t, db, "archive").Steps); n != 2 {
		t.Errorf("%d steps; want 2", n)
	}
}

// A mark alone keeps a name from being taken over.
func TestRenameOntoMark(t *testing.T) {
	db := open(t, t.TempDir())
	commit(t, db, &state.Change{Pipeline: "p", Marks: []state.Mark{
		{Step: "sink.a.old", ID: 1, Tries: 1}, {Step: "sink.a.new", ID: 1, Tries: 1},
	}})
	if err := db.Rename("p", "sink.a.old", "sink.a.new"); !errors.Is(err, state.ErrTaken) {
		t.Errorf("got %v; want ErrTaken", err)
	}
}

// A name that only stands in doors may be taken over: the doors mean the same step before and after.
func TestRenameOntoDoor(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	commit(t, db, &state.Change{Pipeline: "p", Owing: []state.Owing{
		{Step: "sink.a.old", Parcel: 1, Rows: 1, Groups: []state.Group{{Rows: []uint32{0}, Door: "sink.a.old", AboutAt: "sink.a.new", About: 7}}},
	}})
	if err := db.Rename("p", "sink.a.old", "sink.a.new"); err != nil {
		t.Fatal(err)
	}
	commit(t, db, &state.Change{Pipeline: "p", Owing: []state.Owing{{Step: "sink.a.new", Parcel: 2, Rows: 1}}})
	want := []state.Owing{
		{Step: "sink.a.new", Parcel: 1, Rows: 1, Groups: []state.Group{{Rows: []uint32{0}, Door: "sink.a.new", AboutAt: "sink.a.new", About: 7}}},
		{Step: "sink.a.new", Parcel: 2, Rows: 1},
	}
	for range 2 {
		same(t, "owing", load(t, db, "p").Owing, want)
		db = reopen(t, db, dir)
	}
}
