package compare

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// S3 says how to read a bucket.
type S3 struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	Bucket   string `json:"bucket"`
	ID       string `json:"access_key_id"`
	Secret   string `json:"access_key_secret"`
}

// Read reads every object to its end, and keeps the content of those whose size is at most keep.
func (s S3) Read(ctx context.Context, keep int64) ([]Object, map[string][]byte, error) {
	client := s3.New(s3.Options{
		BaseEndpoint: &s.Endpoint, Region: s.Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s.ID, s.Secret, ""),
	})
	var objects []Object
	contents := map[string][]byte{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &s.Bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, err
		}
		for _, c := range page.Contents {
			got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &s.Bucket, Key: c.Key})
			if err != nil {
				return nil, nil, err
			}
			o := Object{Key: aws.ToString(c.Key), Noted: got.Metadata["sha256"]}
			h := sha256.New()
			var body io.Reader = io.TeeReader(got.Body, h)
			if aws.ToInt64(c.Size) <= keep {
				content, err := io.ReadAll(body)
				if err != nil {
					return nil, nil, err
				}
				contents[o.Key], o.Size = content, int64(len(content))
			} else if o.Size, err = io.Copy(io.Discard, body); err != nil {
				return nil, nil, err
			}
			got.Body.Close()
			o.SHA256 = hex.EncodeToString(h.Sum(nil))
			objects = append(objects, o)
		}
	}
	return objects, contents, nil
}
