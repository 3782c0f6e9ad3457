package oss

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// store is one bucket; it implements object.Store.
type store struct {
	bucket *oss.Bucket
	base   *url.URL
	clock  *sdk.Clock
}

// metaCRC is user metadata of objects that were uploaded in parts: the CRC-64 that they should have. OSS gives such objects no MD5,
// so this is what later tells a damaged one. Header names here are in the form of http.Header.
const (
	metaCRC = "crc64"
	hashCRC = "X-Oss-Hash-Crc64ecma"
)

// options of every call: its context, and the date to sign, which is the engine's and not the machine's.
func (s *store) options(ctx context.Context, more ...oss.Option) []oss.Option {
	date := s.clock.Now().UTC().Format(http.TimeFormat)
	return append([]oss.Option{oss.WithContext(ctx), oss.SetHeader(oss.HTTPHeaderDate, date)}, more...)
}

// Head implements object.Store.
func (s *store) Head(ctx context.Context, key string) (object.Info, error) {
	h, err := s.bucket.GetObjectDetailedMeta(key, s.options(ctx)...)
	if err != nil {
		return object.Info{}, outcome(ctx, "head", nil, err)
	}
	info := s.info(key, h)
	info.SHA256 = h.Get("X-Oss-Meta-Sha256")
	info.Size, _ = strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if want := h.Get("X-Oss-Meta-" + metaCRC); want != "" && want != h.Get(hashCRC) {
		info.Damaged = true
	}
	return info, nil
}

// info reads what answers to HEAD and PUT have in common. The ETag of an object that was put in one piece is its MD5 (PutObject page).
func (s *store) info(key string, h http.Header) object.Info {
	info := object.Info{URL: s.base.JoinPath(key).String(), ETag: strings.Trim(h.Get("Etag"), `"`), VersionID: h.Get("X-Oss-Version-Id")}
	if len(info.ETag) == 32 && h.Get("X-Oss-Object-Type") != "Multipart" {
		info.MD5 = strings.ToLower(info.ETag)
	}
	return info
}

// Delete implements object.Store.
func (s *store) Delete(ctx context.Context, key string, info object.Info) error {
	options := s.options(ctx)
	if info.VersionID != "" {
		options = append(options, oss.VersionId(info.VersionID))
	}
	if err := s.bucket.DeleteObject(key, options...); err != nil {
		return outcome(ctx, "delete", nil, err)
	}
	return nil
}

// Put implements object.Store.
func (s *store) Put(ctx context.Context, key string, o *object.Object) (object.Info, error) {
	body, err := o.Open()
	if err != nil {
		return object.Info{}, object.Unreadable(err)
	}
	defer body.Close()
	options := s.options(ctx, oss.ForbidOverWrite(true), oss.ContentType(o.ContentType()))
	if d := o.Disposition(); d != "" {
		options = append(options, oss.ContentDisposition(d))
	}
	if o.StorageClass != "" {
		options = append(options, oss.ObjectStorageClass(oss.StorageClassType(o.StorageClass)))
	}
	for name, value := range o.Metadata() {
		options = append(options, oss.Meta(name, value))
	}
	if o.Size > object.PartsFrom {
		return s.putParts(ctx, key, o, body, options)
	}
	return s.putWhole(ctx, key, o, body, options)
}

func (s *store) putWhole(ctx context.Context, key string, o *object.Object, body io.Reader, options []oss.Option) (object.Info, error) {
	var h http.Header
	options = append(options, oss.GetResponseHeader(&h))
	if sum, err := hex.DecodeString(o.MD5); err == nil && len(sum) > 0 {
		options = append(options, oss.ContentMD5(base64.StdEncoding.EncodeToString(sum)))
	}
	source := object.NewSource(body, o.Size)
	if err := s.bucket.PutObject(key, source, options...); err != nil {
		return s.info(key, h), outcome(ctx, "put", source, err)
	}
	// The client compares only what it gets, and takes what is no number for 0, the sum of an empty file.
	if _, err := strconv.ParseUint(h.Get(hashCRC), 10, 64); err != nil {
		return s.info(key, h), fmt.Errorf("%w: no %s in the answer", object.ErrDamaged, hashCRC)
	}
	return s.info(key, h), nil
}

// putParts uploads one part after the other and leaves no upload behind: not its own when it fails, nor one of the same key from a
// process that died.
func (s *store) putParts(ctx context.Context, key string, o *object.Object, body io.ReadSeeker, options []oss.Option) (object.Info, error) {
	crc, err := checksum(body, o.Size)
	if err != nil {
		return object.Info{}, object.Unreadable(err)
	}
	s.abortUploads(ctx, key)
	up, err := s.bucket.InitiateMultipartUpload(key, append(options, oss.Meta(metaCRC, crc))...)
	if err != nil {
		return object.Info{}, outcome(ctx, "initiate", nil, err)
	}
	info, err := s.sendParts(ctx, up, o, body, crc)
	if err != nil && !errors.Is(err, object.ErrDamaged) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		s.bucket.AbortMultipartUpload(up, s.options(ctx)...)
	}
	return info, err
}

func (s *store) sendParts(ctx context.Context, up oss.InitiateMultipartUploadResult, o *object.Object, body io.Reader, crc string) (object.Info, error) {
	var parts []oss.UploadPart
	size := object.PartSize(o.Size)
	for at := int64(0); at < o.Size; at += size {
		n := min(size, o.Size-at)
		source := object.NewSource(body, n)
		part, err := s.bucket.UploadPart(up, source, n, len(parts)+1, s.options(ctx)...)
		if errors.As(err, &oss.CRCCheckError{}) { // a part is not an object yet
			return object.Info{}, sdk.Retry(0, "damaged", object.ErrDamaged).Err()
		}
		if err != nil {
			return object.Info{}, outcome(ctx, "upload part", source, err)
		}
		parts = append(parts, part)
	}
	var h http.Header
	done, err := s.bucket.CompleteMultipartUpload(up, parts, s.options(ctx, oss.ForbidOverWrite(true), oss.GetResponseHeader(&h))...)
	if err != nil {
		return object.Info{}, outcome(ctx, "complete", nil, err)
	}
	info := s.info(up.Key, h)
	info.ETag, info.MD5 = strings.Trim(done.ETag, `"`), ""
	if h.Get(hashCRC) != crc {
		return info, fmt.Errorf("%w: CRC-64", object.ErrDamaged)
	}
	return info, nil
}

// abortUploads removes unfinished uploads of key. It fails silently: without the right to list uploads the bucket's lifecycle rule
// has to do it.
func (s *store) abortUploads(ctx context.Context, key string) {
	list, err := s.bucket.ListMultipartUploads(s.options(ctx, oss.Prefix(key))...)
	if err != nil {
		return
	}
	for _, u := range list.Uploads {
		if u.Key == key {
			s.bucket.AbortMultipartUpload(oss.InitiateMultipartUploadResult{Bucket: list.Bucket, Key: key, UploadID: u.UploadID}, s.options(ctx)...)
		}
	}
}

// checksum reads body once, from its start, and puts it back there.
func checksum(body io.ReadSeeker, size int64) (string, error) {
	h := crc64.New(crc64.MakeTable(crc64.ECMA))
	if _, err := io.Copy(h, object.NewSource(body, size)); err != nil {
		return "", err
	}
	_, err := body.Seek(0, io.SeekStart)
	return strconv.FormatUint(h.Sum64(), 10), err
}

// outcome turns an error of the vendor's client into a sentinel or an outcome of package object.
func outcome(ctx context.Context, op string, body *object.Source, err error) error {
	var refused oss.ServiceError
	switch {
	case errors.As(err, &oss.CRCCheckError{}):
		return fmt.Errorf("%w: CRC-64", object.ErrDamaged)
	case errors.As(err, &refused):
		trace := "request " + refused.RequestID
		if refused.Ec != "" {
			trace += " ec " + refused.Ec
		}
		return object.Refusal{Op: op, Status: refused.StatusCode, Code: refused.Code, Trace: trace}.Outcome()
	}
	// No answer, or one that is not XML, as from a load balancer.
	return object.Unreachable(ctx, op, body, err)
}
