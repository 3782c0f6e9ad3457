package osssim

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	v4Algorithm = "OSS4-HMAC-SHA256"
	v4Time      = "20060102T150405Z"
	v4Day       = "20060102"
)

// A signer knows what a valid Authorization header looks like.
type signer struct {
	keyID, secret, token string
	region               string
	skew                 time.Duration
	now                  func() time.Time
}

// verify checks date, access key and signature of a request for
// /bucket/key. It reads headers and query only, never the body: OSS does not
// sign the payload.
func (s signer) verify(r *http.Request, bucket, key string) error {
	auth := r.Header.Get("Authorization")
	if auth == "" {
		return accessDenied("0003-00000001", "You have no right to access this object because of bucket acl.")
	}
	if err := s.checkDate(r.Header); err != nil {
		return err
	}
	var err error
	switch scheme, rest, _ := strings.Cut(auth, " "); scheme {
	case "OSS":
		err = s.verifyV1(r, rest, bucket, key)
	case v4Algorithm:
		err = s.verifyV4(r, rest, bucket, key)
	default:
		err = invalidArgument("", "Authorization header is invalid.")
	}
	if err != nil {
		return err
	}
	if got := r.Header.Get("X-Oss-Security-Token"); got != s.token {
		return refuse(http.StatusForbidden, "InvalidSecurityToken", "", "The security token you provided is invalid.")
	}
	return nil
}

// requestDate is the text and the instant of x-oss-date, else of Date.
func requestDate(h http.Header) (string, time.Time, error) {
	text, layout := h.Get("X-Oss-Date"), v4Time
	if text == "" {
		text, layout = h.Get("Date"), http.TimeFormat
	}
	if text == "" {
		return "", time.Time{}, accessDenied("0002-00000503", "OSS authentication requires a valid Date.")
	}
	t, err := time.Parse(layout, text)
	if err != nil {
		return "", time.Time{}, accessDenied("0002-00000502", "OSS authentication requires a valid Date.")
	}
	return text, t, nil
}

func (s signer) checkDate(h http.Header) error {
	_, t, err := requestDate(h)
	if err != nil {
		return err
	}
	if t.Sub(s.now()).Abs() > s.skew {
		return refuse(http.StatusForbidden, "RequestTimeTooSkewed", "0002-00000504",
			"The difference between the request time and the current time is too large.")
	}
	return nil
}

func unknownAccessKey() error {
	return refuse(http.StatusForbidden, "InvalidAccessKeyId", "0002-00000902",
		"The OSS Access Key Id you provided does not exist in our records.")
}

func wrongSignature(ec string) error {
	return refuse(http.StatusForbidden, "SignatureDoesNotMatch", ec,
		"The request signature we calculated does not match the signature you provided. Check your key and signing method.")
}

// verifyV1 checks base64(hmac-sha1(secret, verb, Content-MD5, Content-Type,
// Date, x-oss-* headers, resource)).
func (s signer) verifyV1(r *http.Request, credential, bucket, key string) error {
	id, signature, ok := strings.Cut(credential, ":")
	if !ok {
		return invalidArgument("", "Authorization header is invalid.")
	}
	if id != s.keyID {
		return unknownAccessKey()
	}
	var b strings.Builder
	for _, line := range []string{r.Method, r.Header.Get("Content-Md5"), r.Header.Get("Content-Type"), r.Header.Get("Date")} {
		b.WriteString(line + "\n")
	}
	for _, name := range signedHeaders(r.Header, nil) {
		if strings.HasPrefix(name, "x-oss-") {
			b.WriteString(name + ":" + r.Header.Get(name) + "\n")
		}
	}
	b.WriteString("/")
	if bucket != "" {
		b.WriteString(bucket + "/" + key)
	}
	separator := "?"
	query := r.URL.Query()
	for _, name := range sortedKeys(query) {
		if !slices.Contains(v1SubResources(), name) {
			continue
		}
		b.WriteString(separator + name)
		if v := query.Get(name); v != "" {
			b.WriteString("=" + v)
		}
		separator = "&"
	}
	mac := hmac.New(sha1.New, []byte(s.secret))
	mac.Write([]byte(b.String()))
	if !hmac.Equal([]byte(signature), []byte(base64.StdEncoding.EncodeToString(mac.Sum(nil)))) {
		return wrongSignature("0002-00000040")
	}
	return nil
}

// v1SubResources are the query parameters that a V1 signature covers, as far as
// an operation of this simulator takes them; others are answered 501.
func v1SubResources() []string {
	return []string{
		"acl", "uploads", "location", "delete", "append", "tagging", "objectMeta", "uploadId", "partNumber",
		"security-token", "position", "symlink", "restore", "callback", "callback-var", "stat", "versions",
		"versioning", "versionId", "sequential", "continuation-token", "bucketInfo", "worm", "wormId",
		"response-content-type", "response-content-language", "response-expires", "response-cache-control",
		"response-content-disposition", "response-content-encoding", "x-oss-process",
	}
}

// verifyV4 checks the chained hmac-sha256 over the canonical request.
func (s signer) verifyV4(r *http.Request, fields, bucket, key string) error {
	var credential, additional, signature string
	var hasAdditional bool
	for field := range strings.SplitSeq(fields, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			credential = value
		case "AdditionalHeaders":
			additional, hasAdditional = value, true
		case "Signature":
			signature = value
		default:
			return invalidArgument("", "Authorization header is invalid.")
		}
	}
	if hasAdditional && additional == "" {
		return invalidArgument("0002-00000209", "AdditionalHeaders in the Authorization header is empty.")
	}
	part := strings.Split(credential, "/")
	if len(part) != 5 || part[3] != "oss" || part[4] != "aliyun_v4_request" {
		return invalidArgument("0002-00000213", "Credential in the Authorization header is invalid.")
	}
	id, day, region := part[0], part[1], part[2]
	date, at, err := requestDate(r.Header)
	if err != nil {
		return err
	}
	if day != at.UTC().Format(v4Day) {
		return invalidArgument("0002-00000213", "Credential date does not match the request date.")
	}
	if id != s.keyID {
		return unknownAccessKey()
	}
	if region != s.region {
		return invalidArgument("0002-00000226", "Invalid signing region in Authorization header.")
	}
	payload := r.Header.Get("X-Oss-Content-Sha256")
	if payload != "UNSIGNED-PAYLOAD" {
		return invalidArgument("", "x-oss-content-sha256 must be UNSIGNED-PAYLOAD.")
	}

	request := sha256.Sum256([]byte(canonicalRequest(r, bucket, key, additional, payload)))
	scope := strings.Join(part[1:], "/")
	toSign := strings.Join([]string{v4Algorithm, date, scope, hex.EncodeToString(request[:])}, "\n")
	secret := []byte("aliyun_v4" + s.secret)
	for _, step := range append(part[1:], toSign) {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(step))
		secret = mac.Sum(nil)
	}
	if !hmac.Equal([]byte(signature), []byte(hex.EncodeToString(secret))) {
		return wrongSignature("0002-00000201")
	}
	return nil
}

func canonicalRequest(r *http.Request, bucket, key, additional, payload string) string {
	resource := "/"
	if bucket != "" {
		resource += bucket + "/" + escape(key, true)
	}
	values := r.URL.Query()
	query := make([]string, 0, len(values))
	for name, v := range values {
		item := escape(name, false)
		if v[0] != "" {
			item += "=" + escape(v[0], false)
		}
		query = append(query, item)
	}
	slices.Sort(query)

	var headers strings.Builder
	for _, name := range signedHeaders(r.Header, strings.Split(additional, ";")) {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		headers.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	return strings.Join([]string{r.Method, resource, strings.Join(query, "&"), headers.String(), additional, payload}, "\n")
}

// signedHeaders are the lower-case names, sorted, of the headers that a
// signature covers: content-md5, content-type, x-oss-* and the additional ones.
func signedHeaders(h http.Header, additional []string) []string {
	var names []string
	for name := range h {
		name = strings.ToLower(name)
		if name == "content-md5" || name == "content-type" || strings.HasPrefix(name, "x-oss-") || slices.Contains(additional, name) {
			names = append(names, name)
		}
	}
	if slices.Contains(additional, "host") { // net/http moves it out of the header
		names = append(names, "host")
	}
	slices.Sort(names)
	return names
}

// escape percent-encodes all but the unreserved characters of RFC 3986, and
// "/" where keepSlash is set.
func escape(s string, keepSlash bool) string {
	s = strings.ReplaceAll(url.QueryEscape(s), "+", "%20")
	if keepSlash {
		s = strings.ReplaceAll(s, "%2F", "/")
	}
	return s
}

func sortedKeys(v url.Values) []string {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
