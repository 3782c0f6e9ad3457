package wecomsim

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"sync"
	"time"
)

// A Corp is one company with its chat archive.
type Corp struct {
	ID     string
	Secret string // of the chat archive application

	Messages []Message              // in order of seq
	Media    map[string]Media       // by file id, the first argument of SDKFileID
	Keys     map[int]*rsa.PublicKey // the uploaded public keys by version

	// Seed feeds the randomness of the encryption: the same seed and message give the same bytes.
	Seed string
	// Now is the company's own clock; nil means the server's. With it pages of another year can be served.
	Now func() time.Time
}

// A Message is one row of the archive.
type Message struct {
	Seq        uint64
	MsgID      string
	KeyVersion int
	Time       time.Time // the 120 hours count from here
	Plain      []byte    // the message, JSON
	VisibleAt  time.Time // not served before, so that a hole in seq can heal; the zero time is never in the way
	Served     []byte    // if set: the row's JSON as it is, instead of Plain encrypted
	EndsPage   bool      // a page that reaches this message ends with it
	Damage     Damage    // done to the encrypted row
}

// Damage is what is wrong with an encrypted row.
type Damage string

const (
	None         Damage = ""
	Garbled      Damage = "garbled"        // decrypts without an error, to text that is no JSON
	Truncated    Damage = "truncated"      // the body does not decrypt: 10006
	SwappedKey   Damage = "swapped-key"    // the random key is another message's: 10008
	ZeroLength   Damage = "zero-length"    // the key info has no length: 10005
	WrongInnerID Damage = "wrong-inner-id" // the msgid inside is not the one outside
)

// Media is one file. It is encrypted while it is served and never held.
type Media struct {
	AuthKey string // second argument of SDKFileID; a request with another one is refused
	AESKey  string // third argument of SDKFileID, 32 hex digits

	Size    int64
	Content io.ReaderAt

	Time          time.Time // refused 120 hours after this
	AvailableFrom time.Time // refused before this, with Early
	Early         int       // errcode before AvailableFrom, -1 unless set [assumed: no page names one]

	// Versions replace Size and Content from their instant on, in order of time: a file that is damaged first and whole
	// later.
	Versions []Version
	// Fail, if set, is asked at every request for the file (calls count from 1) and answers an errcode, 0 for none.
	Fail func(call int) (errcode int)
}

// A Version is the content of a file from an instant on.
type Version struct {
	From    time.Time
	Size    int64
	Content io.ReaderAt
}

// at returns size and content that are valid at an instant.
func (m Media) at(now time.Time) (int64, io.ReaderAt) {
	size, content := m.Size, m.Content
	for _, v := range m.Versions {
		if !now.Before(v.From) {
			size, content = v.Size, v.Content
		}
	}
	return size, content
}

// corp is a Corp that is served.
type corp struct {
	Corp

	mu      sync.Mutex
	token   string
	expires time.Time
	tokens  int             // handed out so far
	old     map[string]bool // tokens that were good once
	recent  []time.Time     // pages asked in the last minute
	busy    map[string]int  // requests under way by endpoint
	pages   map[uint64]bool // cursors that were answered with rows
	shards  map[string]bool // file and first byte of shards that were served
	asked   map[string]int  // requests by file
	calls   Calls
}

func newCorp(c Corp) (*corp, error) {
	if c.ID == "" || c.Secret == "" {
		return nil, fmt.Errorf("corp without id or secret")
	}
	for i := 1; i < len(c.Messages); i++ {
		if c.Messages[i].Seq <= c.Messages[i-1].Seq {
			return nil, fmt.Errorf("corp %s: seq %d does not rise", c.ID, c.Messages[i].Seq)
		}
	}
	for _, m := range c.Messages {
		switch {
		case m.Served != nil && !json.Valid(m.Served):
			return nil, fmt.Errorf("corp %s: seq %d: served row is not json", c.ID, m.Seq)
		case m.Served == nil && c.Keys[m.KeyVersion] == nil:
			return nil, fmt.Errorf("corp %s: seq %d: no public key of version %d", c.ID, m.Seq, m.KeyVersion)
		}
	}
	for id, m := range c.Media {
		if _, err := newBlock(m.AESKey); err != nil {
			return nil, fmt.Errorf("corp %s: media %s: %w", c.ID, id, err)
		}
	}
	return &corp{
		Corp: c, old: map[string]bool{}, busy: map[string]int{}, pages: map[uint64]bool{},
		shards: map[string]bool{}, asked: map[string]int{}, calls: Calls{Refused: map[int]int{}},
	}, nil
}

// after returns the messages that a page with this cursor holds at an instant. What is older than 120 hours is skipped
// without a word (official 91552).
func (c *corp) after(seq uint64, limit int, now time.Time) []Message {
	var page []Message
	first := sort.Search(len(c.Messages), func(i int) bool { return c.Messages[i].Seq > seq })
	for _, m := range c.Messages[first:] {
		if now.Before(m.Time) || now.Before(m.VisibleAt) || now.Sub(m.Time) > keeps {
			continue
		}
		page = append(page, m)
		if len(page) == limit || m.EndsPage {
			break
		}
	}
	return page
}
