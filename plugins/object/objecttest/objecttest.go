// Package objecttest holds what the tests of every store of objects share: a service that answers anything, and what has to be true of a
// store then.
package objecttest

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

const (
	// Secret is the key that a store under test signs with. It must not be found in an error.
	Secret = "access-key-secret-0123456789"
	// Private is what the bodies of answers may hold and errors must not: a service may repeat what it was sent.
	Private = "said in confidence"
)

// Answers plays a service: it has one answer to HEAD, and one to everything else. With Seal it is in good order instead: it has no object
// yet, and stores what comes.
type Answers struct {
	T      *testing.T
	Status int
	Header http.Header
	Body   string
	Head   string                           // the status of HEAD; 404 when it is no number
	Seal   func(h http.Header, sent []byte) // answers with the checksum of what was sent

	Asked  int
	Stored []byte
}

func (a *Answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.Asked++; a.Asked > 250+len(a.Body) {
		a.T.Fatalf("%d requests for one object", a.Asked)
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
	status, h, body := a.Status, a.Header.Clone(), a.Body
	switch head := r.Method == http.MethodHead; {
	case a.Seal != nil && head:
		status, h, body = http.StatusNotFound, http.Header{}, ""
	case a.Seal != nil:
		status, h, body = http.StatusOK, http.Header{}, ""
		a.Stored = sent
		a.Seal(h, sent)
	case head:
		var err error
		if status, err = strconv.Atoi(a.Head); err != nil {
			status = http.StatusNotFound
		}
		body = ""
	}
	return &http.Response{StatusCode: status, Status: strconv.Itoa(status) + " as given", Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

// Object has content under a key, and a name and a media type as a record may have them.
func Object(content []byte, key, name, media string) *object.Object {
	sum5, sum := md5.Sum(content), sha256.Sum256(content)
	return &object.Object{
		Key: key, Size: int64(len(content)), MD5: hex.EncodeToString(sum5[:]), SHA256: hex.EncodeToString(sum[:]), MediaType: media, Name: name,
		Meta: map[string]string{"msgid": name}, Open: func() (io.ReadSeekCloser, error) { return Reader(content), nil },
	}
}

// Reader reads content and need not be closed.
func Reader(content []byte) io.ReadSeekCloser { return reader{bytes.NewReader(content)} }

type reader struct{ *bytes.Reader }

func (reader) Close() error { return nil }

// GoodOrder stores o, which has content, in a service in good order: that is never taken for one that is down, whatever a record holds.
func GoodOrder(t *testing.T, s object.Store, a *Answers, o *object.Object, content []byte) {
	t.Helper()
	_, err := object.Writer{Store: s}.Place(t.Context(), o)
	if err == nil && !bytes.Equal(a.Stored, content) {
		t.Errorf("stored %q, want %q", a.Stored, content)
	} else if out := sdk.OutcomeOf(err); err != nil && (out.Verdict != sdk.VerdictReject || out.Down) {
		t.Errorf("in good order: got %+v", out)
	}
}

var outcomeCode = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// CheckFailure wants what is stored and logged of a failure to be bounded, in one line, and free of secrets and of the record's names.
func CheckFailure(t *testing.T, err error, key string) {
	t.Helper()
	o := sdk.OutcomeOf(err)
	if len(o.Detail) > 400 || !utf8.ValidString(o.Detail) || strings.ContainsFunc(o.Detail, unicode.IsControl) || !outcomeCode.MatchString(o.Code) ||
		strings.Contains(o.Detail, Secret) || len(key) > 20 && strings.Contains(o.Detail, key) || strings.Contains(o.Detail, Private) {
		t.Errorf("got %s, %d bytes: %.300q", o.Code, len(o.Detail), o.Detail)
	}
}
