package protocol

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// dial serves srv in this process and speaks to it through real gRPC.
func dial(t testing.TB, srv pb.PluginServer, o Options) *Client {
	t.Helper()
	o.Plugin = "test"
	return NewClient(connect(t, func(g *grpc.Server) { pb.RegisterPluginServer(g, srv) }), o)
}

// connect is the connection to a server in memory.
func connect(t testing.TB, register func(g *grpc.Server), more ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	g := grpc.NewServer(ServerOptions()...)
	register(g)
	go g.Serve(lis)
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("passthrough:///plugin", append(more, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// component is whatever a test makes of it.
type component struct {
	open  func(*sdk.Env) error
	read  func(ctx context.Context, position []byte, out sdk.Emitter) error
	work  func(ctx context.Context, call *sdk.Call) error
	close func() error
}

func (c *component) Open(_ context.Context, env *sdk.Env) error {
	if c.open == nil {
		return nil
	}
	return c.open(env)
}
func (c *component) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	return c.read(ctx, position, out)
}
func (c *component) Apply(ctx context.Context, call *sdk.Call) error { return c.work(ctx, call) }
func (c *component) Write(ctx context.Context, call *sdk.Call) error { return c.work(ctx, call) }
func (c *component) Close(context.Context) error {
	if c.close == nil {
		return nil
	}
	return c.close()
}

func (c *component) plugin() sdk.Plugin {
	return sdk.Plugin{Name: "test", Version: "1.0.0", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "any", NewSource: func() sdk.Source { return c }},
		{Kind: sdk.KindTransform, Type: "any", NewTransform: func() sdk.Transform { return c }},
		{Kind: sdk.KindSink, Type: "any", NewSink: func() sdk.Sink { return c }},
	}}
}

// opened serves c and opens it as kind.
func opened(t testing.TB, c *component, kind sdk.ComponentKind, o Options) (*Client, uint64) {
	t.Helper()
	client := dial(t, newServer(c.plugin(), io.Discard), o)
	h, err := client.Open(t.Context(), Step{Address: string(kind) + ".any.x", Kind: kind, Type: "any"}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return client, h
}

func TestOpen(t *testing.T) {
	var log bytes.Buffer
	c := &component{open: func(env *sdk.Env) error {
		env.Log.WithGroup("g").Warn("hello", "secret", sdk.NewSecret("no"), "n", 1)
		env.Log.Debug("too fine")
		var args struct{ A int }
		if err := env.Decode(&args); err != nil {
			return err
		}
		if args.A == 2 {
			return sdk.DownAlarm("no_rights", errors.New("app 7")).Err()
		}
		if args.A == 3 {
			panic("open")
		}
		return nil
	}}
	client := dial(t, newServer(c.plugin(), &log), Options{})
	open := func(kind sdk.ComponentKind, typ, args string) error {
		_, err := client.Open(t.Context(), Step{Address: "sink.any.x", Kind: kind, Type: typ, Args: json.RawMessage(args)}, t.TempDir())
		return err
	}
	if err := open(sdk.KindSink, "any", `{"a":1}`); err != nil {
		t.Errorf("open: %v", err)
	}
	var line map[string]any
	if err := json.Unmarshal(log.Bytes(), &line); err != nil {
		t.Fatalf("log %q: %v", log.String(), err)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", fmt.Sprint(line["@timestamp"])); err != nil {
		t.Error(err)
	}
	delete(line, "@timestamp")
	if d := cmp.Diff(line, map[string]any{"@level": "warn", "@message": "hello", "step": "sink.any.x", "g": map[string]any{"secret": "(secret)", "n": 1.0}}); d != "" {
		t.Errorf("log line: got - want +\n%s", d)
	}

	var own *sdk.Error
	if err := open(sdk.KindSink, "any", `{"a":2}`); !errors.As(err, &own) || !own.Outcome.Alarm || own.Outcome.Code != "no_rights" {
		t.Errorf("open that reports trouble: %v", err)
	}
	if err := open(sdk.KindSink, "any", `{"b":2}`); !errors.As(err, &own) {
		t.Errorf("open with an unknown argument: %v", err)
	}
	if err := open(sdk.KindSink, "any", `{"a":3}`); !errors.As(err, &own) || own.Outcome.Code != "panic" {
		t.Errorf("open that panics: %v", err)
	}
	var broken *ProtocolError
	if err := open(sdk.KindSink, "none", `{}`); !errors.As(err, &broken) {
		t.Errorf("open of an unknown type: %v", err)
	}
}

func TestReadWithCredit(t *testing.T) {
	var granted atomic.Int32 // pages that there was credit for
	c := &component{read: func(ctx context.Context, position []byte, out sdk.Emitter) error {
		if string(position) == "down" {
			return sdk.Down("away", errors.New("503")).Err()
		}
		out.Emit(ctx, sdk.Page{Drained: true, Events: []sdk.Event{{Code: "RATE_LIMITED", Severity: sdk.Warning, Attrs: map[string]string{"a": "b"}}}})
		for i := range 3 {
			if err := out.Emit(ctx, sdk.Page{Records: mixed(10), Position: fmt.Append(position, i)}); err != nil {
				return err
			}
			if granted.Load() <= int32(i) {
				return errors.New("a page went out without credit")
			}
		}
		return nil
	}}
	client, h := opened(t, c, sdk.KindSource, Options{})
	r, err := client.Read(t.Context(), h, []byte("from"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Next()
	if err != nil || !p.Drained || p.Batch != nil || len(p.Events) != 1 || p.Events[0].Attrs["a"] != "b" {
		t.Fatalf("page without records: %+v, %v", p, err)
	}
	for i := range 3 {
		granted.Add(1)
		r.Credit(1, 1)
		p, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(p.Position), fmt.Sprint("from", i); got != want {
			t.Errorf("position %q, want %q", got, want)
		}
		same(t, "page", p.Batch, mixed(10))
		r.Ack(p.Number)
		r.Credit(9, int64(p.Batch.BodyBytes())-1) // fills what the page overdrew; only the next credit makes room
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("after the last page: %v, want EOF", err)
	}

	r, err = client.Read(t.Context(), h, []byte("down"))
	if err != nil {
		t.Fatal(err)
	}
	var own *sdk.Error
	if _, err := r.Next(); !errors.As(err, &own) || !own.Outcome.Down {
		t.Errorf("a read that fails: %v", err)
	}
	if err := client.Close(t.Context(), h); err != nil {
		t.Error(err)
	}
}

func TestReadEndsWithItsContext(t *testing.T) {
	running := make(chan bool, 2)
	c := &component{read: func(ctx context.Context, _ []byte, out sdk.Emitter) error {
		running <- true
		defer func() { running <- false }()
		return out.Emit(ctx, sdk.Page{Records: mixed(1)}) // no credit: blocks
	}}
	client, h := opened(t, c, sdk.KindSource, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := client.Read(ctx, h, nil)
	if err != nil {
		t.Fatal(err)
	}
	<-running
	cancel()
	if _, err := r.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("next: %v", err)
	}
	if <-running {
		t.Error("two reads at once")
	}
}

// work sends one call and collects the outcome of each row and all outputs.
func work(t testing.TB, client *Client, h uint64, w Work) (rows []sdk.Outcome, outputs []sdk.Record, parent []uint32, answers int, err error) {
	t.Helper()
	if w.Now.IsZero() {
		w.Now = time.Unix(1, 0)
	}
	rows = make([]sdk.Outcome, w.Batch.Rows())
	err = client.Work(t.Context(), h, w, func(a Answer) error {
		answers++
		for _, r := range a.Runs {
			for i := range r.Count {
				o := r.Outcome
				o.Receipt, _ = ParseReceipt(r.Receipt)
				rows[r.First+i] = o
			}
		}
		if a.Outputs != nil {
			outputs = append(outputs, records(a.Outputs)...)
			parent = append(parent, a.Parent...)
		}
		return nil
	})
	return
}

func TestTransform(t *testing.T) {
	list := mixed(6)
	c := &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			r := &call.Rows[i]
			switch i {
			case 0: // as it came
				call.Answer(i, sdk.Emit(r.Record))
			case 1: // changed in place, as authors will do
				r.SetMeta("new", "1")
				r.Key = "other"
				r.Body = []byte("replaced")
				r.Files[0].Outcome = sdk.FileExpired
				call.Answer(i, sdk.Emit(r.Record).AskAgain(time.Minute, time.Unix(99, 0)))
			case 2:
				call.Answer(i, sdk.Drop())
			case 3: // split, with and without an id
				a, b := r.Record, r.Record
				a.ID, b.ID = "", "own"
				b.Meta, b.Files = nil, nil
				call.Answer(i, sdk.Emit(a, b))
			case 4:
				r.SetMeta("lang", "")
				call.Answer(i, sdk.Emit(r.Record))
			case 5:
				call.Answer(i, sdk.WaitFor("key version 9", "unknown_key").With(sdk.Event{Code: "UNKNOWN_KEY", Severity: sdk.Critical}))
			}
		}
		return nil
	}}
	client, h := opened(t, c, sdk.KindTransform, Options{})
	got, outputs, parent, answers, err := work(t, client, h, Work{Batch: FromRecords(list)})
	if err != nil {
		t.Fatal(err)
	}
	if answers != 1 {
		t.Errorf("a quick call came in %d answers", answers)
	}
	want := mixed(6)
	want[1].SetMeta("new", "1")
	want[1].Key, want[1].Body = "other", []byte("replaced")
	want[1].Files[0].Outcome = sdk.FileExpired
	a, b := want[3], want[3]
	a.ID, b.ID, b.Meta, b.Files = a.ID+"/1", "own", nil, nil
	want[4].SetMeta("lang", "")
	if d := cmp.Diff(outputs, []sdk.Record{want[0], want[1], a, b, want[4]}, secrets()); d != "" {
		t.Errorf("outputs: got - want +\n%s", d)
	}
	if d := cmp.Diff(parent, []uint32{0, 1, 3, 3, 4}); d != "" {
		t.Errorf("parents: got - want +\n%s", d)
	}
	done := sdk.Outcome{Verdict: sdk.VerdictDone}
	again := done.AskAgain(time.Minute, time.Unix(99, 0).UTC())
	waits := sdk.WaitFor("key version 9", "unknown_key").With(sdk.Event{Code: "UNKNOWN_KEY", Severity: sdk.Critical})
	if d := cmp.Diff(got, []sdk.Outcome{done, again, done, done, done, waits}); d != "" {
		t.Errorf("outcomes: got - want +\n%s", d)
	}
}

func TestUnchangedColumnsStayHome(t *testing.T) {
	b := FromRecords(mixed(500))
	var outputs []output
	list := records(b)
	for i := range list {
		list[i].SetMeta("md5", "x")
		outputs = append(outputs, output{parent: i, Record: &list[i]})
	}
	w, _ := writeOutputs(b, outputs)
	if w.Id != nil || w.Key != nil || w.Kind != nil || w.Seq != nil || w.Time != nil || w.Body != nil || w.Files != nil || len(w.Meta) != 1 {
		t.Errorf("more than meta.md5 travels: %d bytes", len(w.String()))
	}
}

func TestSink(t *testing.T) {
	now := time.Unix(77, 5).UTC()
	fields := map[string]any{"record_id": "7"}
	c := &component{work: func(_ context.Context, call *sdk.Call) error {
		if !call.Now.Equal(now) || !call.Probe {
			return sdk.Reject("call", nil).Err()
		}
		var args struct{ App int }
		for i := range call.Rows {
			r := &call.Rows[i]
			if err := r.Decode(&args); err != nil || args.App != i+1 || r.Final != (i == 2) || r.Attempt != i%2 {
				call.Answer(i, sdk.Reject("row", fmt.Errorf("%+v %d %v", args, r.Attempt, err)))
			}
		}
		call.Answer(0, sdk.Done(&sdk.Receipt{URLs: []string{"https://x/1"}, Files: []int{1}, Fields: fields}))
		call.Answer(1, sdk.Passed("orphan"))
		call.Answer(2, sdk.Done(&sdk.Receipt{Fields: map[string]any{"bad": func() {}}}))
		return sdk.Down("GAIA_TO04", errors.New("not \xff utf-8")).Err()
	}}
	client, h := opened(t, c, sdk.KindSink, Options{})
	args := []json.RawMessage{[]byte(`{"app":1}`), []byte(`{"app":2}`), []byte(`{"app":3}`), []byte(`{"app":4}`)}
	got, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(4)), Args: args, Attempts: []uint32{0, 1, 0, 1}, Final: []uint32{2}, Now: now, Probe: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []sdk.Outcome{
		{Verdict: sdk.VerdictDone, Receipt: &sdk.Receipt{URLs: []string{"https://x/1"}, Files: []int{1}, Fields: fields}},
		sdk.Passed("orphan"),
		{Verdict: sdk.VerdictReject, Code: "receipt", Detail: "json: unsupported type: func()"},
		sdk.Down("GAIA_TO04", errors.New("not \uFFFD utf-8")),
	}
	if d := cmp.Diff(got, want); d != "" {
		t.Errorf("got - want +\n%s", d)
	}
}

func TestSlowAnswersDoNotWait(t *testing.T) {
	seen := make(chan bool)
	c := &component{work: func(ctx context.Context, call *sdk.Call) error {
		call.Answer(1, sdk.Done(nil))
		<-seen // only when the engine has the first answer
		call.Answer(0, sdk.Done(nil))
		return nil
	}}
	client, h := opened(t, c, sdk.KindSink, Options{})
	n := 0
	err := client.Work(t.Context(), h, Work{Batch: FromRecords(mixed(2))}, func(a Answer) error {
		if n++; n == 1 {
			close(seen)
		}
		return nil
	})
	if err != nil || n != 2 {
		t.Errorf("%d answers, %v", n, err)
	}
}

// A panic ends the call, not the process. What was answered before it stands.
func TestPanicEndsTheCall(t *testing.T) {
	for name, work1 := range map[string]func(context.Context, *sdk.Call) error{
		"panic": func(_ context.Context, call *sdk.Call) error { call.Answer(0, sdk.Done(nil)); panic("ouch") },
		"twice": func(_ context.Context, call *sdk.Call) error {
			call.Answer(0, sdk.Done(nil))
			call.Answer(0, sdk.Done(nil))
			return nil
		},
	} {
		client, h := opened(t, &component{work: work1}, sdk.KindSink, Options{})
		for range 2 {
			got, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(3))})
			var broken *BrokenError
			if !errors.As(err, &broken) || broken.Step != "sink.any.x" || strings.Contains(err.Error(), "ouch") {
				t.Errorf("%s: %v", name, err)
			}
			if got[0].Verdict != sdk.VerdictDone || got[1].Verdict != sdk.VerdictUnset || got[2].Verdict != sdk.VerdictUnset {
				t.Errorf("%s: %+v", name, got)
			}
		}
	}
}

func TestUnansweredRowsAreRefused(t *testing.T) {
	c := &component{work: func(_ context.Context, call *sdk.Call) error { call.Answer(1, sdk.Done(nil)); return nil }}
	client, h := opened(t, c, sdk.KindSink, Options{})
	got, _, _, _, err := work(t, client, h, Work{Batch: FromRecords(mixed(3))})
	var broken *ProtocolError
	if !errors.As(err, &broken) || broken.Step != "sink.any.x" || broken.Plugin != "test" || !strings.Contains(err.Error(), "2 of 3 rows") {
		t.Errorf("got %v", err)
	}
	if got[1].Verdict != sdk.VerdictDone {
		t.Error("the row that was answered lost its answer")
	}
}

// A call that works longer than the limit lives by its signs of life.
func TestSignsOfLife(t *testing.T) {
	limit := time.Second // a busy machine takes its time to give a sign
	long := func(ctx context.Context) error { return (&sdk.Clock{}).Sleep(ctx, 2*limit) }
	c := &component{
		work: func(ctx context.Context, call *sdk.Call) error { long(ctx); call.Answer(0, sdk.Done(nil)); return nil },
		read: func(ctx context.Context, _ []byte, _ sdk.Emitter) error { return long(ctx) },
	}
	srv := newServer(c.plugin(), io.Discard)
	srv.beat = limit / 10
	client := dial(t, srv, Options{Silence: limit})
	open := func(kind sdk.ComponentKind) uint64 {
		h, err := client.Open(t.Context(), Step{Address: "x", Kind: kind, Type: "any"}, "")
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	if _, _, _, _, err := work(t, client, open(sdk.KindSink), Work{Batch: FromRecords(mixed(1))}); err != nil {
		t.Errorf("work: %v", err)
	}
	r, err := client.Read(t.Context(), open(sdk.KindSource), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("read: %v, want EOF", err)
	}
}

func TestCloseWaitsForCalls(t *testing.T) {
	begun, ended := make(chan bool), false
	c := &component{
		work: func(ctx context.Context, _ *sdk.Call) error {
			close(begun)
			<-ctx.Done()
			ended = true
			return ctx.Err()
		},
		close: func() error { return fmt.Errorf("ended %v", ended) },
	}
	client, h := opened(t, c, sdk.KindSink, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		failed <- client.Work(ctx, h, Work{Batch: FromRecords(mixed(1))}, func(Answer) error { return nil })
	}()
	<-begun
	cancel()
	if err := <-failed; err != context.Canceled {
		t.Errorf("work: %v", err)
	}
	var own *sdk.Error
	if err := client.CloseAll(t.Context()); !errors.As(err, &own) || own.Outcome.Detail != "ended true" {
		t.Errorf("close: %v", err)
	}
	if err := client.CloseAll(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestBigBodies(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 20<<20)
	c := &component{work: func(_ context.Context, call *sdk.Call) error {
		r := call.Rows[0].Record
		r.Body = append([]byte("y"), r.Body...)
		call.Answer(0, sdk.Emit(r))
		return nil
	}}
	conn := connect(t, func(g *grpc.Server) { Register(g, c.plugin(), io.Discard) }, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	client := NewClient(conn, Options{})
	h, err := client.Open(t.Context(), Step{Kind: sdk.KindTransform, Type: "any"}, "")
	if err != nil {
		t.Fatal(err)
	}
	_, outputs, _, _, err := work(t, client, h, Work{Batch: FromRecords([]sdk.Record{{ID: "1", Body: big}})})
	if err != nil || len(outputs) != 1 || len(outputs[0].Body) != len(big)+1 {
		t.Errorf("%d outputs, %v", len(outputs), err)
	}
}

func TestErrorsOfTheConnection(t *testing.T) {
	c := NewClient(nil, Options{Plugin: "p"})
	var gone *GoneError
	if err := c.failure(t.Context(), "s", status.Error(codes.Unavailable, "EOF")); !errors.As(err, &gone) || gone.Plugin != "p" || gone.Step != "s" {
		t.Errorf("unavailable: %v", err)
	}
	var broken *BrokenError
	if err := c.failure(t.Context(), "s", status.Error(codes.ResourceExhausted, "larger than max")); !errors.As(err, &broken) || broken.Problem != "larger than max" {
		t.Errorf("too large: %v", err)
	}
}

// Whoever started a process may see that it died before a call to it does, and closes the connection.
func TestConnectionClosedUnderACall(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	c := &component{work: func(context.Context, *sdk.Call) error {
		close(begun)
		<-end
		return nil
	}}
	defer close(end)
	conn := connect(t, func(g *grpc.Server) { Register(g, c.plugin(), io.Discard) })
	client := NewClient(conn, Options{})
	h, err := client.Open(t.Context(), Step{Kind: sdk.KindTransform, Type: "any"}, "")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-begun
		conn.Close()
	}()
	_, _, _, _, err = work(t, client, h, Work{Batch: FromRecords([]sdk.Record{{ID: "1"}})})
	var gone *GoneError
	if !errors.As(err, &gone) {
		t.Errorf("during a call: %v", err)
	}
	if _, _, _, _, err = work(t, client, h, Work{Batch: FromRecords([]sdk.Record{{ID: "1"}})}); !errors.As(err, &gone) {
		t.Errorf("after it: %v", err)
	}
}
