package object_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

func readSeeker(s string) io.ReadSeeker { return strings.NewReader(s) }

// large is content that is looked for before it is put.
var large = strings.Repeat("large", 60_000)

func place(t *testing.T, b *bucket, o *object.Object) object.Placed {
	t.Helper()
	p, err := object.Writer{Store: b}.Place(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWriteOnce(t *testing.T) {
	for _, size := range []struct{ name, content string }{{"small", "one"}, {"large", large}} {
		t.Run(size.name, func(t *testing.T) {
			b := newBucket(t)
			first := place(t, b, thing("a/x.pdf", size.content))
			if first.Again || first.Key != "a/x.pdf" || first.VersionID != "1" || first.ETag != "etag" {
				t.Errorf("first: got %+v", first)
			}
			if again := place(t, b, thing("a/x.pdf", size.content)); !again.Again || again.Key != "a/x.pdf" {
				t.Errorf("again: got %+v", again)
			}
			second := place(t, b, thing("a/x.pdf", size.content+"2"))
			third := place(t, b, thing("a/x.pdf", size.content+"3"))
			if d := cmp.Diff(third.URLs, []string{"mem://a/x-v3.pdf", "mem://a/x-v2.pdf", "mem://a/x.pdf"}); d != "" {
				t.Errorf("urls, got then want:\n%s", d)
			}
			if second.Key != "a/x-v2.pdf" || second.Version != 2 {
				t.Errorf("second: got %+v", second)
			}
			if again := place(t, b, thing("a/x.pdf", size.content+"2")); !again.Again || again.Key != "a/x-v2.pdf" {
				t.Errorf("second again: got %+v", again)
			}
			if got := b.stored["a/x.pdf"].content; got != size.content {
				t.Error("the first version was overwritten")
			}
		})
	}
}

func TestCallsMade(t *testing.T) {
	for _, c := range []struct {
		name, content string
		before        string
		want          []string
	}{
		{"small and new", "one", "", []string{"put k"}},
		{"small and there", "one", "one", []string{"put k", "head k"}},
		{"small and differs", "one", "two", []string{"put k", "head k", "head k-v2", "put k-v2"}},
		{"large and new", large, "", []string{"head k", "put k"}},
		{"large and there", large, large, []string{"head k"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBucket(t)
			if c.before != "" {
				place(t, b, thing("k", c.before))
				b.calls = nil
			}
			place(t, b, thing("k", c.content))
			if d := cmp.Diff(b.calls, c.want); d != "" {
				t.Errorf("got then want:\n%s", d)
			}
		})
	}
}

func TestReject(t *testing.T) {
	b := newBucket(t)
	place(t, b, thing("k", "one"))
	_, err := object.Writer{Store: b, Reject: true}.Place(t.Context(), thing("k", "two"))
	wantOutcome(t, err, sdk.VerdictReject, "differs")
}

func wantOutcome(t *testing.T, err error, verdict sdk.Verdict, code string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want %s", code)
	}
	if o := sdk.OutcomeOf(err); o.Verdict != verdict || o.Code != code {
		t.Errorf("got verdict %d %s (%v), want %d %s", o.Verdict, o.Code, err, verdict, code)
	}
}

func TestFind(t *testing.T) {
	b := newBucket(t)
	place(t, b, thing("k", "one"))
	place(t, b, thing("k", "two"))
	for content, want := range map[string]string{"one": "k", "two": "k-v2", "three": ""} {
		o := thing("k", content)
		o.Open = nil
		p, found, err := object.Writer{Store: b}.Find(t.Context(), o)
		if err != nil || found != (want != "") || found && p.Key != want {
			t.Errorf("%s: got %+v %v %v, want %q", content, p, found, err, want)
		}
	}
}

// An object that somebody else put, without our metadata, is recognised by the MD5 that the service computed.
func TestForeignObject(t *testing.T) {
	b := newBucket(t)
	b.stored["k"] = stored{content: large}
	if p := place(t, b, thing("k", large)); !p.Again {
		t.Errorf("got %+v, want it recognised", p)
	}
	// Metadata that claims our SHA-256 over other bytes is not believed.
	o := thing("liar", large)
	b.stored["liar"] = stored{content: strings.ToUpper(large), sha256: o.SHA256}
	if p := place(t, b, o); p.Key != "liar-v2" {
		t.Errorf("got %+v, want a second version", p)
	}
}

func TestDamage(t *testing.T) {
	for _, content := range []string{"one", large} {
		b := newBucket(t)
		b.corrupt = 1
		_, err := object.Writer{Store: b}.Place(t.Context(), thing("k", content))
		wantOutcome(t, err, sdk.VerdictRetry, "damaged")
		if len(b.stored) != 0 {
			t.Error("the damaged object is still there")
		}
		if p := place(t, b, thing("k", content)); p.Again || p.Key != "k" {
			t.Errorf("after the damage: got %+v", p)
		}
	}

	b := newBucket(t) // in a bucket with retention it stays, and is passed
	b.corrupt, b.locked = 1, true
	_, err := object.Writer{Store: b}.Place(t.Context(), thing("k", large))
	wantOutcome(t, err, sdk.VerdictRetry, "damaged")
	if p := place(t, b, thing("k", large)); p.Again || p.Key != "k-v2" {
		t.Errorf("damaged and locked: got %+v", p)
	}
	if _, found, _ := (object.Writer{Store: b}).Find(t.Context(), thing("k", large)); !found {
		t.Error("the good version is not found")
	}

	b = newBucket(t) // a process that died between put and delete leaves it; a probe does not believe it
	b.stored["k"] = stored{content: large, sha256: thing("k", large).SHA256, damaged: true}
	if _, found, _ := (object.Writer{Store: b}).Find(t.Context(), thing("k", large)); found {
		t.Error("a damaged object was found good")
	}
	if p := place(t, b, thing("k", large)); p.Key != "k" || b.stored["k"].damaged {
		t.Errorf("repair: got %+v", p)
	}
}

func TestRace(t *testing.T) {
	b := newBucket(t)
	b.race = func(b *bucket) { b.stored["k"] = stored{content: large, sha256: thing("k", large).SHA256} }
	if p := place(t, b, thing("k", large)); !p.Again || p.Key != "k" {
		t.Errorf("equal bytes came first: got %+v", p)
	}
	b = newBucket(t)
	b.race = func(b *bucket) { b.stored["k"] = stored{content: "other", sha256: "x"} }
	if p := place(t, b, thing("k", large)); p.Key != "k-v2" {
		t.Errorf("other bytes came first: got %+v", p)
	}
	b = newBucket(t)
	b.stored["k"] = stored{content: "x"}
	b.noHead = func(string) bool { return true }
	_, err := object.Writer{Store: b}.Place(t.Context(), thing("k", "one"))
	wantOutcome(t, err, sdk.VerdictRetry, "key_in_flux")
}

func TestErrorsPass(t *testing.T) {
	down := sdk.Down("ServiceUnavailable", errors.New("x")).Err()
	for _, op := range []string{"head", "put"} {
		b := newBucket(t)
		b.fail[op] = down
		_, err := object.Writer{Store: b}.Place(t.Context(), thing("k", large))
		if o := sdk.OutcomeOf(err); !o.Down {
			t.Errorf("%s: got %v, want down", op, err)
		}
	}
}

func TestKeysAndMetadata(t *testing.T) {
	for _, key := range []string{"", "/k", `\k`, "a//b", "a/", "a/./b", "../b", "a\nb", "a\xffb", strings.Repeat("k", 1024)} {
		_, err := object.Writer{Store: newBucket(t)}.Place(t.Context(), thing(key, "x"))
		wantOutcome(t, err, sdk.VerdictReject, "bad_key")
	}
	for name, value := range map[string]string{"two words": "x", "größe": "x", "big": strings.Repeat("x", 2048)} {
		o := thing("k", "x")
		o.Meta = map[string]string{name: value}
		_, err := object.Writer{Store: newBucket(t)}.Place(t.Context(), o)
		wantOutcome(t, err, sdk.VerdictReject, "bad_metadata")
	}
	o := thing("k", "x")
	o.Meta = map[string]string{"MsgId": "文 100%\n", "sha256": "a lie", "none": ""}
	if d := cmp.Diff(o.Metadata(), map[string]string{"msgid": "%E6%96%87 100%25%0A", "sha256": o.SHA256}); d != "" {
		t.Errorf("metadata, got then want:\n%s", d)
	}
}

func TestVersionKey(t *testing.T) {
	for _, c := range []struct{ key, want string }{
		{"a/b/1-0_report.pdf", "a/b/1-0_report-v2.pdf"},
		{"a.b/c", "a.b/c-v2"},
		{"a/.hidden", "a/.hidden-v2"},
		{"x.tar.gz", "x.tar-v2.gz"},
		{"v. 2 final draft", "v. 2 final draft-v2"},
		{"name.", "name.-v2"},
		{"报告.pdf", "报告-v2.pdf"},
		{"x-v2.pdf", "x-v2-v2.pdf"},
	} {
		if got := object.VersionKey(c.key, 2); got != c.want {
			t.Errorf("%s: got %s, want %s", c.key, got, c.want)
		}
		if got := object.VersionKey(c.key, 1); got != c.key {
			t.Errorf("%s: the first version is %s", c.key, got)
		}
	}
}

func TestDisposition(t *testing.T) {
	for name, want := range map[string]string{
		"":            "",
		"report.pdf":  "attachment; filename=report.pdf",
		"a b\".pdf":   `attachment; filename="a b\".pdf"`,
		"截图.png":      "attachment; filename*=utf-8''%E6%88%AA%E5%9B%BE.png",
		"x\r\nY: z.a": "attachment; filename*=utf-8''x%0D%0AY%3A%20z.a",
	} {
		if got := (&object.Object{Name: name}).Disposition(); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
}

func TestPartSize(t *testing.T) {
	const mib = 1 << 20
	for size, want := range map[int64]int64{1: 16 * mib, 160_000*mib - 1: 16 * mib, 160_000 * mib: 17 * mib, 5 << 40: 525 * mib} {
		if got := object.PartSize(size); got != want || (size+got-1)/got > 10_000 {
			t.Errorf("%d: got %d, want %d", size, got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		status  int
		code    string
		verdict sdk.Verdict
		want    string
		down    bool
		alarm   bool
	}{
		{500, "InternalError", sdk.VerdictRetry, "InternalError", true, false},
		{503, "SlowDown", sdk.VerdictRetry, "SlowDown", true, false},
		{502, "", sdk.VerdictRetry, "http_502", true, false},
		{429, "TooManyRequests", sdk.VerdictRetry, "TooManyRequests", true, false},
		{403, "SignatureDoesNotMatch", sdk.VerdictRetry, "SignatureDoesNotMatch", true, true},
		{403, "RequestTimeTooSkewed", sdk.VerdictRetry, "RequestTimeTooSkewed", true, true},
		{404, "NoSuchBucket", sdk.VerdictRetry, "NoSuchBucket", true, true},
		{404, "XAdminUserNotFound", sdk.VerdictRetry, "XAdminUserNotFound", true, true},
		{301, "PermanentRedirect", sdk.VerdictRetry, "PermanentRedirect", true, true},
		{404, "NoSuchUpload", sdk.VerdictRetry, "NoSuchUpload", false, false},
		{409, "ConditionalRequestConflict", sdk.VerdictRetry, "ConditionalRequestConflict", false, false},
		{400, "InvalidDigest", sdk.VerdictRetry, "InvalidDigest", false, false},
		{400, "Something <b>new</b>", sdk.VerdictRetry, "http_400", false, false},
		{400, "EntityTooLarge", sdk.VerdictReject, "EntityTooLarge", false, false},
	} {
		err := object.Refusal{Op: "put", Status: c.status, Code: c.code}.Outcome()
		wantOutcome(t, err, c.verdict, c.want)
		if o := sdk.OutcomeOf(err); o.Down != c.down || o.Alarm != c.alarm {
			t.Errorf("%d %s: got down %v alarm %v", c.status, c.code, o.Down, o.Alarm)
		}
	}
	for _, c := range []struct {
		status int
		code   string
		want   error
	}{
		{404, "NoSuchKey", object.ErrNotFound}, {404, "", object.ErrNotFound},
		{409, "FileAlreadyExists", object.ErrTaken}, {409, "FileImmutable", object.ErrTaken}, {412, "PreconditionFailed", object.ErrTaken},
	} {
		if err := (object.Refusal{Status: c.status, Code: c.code}).Outcome(); !errors.Is(err, c.want) {
			t.Errorf("%d %s: got %v, want %v", c.status, c.code, err, c.want)
		}
	}
}
