package osssim_test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/oss/osssim"
)

func start(t *testing.T, opt osssim.Options) *osssim.Server {
	t.Helper()
	if opt.Buckets == nil {
		opt.Buckets = []osssim.Bucket{{Name: "archive"}, {Name: "locked", Retention: 24 * time.Hour}}
	}
	s, err := osssim.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func bucket(t *testing.T, s *osssim.Server, name string, opts ...oss.ClientOption) *oss.Bucket {
	t.Helper()
	client, err := oss.New(s.URL, "ossid", "osssecret", opts...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := client.Bucket(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func v4() []oss.ClientOption {
	return []oss.ClientOption{oss.AuthVersion(oss.AuthV4), oss.Region("cn-hangzhou")}
}

// bothSignatures runs a test through the vendor's client with V1 and with V4.
func bothSignatures(t *testing.T, f func(t *testing.T, opts ...oss.ClientOption)) {
	t.Run("V1", func(t *testing.T) { f(t) })
	t.Run("V4", func(t *testing.T) { f(t, v4()...) })
}

// wantCode checks status and code of a service error and that it carries a
// request id.
func wantCode(t *testing.T, err error, status int, code string) {
	t.Helper()
	var se oss.ServiceError
	if !errors.As(err, &se) {
		t.Fatalf("got error %v, want service error %s", err, code)
	}
	if se.StatusCode != status || se.Code != code {
		t.Errorf("got %d %s, want %d %s", se.StatusCode, se.Code, status, code)
	}
	if se.RequestID == "" {
		t.Errorf("%s without request id", se.Code)
	}
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func TestPutGetHeadDelete(t *testing.T) {
	bothSignatures(t, func(t *testing.T, opts ...oss.ClientOption) {
		s := start(t, osssim.Options{})
		b := bucket(t, s, "archive", opts...)
		const key = "wx/2026/截图 日本語+plus~*'()&=?#.png"
		body := pattern(70_000)
		sum := md5.Sum(body)
		var answer http.Header
		err := b.PutObject(key, bytes.NewReader(body), oss.ContentType("image/png"), oss.ContentDisposition("inline"),
			oss.ContentMD5(base64.StdEncoding.EncodeToString(sum[:])), oss.Meta("sha256", "abc"),
			oss.ObjectStorageClass(oss.StorageIA), oss.ForbidOverWrite(true), oss.GetResponseHeader(&answer))
		if err != nil {
			t.Fatal(err)
		}
		crc := strconv.FormatUint(crc64.Checksum(body, crc64.MakeTable(crc64.ECMA)), 10)
		if got := answer.Get("X-Oss-Hash-Crc64ecma"); got != crc {
			t.Errorf("crc of put: got %s, want %s", got, crc)
		}
		if got, want := answer.Get("Etag"), fmt.Sprintf(`"%X"`, sum); got != want {
			t.Errorf("etag: got %s, want %s", got, want)
		}

		head, err := b.GetObjectDetailedMeta(key)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"Content-Type": "image/png", "Content-Disposition": "inline", "Content-Length": "70000", "X-Oss-Meta-Sha256": "abc",
			"X-Oss-Storage-Class": "IA", "X-Oss-Object-Type": "Normal", "X-Oss-Hash-Crc64ecma": crc,
		} {
			if got := head.Get(name); got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		if got := read(t, b, key); !bytes.Equal(got, body) {
			t.Errorf("got %d bytes back, want the %d that went in", len(got), len(body))
		}
		if got := read(t, b, key, oss.Range(10, 19)); !bytes.Equal(got, body[10:20]) {
			t.Errorf("range: got %x, want %x", got, body[10:20])
		}
		if got := read(t, b, key, oss.NormalizedRange("-5")); !bytes.Equal(got, body[len(body)-5:]) {
			t.Errorf("suffix range: got %x", got)
		}
		if got := read(t, b, key, oss.Range(80_000, 90_000)); len(got) != len(body) {
			t.Errorf("range beyond the end: got %d bytes, want the whole object", len(got))
		}
		_, err = b.GetObject(key, oss.Range(80_000, 90_000), oss.RangeBehavior("standard"))
		wantCode(t, err, 416, "InvalidRange")

		for range 2 { // the second time nothing is there, and that is a success
			if err := b.DeleteObject(key); err != nil {
				t.Fatal(err)
			}
		}
		_, err = b.GetObject(key)
		wantCode(t, err, 404, "NoSuchKey")
		_, err = b.GetObjectDetailedMeta(key)
		wantCode(t, err, 404, "NoSuchKey")
	})
}

func read(t *testing.T, b *oss.Bucket, key string, opts ...oss.Option) []byte {
	t.Helper()
	rc, err := b.GetObject(key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	got, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRefusals(t *testing.T) {
	bothSignatures(t, func(t *testing.T, opts ...oss.ClientOption) {
		now := time.Now()
		s := start(t, osssim.Options{Now: func() time.Time { return now }})
		b, locked := bucket(t, s, "archive", opts...), bucket(t, s, "locked", opts...)
		put := func(b *oss.Bucket, key, body string, opts ...oss.Option) error {
			return b.PutObject(key, strings.NewReader(body), opts...)
		}
		if err := errors.Join(put(b, "k", "one"), put(locked, "k", "one")); err != nil {
			t.Fatal(err)
		}

		wantCode(t, put(b, "k", "one", oss.ForbidOverWrite(true)), 409, "FileAlreadyExists")
		wantCode(t, put(b, "k", "two", oss.ForbidOverWrite(true)), 409, "FileAlreadyExists")
		wantCode(t, put(locked, "k", "two"), 409, "FileImmutable")
		wantCode(t, locked.DeleteObject("k"), 409, "FileImmutable")
		wantCode(t, put(b, "m", "x", oss.ContentMD5("AAAAAAAAAAAAAAAAAAAAAA==")), 400, "InvalidDigest")
		wantCode(t, put(b, "m", "x", oss.ContentMD5("AAAA")), 400, "InvalidDigest")
		wantCode(t, put(b, "m", "x", oss.ObjectStorageClass("Cheap")), 400, "InvalidArgument")
		wantCode(t, put(b, "m", "x", oss.SetHeader("x-oss-forbid-overwrite", "abc")), 400, "InvalidArgument")
		wantCode(t, put(b, "m", "x", oss.Meta("big", strings.Repeat("v", 9000))), 400, "InvalidArgument")
		wantCode(t, put(b, "m", "x", oss.SetHeader("x-oss-server-side-encryption", "AES256")), 501, "NotImplemented")
		wantCode(t, put(b, strings.Repeat("k", 1024), "x"), 400, "InvalidObjectName")
		wantCode(t, put(bucket(t, s, "nobody", opts...), "m", "x"), 404, "NoSuchBucket")
		if _, ok := s.Object("archive", "m"); ok {
			t.Error("a refused put was stored")
		}
		if err := put(b, "cold", "x", oss.ObjectStorageClass(oss.StorageArchive)); err != nil {
			t.Fatal(err)
		}
		_, err := b.GetObject("cold")
		wantCode(t, err, 403, "InvalidObjectState")

		now = now.Add(25 * time.Hour) // past the retention; the client's clock is real, so it is set back at once
		locked2 := put(locked, "k", "two", oss.SetHeader("Date", now.UTC().Format(http.TimeFormat)))
		if locked2 != nil {
			t.Errorf("put after the retention: %v", locked2)
		}
		wantCode(t, put(b, "k", "x"), 403, "RequestTimeTooSkewed")

		if c := s.Counts(); c.Repeated != 1 || c.Overwritten != 1 {
			t.Errorf("got %d repeated and %d overwritten, want 1 and 1", c.Repeated, c.Overwritten)
		}
	})
}

func TestCredentials(t *testing.T) {
	s := start(t, osssim.Options{SecurityToken: "sts"})
	try := func(id, secret string, opts ...oss.ClientOption) error {
		client, err := oss.New(s.URL, id, secret, opts...)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := client.Bucket("archive")
		return b.PutObject("k", strings.NewReader("x"))
	}
	bothSignatures(t, func(t *testing.T, opts ...oss.ClientOption) {
		wantCode(t, try("other", "osssecret", opts...), 403, "InvalidAccessKeyId")
		wantCode(t, try("ossid", "wrong", opts...), 403, "SignatureDoesNotMatch")
		wantCode(t, try("ossid", "osssecret", opts...), 403, "InvalidSecurityToken")
		wantCode(t, try("ossid", "osssecret", append(opts, oss.SecurityToken("old"))...), 403, "InvalidSecurityToken")
		if err := try("ossid", "osssecret", append(opts, oss.SecurityToken("sts"))...); err != nil {
			t.Error(err)
		}
	})
	wantCode(t, try("ossid", "osssecret", oss.AuthVersion(oss.AuthV4), oss.Region("cn-beijing")), 400, "InvalidArgument")
	wantCode(t, try("ossid", "osssecret", oss.AuthVersion(oss.AuthV2)), 400, "InvalidArgument")
	if err := try("ossid", "osssecret", append(v4(), oss.SecurityToken("sts"), oss.AdditionalHeaders([]string{"host", "content-length"}))...); err != nil {
		t.Errorf("V4 with additional headers: %v", err)
	}
}

func TestList(t *testing.T) {
	bothSignatures(t, func(t *testing.T, opts ...oss.ClientOption) {
		s := start(t, osssim.Options{})
		b := bucket(t, s, "archive", opts...)
		keys := []string{"a/1 文", "a/2", "a/3", "b/1", "c"}
		for _, k := range keys {
			if err := b.PutObject(k, strings.NewReader(k)); err != nil {
				t.Fatal(err)
			}
		}
		var v1, v2 []string
		for marker := ""; ; {
			res, err := b.ListObjects(oss.MaxKeys(2), oss.Marker(marker))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range res.Objects {
				v1 = append(v1, o.Key)
			}
			if marker = res.NextMarker; !res.IsTruncated {
				break
			}
		}
		for token := ""; ; {
			o := []oss.Option{oss.MaxKeys(2)}
			if token != "" {
				o = append(o, oss.ContinuationToken(token))
			}
			res, err := b.ListObjectsV2(o...)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range res.Objects {
				v2 = append(v2, o.Key)
			}
			if token = res.NextContinuationToken; !res.IsTruncated {
				break
			}
		}
		if d := cmp.Diff(v1, keys); d != "" {
			t.Errorf("version 1, got then want:\n%s", d)
		}
		if d := cmp.Diff(v2, keys); d != "" {
			t.Errorf("version 2, got then want:\n%s", d)
		}
		res, err := b.ListObjectsV2(oss.Delimiter("/"), oss.MaxKeys(2))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(res.CommonPrefixes, []string{"a/", "b/"}); d != "" || !res.IsTruncated {
			t.Errorf("prefixes, truncated %v:\n%s", res.IsTruncated, d)
		}
		_, err = b.ListObjects(oss.MaxKeys(1001))
		wantCode(t, err, 400, "InvalidArgument")
		_, err = b.ListObjectsV2(oss.ContinuationToken("%%"))
		wantCode(t, err, 400, "InvalidArgument")

		if _, err := b.Client.GetBucketInfo("archive"); err != nil {
			t.Error(err)
		}
		del, err := b.DeleteObjects([]string{"a/1 文", "nothing"})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(del.DeletedObjects, []string{"a/1 文", "nothing"}); d != "" {
			t.Error(d)
		}
		if _, ok := s.Object("archive", "a/1 文"); ok {
			t.Error("deleted object is still there")
		}
		lockedBucket := bucket(t, s, "locked", opts...)
		if err := lockedBucket.PutObject("k", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		if del, err = lockedBucket.DeleteObjects([]string{"k"}); err != nil || len(del.DeletedObjects) != 0 {
			t.Errorf("a retained object was deleted: %v %v", del.DeletedObjects, err)
		}
	})
}

func TestMultipart(t *testing.T) {
	bothSignatures(t, func(t *testing.T, opts ...oss.ClientOption) {
		s := start(t, osssim.Options{KeepBytesUpTo: 1000})
		b := bucket(t, s, "archive", opts...)
		body := pattern(250_000)
		up, err := b.InitiateMultipartUpload("big 文.bin", oss.ContentType("video/mp4"), oss.Meta("sha256", "s"), oss.ForbidOverWrite(true))
		if err != nil {
			t.Fatal(err)
		}
		part := func(n int, p []byte) oss.UploadPart {
			t.Helper()
			res, err := b.UploadPart(up, bytes.NewReader(p), int64(len(p)), n)
			if err != nil {
				t.Fatal(err)
			}
			return res
		}
		part(2, []byte("to be replaced"))
		p2, p1, small := part(2, body[102_400:]), part(1, body[:102_400]), part(7, []byte("small"))

		listed, err := b.ListUploadedParts(up, oss.MaxParts(2))
		if err != nil {
			t.Fatal(err)
		}
		if len(listed.UploadedParts) != 2 || !listed.IsTruncated || listed.NextPartNumberMarker != "2" || listed.UploadedParts[0].Size != 102_400 {
			t.Errorf("parts: got %+v", listed)
		}
		uploads, err := b.ListMultipartUploads()
		if err != nil || len(uploads.Uploads) != 1 || uploads.Uploads[0].Key != "big 文.bin" {
			t.Errorf("uploads: got %+v, %v", uploads.Uploads, err)
		}

		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{p1, small, {PartNumber: 9, ETag: p2.ETag}})
		wantCode(t, err, 400, "InvalidPart")
		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{p1, {PartNumber: 2, ETag: p1.ETag}})
		wantCode(t, err, 400, "InvalidPart")
		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{small, {PartNumber: 8, ETag: "x"}})
		wantCode(t, err, 400, "InvalidPart")
		last := part(8, []byte("end"))
		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{small, last})
		wantCode(t, err, 400, "EntityTooSmall")
		_, err = b.UploadPart(up, strings.NewReader("x"), 1, 10_001)
		wantCode(t, err, 400, "InvalidArgument")
		_, err = b.UploadPart(up, strings.NewReader("x"), 1, 3, oss.ContentMD5("AAAAAAAAAAAAAAAAAAAAAA=="))
		wantCode(t, err, 400, "InvalidDigest")

		var answer http.Header
		done, err := b.CompleteMultipartUpload(up, []oss.UploadPart{p1, p2}, oss.ForbidOverWrite(true), oss.GetResponseHeader(&answer))
		if err != nil {
			t.Fatal(err)
		}
		o, ok := s.Object("archive", "big 文.bin")
		if !ok || o.Size != 250_000 || o.MD5 != md5.Sum(body) || o.Bytes != nil || o.Type != "Multipart" || o.Meta["sha256"] != "s" || o.Header["Content-Type"] != "video/mp4" {
			t.Errorf("object: got %+v", o)
		}
		if !strings.HasSuffix(done.ETag, `-2"`) || answer.Get("X-Oss-Hash-Crc64ecma") != strconv.FormatUint(crc64.Checksum(body, crc64.MakeTable(crc64.ECMA)), 10) {
			t.Errorf("answer: etag %s, crc %s", done.ETag, answer.Get("X-Oss-Hash-Crc64ecma"))
		}
		_, err = b.GetObject("big 文.bin")
		wantCode(t, err, 501, "NotImplemented")

		_, err = b.CompleteMultipartUpload(up, []oss.UploadPart{p1, p2})
		wantCode(t, err, 404, "NoSuchUpload")
		_, err = b.UploadPart(up, strings.NewReader("x"), 1, 1)
		wantCode(t, err, 404, "NoSuchUpload")
		wantCode(t, b.AbortMultipartUpload(up), 404, "NoSuchUpload")
		_, err = b.ListUploadedParts(up)
		wantCode(t, err, 404, "NoSuchUpload")
		_, err = b.InitiateMultipartUpload("big 文.bin", oss.ForbidOverWrite(true))
		wantCode(t, err, 409, "FileAlreadyExists")

		again, err := b.InitiateMultipartUpload("other")
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.Uploads()); n != 1 {
			t.Errorf("got %d unfinished uploads, want 1", n)
		}
		if err := b.AbortMultipartUpload(again); err != nil {
			t.Error(err)
		}
		if n := len(s.Uploads()); n != 0 {
			t.Errorf("got %d unfinished uploads, want 0", n)
		}
	})
}

func TestFaults(t *testing.T) {
	s := start(t, osssim.Options{})
	b := bucket(t, s, "archive", oss.Timeout(2, 2))
	put := func(key string) error { return b.PutObject(key, strings.NewReader("x")) }

	s.Inject(osssim.Fault{Kind: osssim.Fail500, Op: "PutObject", Count: 1}, osssim.Fault{Kind: osssim.Fail503, Count: 1}, osssim.Fault{Kind: osssim.Deny, Count: 1})
	wantCode(t, put("a"), 500, "InternalError")
	wantCode(t, put("a"), 503, "ServiceUnavailable")
	wantCode(t, put("a"), 403, "AccessDenied")
	s.Inject(osssim.Fault{Kind: osssim.Fail503HTML, Count: 1})
	if err := put("a"); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("HTML 503: got %v", err)
	}
	s.Inject(osssim.Fault{Kind: osssim.LieCRC, Count: 1})
	if err := put("a"); !errors.As(err, &oss.CRCCheckError{}) {
		t.Errorf("lying CRC: got %v", err)
	}
	s.Inject(osssim.Fault{Kind: osssim.DropAfter, Count: 1})
	if err := put("dropped"); err == nil {
		t.Error("dropped answer: got no error")
	}
	if _, ok := s.Object("archive", "dropped"); !ok {
		t.Error("a dropped answer must come after the work")
	}
	s.Inject(osssim.Fault{Kind: osssim.Hang})
	if err := put("hung"); err == nil {
		t.Error("hanging: got no error")
	}
	s.ClearFaults()
	s.Inject(osssim.Fault{Kind: osssim.Slow, Delay: time.Millisecond, Count: 1})
	if err := put("slow"); err != nil {
		t.Error(err)
	}
	if err := s.Refuse(true); err != nil {
		t.Fatal(err)
	}
	if err := put("refused"); err == nil {
		t.Error("refusing: got no error")
	}
	if err := s.Refuse(false); err != nil {
		t.Fatal(err)
	}
	if err := put("back"); err != nil {
		t.Error(err)
	}
}
