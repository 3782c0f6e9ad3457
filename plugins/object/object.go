// Package object is what the object stores of weir share: the story of writing once.
//
// A key is written at most once. The same bytes again are a success, so that a redelivery after a crash or a lost answer is
// harmless; other bytes go beside the first as "…-v2", "…-v3", and nothing is ever overwritten. [Writer] tells that story over the
// small interface [Store], which package oss and package s3 implement for their service; [Sink] is the sink component of both.
//
// How equal bytes are recognised: every object carries the SHA-256 of its content as user metadata "sha256" (that is what the
// writer meant), and the service's own checksum, where it keeps one, says what really lies there. Both must agree with the file.
package object

import (
	"context"
	"errors"
	"io"
	"mime"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-etl/weir/sdk"
)

// Store is one bucket. Its methods make one attempt each, retrying is the engine's; they may be called from several goroutines.
// Errors other than the sentinels carry an outcome ([sdk.Error]).
type Store interface {
	// Head returns what lies under key, or ErrNotFound.
	Head(ctx context.Context, key string) (Info, error)

	// Put writes o under key unless the key is taken, which is ErrTaken, and compares the service's checksum with o afterwards.
	// ErrDamaged means that something else than o was stored, and info says what to delete. A failed Put leaves no parts behind.
	Put(ctx context.Context, key string, o *Object) (info Info, err error)

	// Delete removes what Head or Put described.
	Delete(ctx context.Context, key string, info Info) error
}

// What a Store answers besides outcomes.
var (
	ErrNotFound = errors.New("no such object")
	ErrTaken    = errors.New("key is taken")
	ErrDamaged  = errors.New("stored bytes differ from those sent")
)

// Object is something to be stored.
type Object struct {
	Key          string
	Size         int64             // bytes
	MD5, SHA256  string            // lower-case hex
	MediaType    string            // "" = application/octet-stream
	Name         string            // what a browser saves it as; "" = no Content-Disposition
	StorageClass string            // "" = the bucket's
	Meta         map[string]string // user metadata beside sha256

	Open func() (io.ReadSeekCloser, error) // nil: only the facts are known
}

// Info is what a service says of an object.
type Info struct {
	URL       string
	Size      int64
	SHA256    string // from the user metadata; "" = not written by weir
	MD5       string // computed by the service; "" = not known
	Damaged   bool   // the service's checksum contradicts the metadata
	ETag      string // as given, without quotes
	VersionID string // "" = bucket without versions
}

// holds reports whether the bytes described by i are those of o.
func (i Info) holds(o *Object) bool {
	switch {
	case i.Damaged || i.Size != o.Size:
		return false
	case i.MD5 != "" && o.MD5 != "" && i.MD5 != o.MD5:
		return false
	case i.SHA256 != "":
		return i.SHA256 == o.SHA256
	}
	return i.MD5 != "" && i.MD5 == o.MD5 // written by somebody else
}

// ContentType is the object's media type, never empty, and never what no header can hold: such a request would fail for ever.
func (o *Object) ContentType() string {
	if _, _, err := mime.ParseMediaType(o.MediaType); err != nil || strings.ContainsFunc(o.MediaType, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "application/octet-stream"
	}
	return o.MediaType
}

// Disposition is the Content-Disposition header: attachment, with the file name as RFC 5987 writes it; "" without a name.
func (o *Object) Disposition() string {
	if o.Name == "" {
		return ""
	}
	return mime.FormatMediaType("attachment", map[string]string{"filename": o.Name})
}

// Metadata is the user metadata to send: Meta and sha256. Bytes outside printable ASCII, and %, are percent-encoded, because headers
// carry nothing else faithfully.
func (o *Object) Metadata() map[string]string {
	m := make(map[string]string, len(o.Meta)+1)
	for name, value := range o.Meta {
		if value != "" {
			m[strings.ToLower(name)] = printable(value)
		}
	}
	m["sha256"] = o.SHA256
	return m
}

func printable(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// Limits that hold for both services.
const (
	maxKey  = 1023    // bytes: OSS; S3 has one more
	maxMeta = 2 << 10 // bytes, names and values: S3; OSS has 8 KiB
)

// check refuses what no service would take.
func (o *Object) check() error {
	if o.Key == "" || len(o.Key) > maxKey || !utf8.ValidString(o.Key) || strings.HasPrefix(o.Key, `\`) {
		return sdk.Reject("bad_key", errors.New("a key is 1 to 1023 bytes of UTF-8 and does not begin with a slash")).Err()
	}
	for part := range strings.SplitSeq(o.Key, "/") {
		if part == "" || strings.ContainsFunc(part, unicode.IsControl) {
			return sdk.Reject("bad_key", errors.New("a key has no empty parts and no control characters")).Err()
		}
		for step := range strings.SplitSeq(part, `\`) { // who copies a bucket to a disk may take this for a separator
			if step == "." || step == ".." {
				return sdk.Reject("bad_key", errors.New("a key has no . or .. parts")).Err()
			}
		}
	}
	size := 0
	for name, value := range o.Metadata() {
		if strings.ContainsFunc(name, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
		}) {
			return sdk.Reject("bad_metadata", errors.New("a metadata name is made of letters, digits and hyphens")).Err()
		}
		size += len(name) + len(value)
	}
	if size > maxMeta {
		return sdk.Reject("bad_metadata", errors.New("metadata is longer than 2048 bytes")).Err()
	}
	return nil
}

// VersionKey is the key for the nth version of what belongs under key: key itself for 1, else "-vN" before the extension, so that
// the file still opens: "a/report.pdf" becomes "a/report-v2.pdf". What follows the last dot of the last part counts as extension if
// it is 1 to 10 ASCII letters and digits and something stands before the dot.
func VersionKey(key string, n int) string {
	if n <= 1 {
		return key
	}
	ext := path.Ext(key)
	if len(ext) < 2 || len(ext) > 11 || path.Base(key) == ext || strings.ContainsFunc(ext[1:], func(r rune) bool {
		return !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}) {
		ext = ""
	}
	return strings.TrimSuffix(key, ext) + "-v" + strconv.Itoa(n) + ext
}
