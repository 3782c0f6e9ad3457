// Package sdktest is the conformance kit: it drives a component as the engine would, through real gRPC, and reports where it breaks
// the contract of package sdk. A custom plugin is tested in five lines:
//
//	func TestSink(t *testing.T) {
//		sdktest.Run(t, acme.Plugin(), sdktest.Case{Kind: sdk.KindSink, Type: "acme", Args: map[string]any{"url": simulator.URL},
//			Records: sdktest.Records("chat.message/1", 20),
//			Check:   func(t testing.TB) { /* the simulator holds each record once */ }})
//	}
package sdktest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// Case is one component, how it is configured, and what it is fed.
type Case struct {
	Kind       sdk.ComponentKind
	Type       string
	Args       any        // the block's arguments; becomes a JSON object
	Connection any        // the connection's
	Clock      *sdk.Clock // nil = the real one

	// Records for a transform or sink that must be accepted: done or passed, nothing else. A source ignores them.
	Records []sdk.Record
	// RecordArgs gives the per-record arguments of a record, which becomes a JSON object; nil when the component has none.
	RecordArgs func(r sdk.Record) any
	// Bytes holds the contents of files by name. Before each call they are put into the spool for the files of Records so named.
	Bytes map[string][]byte
	// Check is asked after every pass over Records, with what the destination should hold after one: it is where "a second time is
	// harmless" is found out. A sink that holds has been flushed then, each time with all of Records. For one whose effect is once there is
	// a single pass, and the others are of records with other ids.
	Check func(t testing.TB)
}

// Records makes n records of a kind with JSON bodies, for components that take any.
func Records(kind string, n int) []sdk.Record {
	list := make([]sdk.Record, n)
	for i := range list {
		list[i] = sdk.Record{ID: fmt.Sprint("record-", i), Seq: uint64(i + 1), Key: fmt.Sprint("key-", i%3), Kind: kind,
			Time: time.Date(2024, 5, 1, 0, 0, i, 0, time.UTC), Body: fmt.Appendf(nil, `{"n":%d,"text":"水は低きに流る"}`, i)}
	}
	return list
}

// Patience is how long one step of a check may take, in real time.
const patience = 30 * time.Second

// Run checks a component; each check is a subtest.
func Run(t *testing.T, p sdk.Plugin, c Case) {
	t.Helper()
	checks := []check{
		{"declaration", declaration, false},
		{"source reads on from any position", readsOn, false},
		{"source stops when told", stops, false},
	}
	switch d := declared(p, c); {
	case c.Kind == sdk.KindSource:
	case d.Holds:
		checks = []check{
			{"declaration", declaration, false},
			{"every row is answered by a flush", packed, true},
			{"a second time is harmless", packedAgain, true},
			{"several calls at once", packedAtOnce, true},
			{"final gives a last answer", packedFinal, true},
			{"nothing shows before a flush", unseen, true},
			{"a big body is answered", big, false},
			{"a cancelled call ends", cancelled, false},
		}
	case d.Effect == sdk.Once:
		checks = []check{
			{"declaration", declaration, false},
			{"every row is answered, one by one", oneByOne, true},
			{"final gives a last answer", finalOne, false},
			{"a big body is answered", big, false},
			{"a cancelled call ends", cancelledOne, false},
		}
	default:
		checks = []check{
			{"declaration", declaration, false},
			{"every row is answered", answered, true},
			{"a second time is harmless", again, true},
			{"several calls at once", atOnce, true},
			{"final gives a last answer", final, true},
			{"a big body is answered", big, false},
			{"a cancelled call ends", cancelled, false},
		}
	}
	for _, k := range checks {
		t.Run(k.name, func(t *testing.T) {
			b, err := open(t, p, c)
			if err == nil {
				err = k.run(b)
			}
			if err != nil {
				t.Error(err)
			}
			if err == nil && k.passes && c.Check != nil {
				c.Check(t)
			}
		})
	}
}

// declared is the component of a case; open reports one that is not there.
func declared(p sdk.Plugin, c Case) sdk.Component {
	for _, d := range p.Components {
		if d.Kind == c.Kind && d.Type == c.Type {
			return d
		}
	}
	return sdk.Component{}
}

type check struct {
	name   string
	run    func(b *bench) error
	passes bool // it makes at least one whole pass over Records
}

// bench is an opened step.
type bench struct {
	Case
	t         testing.TB
	component sdk.Component
	client    *protocol.Client
	step      uint64
	again     func() error // opens the step anew
	taken     taken
	spool     string
	log       *log
	secrets   []string
}

// log collects what the plugin writes.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// open serves p in this process and opens the step. When the test ends, the step is closed and the log searched for secrets.
func open(t testing.TB, p sdk.Plugin, c Case) (*bench, error) {
	b := &bench{Case: c, t: t, spool: t.TempDir(), log: &log{}}
	lis := bufconn.Listen(1 << 20)
	server := grpc.NewServer(protocol.ServerOptions()...)
	protocol.Register(server, p, b.log)
	go server.Serve(lis)
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	b.client = protocol.NewClient(conn, protocol.Options{Plugin: p.Name, Silence: patience, LogLevel: -8})

	ctx, cancel := b.soon()
	defer cancel()
	declared, err := b.client.Describe(ctx, c.Clock)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(declared.Components, func(d sdk.Component) bool { return d.Kind == c.Kind && d.Type == c.Type })
	if i < 0 {
		return nil, fmt.Errorf("the plugin declares no %s %q", c.Kind, c.Type)
	}
	b.component = declared.Components[i]
	step := protocol.Step{Address: string(c.Kind) + "." + c.Type + ".test", Kind: c.Kind, Type: c.Type, Holds: b.component.Holds}
	if step.Args, err = object(c.Args); err != nil {
		return nil, err
	}
	b.secrets = secretValues(b.component.Args, step.Args)
	if c.Connection != nil {
		if step.Connection, err = object(c.Connection); err != nil {
			return nil, err
		}
		for _, d := range declared.Connections {
			if d.Type == b.component.Connection {
				b.secrets = append(b.secrets, secretValues(d.Args, step.Connection)...)
			}
		}
	}
	b.again = func() (err error) {
		ctx, cancel := b.soon()
		defer cancel()
		b.step, err = b.client.Open(ctx, step, b.spool)
		return err
	}
	if err = b.again(); err != nil {
		return nil, fmt.Errorf("open: %w", b.clean(err))
	}
	t.Cleanup(func() {
		ctx, cancel := b.soon()
		defer cancel()
		if err := b.client.Close(ctx, b.step); err != nil {
			t.Errorf("close: %v", b.clean(err))
		}
		if err := b.telltale("the log", b.log.String()); err != nil {
			t.Error(err)
		}
	})
	return b, nil
}

func (b *bench) soon() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), patience, fmt.Errorf("took longer than %s", patience))
}

func object(v any) (json.RawMessage, error) {
	if v == nil {
		return json.RawMessage("{}"), nil
	}
	return json.Marshal(v)
}

// secretValues are the texts of arguments that are declared secret, when they are long enough to be searched for.
func secretValues(args []sdk.Arg, raw json.RawMessage) []string {
	var values map[string]json.RawMessage
	json.Unmarshal(raw, &values)
	var list []string
	for _, a := range args {
		if a.Block != nil {
			list = append(list, secretValues(a.Block, values[a.Name])...)
		}
		var text string
		if a.Secret && json.Unmarshal(values[a.Name], &text) == nil && len(text) >= 4 {
			list = append(list, text)
		}
	}
	return list
}

// telltale reports a secret in text, without repeating it.
func (b *bench) telltale(what, text string) error {
	for _, s := range b.secrets {
		if strings.Contains(text, s) {
			return fmt.Errorf("%s holds the value of a secret argument", what)
		}
	}
	return nil
}

func (b *bench) clean(err error) error {
	if leak := b.telltale("an error", err.Error()); leak != nil {
		return leak
	}
	return err
}

// declaration checks what the engine takes for granted.
func declaration(b *bench) error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	c := b.component
	if c.Doc == "" {
		wrong("%s %q has no Doc", c.Kind, c.Type)
	}
	if c.Kind == sdk.KindSource && len(c.Emits) == 0 && !slices.ContainsFunc(c.Args, func(a sdk.Arg) bool { return a.Name == "kind" }) {
		wrong("a source must say which kinds it emits, or have an argument \"kind\"")
	}
	if c.Kind != sdk.KindSink && (len(c.Receipt) > 0 || c.FilesOnly || c.Probes) {
		wrong("Receipt, FilesOnly and Probes are for sinks")
	}
	if c.Kind != sdk.KindSink && (c.Holds || c.Effect != sdk.Idempotent) {
		wrong("Holds and Effect are for sinks")
	}
	if c.Holds && c.Effect == sdk.Once {
		wrong("what has an effect once is delivered record by record, and cannot be held")
	}
	if c.Holds && c.Probes {
		wrong("a sink that holds cannot be probed: what it holds is not there")
	}
	if c.Kind != sdk.KindSource && (c.Opaque || c.Retention != 0) {
		wrong("Opaque and Retention are for sources")
	}
	var args func(list []sdk.Arg, path string)
	args = func(list []sdk.Arg, path string) {
		seen := map[string]bool{}
		for _, a := range list {
			name := path + a.Name
			switch {
			case a.Name == "":
				wrong("an argument of %q has no name", path)
			case seen[a.Name]:
				wrong("argument %s is declared twice", name)
			case slices.Contains([]string{"input", "after", "about", "when", "enabled", "order", "batch", "retry", "limit", "on_owed", "on_reject", "connection", "ids", "effect", "on_unknown", "isolate"}, name):
				wrong("argument %s belongs to the engine", name)
			case a.Doc == "":
				wrong("argument %s has no Doc", name)
			case a.Block == nil && a.Type == "":
				wrong("argument %s has no Type", name)
			case a.Required && a.Default != nil:
				wrong("argument %s is required and has a default", name)
			case c.Kind == sdk.KindSource && (a.PerRecord || a.PerFile):
				wrong("argument %s of a source cannot be per record", name)
			}
			seen[a.Name] = true
			args(a.Block, name+".")
		}
	}
	args(c.Args, "")
	return errors.Join(errs...)
}
