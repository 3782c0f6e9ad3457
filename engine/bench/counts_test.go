package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/plugins/file"
	"github.com/weir-etl/weir/plugins/generate"
	"github.com/weir-etl/weir/plugins/md5"
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// hopPlugins are those of the hop.
func hopPlugins() []sdk.Plugin { return []sdk.Plugin{generate.Plugin(), md5.Plugin(), file.Plugin()} }

// limits of what a batch of 500 records of 1 KiB costs, a little above what it did on 2026-11-23. Counting takes no quiet machine: what
// is above a limit is work that somebody has added. One object more per record is 500 more in a batch, and one in the hop's engine.
var limits = []struct {
	name          string
	objects       float64 // allocated by both sides together
	writes, reads int     // calls of the connection by both sides together; 0: there is none
}{
	{"from records", 40, 0, 0},
	{"marshal and unmarshal", 45, 0, 0},
	{"to records", 1_050, 0, 0},
	{"page of generate", 150, 30, 30},
	{"call of md5", 2_450, 32, 32},
	{"call of file", 1_400, 34, 34},
}

// enginePerRecord is how many objects the engine may allocate for each record of the hop: commits, events and calls, shared by batches.
const enginePerRecord = 2.5

// TestCounts counts what a batch costs on its way, in one process: the least of many, because what else goes on only adds.
func TestCounts(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection empties pools
	const batches = 30
	least := map[string][3]float64{}
	count := func(name string, traffic *traffic, f func()) {
		var before, after runtime.MemStats
		from := traffic.now()
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		to := traffic.now()
		got := [3]float64{float64(after.Mallocs - before.Mallocs), float64(to[0] - from[0]), float64(to[1] - from[1])}
		if old, ok := least[name]; ok {
			for i := range got {
				got[i] = min(got[i], old[i])
			}
		}
		least[name] = got
	}

	source, handle, wire := opened(t, generate.Plugin(), sdk.KindSource, fmt.Sprintf(`{"count":0,"size":%d}`, recordSize))
	r, err := source.Read(t.Context(), handle, nil)
	if err != nil {
		t.Fatal(err)
	}
	var pages []*protocol.Batch
	for range batches {
		count("page of generate", wire, func() {
			r.Credit(batch, batch*recordSize)
			p, err := r.Next()
			if err != nil || p.Batch.Rows() != batch {
				t.Fatalf("got %+v, %v, want a page of %d", p, err, batch)
			}
			pages = append(pages, p.Batch)
		})
	}
	r.Close()

	call := func(name string, client *protocol.Client, handle uint64, wire *traffic, on *protocol.Batch) (out *protocol.Batch) {
		count(name, wire, func() {
			answered := 0
			err := client.Work(t.Context(), handle, protocol.Work{Batch: on, Now: time.Unix(1, 0)}, func(a protocol.Answer) error {
				for _, r := range a.Runs {
					if r.Outcome.Verdict == sdk.VerdictDone {
						answered += r.Count
					}
				}
				out = a.Outputs
				return nil
			})
			if err != nil || answered != batch {
				t.Fatalf("%s: %d rows done, %v", name, answered, err)
			}
		})
		return out
	}
	transform, handle, wire := opened(t, md5.Plugin(), sdk.KindTransform, `{}`)
	for i, page := range pages {
		for pages[i] = nil; pages[i] == nil || pages[i].Rows() != batch; { // on a busy machine answers come in parts
			pages[i] = call("call of md5", transform, handle, wire, page)
		}
	}
	sink, handle, wire := opened(t, file.Plugin(), sdk.KindSink, fmt.Sprintf(`{"path":%q}`, filepath.Join(t.TempDir(), "out")))
	for _, page := range pages {
		call("call of file", sink, handle, wire, page)
	}

	for _, page := range pages {
		records := make([]sdk.Record, batch)
		count("to records", nil, func() {
			for i := range records {
				records[i] = page.Record(i)
			}
		})
		count("from records", nil, func() { protocol.FromRecords(records) })
		count("marshal and unmarshal", nil, func() {
			data, err := page.Marshal()
			if err == nil {
				_, err = protocol.Unmarshal(data)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}

	for _, l := range limits {
		got, ok := least[l.name]
		delete(least, l.name)
		t.Logf("%s: %.0f objects, %.0f writes, %.0f reads", l.name, got[0], got[1], got[2])
		if !ok || got[0] > l.objects || got[1] > float64(l.writes) || got[2] > float64(l.reads) {
			t.Errorf("%s: %.0f objects, %.0f writes and %.0f reads for %d records, want at most %.0f, %d and %d", l.name, got[0], got[1], got[2],
				batch, l.objects, l.writes, l.reads)
		}
	}
	if len(least) > 0 {
		t.Errorf("without a limit: %v", least)
	}
}

// TestEngineCounts counts what the engine allocates for a record on its way from generate through md5 to file, all in processes of their
// own: what a longer run allocates above a shorter one.
func TestEngineCounts(t *testing.T) {
	const short, long = 5_000, 25_000
	run := func(records int) float64 {
		dir := t.TempDir()
		path, out := filepath.Join(dir, "p.hcl"), filepath.Join(dir, "out")
		if err := os.WriteFile(path, []byte(shape{records: records, sources: 1, steps: 1}.text(out)), 0o600); err != nil {
			t.Fatal(err)
		}
		pipe, diags := lang.Load([]string{path}, lang.Options{Plugins: hopPlugins()})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := engine.Run(t.Context(), engine.Options{Pipeline: pipe, Dir: filepath.Join(dir, "data"), Key: make([]byte, 32), Once: true})
		runtime.ReadMemStats(&after)
		if err == nil {
			_, err = arrived(out, 1, records)
		}
		if err != nil {
			t.Fatal(err)
		}
		return float64(after.Mallocs - before.Mallocs)
	}
	least := 0.0
	for try := range 3 { // a busy machine makes smaller batches
		if got := (run(long) - run(short)) / (long - short); try == 0 || got < least {
			least = got
		}
		if least <= enginePerRecord {
			break
		}
	}
	t.Logf("%.3f objects per record", least)
	if least > enginePerRecord {
		t.Errorf("the engine allocates %.3f objects for a record, want at most %.3f", least, enginePerRecord)
	}
}

// traffic counts calls of connections: each is a system call where they are sockets.
type traffic struct{ writes, reads atomic.Int64 }

func (c *traffic) now() [2]int64 {
	if c == nil {
		return [2]int64{}
	}
	return [2]int64{c.writes.Load(), c.reads.Load()}
}

type countedConn struct {
	net.Conn
	*traffic
}

func (c countedConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func (c countedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.reads.Add(1) // those that wait do not count yet
	return n, err
}

type countedListener struct {
	net.Listener
	*traffic
}

func (l countedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return countedConn{c, l.traffic}, err
}

// opened serves a plugin in this process behind a unix socket, opens its only component of a kind, and counts what goes through.
func opened(t *testing.T, p sdk.Plugin, kind sdk.ComponentKind, args string) (*protocol.Client, uint64, *traffic) {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, wire := filepath.Join(dir, "s"), &traffic{}
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(protocol.ServerOptions()...)
	protocol.Register(server, p, io.Discard)
	go server.Serve(countedListener{lis, wire}) // ends with Stop
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(protocol.MaxMessage)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, "unix", path)
			return countedConn{c, wire}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	client := protocol.NewClient(conn, protocol.Options{Plugin: p.Name})
	if _, err := client.Describe(t.Context(), &sdk.Clock{}); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(p.Components, func(c sdk.Component) bool { return c.Kind == kind })
	step := protocol.Step{Address: string(kind) + ".x.x", Kind: kind, Type: p.Components[i].Type, Args: []byte(args)}
	handle, err := client.Open(t.Context(), step, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return client, handle, wire
}
