package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// faller is a source whose process freezes once, or dies whenever it is read.
type faller struct {
	mortal
	Does string
}

func (f *faller) Open(_ context.Context, env *sdk.Env) error { return env.Decode(f) }

func (f *faller) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	switch _, err := os.Stat(f.Path); {
	case f.Does == "die":
		os.Exit(3)
	case f.Does == "freeze" && err != nil:
		os.WriteFile(f.Path, nil, 0o600)
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // it takes effect in a moment
	}
	if len(position) > 0 {
		return nil
	}
	return out.Emit(ctx, sdk.Page{Records: []sdk.Record{{ID: "n1", Seq: 1, Kind: "n/1", Body: []byte("1")}}, Position: []byte("1"), Drained: true})
}

// falling runs a pipeline with such a source.
func falling(t *testing.T, does string) (o Options, list string) {
	dir := t.TempDir()
	list = filepath.Join(dir, "list")
	return mortalRun(t, dir, fmt.Sprintf(`
weir { name = "falling" }
source "fall" "in" {
  path = %q
  does = %q
}
sink "list" "out" {
  input = source.fall.in
  path  = %q
}
`, filepath.Join(dir, "mark"), does, list)), list
}

// A process that gives no sign of life while its source is read is ended, and the source is read by another one.
func TestAFrozenSource(t *testing.T) {
	t.Parallel()
	o, list := falling(t, "freeze")
	o.silence = 6 * time.Second // a sign comes every five
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	if sum, err := Run(ctx, o); err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v: %+v", err, ctx.Err(), sum)
	}
	if seen := listed(t, list); seen["n1"] != 1 {
		t.Errorf("%v", seen)
	}
}

// A source whose process dies whenever it is read is one that cannot be read: that is told, and a run with an end ends.
func TestASourceThatKillsItsProcess(t *testing.T) {
	t.Parallel()
	o, _ := falling(t, "die")
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	_, err := Run(ctx, o)
	if ctx.Err() != nil || err == nil || !strings.Contains(err.Error(), "source.fall.in cannot be read") {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}
