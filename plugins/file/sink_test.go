package file

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

// bench is a file sink with its folder and spool.
type bench struct {
	t     *testing.T
	path  string
	spool *sdk.Spool
	sink  sdk.Sink
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "out"), spool: sdk.OpenSpool(t.TempDir())}
	b.reopen()
	t.Cleanup(func() { b.sink.Close(context.Background()) })
	return b
}

// reopen is a new process on the same file.
func (b *bench) reopen() {
	b.t.Helper()
	if b.sink != nil {
		b.sink.Close(context.Background())
	}
	raw, _ := json.Marshal(map[string]string{"path": b.path})
	b.sink = Plugin().Components[1].NewSink()
	if err := b.sink.Open(context.Background(), &sdk.Env{Args: raw, Spool: b.spool}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) call(probe bool, rows ...sdk.Row) ([]sdk.Outcome, error) {
	got := make([]sdk.Outcome, len(rows))
	err := b.sink.Write(context.Background(), sdk.NewCall(rows, time.Now(), probe, func(i int, o sdk.Outcome) { got[i] = o }))
	return got, err
}

// done writes rows and wants all of them delivered.
func (b *bench) done(rows ...sdk.Row) []sdk.Outcome {
	b.t.Helper()
	got, err := b.call(false, rows...)
	if err != nil {
		b.t.Fatal(err)
	}
	for i, o := range got {
		if o.Verdict != sdk.VerdictDone {
			b.t.Fatalf("row %d: got verdict %d %s %s, want it done", i, o.Verdict, o.Code, o.Detail)
		}
	}
	return got
}

func (b *bench) content() string {
	b.t.Helper()
	got, err := os.ReadFile(b.path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(got)
}

func (b *bench) file(index int, name, text string) sdk.File {
	b.t.Helper()
	f := sdk.File{Index: index, Name: name, Size: -1}
	w, err := b.spool.Create(&f)
	if err != nil {
		b.t.Fatal(err)
	}
	w.Write([]byte(text))
	if err := w.Commit(); err != nil {
		b.t.Fatal(err)
	}
	return f
}

func row(id, body string, files ...sdk.File) sdk.Row {
	return sdk.Row{Record: sdk.Record{ID: id, Body: []byte(body), Files: files}}
}

func TestEachRecordOnce(t *testing.T) {
	b := newBench(t)
	b.done(row("1", "a"), row("2", "b"), row("1", "a"))
	b.done(row("2", "b"), row("3", "c"))
	b.reopen()
	b.done(row("1", "a"), row("4", ""), row("3", "other"))
	if got, want := b.content(), "a\nb\nc\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeyTellsRecordsApart(t *testing.T) {
	b := newBench(t)
	one, two := row("1", "a"), row("1", "b")
	one.Args, two.Args = json.RawMessage(`{"key":"x/1"}`), json.RawMessage(`{"key":"y/1"}`)
	b.done(one, two)
	b.done(two, one)
	if got, want := b.content(), "a\nb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBodyMustBeALine(t *testing.T) {
	b := newBench(t)
	got, err := b.call(false, row("1", "a\nb"), row("2", "{\n \"a\": 1.0,\r\n \"b\": \"x\\ny\"\n}"), row("3", "c\n"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []sdk.Verdict{sdk.VerdictReject, sdk.VerdictDone, sdk.VerdictReject} {
		if got[i].Verdict != want {
			t.Errorf("row %d: got verdict %d, want %d", i+1, got[i].Verdict, want)
		}
	}
	if got, want := b.content(), `{"a":1.0,"b":"x\ny"}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got[0].Code != "BODY_NOT_A_LINE" || strings.Contains(got[0].Detail, "a\nb") {
		t.Errorf("got code %s, detail %q", got[0].Code, got[0].Detail)
	}
}

func TestWhatWasThereStays(t *testing.T) {
	b := newBench(t)
	b.sink.Close(context.Background())
	os.Remove(b.path + ".ids")
	write(t, b.path, "old\nwithout end")
	for range 2 {
		b.reopen()
		b.done(row("1", "a"))
	}
	if got, want := b.content(), "old\nwithout end\na\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The process or the machine dies anywhere in the second of two calls. Whatever a crash may leave, the first call stands, and when
// both calls come again each line stands once.
func TestDeathAtEveryByte(t *testing.T) {
	b := newBench(t)
	first := []sdk.Row{row("1", "one"), row("2", ""), row("3", "three")}
	second := []sdk.Row{row("4", "four"), row("5", "five"), row("6", "six")}
	b.done(first...)
	read := func() (lines, ids []byte) {
		lines, _ = os.ReadFile(b.path)
		ids, _ = os.ReadFile(b.path + ".ids")
		return lines, ids
	}
	lines1, ids1 := read()
	b.done(second...)
	lines2, ids2 := read()
	b.sink.Close(context.Background())
	b.sink = nil

	type left struct {
		when       string
		lines, ids []byte
	}
	var all []left
	for n := len(lines1); n <= len(lines2); n++ {
		all = append(all, left{fmt.Sprintf("%d bytes of lines", n), lines2[:n], ids1})
		hollow := append(bytes.Clone(lines2[:n]), make([]byte, len(lines2)-n)...)
		all = append(all, left{fmt.Sprintf("%d bytes of lines, then zeros", n), hollow, ids1})
	}
	for n := len(ids1); n <= len(ids2); n++ {
		all = append(all, left{fmt.Sprintf("%d bytes of ids", n), lines2, ids2[:n]})
		hollow := append(bytes.Clone(ids2[:n]), make([]byte, len(ids2)-n)...)
		all = append(all, left{fmt.Sprintf("%d bytes of ids, then zeros", n), lines2, hollow})
		if n < len(ids2) {
			damaged := bytes.Clone(ids2)
			damaged[n] ^= 1
			all = append(all, left{fmt.Sprintf("byte %d of ids damaged", n), lines2, damaged})
		}
	}
	for _, l := range all {
		write(t, b.path, string(l.lines))
		write(t, b.path+".ids", string(l.ids))
		b.reopen()
		if got := b.content(); !strings.HasPrefix(got, string(lines1)) || !strings.HasPrefix(string(lines2), got) || !strings.HasSuffix(got, "\n") {
			t.Fatalf("%s: after opening got %q", l.when, got)
		}
		b.done(first...)
		b.done(second...)
		if got := b.content(); got != string(lines2) {
			t.Fatalf("%s: got %q, want %q", l.when, got, lines2)
		}
		b.reopen()
		b.done(first...)
		if got := b.content(); got != string(lines2) {
			t.Fatalf("%s, opened again: got %q, want %q", l.when, got, lines2)
		}
	}
}

// Entries behind a damaged one must not come back to life when a second crash leaves lines that reach as far.
func TestStaleEntriesAreGone(t *testing.T) {
	b := newBench(t)
	rows := []sdk.Row{row("1", "one"), row("2", "two"), row("3", "three")}
	b.done(rows...)
	b.sink.Close(context.Background())
	ids, _ := os.ReadFile(b.path + ".ids")
	ids[entrySize] ^= 1 // the entry of "1"
	write(t, b.path+".ids", string(ids))
	b.reopen()
	b.done(row("4", "4"))
	b.sink.Close(context.Background())
	write(t, b.path, "4\na line that died")
	b.reopen()
	b.done(rows...)
	if got, want := b.content(), "4\none\ntwo\nthree\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A disk that lost what it had acknowledged loses records, but the sink writes them again and still none twice.
func TestLostTailComesAgain(t *testing.T) {
	b := newBench(t)
	rows := []sdk.Row{row("1", "one"), row("2", "two"), row("3", "three")}
	b.done(rows...)
	lines, _ := os.ReadFile(b.path)
	ids, _ := os.ReadFile(b.path + ".ids")
	for n := range lines {
		b.sink.Close(context.Background())
		write(t, b.path, string(lines[:n]))
		write(t, b.path+".ids", string(ids))
		b.reopen()
		b.done(rows...)
		if got := b.content(); got != string(lines) {
			t.Fatalf("%d bytes left: got %q, want %q", n, got, lines)
		}
	}
}

func TestOneWriterOnly(t *testing.T) {
	b := newBench(t)
	b.done(row("1", "a"))
	other := &bench{t: t, path: b.path, spool: b.spool}
	other.reopen()
	if _, err := other.call(false, row("2", "b")); sdk.OutcomeOf(err).Code != "FILE_LOCKED" {
		t.Errorf("a second process: got %v, want FILE_LOCKED", err)
	}
	b.sink.Close(context.Background())
	other.done(row("1", "a"), row("2", "b"))

	f, err := os.OpenFile(b.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("somebody\n")
	f.Close()
	for range 2 {
		if _, err := other.call(false, row("3", "c")); sdk.OutcomeOf(err).Code != "FILE_CHANGED" {
			t.Errorf("a foreign line: got %v, want FILE_CHANGED", err)
		}
	}
	if got, want := other.content(), "a\nb\nsomebody\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	other.sink.Close(context.Background())
}

func TestForeignIndexIsRefused(t *testing.T) {
	b := newBench(t)
	b.sink.Close(context.Background())
	write(t, b.path, "mine\n")
	write(t, b.path+".ids", "something else")
	b.reopen()
	if _, err := b.call(false, row("1", "a")); sdk.OutcomeOf(err).Code != "FILE_UNWRITABLE" {
		t.Errorf("got %v, want FILE_UNWRITABLE", err)
	}
	if got := b.content(); got != "mine\n" {
		t.Errorf("got %q, want it untouched", got)
	}
}

func TestFiles(t *testing.T) {
	b := newBench(t)
	late := sdk.File{Index: 1, Name: "b.txt", Size: -1, Outcome: sdk.FileWaiting}
	got := b.done(row("m1", "a", b.file(0, "../a/ü.jpg", "photo"), late))[0].Receipt
	if diff := cmp.Diff([]int{0}, got.Files); diff != "" {
		t.Errorf("files delivered (-want +got):\n%s", diff)
	}
	if len(got.URLs) != 1 || !strings.HasPrefix(got.URLs[0], "file:///") {
		t.Errorf("got urls %v", got.URLs)
	}

	// The late one comes, with the first again; then another copy of the first.
	b.done(row("m1", "a", b.file(0, "../a/ü.jpg", "photo"), b.file(1, "b.txt", "text")))
	b.done(row("m1", "a", b.file(0, "../a/ü.jpg", "better photo")))
	got = b.done(row("m1", "a", b.file(0, "../a/ü.jpg", "better photo")))[0].Receipt
	if len(got.URLs) != 1 || !strings.HasSuffix(got.URLs[0], "-v2.jpg") {
		t.Errorf("got urls %v", got.URLs)
	}
	want := map[string]string{"m1-0__a_ü.jpg": "photo", "m1-0__a_ü-v2.jpg": "better photo", "m1-1_b.txt": "text"}
	if diff := cmp.Diff(want, folder(t, b.path+".files")); diff != "" {
		t.Errorf("folder (-want +got):\n%s", diff)
	}
	if got := b.content(); got != "a\n" {
		t.Errorf("got %q, want the line once", got)
	}
}

func folder(t *testing.T, path string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all[e.Name()] = string(b)
	}
	return all
}

func TestOnlyWantedFiles(t *testing.T) {
	b := newBench(t)
	r := row("m1", "a", b.file(0, "a", "A"), b.file(1, "b", "B"))
	r.Args = json.RawMessage(`{"files":[1]}`)
	if got := b.done(r)[0].Receipt; !cmp.Equal(got.Files, []int{1}) {
		t.Errorf("got files %v, want [1]", got.Files)
	}
	r.Args = json.RawMessage(`{"files":[2]}`)
	if got, _ := b.call(false, r); got[0].Code != "BAD_ARGUMENTS" {
		t.Errorf("got %s for a file that is not there, want BAD_ARGUMENTS", got[0].Code)
	}
}

func TestLostBytesAreAskedForAgain(t *testing.T) {
	b := newBench(t)
	f := b.file(0, "a", "A")
	f.Spool = "gone"
	got, err := b.call(false, row("m1", "a", f), row("m2", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if got[0].Verdict != sdk.VerdictRetry || got[0].Down || got[1].Verdict != sdk.VerdictDone {
		t.Errorf("got verdicts %d and %d, want a retry, and the other row done", got[0].Verdict, got[1].Verdict)
	}
	if got := b.content(); got != "b\n" {
		t.Errorf("got %q, want no line whose file is missing", got)
	}
}

func TestUnfinishedFileIsReplaced(t *testing.T) {
	b := newBench(t)
	os.Mkdir(b.path+".files", 0o700)
	write(t, b.path+".files/.m1-0_a.part", "a piece of something longer")
	b.done(row("m1", "x", b.file(0, "a", "A")))
	if diff := cmp.Diff(map[string]string{"m1-0_a": "A"}, folder(t, b.path+".files")); diff != "" {
		t.Errorf("folder (-want +got):\n%s", diff)
	}
}

func TestProbe(t *testing.T) {
	b := newBench(t)
	here := row("m1", "a", b.file(0, "a", "A"))
	b.done(here)
	bare := func(r sdk.Row) sdk.Row { // as a probe brings it
		r.Files = append([]sdk.File(nil), r.Files...)
		for i := range r.Files {
			r.Files[i].Spool, r.Files[i].SpoolKey = "", sdk.Secret{}
		}
		return r
	}
	got, err := b.call(true, bare(here), bare(row("m1", "a", b.file(0, "a", "AA"))), row("m2", "b"), row("m1", "a"))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []sdk.Verdict{sdk.VerdictDone, sdk.VerdictRetry, sdk.VerdictRetry, sdk.VerdictDone} {
		if got[i].Verdict != want {
			t.Errorf("row %d: got verdict %d, want %d", i, got[i].Verdict, want)
		}
	}
	if !cmp.Equal(got[0].Receipt.Files, []int{0}) || len(got[0].Receipt.URLs) != 1 {
		t.Errorf("got receipt %+v", got[0].Receipt)
	}
	if got := b.content(); got != "a\n" {
		t.Errorf("a probe wrote: %q", got)
	}
}

func TestSafeNames(t *testing.T) {
	tests := []struct{ name, want string }{
		{"", "file"},
		{"..", "file"},
		{".bashrc", "bashrc"},
		{"a/b\\c:d.jpg", "a_b_c_d.jpg"},
		{"a\x00\n\u202egpj.exe", "a___gpj.exe"},
		{"\xff.txt", "_.txt"},
		{"合同.pdf", "合同.pdf"},
		{strings.Repeat("合", 60) + ".pdf", strings.Repeat("合", 32) + ".pdf"},
		{"a." + strings.Repeat("b", 300), "a." + strings.Repeat("b", 98)},
		{strings.Repeat("a", 99) + "." + strings.Repeat("b", 300), strings.Repeat("a", 99)},
		{"../../etc/passwd", "_.._etc_passwd"},
		{"CON.txt...", "CON.txt"}, // behind ID-INDEX_ it is no device
		{"a\r\nb\u0085\u2028c.txt", "a__b__c.txt"},
	}
	for _, test := range tests {
		if got := safeName(test.name); got != test.want {
			t.Errorf("%q: got %q, want %q", test.name, got, test.want)
		}
	}
	for _, id := range []string{"..", "a/b", "a\\b", strings.Repeat("a", 65), "ä"} {
		got := safeID(id)
		if got == id || strings.ContainsAny(got, `./\`) || len(got) > 57 {
			t.Errorf("id %q: got %q", id, got)
		}
	}
	if safeID("a/b") == safeID("a_b") || safeID("a/b") == safeID("a\\b") {
		t.Error("two ids became one")
	}
}

// BenchmarkWrite: one operation is one record of 1 KiB, in calls of 500.
func BenchmarkWrite(b *testing.B) {
	raw, _ := json.Marshal(map[string]string{"path": filepath.Join(b.TempDir(), "out")})
	s := Plugin().Components[1].NewSink()
	if err := s.Open(context.Background(), &sdk.Env{Args: raw}); err != nil {
		b.Fatal(err)
	}
	defer s.Close(context.Background())
	body := bytes.Repeat([]byte("x"), 1024)
	rows := make([]sdk.Row, 500)
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(rows) {
		for i := range rows {
			rows[i] = sdk.Row{Record: sdk.Record{ID: fmt.Sprint("g-1-", n+i), Body: body}}
		}
		s.Write(context.Background(), sdk.NewCall(rows, time.Now(), false, func(int, sdk.Outcome) {}))
	}
}
