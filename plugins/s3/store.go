package s3

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"

	"github.com/weir-etl/weir/plugins/object"
)

// store is one bucket; it implements object.Store.
//
// ETags are never compared: with SSE-KMS they are no MD5, and of parts they are an MD5 of MD5s. What proves the content is that the
// server accepted its checksum: the SHA-256 in the signature, and beside it x-amz-checksum-sha256 or Content-MD5.
type store struct {
	client *s3.Client
	bucket string
	base   *url.URL
	sha256 bool // else Content-MD5
}

// Head implements object.Store.
func (s *store) Head(ctx context.Context, key string) (object.Info, error) {
	h, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key})
	if err != nil {
		return object.Info{}, outcome(ctx, "head", nil, err)
	}
	info := s.info(key, h.ETag, h.VersionId)
	info.Size, info.SHA256 = aws.ToInt64(h.ContentLength), h.Metadata["sha256"]
	return info, nil
}

func (s *store) info(key string, etag, version *string) object.Info {
	return object.Info{URL: s.base.JoinPath(key).String(), ETag: strings.Trim(aws.ToString(etag), `"`), VersionID: aws.ToString(version)}
}

// Delete implements object.Store.
func (s *store) Delete(ctx context.Context, key string, info object.Info) error {
	in := &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key}
	if info.VersionID != "" {
		in.VersionId = &info.VersionID
	}
	if _, err := s.client.DeleteObject(ctx, in); err != nil {
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
	if o.Size > object.PartsFrom {
		return s.putParts(ctx, key, o, body)
	}
	sums, err := decode(o)
	if err != nil {
		return object.Info{}, object.Unreadable(err)
	}
	source := object.NewSource(body, o.Size)
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: source, ContentLength: &o.Size, IfNoneMatch: aws.String("*"),
		ContentType: aws.String(o.ContentType()), ContentDisposition: text(o.Disposition()),
		StorageClass: types.StorageClass(o.StorageClass), Metadata: o.Metadata(),
	}
	in.ChecksumSHA256, in.ContentMD5 = s.checksums(sums)
	out, err := s.client.PutObject(ctx, in, signed(sums))
	if err != nil {
		return object.Info{}, outcome(ctx, "put", source, err)
	}
	info := s.info(key, out.ETag, out.VersionId)
	if got := aws.ToString(out.ChecksumSHA256); got != "" && got != base64.StdEncoding.EncodeToString(sums.sha256) {
		return info, fmt.Errorf("%w: SHA-256", object.ErrDamaged)
	}
	return info, nil
}

// sums are the digests of one body, known before it is sent. md5 may be missing.
type sums struct{ sha256, md5 []byte }

func decode(o *object.Object) (sums, error) {
	var d sums
	var err error
	if d.sha256, err = hex.DecodeString(o.SHA256); err != nil || len(d.sha256) != sha256.Size {
		return d, errors.New("SHA-256 of the file is not known")
	}
	if d.md5, err = hex.DecodeString(o.MD5); err != nil || len(d.md5) != md5.Size {
		d.md5 = nil
	}
	return d, nil
}

// checksums are the values of x-amz-checksum-sha256 and Content-MD5; one of them is left out.
func (s *store) checksums(d sums) (sha, md *string) {
	if s.sha256 {
		return aws.String(base64.StdEncoding.EncodeToString(d.sha256)), nil
	}
	return nil, text(base64.StdEncoding.EncodeToString(d.md5))
}

// signed puts the SHA-256 of the body into the signature, over https too, so that the client neither reads the body twice nor leaves it
// unsigned.
func signed(d sums) func(*s3.Options) {
	hash := hex.EncodeToString(d.sha256)
	return func(o *s3.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("PayloadHash", func(
				ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
			) (middleware.InitializeOutput, middleware.Metadata, error) {
				return next.HandleInitialize(v4.SetPayloadHash(ctx, hash), in)
			}), middleware.Before)
		})
	}
}

// putParts uploads one part after the other and leaves no upload behind: not its own when it fails, nor one of the same key from a
// process that died.
func (s *store) putParts(ctx context.Context, key string, o *object.Object, body io.ReadSeeker) (object.Info, error) {
	s.abortUploads(ctx, key)
	in := &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, ContentType: aws.String(o.ContentType()), ContentDisposition: text(o.Disposition()),
		StorageClass: types.StorageClass(o.StorageClass), Metadata: o.Metadata(),
	}
	if s.sha256 {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmSha256
	}
	up, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return object.Info{}, outcome(ctx, "initiate", nil, err)
	}
	info, err := s.sendParts(ctx, key, up.UploadId, o, body)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: up.UploadId})
	}
	return info, err
}

// sendParts reads each part twice, once for its checksums: that costs less than to hold it in memory.
func (s *store) sendParts(ctx context.Context, key string, id *string, o *object.Object, body io.ReadSeeker) (object.Info, error) {
	var parts []types.CompletedPart
	size := object.PartSize(o.Size)
	for at := int64(0); at < o.Size; at += size {
		n := min(size, o.Size-at)
		d, err := digest(body, at, n)
		if err != nil {
			return object.Info{}, object.Unreadable(err)
		}
		number := int32(len(parts) + 1)
		source := object.NewSource(body, n)
		in := &s3.UploadPartInput{Bucket: &s.bucket, Key: &key, UploadId: id, PartNumber: &number, Body: source, ContentLength: &n}
		in.ChecksumSHA256, in.ContentMD5 = s.checksums(d)
		out, err := s.client.UploadPart(ctx, in, signed(d))
		if err != nil {
			return object.Info{}, outcome(ctx, "upload part", source, err)
		}
		parts = append(parts, types.CompletedPart{PartNumber: &number, ETag: out.ETag, ChecksumSHA256: in.ChecksumSHA256})
	}
	out, err := s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: id, IfNoneMatch: aws.String("*"),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	if err != nil {
		return object.Info{}, outcome(ctx, "complete", nil, err)
	}
	return s.info(key, out.ETag, out.VersionId), nil
}

// digest reads n bytes from at and goes back to at.
func digest(body io.ReadSeeker, at, n int64) (sums, error) {
	sha, md := sha256.New(), md5.New()
	if _, err := io.Copy(io.MultiWriter(sha, md), object.NewSource(body, n)); err != nil {
		return sums{}, err
	}
	_, err := body.Seek(at, io.SeekStart)
	return sums{sha.Sum(nil), md.Sum(nil)}, err
}

// abortUploads removes unfinished uploads of key. It fails silently: without the right to list uploads the bucket's lifecycle rule
// has to do it.
func (s *store) abortUploads(ctx context.Context, key string) {
	list, err := s.client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &key})
	if err != nil {
		return
	}
	for _, u := range list.Uploads {
		if aws.ToString(u.Key) == key {
			s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: u.UploadId})
		}
	}
}

// outcome turns an error of the client into a sentinel or an outcome of package object.
func outcome(ctx context.Context, op string, body *object.Source, err error) error {
	var answer *awshttp.ResponseError
	if !errors.As(err, &answer) || answer.HTTPStatusCode() == 0 {
		return object.Unreachable(ctx, op, body, err)
	}
	refused := object.Refusal{Op: op, Status: answer.HTTPStatusCode(), Trace: "request " + answer.ServiceRequestID()}
	var api smithy.APIError
	if errors.As(err, &api) {
		refused.Code = api.ErrorCode()
	}
	return refused.Outcome()
}

func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
