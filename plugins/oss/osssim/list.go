package osssim

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const isoTime = "2006-01-02T15:04:05.000Z"

type listedObject struct {
	Key          string
	LastModified string
	ETag         string
	Type         string
	Size         int64
	StorageClass string
}

type commonPrefix struct{ Prefix string }

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Name                  string
	Prefix                string
	Marker                string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	MaxKeys               int
	Delimiter             string
	EncodingType          string `xml:",omitempty"`
	IsTruncated           bool
	NextMarker            string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	KeyCount              int    `xml:",omitempty"`
	Contents              []listedObject
	CommonPrefixes        []commonPrefix
}

// listObjects answers both list versions: keys in byte order, at most max-keys
// (1 to 1000, 100 by default) of keys and common prefixes together.
func (c *call) listObjects() error {
	q := c.r.URL.Query()
	if c.op == "ListObjectsV2" && q.Get("list-type") != "2" {
		return invalidArgument("", "list-type must be 2.")
	}
	limit, err := number(q.Get("max-keys"), 100, 1, 1000)
	if err != nil {
		return err
	}
	encode, err := c.keyEncoding()
	if err != nil {
		return err
	}
	after := q.Get("marker")
	if c.op == "ListObjectsV2" {
		after = q.Get("start-after")
		if token := q.Get("continuation-token"); token != "" {
			raw, err := base64.StdEncoding.DecodeString(token)
			if err != nil {
				return invalidArgument("", "The continuation token provided is incorrect.")
			}
			after = string(raw)
		}
	}
	prefix, delimiter := q.Get("prefix"), q.Get("delimiter")
	res := listResult{
		Name: c.bucket, Prefix: encode(prefix), Marker: encode(q.Get("marker")), StartAfter: encode(q.Get("start-after")),
		ContinuationToken: q.Get("continuation-token"), MaxKeys: limit, Delimiter: encode(delimiter), EncodingType: q.Get("encoding-type"),
	}

	last, entries := "", 0
	for _, o := range c.Objects() {
		if o.Bucket != c.bucket || !strings.HasPrefix(o.Key, prefix) {
			continue
		}
		name, isPrefix := o.Key, false
		if i := strings.Index(o.Key[len(prefix):], delimiter); delimiter != "" && i >= 0 {
			name, isPrefix = o.Key[:len(prefix)+i+len(delimiter)], true
		}
		if name <= after || isPrefix && name == last {
			continue
		}
		if entries == limit {
			res.IsTruncated = true
			break
		}
		if isPrefix {
			res.CommonPrefixes = append(res.CommonPrefixes, commonPrefix{encode(name)})
		} else {
			res.Contents = append(res.Contents, listedObject{
				encode(o.Key), o.Modified.UTC().Format(isoTime), `"` + o.ETag + `"`, o.Type, o.Size, o.StorageClass,
			})
		}
		last = name
		entries++
	}
	if c.op == "ListObjectsV2" {
		res.KeyCount = entries
	}
	if res.IsTruncated && c.op == "ListObjects" {
		res.NextMarker = encode(last)
	} else if res.IsTruncated {
		res.NextContinuationToken = encode(base64.StdEncoding.EncodeToString([]byte(last)))
	}
	return c.writeXML(res)
}

// number parses a decimal parameter; empty means the default.
func number(text string, def, low, high int) (int, error) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return 0, invalidArgument("", "A numeric parameter is out of range.")
	}
	return n, nil
}

// keyEncoding returns how keys are written in the answer: as they are, or
// percent-encoded with encoding-type=url.
func (c *call) keyEncoding() (func(string) string, error) {
	switch c.r.URL.Query().Get("encoding-type") {
	case "":
		return func(s string) string { return s }, nil
	case "url":
		return func(s string) string { return escape(s, false) }, nil
	}
	return nil, invalidArgument("", "encoding-type must be url.")
}

type deleteRequest struct {
	XMLName xml.Name `xml:"Delete"`
	Quiet   bool
	Object  []struct{ Key string }
}

type deletedKey struct{ Key string }

type deleteResult struct {
	XMLName      xml.Name `xml:"DeleteResult"`
	EncodingType string   `xml:",omitempty"`
	Deleted      []deletedKey
}

// deleteMultiple removes up to 1000 keys. Keys under retention stay and are
// missing from the answer.
func (c *call) deleteMultiple() error {
	digest := c.r.Header.Get("Content-Md5")
	if digest == "" {
		return refuse(http.StatusBadRequest, "MissingArgument", "0016-00000606", "Missing Some Required Arguments.")
	}
	encode, err := c.keyEncoding()
	if err != nil {
		return err
	}
	body, err := c.smallBody(2 << 20)
	if err != nil {
		return err
	}
	if sum := md5.Sum(body); digest != base64.StdEncoding.EncodeToString(sum[:]) {
		return refuse(http.StatusBadRequest, "InvalidDigest", "0017-00000503", "The Content-MD5 you specified did not match what we received.")
	}
	var req deleteRequest
	if err := xml.Unmarshal(body, &req); err != nil || len(req.Object) == 0 || len(req.Object) > 1000 {
		return malformedXML()
	}
	res := deleteResult{EncodingType: c.r.URL.Query().Get("encoding-type")}
	for _, o := range req.Object {
		err := c.remove(o.Key)
		if ref := (&refusal{}); errors.As(err, &ref) {
			continue
		}
		res.Deleted = append(res.Deleted, deletedKey{encode(o.Key)})
	}
	if req.Quiet {
		return nil
	}
	return c.writeXML(res)
}

type bucketInfo struct {
	XMLName xml.Name `xml:"BucketInfo"`
	Bucket  struct {
		Name, Location, CreationDate, ExtranetEndpoint, IntranetEndpoint, StorageClass string
		ACL                                                                            string `xml:"AccessControlList>Grant"`
	}
}

func (c *call) bucketInfo() error {
	c.mu.Lock()
	b := *c.buckets[c.bucket]
	c.mu.Unlock()
	var info bucketInfo
	info.Bucket.Name, info.Bucket.StorageClass = b.Name, b.StorageClass
	info.Bucket.Location = "oss-" + c.opt.Region
	info.Bucket.CreationDate = b.created.UTC().Format(isoTime)
	info.Bucket.ExtranetEndpoint, info.Bucket.IntranetEndpoint = c.addr, c.addr
	info.Bucket.ACL = "private"
	return c.writeXML(info)
}

type listedUpload struct {
	Key       string
	UploadID  string `xml:"UploadId"`
	Initiated string
}

type uploadsResult struct {
	XMLName            xml.Name `xml:"ListMultipartUploadsResult"`
	Bucket             string
	EncodingType       string `xml:",omitempty"`
	KeyMarker          string
	UploadIDMarker     string `xml:"UploadIdMarker"`
	NextKeyMarker      string `xml:",omitempty"`
	NextUploadIDMarker string `xml:"NextUploadIdMarker,omitempty"`
	Prefix             string
	MaxUploads         int
	IsTruncated        bool
	Upload             []listedUpload
}

func (c *call) listUploads() error {
	q := c.r.URL.Query()
	limit, err := number(q.Get("max-uploads"), 1000, 1, 1000)
	if err != nil {
		return err
	}
	encode, err := c.keyEncoding()
	if err != nil {
		return err
	}
	res := uploadsResult{
		Bucket: c.bucket, EncodingType: q.Get("encoding-type"), KeyMarker: encode(q.Get("key-marker")),
		UploadIDMarker: q.Get("upload-id-marker"), Prefix: encode(q.Get("prefix")), MaxUploads: limit,
	}
	uploads := slices.DeleteFunc(c.Uploads(), func(u Upload) bool {
		marker, id := q.Get("key-marker"), q.Get("upload-id-marker")
		return u.Bucket != c.bucket || !strings.HasPrefix(u.Key, q.Get("prefix")) ||
			u.Key < marker || u.Key == marker && (id == "" && marker != "" || u.ID <= id)
	})
	if len(uploads) > limit {
		uploads = uploads[:limit]
		res.IsTruncated = true
		res.NextKeyMarker, res.NextUploadIDMarker = encode(uploads[limit-1].Key), uploads[limit-1].ID
	}
	for _, u := range uploads {
		res.Upload = append(res.Upload, listedUpload{encode(u.Key), u.ID, u.Started.UTC().Format(time.RFC3339)})
	}
	return c.writeXML(res)
}
