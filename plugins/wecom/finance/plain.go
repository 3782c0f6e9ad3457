package finance

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// What an answer may be at most, unpacked. 1000 messages of 2 KiB make 4 MiB; a shard makes 0.7 MiB.
const (
	maxPage   = 256 << 20
	maxAnswer = 8 << 20
	maxHeader = 256 << 10

	maxClaim = 4 << 20 // what is believed of a length before the bytes are there
)

// Plain is a Client in plain Go.
type Plain struct {
	options Options
	http    *http.Client
	token   token
	slots   slots
}

// NewPlain returns a client that speaks the library's protocol. It calls nobody yet; the error is an *[Error] of class
// Config and names a bad option.
func NewPlain(o Options) (*Plain, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(o)
	if err != nil {
		return nil, err
	}
	p := &Plain{
		options: o,
		http:    &http.Client{Transport: transport, Timeout: o.Timeout, CheckRedirect: noRedirect},
		slots:   make(slots, o.Parallel),
	}
	p.token.now = o.Now
	p.token.fetch = p.fetchToken
	return p, nil
}

// noRedirect keeps a token from being sent elsewhere; the body of a redirect is no answer and is told as such.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// errProxyPassword is how a proxy's 407 passes through net/http.
var errProxyPassword = errors.New("proxy asks for a password")

func newTransport(o Options) (*http.Transport, error) {
	bad := func(reason string) error {
		return &Error{Op: "init", Code: BadArgument, Class: Config, Reason: reason}
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if len(o.CA) > 0 && !roots.AppendCertsFromPEM(o.CA) {
		return nil, bad("ca holds no certificate")
	}
	if base, err := url.Parse(o.BaseURL); err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, bad("base url is not https://host")
	}
	t := &http.Transport{
		// The service closes after each answer: a session that is taken up again spares the certificates.
		TLSClientConfig: &tls.Config{
			RootCAs: roots, MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(4),
		},
		MaxIdleConnsPerHost:    o.Parallel,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode == http.StatusProxyAuthRequired {
				return errProxyPassword
			}
			return nil
		},
	}
	if o.Proxy == "" {
		t.Proxy = http.ProxyFromEnvironment // as the library does (observed)
		return t, nil
	}
	proxy, err := url.Parse(o.Proxy)
	if err != nil || proxy.Host == "" || proxy.User != nil || (proxy.Scheme != "http" && proxy.Scheme != "socks5") {
		return nil, bad("proxy is not http://host:port or socks5://host:port")
	}
	if user, password, ok := strings.Cut(o.ProxyPassword, ":"); ok {
		proxy.User = url.UserPassword(user, password)
	} else if o.ProxyPassword != "" {
		return nil, bad("proxy password is not user:password")
	}
	t.Proxy = http.ProxyURL(proxy)
	return t, nil
}

// ChatData implements [Client].
func (p *Plain) ChatData(ctx context.Context, seq uint64, limit int) ([]byte, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	body, _, err := p.call(ctx, opPage, "", func(token string) any {
		return pageRequest{Seq: seq, Limit: limit, Version: 1, EncryptSign: Sign(token)}
	})
	return body, err
}

type pageRequest struct {
	Seq         uint64 `json:"seq"`
	Limit       int    `json:"limit"`
	Version     int    `json:"version"`
	EncryptSign string `json:"encrypt_sign"`
}

// Sign returns the encrypt_sign that goes with a token in a request for a page: a 64-bit multiplicative hash (factor 1313)
// of its bytes, folded to 32 bits, in decimal (observed).
func Sign(token string) string {
	var h uint64
	for i := range len(token) {
		h = h*1313 + uint64(int8(token[i]))
	}
	return strconv.FormatUint(uint64(uint32(h)^uint32(h>>32)), 10)
}

// Media implements [Client].
func (p *Plain) Media(ctx context.Context, sdkFileID, index string) (Shard, error) {
	file, err := parseFileID(sdkFileID)
	if err != nil {
		return Shard{}, err
	}
	first, last, err := parseIndex(index)
	if err != nil {
		return Shard{}, err
	}
	body, header, err := p.call(ctx, opMedia, fmt.Sprintf("bytes=%d-%d", first, last), func(string) any {
		return mediaRequest{FileID: file.id, AuthKey: file.auth, Version: 1}
	})
	if err != nil {
		return Shard{}, err
	}
	code, text, ok := readShard(body)
	if !ok {
		return Shard{}, newError(opMedia, NotParsed, "body is not json")
	}
	switch code {
	case 0:
	case codeIPNotArchived: // both as the library does
		return Shard{}, newError(opMedia, NotTrustedIP, "")
	case codeTooOld:
		return Shard{}, newError(opMedia, TooOld, "")
	default:
		return Shard{}, newError(opMedia, code, "")
	}
	content := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(content, text)
	content = content[:n]
	if err != nil || len(content) == 0 {
		return Shard{}, newError(opMedia, NotParsed, "content is not base64")
	}
	next, done, err := nextIndex(header.Get("Content-Range"), first, len(content))
	if err != nil {
		return Shard{}, err
	}
	data, err := openShard(file.key, content, done)
	if err != nil {
		return Shard{}, err
	}
	return Shard{Data: data, Next: next, Done: done}, nil
}

type mediaRequest struct {
	FileID  string `json:"fileid"`
	AuthKey string `json:"authkey"`
	Version int    `json:"version"`
}

// readShard reads an answer that is nearly all content. encoding/json would go over that three times; so it is given the answer with one
// letter in place of the content. If that letter comes out as the content, and stands nowhere else, the rest is as it would have been.
func readShard(body []byte) (code int, content []byte, ok bool) {
	const name = `"content":"`
	if from := bytes.Index(body, []byte(name)) + len(name); from >= len(name) {
		size := bytes.IndexByte(body[from:], '"')
		if size >= 0 && plainText(body[from:from+size]) {
			if rest := slices.Concat(body[:from], body[from+size:]); !bytes.ContainsAny(rest, `~\`) {
				code, text, ok := readAnswer(slices.Insert(rest, from, '~'))
				if ok && text == "~" {
					return code, body[from : from+size], true
				}
			}
		}
	}
	code, text, ok := readAnswer(body)
	return code, []byte(text), ok
}

func readAnswer(body []byte) (code int, content string, ok bool) {
	var answer struct {
		Errcode *int   `json:"errcode"`
		Content string `json:"content"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Errcode == nil {
		return 0, "", false
	}
	return *answer.Errcode, answer.Content, true
}

// Close implements [Client].
func (p *Plain) Close() error {
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
	p.http.CloseIdleConnections()
	return nil
}

// call posts what request makes of the token. An answer that names the token as the fault leads to one more try with a new
// token.
func (p *Plain) call(ctx context.Context, op, byteRange string, request func(token string) any) ([]byte, http.Header, error) {
	release, err := p.slots.take(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	token, err := p.token.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	body, header, err := p.post(ctx, op, byteRange, token, request(token))
	if err != nil || !tokenError(errcode(body)) {
		return body, header, err
	}
	token, ok, err := p.token.replace(ctx, token)
	if err != nil {
		return nil, nil, err
	}
	if !ok {
		return body, header, nil
	}
	return p.post(ctx, op, byteRange, token, request(token))
}

func (p *Plain) post(ctx context.Context, op, byteRange, token string, request any) ([]byte, http.Header, error) {
	content, err := json.Marshal(request)
	if err != nil {
		panic(err) // two flat structs of ours
	}
	address := p.options.BaseURL + "/cgi-bin/message/" + op + "?access_token=" + url.QueryEscape(token)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(content))
	if err != nil {
		return nil, nil, newError(op, BadArgument, "bad address")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded") // what the library sends (observed)
	if byteRange != "" {
		req.Header.Set("Range", byteRange)
	}
	return p.do(op, req)
}

// fetchToken asks for a token. Its errors are what the service or the way to it says.
func (p *Plain) fetchToken(ctx context.Context) (string, time.Duration, error) {
	query := url.Values{"corpid": {p.options.CorpID}, "corpsecret": {p.options.Secret}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.options.BaseURL+"/cgi-bin/gettoken?"+query.Encode(), nil)
	if err != nil {
		return "", 0, newError(opToken, BadArgument, "bad address")
	}
	body, _, err := p.do(opToken, req)
	if err != nil {
		return "", 0, err
	}
	var answer struct {
		Errcode *int   `json:"errcode"`
		Token   string `json:"access_token"`
		Expires int    `json:"expires_in"` // seconds
	}
	switch err := json.Unmarshal(body, &answer); {
	case err != nil || answer.Errcode == nil:
		return "", 0, newError(opToken, NotParsed, "body is not json")
	case *answer.Errcode != 0:
		return "", 0, newError(opToken, *answer.Errcode, "")
	case answer.Token == "":
		return "", 0, newError(opToken, NotParsed, "no token in the answer")
	}
	// Two hours, says the service; what does not fit a Duration would end at once, and each call would ask for a token.
	return answer.Token, time.Duration(min(max(answer.Expires, 0), 86400)) * time.Second, nil
}

// do sends a request and reads the answer, whatever its HTTP status says: the library does not look at it (observed), and
// the three levels of error lie in the body. Transport errors lose their text, because it holds the address with the token.
func (p *Plain) do(op string, req *http.Request) ([]byte, http.Header, error) {
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, nil, transportError(req.Context(), op, err)
	}
	defer resp.Body.Close()
	if p.options.Answered != nil {
		p.options.Answered(resp.Header)
	}
	most := maxAnswer
	if op == opPage {
		most = maxPage
	}
	var body bytes.Buffer
	body.Grow(bytes.MinRead + int(min(max(resp.ContentLength, 0), maxClaim)))
	if _, err = body.ReadFrom(io.LimitReader(resp.Body, int64(most)+1)); err != nil {
		return nil, nil, transportError(req.Context(), op, err)
	}
	if body.Len() > most {
		return nil, nil, newError(op, NotParsed, "answer is too large")
	}
	if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
		if after := sdk.RetryAfter(resp.Header); after > 0 { // from a gateway before the service, which itself answers 200
			return nil, nil, &Error{Op: op, Code: Network, Class: Throttled, Reason: "wants to be left alone", After: after}
		}
	}
	return body.Bytes(), resp.Header, nil
}

func transportError(ctx context.Context, op string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return newError(op, Certificate, "")
	}
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return newError(op, Network, "timeout")
	case errors.Is(err, errProxyPassword):
		return &Error{Op: op, Code: Network, Class: Config, Reason: errProxyPassword.Error()}
	}
	return newError(op, Network, "no connection")
}

// errcode reads the errcode of an answer, 0 if it has none.
func errcode(body []byte) int {
	if len(body) > 4096 { // a refusal is short, a page need not be read twice
		return 0
	}
	var answer struct {
		Errcode int `json:"errcode"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return 0
	}
	return answer.Errcode
}
