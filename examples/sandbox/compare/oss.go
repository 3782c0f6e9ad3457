package compare

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// OSS says how to read a bucket of Aliyun OSS.
type OSS struct {
	Endpoint string `json:"endpoint"` // the bucket is asked for by path
	Bucket   string `json:"bucket"`
	ID       string `json:"access_key_id"`
	Secret   string `json:"access_key_secret"`

	Now func() time.Time `json:"-"` // the service's clock; default time.Now
}

// Read lists the bucket and asks for the head of every object: OSS computes CRC-64 itself, whatever the writer claimed.
func (o OSS) Read(ctx context.Context) ([]Object, error) {
	var objects []Object
	marker := ""
	for {
		response, err := o.ask(ctx, http.MethodGet, "", url.Values{"max-keys": {"1000"}, "marker": {marker}})
		if err != nil {
			return nil, err
		}
		var page struct {
			IsTruncated bool
			NextMarker  string
			Contents    []struct {
				Key  string
				Size int64
			}
		}
		err = xml.NewDecoder(response.Body).Decode(&page)
		response.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("oss list: %w", err)
		}
		for _, c := range page.Contents {
			head, err := o.ask(ctx, http.MethodHead, c.Key, nil)
			if err != nil {
				return nil, err
			}
			head.Body.Close()
			objects = append(objects, Object{
				Key: c.Key, Size: head.ContentLength, CRC64: head.Header.Get("x-oss-hash-crc64ecma"), Noted: head.Header.Get("x-oss-meta-sha256"),
			})
		}
		if marker = page.NextMarker; !page.IsTruncated {
			return objects, nil
		}
	}
}

// ask sends a request with signature V1 (help.aliyun.com, "include signatures in the Authorization header"): HMAC-SHA1 over
// method, empty MD5 and type, date, and the resource.
func (o OSS) ask(ctx context.Context, method, key string, query url.Values) (*http.Response, error) {
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	address := o.Endpoint + "/" + o.Bucket + "/" + (&url.URL{Path: key}).EscapedPath()
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	request, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	date := now().UTC().Format(http.TimeFormat)
	mac := hmac.New(sha1.New, []byte(o.Secret))
	fmt.Fprintf(mac, "%s\n\n\n%s\n/%s/%s", method, date, o.Bucket, key)
	request.Header.Set("Date", date)
	request.Header.Set("Authorization", "OSS "+o.ID+":"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		return nil, fmt.Errorf("oss %s %s: %s %s", method, key, response.Status, body)
	}
	return response, nil
}
