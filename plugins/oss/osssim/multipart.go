package osssim

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// minPart is the least size of every part but the last: 100 KB.
const minPart = 100 << 10

// An upload's fields are guarded by Server.mu.
type upload struct {
	id, key string
	started time.Time
	object  *Object // headers given at initiation
	parts   map[int]part
	forbid  bool
}

type part struct {
	etag string // without quotes
	size int64
	file string
	at   time.Time
}

func (c *call) initiate() error {
	forbid, err := c.forbidsOverwrite()
	if err != nil {
		return err
	}
	o, err := c.newObject()
	if err != nil {
		return err
	}
	encode, err := c.keyEncoding()
	if err != nil {
		return err
	}
	c.mu.Lock()
	b := c.buckets[c.bucket]
	err = b.mayWrite(c.key, forbid, c.opt.Now())
	c.lastID++
	id := fmt.Sprintf("%032X", c.lastID)
	if err == nil {
		b.uploads[id] = &upload{id: id, key: c.key, started: c.opt.Now(), object: o, parts: map[int]part{}, forbid: forbid}
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.writeXML(struct {
		XMLName      xml.Name `xml:"InitiateMultipartUploadResult"`
		EncodingType string   `xml:",omitempty"`
		Bucket, Key  string
		UploadID     string `xml:"UploadId"`
	}{EncodingType: c.r.URL.Query().Get("encoding-type"), Bucket: c.bucket, Key: encode(c.key), UploadID: id})
}

// find returns the upload that the request names; the caller holds mu.
func (c *call) find() (*upload, error) {
	u := c.buckets[c.bucket].uploads[c.r.URL.Query().Get("uploadId")]
	if u == nil || u.key != c.key {
		return nil, noSuchUpload()
	}
	return u, nil
}

func (c *call) uploadPart() error {
	q := c.r.URL.Query()
	if q.Get("partNumber") == "" {
		return invalidArgument("0017-00000219", "Unexpected query string parameter")
	}
	n, err := strconv.Atoi(q.Get("partNumber"))
	if err != nil || n < 1 || n > 10000 {
		return invalidArgument("0017-00000220", "Part number must be an integer between 1 and 10000, inclusive.")
	}
	c.mu.Lock()
	_, err = c.find()
	c.mu.Unlock()
	if err != nil {
		return err
	}

	f, err := os.CreateTemp(c.dir, "part")
	if err != nil { // no disk, or Close has been called
		return internalError()
	}
	d := newDigester(-1)
	err = c.readBody(io.MultiWriter(f, d), func() []byte { return d.md5.Sum(nil) })
	f.Close()
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	p := part{etag: strings.ToUpper(hex.EncodeToString(d.md5.Sum(nil))), size: d.size, file: f.Name(), at: c.opt.Now()}
	c.mu.Lock()
	u, err := c.find()
	if err != nil {
		c.mu.Unlock()
		os.Remove(p.file)
		return err
	}
	if old, ok := u.parts[n]; ok {
		os.Remove(old.file)
	}
	u.parts[n] = p
	c.mu.Unlock()
	c.w.Header().Set("ETag", `"`+p.etag+`"`)
	c.setCRC(d.crc.Sum64())
	return nil
}

type completeRequest struct {
	XMLName xml.Name `xml:"CompleteMultipartUpload"`
	Part    []struct {
		PartNumber int
		ETag       string
	}
}

// complete checks the named parts, joins them and forgets the upload. A refused
// completion leaves the upload as it was.
func (c *call) complete() error {
	forbid, err := c.forbidsOverwrite()
	if err != nil {
		return err
	}
	encode, err := c.keyEncoding()
	if err != nil {
		return err
	}
	body, err := c.smallBody(4 << 20)
	if err != nil {
		return err
	}
	var req completeRequest
	if err := xml.Unmarshal(body, &req); err != nil || len(req.Part) == 0 {
		return malformedXML()
	}
	c.mu.Lock()
	u, err := c.find()
	var parts []part
	if err == nil {
		parts, err = u.choose(req)
	}
	c.mu.Unlock()
	if err != nil {
		return err
	}

	d := newDigester(c.opt.KeepBytesUpTo)
	etags := md5.New()
	for _, p := range parts {
		f, err := os.Open(p.file)
		if err != nil { // aborted meanwhile
			return noSuchUpload()
		}
		_, err = io.Copy(d, f)
		f.Close()
		if err != nil {
			return internalError()
		}
		io.WriteString(etags, p.etag)
	}
	o := *u.object
	d.describe(&o)
	o.Type = "Multipart"
	o.ETag = strings.ToUpper(hex.EncodeToString(etags.Sum(nil))) + "-" + strconv.Itoa(len(parts))
	if err := c.store(&o, forbid || u.forbid); err != nil {
		return err
	}
	c.forget(u)
	c.setCRC(o.CRC64)
	return c.writeXML(struct {
		XMLName               xml.Name `xml:"CompleteMultipartUploadResult"`
		EncodingType          string   `xml:",omitempty"`
		Location, Bucket, Key string
		ETag                  string
	}{
		EncodingType: c.r.URL.Query().Get("encoding-type"), Location: c.URL + "/" + c.bucket + "/" + escape(c.key, true),
		Bucket: c.bucket, Key: encode(c.key), ETag: `"` + o.ETag + `"`,
	})
}

// choose returns the parts that a completion names; the caller holds mu.
func (u *upload) choose(req completeRequest) ([]part, error) {
	var parts []part
	for i, want := range req.Part {
		if i > 0 && want.PartNumber <= req.Part[i-1].PartNumber {
			return nil, refuse(http.StatusBadRequest, "InvalidPartOrder", "0042-00000209",
				"The list of parts was not in ascending order. Parts list must specified in order by part number.")
		}
		p, ok := u.parts[want.PartNumber]
		if !ok || !strings.EqualFold(strings.Trim(want.ETag, `"`), p.etag) {
			return nil, refuse(http.StatusBadRequest, "InvalidPart", "",
				"One or more of the specified parts could not be found or the specified entity tag might not have matched the part's entity tag.")
		}
		parts = append(parts, p)
	}
	for _, p := range parts[:len(parts)-1] {
		if p.size < minPart {
			return nil, refuse(http.StatusBadRequest, "EntityTooSmall", "0042-00000213",
				"Your proposed upload smaller than the minimum allowed size.")
		}
	}
	return parts, nil
}

func (c *call) forget(u *upload) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.buckets[c.bucket].uploads, u.id)
	for _, p := range u.parts {
		os.Remove(p.file)
	}
}

func (c *call) abort() error {
	c.mu.Lock()
	u, err := c.find()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	c.forget(u)
	c.status = http.StatusNoContent
	c.w.WriteHeader(c.status)
	return nil
}

type listedPart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
}

func (c *call) listParts() error {
	q := c.r.URL.Query()
	limit, err := number(q.Get("max-parts"), 1000, 1, 1000)
	if err != nil {
		return err
	}
	marker, err := number(q.Get("part-number-marker"), 0, 0, 10000)
	if err != nil {
		return err
	}
	encode, err := c.keyEncoding()
	if err != nil {
		return err
	}
	res := struct {
		XMLName              xml.Name `xml:"ListPartsResult"`
		Bucket               string
		EncodingType         string `xml:",omitempty"`
		Key                  string
		UploadID             string `xml:"UploadId"`
		StorageClass         string `xml:",omitempty"`
		PartNumberMarker     int
		NextPartNumberMarker int
		MaxParts             int
		IsTruncated          bool
		Part                 []listedPart
	}{Bucket: c.bucket, EncodingType: q.Get("encoding-type"), Key: encode(c.key), PartNumberMarker: marker, MaxParts: limit}
	c.mu.Lock()
	defer c.mu.Unlock()
	u, err := c.find()
	if err != nil {
		return err
	}
	res.UploadID, res.StorageClass = u.id, u.object.StorageClass
	for _, n := range slices.Sorted(maps.Keys(u.parts)) {
		if n <= marker {
			continue
		}
		if len(res.Part) == limit {
			res.IsTruncated = true
			break
		}
		p := u.parts[n]
		res.Part = append(res.Part, listedPart{n, p.at.UTC().Format(isoTime), `"` + p.etag + `"`, p.size})
		res.NextPartNumberMarker = n
	}
	return c.writeXML(res)
}
