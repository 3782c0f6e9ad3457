// Package kintone writes records and files into kintone apps.
//
// Client speaks the REST API over net/http: it reads an app's fields, writes up to 100 records a call by unique key, uploads
// files from a stream, and finds records by key. It never retries; Error.Class says what kintone's answer asks for, and the
// caller decides. It reads answers by their code, never by their text: the text comes in the language of the user's settings.
//
// The API is documented at kintone.dev/en/docs/kintone/rest-api; the shapes of requests and answers follow the official OpenAPI
// (kintone/rest-api-spec, version 20250423000000).
package kintone

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Options configures a Client. Only URL and Token are required.
type Options struct {
	// URL is the address of the site or of the space, as an operator sees it: https://example.cybozu.com,
	// https://example.s.cybozu.com (client certificate), https://example.cybozu.com/k/guest/7 (guest space), or any of these
	// behind a path prefix. "/k/v1" or "/v1" is added where it is missing.
	URL string
	// Token is one API token, or several separated by commas, one per app; at most nine (kintone refuses ten).
	Token string
	// BasicAuth is "user:password" of a site that puts Basic authentication in front of kintone.
	BasicAuth string
	// Proxy is the URL of an HTTP proxy, with user and password where it needs them; empty means a direct connection.
	// The environment is not asked.
	Proxy string
	// TLS holds the client certificate of セキュアアクセス, or the roots of a private certificate authority.
	TLS *tls.Config
	// Stall ends a connection on which no byte has moved in either direction for so long; 0 means one minute.
	Stall time.Duration
	// Answer is the longest time that an answer takes once the request is sent; 0 means five minutes. A peer that sends a byte now
	// and then never stalls.
	Answer time.Duration
}

// What an answer may be at most, unpacked. The largest are 500 records with the few fields that are asked for.
const (
	maxHeader  = 256 << 10
	maxAnswer  = 64 << 20
	maxRefusal = 1 << 20
)

// Client calls the API of one kintone site with one set of tokens. It is safe for concurrent use.
type Client struct {
	http    *http.Client
	answer  time.Duration
	base    string // ends in /v1
	header  http.Header
	running atomic.Int64
	limit   atomic.Int64
	date    atomic.Int64 // unix seconds, 0 = none
	skew    sdk.Skew
}

// maxTokens is how many API tokens kintone takes in one request (kintone.dev, "Authentication": a tenth is an error).
const maxTokens = 9

// maxURL is the longest URL that kintone takes in a GET (kintone.dev, "Kintone REST API Overview": 8 KB); longer ones go as POST
// with X-HTTP-Method-Override. The rest is left for proxies.
const maxURL = 4096

// New checks the options and returns a Client. It makes no call.
func New(o Options) (*Client, error) {
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, err
	}
	header := http.Header{"User-Agent": {"weir"}}
	tokens := strings.FieldsFunc(o.Token, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
	switch {
	case len(tokens) == 0:
		return nil, errors.New("kintone: no API token")
	case len(tokens) > maxTokens:
		return nil, fmt.Errorf("kintone: %d API tokens, kintone takes at most %d", len(tokens), maxTokens)
	}
	header.Set("X-Cybozu-API-Token", strings.Join(tokens, ","))
	if o.BasicAuth != "" {
		if !strings.Contains(o.BasicAuth, ":") {
			return nil, errors.New("kintone: basic auth is not user:password")
		}
		header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(o.BasicAuth)))
	}
	stall := o.Stall
	if stall == 0 {
		stall = time.Minute
	}
	answer := o.Answer
	if answer == 0 {
		answer = 5 * time.Minute
	}
	config := &tls.Config{}
	if o.TLS != nil {
		config = o.TLS.Clone()
	}
	config.MinVersion = max(config.MinVersion, tls.VersionTLS12)
	transport := &http.Transport{
		DialContext:            dialer{net.Dialer{Timeout: 30 * time.Second}, stall}.dial,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    30 * time.Second,
		ResponseHeaderTimeout:  answer,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConnsPerHost:    16, // a step's calls in flight; the default of 2 would open a connection per upload
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}
	if o.Proxy != "" {
		proxy, err := url.Parse(o.Proxy)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("kintone: proxy is not a URL") // the text holds a password: it is not repeated
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &Client{
		answer: answer,
		base:   base,
		header: header,
		http: &http.Client{
			Transport: transport,
			// kintone does not redirect; a sign-in portal or a maintenance page does.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Load returns how many requests ran at once on the whole domain when kintone last answered, and how many it allows (100).
// Beyond that every program of the company gets 429. Both are 0 before the first answer.
func (c *Client) Load() (running, limit int) {
	return int(c.running.Load()), int(c.limit.Load())
}

func baseURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil || u.RawQuery != "" {
		return "", errors.New("kintone: url is not like https://example.cybozu.com")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", errors.New("kintone: url begins with http, so that everybody on the way could read the token: write https")
	}
	path := strings.TrimRight(u.Path, "/")
	switch {
	case strings.HasSuffix(path, "/v1"):
	case strings.HasSuffix(path, "/k"), strings.Contains(path, "/k/guest/"):
		path += "/v1"
	default:
		path += "/k/v1"
	}
	u.Path = path
	return u.String(), nil
}

// get reads path into out. Long queries travel in a POST body, as the API page says.
func (c *Client) get(ctx context.Context, path string, query map[string]any, out any) error {
	values := url.Values{}
	for name, v := range query {
		switch v := v.(type) {
		case []string:
			for i, s := range v {
				values.Set(fmt.Sprintf("%s[%d]", name, i), s)
			}
		default:
			values.Set(name, fmt.Sprint(v))
		}
	}
	target := c.base + "/" + path + "?" + values.Encode()
	if len(target) <= maxURL {
		// No Content-Type on a GET without a body: kintone answers CB_IL02.
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
		if err != nil {
			return err
		}
		return c.do(req, out)
	}
	return c.send(ctx, http.MethodPost, path, query, out, "X-HTTP-Method-Override", http.MethodGet)
}

// send sends body as JSON, with extra header pairs, and reads the answer into out.
func (c *Client) send(ctx context.Context, method, path string, body, out any, header ...string) error {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/"+path, &buf)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.do(req, out)
}

// do performs one request. What is not a 200 with the expected JSON becomes an *Error.
func (c *Client) do(req *http.Request, out any) error {
	for name, v := range c.header {
		req.Header[name] = v
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return lost(err)
	}
	defer resp.Body.Close()
	c.noteLoad(resp.Header)
	most := int64(maxAnswer)
	if resp.StatusCode != http.StatusOK {
		most = maxRefusal
	}
	late := time.AfterFunc(c.answer, func() { resp.Body.Close() })
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if !late.Stop() {
		err = os.ErrDeadlineExceeded
	}
	if err != nil {
		return lost(err)
	}
	if resp.StatusCode != http.StatusOK {
		return refusal(resp.StatusCode, resp.Header, body)
	}
	if json.Unmarshal(body, out) != nil {
		return &Error{HTTP: resp.StatusCode, Code: "not_json"} // a portal or a proxy answered in kintone's place
	}
	return nil
}

// Now is kintone's own clock at its last answer, to the second; zero before, and where a proxy leaves the header out.
func (c *Client) Now() time.Time {
	if s := c.date.Load(); s != 0 {
		return time.Unix(s, 0).UTC()
	}
	return time.Time{}
}

func (c *Client) noteLoad(h http.Header) {
	c.skew.See(h)
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		c.date.Store(at.Unix())
	}
	running, err1 := strconv.ParseInt(h.Get("X-ConcurrencyLimit-Running"), 10, 64)
	limit, err2 := strconv.ParseInt(h.Get("X-ConcurrencyLimit-Limit"), 10, 64)
	if err1 == nil && err2 == nil && 0 <= running && running < 1e6 && 0 <= limit && limit < 1e6 {
		c.running.Store(running)
		c.limit.Store(limit)
	}
}

// dialer makes connections that end when nothing has moved for a while. A limit on the whole call would cut a large upload
// that moves well; without any limit a peer that hangs would hold the caller for ever.
type dialer struct {
	net.Dialer
	stall time.Duration
}

func (d dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return stallConn{conn, d.stall}, nil
}

type stallConn struct {
	net.Conn
	stall time.Duration
}

// Read and Write move the deadline of both directions: while a request is written, a read waits for its answer.
func (c stallConn) Read(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(c.stall))
	return c.Conn.Read(p)
}

func (c stallConn) Write(p []byte) (int, error) {
	c.SetDeadline(time.Now().Add(c.stall))
	return c.Conn.Write(p)
}
