package wecomsim

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Codes that the service answers with (errcode, official 90313). What the library makes of 301042 and 301048 was observed.
const (
	ok              = 0
	busy            = -1
	wrongSecret     = 40001
	wrongCorp       = 40013
	badToken        = 40014
	badParameter    = 40058
	missingToken    = 41001
	missingCorp     = 41002
	missingSecret   = 41004
	tokenExpired    = 42001
	tooFrequent     = 45009
	tooManyAtATime  = 45033
	tooOld          = 301048
	pagesPerMinute  = 600  // official 91774
	messagesPerPage = 1000 // official 91774
)

// answer is what goes back to the client; nil ends the connection without a word.
type answer struct {
	status       int
	date         time.Time
	body         []byte
	contentRange string
	retryAfter   string
	html, cut    bool
}

func (a *answer) contentType() string {
	if a.html {
		return "text/html"
	}
	return "application/json; charset=UTF-8"
}

// A call is one request as the endpoints see it.
type call struct {
	endpoint string
	request  *http.Request
	body     []byte
	corp     *corp // nil if the token or corp id belongs to none
	token    string
	fileID   string // of a request for media, if it can be read
	now      time.Time
}

// endpoints are the three addresses that the library has built in (observed).
func (s *Server) endpoints() map[string]func(*call) *answer {
	return map[string]func(*call) *answer{
		"GET /cgi-bin/gettoken":                  s.gettoken,
		"POST /cgi-bin/message/getchatdata":      s.getchatdata,
		"POST /cgi-bin/message/getchatmediadata": s.getchatmediadata,
	}
}

func (s *Server) answer(request *http.Request, body []byte, gone <-chan struct{}) *answer {
	handle, found := s.endpoints()[request.Method+" "+request.URL.Path]
	if !found || (request.Host != host && request.Host != s.service.Addr().String()) {
		return &answer{status: http.StatusNotFound, date: s.options.Now(), html: true, body: []byte("<html>404</html>")}
	}
	c := s.newCall(request, body)
	a := s.act(c, handle, gone)
	if a == nil {
		s.options.Log.Debug("no answer", "endpoint", c.endpoint)
		return nil
	}
	a.date = c.now
	s.options.Log.Debug("answer", "endpoint", c.endpoint, "status", a.status, "bytes", len(a.body))
	return a
}

func (s *Server) newCall(request *http.Request, body []byte) *call {
	c := &call{request: request, body: body, endpoint: request.URL.Path[strings.LastIndexByte(request.URL.Path, '/')+1:]}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.endpoint == "gettoken" {
		c.corp = s.corps[request.URL.Query().Get("corpid")]
	} else {
		c.token = request.URL.Query().Get("access_token")
		for _, corp := range s.corps {
			if c.token != "" && corp.knows(c.token) {
				c.corp = corp
			}
		}
	}
	if c.endpoint == "getchatmediadata" {
		var file struct{ FileID string }
		if json.Unmarshal(body, &file) == nil {
			c.fileID = file.FileID
		}
	}
	c.now = s.options.Now()
	if c.corp != nil {
		c.now = c.corp.Now()
	}
	return c
}

// act lets a fault act, or else the endpoint.
func (s *Server) act(c *call, handle func(*call) *answer, gone <-chan struct{}) *answer {
	id := ""
	if c.corp != nil {
		id = c.corp.ID
	}
	f := s.faultFor(id, c.endpoint, c.fileID)
	switch {
	case f == nil:
		return s.bounded(c, handle)
	case f.Errcode != 0:
		return c.refuse(f.Errcode)
	case f.Body != "" || f.Status != 0:
		return &answer{status: max(f.Status, http.StatusOK), body: []byte(f.Body), html: true, retryAfter: f.RetryAfter}
	case f.Revoke:
		if c.corp != nil {
			c.corp.revoke()
		}
		return s.bounded(c, handle)
	case f.Hang:
		select {
		case <-f.lifted:
		case <-gone:
		case <-s.closed:
		}
		return nil
	case f.Drop:
		return nil
	case f.Slow > 0:
		return s.bounded(c, func(c *call) *answer {
			select {
			case <-time.After(f.Slow):
			case <-s.closed:
			}
			return handle(c)
		})
	}
	a := s.bounded(c, handle)
	a.cut = f.Cut
	return a
}

// bounded runs an endpoint unless too many requests of the company are in it.
func (s *Server) bounded(c *call, handle func(*call) *answer) *answer {
	if c.corp == nil || s.options.Concurrent < 0 {
		return handle(c)
	}
	if !c.corp.enter(c.endpoint, s.options.Concurrent) {
		return c.refuse(tooManyAtATime)
	}
	defer c.corp.leave(c.endpoint)
	return handle(c)
}

// refuse answers with an errcode, in the shape that the endpoint has.
func (c *call) refuse(errcode int) *answer {
	if c.corp != nil {
		c.corp.count(func(calls *Calls) { calls.Refused[errcode]++ })
	}
	body := fmt.Sprintf(`{"errcode":%d,"errmsg":%q}`, errcode, meaning(errcode))
	if c.endpoint == "getchatdata" {
		body = body[:len(body)-1] + `,"chatdata":[]}`
	}
	return &answer{status: http.StatusOK, body: []byte(body)}
}

// meaning is the errmsg. It names an address and a hint, as the service's does, so that a client that logs it shows.
func meaning(errcode int) string {
	words := map[int]string{
		busy: "system busy", wrongSecret: "invalid credential", wrongCorp: "invalid corpid",
		badToken: "invalid access_token", badParameter: "invalid request parameter",
		missingToken: "access_token missing", missingCorp: "corpid missing", missingSecret: "corpsecret missing",
		tokenExpired: "access_token expired", tooFrequent: "api freq out of limit",
		tooManyAtATime: "api concurrent out of limit", tooOld: "msgaudit data expired",
	}[errcode]
	return words + ", hint: [1599354620_109_ee5b], from ip: 127.0.0.1"
}

// gettoken hands out the company's token; while one is good, the same again (official 91039).
func (s *Server) gettoken(c *call) *answer {
	query := c.request.URL.Query()
	switch {
	case query.Get("corpid") == "":
		return c.refuse(missingCorp)
	case query.Get("corpsecret") == "":
		return c.refuse(missingSecret)
	case c.corp == nil:
		return c.refuse(wrongCorp)
	case query.Get("corpsecret") != c.corp.Secret:
		return c.refuse(wrongSecret)
	}
	token, lives := c.corp.newToken(c.now, s.options.TokenLives)
	body := fmt.Sprintf(`{"errcode":0,"errmsg":"ok","access_token":%q,"expires_in":%d}`, token, int(lives/time.Second))
	return &answer{status: http.StatusOK, body: []byte(body)}
}

// checkToken returns the errcode for the token of a call, ok if it is good.
func (c *call) checkToken() int {
	switch {
	case c.token == "":
		return missingToken
	case c.corp == nil:
		return badToken
	}
	return c.corp.check(c.token, c.now)
}

func (s *Server) getchatdata(c *call) *answer {
	if errcode := c.checkToken(); errcode != ok {
		return c.refuse(errcode)
	}
	if !c.corp.admitPage(c.now) {
		return c.refuse(tooFrequent)
	}
	var in struct {
		Seq     *uint64 `json:"seq"`
		Limit   int     `json:"limit"`
		Version int     `json:"version"`
		Sign    string  `json:"encrypt_sign"`
	}
	if strict(c.body, &in) != nil || in.Seq == nil || in.Limit < 1 || in.Limit > messagesPerPage || in.Version != 1 ||
		in.Sign != sign(c.token) {
		return c.refuse(badParameter)
	}
	page := c.corp.after(*in.Seq, in.Limit, c.now)
	rows := make([][]byte, len(page))
	for i, m := range page {
		rows[i] = c.corp.row(m)
	}
	c.corp.countPage(*in.Seq, len(page))
	body := append([]byte(`{"errcode":0,"errmsg":"ok","chatdata":[`), bytes.Join(rows, []byte(","))...)
	return &answer{status: http.StatusOK, body: append(body, "]}"...)}
}

// sign is the encrypt_sign of a token: a hash by which the library vouches for its request (observed; that the service
// checks it is assumed). It is calculated here once more, on purpose not by the client's code.
func sign(token string) string {
	var high, low uint64 // 32 bits each
	for _, c := range []byte(token) {
		low = low*1313 + uint64(c)
		high = (high*1313 + low>>32) & 0xffffffff
		low &= 0xffffffff
	}
	return strconv.FormatUint(high^low, 10)
}

func (s *Server) getchatmediadata(c *call) *answer {
	if errcode := c.checkToken(); errcode != ok {
		return c.refuse(errcode)
	}
	var in struct {
		FileID  string `json:"fileid"`
		AuthKey string `json:"authkey"`
		Version int    `json:"version"`
	}
	if strict(c.body, &in) != nil || in.Version != 1 {
		return c.refuse(badParameter)
	}
	media, found := c.corp.Media[in.FileID]
	if !found || media.AuthKey != in.AuthKey {
		return c.refuse(badParameter)
	}
	if errcode := c.corp.admitMedia(in.FileID, media, c.now); errcode != ok {
		return c.refuse(errcode)
	}
	size, content := media.at(c.now)
	total := cipherLen(size)
	first, last, err := parseRange(c.request.Header["Range"], total)
	if err != nil {
		return c.refuse(badParameter)
	}
	block, err := newBlock(media.AESKey)
	if err != nil {
		panic(err) // AddCorp has checked it
	}
	piece, err := encryptPiece(block, content, size, first, last)
	if err != nil {
		s.options.Log.Error("content cannot be read", "file", in.FileID, "error", err)
		return c.refuse(busy)
	}
	c.corp.countShard(in.FileID, first)
	return &answer{
		status:       http.StatusOK,
		body:         fmt.Appendf(nil, `{"errcode":0,"errmsg":"ok","content":"%s"}`, base64.StdEncoding.EncodeToString(piece)),
		contentRange: fmt.Sprintf("BYTES %d-%d/%d", first, last, total),
	}
}

// parseRange reads "bytes=a-b", of which a is the start of a shard and b its end or beyond (observed: the library walks
// shards of 524,288 bytes; that the service takes no others is assumed).
func parseRange(header []string, total int64) (first, last int64, err error) {
	if len(header) != 1 {
		return 0, 0, errors.New("not one range")
	}
	if _, err := fmt.Sscanf(header[0], "bytes=%d-%d", &first, &last); err != nil {
		return 0, 0, err
	}
	if header[0] != fmt.Sprintf("bytes=%d-%d", first, last) || first < 0 || first%shardSize != 0 || first >= total {
		return 0, 0, errors.New("not the start of a shard")
	}
	if last != first+shardSize-1 && last != total-1 {
		return 0, 0, errors.New("not the end of a shard")
	}
	return first, min(last, total-1), nil
}

// strict decodes one JSON value and refuses members that the service does not know.
func strict(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("more than one value")
	}
	return nil
}
