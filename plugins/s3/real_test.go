//go:build real

package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// These tests run against versitygw, a real S3 server (built with `go install github.com/versity/versitygw/cmd/versitygw@v1.8.0`
// into the folder that WEIR_VERSITYGW names). gofakes3 would prove nothing: it accepts wrong signatures and wrong checksums.

const accessKey, secretKey = "weirtest", "weirtestsecret"

// gateway starts versitygw on a free port and returns its URL and a function that freezes (true) or wakes (false) it.
func gateway(t *testing.T) (endpoint string, freeze func(bool)) {
	t.Helper()
	folder := os.Getenv("WEIR_VERSITYGW")
	if folder == "" {
		t.Fatal("WEIR_VERSITYGW must name the folder that holds the binary versitygw")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	data, versions := t.TempDir(), t.TempDir()
	cmd := exec.Command(filepath.Join(folder, "versitygw"), "--port", addr, "--access", accessKey, "--secret", secretKey, "--quiet",
		"posix", "--versioning-dir", versions, data)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw:\n%s", output.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("versitygw does not listen: %s", output.String())
		}
		time.Sleep(20 * time.Millisecond) // there is nothing to wait on but the port
	}
	return "http://" + addr, func(stop bool) {
		signal := syscall.SIGCONT
		if stop {
			signal = syscall.SIGSTOP
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		if stop { // it goes on for a moment
			if _, err := syscall.Wait4(cmd.Process.Pid, nil, syscall.WUNTRACED, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A bench is a sink with its bucket on a real server.
type bench struct {
	t     *testing.T
	sink  sdk.Sink
	store *store
	spool *sdk.Spool
}

func newBench(t *testing.T, endpoint, connection, args string) *bench {
	t.Helper()
	values := map[string]any{"endpoint": endpoint, "bucket": "archive", "access_key_id": accessKey, "access_key_secret": secretKey, "silence": "10s"}
	if err := json.Unmarshal([]byte(connection), &values); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(values)
	env := &sdk.Env{Connection: raw, Args: json.RawMessage(args), Spool: sdk.OpenSpool(t.TempDir())}
	b := &bench{t: t, sink: Plugin().Components[0].NewSink(), spool: env.Spool}
	if err := b.sink.Open(t.Context(), env); err != nil {
		t.Fatal(err)
	}
	made, err := connect(env, object.Step{})
	if err != nil {
		t.Fatal(err)
	}
	b.store = made.(*store)
	return b
}

func (b *bench) createBucket(lock bool) {
	b.t.Helper()
	_, err := b.store.client.CreateBucket(b.t.Context(), &s3.CreateBucketInput{Bucket: &b.store.bucket, ObjectLockEnabledForBucket: &lock})
	if err != nil {
		b.t.Fatal(err)
	}
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

func (b *bench) write(args string, files ...sdk.File) (got sdk.Outcome) {
	b.t.Helper()
	rows := []sdk.Row{{Record: sdk.Record{ID: "r", Body: []byte(`{"text":"文"}`), Files: files}, Args: json.RawMessage(args)}}
	if err := b.sink.Write(b.t.Context(), sdk.NewCall(rows, time.Now(), false, func(_ int, o sdk.Outcome) { got = o })); err != nil {
		b.t.Fatal(err)
	}
	return got
}

func (b *bench) put(key string, f sdk.File) sdk.Outcome {
	args, _ := json.Marshal(map[string]any{"files": []int{0}, "key": []string{key}, "metadata": []any{map[string]string{"msgid": "文1"}}})
	return b.write(string(args), f)
}

func (b *bench) done(key string, f sdk.File, want string) sdk.Outcome {
	b.t.Helper()
	got := b.put(key, f)
	if got.Verdict != sdk.VerdictDone || got.Receipt.Fields["key"].([]string)[0] != want {
		b.t.Fatalf("%s: got verdict %d %s %s %+v, want done under %s", key, got.Verdict, got.Code, got.Detail, got.Receipt, want)
	}
	return got
}

func (b *bench) want(got sdk.Outcome, code string, down, alarm bool) {
	b.t.Helper()
	if got.Verdict != sdk.VerdictRetry || code != "" && got.Code != code || got.Down != down || got.Alarm != alarm {
		b.t.Errorf("got verdict %d %s (%s) down %v alarm %v, want %s down %v alarm %v", got.Verdict, got.Code, got.Detail, got.Down, got.Alarm, code, down, alarm)
	}
	if strings.Contains(got.Detail, secretKey) || strings.Contains(got.Detail, "secretname") {
		b.t.Errorf("detail tells too much: %s", got.Detail)
	}
}

func (b *bench) read(key string) (string, *s3.GetObjectOutput) {
	b.t.Helper()
	unbounded := func(o *s3.Options) { o.HTTPClient = http.DefaultClient } // the sink reads no objects, and bounds what it is answered
	out, err := b.store.client.GetObject(b.t.Context(), &s3.GetObjectInput{Bucket: &b.store.bucket, Key: &key}, unbounded)
	if err != nil {
		b.t.Fatal(err)
	}
	defer out.Body.Close()
	content, err := io.ReadAll(out.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(content), out
}

func (b *bench) uploads() int {
	b.t.Helper()
	out, err := b.store.client.ListMultipartUploads(b.t.Context(), &s3.ListMultipartUploadsInput{Bucket: &b.store.bucket})
	if err != nil {
		b.t.Fatal(err)
	}
	return len(out.Uploads)
}

func TestStoreFilesAndBodies(t *testing.T) {
	endpoint, _ := gateway(t)
	for i, checksum := range []string{"sha256", "when_required"} {
		bucket := fmt.Sprintf("archive%d", i)
		b := newBench(t, endpoint, fmt.Sprintf(`{"bucket":%q}`, bucket), fmt.Sprintf(`{"checksum":%q}`, checksum))
		b.createBucket(false)
		const key = "wx/2026/single 张三/1-0_报告+1.pdf"
		f := b.text("content")
		got := b.done(key, f, key)
		content, h := b.read(key)
		if content != "content" || aws.ToString(h.ContentType) != "application/pdf" ||
			aws.ToString(h.ContentDisposition) != "attachment; filename*=utf-8''%E6%8A%A5%E5%91%8A%201.pdf" {
			t.Errorf("object: got %q %v %v", content, aws.ToString(h.ContentType), aws.ToString(h.ContentDisposition))
		}
		if d := cmp.Diff(h.Metadata, map[string]string{"sha256": f.SHA256, "msgid": "%E6%96%871"}); d != "" {
			t.Error(d)
		}
		if d := cmp.Diff(got.Receipt.URLs, []string{endpoint + "/" + bucket + "/wx/2026/single%20%E5%BC%A0%E4%B8%89/1-0_%E6%8A%A5%E5%91%8A+1.pdf"}); d != "" {
			t.Error(d)
		}
		b.done(key, f, key)
		second := b.done(key, b.text("other"), strings.Replace(key, ".pdf", "-v2.pdf", 1))
		if len(second.Receipt.URLs) != 2 {
			t.Errorf("urls: got %v, want both versions", second.Receipt.URLs)
		}
		if content, _ := b.read(key); content != "content" {
			t.Errorf("the first version became %q", content)
		}
		b.done("empty", b.text(""), "empty")
		large := strings.Repeat("x", 300_000)
		b.done("large", b.text(large), "large")
		b.done("large", b.text(large), "large")

		for range 2 {
			got := b.write(`{"files":[0],"key":["b/file"],"body_key":"b/1.json"}`, f)
			if got.Verdict != sdk.VerdictDone || len(got.Receipt.URLs) != 2 {
				t.Errorf("file and body: got %+v", got)
			}
		}
		if content, h := b.read("b/1.json"); content != `{"text":"文"}` || aws.ToString(h.ContentType) != "application/json" {
			t.Errorf("body: got %s", content)
		}
	}
}

func TestServerRefuses(t *testing.T) {
	endpoint, freeze := gateway(t)
	b := newBench(t, endpoint, `{"silence":"1s"}`, `{}`)
	f := b.text("x")
	b.want(b.put("secretname", f), "NoSuchBucket", true, true)
	b.createBucket(false)
	for _, connection := range []string{`{"access_key_secret":"wrong"}`, `{"access_key_id":"nobody"}`} {
		other := newBench(t, endpoint, connection, `{}`)
		got := other.put("secretname", other.text("x"))
		b.want(got, "", true, true)
	}

	// What the server is told of the content is checked by it, with either kind of checksum.
	for _, checksum := range []string{"sha256", "when_required"} {
		liar := newBench(t, endpoint, `{}`, fmt.Sprintf(`{"checksum":%q}`, checksum))
		f := liar.text("content")
		f.SHA256, f.MD5 = liar.text("lie").SHA256, liar.text("lie").MD5
		if got := liar.put("liar", f); got.Verdict != sdk.VerdictRetry || got.Down {
			t.Errorf("%s: wrong checksum: got %+v, want a retry", checksum, got)
		}
	}

	freeze(true)
	b.want(b.put("secretname", f), "unreachable", true, false)
	freeze(false)
	b.done("later", f, "later")
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
	endpoint, _ := gateway(t)
	for i, checksum := range []string{"sha256", "when_required"} {
		b := newBench(t, endpoint, fmt.Sprintf(`{"bucket":"archive%d"}`, i), fmt.Sprintf(`{"checksum":%q}`, checksum))
		b.createBucket(false)
		const size = object.PartsFrom + 1
		f := b.file(io.LimitReader(&endless{}, size))
		// A process that died left an upload behind.
		if _, err := b.store.client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &b.store.bucket, Key: aws.String("big.bin")}); err != nil {
			t.Fatal(err)
		}
		b.done("big.bin", f, "big.bin")
		b.done("big.bin", f, "big.bin")
		b.done("big.bin", b.file(io.LimitReader(&endless{1}, size)), "big-v2.bin")
		want, _ := io.ReadAll(io.LimitReader(&endless{}, size))
		if content, _ := b.read("big.bin"); content != string(want) {
			t.Errorf("%s: got %d other bytes back", checksum, len(content))
		}
		if n := b.uploads(); n != 0 {
			t.Errorf("%s: %d uploads are left", checksum, n)
		}

		// Completing over a key that came meanwhile is refused, and the parts go away.
		o := &object.Object{Size: size, SHA256: f.SHA256, MD5: f.MD5, Open: func() (io.ReadSeekCloser, error) { return b.spool.Open(&f) }}
		if _, err := b.store.Put(t.Context(), "big.bin", o); err != object.ErrTaken {
			t.Errorf("%s: put over a taken key: got %v, want ErrTaken", checksum, err)
		}
		if n := b.uploads(); n != 0 {
			t.Errorf("%s: %d uploads are left after a refusal", checksum, n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		if _, err := b.store.Put(ctx, "cut.bin", o); err == nil {
			t.Errorf("%s: an interrupted put was a success", checksum)
		}
		cancel()
		if n := b.uploads(); n != 0 {
			t.Errorf("%s: %d uploads are left after an interruption", checksum, n)
		}
	}
}

// A locked object cannot be deleted, and writing once goes on as before; object lock alone would not keep a key unique.
func TestObjectLock(t *testing.T) {
	endpoint, _ := gateway(t)
	b := newBench(t, endpoint, `{}`, `{}`)
	b.createBucket(true)
	_, err := b.store.client.PutObjectLockConfiguration(t.Context(), &s3.PutObjectLockConfigurationInput{
		Bucket: &b.store.bucket,
		ObjectLockConfiguration: &types.ObjectLockConfiguration{
			ObjectLockEnabled: types.ObjectLockEnabledEnabled,
			Rule:              &types.ObjectLockRule{DefaultRetention: &types.DefaultRetention{Mode: types.ObjectLockRetentionModeCompliance, Days: aws.Int32(1)}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	f := b.text("content")
	first := b.done("k", f, "k")
	again := b.done("k", f, "k")
	if d := cmp.Diff(again.Receipt.Fields, first.Receipt.Fields); d != "" {
		t.Errorf("a second time, got then want:\n%s", d)
	}
	version := first.Receipt.Fields["version_id"].([]string)[0]
	if version == "" {
		t.Error("no version id from a bucket with versions")
	}
	if err := b.store.Delete(t.Context(), "k", object.Info{VersionID: version}); err == nil {
		t.Error("a locked version was deleted")
	}
	b.done("k", b.text("other"), "k-v2")
}
