package sdktest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// part is a component whose behaviour a test bends.
type part struct {
	open  func(env *sdk.Env) error
	read  func(ctx context.Context, position []byte, out sdk.Emitter) error
	work  func(ctx context.Context, call *sdk.Call) error
	close func() error
}

func (p *part) Open(_ context.Context, env *sdk.Env) error {
	if p.open == nil {
		return nil
	}
	return p.open(env)
}
func (p *part) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	return p.read(ctx, position, out)
}
func (p *part) Apply(ctx context.Context, call *sdk.Call) error { return p.work(ctx, call) }
func (p *part) Write(ctx context.Context, call *sdk.Call) error { return p.work(ctx, call) }
func (p *part) Close(context.Context) error {
	if p.close == nil {
		return nil
	}
	return p.close()
}

func plugin(kind sdk.ComponentKind, p *part) sdk.Plugin {
	c := sdk.Component{
		Kind: kind, Type: "t", Doc: "A test.",
		Args:         []sdk.Arg{{Name: "token", Type: sdk.String, Secret: true, Doc: "Token."}},
		NewSource:    func() sdk.Source { return p },
		NewTransform: func() sdk.Transform { return p },
		NewSink:      func() sdk.Sink { return p },
	}
	switch kind {
	case sdk.KindSource:
		c.Emits = []string{"n/1"}
	case sdk.KindSink:
		c.Receipt = []sdk.Field{{Name: "record_id", Type: sdk.String}}
	}
	return sdk.Plugin{Name: "test", Version: "1.0.0", Components: []sdk.Component{c}}
}

// counter is a source of ten records; its position is how many were read.
func counter(ctx context.Context, position []byte, out sdk.Emitter) error {
	n, _ := strconv.Atoi(string(position))
	for ; n < 10; n += 2 {
		p := sdk.Page{Position: strconv.AppendInt(nil, int64(n+2), 10), Records: []sdk.Record{{ID: fmt.Sprint(n), Kind: "n/1"}, {ID: fmt.Sprint(n + 1), Kind: "n/1"}}}
		if err := out.Emit(ctx, p); err != nil {
			return err
		}
	}
	if err := out.Emit(ctx, sdk.Page{Drained: true}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// each answers every row alike.
func each(o func(r *sdk.Row) sdk.Outcome) func(context.Context, *sdk.Call) error {
	return func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			call.Answer(i, o(&call.Rows[i]))
		}
		return nil
	}
}

func TestGoodComponents(t *testing.T) {
	t.Run("source", func(t *testing.T) {
		Run(t, plugin(sdk.KindSource, &part{read: counter}), Case{Kind: sdk.KindSource, Type: "t"})
	})
	t.Run("transform", func(t *testing.T) {
		p := &part{work: each(func(r *sdk.Row) sdk.Outcome { r.SetMeta("seen", "1"); return sdk.Emit(r.Record) })}
		Run(t, plugin(sdk.KindTransform, p), Case{Kind: sdk.KindTransform, Type: "t", Records: Records("n/1", 20)})
	})
	t.Run("sink", func(t *testing.T) {
		var mu sync.Mutex
		held := map[string]int{}
		var spool *sdk.Spool
		p := &part{open: func(env *sdk.Env) error { spool = env.Spool; return nil }}
		p.work = each(func(r *sdk.Row) sdk.Outcome {
			var args struct{ N int }
			if err := r.Decode(&args); err != nil || args.N != len(r.ID) {
				return sdk.Reject("args", err)
			}
			size := 0
			for k := range r.Files {
				f, err := spool.Open(&r.Files[k])
				if err != nil {
					return sdk.Retry(0, "spool", err)
				}
				size += int(f.Size())
				f.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			held[r.ID] = size
			return sdk.Done(&sdk.Receipt{Fields: map[string]any{"record_id": r.ID}})
		})
		list := Records("n/1", 20)
		list[3].Files = []sdk.File{{Name: "a.png", Size: -1, SizeClaimed: -1}}
		Run(t, plugin(sdk.KindSink, p), Case{
			Kind: sdk.KindSink, Type: "t", Args: map[string]any{"token": "hush-hush"}, Records: list,
			RecordArgs: func(r sdk.Record) any { return map[string]int{"n": len(r.ID)} },
			Bytes:      map[string][]byte{"a.png": []byte("12345")},
			Check: func(t testing.TB) {
				if len(held) != 20 || held["record-3"] != 5 {
					t.Errorf("held %v", held)
				}
			},
		})
	})
}

// listener is a testing.TB that keeps errors to itself.
type listener struct {
	testing.TB
	cleanup []func()
	errs    []string
}

func (l *listener) Cleanup(f func())  { l.cleanup = append(l.cleanup, f) }
func (l *listener) Error(args ...any) { l.errs = append(l.errs, fmt.Sprint(args...)) }
func (l *listener) Errorf(format string, a ...any) {
	l.errs = append(l.errs, fmt.Sprintf(format, a...))
}

// verdict runs one check and says what it found.
func verdict(t *testing.T, kind sdk.ComponentKind, p *part, k func(*bench) error) string {
	l := &listener{TB: t}
	b, err := open(l, plugin(kind, p), Case{Kind: kind, Type: "t", Args: map[string]any{"token": "hush-hush"}, Records: Records("n/1", 4)})
	if err == nil {
		err = k(b)
	}
	if err != nil {
		l.Error(err)
	}
	for i := len(l.cleanup) - 1; i >= 0; i-- {
		l.cleanup[i]()
	}
	return strings.Join(l.errs, "\n")
}

// Each bad component must be found out.
func TestBadComponents(t *testing.T) {
	done := each(func(*sdk.Row) sdk.Outcome { return sdk.Done(nil) })
	seen := map[string]bool{}
	calls := 0
	for name, c := range map[string]struct {
		kind sdk.ComponentKind
		part *part
		run  func(*bench) error
		want string
	}{
		"forgets a row": {sdk.KindSink, &part{work: func(_ context.Context, call *sdk.Call) error {
			call.Answer(0, sdk.Done(nil))
			return nil
		}}, answered, "3 of 4 rows were not answered"},
		"refuses good records": {sdk.KindSink, &part{work: each(func(*sdk.Row) sdk.Outcome { return sdk.Reject("no", nil) })}, answered, "was not accepted: no"},
		"tells a secret":       {sdk.KindSink, &part{work: each(func(*sdk.Row) sdk.Outcome { return sdk.Passed("hush-hush") })}, answered, "the outcome of row 0 holds the value of a secret"},
		"logs a secret": {sdk.KindSink, &part{work: done, open: func(env *sdk.Env) error {
			env.Log.Debug("args", "raw", string(env.Args))
			return nil
		}}, answered, "the log holds the value of a secret"},
		"fails with a secret": {sdk.KindSink, &part{open: func(env *sdk.Env) error { return errors.New(string(env.Args)) }}, answered, "an error holds the value of a secret"},
		"undeclared receipt": {sdk.KindSink, &part{work: each(func(*sdk.Row) sdk.Outcome {
			return sdk.Done(&sdk.Receipt{Fields: map[string]any{"x": 1}})
		})}, answered, `receipt field "x" is not declared`},
		"refuses a second time": {sdk.KindSink, &part{work: each(func(r *sdk.Row) sdk.Outcome {
			if seen[r.ID] {
				return sdk.Reject("duplicate", nil)
			}
			seen[r.ID] = true
			return sdk.Done(nil)
		})}, again, "second time: row 0"},
		"new ids each time": {sdk.KindTransform, &part{work: each(func(r *sdk.Row) sdk.Outcome {
			calls++
			r.ID = fmt.Sprint(calls)
			return sdk.Emit(r.Record)
		})}, again, "ids must repeat"},
		"another kind": {sdk.KindTransform, &part{work: each(func(r *sdk.Row) sdk.Outcome { r.Kind = "x/1"; return sdk.Emit(r.Record) })}, answered, `kind "x/1" came out`},
		"puts off for ever": {sdk.KindTransform, &part{work: each(func(r *sdk.Row) sdk.Outcome {
			return sdk.Emit(r.Record).AskAgain(time.Minute, time.Time{})
		})}, answered, "would go on for ever"},
		"never final": {sdk.KindTransform, &part{work: each(func(r *sdk.Row) sdk.Outcome { return sdk.Retry(time.Minute, "later", nil) })}, final, "put off again: later"},
		"dies of big bodies": {sdk.KindSink, &part{work: func(_ context.Context, call *sdk.Call) error {
			if len(call.Rows[0].Body) > 1<<20 {
				return nil
			}
			return done(nil, call)
		}}, big, "1 of 1 rows were not answered"},
		"fails to close":    {sdk.KindSink, &part{work: done, close: func() error { return errors.New("full") }}, answered, "close: full"},
		"forgets its place": {sdk.KindSource, &part{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error { return counter(ctx, nil, out) }}, readsOn, "from the position behind page 1"},
		"repeats itself":    {sdk.KindSource, &part{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error { counter2(ctx, out); return nil }}, readsOn, "two records have one id"},
		"an undeclared kind": {sdk.KindSource, &part{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error {
			return out.Emit(ctx, sdk.Page{Records: Records("x/1", 1)})
		}}, readsOn, `kind "x/1"`},
		"no position": {sdk.KindSource, &part{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error {
			return out.Emit(ctx, sdk.Page{Records: Records("n/1", 1)})
		}}, readsOn, "no position behind them"},
	} {
		if got := verdict(t, c.kind, c.part, c.run); !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}

func counter2(ctx context.Context, out sdk.Emitter) {
	for range 2 {
		out.Emit(ctx, sdk.Page{Position: []byte("1"), Records: []sdk.Record{{ID: "1", Kind: "n/1"}}})
	}
}

func TestDeclarations(t *testing.T) {
	p := plugin(sdk.KindSource, &part{})
	p.Components[0].Doc, p.Components[0].Emits, p.Components[0].Probes = "", nil, true
	p.Components[0].Args = []sdk.Arg{{Name: "a", Type: sdk.String, Doc: "A."}, {Name: "a", PerRecord: true}, {Name: "b"}, {Name: "input", Type: sdk.Any, Doc: "x"},
		{Name: "c", Doc: "C.", Type: sdk.String, Required: true, Default: "x"}, {Name: "d", Doc: "D.", Block: []sdk.Arg{{Name: "e", Doc: "E."}}}}
	b, err := open(t, p, Case{Kind: sdk.KindSource, Type: "t"})
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(declaration(b))
	for _, want := range []string{"has no Doc", "must say which kinds", "Probes are for sinks", "a is declared twice", "argument b has no Doc", "input belongs to the engine", "c is required and has a default", "d.e has no Type"} {
		if !strings.Contains(got, want) {
			t.Errorf("declaration lacks %q:\n%s", want, got)
		}
	}
}
