package protocol

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// A call lives by what its component does, not by the clock of its process.
func TestHangs(t *testing.T) {
	const limit = 300 * time.Millisecond
	tick := func(ctx context.Context, do func()) { // for three times the limit
		for range 30 {
			do()
			select {
			case <-time.After(limit / 10):
			case <-ctx.Done():
				return
			}
		}
	}
	var spool *sdk.Spool
	for name, c := range map[string]struct {
		work  func(ctx context.Context, call *sdk.Call) error
		hangs bool
	}{
		"does nothing": {func(ctx context.Context, _ *sdk.Call) error { <-ctx.Done(); return ctx.Err() }, true},
		"answers one row and hangs": {func(ctx context.Context, call *sdk.Call) error {
			call.Answer(0, sdk.Done(nil))
			<-ctx.Done()
			return ctx.Err()
		}, true},
		"asks the clock": {func(ctx context.Context, _ *sdk.Call) error {
			tick(ctx, func() { (&sdk.Clock{}).Now() })
			return ctx.Err()
		}, true},
		"answers row by row": {func(ctx context.Context, call *sdk.Call) error {
			i := 0
			tick(ctx, func() {
				if i < len(call.Rows) {
					call.Answer(i, sdk.Done(nil))
				}
				i++
			})
			return nil
		}, false},
		"says that it is alive": {func(ctx context.Context, call *sdk.Call) error {
			tick(ctx, func() { sdk.Alive(ctx) })
			return sdk.Reject("late", nil).Err()
		}, false},
		"sleeps": {func(ctx context.Context, call *sdk.Call) error {
			if err := (&sdk.Clock{}).Sleep(ctx, 3*limit); err != nil {
				return err
			}
			return sdk.Reject("late", nil).Err()
		}, false},
		"writes and reads a file": {func(ctx context.Context, call *sdk.Call) error {
			f := &call.Rows[1].Files[0]
			w, err := spool.Create(f)
			if err != nil {
				return err
			}
			tick(ctx, func() { w.Write([]byte("some")) })
			if err := w.Commit(); err != nil {
				return err
			}
			r, err := spool.Open(f)
			if err != nil {
				return err
			}
			defer r.Close()
			tick(ctx, func() { r.Read(make([]byte, 1)) })
			return sdk.Reject("late", nil).Err()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			comp := &component{work: c.work}
			if name == "writes and reads a file" {
				comp.open = func(env *sdk.Env) error { spool = env.Spool; return nil }
			}
			client := dial(t, newServer(comp.plugin(), io.Discard), Options{})
			h, err := client.Open(t.Context(), Step{Address: "sink.any.x", Kind: sdk.KindSink, Type: "any", Silence: limit}, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			list := mixed(40)
			for i := range list {
				list[i].Files = []sdk.File{{Name: "f", Ref: sdk.NewSecret(list[i].ID)}}
			}
			got, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(list)})
			var silent *SilentError
			if c.hangs != errors.As(err, &silent) || c.hangs && (silent.Limit != limit || silent.Step != "sink.any.x") {
				t.Errorf("%v", err)
			}
			if strings.HasPrefix(name, "answers") && got[0].Verdict != sdk.VerdictDone {
				t.Error("the answer before is lost")
			}
		})
	}
}

// A component that hangs is not kept alive by another call that moves files of its own, and nothing sleeps for ever.
func TestLife(t *testing.T) {
	mine := sdk.File{Name: "mine", Ref: sdk.NewSecret("1")}
	of := func(files ...sdk.File) *life { return &life{batch: FromRecords([]sdk.Record{{ID: "1", Files: files}})} }
	busy, stuck := of(sdk.File{Name: "mine"}, mine), of(sdk.File{Name: "mine", Ref: sdk.NewSecret("2")})
	var all lives
	defer all.begin(busy)()
	defer all.begin(stuck)()
	moved := all.watch(&sdk.File{Name: "mine", Ref: sdk.NewSecret("1"), MD5: "found meanwhile"})
	for range 100 {
		moved()
		if busy.lost(10) {
			t.Fatal("lost while it moved a file")
		}
		stuck.lost(10)
	}
	if !stuck.lost(10) {
		t.Error("kept alive by a file of another call")
	}
	all.watch(&sdk.File{Name: "made up"})()
	if stuck.lost(10) || busy.lost(10) {
		t.Error("a file that nobody knows is everybody's")
	}

	sleeper := of()
	sleeper.Asleep(1)
	n := 0
	for !sleeper.lost(10) {
		n++
	}
	if n != 10*patience-1 {
		t.Errorf("slept %d ticks, want %d", n, 10*patience-1)
	}
}
