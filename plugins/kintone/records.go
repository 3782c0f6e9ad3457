package kintone

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// MaxRows is how many records kintone writes in one call (kintone.dev, "Update Records").
const MaxRows = 100

// maxFound is how many records kintone returns in one call (kintone.dev, "Get Records").
const maxFound = 500

// Field is one field of an app's form.
type Field struct {
	Type      string                     `json:"type"` // "SINGLE_LINE_TEXT", …
	Code      string                     `json:"code"`
	Unique    bool                       `json:"unique"`
	Required  bool                       `json:"required"`
	MaxLength Number                     `json:"maxLength"` // characters; empty = no limit of its own
	Options   map[string]json.RawMessage `json:"options"`   // what a choice field takes
	Fields    map[string]Field           `json:"fields"`    // columns of a SUBTABLE
}

// Number is a number that kintone writes as a JSON string although its OpenAPI says integer; both are read.
type Number string

// UnmarshalJSON takes 12, "12" and null.
func (n *Number) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if s == "null" {
		s = ""
	}
	*n = Number(s)
	return nil
}

// Fields reads the fields of an app's form by code (GET app/form/fields.json). kintone ignores a code that does not exist with
// 200 OK when a record is written, so a mapping must be compared with this first.
func (c *Client) Fields(ctx context.Context, app int64) (map[string]Field, error) {
	var out struct {
		Properties map[string]Field `json:"properties"`
	}
	if err := c.get(ctx, "app/form/fields.json", map[string]any{"app": app}, &out); err != nil {
		return nil, err
	}
	return out.Properties, nil
}

// Row is one record to write.
type Row struct {
	Field, Key string         // code of a unique text or number field, and its value: which record is meant
	Values     map[string]any // by field code: string, []string or []FileKey; a field that is not named is left alone

	encoded []byte // as JSON, where that was needed already; whoever changes Values afterwards drops it
}

// FileKey names an uploaded file, or one that a record holds, in the value of a FILE field.
type FileKey struct {
	Key string `json:"fileKey"`
}

// MarshalJSON writes the row as PUT records.json takes it. The key is not repeated among the values: kintone sets it.
func (r Row) MarshalJSON() ([]byte, error) {
	if r.encoded != nil {
		return r.encoded, nil
	}
	type value struct {
		Value any `json:"value"`
	}
	record := make(map[string]value, len(r.Values))
	for code, v := range r.Values {
		if code != r.Field {
			record[code] = value{v}
		}
	}
	return json.Marshal(struct {
		Record    map[string]value  `json:"record"`
		UpdateKey map[string]string `json:"updateKey"`
	}{record, map[string]string{"field": r.Field, "value": r.Key}})
}

// Mode says what Put does with a key that no record has.
type Mode int

const (
	// Upsert inserts it (the API's upsert:true, since 2025-03; needs the rights to add and to edit).
	Upsert Mode = iota
	// Update refuses the whole call with GAIA_RE20 or GAIA_RE01.
	Update
)

// Result is what kintone says of a written record.
type Result struct {
	ID        Number `json:"id"`
	Revision  Number `json:"revision"`
	Operation string `json:"operation"` // INSERT or UPDATE
}

// said reports whether kintone can have said this: what it says goes into receipts and links.
func (r Result) said() bool {
	id := string(r.ID)
	return id != "" && len(id) <= 20 && strings.Trim(id, "0123456789") == "" && (r.Operation == "" || r.Operation == "INSERT" || r.Operation == "UPDATE")
}

// Put writes at most MaxRows records in one transaction: all of them or, on any error, none. Each key may stand there once.
// After an error of class Down they may all have been written; writing them again changes nothing but the revision.
func (c *Client) Put(ctx context.Context, app int64, mode Mode, rows []Row) ([]Result, error) {
	body := map[string]any{"app": app, "records": rows}
	if mode == Upsert {
		body["upsert"] = true
	}
	var out struct {
		Records []Result `json:"records"`
	}
	if err := c.send(ctx, http.MethodPut, "records.json", body, &out); err != nil {
		return nil, err
	}
	if len(out.Records) != len(rows) || slices.ContainsFunc(out.Records, func(r Result) bool { return !r.said() }) {
		return nil, &Error{HTTP: http.StatusOK, Code: "not_json"}
	}
	if mode == Update {
		for i := range out.Records {
			out.Records[i].Operation = "UPDATE" // only an upsert says so
		}
	}
	return out.Records, nil
}

// Record is a record as kintone returns it, by field code.
type Record map[string]struct {
	Type  string          `json:"type"`
	Value json.RawMessage `json:"value"` // a string, or a list
}

// Text returns the value of a field that holds a string, else "".
func (r Record) Text(code string) string {
	var s string
	_ = json.Unmarshal(r[code].Value, &s)
	return s
}

// Find reads the records whose unique field has one of at most 500 values: what is really there after an answer was lost.
// fields limits what is returned; nil returns all, always with $id and $revision when they are named.
func (c *Client) Find(ctx context.Context, app int64, field string, values, fields []string) ([]Record, error) {
	if len(values) > maxFound {
		return nil, fmt.Errorf("kintone: find %d records, at most %d at once", len(values), maxFound)
	}
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = quote(v)
	}
	query := map[string]any{
		"app":   app,
		"query": fmt.Sprintf("%s in (%s) order by $id asc limit %d", field, strings.Join(quoted, ","), maxFound),
	}
	if len(fields) > 0 {
		query["fields"] = fields
	}
	var out struct {
		Records []Record `json:"records"`
	}
	if err := c.get(ctx, "records.json", query, &out); err != nil {
		return nil, err
	}
	return out.Records, nil
}

// quote writes a string of the query language. Raw control characters are refused there (recorded on the real service, 2026-04).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}
