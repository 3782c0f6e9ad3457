package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

// window is a row of the crash table: an engine dies there, without any clean-up, and the next one keeps what doc.go promises.
type window struct {
	name string // as in doc.go
	at   string // where to die, as a failpoint or as one that is passed first: "FIRST > LAST"

	large bool // a page whose commit takes more than one transaction: long ids, every second record a dead letter
	away  bool // the sink is down, and the files are so near to their deadline that they are kept
	packs bool // the sink holds what it is given, and packs it when it is flushed

	before bool // rows had reached the sink
	after  bool // the page was settled
	swept  bool // files that nobody can read any more were left on the disk
}

var windows = []window{
	{name: "fetch", at: "fetch"},
	{name: "ADDRESS.call", at: "sink.crash_out.shelf.call", swept: true},
	{name: "ADDRESS.answer", at: "transform.crash_fetch.got.answer", swept: true},
	{name: "ADDRESS.answer", at: "sink.crash_out.shelf.answer", before: true, swept: true},
	{name: "ADDRESS.flush", at: "sink.crash_pack.shelf.flush", packs: true, swept: true},
	{name: "ADDRESS.answer", at: "sink.crash_pack.shelf.flush > sink.crash_pack.shelf.answer", packs: true, before: true, swept: true},
	{name: "spool.keep", at: "spool.keep", away: true, swept: true},
	{name: "spool.keep", at: "spool.keep > commit.before", away: true, swept: true}, // now they have their links
	{name: "commit.before", at: "sink.crash_out.shelf.answer > commit.before", before: true},
	{name: "commit.before", at: "sink.crash_out.shelf.answer > commit.before", before: true, large: true},
	{name: "commit.pieces", at: "commit.pieces", before: true, large: true},
	{name: "commit.journal", at: "commit.journal", before: true, after: true, large: true},
	{name: "commit.after", at: "sink.crash_out.shelf.answer > commit.after", before: true, after: true},
	{name: "commit.after", at: "sink.crash_out.shelf.answer > commit.after", before: true, after: true, large: true},
}

func TestCrashTable(t *testing.T) {
	for _, w := range windows {
		name := w.at
		if w.large {
			name += ", large"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w.test(t)
		})
	}
}

func (w *window) test(t *testing.T) {
	dir := t.TempDir()
	pages, records, long := 3, 10, 0
	if w.large {
		pages, records, long = 2, 2000, 1400
	}
	kind := "crash_out"
	if w.packs {
		kind = "crash_pack"
	}
	text := fmt.Sprintf(`
weir { name = "crash" }
source "crash_in" "in" {
  pages   = %d
  records = %d
  long    = %d
  path    = %q
}
transform "crash_fetch" "got" { input = source.crash_in.in }
sink %q "shelf" {
  input = transform.crash_fetch.got
  path  = %q
  files = record.files
}
`, pages, records, long, dir+"/read", kind, dir+"/shelf")
	if w.large {
		text += fmt.Sprintf("sink \"crash_out\" \"news\" {\n  input = weir.events\n  path  = %q\n}\n", dir+"/news")
	}
	if err := os.WriteFile(filepath.Join(dir, "p.hcl"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	away := filepath.Join(dir, "shelf.away")
	if w.away {
		if err := os.WriteFile(away, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	out, err := w.live(dir, w.at)
	var exit *exec.ExitError
	if e, ok := err.(*exec.ExitError); ok {
		exit = e
	}
	if exit == nil || !exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Fatalf("it did not die: %v\n%s", err, out)
	}
	if put := verbs(t, dir+"/shelf"); (len(put["put"]) > 0) != w.before {
		t.Fatalf("%d rows had reached the sink when it died", len(put["put"]))
	}
	left := 0
	for _, folder := range []string{filepath.Join(dir, "data", "spool"), keptFolder(filepath.Join(dir, "data"), "crash")} {
		names, err := os.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		left += len(names)
	}
	if w.swept && left == 0 {
		t.Fatal("no file was left on the disk")
	}

	os.Remove(away)
	out, err = w.live(dir, "")
	if err != nil {
		t.Fatalf("the next engine: %v\n%s", err, out)
	}
	var second struct {
		Swept   []string // files that were there before it, and not once it worked
		Unswept []string
		Summary Summary
	}
	if err := json.Unmarshal(out, &second); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(second.Unswept) > 0 || len(second.Swept) != left {
		t.Errorf("%d files were left; %d swept, not swept %v", left, len(second.Swept), second.Unswept)
	}

	// Everything is there, once; every second record of a large page is a dead letter, once.
	dead := 0
	shelf := verbs(t, dir+"/shelf")
	for n := range pages * records {
		id := crashID(n, long)
		want := 1
		if w.large && n%2 == 1 {
			want = 0
			dead++
		}
		if got := shelf["put"][id]; got != want {
			t.Errorf("%.20s was put %d times, want %d", id, got, want)
		}
	}
	for _, s := range second.Summary.Steps {
		want := 0
		if s.Address == "sink."+kind+".shelf" {
			want = dead
		}
		if s.Owed != 0 || s.Dead != want {
			t.Errorf("%s: %d owed and %d dead letters, want 0 and %d", s.Address, s.Owed, s.Dead, want)
		}
	}
	if w.large {
		if told := verbs(t, dir+"/news")["put"]; len(told) != dead {
			t.Errorf("%d events of %d dead letters were told", len(told), dead)
		}
	}

	// What was done before is found, or is not asked for again.
	read := verbs(t, dir+"/read")["page"]
	if again := read["1"] > 1; again == w.after {
		t.Errorf("the first page was read %d times", read["1"])
	}
	switch found := len(shelf["found"]); {
	case w.before && !w.after && found == 0:
		t.Error("no row was found that had been delivered before")
	case !w.before && found > 0:
		t.Errorf("%d rows were found, but none had been delivered before", found)
	}
	if w.after {
		for n := range records {
			if id := crashID(n, long); shelf["found"][id] > 0 {
				t.Errorf("%.20s was delivered again, although its page was settled", id)
			}
		}
	}
}

// live runs an engine in a process of its own, which dies in a window.
func (w *window) live(dir, at string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0], crashArg, dir, at)
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	if err != nil {
		return log.Bytes(), err
	}
	return out.Bytes(), nil
}

// crashArg is the first argument of this test binary when it is an engine that may die: then follow its folder and where.
const crashArg = "crash-engine"

// crashEngine runs the pipeline of a folder, and prints how it ended if it comes so far.
func crashEngine(dir, at string) int {
	first, last, two := strings.Cut(at, " > ")
	if !two {
		last = first
	}
	data := filepath.Join(dir, "data")
	old := crashFiles(data)
	var said struct {
		Swept, Unswept []string
		Summary        Summary
	}
	var mu sync.Mutex
	passed, looked := !two, false
	failpoint := func(name string) {
		mu.Lock()
		defer mu.Unlock()
		if !looked && name == "fetch" { // nothing new has been written yet
			looked = true
			for _, path := range old {
				if _, err := os.Stat(path); err != nil {
					said.Swept = append(said.Swept, path)
				} else {
					said.Unswept = append(said.Unswept, path)
				}
			}
		}
		if passed && name == last {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		passed = passed || name == first
	}
	pipe, diags := lang.Load([]string{filepath.Join(dir, "p.hcl")}, lang.Options{Plugins: mortals()})
	if diags.HasErrors() {
		diags.Write(os.Stderr)
		return 2
	}
	var err error
	said.Summary, err = Run(context.Background(), Options{Pipeline: pipe, Dir: data, Key: make([]byte, 32), Once: true, Failpoint: failpoint})
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(said)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// crashFiles are the spooled and kept files of a data directory.
func crashFiles(data string) []string {
	spooled, _ := filepath.Glob(filepath.Join(data, "spool", "*"))
	kept, _ := filepath.Glob(filepath.Join(data, "kept", "*", "*"))
	return append(spooled, kept...)
}

// verbs counts the lines "VERB WHAT" of a file that plugins append to, by verb and what.
func verbs(t *testing.T, path string) map[string]map[string]int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	counts := map[string]map[string]int{}
	for line := range strings.Lines(string(text)) {
		verb, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if counts[verb] == nil {
			counts[verb] = map[string]int{}
		}
		counts[verb][what]++
	}
	return counts
}

func crashID(n, long int) string { return fmt.Sprintf("n%d", n) + strings.Repeat("x", long) }

// crashPlugin is a source, a maker of files and a sink that write down what they are asked for.
func crashPlugin() sdk.Plugin {
	str := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.String} }
	num := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.Number} }
	return sdk.Plugin{Name: "crash", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "crash_in", Emits: []string{"n/1"}, Retention: time.Hour, Args: []sdk.Arg{num("pages"), num("records"), num("long"), str("path")},
			NewSource: func() sdk.Source { return &crashSource{} }},
		{Kind: sdk.KindTransform, Type: "crash_fetch", MakesFiles: true, NewTransform: func() sdk.Transform { return &crashFetch{} }},
		{Kind: sdk.KindSink, Type: "crash_out", Args: []sdk.Arg{str("path"), {Name: "files", Type: sdk.Files, PerRecord: true}},
			NewSink: func() sdk.Sink { return &crashSink{} }},
		{Kind: sdk.KindSink, Type: "crash_pack", Holds: true, Args: []sdk.Arg{str("path"), {Name: "files", Type: sdk.Files, PerRecord: true}},
			NewSink: func() sdk.Sink { return &crashPack{} }},
	}}
}

func note(path, format string, args ...any) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, format+"\n", args...)
	return err
}

type crashSource struct {
	Pages, Records, Long int
	Path                 string
}

func (s *crashSource) Open(_ context.Context, env *sdk.Env) error { return env.Decode(s) }
func (s *crashSource) Close(context.Context) error                { return nil }

func (s *crashSource) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	at := 0
	if len(position) == 8 {
		at = int(binary.BigEndian.Uint64(position))
	}
	for ; at < s.Pages; at++ {
		if err := note(s.Path, "page %d", at+1); err != nil {
			return err
		}
		p := sdk.Page{Position: binary.BigEndian.AppendUint64(nil, uint64(at+1)), Drained: at+1 == s.Pages}
		for i := range s.Records {
			n := at*s.Records + i
			p.Records = append(p.Records, sdk.Record{ID: crashID(n, s.Long), Seq: uint64(n + 1), Kind: "n/1", Body: []byte(strconv.Itoa(n)), Time: time.Now(),
				Files: []sdk.File{{Name: "f", Size: -1, SizeClaimed: -1}}})
		}
		if err := out.Emit(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// crashFetch makes the file of a record, unless ids are long: then a page has thousands.
type crashFetch struct{ spool *sdk.Spool }

func (f *crashFetch) Open(_ context.Context, env *sdk.Env) error { f.spool = env.Spool; return nil }
func (f *crashFetch) Close(context.Context) error                { return nil }

func (f *crashFetch) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		r.Files = slices.Clone(r.Files)
		if len(r.ID) < 100 && !r.Files[0].HasBytes() {
			w, err := f.spool.Create(&r.Files[0])
			if err != nil {
				return err
			}
			fmt.Fprint(w, "bytes of ", r.ID)
			if err := w.Commit(); err != nil {
				return err
			}
		}
		call.Answer(i, sdk.Emit(r))
	}
	return nil
}

// crashSink puts a record on its shelf once; a shelf with a file of its name and ".away" is down.
type crashSink struct {
	Path  string
	spool *sdk.Spool
	mu    sync.Mutex
}

func (s *crashSink) Open(_ context.Context, env *sdk.Env) error {
	s.spool = env.Spool
	return env.Decode(s)
}
func (s *crashSink) Close(context.Context) error { return nil }

func (s *crashSink) Write(_ context.Context, call *sdk.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := os.Stat(s.Path + ".away"); err == nil {
		return sdk.Down("AWAY", fmt.Errorf("nobody is there")).Err()
	}
	there, err := s.there()
	if err != nil {
		return err
	}
	for i := range call.Rows {
		o, err := s.put(&call.Rows[i], there)
		if err != nil {
			return err
		}
		call.Answer(i, o)
	}
	return nil
}

// there is what lies on the shelf.
func (s *crashSink) there() (map[string]bool, error) {
	text, err := os.ReadFile(s.Path)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	there := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "put "); ok {
			there[id] = true
		}
	}
	return there, nil
}

func (s *crashSink) put(row *sdk.Row, there map[string]bool) (sdk.Outcome, error) {
	switch {
	case len(row.ID) > 100 && row.Seq%2 == 0:
		return sdk.Reject("UNWANTED", fmt.Errorf("every second one")), nil
	case there[row.ID]:
		return sdk.Done(nil), note(s.Path, "found %s", row.ID)
	case len(row.Files) > 0 && len(row.ID) < 100:
		if !row.Files[0].HasBytes() {
			return sdk.NeedBytes(), nil
		}
		sum := sha256.Sum256([]byte("bytes of " + row.ID))
		if got := row.Files[0].SHA256; got != hex.EncodeToString(sum[:]) {
			return sdk.Reject("WRONG_BYTES", fmt.Errorf("sha256 %s", got)), nil
		}
	}
	there[row.ID] = true
	return sdk.Done(nil), note(s.Path, "put %s", row.ID)
}

// crashPack holds rows until it is flushed.
type crashPack struct {
	crashSink
	held map[string]sdk.Row
}

func (s *crashPack) Write(_ context.Context, call *sdk.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string]sdk.Row{}
	}
	for i := range call.Rows {
		s.held[call.Rows[i].ID] = call.Rows[i]
		call.Answer(i, sdk.Hold())
	}
	return nil
}

func (s *crashPack) Flush(_ context.Context, f *sdk.Flush) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	there, err := s.there()
	if err != nil {
		return err
	}
	for i, id := range f.IDs {
		row := s.held[id]
		o, err := s.put(&row, there)
		if err != nil {
			return err
		}
		f.Answer(i, o)
	}
	s.held = nil
	return nil
}

// Every failpoint in the code stands in doc.go under "Crash windows", and every window there has a row in the table.
func TestEveryWindowHasARow(t *testing.T) {
	var named, rows []string
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, part, ok := strings.Cut(string(text), "// # Crash windows\n")
	part, _, _ = strings.Cut(part, "\n// # ")
	if !ok {
		t.Fatal("doc.go has no crash windows")
	}
	for _, m := range regexp.MustCompile(`(?m)^//\t([A-Za-z]+(?:\.[a-z]+)?)  `).FindAllStringSubmatch(part, -1) {
		named = append(named, m[1])
	}
	for _, w := range windows {
		rows = append(rows, w.name)
	}
	code := map[string]string{}
	for name, where := range failpoints(t) {
		code[strings.Replace(name, "s.address.", "ADDRESS.", 1)] = where
	}
	if len(named) == 0 || len(code) == 0 {
		t.Fatalf("named %v, in the code %v: this test reads nothing", named, code)
	}
	for _, name := range named {
		if !slices.Contains(rows, name) {
			t.Errorf("doc.go names the crash window %s: write a row of the crash table for it", name)
		}
		if code[name] == "" {
			t.Errorf("doc.go names the crash window %s, but no code enters it", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(code)) {
		if !slices.Contains(named, name) {
			t.Errorf("%s: the failpoint %s is not among the crash windows of doc.go", code[name], name)
		}
	}
	for _, name := range rows {
		if !slices.Contains(named, name) {
			t.Errorf("the crash table has a row for %s, which doc.go does not name", name)
		}
	}
}

// failpoints finds where the code below this folder enters a window: calls of Failpoint with a constant, or with s.address + ".what".
func failpoints(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if f, ok := call.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "Failpoint" {
				return true
			}
			var name bytes.Buffer
			printer.Fprint(&name, files, call.Args[0])
			found[strings.NewReplacer(`"`, "", " + ", "").Replace(name.String())] = files.Position(call.Pos()).String()
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
