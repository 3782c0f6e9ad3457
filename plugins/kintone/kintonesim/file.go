package kintonesim

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// tempLife is how long an uploaded file waits to be attached (kintone.dev, "Upload File", Limitations: 3 days).
const tempLife = 72 * time.Hour

// file is an uploaded content.
type file struct {
	name, mediaType string
	size            int64
	sha256, md5     string
	content         []byte // nil above Options.KeepFiles
	uploaded        time.Time
	spent           bool // attached once: the temporary key is of no more use
}

// attachment is a file in a record. Its key only downloads it, and keeps it where it is when the record is updated.
type attachment struct {
	key  string
	file *file

	app    int64
	record int64
	code   string
}

// upload answers POST file.json: one part named "file", its name in raw UTF-8.
func (c *call) upload() (any, *refusal) {
	parts, err := c.r.MultipartReader()
	if err != nil {
		return nil, &refusal{status: http.StatusBadRequest, code: "CB_IL02", text: illegalRequest}
	}
	var got *file
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, &refusal{status: http.StatusBadRequest, code: "CB_IL02", text: illegalRequest}
		}
		_, params, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if err != nil || part.FormName() != "file" || params["filename"] == "" || got != nil {
			return nil, invalid("file", requiredParameter)
		}
		got = &file{name: params["filename"], mediaType: part.Header.Get("Content-Type"), uploaded: c.at}
		if got.mediaType == "" {
			got.mediaType = "application/octet-stream"
		}
		if err := c.receive(got, part); err != nil {
			return nil, &refusal{status: http.StatusBadRequest, code: "CB_IL02", text: illegalRequest}
		}
		if got.size > c.s.o.MaxFile {
			return nil, &refusal{status: http.StatusRequestEntityTooLarge}
		}
	}
	if got == nil {
		return nil, invalid("file", requiredParameter)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	key := c.s.newKey("c15b3870-7505-4ab6-9d8d-%012x")
	c.s.files[key] = got
	c.s.stats.commit(moved{uploaded: 1, bytes: got.size})
	return map[string]any{"fileKey": key}, nil
}

func (c *call) receive(f *file, r io.Reader) error {
	sum256, sumMD5 := sha256.New(), md5.New()
	kept := &atMost{limit: c.s.o.KeepFiles}
	n, err := io.Copy(io.MultiWriter(sum256, sumMD5, kept), io.LimitReader(r, c.s.o.MaxFile+1))
	if err != nil {
		return err
	}
	f.size, f.sha256, f.md5 = n, hex.EncodeToString(sum256.Sum(nil)), hex.EncodeToString(sumMD5.Sum(nil))
	if !kept.over {
		f.content = append([]byte{}, kept.Bytes()...)
	}
	return nil
}

// atMost keeps what is written as long as it is not more than limit; 0 = always.
type atMost struct {
	bytes.Buffer
	limit int64
	over  bool
}

func (a *atMost) Write(p []byte) (int, error) {
	if a.limit > 0 && int64(a.Len()+len(p)) > a.limit {
		a.over = true
		a.Buffer = bytes.Buffer{}
	}
	if a.over {
		return len(p), nil
	}
	return a.Buffer.Write(p)
}

// attach replaces the list of a FILE field. A key is one of a file just uploaded, or one that the field holds already.
func (t *tx) attach(a *app, r *record, path, code string, in any, wrong problems) ([]*attachment, *refusal) {
	items, ok := in.([]any)
	if in != nil && !ok {
		wrong.add(path+"."+code+".values", badValue)
		return nil, nil
	}
	holds, _ := r.values[code].([]*attachment)
	list := []*attachment{}
next:
	for _, item := range items {
		cell, _ := item.(map[string]any)
		key, _ := cell["fileKey"].(string)
		for _, held := range holds {
			if held.key == key {
				list = append(list, held)
				continue next
			}
		}
		f := t.s.files[key]
		if f == nil || f.spent || t.at.Sub(f.uploaded) >= tempLife {
			return nil, missingFile(key)
		}
		f.spent = true
		held := &attachment{key: t.s.newKey("2012020611%031X"), file: f, app: a.def.ID, record: r.id, code: code}
		t.s.held[held.key] = held
		t.moved.attached++
		t.undo = append(t.undo, func() { f.spent = false; delete(t.s.held, held.key) })
		list = append(list, held)
	}
	return list, nil
}

// download answers GET file.json. The size and the digests are in headers of our own (X-Sim-Size, X-Sim-Sha256, X-Sim-Md5), and
// when nothing else was kept of a large file the status is 410 rather than 200 with wrong bytes.
func (c *call) download() (any, *refusal) {
	key, _ := c.in.text("fileKey")
	if key == "" {
		return nil, invalid("fileKey", requiredParameter)
	}
	f, bad := c.downloadable(key)
	if bad != nil {
		return nil, bad
	}
	h := c.w.Header()
	h.Set("X-Sim-Size", strconv.FormatInt(f.size, 10))
	h.Set("X-Sim-Sha256", f.sha256)
	h.Set("X-Sim-Md5", f.md5)
	if f.content == nil {
		c.html(http.StatusGone, "Gone", "Only the digests of this file were kept.")
		return nil, nil
	}
	h.Set("Content-Type", f.mediaType)
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": f.name}))
	h.Set("Content-Length", strconv.Itoa(len(f.content)))
	c.status = http.StatusOK
	c.leave()
	c.w.WriteHeader(http.StatusOK)
	c.w.Write(f.content)
	return nil, nil
}

// downloadable finds a file that a record still holds and that one of the tokens may read. A temporary key downloads nothing.
func (c *call) downloadable(key string) (*file, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	held := c.s.held[key]
	if held == nil {
		return nil, missingFile(key)
	}
	a, bad := c.open(held.app, false)
	if bad != nil {
		return nil, bad
	}
	if r := a.records[held.record]; r != nil {
		if list, _ := r.values[held.code].([]*attachment); slices.Contains(list, held) {
			copied := *held.file
			return &copied, nil
		}
	}
	return nil, missingFile(key)
}

// newKey returns the next key in a form that looks like the service's. Callers hold s.mu.
func (s *Server) newKey(form string) string {
	s.serial++
	return fmt.Sprintf(form, s.serial)
}

// errorID returns what stands in the id of an error: 20 characters.
func (s *Server) errorID() string {
	return fmt.Sprintf("sim%017d", s.stats.nextError())
}
