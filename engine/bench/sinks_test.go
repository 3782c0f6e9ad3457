package bench

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/plugins/oss/osssim"
)

// BenchmarkOutageOfSink is BenchmarkOutage with the sinks that weir comes with: kintone and OSS are simulators in this process, which
// refuse what the services refuse; S3 is versitygw, a server of its own. All three share the machine with weir, so that owed/s is that
// of both together. While one is away nothing listens at its port.
//
// Every row costs OSS two requests or more, and S3 as many; kintone takes a hundred rows with one. So fewer fresh rows come than to a
// tide: what the sink cannot keep up with would tell of the machine only. For OSS each row has its body as a file, made by a transform
// that makes it again when the row is no longer in flight, as with media. SINK_RECORDS takes another number than a hundred thousand.
func BenchmarkOutageOfSink(b *testing.B) {
	const page, fresh = 500, 100
	records := number(b, "SINK_RECORDS", 100_000)
	weir := build(b, "./engine/cmd/weir")
	b.Setenv("SINK_SECRET", secret)
	for _, sink := range []struct {
		kind string
		make func(testing.TB) (away destination, block string)
	}{{"kintone", newSite}, {"oss", newBucket}, {"s3", newGateway}} {
		b.Run(sink.kind, func(b *testing.B) {
			for b.Loop() {
				b.ReportMetric(0, "ns/op")
				away, block := sink.make(b)
				o := &outage{tb: b, weir: weir, dir: b.TempDir(), kind: sink.kind}
				o.write(records, page, block)
				measureOutage(b, o, away, records, fresh)
			}
		})
	}
}

// secret is that of each service, which no pipeline may hold.
const secret = "secret"

// site is a kintone with one app.
type site struct {
	tb   testing.TB
	sim  *kintonesim.Server
	lift func()
}

func newSite(tb testing.TB) (destination, string) {
	sim, err := kintonesim.Start(kintonesim.Options{Apps: []kintonesim.App{{ID: 1, Token: secret, Fields: []kintonesim.Field{
		{Code: "id", Type: "SINGLE_LINE_TEXT", Unique: true}, {Code: "body", Type: "MULTI_LINE_TEXT"},
	}}}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sim.Close() })
	return &site{tb, sim, sim.Fault(kintonesim.Fault{Kind: kintonesim.Refuse})}, fmt.Sprintf(`
connection "kintone" "service" { url = %q }
sink "kintone" "away" {
  connection = connection.kintone.service
  input      = [source.generate.day, source.tide.fresh]
  ids        = "global"
  app        = 1
  token      = env("SINK_SECRET")
  key        = { id = record.id }
  fields     = { body = jsonencode(record.body) }
}
`, sim.URL)
}

func (s *site) back() { s.lift() }

// rows puts calls and rows together: neither tells alone which row came when. Rows have ids in the order of their calls, of which some
// run at once, so that a time is off by a call's length at most. A row that was written twice is told by its revision.
func (s *site) rows() (lines []line) {
	var times []time.Time
	for _, c := range s.sim.Calls() {
		if c.Name == "PUT records.json" && c.Status == 200 {
			times = append(times, slices.Repeat([]time.Time{c.At}, c.Rows)...)
		}
	}
	for i, row := range s.sim.Rows(1) {
		if row.Revision != 1 || i >= len(times) {
			s.tb.Fatalf("row %d has revision %d, and all calls together wrote %d rows; want each row written once", row.ID, row.Revision, len(times))
		}
		lines = append(lines, parse(s.tb, row.Values["id"].(string), times[i]))
	}
	return lines
}

// bucket is one of OSS.
type bucket struct {
	tb  testing.TB
	sim *osssim.Server
}

func newBucket(tb testing.TB) (destination, string) {
	// Requests are dated by the engine's clock, of which the simulator knows nothing here.
	sim, err := osssim.Start(osssim.Options{Buckets: []osssim.Bucket{{Name: "archive"}}, AccessKeySecret: secret, Skew: 1 << 62, KeepBytesUpTo: -1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { sim.Close() })
	b := &bucket{tb, sim}
	b.refuse(true)
	return b, fmt.Sprintf(`
connection "oss" "service" {
  endpoint          = %q
  region            = "cn-hangzhou"
  bucket            = "archive"
  access_key_id     = "ossid"
  access_key_secret = env("SINK_SECRET")
}
transform "tide" "filed" {
  input = [source.generate.day, source.tide.fresh]
  files = record.files
}
sink "oss" "away" {
  connection = connection.oss.service
  input      = transform.tide.filed
  ids        = "global"
  files      = record.files
  key        = file.name
}
`, sim.URL)
}

func (b *bucket) back() { b.refuse(false) }

func (b *bucket) refuse(refuse bool) {
	if err := b.sim.Refuse(refuse); err != nil {
		b.tb.Fatal(err)
	}
}

func (b *bucket) rows() (lines []line) {
	for _, o := range b.sim.Objects() {
		lines = append(lines, parse(b.tb, o.Key, o.Modified))
	}
	return inOrder(lines)
}

// gateway is a bucket of versitygw. It is away when its process is not there.
type gateway struct {
	tb            testing.TB
	program, addr string
	data          string // a folder in it is a bucket, a file in that an object
}

func newGateway(tb testing.TB) (destination, string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	g := &gateway{tb, versitygw(tb), l.Addr().String(), tb.TempDir()}
	l.Close()
	if err := os.Mkdir(filepath.Join(g.data, "archive"), 0o700); err != nil {
		tb.Fatal(err)
	}
	g.start()() // it has been there before, as it will be
	return g, fmt.Sprintf(`
connection "s3" "service" {
  endpoint          = "http://%s"
  bucket            = "archive"
  access_key_id     = "s3id"
  access_key_secret = env("SINK_SECRET")
}
sink "s3" "away" {
  connection = connection.s3.service
  input      = [source.generate.day, source.tide.fresh]
  ids        = "global"
  body_key   = record.id
}
`, g.addr)
}

// versitygw is the server's binary: that of the folder WEIR_VERSITYGW, that of `make bin/versitygw` or else one that is built now.
func versitygw(tb testing.TB) string {
	program := filepath.Join(cmp.Or(os.Getenv("WEIR_VERSITYGW"), filepath.Join(root(tb), "bin")), "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	dir := tb.TempDir()
	install := exec.Command("go", "install", "github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	install.Env = append(os.Environ(), "GOBIN="+dir)
	if out, err := install.CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v\n%s", install, err, out)
	}
	return filepath.Join(dir, "versitygw")
}

// start returns what kills the server again.
func (g *gateway) start() (kill func()) {
	server := start(g.tb, exec.Command(g.program, "--port", g.addr, "--access", "s3id", "--secret", secret, "--quiet", "posix", g.data))
	kill = func() {
		server.cmd.Process.Kill() // an error says that it has ended
		<-server.done
	}
	for deadline := time.After(20 * time.Second); ; { // it says nothing when it is ready
		if c, err := net.Dial("tcp", g.addr); err == nil {
			c.Close()
			return kill
		}
		select {
		case <-server.done:
			g.tb.Fatalf("versitygw ended: %v\n%s", server.err, server.output.Bytes())
		case <-deadline:
			kill()
			g.tb.Fatalf("versitygw does not listen\n%s", server.output.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (g *gateway) back() { g.tb.Cleanup(g.start()) }

func (g *gateway) rows() (lines []line) {
	entries, err := os.ReadDir(filepath.Join(g.data, "archive"))
	if err != nil {
		g.tb.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			g.tb.Fatal(err)
		}
		if info.Mode().IsRegular() { // its own files are in a folder
			lines = append(lines, parse(g.tb, e.Name(), info.ModTime()))
		}
	}
	return inOrder(lines)
}

// parse fails on an id that no row has: that of a second version, say.
func parse(tb testing.TB, id string, at time.Time) line {
	l, err := newLine(id, at)
	if err != nil {
		tb.Fatalf("the service holds %q, which is no row", id)
	}
	return l
}

func inOrder(lines []line) []line {
	slices.SortFunc(lines, func(a, b line) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	return lines
}
