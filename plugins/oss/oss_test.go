package oss

import (
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/plugins/oss/osssim"
	"github.com/weir-etl/weir/sdk"
)

// A bench is a simulator, a spool, and a sink between them.
type bench struct {
	t     *testing.T
	sim   *osssim.Server
	sink  sdk.Sink
	spool *sdk.Spool
}

func newBench(t *testing.T, opt osssim.Options, clock *sdk.Clock, connection string) *bench {
	t.Helper()
	opt.Buckets = []osssim.Bucket{{Name: "archive"}, {Name: "locked", Retention: 24 * time.Hour}}
	sim, err := osssim.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sim.Close() })
	values := map[string]any{
		"endpoint": sim.URL, "region": "cn-hangzhou", "bucket": "archive", "access_key_id": "ossid", "access_key_secret": "osssecret", "silence": "500ms",
	}
	if err := json.Unmarshal([]byte(connection), &values); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(values)
	b := &bench{t: t, sim: sim, sink: Plugin().Components[0].NewSink(), spool: sdk.OpenSpool(t.TempDir())}
	err = b.sink.Open(t.Context(), &sdk.Env{Connection: raw, Args: json.RawMessage(`{"storage_class":"IA"}`), Clock: clock, Spool: b.spool})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) file(content io.Reader) sdk.File {
	b.t.Helper()
	f := sdk.File{Index: 0, Name: "报告 1.pdf", Size: -1, MediaType: "application/pdf"}
	w, err := b.spool.Create(&f)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := io.Copy(w, content); err != nil {
		b.t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		b.t.Fatal(err)
	}
	return f
}

func (b *bench) text(s string) sdk.File { return b.file(strings.NewReader(s)) }

func (b *bench) write(key string, f sdk.File) (got sdk.Outcome) {
	b.t.Helper()
	args, _ := json.Marshal(map[string]any{"files": []int{0}, "key": []string{key}, "metadata": []any{map[string]string{"msgid": "文1"}}})
	rows := []sdk.Row{{Record: sdk.Record{ID: "r", Files: []sdk.File{f}}, Args: args}}
	if err := b.sink.Write(b.t.Context(), sdk.NewCall(rows, time.Now(), false, func(_ int, o sdk.Outcome) { got = o })); err != nil {
		b.t.Fatal(err)
	}
	return got
}

// done writes and expects success under key want.
func (b *bench) done(key string, f sdk.File, want string) sdk.Outcome {
	b.t.Helper()
	got := b.write(key, f)
	if got.Verdict != sdk.VerdictDone || got.Receipt.Fields["key"].([]string)[0] != want {
		b.t.Fatalf("%s: got %d %s %s %+v, want done under %s", key, got.Verdict, got.Code, got.Detail, got.Receipt, want)
	}
	return got
}

func (b *bench) want(got sdk.Outcome, code string, down, alarm bool) {
	b.t.Helper()
	if got.Verdict != sdk.VerdictRetry || got.Code != code || got.Down != down || got.Alarm != alarm {
		b.t.Errorf("got verdict %d %s (%s) down %v alarm %v, want %s down %v alarm %v", got.Verdict, got.Code, got.Detail, got.Down, got.Alarm, code, down, alarm)
	}
	for _, secret := range []string{"osssecret", "secretname"} {
		if strings.Contains(got.Detail, secret) {
			b.t.Errorf("detail tells %q: %s", secret, got.Detail)
		}
	}
}

func TestStoreAFile(t *testing.T) {
	for _, signature := range []string{"v1", "v4"} {
		b := newBench(t, osssim.Options{}, nil, fmt.Sprintf(`{"signature":%q}`, signature))
		const key = "wx/2026/11/22/single 张三/1-0_报告+1.pdf"
		f := b.text("content")
		got := b.done(key, f, key)
		o, _ := b.sim.Object("archive", key)
		if string(o.Bytes) != "content" || o.StorageClass != "IA" || o.Meta["sha256"] != f.SHA256 || o.Meta["msgid"] != "%E6%96%871" ||
			o.Header["Content-Type"] != "application/pdf" || o.Header["Content-Disposition"] != "attachment; filename*=utf-8''%E6%8A%A5%E5%91%8A%201.pdf" {
			t.Errorf("object: got %+v", o)
		}
		url := b.sim.URL + "/archive/wx/2026/11/22/single%20%E5%BC%A0%E4%B8%89/1-0_%E6%8A%A5%E5%91%8A+1.pdf"
		if d := cmp.Diff(got.Receipt.URLs, []string{url}); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(got.Receipt.Fields["etag"], []string{fmt.Sprintf("%X", md5.Sum([]byte("content")))}); d != "" {
			t.Error(d)
		}
		b.done(key, f, key)
		b.done(key, b.text("other"), strings.Replace(key, ".pdf", "-v2.pdf", 1))
		b.done("empty", b.text(""), "empty")
		if c := b.sim.Counts(); c.Stored != 3 || c.Overwritten != 0 {
			t.Errorf("got %d stored, %d overwritten, want 3 and 0", c.Stored, c.Overwritten)
		}
	}
}

// A bucket with retention answers a redelivery with 409; so does any bucket when an answer was lost.
func TestLostAnswer(t *testing.T) {
	for _, bucket := range []string{"archive", "locked"} {
		b := newBench(t, osssim.Options{}, nil, fmt.Sprintf(`{"bucket":%q}`, bucket))
		f := b.text("content")
		b.sim.Inject(osssim.Fault{Kind: osssim.DropAfter, Op: "PutObject", Count: 1})
		b.want(b.write("secretname", f), "unreachable", true, false)
		b.done("secretname", f, "secretname")
		if c := b.sim.Counts(); c.Stored != 1 || c.Repeated != 1 {
			t.Errorf("got %d stored, %d repeated, want 1 and 1", c.Stored, c.Repeated)
		}
	}
}

func TestFaults(t *testing.T) {
	b := newBench(t, osssim.Options{}, nil, `{}`)
	f := b.text("content")
	for _, c := range []struct {
		fault       osssim.FaultKind
		code        string
		down, alarm bool
	}{
		{osssim.Fail500, "InternalError", true, false},
		{osssim.Fail503, "ServiceUnavailable", true, false},
		{osssim.Fail503HTML, "unreachable", true, false},
		{osssim.Deny, "AccessDenied", true, true},
		{osssim.Hang, "unreachable", true, false},
		{osssim.LieCRC, "damaged", false, false},
	} {
		b.sim.Inject(osssim.Fault{Kind: c.fault, Op: "PutObject", Count: 1})
		b.want(b.write("secretname", f), c.code, c.down, c.alarm)
	}
	for _, kind := range []osssim.FaultKind{osssim.Fail500, osssim.Fail503, osssim.Fail503HTML} {
		for after, want := range map[string]time.Duration{
			"90": 90 * time.Second,
			time.Now().Add(10*time.Minute + 30*time.Second).UTC().Format(http.TimeFormat): 10 * time.Minute,
		} {
			b.sim.Inject(osssim.Fault{Kind: kind, Op: "PutObject", Count: 1, RetryAfter: after})
			o := b.write("secretname", f)
			if want > 5*time.Minute { // the date is that of whole seconds, and time goes by
				o.After = o.After.Truncate(10 * time.Minute)
			}
			if !o.Down || o.After != want {
				t.Errorf("fault %d, Retry-After %s: got down %v, after %v", kind, after, o.Down, o.After)
			}
		}
	}
	if n := len(b.sim.Objects()); n != 0 {
		t.Errorf("got %d objects after the faults, want none: the damaged one is deleted", n)
	}
	b.sim.Refuse(true)
	b.want(b.write("secretname", f), "unreachable", true, false)
	b.sim.Refuse(false)
	b.done("secretname", f, "secretname")
}

// Where retention forbids to delete what a wrong CRC was reported for, the object turns out whole when asked again.
func TestLyingCRCUnderRetention(t *testing.T) {
	b := newBench(t, osssim.Options{}, nil, `{"bucket":"locked"}`)
	f := b.text("content")
	b.sim.Inject(osssim.Fault{Kind: osssim.LieCRC, Op: "PutObject", Count: 1})
	b.want(b.write("k", f), "damaged", false, false)
	b.done("k", f, "k")
}

func TestConfigurationMistakes(t *testing.T) {
	for connection, code := range map[string]string{
		`{"access_key_secret":"wrong"}`:                  "SignatureDoesNotMatch",
		`{"access_key_id":"nobody"}`:                     "InvalidAccessKeyId",
		`{"bucket":"missing"}`:                           "NoSuchBucket",
		`{"signature":"v1","security_token":"stale"}`:    "InvalidSecurityToken",
		`{"signature":"v1","access_key_secret":"wrong"}`: "SignatureDoesNotMatch",
	} {
		b := newBench(t, osssim.Options{}, nil, connection)
		b.want(b.write("k", b.text("x")), code, true, true)
	}
	b := newBench(t, osssim.Options{}, sdk.NewClock(time.Now(), time.Now().Add(-time.Hour), 1), `{}`)
	b.want(b.write("k", b.text("x")), "RequestTimeTooSkewed", true, true)

	for _, bad := range []string{`{"endpoint":"oss-cn-hangzhou.aliyuncs.com","bucket":"b"}`, `{"endpoint":"http://x","bucket":"b"}`, `{"endpoint":"http://x","region":"r","bucket":"B_"}`, `{"colour":1}`} {
		if err := Plugin().Components[0].NewSink().Open(t.Context(), &sdk.Env{Connection: json.RawMessage(bad)}); err == nil {
			t.Errorf("%s: got no error", bad)
		}
	}
}

// Requests are dated by the engine's clock, also at 2020 and at many times the speed.
func TestSimulatedTime(t *testing.T) {
	clock := sdk.NewClock(time.Now(), time.Date(2020, 10, 28, 3, 0, 0, 0, time.UTC), 3600)
	b := newBench(t, osssim.Options{Now: clock.Now, Skew: 3600 * 15 * time.Minute}, clock, `{}`)
	b.done("k", b.text("x"), "k")
	if o, _ := b.sim.Object("archive", "k"); o.Modified.Year() != 2020 {
		t.Errorf("stored at %v", o.Modified)
	}
}

// endless is content that is cheap to make and differs everywhere.
type endless struct{ n uint64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		e.n = e.n*6364136223846793005 + 1442695040888963407
		p[i] = byte(e.n >> 56)
	}
	return len(p), nil
}

func TestParts(t *testing.T) {
	b := newBench(t, osssim.Options{KeepBytesUpTo: -1}, nil, `{"silence":"10s"}`)
	const size = object.PartsFrom + 1
	f := b.file(io.LimitReader(&endless{}, size))

	// A process that died left an upload of this key behind, and somebody else one of another key.
	other, mine := b.initiate("big.bin.other"), b.initiate("big.bin")
	b.sim.Inject(osssim.Fault{Kind: osssim.Fail503, Op: "UploadPart", Count: 1})
	b.want(b.write("big.bin", f), "ServiceUnavailable", true, false)
	if u := b.sim.Uploads(); len(u) != 1 || u[0].ID != other {
		t.Errorf("uploads left: got %+v, want only that of the other key, not %s", u, mine)
	}
	b.sim.Inject(osssim.Fault{Kind: osssim.LieCRC, Op: "UploadPart", Count: 1})
	b.want(b.write("big.bin", f), "damaged", false, false)
	b.sim.Inject(osssim.Fault{Kind: osssim.LieCRC, Op: "CompleteMultipartUpload", Count: 1})
	b.want(b.write("big.bin", f), "damaged", false, false)
	if n := len(b.sim.Objects()); n != 0 {
		t.Errorf("got %d objects, want the damaged one deleted", n)
	}
	b.sim.Inject(osssim.Fault{Kind: osssim.DropAfter, Op: "CompleteMultipartUpload", Count: 1})
	b.want(b.write("big.bin", f), "unreachable", true, false)
	puts := b.sim.Counts().ByOp["UploadPart"]
	b.done("big.bin", f, "big.bin")
	if now := b.sim.Counts().ByOp["UploadPart"]; now != puts {
		t.Errorf("%d parts were sent of an object that was there", now-puts)
	}
	o, _ := b.sim.Object("archive", "big.bin")
	if o.Size != size || o.Type != "Multipart" || fmt.Sprintf("%x", o.SHA256) != f.SHA256 || o.StorageClass != "IA" {
		t.Errorf("object: got %+v", o)
	}

	// Bit rot, or a lie that could not be deleted: the metadata and the service disagree.
	o.CRC64++
	b.sim.Replace(o)
	b.done("big.bin", f, "big.bin")
	if now := b.sim.Counts().ByOp["UploadPart"]; now == puts {
		t.Error("a damaged object was taken for good")
	}
	if n := len(b.sim.Uploads()); n != 1 {
		t.Errorf("got %d uploads left, want 1", n)
	}
}

func (b *bench) initiate(key string) string {
	b.t.Helper()
	made, err := connect(&sdk.Env{Connection: json.RawMessage(fmt.Sprintf(
		`{"endpoint":%q,"region":"cn-hangzhou","bucket":"archive","access_key_id":"ossid","access_key_secret":"osssecret"}`, b.sim.URL))}, object.Step{})
	if err != nil {
		b.t.Fatal(err)
	}
	up, err := made.(*store).bucket.InitiateMultipartUpload(key)
	if err != nil {
		b.t.Fatal(err)
	}
	return up.UploadID
}

// Bytes that cannot be read are no outage of the service.
func TestUnreadableBytes(t *testing.T) {
	b := newBench(t, osssim.Options{}, nil, `{}`)
	f := b.text("content")
	f.SpoolKey = sdk.NewSecret("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	b.want(b.write("k", f), "unreadable", false, false)
	f.Spool = "f-gone"
	b.want(b.write("k", f), "need_bytes", false, false)
	if _, ok := b.sim.Object("archive", "k"); ok {
		t.Error("unreadable bytes were stored")
	}
}
