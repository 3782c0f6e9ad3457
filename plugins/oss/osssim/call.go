package osssim

import (
	"encoding/xml"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A call is one request under way.
type call struct {
	*Server
	w           http.ResponseWriter
	r           *http.Request
	op          string
	bucket, key string
	fault       Fault

	status int   // of a success
	bytes  int64 // body bytes read
}

func (c *call) serve() error {
	if err := c.suffer(); err != nil {
		return err
	}
	if err := c.signer.verify(c.r, c.bucket, c.key); err != nil {
		return err
	}
	if c.op == "" {
		return notImplemented("this operation")
	}
	for name := range c.r.URL.Query() {
		if !slices.Contains(parameters(c.op), name) {
			return notImplemented("the parameter " + name + " of " + c.op)
		}
	}
	if err := c.checkHeaders(); err != nil {
		return err
	}
	c.mu.Lock()
	known := c.buckets[c.bucket] != nil
	c.mu.Unlock()
	if !known {
		return refuse(http.StatusNotFound, "NoSuchBucket", "0015-00000101", "The specified bucket does not exist.")
	}
	if c.key != "" && (len(c.key) > 1023 || strings.HasPrefix(c.key, "/") || strings.HasPrefix(c.key, `\`)) {
		return refuse(http.StatusBadRequest, "InvalidObjectName", "", "The specified object is not valid.")
	}
	switch c.op {
	case "PutObject":
		return c.putObject()
	case "GetObject", "HeadObject":
		return c.getObject()
	case "DeleteObject":
		return c.deleteObject()
	case "DeleteMultipleObjects":
		return c.deleteMultiple()
	case "ListObjects", "ListObjectsV2":
		return c.listObjects()
	case "GetBucketInfo":
		return c.bucketInfo()
	case "InitiateMultipartUpload":
		return c.initiate()
	case "UploadPart":
		return c.uploadPart()
	case "ListParts":
		return c.listParts()
	case "CompleteMultipartUpload":
		return c.complete()
	case "AbortMultipartUpload":
		return c.abort()
	case "ListMultipartUploads":
		return c.listUploads()
	}
	panic("osssim: no handler for " + c.op)
}

// suffer acts out faults that come before the work. DropAfter and LieCRC come
// after it.
func (c *call) suffer() error {
	if f := c.fault; f.RetryAfter != "" && (f.Kind == Fail500 || f.Kind == Fail503 || f.Kind == Fail503HTML) {
		c.w.Header().Set("Retry-After", f.RetryAfter)
	}
	switch c.fault.Kind {
	case Fail500:
		return internalError()
	case Fail503:
		return refuse(http.StatusServiceUnavailable, "ServiceUnavailable", "", "Please reduce your request rate.")
	case Fail503HTML:
		return refuse(http.StatusServiceUnavailable, "", "", "")
	case Deny:
		return accessDenied("0003-00000001", "You have no right to access this object.")
	case Slow:
		select {
		case <-time.After(c.fault.Delay):
		case <-c.stop:
		case <-c.r.Context().Done():
		}
	case Hang:
		select {
		case <-c.stop:
		case <-c.r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}
	return nil
}

// checkHeaders refuses x-oss-* headers that the simulator would have to ignore.
func (c *call) checkHeaders() error {
	for name := range c.r.Header {
		name = strings.ToLower(name)
		if !strings.HasPrefix(name, "x-oss-") || strings.HasPrefix(name, "x-oss-meta-") {
			continue
		}
		switch name {
		case "x-oss-date", "x-oss-content-sha256", "x-oss-security-token", "x-oss-storage-class", "x-oss-forbid-overwrite", "x-oss-range-behavior":
		default:
			return notImplemented("the header " + name)
		}
	}
	for _, name := range []string{"If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if c.r.Header.Get(name) != "" {
			return notImplemented("the header " + name)
		}
	}
	return nil
}

// forbidsOverwrite reads x-oss-forbid-overwrite.
func (c *call) forbidsOverwrite() (bool, error) {
	switch v := c.r.Header.Get("X-Oss-Forbid-Overwrite"); v {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, invalidArgument("0017-00000279", "The value of x-oss-forbid-overwrite is invalid.")
	}
}

// mayWrite decides whether key may be written or removed now. The caller holds
// mu.
func (b *bucket) mayWrite(key string, forbidOverwrite bool, now time.Time) error {
	old := b.objects[key]
	switch {
	case old == nil:
		return nil
	case forbidOverwrite:
		return fileAlreadyExists()
	case b.Retention > 0 && now.Before(old.Modified.Add(b.Retention)):
		return fileImmutable()
	}
	return nil
}

func (c *call) writeXML(v any) error {
	body, err := xml.Marshal(v)
	if err != nil {
		panic(err)
	}
	c.w.Header().Set("Content-Type", "application/xml")
	c.w.Write([]byte(xml.Header))
	c.w.Write(body)
	return nil
}
