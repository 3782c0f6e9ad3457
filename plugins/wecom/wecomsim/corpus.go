package wecomsim

import (
	"embed"
	"encoding/json"
	"fmt"
	"time"
)

// The corpus: three pages built from decryption vectors that the official library has confirmed, one page of rows that
// cannot be read, and the two throw-away key pairs.
//
//go:embed testdata
var corpus embed.FS

// CorpusTime is an instant at which the corpus is a few minutes old: 2020-10-28 17:05 in Shanghai.
func CorpusTime() time.Time { return time.Date(2020, 10, 28, 9, 5, 0, 0, time.UTC) }

// CorpusKeys returns the private keys of the corpus as PEM, by version: 3 is PKCS#1, 4 is PKCS#8.
func CorpusKeys() map[int][]byte {
	return map[int][]byte{
		3: corpusFile("testkey_v3.pkcs1.pem"),
		4: corpusFile("testkey_v4.pkcs8.pem"),
	}
}

// CorpusCorp returns the company "ww-corpus", secret "corpus-secret", whose three pages (20 messages, seq 1001 to 1039) are
// served byte for byte to a client that asks from 0 with a limit of at least 8. Its clock stands at CorpusTime. poison adds
// a fourth page: seq 5001 has a key version that nobody has, 5002 a random key of another pair.
func CorpusCorp(poison bool) Corp {
	c := Corp{ID: "ww-corpus", Secret: "corpus-secret", Now: CorpusTime}
	for _, name := range []string{"page1", "page2", "page3"} {
		c.Messages = append(c.Messages, corpusPage(name)...)
	}
	if poison {
		// Its first row is the first of page 1 once more.
		c.Messages = append(c.Messages, corpusPage("poison")[1:]...)
	}
	return c
}

func corpusPage(name string) []Message {
	var page struct{ Chatdata []json.RawMessage }
	if err := json.Unmarshal(corpusFile("getchatdata_"+name+".json"), &page); err != nil {
		panic(err) // part of this package
	}
	messages := make([]Message, len(page.Chatdata))
	for i, element := range page.Chatdata {
		var row struct {
			Seq     uint64
			MsgID   string
			Version int `json:"publickey_ver"`
		}
		if err := json.Unmarshal(element, &row); err != nil {
			panic(err)
		}
		messages[i] = Message{
			Seq: row.Seq, MsgID: row.MsgID, KeyVersion: row.Version, Time: CorpusTime().Add(-5 * time.Minute), Served: element,
		}
	}
	messages[len(messages)-1].EndsPage = true
	return messages
}

func corpusFile(name string) []byte {
	b, err := corpus.ReadFile("testdata/" + name)
	if err != nil {
		panic(fmt.Errorf("corpus: %w", err))
	}
	return b
}
