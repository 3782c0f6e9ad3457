// Package bench measures weir as an operator meets it: the built binary, with its plugins as processes of their own, from start to end.
//
// Figures of a busy machine mean little by themselves. So each benchmark measures in the same run what the machine could do at best: the
// same work as a plain loop in one process, or the RSA operations that no archive of WeCom can do without. `make bench` runs it; nothing
// here decides about a release but [TestFigures], which sees that the benchmarks still work.
package bench

import (
	"bufio"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk/protocol"
	"github.com/weir-etl/weir/sdk/serve"
)

// The test binary is the plain loop, too: as a process of its own it is measured as weir is. And it is the plugin "tide".
const (
	loopPath  = "WEIR_BENCH_LOOP"
	loopCount = "WEIR_BENCH_COUNT"
)

func TestMain(m *testing.M) {
	if h := protocol.Handshake(); os.Getenv(h.MagicCookieKey) == h.MagicCookieValue { // weir has started it
		serve.Main(tide())
	}
	if path := os.Getenv(loopPath); path != "" {
		if err := loop(path, os.Getenv(loopCount)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const recordSize = 1024

// BenchmarkGenerateMD5File takes records of 1 KiB from a source through a transform to a sink that syncs its file: three plugin processes
// beside the engine. CPU is that of all processes, start included; private memory is their anonymous pages together, at the peak.
func BenchmarkGenerateMD5File(b *testing.B) {
	const records = 200_000
	weir := build(b, "./engine/cmd/weir")
	for b.Loop() {
		floor := plainLoop(b, records)
		got := pipeline(b, weir, records)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(records/got.wall.Seconds(), "records/s")
		b.ReportMetric(micros(got.cpu)/records, "cpu-µs/record")
		b.ReportMetric(got.private, "private-MiB")
		b.ReportMetric(float64(got.first.Milliseconds()), "ms-to-first")
		b.ReportMetric(records/floor.wall.Seconds(), "loop-records/s")
		b.ReportMetric(micros(floor.cpu)/records, "loop-cpu-µs/record")
		b.ReportMetric(got.cpu.Seconds()/floor.cpu.Seconds(), "cpu/loop")
	}
}

func TestFigures(t *testing.T) {
	const records = 5_000
	got := pipeline(t, build(t, "./engine/cmd/weir"), records)
	floor := plainLoop(t, records)
	for _, f := range []figures{got, floor} {
		if f.wall == 0 || f.cpu == 0 || f.first == 0 || f.first > f.wall {
			t.Errorf("got %+v: a figure is missing", f)
		}
	}
	if got.private > 100 {
		t.Errorf("four processes have %.0f MiB of private memory, want at most 100", got.private)
	}
}

// build makes a command of this module, named by its folder.
func build(tb testing.TB, folder string) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), filepath.Base(folder))
	make := exec.Command("go", "build", "-o", path, folder)
	make.Dir = root(tb)
	if out, err := make.CombinedOutput(); err != nil {
		tb.Fatalf("go build %s: %v\n%s", folder, err, out)
	}
	return path
}

// root is the module's folder.
func root(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		tb.Fatal(err)
	}
	return dir
}

// pipeline runs weir, and counts what it has written.
func pipeline(tb testing.TB, weir string, records int) figures {
	tb.Helper()
	dir := tb.TempDir()
	file, out := filepath.Join(dir, "p.hcl"), filepath.Join(dir, "out.jsonl")
	text := fmt.Sprintf(`weir { name = "bench" }
source "generate" "g" {
  count = %d
  size  = %d
}
transform "md5" "m" { input = source.generate.g }
sink "file" "f" {
  input = transform.md5.m
  path  = %q
}
`, records, recordSize, out)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(weir, "run", "--once", "--data-dir", filepath.Join(dir, "data"), file)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+dir, "HOME="+dir)
	f := measure(tb, cmd, out)
	wantLines(tb, out, records)
	return f
}

// plainLoop does the same work in one process.
func plainLoop(tb testing.TB, records int) figures {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	out := filepath.Join(tb.TempDir(), "out.jsonl")
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), loopPath+"="+out, loopCount+"="+strconv.Itoa(records))
	f := measure(tb, cmd, out)
	wantLines(tb, out, records)
	return f
}

// loop is the work without weir: make a body, take its md5, write it as a line; sync with every 500.
func loop(path, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	filler := make([]byte, recordSize)
	for i := range filler {
		filler[i] = 'a' + byte(i%26)
	}
	var line []byte
	var sums [500]string
	for i := range n {
		line = fmt.Appendf(line[:0], `{"n":%d,"text":"`, i+1)
		line = append(line, filler[len(line)+len(`"}`):]...)
		line = append(line, "\"}\n"...)
		sum := md5.Sum(line[:len(line)-1])
		sums[i%len(sums)] = hex.EncodeToString(sum[:])
		if _, err := w.Write(line); err != nil {
			return err
		}
		if i%len(sums) == len(sums)-1 || i == n-1 {
			if err := w.Flush(); err != nil {
				return err
			}
			if err := f.Sync(); err != nil {
				return err
			}
		}
	}
	return f.Close()
}

func wantLines(tb testing.TB, path string, want int) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	got := 0
	for lines := bufio.NewScanner(f); lines.Scan(); got++ {
	}
	if got != want {
		tb.Fatalf("%d lines were written, want %d", got, want)
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
