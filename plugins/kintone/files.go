package kintone

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/weir-etl/weir/sdk"
)

// attachment is one file on its way into a FILE field.
type attachment struct {
	field  string
	name   string
	media  string
	sha256 string
	size   int64
	file   *sdk.File // nil for a text that overflowed
	text   []byte
	key    string // once it is uploaded
}

// planFiles says what goes into which FILE field: all wanted files that have bytes, and the texts that had to be cut.
func (it *item) planFiles(wanted map[string][]int, overflow string, whole map[string]string) error {
	for _, field := range slices.Sorted(maps.Keys(wanted)) {
		for _, index := range wanted[field] {
			if index < 0 || index >= len(it.row.Files) {
				return &rejection{"BAD_ARGUMENTS", field, fmt.Sprintf("the record has no file %d", index)}
			}
			f := &it.row.Files[index]
			switch {
			case !f.HasBytes():
				it.missing[field] = append(it.missing[field], f)
			case f.Size > MaxFile:
				return &rejection{"FILE_TOO_LARGE", field, "the file is larger than 1 GB"}
			default:
				it.attach = append(it.attach, attachment{field: field, name: fileName(it.row.ID, f), media: f.MediaType, sha256: f.SHA256, size: f.Size, file: f})
			}
		}
	}
	if overflow == "" || len(whole) == 0 {
		return nil
	}
	text, err := pack(whole)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	it.attach = append(it.attach, attachment{
		field: overflow, name: hashName(it.row.ID, "overflow") + ".json.gz", media: "application/gzip",
		sha256: hex.EncodeToString(sum[:]), size: int64(len(text)), text: text,
	})
	return nil
}

// pack writes the full texts by field code as gzipped JSON. Equal texts give equal bytes.
func pack(whole map[string]string) ([]byte, error) {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	enc := json.NewEncoder(zip)
	enc.SetEscapeHTML(false)
	if err := errors.Join(enc.Encode(whole), zip.Close()); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// upload sends the files of an item, right before the row that attaches them.
func (d *delivery) upload(ctx context.Context, it *item) error {
	it.uploaded++
	for i := range it.attach {
		a := &it.attach[i]
		var source io.Reader = bytes.NewReader(a.text)
		if a.file != nil {
			r, err := d.env.Spool.Open(a.file)
			if err != nil {
				return err
			}
			defer r.Close()
			source, a.size = r, r.Size()
		}
		key, err := d.client.Upload(ctx, a.name, a.media, a.size, source)
		if err != nil {
			return err
		}
		a.key = key
	}
	return nil
}

// value sets the values of the FILE fields. A PUT replaces the whole list, so what an earlier pass attached and this one has no
// bytes of is named again by the key under which the row holds it.
func (it *item) value(held Record) {
	it.kept = nil
	lists := map[string][]FileKey{}
	for _, a := range it.attach {
		lists[a.field] = append(lists[a.field], FileKey{a.key})
	}
	for field, list := range lists {
		var there []struct {
			FileKey
			Name string `json:"name"`
			Size Number `json:"size"`
		}
		_ = json.Unmarshal(held[field].Value, &there)
		for _, f := range it.missing[field] {
			for _, h := range there {
				if h.Name == fileName(it.row.ID, f) && (f.Size < 0 || string(h.Size) == fmt.Sprint(f.Size)) {
					list = append(list, h.FileKey)
					it.kept = append(it.kept, f.Index)
					break
				}
			}
		}
		it.write.Values[field], it.write.encoded = list, nil
	}
}

// mixed returns the FILE fields that get some files while others that belong there have no bytes.
func (it *item) mixed() (fields []string) {
	for _, a := range it.attach {
		if len(it.missing[a.field]) > 0 && !slices.Contains(fields, a.field) {
			fields = append(fields, a.field)
		}
	}
	return fields
}

// fileName is the name under which a file is attached: the sender's, without control characters, else one made from the record.
func fileName(record string, f *sdk.File) string {
	if f.Name == "" {
		return hashName(record, fmt.Sprint(f.Index)) + extensions[f.MediaType]
	}
	return oneLine(f.Name)
}

// hashName is 20 characters A–Z and 0–9 that are the same whenever the record comes again.
func hashName(record, part string) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	sum := sha256.Sum256([]byte(record + "\x00" + part))
	name := make([]byte, 20)
	for i := range name {
		name[i] = letters[int(sum[i])%len(letters)]
	}
	return string(name)
}

// extensions of what chats carry without a name; the system's tables differ from machine to machine.
var extensions = map[string]string{
	"image/jpeg": ".jpg", "image/png": ".png", "image/gif": ".gif", "image/webp": ".webp", "audio/amr": ".amr", "audio/mpeg": ".mp3",
	"video/mp4": ".mp4", "application/pdf": ".pdf", "text/plain": ".txt", "application/json": ".json",
}
