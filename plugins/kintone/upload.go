package kintone

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"sync/atomic"
	"unicode"
)

// MaxFile is the size in bytes of the largest file that kintone takes (kintone help, "添付ファイル": 1 GB).
const MaxFile = 1 << 30

// Upload sends size bytes of r as one file and returns its key (POST file.json, multipart/form-data). Memory is constant.
//
// The key is temporary: attached by one write it is spent, and after three days without it is gone (kintone.dev, "Upload File").
// So upload right before the write, and again rather than keep the key. When r fails or ends early, its error comes back
// wrapped and kintone has kept nothing.
func (c *Client) Upload(ctx context.Context, name, mediaType string, size int64, r io.Reader) (string, error) {
	var head bytes.Buffer
	form := multipart.NewWriter(&head)
	part := textproto.MIMEHeader{}
	// The name goes as raw UTF-8, not as RFC 2047 or 2231; only quote and backslash are escaped.
	part.Set("Content-Disposition", `form-data; name="file"; filename="`+fileNameEscapes.Replace(oneLine(name))+`"`)
	part.Set("Content-Type", headerValue(mediaType))
	if _, err := form.CreatePart(part); err != nil {
		return "", err
	}
	// The length of the whole is known before the first byte is sent: no chunked encoding, and a short source is an error here,
	// not a truncated file there.
	tail := "\r\n--" + form.Boundary() + "--\r\n"
	length := int64(head.Len()) + size + int64(len(tail))
	source := &exactly{r: r, left: size}
	body := io.MultiReader(&head, source, strings.NewReader(tail))

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/file.json", io.NopCloser(body))
	if err != nil {
		return "", err
	}
	req.ContentLength = length
	req.Header.Set("Content-Type", form.FormDataContentType())
	var out FileKey
	if err := c.do(req, &out); err != nil {
		if failed := source.failed.Load(); failed != nil {
			return "", fmt.Errorf("read file to upload: %w", *failed)
		}
		return "", err
	}
	if out.Key == "" {
		return "", &Error{HTTP: http.StatusOK, Code: "not_json"}
	}
	return out.Key, nil
}

var fileNameEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// oneLine keeps a name that a sender chose within the header that it travels in: package multipart writes what it is given.
func oneLine(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
}

// headerValue is a media type that may stand in a header; what is none is told as mere bytes.
func headerValue(mediaType string) string {
	if _, _, err := mime.ParseMediaType(mediaType); err != nil || strings.ContainsFunc(mediaType, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "application/octet-stream"
	}
	return mediaType
}

// exactly reads left bytes from r, makes an early end an error, and remembers whether the source or the network failed. The
// transport may still read while Do has returned: hence the atomic pointer.
type exactly struct {
	r      io.Reader
	left   int64
	failed atomic.Pointer[error]
}

func (e *exactly) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case err == io.EOF && e.left > 0:
		err = io.ErrUnexpectedEOF
	case err == io.EOF:
		err = nil
	}
	if err != nil {
		e.failed.Store(&err)
	}
	return n, err
}
