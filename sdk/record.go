package sdk

import "time"

// Record is one unit of data.
type Record struct {
	// ID is never empty, unique within its source and the same when read again. Identity everywhere is (source, ID).
	ID string
	// Seq is the source's own number of the record, 0 where it has none. Holes are computed from it.
	Seq uint64
	// Key orders: records of one key are about one thing (a conversation). May be empty.
	Key string
	// Kind says what Body is, with a version: "chat.message/1".
	Kind string
	// Time is the event time; zero when not known.
	Time time.Time
	// Body is JSON unless Kind says otherwise. It aliases the received batch: replace it, never write into it.
	Body []byte
	// Meta is what steps add. May be nil; use SetMeta.
	Meta  map[string]string
	Files []File
}

// SetMeta sets one meta value; an empty value removes it.
func (r *Record) SetMeta(name, value string) {
	if value == "" {
		delete(r.Meta, name)
		return
	}
	if r.Meta == nil {
		r.Meta = make(map[string]string, 4)
	}
	r.Meta[name] = value
}

// FileOutcome is where a file stands. The empty outcome says nothing yet.
type FileOutcome string

// Outcomes of a file. A transform sets Waiting, Mismatched or Expired; the receipts of sinks write the others.
const (
	FileWaiting      FileOutcome = "waiting"
	FileStored       FileOutcome = "stored"
	FileMismatched   FileOutcome = "mismatched"
	FileExpired      FileOutcome = "expired"
	FileUndefined    FileOutcome = "undefined"
	FileUploadFailed FileOutcome = "upload_failed"
)

// File describes a file that belongs to a record. Its bytes, if they are here, lie in the spool.
type File struct {
	Index       int    // its place in the record, never in a filtered list
	Name        string // as the sender called it; hostile until made safe
	MediaType   string
	SizeClaimed int64  // -1 = not claimed
	Size        int64  // found; -1 = not known
	MD5Claimed  string // lower-case hex; "" = not claimed
	MD5         string // found, lower-case hex
	SHA256      string // found, lower-case hex
	Outcome     FileOutcome
	Ref         Secret // the vendor's reference, e.g. a WeCom sdkfileid: embeds a key

	Spool    string // name in the spool folder; "" = no bytes here
	SpoolKey Secret // lives in memory only
}

// HasBytes reports whether the file's bytes lie in the spool.
func (f *File) HasBytes() bool { return f.Spool != "" }

// BestSize is the size found, else claimed, else 0.
func (f *File) BestSize() int64 {
	switch {
	case f.Size >= 0:
		return f.Size
	case f.SizeClaimed >= 0:
		return f.SizeClaimed
	}
	return 0
}
