// Package truth is the file that says what an archive must hold. The sandbox's generator writes it from what it meant to send,
// before any byte of it was encrypted; nothing that parses messages has a part in it. The comparer reads it back and looks at the
// archive with its own eyes.
//
// A truth holds for one instant (Truth.Holds): before it some files are still on their way, long after it others have expired.
package truth

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Format is written into every file, and Read refuses another.
const Format = 1

// Threshold is the size in bytes from which a file belongs into the object store instead of kintone.
const Threshold = 10 << 20

// Statuses of a row of the chat log.
const (
	Finished     = "FINISHED"
	Waiting      = "FILE_WAITING"
	UploadFailed = "FILE_UPLOAD_FAILED"
	OSSUndefined = "FILE_OSS_UNDEFINED"
	Unmatched    = "FILE_MD5SUM_UNMACHED" // spelled as users know it
	Expired      = "FILE_EXPIRED"
	TypeUnknown  = "TYPE_UNKNOWN"
	FieldMissing = "FIELD_MISSING"
)

// Statuses of a row of raw data.
const (
	RawStored     = "RAW_STORED"
	DecryptFailed = "DECRYPT_FAILED"
	Decoded       = "DECODED" // after DECRYPT_FAILED
)

// Places where a file's bytes end.
const (
	Nowhere = "" // expired, or still waiting
	Kintone = "kintone"
	OSS     = "oss"
)

// Truth is what the archive of one company holds.
type Truth struct {
	Format   int       `json:"format"`
	Corp     string    `json:"corp"`
	Seed     uint64    `json:"seed"`
	Starts   time.Time `json:"starts"` // the simulated instant at which the sandbox starts
	Holds    time.Time `json:"holds"`  // the simulated instant for which all this is true
	First    uint64    `json:"first_seq"`
	Last     uint64    `json:"last_seq"`
	Holes    []uint64  `json:"holes"` // numbers between First and Last that no message has
	Messages []Message `json:"messages"`
}

// A Message is one row of raw data and what follows from it.
type Message struct {
	Seq        uint64 `json:"seq"`
	ID         string `json:"msgid"`
	KeyVersion int    `json:"publickey_ver"`
	Raw        string `json:"raw"`             // status of the raw row
	SHA256     string `json:"sha256"`          // of the message's JSON before encryption
	Row        *Row   `json:"row,omitempty"`   // nil: it cannot be decrypted
	Files      []File `json:"files,omitempty"` // by index
	// Needles are pieces of text, file names and addresses that must not lie readable on the machine that archives. Each is at least
	// MinNeedle bytes of UTF-8.
	Needles []string `json:"needles"`
	// References are the message's sdkfileids. They embed keys and must stand in nothing that people read.
	References []string `json:"references,omitempty"`
	// Served is the SHA-256 of encrypt_random_key, a line feed and encrypt_chat_msg as the company's archive serves them.
	Served string `json:"served,omitempty"`
}

// MinNeedle is the shortest piece of text, in bytes, that is worth a search: shorter ones are found by chance.
const MinNeedle = 9

// A Row is a row of the chat log.
type Row struct {
	Time    time.Time `json:"msgtime"`    // UTC, to the minute: kintone keeps no seconds
	TimeMS  int64     `json:"msgtime_ms"` // 0: the message says no time
	From    string    `json:"from"`
	To      string    `json:"to"` // of a single chat with one receiver only
	RoomID  string    `json:"roomid"`
	ToList  []string  `json:"tolist"`
	Type    string    `json:"msgtype"`
	Content string    `json:"content"`
	JSON    bool      `json:"content_is_json"` // compare parsed, without any sdkfileid

	FileName string `json:"filename"`           // of the first file
	FileSize *int64 `json:"filesize,omitempty"` // of the first file: found, else claimed, else 0; nil without files

	Status string `json:"status"`
	// StatusWithoutOSS holds where no object store is configured: large files are not kept.
	StatusWithoutOSS string `json:"status_without_oss"`
	// StatusOSSAway holds where the object store cannot be reached until the end.
	StatusOSSAway string `json:"status_oss_away"`
}

// A File belongs to a message.
type File struct {
	Index int    `json:"index"`
	Name  string `json:"name,omitempty"` // "": see Ext
	// Ext is the extension of a file without a name: it is to be called 20 characters A–Z and 0–9, a dot and Ext, the same in every
	// run. "?" allows any extension, or none: nobody tells what the file is.
	Ext     string `json:"ext,omitempty"`
	Claimed int64  `json:"claimed"` // -1: the message does not say
	To      string `json:"to"`

	// Size and sums of the right content, for files that go somewhere.
	Size   int64  `json:"size"`
	MD5    string `json:"md5,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	CRC64  uint64 `json:"crc64,omitempty,string"` // ECMA, as OSS computes it; large files only
	// Pieces are short runs of the content, at the front, in the middle and at the end.
	Pieces [][]byte `json:"pieces,omitempty"`
}

// Write writes the file whole or not at all.
func (t *Truth) Write(path string) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(t); err != nil {
		return err
	}
	return Replace(path, b.Bytes(), 0o644)
}

// Read reads what Write wrote.
func Read(path string) (*Truth, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var t Truth
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if t.Format != Format {
		return nil, fmt.Errorf("%s: format %d, want %d", path, t.Format, Format)
	}
	return &t, nil
}

// Replace writes a file that readers see whole or not at all.
func Replace(path string, content []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(content); err != nil {
		f.Close()
		return err
	}
	if err := f.Chmod(mode); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
