// Package finance talks to WeCom's chat archive (会话内容存档), the service that Tencent opens to customers only through a C
// library, the Finance SDK. There are two ways in, behind one small [Client]:
//
//   - [Load] opens the official library that the operator downloaded from Tencent and calls it. This is the way to use
//     towards Tencent.
//   - [NewPlain] speaks the protocol that the library speaks, in plain Go: for simulators, and for machines on which the
//     library does not run.
//
// Around them: [ParsePage] reads a page of messages, [OpenRandomKey] and [Decode] open one message with the customer's own
// private key, and [Error] says of every refusal what is to be done about it.
//
// Facts come from the header and the behaviour of the library's build 200215 ("observed" in comments) and from
// developer.work.weixin.qq.com ("official", with the page number). Other builds were not observed.
package finance

import (
	"context"
	"net/http"
	"time"
)

// Limits of the service.
const (
	// MaxPage is the most messages that one page may ask for (official 91774).
	MaxPage = 1000
	// PagesPerMinute is the most pages that a company may ask for in a minute (official 91774).
	PagesPerMinute = 600
	// Keeps is how long the service hands out a message and its media, counted from the message's time (official 91552).
	Keeps = 120 * time.Hour
	// ShardSize is the number of bytes in a shard of a media file, except the last (official 91774).
	ShardSize = 512 << 10
)

// A Client reads one company's chat archive. It is safe for concurrent use, bounds the calls under way at
// Options.Parallel, and renews its access token by itself, at most once a minute. Every error it returns is an *[Error] or
// the error of ctx.
type Client interface {
	// ChatData returns the page of at most limit (1 to MaxPage) messages whose seq is greater than seq, exactly as the
	// service sent it: a success says that an answer came, ParsePage says what it is.
	ChatData(ctx context.Context, seq uint64, limit int) ([]byte, error)

	// Media returns one decrypted shard of a file. The index of the first shard is "", of every other one the Next of
	// its predecessor. A shard that failed may be asked for again alone, also by another process.
	Media(ctx context.Context, sdkFileID, index string) (Shard, error)

	// Close waits for the calls under way and lets the handle go. The client is not used after it.
	Close() error
}

// A Shard is one piece of a media file.
type Shard struct {
	Data []byte // plain bytes, the caller's own
	Next string // index of the next shard, "" after the last
	Done bool   // this was the last one
}

// Options say whose archive a client reads, and by which road. CorpID and Secret are required.
type Options struct {
	CorpID string
	Secret string // of the chat archive application (会话内容存档), not of another one

	// Proxy is the URL of a proxy, http://host:port or socks5://host:port; "" for none. ProxyPassword is
	// "user:password", or "".
	Proxy         string
	ProxyPassword string

	// Timeout bounds one request; the default is 30 s. The library counts in whole seconds. It is real time.
	Timeout time.Duration

	// Parallel bounds the calls under way; the default is 4, because Tencent's staff name 5 for one API (errcode 45033).
	Parallel int

	// Now is the clock by which tokens age; the default is time.Now.
	Now func() time.Time

	// Answered, if not nil, sees the header of each answer. Plain client only.
	Answered func(http.Header)

	// CA holds PEM certificates to trust beside the system's. The library of build 200215 verifies none at all
	// (observed), and no build takes any: plain client only.
	CA []byte

	// BaseURL is the address of the service, without a path; the default is https://qyapi.weixin.qq.com. The library has
	// that address built in: plain client only.
	BaseURL string
}

// withDefaults returns o with its defaults filled in, or an error that names what is missing.
func (o Options) withDefaults() (Options, error) {
	if o.CorpID == "" || o.Secret == "" {
		return o, &Error{Op: "init", Code: BadArgument, Class: Config, Reason: "corp id and secret are required"}
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BaseURL == "" {
		o.BaseURL = "https://qyapi.weixin.qq.com"
	}
	return o, nil
}

// checkPage refuses what the library refuses before it calls anyone.
func checkPage(limit int) error {
	if limit < 1 || limit > MaxPage {
		return newError(opPage, BadArgument, "limit is not 1 to 1000")
	}
	return nil
}

// slots bounds calls under way.
type slots chan struct{}

// take waits for a slot and returns what gives it back.
func (s slots) take(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case s <- struct{}{}:
		return func() { <-s }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
