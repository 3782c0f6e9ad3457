package oss

import (
	"encoding/hex"
	"hash/crc64"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/plugins/object/objecttest"
)

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
		o := objecttest.Object(content, key, name, media)
		dial := func(a *objecttest.Answers) *store {
			client, err := oss.New("https://oss.example.com", "id", objecttest.Secret, oss.HTTPClient(&http.Client{Transport: a}), oss.AuthVersion(oss.AuthV4), oss.Region("cn-hangzhou"))
			if err != nil {
				t.Fatal(err)
			}
			bucket, err := client.Bucket("archive")
			if err != nil {
				t.Fatal(err)
			}
			return &store{bucket: bucket, base: &url.URL{Scheme: "https", Host: "archive.oss.example.com", Path: "/"}}
		}
		good := &objecttest.Answers{T: t, Seal: func(h http.Header, sent []byte) { h.Set(hashCRC, crcOf(sent)) }}
		objecttest.GoodOrder(t, dial(good), good, o, content)

		headers := http.Header{hashCRC: {crc}, "Etag": {etag}, "X-Oss-Meta-Sha256": {sha}, "X-Oss-Object-Type": {kind}, "Content-Length": {strconv.Itoa(len(content))},
			"X-Oss-Request-Id": {kind}, "X-Oss-Ec": {head}}
		bad := &objecttest.Answers{T: t, Status: status, Body: string(body), Head: head, Header: headers}
		s := dial(bad)
		placed, err := object.Writer{Store: s}.Place(t.Context(), o)
		if err != nil {
			objecttest.CheckFailure(t, err, key)
		} else if !placed.Again && (status/100 != 2 || crc != crcOf(content)) {
			t.Errorf("status %d and CRC %q of %s are a success", status, crc, crcOf(content))
		} else if placed.Again && sha != o.SHA256 && !strings.EqualFold(strings.Trim(etag, `"`), o.MD5) {
			t.Errorf("sha256 %q and etag %q are taken for %s", sha, etag, o.SHA256)
		}
		if len(content) > 0 { // in parts, which Place does from 100 MiB on
			bad.Asked = 0
			if _, err := s.putParts(t.Context(), "k", o, objecttest.Reader(content), nil); err != nil {
				objecttest.CheckFailure(t, err, key)
			} else if status/100 != 2 || crc != crcOf(content) {
				t.Errorf("in parts: status %d and CRC %q of %s are a success", status, crc, crcOf(content))
			}
		}
	})
}
