package compare

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strings"
)

// sameJSON compares two texts as JSON: the order of members does not matter, nor does any sdkfileid. JSON inside strings is
// compared the same way, and numbers digit by digit.
func sameJSON(a, b string) bool {
	va, errA := parse(a)
	vb, errB := parse(b)
	return errA == nil && errB == nil && reflect.DeepEqual(va, vb)
}

func parse(text string) (any, error) {
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, io.ErrUnexpectedEOF
	}
	return bare(v), nil
}

// bare removes every sdkfileid and opens the JSON in strings.
func bare(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "sdkfileid")
		for name := range v {
			v[name] = bare(v[name])
		}
	case []any:
		for i := range v {
			v[i] = bare(v[i])
		}
	case string:
		if strings.HasPrefix(v, "{") || strings.HasPrefix(v, "[") {
			if inner, err := parse(v); err == nil {
				return map[string]any{"\x00embedded": inner}
			}
		}
	}
	return v
}
