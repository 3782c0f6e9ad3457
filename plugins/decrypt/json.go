package decrypt

import (
	"bytes"
	"encoding/json"

	"github.com/weir-etl/weir/plugins/wecom/finance"
)

// envelope is one element of chatdata. Its seq is the record's.
type envelope struct {
	MsgID     string
	Version   int64
	RandomKey string
	Message   string
}

// read reports whether body is an element of chatdata that says a version.
func (e *envelope) read(body []byte) bool {
	if row, version, ok := finance.ReadRow(body); ok {
		*e = envelope{row.MsgID, int64(row.KeyVersion), row.RandomKey, row.Message}
		return version
	}
	var odd struct {
		MsgID     string `json:"msgid"`
		Version   *int64 `json:"publickey_ver"`
		RandomKey string `json:"encrypt_random_key"`
		Message   string `json:"encrypt_chat_msg"`
	}
	if err := json.Unmarshal(body, &odd); err != nil || odd.Version == nil {
		return false
	}
	*e = envelope{odd.MsgID, *odd.Version, odd.RandomKey, odd.Message}
	return true
}

// lastMember is the value of the last member of that very name in text, which is valid JSON; nil where there is none. isObject is false for
// anything but an object.
func lastMember(text []byte, name string) (value []byte, isObject bool) {
	at := space(text, 0)
	if text[at] != '{' {
		return nil, false
	}
	for at = space(text, at+1); text[at] != '}'; at = space(text, at) {
		if text[at] == ',' {
			at = space(text, at+1)
		}
		end := skip(text, at)
		key := text[at:end]
		at = space(text, space(text, end)+1) // behind the colon
		end = skip(text, at)
		if same(key, name) {
			value = text[at:end]
		}
		at = end
	}
	return value, true
}

// same reports whether a JSON string says name, which holds nothing to be escaped.
func same(key []byte, name string) bool {
	if bytes.IndexByte(key, '\\') < 0 {
		return string(key[1:len(key)-1]) == name
	}
	var s string
	json.Unmarshal(key, &s) // cannot fail: the text is valid
	return s == name
}

// space is where the next byte is that is no white space.
func space(text []byte, at int) int {
	for text[at] == ' ' || text[at] == '\t' || text[at] == '\r' || text[at] == '\n' {
		at++
	}
	return at
}

// skip is where the value ends that begins at a place of valid JSON.
func skip(text []byte, at int) int {
	for depth := 0; ; {
		switch text[at] {
		case '"':
			for at++; text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
		default: // true, null, or a number
			for at++; bytes.IndexByte([]byte(",]} \t\r\n"), text[at]) < 0; at++ {
			}
			at--
		}
		if at++; depth == 0 {
			return at
		}
	}
}
