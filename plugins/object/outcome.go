package object

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/weir-etl/weir/sdk"
)

// Refusal is an answer of the service that is not a success.
type Refusal struct {
	Op     string // "put", for people
	Status int    // HTTP
	Code   string // the service's; "" when its body was not understood
	Trace  string // request id and the like
}

// Outcome says what a refusal means for the row, as an error: a sentinel or an outcome. Status decides before code, because servers
// that speak S3 disagree about codes (a wrong checksum is BadDigest on AWS and XAmzContentChecksumMismatch on MinIO).
//
// The service is down on 5xx and 429, and with an alarm on 401, 403, a redirect to another region and a 404 that is not about the key
// (a missing bucket, a user unknown to versitygw): waiting does not cure those, but they are no reason to give up records. An unknown refusal is tried again: it neither blocks other records nor
// becomes a loss.
func (r Refusal) Outcome() error {
	code := r.code()
	detail := fmt.Errorf("%s: HTTP %d %s %s", r.Op, r.Status, code, line(r.Trace, 100))
	switch {
	case r.Status >= 500 || r.Status == http.StatusTooManyRequests || r.Code == "SlowDown":
		return sdk.Down(code, detail).Err()
	case r.Status >= 300 && r.Status < 400,
		r.Status == http.StatusUnauthorized, r.Status == http.StatusForbidden,
		r.Code == "InvalidBucketName", r.Code == "InvalidStorageClass", r.Code == "AuthorizationHeaderMalformed":
		return sdk.DownAlarm(code, detail).Err()
	}
	switch r.Code {
	case "ConditionalRequestConflict", "NoSuchUpload": // S3: two conditional writes at once; somebody aborted
		return sdk.Retry(0, code, detail).Err()
	case "EntityTooLarge", "MetadataTooLarge", "KeyTooLongError", "InvalidObjectName":
		return sdk.Reject(code, detail).Err()
	}
	switch r.Status {
	case http.StatusNotFound:
		if r.Code == "" || r.Code == "NoSuchKey" || r.Code == "NotFound" { // an answer to HEAD has no body, hence no code
			return ErrNotFound
		}
		return sdk.DownAlarm(code, detail).Err()
	case http.StatusConflict, http.StatusPreconditionFailed: // FileAlreadyExists, FileImmutable; If-None-Match
		return ErrTaken
	}
	return sdk.Retry(0, code, detail).Err()
}

// code is safe to be stored readable: the service's code if it looks like one.
func (r Refusal) code() string {
	ok := r.Code != "" && len(r.Code) <= 64 && !strings.ContainsFunc(r.Code, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-')
	})
	if !ok {
		return fmt.Sprintf("http_%d", r.Status)
	}
	return r.Code
}

// Unreachable is the outcome of a call that got no answer that could be understood: the service is down, unless body could not be
// read (body may be nil). Addresses in err are left out, because keys hold file names.
func Unreachable(ctx context.Context, op string, body *Source, err error) error {
	if body != nil && body.err != nil {
		return Unreadable(body.err)
	}
	if ctx.Err() != nil {
		return sdk.Retry(0, "interrupted", ctx.Err()).Err()
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	why := line(err.Error(), 200)
	var syntax *xml.SyntaxError
	var other xml.UnmarshalError
	if errors.As(err, &syntax) || errors.As(err, &other) { // their text repeats what was answered
		why = "the answer is not the XML that is documented"
	}
	return sdk.Down("unreachable", fmt.Errorf("%s: %s", op, why)).Err()
}

// line makes a text that comes from outside fit for a log: printable ASCII, at most so many bytes.
func line(s string, most int) string {
	s = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}

// Unreadable is the outcome of bytes that cannot be read here.
func Unreadable(err error) error {
	if errors.Is(err, sdk.ErrNoBytes) {
		return sdk.NeedBytes().Err()
	}
	return sdk.Retry(0, "unreadable", err).Err()
}

// Source reads exactly n bytes of r and remembers a failure of r, so that it is not taken for one of the network.
type Source struct {
	r    io.Reader
	left int64
	err  error
}

// NewSource reads n bytes of r.
func NewSource(r io.Reader, n int64) *Source { return &Source{r: r, left: n} }

// Len is what is left to read, in bytes; clients take the Content-Length from it.
func (s *Source) Len() int { return int(s.left) }

func (s *Source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.left)])
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// PartSize is the size of the parts, in bytes, in which size bytes are uploaded: 16 MiB, or more where that would make more than
// the 10,000 parts that both services allow. The last part may be smaller.
func PartSize(size int64) int64 {
	const mib = 1 << 20
	return max(16*mib, (size/10_000/mib+1)*mib)
}

// PartsFrom is the size in bytes above which objects are uploaded in parts.
const PartsFrom = 100 << 20
