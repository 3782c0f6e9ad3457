package finance

import (
	"encoding/json"
)

// A Row is one message of a page, still encrypted.
type Row struct {
	Seq        uint64
	MsgID      string // ends in _external in a chat with people outside the company
	KeyVersion int    // which uploaded public key (publickey_ver); old messages keep their old one
	RandomKey  string // base64, for OpenRandomKey
	Message    string // for Decode
	Raw        []byte // the row's JSON, byte for byte as served; it may be a piece of the page
}

// ParsePage reads a page that Client.ChatData returned. What the service says inside a page that was transported well (its
// errcode), and a body that is no page at all, is an *[Error]; then no row may be used and the cursor must stay. Rows come
// in the order of the page. An empty page has no rows and no error.
func ParsePage(raw []byte) ([]Row, error) {
	q := quick{text: raw}
	if rows := q.page(); q.end() {
		return rows, nil
	}
	return parsePage(raw)
}

func parsePage(raw []byte) ([]Row, error) {
	var page struct {
		Errcode  *int              `json:"errcode"`
		Chatdata []json.RawMessage `json:"chatdata"`
	}
	if err := json.Unmarshal(raw, &page); err != nil || page.Errcode == nil {
		return nil, newError(opPage, NotParsed, "body is not a page")
	}
	if *page.Errcode != 0 {
		return nil, newError(opPage, *page.Errcode, "")
	}
	if page.Chatdata == nil {
		return nil, newError(opPage, NotParsed, "page without chatdata")
	}
	rows := make([]Row, len(page.Chatdata))
	for i, element := range page.Chatdata {
		row, err := parseRow(element)
		if err != nil {
			return nil, err
		}
		rows[i] = row
	}
	return rows, nil
}

// parseRow reads one element of chatdata. Without seq or msgid a row could be neither counted nor told apart.
func parseRow(element json.RawMessage) (Row, error) {
	var row struct {
		Seq        *uint64 `json:"seq"`
		MsgID      string  `json:"msgid"`
		KeyVersion int     `json:"publickey_ver"`
		RandomKey  string  `json:"encrypt_random_key"`
		Message    string  `json:"encrypt_chat_msg"`
	}
	if err := json.Unmarshal(element, &row); err != nil || row.Seq == nil || row.MsgID == "" {
		return Row{}, newError(opPage, NotParsed, "row without seq or msgid, or with a field of another type")
	}
	return Row{*row.Seq, row.MsgID, row.KeyVersion, row.RandomKey, row.Message, element}, nil
}
