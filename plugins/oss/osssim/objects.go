package osssim

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"hash/crc64"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Object as it is stored.
type Object struct {
	Bucket, Key  string
	Size         int64
	MD5          [md5.Size]byte
	SHA256       [sha256.Size]byte
	CRC64        uint64 // polynomial ECMA-182, as x-oss-hash-crc64ecma
	Bytes        []byte // nil when larger than Options.KeepBytesUpTo
	ETag         string // without quotes
	Type         string // "Normal" or "Multipart"
	StorageClass string
	Header       map[string]string // Content-Type, Content-Disposition, … as sent
	Meta         map[string]string // user metadata, lower-case names without x-oss-meta-
	Modified     time.Time
}

// maxPut is the largest body of PutObject and UploadPart: 5 GB.
const maxPut = 5 << 30

// maxMeta is the sum of user metadata names and values in bytes: 8 KB.
const maxMeta = 8 << 10

// A digester computes what OSS remembers of a body, and keeps the bytes while
// they are few enough.
type digester struct {
	md5, sha256 hash.Hash
	crc         hash.Hash64
	size, keep  int64 // keep < 0: nothing
	bytes       []byte
}

func newDigester(keepUpTo int64) *digester {
	if keepUpTo == 0 {
		keepUpTo = 1 << 62
	}
	return &digester{md5: md5.New(), sha256: sha256.New(), crc: crc64.New(crc64.MakeTable(crc64.ECMA)), keep: keepUpTo}
}

func (d *digester) Write(p []byte) (int, error) {
	d.md5.Write(p)
	d.sha256.Write(p)
	d.crc.Write(p)
	d.size += int64(len(p))
	if d.size <= d.keep {
		d.bytes = append(d.bytes, p...)
	} else {
		d.bytes = nil
	}
	return len(p), nil
}

func (d *digester) describe(o *Object) {
	o.Size, o.CRC64 = d.size, d.crc.Sum64()
	d.md5.Sum(o.MD5[:0])
	d.sha256.Sum(o.SHA256[:0])
	if d.size <= d.keep {
		o.Bytes = d.bytes
	}
}

// readBody copies the request body into w and checks its length and its
// Content-MD5. sum is the digest of what w received.
func (c *call) readBody(w io.Writer, sum func() []byte) error {
	if c.r.ContentLength < 0 && len(c.r.TransferEncoding) == 0 || c.r.ContentLength == 0 && c.r.Header.Get("Content-Length") == "" && len(c.r.TransferEncoding) == 0 {
		return refuse(http.StatusLengthRequired, "MissingContentLength", "", "You must provide the Content-Length HTTP header.")
	}
	var want []byte
	if text := c.r.Header.Get("Content-Md5"); text != "" {
		var err error
		if want, err = base64.StdEncoding.DecodeString(text); err != nil || len(want) != md5.Size {
			return refuse(http.StatusBadRequest, "InvalidDigest", "0017-00000502", "The Content-MD5 you specified is not valid.")
		}
	}
	if c.r.ContentLength > maxPut {
		return entityTooLarge()
	}
	n, err := io.Copy(w, io.LimitReader(c.r.Body, maxPut+1))
	c.bytes = n
	if err != nil {
		return err
	}
	if n > maxPut {
		return entityTooLarge()
	}
	if want != nil && !bytes.Equal(want, sum()) {
		return refuse(http.StatusBadRequest, "InvalidDigest", "0017-00000503", "The Content-MD5 you specified did not match what we received.")
	}
	return nil
}

func entityTooLarge() *refusal {
	return refuse(http.StatusBadRequest, "EntityTooLarge", "", "Your proposed upload exceeds the maximum allowed size.")
}

// newObject reads the headers that an object keeps.
func (c *call) newObject() (*Object, error) {
	o := &Object{Bucket: c.bucket, Key: c.key, StorageClass: c.r.Header.Get("X-Oss-Storage-Class"), Header: map[string]string{}, Meta: map[string]string{}}
	switch o.StorageClass {
	case "", "Standard", "IA", "Archive", "ColdArchive", "DeepColdArchive":
	default:
		return nil, invalidArgument("", "The storage class is invalid.")
	}
	for _, name := range []string{"Content-Type", "Content-Disposition", "Content-Encoding", "Content-Language", "Cache-Control", "Expires"} {
		if v := c.r.Header.Get(name); v != "" {
			o.Header[name] = v
		}
	}
	size := 0
	for name, v := range c.r.Header {
		if meta, ok := strings.CutPrefix(strings.ToLower(name), "x-oss-meta-"); ok {
			o.Meta[meta] = v[0]
			size += len(meta) + len(v[0])
		}
	}
	if size > maxMeta {
		return nil, invalidArgument("", "Your metadata headers exceed the maximum allowed metadata size.")
	}
	return o, nil
}

func (c *call) putObject() error {
	forbid, err := c.forbidsOverwrite()
	if err != nil {
		return err
	}
	o, err := c.newObject()
	if err != nil {
		return err
	}
	d := newDigester(c.opt.KeepBytesUpTo)
	if err := c.readBody(d, func() []byte { return d.md5.Sum(nil) }); err != nil {
		return err
	}
	d.describe(o)
	o.ETag, o.Type = strings.ToUpper(hex.EncodeToString(o.MD5[:])), "Normal"
	if err := c.store(o, forbid); err != nil {
		return err
	}
	h := c.w.Header()
	h.Set("ETag", `"`+o.ETag+`"`)
	h.Set("Content-Md5", base64.StdEncoding.EncodeToString(o.MD5[:]))
	c.setCRC(o.CRC64)
	return nil
}

// store puts a complete object into its bucket, unless it may not be written.
func (c *call) store(o *Object, forbidOverwrite bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buckets[o.Bucket]
	o.Modified = c.opt.Now()
	if o.StorageClass == "" {
		o.StorageClass = b.StorageClass
	}
	old := b.objects[o.Key]
	if old != nil && old.SHA256 == o.SHA256 {
		c.counts.Repeated++
	}
	if err := b.mayWrite(o.Key, forbidOverwrite, o.Modified); err != nil {
		return err
	}
	if old != nil && old.SHA256 != o.SHA256 {
		c.counts.Overwritten++
	}
	b.objects[o.Key] = o
	c.counts.Stored++
	return nil
}

func (c *call) setCRC(crc uint64) {
	if c.fault.Kind == LieCRC {
		crc ^= 1
	}
	c.w.Header().Set("X-Oss-Hash-Crc64ecma", strconv.FormatUint(crc, 10))
}

// getObject answers GET and HEAD.
func (c *call) getObject() error {
	o, ok := c.Object(c.bucket, c.key)
	if !ok {
		return noSuchKey()
	}
	h := c.w.Header()
	for name, v := range o.Header {
		h.Set(name, v)
	}
	if o.Header["Content-Type"] == "" {
		h.Set("Content-Type", "application/octet-stream")
	}
	for name, v := range o.Meta {
		h.Set("X-Oss-Meta-"+name, v)
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("ETag", `"`+o.ETag+`"`)
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	h.Set("X-Oss-Object-Type", o.Type)
	h.Set("X-Oss-Storage-Class", o.StorageClass)
	if o.Type == "Normal" {
		h.Set("Content-Md5", base64.StdEncoding.EncodeToString(o.MD5[:]))
	}
	c.setCRC(o.CRC64)
	if c.op == "HeadObject" {
		h.Set("Content-Length", strconv.FormatInt(o.Size, 10))
		return nil
	}
	switch {
	case strings.HasSuffix(o.StorageClass, "Archive"):
		return refuse(http.StatusForbidden, "InvalidObjectState", "", "The operation is not valid for the object's state.")
	case o.Bytes == nil && o.Size > 0:
		return notImplemented("the bytes of this object: only its hashes were kept")
	}
	from, to, err := c.byteRange(o.Size)
	if err != nil {
		return err
	}
	if to-from < o.Size {
		h.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to-1, 10)+"/"+strconv.FormatInt(o.Size, 10))
		c.status = http.StatusPartialContent
	}
	h.Set("Content-Length", strconv.FormatInt(to-from, 10))
	c.w.WriteHeader(max(c.status, http.StatusOK))
	c.w.Write(o.Bytes[from:to])
	return nil
}

// byteRange is the half-open range that a GET asks for. As documented, a range
// that cannot be met gives the whole object, and 416 only with
// x-oss-range-behavior: standard.
func (c *call) byteRange(size int64) (from, to int64, err error) {
	text := c.r.Header.Get("Range")
	if text == "" {
		return 0, size, nil
	}
	from, to, ok := parseRange(text, size)
	if ok {
		return from, to, nil
	}
	if c.r.Header.Get("X-Oss-Range-Behavior") == "standard" {
		return 0, 0, refuse(http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "", "The requested range cannot be satisfied.")
	}
	return 0, size, nil
}

func parseRange(text string, size int64) (from, to int64, ok bool) {
	spec, ok := strings.CutPrefix(text, "bytes=")
	if !ok {
		return 0, 0, false
	}
	first, last, ok := strings.Cut(spec, "-")
	if !ok {
		return 0, 0, false
	}
	if first == "" { // the last n bytes
		n, err := strconv.ParseInt(last, 10, 64)
		return max(size-n, 0), size, err == nil && n > 0
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from >= size {
		return 0, 0, false
	}
	to = size
	if last != "" {
		end, err := strconv.ParseInt(last, 10, 64)
		if err != nil || end < from || end >= size {
			return 0, 0, false
		}
		to = end + 1
	}
	return from, to, true
}

func (c *call) deleteObject() error {
	if err := c.remove(c.key); err != nil {
		return err
	}
	c.status = http.StatusNoContent
	c.w.WriteHeader(c.status)
	return nil
}

// remove deletes a key; a key that is not there is a success.
func (c *call) remove(key string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.buckets[c.bucket]
	if err := b.mayWrite(key, false, c.opt.Now()); err != nil {
		return err
	}
	delete(b.objects, key)
	return nil
}

// smallBody reads an XML body of at most limit bytes.
func (c *call) smallBody(limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(c.r.Body, limit+1))
	c.bytes = int64(len(body))
	if err == nil && int64(len(body)) > limit {
		err = malformedXML()
	}
	return body, err
}
