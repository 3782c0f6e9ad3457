package oss

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash/crc64"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

const fuzzSecret = "access-key-secret-0123456789"

// answers plays OSS: it has one answer to HEAD, and one to everything else. Where it has none, it stores what comes.
type answers struct {
	t          *testing.T
	head, body string
	status     int
	headers    http.Header
	honest     bool

	asked  int
	stored []byte
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.asked++; a.asked > 250+len(a.body) {
		a.t.Fatalf("%d requests for one object", a.asked)
	}
	for name, values := range r.Header { // net/http sends no such request
		for _, v := range values {
			if strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
				return nil, errors.New("invalid header field value for " + name)
			}
		}
	}
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	h, status, body := a.headers.Clone(), a.status, a.body
	if a.honest {
		status, body, h = http.StatusOK, "", http.Header{}
		if r.Method == http.MethodHead {
			status = http.StatusNotFound
		} else {
			a.stored = sent
			h.Set(hashCRC, crcOf(sent))
		}
	} else if r.Method == http.MethodHead {
		status, body = a.statusOfHead(), ""
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status) + " as given", Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func (a *answers) statusOfHead() int {
	status, err := strconv.Atoi(a.head)
	if err != nil {
		return http.StatusNotFound
	}
	return status
}

func crcOf(b []byte) string {
	return strconv.FormatUint(crc64.Checksum(b, crc64.MakeTable(crc64.ECMA)), 10)
}

// FuzzAnswers stores one object, named as a record may name it, in a service that answers anything.
func FuzzAnswers(f *testing.F) {
	const refused = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>said in confidence</Message><RequestId>5C3D9175B6FC201293AD4890</RequestId><EC>0003-00000001</EC></Error>`
	small := []byte("the file's bytes")
	for _, s := range []struct {
		status                           int
		body, head, crc, sha, etag, kind string
	}{
		{200, "", "404", crcOf(small), "", `"0CC175B9C0F1B6A831C399E269772661"`, "Normal"},
		{200, "", "404", "1", "", "", ""},
		{409, strings.Replace(refused, "AccessDenied", "FileAlreadyExists", 1), "200", crcOf(small), "aa", `"x"`, "Multipart"},
		{403, refused, "403", "", "", "", ""},
		{503, "<html>503 Service Unavailable</html>", "503", "", "", "", ""},
		{500, strings.Replace(refused, "5C3D9175B6FC201293AD4890", strings.Repeat("said in confidence\n", 40), 1), "500", "", "", "", ""},
		{200, `<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>`, "404", crcOf(small), "", "", ""},
		{200, `<ListMultipartUploadsResult><Bucket>b</Bucket><EncodingType>url</EncodingType><Upload><Key>a%2fb</Key><UploadId>1</UploadId></Upload><Upload><Key>%zz</Key></Upload></ListMultipartUploadsResult>`, "", "", "", "", ""},
		{200, `<CompleteMultipartUploadResult><ETag>"x-1"</ETag></CompleteMultipartUploadResult>`, "200", crcOf(small), hex.EncodeToString(make([]byte, 32)), "", "Multipart"},
		{301, "", "304", "", "", "", ""},
		{500, refused, "500", "", "", "", strings.Repeat("said at length ", 40)},
		{200, "<said-in-confidence><a></said-in-confidence>", "404", "", "", "", ""},
	} {
		f.Add(s.status, []byte(s.body), s.head, s.crc, s.sha, s.etag, s.kind, "chats/secret-name.pdf", "報告 \"1\".pdf", "application/pdf", small)
	}
	f.Add(200, []byte{}, "404", "", "", "", "", "a/b", "a\r\nb", "text/plain\r\nX-Evil: 1", small)
	f.Add(200, []byte{}, "404", "", "", "", "", "%2e", "\xff\x00", "é", []byte{})
	f.Fuzz(func(t *testing.T, status int, body []byte, head, crc, sha, etag, kind, key, name, media string, content []byte) {
		sum5, sum := md5.Sum(content), sha256.Sum256(content)
		o := &object.Object{
			Key: key, Size: int64(len(content)), MD5: hex.EncodeToString(sum5[:]), SHA256: hex.EncodeToString(sum[:]), MediaType: media, Name: name,
			Meta: map[string]string{"msgid": name}, Open: func() (io.ReadSeekCloser, error) { return reader{bytes.NewReader(content)}, nil },
		}
		dial := func(a *answers) *store {
			client, err := oss.New("https://oss.example.com", "id", fuzzSecret, oss.HTTPClient(&http.Client{Transport: a}), oss.AuthVersion(oss.AuthV4), oss.Region("cn-hangzhou"))
			if err != nil {
				t.Fatal(err)
			}
			bucket, err := client.Bucket("archive")
			if err != nil {
				t.Fatal(err)
			}
			return &store{bucket: bucket, base: &url.URL{Scheme: "https", Host: "archive.oss.example.com", Path: "/"}}
		}
		// A service in good order is never taken for one that is down, whatever a record holds.
		good := &answers{t: t, honest: true}
		_, err := object.Writer{Store: dial(good)}.Place(t.Context(), o)
		if err == nil && !bytes.Equal(good.stored, content) {
			t.Errorf("stored %q, want %q", good.stored, content)
		} else if out := sdk.OutcomeOf(err); err != nil && (out.Verdict != sdk.VerdictReject || out.Down) {
			t.Errorf("in good order: got %+v", out)
		}

		headers := http.Header{hashCRC: {crc}, "Etag": {etag}, "X-Oss-Meta-Sha256": {sha}, "X-Oss-Object-Type": {kind}, "Content-Length": {strconv.Itoa(len(content))},
			"X-Oss-Request-Id": {kind}, "X-Oss-Ec": {head}}
		bad := &answers{t: t, status: status, body: string(body), head: head, headers: headers}
		s := dial(bad)
		placed, err := object.Writer{Store: s}.Place(t.Context(), o)
		if err != nil {
			checkFailure(t, err, key)
		} else if !placed.Again && (status/100 != 2 || crc != crcOf(content)) {
			t.Errorf("status %d and CRC %q of %s are a success", status, crc, crcOf(content))
		} else if placed.Again && sha != o.SHA256 && !strings.EqualFold(strings.Trim(etag, `"`), o.MD5) {
			t.Errorf("sha256 %q and etag %q are taken for %s", sha, etag, o.SHA256)
		}
		if len(content) > 0 { // in parts, which Place does from 100 MiB on
			bad.asked = 0
			if _, err := s.putParts(t.Context(), "k", o, reader{bytes.NewReader(content)}, nil); err != nil {
				checkFailure(t, err, key)
			} else if status/100 != 2 || crc != crcOf(content) {
				t.Errorf("in parts: status %d and CRC %q of %s are a success", status, crc, crcOf(content))
			}
		}
	})
}

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

var outcomeCode = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// checkFailure wants what is stored and logged of a failure to be bounded, in one line, and free of secrets and names.
func checkFailure(t *testing.T, err error, key string) {
	t.Helper()
	o := sdk.OutcomeOf(err)
	if len(o.Detail) > 400 || !utf8.ValidString(o.Detail) || strings.ContainsFunc(o.Detail, unicode.IsControl) || !outcomeCode.MatchString(o.Code) ||
		strings.Contains(o.Detail, fuzzSecret) || len(key) > 20 && strings.Contains(o.Detail, key) || strings.Contains(o.Detail, "said in confidence") {
		t.Errorf("got %s, %d bytes: %.300q", o.Code, len(o.Detail), o.Detail)
	}
}
