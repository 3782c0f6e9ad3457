package bench

import (
	"encoding/binary"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/sdk/protocol"
	"github.com/weir-etl/weir/sdk/serve"
)

// The test binary is the plugin "tide", too, and those of the hop.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == host.ServeArg {
		if p, ok := serve.Together(os.Args[2], hopPlugins()); ok {
			serve.Main(p)
		}
	}
	if h := protocol.Handshake(); os.Getenv(h.MagicCookieKey) == h.MagicCookieValue { // weir has started it
		serve.Main(tide())
	}
	os.Exit(m.Run())
}

// TestBench is the command, with few records: it works, and leaves no figure out.
func TestBench(t *testing.T) {
	dir := t.TempDir()
	work, figures, chart := filepath.Join(dir, "work"), filepath.Join(dir, "b.json"), filepath.Join(dir, "b.svg")
	if err := os.Mkdir(work, 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(build(t, "./engine/cmd/weir"), "bench", "--runs", "1", "--records", "2000", "--dir", "work", "--json", "b.json", "--svg", "b.svg")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"hop again", "plain loop", "unix socket", "validate", "growth with records", "growth with steps", "growth with sources"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not told:\n%s", want, out)
		}
	}
	text, err := os.ReadFile(figures)
	if err != nil {
		t.Fatal(err)
	}
	var told any
	if err := json.Unmarshal(text, &told); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	shapeOf("", told, got)
	if d := cmp.Diff(wantShape(), got); d != "" {
		t.Errorf("how many values the JSON has of each name: want - got +\n%s", d)
	}
	for _, name := range []string{"took_seconds", "machine.cores", "hop.variants[].seconds.median", "hop.variants[].records_per_second.min",
		"hop.variants[].cpu_us_per_record_with_start.max", "start[].first_ms.median", "start[].cpu_ms.median", "start[].validate_ms.median",
		"growth[].points[].records_per_second.median", "growth[].points[].x"} {
		each(told, strings.Split(name, "."), func(v any) {
			if n, ok := v.(float64); !ok || n <= 0 {
				t.Errorf("%s: %v, want more than nothing", name, v)
			}
		})
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	for _, v := range append(r.Hop.Variants, r.Growth[0].Points[0].Measured) {
		if v.PrivateMiB.Max > 150 {
			t.Errorf("%s has %.0f MiB of private memory, want at most 150", v.Name, v.PrivateMiB.Max)
		}
	}
	svg, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(r.Chart()), string(svg)); d != "" {
		t.Errorf("the chart is not that of the figures (-JSON +SVG):\n%s", d)
	}
	if left, err := os.ReadDir(work); err != nil || len(left) > 0 {
		t.Errorf("%d things are left behind, %v", len(left), err)
	}
}

// TestProfile: such a build writes a profile of the engine and of every plugin, whole. See make profile.
func TestProfile(t *testing.T) {
	dir := t.TempDir()
	b := &bench{Options{Weir: build(t, "./engine/cmd/weir", "-tags", "profile", "-ldflags", "-X main.profiles="+dir)}, t.TempDir()}
	if _, err := b.weir(t.Context(), shape{records: 1000, sources: 1, steps: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"engine", "generate,md5", "file"} {
		files, err := filepath.Glob(filepath.Join(dir, name+"-*.pprof"))
		if err != nil || len(files) != 1 {
			t.Errorf("%d profiles of %s, %v, want 1", len(files), name, err)
			continue
		}
		if text, err := exec.Command("go", "tool", "pprof", "-raw", files[0]).CombinedOutput(); err != nil || !strings.Contains(string(text), "cpu/nanoseconds") {
			t.Errorf("the profile of %s: %v\n%s", name, err, text)
		}
	}
}

// shapeOf counts the values of a JSON document by their names.
func shapeOf(name string, v any, into map[string]int) {
	switch v := v.(type) {
	case map[string]any:
		for k, v := range v {
			shapeOf(strings.TrimPrefix(name+"."+k, "."), v, into)
		}
	case []any:
		for _, v := range v {
			shapeOf(name+"[]", v, into)
		}
	default:
		into[name]++
	}
}

// wantShape is the format: a name that goes or means something else needs another number in [Format].
func wantShape() map[string]int {
	want := map[string]int{"format": 1, "weir": 1, "at": 1, "took_seconds": 1, "runs": 1, "records": 1}
	for _, name := range strings.Fields("cpu cores memory_mib os kernel platform go filesystem load_before") {
		want["machine."+name] = 1
	}
	spreads := func(n int, prefix, names string) {
		for _, name := range strings.Fields(names) {
			for _, value := range []string{"median", "min", "max"} {
				want[prefix+name+"."+value] = n
			}
		}
	}
	const costs = "seconds records_per_second cpu_us_per_record cpu_us_per_record_with_start private_mib"
	plain := func(n int, prefix, names string) {
		for _, name := range strings.Fields(names) {
			want[prefix+name] = n
		}
	}
	plain(5, "hop.variants[].", "name records arrived_twice processes")
	spreads(5, "hop.variants[].", costs)
	spreads(1, "hop.", "hop_by_hop_again hop_by_loop")
	plain(1, "hop.", "cpu_us_per_crossing cpu_us_per_crossing_apart cpu_us_per_crossing_of_socket")
	plain(2, "start[].", "plugin_processes processes")
	spreads(2, "start[].", "first_ms whole_ms cpu_ms validate_ms private_mib")
	plain(3, "growth[].", "name unit log slope_percent slope_percent_error")
	plain(2, "growth[].", "cpu_us_per_record_each")
	plain(15, "growth[].points[].", "x name records arrived_twice processes")
	spreads(15, "growth[].points[].", "y "+costs)
	return want
}

// each hands the values at a path to f; [] stands for all elements.
func each(v any, path []string, f func(any)) {
	if len(path) == 0 {
		f(v)
		return
	}
	name, list := strings.CutSuffix(path[0], "[]")
	m, _ := v.(map[string]any)
	if list {
		elements, _ := m[name].([]any)
		for _, e := range elements {
			each(e, path[1:], f)
		}
		return
	}
	each(m[name], path[1:], f)
}

func TestSpread(t *testing.T) {
	for _, row := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{4, 1}, Spread{2.5, 1, 4}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9}},
		{[]float64{4, 3, 100, 1}, Spread{3.5, 1, 100}},
	} {
		given := slices.Clone(row.values)
		if got := spread(row.values, func(v float64) float64 { return v }); got != row.want || !slices.Equal(given, row.values) {
			t.Errorf("%v: got %v, want %v", given, got, row.want)
		}
	}
}

func TestMeasured(t *testing.T) {
	runs := []figures{{wall: time.Second, cpu: 500 * time.Millisecond, private: 8, processes: 3, twice: 1}, {wall: 3 * time.Second, cpu: 700 * time.Millisecond, private: 6, processes: 4, twice: 2}}
	empty := []figures{{cpu: 100 * time.Millisecond}, {cpu: 90 * time.Millisecond}, {cpu: time.Second}}
	got := measured("x", 1000, runs, empty)
	want := Measured{Name: "x", Records: 1000, Twice: 3, Processes: 4, Seconds: Spread{2, 1, 3}, PerSecond: Spread{(1000 + 1000/3.0) / 2, 1000 / 3.0, 1000},
		CPU: Spread{500, 400, 600}, CPUAll: Spread{600, 500, 700}, PrivateMiB: Spread{7, 6, 8}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want - got +\n%s", d)
	}
}

func TestFit(t *testing.T) {
	for _, row := range []struct {
		xs, ys                         []float64
		at, slope, slopeError, percent float64
	}{
		{[]float64{1, 2, 3, 4}, []float64{10, 10, 10, 10}, 10, 0, 0, 0},
		{[]float64{0, 10}, []float64{4, 6}, 4, 0.2, 0, 50},
		{[]float64{1, 2, 5, 10, 20}, []float64{30, 35, 50, 75, 125}, 25, 5, 0, 100 * 95 / 30.0},
		// by hand: mean 2.5 and 3.5, squares 5, products 6, left over 0.7 + 0.1 + ...
		{[]float64{1, 2, 3, 4}, []float64{2, 3, 3, 6}, 0.5, 1.2, math.Sqrt(1.8 / 2 / 5), 100 * 3.6 / 1.7},
	} {
		got := fit(row.xs, row.ys)
		rise, _ := got.percent(row.xs[0], row.xs[len(row.xs)-1])
		for _, pair := range [][2]float64{{got.at, row.at}, {got.slope, row.slope}, {got.slopeError, row.slopeError}, {rise, row.percent}} {
			if math.Abs(pair[0]-pair[1]) > 1e-9 {
				t.Errorf("%v over %v: got %+v and %v %%, want %+v", row.ys, row.xs, got, rise, row)
				break
			}
		}
	}
}

func TestDecades(t *testing.T) {
	for most, want := range map[int][]int{
		100:        {1, 3, 10, 30, 100},
		50_000:     {500, 1500, 5000, 15_000, 50_000},
		100_000:    {10_000, 30_000, 100_000},
		1_000_000:  {10_000, 30_000, 100_000, 300_000, 1_000_000},
		10_000_000: {10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000},
	} {
		if got := decades(most); !slices.Equal(got, want) {
			t.Errorf("up to %d: got %v, want %v", most, got, want)
		}
	}
}

// What has not arrived is noticed, whatever stands there instead.
func TestArrived(t *testing.T) {
	body := func(n, seed int) string {
		head := fmt.Sprintf(`{"n":%d,"seed":%d,"text":"`, n, seed)
		return head + strings.Repeat("x", recordSize-len(head)-2) + "\"}\n"
	}
	whole := body(2, 1) + body(1, 1) + body(1, 2) + body(2, 2)
	for _, row := range []struct {
		name, text string
		twice      int
		err        string
	}{
		{"all", whole, 0, ""},
		{"one again", whole + body(1, 2), 1, ""},
		{"nothing", "", 0, "4 of 4 records did not arrive"},
		{"one missing", body(2, 1) + body(1, 1) + body(2, 2), 0, "1 of 4 records did not arrive"},
		{"one missing, another twice", body(2, 1) + body(1, 1) + body(2, 2) + body(2, 2), 0, "1 of 4 records did not arrive"},
		{"a number too much", whole + body(3, 1), 0, "line 5 is no record"},
		{"another source", whole + body(1, 3), 0, "line 5 is no record"},
		{"half a line", whole[:len(whole)-1], 0, "line 4 is no record"},
		{"something else", whole + "{}\n", 0, "line 5 is no record"},
	} {
		path := filepath.Join(t.TempDir(), "out")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		twice, err := arrived(path, 2, 2)
		if (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) || err == nil && twice != row.twice {
			t.Errorf("%s: got %d, %v, want %d, %q", row.name, twice, err, row.twice, row.err)
		}
	}
	if _, err := arrived(filepath.Join(t.TempDir(), "none"), 1, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// made is a report whose figures are round.
func made() *Report {
	level := func(v float64) Spread { return Spread{v, v * 0.9, v * 1.25} }
	r := &Report{Format: Format, Weir: "<1.0>", At: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), Runs: 3, Machine: Machine{CPU: "a & b", Cores: 2}}
	for _, s := range []Series{{Name: "records", Unit: "µs", Log: true, Slope: -0.5, SlopeError: 2}, {Name: "steps", Unit: "µs", Slope: 3}} {
		for _, x := range []int{1, 10, 100} {
			s.Points = append(s.Points, Point{x, level(20), Measured{Name: "p", Records: 1000 * x}})
		}
		r.Growth = append(r.Growth, s)
	}
	return r
}

// The chart is an image that stands alone: well-formed, with every point, every axis and its colours for the dark, and nothing outside.
func TestChart(t *testing.T) {
	chart := string(made().Chart())
	elements := map[string]int{}
	for d := xml.NewDecoder(strings.NewReader(chart)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, chart)
		}
		if e, ok := token.(xml.StartElement); ok {
			elements[e.Name.Local]++
			for _, a := range e.Attr {
				if a.Name.Local == "href" || strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("<%s %s=%q>", e.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
	if elements["circle"] != 6 {
		t.Errorf("%d dots, want 6", elements["circle"])
	}
	for _, want := range []string{"prefers-color-scheme: dark", "weir &lt;1.0&gt;", "a &amp; b", "-0.5 % ± 2.0", axis["records"], axis["steps"],
		// x: 1, 10, 100 at the left, in the middle and at the right of the first panel; y: 20 of 25
		`cx="56.0" cy="122.0"`, `cx="206.0" cy="122.0"`, `cx="356.0" cy="122.0"`,
		// … and by their number in the second one
		fmt.Sprintf(`cx="%.1f"`, 440+300*9/99.0)} {
		if !strings.Contains(chart, want) {
			t.Errorf("%s is not in the chart:\n%s", want, chart)
		}
	}
	if none := (&Report{}).Chart(); xml.Unmarshal(none, new(any)) != nil && !strings.HasPrefix(string(none), "<svg") {
		t.Errorf("nothing to draw: %s", none)
	}
}

func TestTicks(t *testing.T) {
	for _, row := range [][3]float64{{0, 1, 1}, {1, 0.2, 1}, {25, 5, 25}, {21.9, 5, 25}, {80, 10, 80}, {7.1, 1, 8}, {130, 20, 140}, {0.3, 0.05, 0.3}} {
		gap, top := ticks(row[0])
		if math.Abs(gap-row[1]) > 1e-9 || math.Abs(top-row[2]) > 1e-9 {
			t.Errorf("%v: got %v up to %v, want %v up to %v", row[0], gap, top, row[1], row[2])
		}
	}
}

func TestShort(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 3.456: "3.46", 12.34: "12.3", 99.96: "100", 123.5: "124", 70123.4: "70,123", -1234567: "-1,234,567", -0.2: "-0.20"} {
		if got := short(v); got != want {
			t.Errorf("%v: got %s, want %s", v, got, want)
		}
	}
}

// The receiver of frames takes none for another, and misses none.
func TestReceiverChecks(t *testing.T) {
	frame := func(numbers ...uint64) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(numbers)*recordSize))
		for _, n := range numbers {
			b = append(binary.BigEndian.AppendUint64(b, n), make([]byte, recordSize-8)...)
		}
		return b
	}
	for _, row := range []struct {
		name string
		sent []byte
		err  string
	}{
		{"all", append(frame(1, 2), frame(3)...), ""},
		{"one less", frame(1, 2), "2 records came, want 3"},
		{"one more", frame(1, 2, 3, 4), "4 records came, want 3"},
		{"one left out", frame(1, 3, 4), "record 3 came where 2 was expected"},
		{"cut off", frame(1, 2, 3)[:2000], "unexpected EOF"},
		{"cut off in the length", []byte{0, 0}, "unexpected EOF"},
		{"too long", []byte{1, 0, 0, 0}, "a frame of 16777216 bytes"},
		{"part of a record", []byte{0, 0, 4, 1}, "a frame of 1025 bytes"},
	} {
		dir, err := os.MkdirTemp("", "weir-") // the path of a socket is short
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "s")
		lis, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error)
		go func() { got <- receive(path, 3) }()
		conn, err := lis.Accept()
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(row.sent) // it may have gone by then
		conn.Close()
		if err := <-got; (err == nil) != (row.err == "") || err != nil && !strings.Contains(err.Error(), row.err) {
			t.Errorf("%s: got %v, want %q", row.name, err, row.err)
		}
		lis.Close()
	}
	for _, args := range [][]string{nil, {"loop", t.TempDir(), "x"}, {"walk", t.TempDir(), "1"}} {
		if err := Work(args); err == nil {
			t.Errorf("work %v: no error", args)
		}
	}
}
