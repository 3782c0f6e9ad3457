package osssim_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/oss/osssim"
)

// send writes one hand-made request and returns status and error code.
func send(t *testing.T, s *osssim.Server, method, target, body string, header ...string) (int, string, http.Header) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, method+" "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+strings.Join(append(header, ""), "\r\n")+"\r\n"+body)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var e struct {
		Code, RequestId, EC string
	}
	raw, _ := io.ReadAll(resp.Body)
	xml.Unmarshal(raw, &e)
	if resp.StatusCode >= 400 && (e.RequestId == "" || e.RequestId != resp.Header.Get("X-Oss-Request-Id") || e.EC != resp.Header.Get("X-Oss-Ec")) {
		t.Errorf("%s %s: body and headers disagree: %s", method, target, raw)
	}
	return resp.StatusCode, e.Code, resp.Header
}

// v1 signs "METHOD\n\n\nDATE\nresource" with the default credentials.
func v1(method, resource, date string) string {
	mac := hmac.New(sha1.New, []byte("osssecret"))
	io.WriteString(mac, method+"\n\n\n"+date+"\n"+resource)
	return "Authorization: OSS ossid:" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestHandWrittenRequests(t *testing.T) {
	now := time.Date(2026, 11, 22, 3, 4, 5, 0, time.UTC)
	s := start(t, osssim.Options{Now: func() time.Time { return now }})
	date := now.Format(http.TimeFormat)
	at := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	credential := "Authorization: OSS4-HMAC-SHA256 Credential="
	v4Date := "x-oss-date: " + now.Format("20060102T150405Z")

	for _, c := range []struct {
		name           string
		method, target string
		header         []string
		body           string
		status         int
		code, ec       string
	}{
		{"anonymous", "GET", "/archive/k", []string{"Date: " + date}, "", 403, "AccessDenied", "0003-00000001"},
		{"no date", "GET", "/archive/k", []string{v1("GET", "/archive/k", "")}, "", 403, "AccessDenied", "0002-00000503"},
		{"bad date", "GET", "/archive/k", []string{"Date: yesterday", v1("GET", "/archive/k", "yesterday")}, "", 403, "AccessDenied", "0002-00000502"},
		{"bad x-oss-date", "GET", "/archive/k", []string{"x-oss-date: " + date, v1("GET", "/archive/k", "")}, "", 403, "AccessDenied", "0002-00000502"},
		{"15 minutes late", "GET", "/archive/k", []string{"Date: " + at(-15*time.Minute), v1("GET", "/archive/k", at(-15*time.Minute))}, "", 404, "NoSuchKey", "0026-00000001"},
		{"a second more", "GET", "/archive/k", []string{"Date: " + at(-901*time.Second), v1("GET", "/archive/k", at(-901*time.Second))}, "", 403, "RequestTimeTooSkewed", "0002-00000504"},
		{"early", "GET", "/archive/k", []string{"Date: " + at(901*time.Second), v1("GET", "/archive/k", at(901*time.Second))}, "", 403, "RequestTimeTooSkewed", "0002-00000504"},
		{"other scheme", "GET", "/archive/k", []string{"Date: " + date, "Authorization: Basic eA=="}, "", 400, "InvalidArgument", ""},
		{"no colon", "GET", "/archive/k", []string{"Date: " + date, "Authorization: OSS ossid"}, "", 400, "InvalidArgument", ""},
		{"signed for another key", "GET", "/archive/other", []string{"Date: " + date, v1("GET", "/archive/k", date)}, "", 403, "SignatureDoesNotMatch", "0002-00000040"},
		{"sub-resource not signed", "GET", "/archive/?bucketInfo", []string{"Date: " + date, v1("GET", "/archive/", date)}, "", 403, "SignatureDoesNotMatch", "0002-00000040"},
		{"x-oss header not signed", "PUT", "/archive/k", []string{"Date: " + date, "Content-Length: 1", "x-oss-storage-class: IA", v1("PUT", "/archive/k", date)}, "x", 403, "SignatureDoesNotMatch", "0002-00000040"},
		{"no content length", "PUT", "/archive/k", []string{"Date: " + date, v1("PUT", "/archive/k", date)}, "", 411, "MissingContentLength", ""},
		{"too large", "PUT", "/archive/k", []string{"Date: " + date, "Content-Length: 5368709121", v1("PUT", "/archive/k", date)}, "", 400, "EntityTooLarge", ""},
		{"key begins with a slash", "PUT", "/archive//k", []string{"Date: " + date, "Content-Length: 1", v1("PUT", "/archive//k", date)}, "x", 400, "InvalidObjectName", ""},
		{"unknown sub-resource", "GET", "/archive/k?acl", []string{"Date: " + date, v1("GET", "/archive/k?acl", date)}, "", 501, "NotImplemented", ""},
		{"unknown parameter", "GET", "/archive/?color=red", []string{"Date: " + date, v1("GET", "/archive/", date)}, "", 501, "NotImplemented", ""},
		{"unknown operation", "GET", "/", []string{"Date: " + date, v1("GET", "/", date)}, "", 501, "NotImplemented", ""},
		{"condition", "GET", "/archive/k", []string{"Date: " + date, "If-Match: x", v1("GET", "/archive/k", date)}, "", 501, "NotImplemented", ""},
		{"delete without md5", "POST", "/archive/?delete", []string{"Date: " + date, "Content-Length: 2", v1("POST", "/archive/?delete", date)}, "<>", 400, "MissingArgument", "0016-00000606"},
		{"complete with nonsense", "POST", "/archive/k?uploadId=1", []string{"Date: " + date, "Content-Length: 2", v1("POST", "/archive/k?uploadId=1", date)}, "<>", 400, "MalformedXML", ""},
		{"part without number", "PUT", "/archive/k?uploadId=1", []string{"Date: " + date, "Content-Length: 2", v1("PUT", "/archive/k?uploadId=1", date)}, "xy", 400, "InvalidArgument", "0017-00000219"},
		{"V4 without x-oss-content-sha256", "GET", "/archive/k", []string{v4Date, credential + "ossid/20261122/cn-hangzhou/oss/aliyun_v4_request,Signature=00"}, "", 400, "InvalidArgument", ""},
		{"V4 wrong signature", "GET", "/archive/k", []string{v4Date, "x-oss-content-sha256: UNSIGNED-PAYLOAD", credential + "ossid/20261122/cn-hangzhou/oss/aliyun_v4_request,Signature=00"}, "", 403, "SignatureDoesNotMatch", "0002-00000201"},
		{"V4 other day", "GET", "/archive/k", []string{v4Date, credential + "ossid/20261121/cn-hangzhou/oss/aliyun_v4_request,Signature=00"}, "", 400, "InvalidArgument", "0002-00000213"},
		{"V4 other product", "GET", "/archive/k", []string{v4Date, credential + "ossid/20261122/cn-hangzhou/s3/aliyun_v4_request,Signature=00"}, "", 400, "InvalidArgument", "0002-00000213"},
		{"V4 other region", "GET", "/archive/k", []string{v4Date, credential + "ossid/20261122/oss-cn-hangzhou/oss/aliyun_v4_request,Signature=00"}, "", 400, "InvalidArgument", "0002-00000226"},
		{"V4 empty additional headers", "GET", "/archive/k", []string{v4Date, credential + "ossid/20261122/cn-hangzhou/oss/aliyun_v4_request,AdditionalHeaders=,Signature=00"}, "", 400, "InvalidArgument", "0002-00000209"},
		{"V4 unknown field", "GET", "/archive/k", []string{v4Date, credential + "a/b/c/oss/aliyun_v4_request,Colour=red"}, "", 400, "InvalidArgument", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, code, h := send(t, s, c.method, c.target, c.body, c.header...)
			if status != c.status || code != c.code || h.Get("X-Oss-Ec") != c.ec {
				t.Errorf("got %d %s %s, want %d %s %s", status, code, h.Get("X-Oss-Ec"), c.status, c.code, c.ec)
			}
			if got := h.Get("Date"); got != date {
				t.Errorf("Date: got %s, want the injected %s", got, date)
			}
		})
	}
	if len(s.Objects()) != 0 {
		t.Errorf("refused requests left objects: %v", s.Objects())
	}
}

// The order of parts cannot be got wrong with the vendor's client, which sorts.
func TestPartOrder(t *testing.T) {
	now := time.Now()
	s := start(t, osssim.Options{Now: func() time.Time { return now }})
	b := bucket(t, s, "archive")
	up, err := b.InitiateMultipartUpload("k")
	if err != nil {
		t.Fatal(err)
	}
	var tag [3]string
	for n := 1; n <= 2; n++ {
		p, err := b.UploadPart(up, strings.NewReader("x"), 1, n)
		if err != nil {
			t.Fatal(err)
		}
		tag[n] = p.ETag
	}
	body := "<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>" + tag[2] + "</ETag></Part><Part><PartNumber>1</PartNumber><ETag>" + tag[1] + "</ETag></Part></CompleteMultipartUpload>"
	date := now.UTC().Format(http.TimeFormat)
	target := "/archive/k?uploadId=" + up.UploadID
	status, code, h := send(t, s, "POST", target, body, "Date: "+date, "Content-Length: "+strconv.Itoa(len(body)), v1("POST", target, date))
	if status != 400 || code != "InvalidPartOrder" || h.Get("X-Oss-Ec") != "0042-00000209" {
		t.Errorf("got %d %s, want 400 InvalidPartOrder", status, code)
	}
}

// A body that ends early is not an object.
func TestBrokenBody(t *testing.T) {
	now := time.Now()
	s := start(t, osssim.Options{Now: func() time.Time { return now }})
	date := now.UTC().Format(http.TimeFormat)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "PUT /archive/k HTTP/1.1\r\nHost: x\r\nDate: "+date+"\r\nContent-Length: 100\r\n"+v1("PUT", "/archive/k", date)+"\r\n\r\nhalf")
	conn.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, conn)
	conn.Close()
	if _, ok := s.Object("archive", "k"); ok {
		t.Error("half a body was stored")
	}
}
