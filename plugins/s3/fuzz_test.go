package s3

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/plugins/object/objecttest"
)

const hashSHA = "X-Amz-Checksum-Sha256"

func shaOf(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// FuzzAnswers stores one object, named as a record may name it, in a service that answers anything.
func FuzzAnswers(f *testing.F) {
	const refused = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>said in confidence</Message><RequestId>4442587FB7D0A2F9</RequestId></Error>`
	small := []byte("the file's bytes")
	sum := sha256.Sum256(small)
	for _, s := range []struct {
		status                         int
		body, head, sha, meta, id, rid string
	}{
		{200, "", "404", shaOf(small), "", `"0CC175B9C0F1B6A831C399E269772661"`, "4442587FB7D0A2F9"},
		{200, "", "404", "1", "", "", ""},
		{412, strings.Replace(refused, "AccessDenied", "PreconditionFailed", 1), "200", "", "aa", `"x"`, ""},
		{412, "", "200", "", hex.EncodeToString(sum[:]), `"x"`, ""},
		{403, refused, "403", "", "", "", ""},
		{503, "<html>503 Service Unavailable</html>", "503", "", "", "", ""},
		{500, refused, "500", "", "", "", strings.Repeat("said at length ", 40)},
		{200, `<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>`, "404", "", "", "", ""},
		{200, `<ListMultipartUploadsResult><Bucket>b</Bucket><Upload><Key>k</Key><UploadId>1</UploadId></Upload><UploadId>u</UploadId></ListMultipartUploadsResult>`, "", "", "", "", ""},
		{200, refused, "200", "", "", "", ""}, // CompleteMultipartUpload may fail with status 200
		{301, strings.Replace(refused, "AccessDenied", "PermanentRedirect", 1), "304", "", "", "", ""},
		{409, strings.Replace(refused, "AccessDenied", "ConditionalRequestConflict", 1), "404", "", "", "", ""},
	} {
		f.Add(s.status, []byte(s.body), s.head, s.sha, s.meta, s.id, s.rid, "chats/secret-name.pdf", "報告 \"1\".pdf", "application/pdf", small)
	}
	f.Add(200, []byte{}, "404", "", "", "", "", "a/b", "a\r\nb", "text/plain\r\nX-Evil: 1", small)
	f.Add(200, []byte{}, "404", "", "", "", "", "%2e", "\xff\x00", "é", []byte{})
	f.Fuzz(func(t *testing.T, status int, body []byte, head, sha, meta, etag, request, key, name, media string, content []byte) {
		o := objecttest.Object(content, key, name, media)
		dial := func(a *objecttest.Answers) *store {
			return &store{bucket: "archive", sha256: true, base: &url.URL{Scheme: "https", Host: "archive.s3.example.com", Path: "/"}, client: s3.New(s3.Options{
				BaseEndpoint: aws.String("https://s3.example.com"), Region: "us-east-1", Retryer: aws.NopRetryer{}, HTTPClient: &http.Client{Transport: a},
				Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
					return aws.Credentials{AccessKeyID: "id", SecretAccessKey: objecttest.Secret}, nil
				}),
				RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired, ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
			})}
		}
		good := &objecttest.Answers{T: t, Seal: func(h http.Header, sent []byte) { h.Set(hashSHA, shaOf(sent)) }}
		objecttest.GoodOrder(t, dial(good), good, o, content)

		headers := http.Header{hashSHA: {sha}, "Etag": {etag}, "X-Amz-Meta-Sha256": {meta}, "Content-Length": {strconv.Itoa(len(content))}, "X-Amz-Request-Id": {request}}
		bad := &objecttest.Answers{T: t, Status: status, Body: string(body), Head: head, Header: headers}
		s := dial(bad)
		placed, err := object.Writer{Store: s}.Place(t.Context(), o)
		if err != nil {
			objecttest.CheckFailure(t, err, key)
		} else if !placed.Again && (status/100 != 2 || strings.TrimSpace(sha) != "" && sha != shaOf(content)) {
			t.Errorf("status %d and SHA-256 %q of %s are a success", status, sha, shaOf(content))
		} else if placed.Again && meta != o.SHA256 {
			t.Errorf("sha256 %q is taken for %s", meta, o.SHA256)
		}
		if len(content) > 0 { // in parts, which Place does from 100 MiB on
			bad.Asked = 0
			if _, err := s.putParts(t.Context(), "k", o, objecttest.Reader(content)); err != nil {
				objecttest.CheckFailure(t, err, key)
			} else if status/100 != 2 {
				t.Errorf("in parts: status %d is a success", status)
			}
		}
	})
}
