package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// halfFetch makes a file for every record. The first process of it dies when it has answered for one.
type halfFetch struct {
	mortal
	spool *sdk.Spool
}

func (h *halfFetch) Open(ctx context.Context, env *sdk.Env) error {
	h.spool = env.Spool
	return h.mortal.Open(ctx, env)
}

func (h *halfFetch) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		r.Files = []sdk.File{{Name: "f"}}
		w, err := h.spool.Create(&r.Files[0])
		if err != nil {
			return err
		}
		fmt.Fprint(w, "bytes of ", r.ID)
		if err := w.Commit(); err != nil {
			return err
		}
		call.Answer(i, sdk.Emit(r))
		if f, err := os.OpenFile(h.Path, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
			f.Close()
			time.Sleep(200 * time.Millisecond) // the answer is on its way
			os.Exit(3)
		}
	}
	return nil
}

// opener lists what arrives, and whether its bytes were there.
type opener struct {
	mortal
	spool *sdk.Spool
}

func (o *opener) Open(ctx context.Context, env *sdk.Env) error {
	o.spool = env.Spool
	return o.mortal.Open(ctx, env)
}

func (o *opener) Write(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := &call.Rows[i]
		f, err := o.spool.Open(&r.Files[0])
		if err == nil {
			f.Close()
		}
		if err := note(o.Path, "%s=%t", r.ID, err == nil); err != nil {
			return err
		}
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}

// What a process had answered before it died stands, with the files of it, also where the engine comes to it only when the next process runs.
func TestFilesOfALateAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	o := mortalRun(t, dir, fmt.Sprintf(`
weir { name = "half" }
source "count" "in" {
  to   = 2
  page = 2
}
transform "half_fetch" "on" {
  input = source.count.in
  path  = %q
}
sink "opens" "out" {
  input = transform.half_fetch.on
  path  = %q
  files = record.files
}
`, filepath.Join(dir, "mark"), list))
	var once sync.Once
	o.Failpoint = func(name string) {
		if name == "transform.half_fetch.on.answer" {
			once.Do(func() { time.Sleep(2 * time.Second) })
		}
	}
	finish(t, o)
	seen := listed(t, list)
	for _, id := range []string{"n1=true", "n2=true"} {
		if seen[id] != 1 {
			t.Errorf("%v", seen)
			break
		}
	}
}
