package compare

import (
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Kintone says how to read the two apps.
type Kintone struct {
	URL      string `json:"url"`
	RawApp   int64  `json:"raw_app"`
	RawToken string `json:"raw_token"`
	LogApp   int64  `json:"log_app"`
	LogToken string `json:"log_token"`
}

// Read reads all rows, and every file once.
func (k Kintone) Read(ctx context.Context) (raw, log []Row, err error) {
	if raw, err = k.rows(ctx, k.RawApp, k.RawToken); err != nil {
		return nil, nil, err
	}
	log, err = k.rows(ctx, k.LogApp, k.LogToken)
	return raw, log, err
}

// rows pages by record number, 500 at a time, as kintone's own client does.
func (k Kintone) rows(ctx context.Context, app int64, token string) ([]Row, error) {
	var rows []Row
	last := "0"
	for {
		page, err := k.records(ctx, app, "$id > "+last+" order by $id asc limit 500", token)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			if err := json.Unmarshal(r["$id"].Value, &last); err != nil {
				return nil, fmt.Errorf("app %d: %w", app, err)
			}
			row, err := k.still(ctx, app, last, r, token)
			if err != nil {
				return nil, fmt.Errorf("app %d, record %s: %w", app, last, err)
			}
			if row != nil {
				rows = append(rows, *row)
			}
		}
		if len(page) < 500 {
			return rows, nil
		}
	}
}

// A record is what kintone lists, by field code.
type record map[string]struct {
	Type  string
	Value json.RawMessage
}

func (k Kintone) records(ctx context.Context, app int64, query, token string) ([]record, error) {
	var page struct{ Records []record }
	values := url.Values{"app": {fmt.Sprint(app)}, "query": {query}}
	body, _, err := k.get(ctx, "/k/v1/records.json?"+values.Encode(), token)
	if err == nil {
		err = json.Unmarshal(body, &page)
	}
	if err != nil {
		return nil, fmt.Errorf("app %d: %w", app, err)
	}
	return page.Records, nil
}

// still is the row of a record, which is read again when it was written meanwhile: its files are replaced with it. Nil when it is gone.
func (k Kintone) still(ctx context.Context, app int64, number string, r record, token string) (*Row, error) {
	for {
		row, err := k.row(ctx, r, token)
		if !errors.Is(err, errNoFile) {
			return &row, err
		}
		now, failed := k.records(ctx, app, "$id = "+number, token)
		switch {
		case failed != nil:
			return nil, failed
		case len(now) == 0:
			return nil, nil
		case string(now[0]["$revision"].Value) == string(r["$revision"].Value):
			return nil, err
		}
		r = now[0]
	}
}

// row is a record with its files.
func (k Kintone) row(ctx context.Context, r record, token string) (row Row, err error) {
	row = Row{Values: map[string]string{}, Files: map[string][]Attachment{}}
	for code, field := range r {
		if field.Type == "FILE" {
			if row.Files[code], err = k.files(ctx, field.Value, token); err != nil {
				return row, err
			}
			continue
		}
		var text string
		if json.Unmarshal(field.Value, &text) == nil {
			row.Values[code] = text
		}
	}
	row.Number = row.Values["$id"]
	return row, k.unfold(ctx, &row, r["file"].Value, r["payload"].Value, token)
}

// errNoFile says that kintone does not know a key of a file that it has listed.
var errNoFile = errors.New("download: 404 Not Found")

// listed are the files of a FILE field as a record names them.
type listed []struct{ FileKey, Name string }

// overflow is what the attachment is called that holds the whole of texts which were too long for their fields.
var overflow = regexp.MustCompile(`^[A-Z0-9]{20}\.json\.gz$`)

// unfold puts whole texts in the place of cut ones: an overflow attachment is gzipped JSON, field code to text, and the field keeps
// the beginning.
func (k Kintone) unfold(ctx context.Context, row *Row, file, payload json.RawMessage, token string) error {
	for code, value := range map[string]json.RawMessage{"file": file, "payload": payload} {
		var list listed
		if json.Unmarshal(value, &list) != nil {
			continue // the app has no such field
		}
		for i, f := range list {
			if !overflow.MatchString(f.Name) {
				continue
			}
			response, err := k.ask(ctx, "/k/v1/file.json?fileKey="+url.QueryEscape(f.FileKey), token)
			if err != nil {
				return err
			}
			if response.StatusCode == http.StatusNotFound {
				response.Body.Close()
				return errNoFile
			}
			whole := map[string]string{}
			zip, err := gzip.NewReader(response.Body)
			if err == nil {
				err = json.NewDecoder(zip).Decode(&whole)
			}
			response.Body.Close()
			if err != nil {
				continue // an ordinary file after all
			}
			for name, text := range whole {
				const start = 1000 // characters that the field must have kept
				if cut := []rune(row.Values[name]); len(cut) >= start && strings.HasPrefix(text, string(cut[:start])) {
					row.Values[name] = text
				}
			}
			row.Files[code] = slices.Delete(row.Files[code], i, i+1)
			break // there is one at most
		}
	}
	return nil
}

// files downloads the files of a field, a few at a time.
func (k Kintone) files(ctx context.Context, value json.RawMessage, token string) ([]Attachment, error) {
	var list listed
	if err := json.Unmarshal(value, &list); err != nil {
		return nil, err
	}
	found, errs := make([]Attachment, len(list)), make([]error, len(list))
	var all sync.WaitGroup
	for i, f := range list {
		all.Go(func() {
			found[i], errs[i] = k.file(ctx, f.FileKey, token)
			found[i].Name = f.Name
		})
	}
	all.Wait()
	return found, errors.Join(errs...)
}

// file downloads one file. The simulator keeps only the sums of large ones and says so with 410.
func (k Kintone) file(ctx context.Context, key, token string) (Attachment, error) {
	response, err := k.ask(ctx, "/k/v1/file.json?fileKey="+url.QueryEscape(key), token)
	if err != nil {
		return Attachment{}, err
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		h := sha256.New()
		n, err := io.Copy(h, response.Body)
		return Attachment{Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}, err
	case http.StatusGone:
		var size int64
		_, err := fmt.Sscan(response.Header.Get("X-Sim-Size"), &size)
		return Attachment{Size: size, SHA256: response.Header.Get("X-Sim-Sha256")}, err
	case http.StatusNotFound:
		return Attachment{}, errNoFile
	}
	return Attachment{}, fmt.Errorf("download: %s", response.Status)
}

func (k Kintone) get(ctx context.Context, path, token string) ([]byte, http.Header, error) {
	response, err := k.ask(ctx, path, token)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("kintone: %s: %s", response.Status, body)
	}
	return body, response.Header, err
}

func (k Kintone) ask(ctx context.Context, path, token string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.URL+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Cybozu-API-Token", token)
	return http.DefaultClient.Do(request)
}
