package wecomsim_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

const (
	auth = "YXV0aA=="
	aes  = "ffeeddccbbaa99887766554433221100"
)

// sim is a server that is spoken to by hand.
type sim struct {
	*wecomsim.Server
	t   *testing.T
	now time.Time
}

func start(t *testing.T, o wecomsim.Options) *sim {
	t.Helper()
	s := &sim{t: t, now: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)}
	o.Now = func() time.Time { return s.now }
	var err error
	if s.Server, err = wecomsim.Start(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	err = s.AddCorp(wecomsim.Corp{
		ID: "ww1", Secret: "s1", Keys: map[int]*rsa.PublicKey{1: &key.PublicKey},
		Messages: []wecomsim.Message{
			{Seq: 5, MsgID: "a", KeyVersion: 1, Time: s.now, Plain: []byte(`{"msgid":"a"}`)},
			{Seq: 7, MsgID: "b", KeyVersion: 1, Time: s.now, Plain: []byte(`{"msgid":"b"}`)},
		},
		Media: map[string]wecomsim.Media{
			"f": {AuthKey: auth, AESKey: aes, Time: s.now, Size: 600000, Content: bytes.NewReader(make([]byte, 600000))},
			"cured": {
				AuthKey: auth, AESKey: aes, Time: s.now, Size: 1, Content: strings.NewReader("x"),
				Versions: []wecomsim.Version{{From: s.now.Add(time.Hour), Size: 2, Content: strings.NewReader("yy")}},
				Fail: func(call int) int {
					if call == 1 {
						return -1
					}
					return 0
				},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// send writes one request by hand and returns the whole answer, head and body.
func (s *sim) send(method, target, body string, header ...string) (head, answer string) {
	s.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.CA)
	address, _ := strings.CutPrefix(s.URL, "https://")
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots, ServerName: "qyapi.weixin.qq.com"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.0\r\nHost: qyapi.weixin.qq.com\r\nContent-Length: %d\r\n", method, target, len(body))
	for _, h := range header {
		fmt.Fprintf(conn, "%s\r\n", h)
	}
	fmt.Fprintf(conn, "\r\n%s", body)
	all, err := io.ReadAll(conn) // the server ends the connection
	if err != nil {
		s.t.Fatal(err)
	}
	head, answer, _ = strings.Cut(string(all), "\r\n\r\n")
	return head, answer
}

func (s *sim) token() string {
	s.t.Helper()
	_, body := s.send("GET", "/cgi-bin/gettoken?corpid=ww1&corpsecret=s1", "")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Token == "" {
		s.t.Fatalf("gettoken: %s", body)
	}
	return answer.Token
}

func (s *sim) want(what, body string, errcode int) {
	s.t.Helper()
	var answer struct{ Errcode *int }
	if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Errcode == nil || *answer.Errcode != errcode {
		s.t.Errorf("%s: got %.200s, want errcode %d", what, body, errcode)
	}
}

func TestTokens(t *testing.T) {
	s := start(t, wecomsim.Options{})
	for query, errcode := range map[string]int{
		"": 41002, "corpid=ww1": 41004, "corpid=ww9&corpsecret=s1": 40013, "corpid=ww1&corpsecret=bad": 40001,
	} {
		_, body := s.send("GET", "/cgi-bin/gettoken?"+query, "")
		s.want("gettoken "+query, body, errcode)
	}
	token := s.token()
	if again := s.token(); again != token {
		t.Error("a second gettoken gives another token while the first is good")
	}
	page := fmt.Sprintf(`{"seq":0,"limit":10,"version":1,"encrypt_sign":"%s"}`, finance.Sign(token))
	ask := func(token string) string {
		_, body := s.send("POST", "/cgi-bin/message/getchatdata?access_token="+url.QueryEscape(token), page)
		return body
	}
	s.want("good", ask(token), 0)
	s.want("no token", ask(""), 41001)
	s.want("foreign token", ask("foreign"), 40014)
	s.now = s.now.Add(7200 * time.Second)
	s.want("old token", ask(token), 42001)
	s.token()
	s.want("replaced token", ask(token), 40014)
}

func TestPageRequests(t *testing.T) {
	s := start(t, wecomsim.Options{})
	token := s.token()
	sign := finance.Sign(token)
	for request, errcode := range map[string]int{
		`{"seq":0,"limit":10,"version":1,"encrypt_sign":"SIGN"}`:            0,
		`{"encrypt_sign":"SIGN","version":1,"limit":1000,"seq":0}`:          0,
		`{"seq":0,"limit":0,"version":1,"encrypt_sign":"SIGN"}`:             40058,
		`{"seq":0,"limit":1001,"version":1,"encrypt_sign":"SIGN"}`:          40058,
		`{"limit":10,"version":1,"encrypt_sign":"SIGN"}`:                    40058,
		`{"seq":-1,"limit":10,"version":1,"encrypt_sign":"SIGN"}`:           40058,
		`{"seq":"0","limit":10,"version":1,"encrypt_sign":"SIGN"}`:          40058,
		`{"seq":0,"limit":10,"encrypt_sign":"SIGN"}`:                        40058,
		`{"seq":0,"limit":10,"version":1,"encrypt_sign":"1"}`:               40058,
		`{"seq":0,"limit":10,"version":1}`:                                  40058,
		`{"seq":0,"limit":10,"version":1,"encrypt_sign":"SIGN","proxy":""}`: 40058,
		`no json`: 40058,
		`{"seq":0,"limit":10,"version":1,"encrypt_sign":"SIGN"}{}`: 40058,
	} {
		_, body := s.send("POST", "/cgi-bin/message/getchatdata?access_token="+token, strings.ReplaceAll(request, "SIGN", sign))
		s.want(request, body, errcode)
		if errcode != 0 && !strings.HasSuffix(body, `,"chatdata":[]}`) {
			t.Errorf("refusal without an empty chatdata: %s", body)
		}
	}
	if head, _ := s.send("GET", "/cgi-bin/message/getchatdata?access_token="+token, ""); !strings.Contains(head, " 404 ") {
		t.Errorf("get instead of post: got %s", head)
	}
}

func TestMediaRequests(t *testing.T) {
	s := start(t, wecomsim.Options{})
	target := "/cgi-bin/message/getchatmediadata?access_token=" + s.token()
	const request = `{"fileid":"f","authkey":"` + auth + `","version":1}`
	for header, errcode := range map[string]int{
		"Range:bytes=0-524287":        0,
		"Range:bytes=524288-600015":   0,
		"Range:bytes=524288-1048575":  0,
		"Range:bytes=524288-700000":   40058,
		"Range:bytes=1-524288":        40058,
		"Range:bytes=0-1048575":       40058,
		"Range:bytes=0-":              40058,
		"Range:bytes=1048576-1572863": 40058,
		"X-Range:none":                40058,
	} {
		head, body := s.send("POST", target, request, header)
		s.want(header, body, errcode)
		if errcode == 0 && !strings.Contains(head, "\r\nCONTENT-RANGE: BYTES ") {
			t.Errorf("%s: header in capitals is missing in %s", header, head)
		}
	}
	for request, errcode := range map[string]int{
		`{"fileid":"none","authkey":"` + auth + `","version":1}`: 40058,
		`{"fileid":"f","authkey":"other","version":1}`:           40058,
		`{"fileid":"f","authkey":"` + auth + `"}`:                40058,
	} {
		_, body := s.send("POST", target, request, "Range:bytes=0-524287")
		s.want(request, body, errcode)
	}

	const cured = `{"fileid":"cured","authkey":"` + auth + `","version":1}`
	_, body := s.send("POST", target, cured, "Range:bytes=0-524287")
	s.want("first call", body, -1)
	_, before := s.send("POST", target, cured, "Range:bytes=0-524287")
	s.want("second call", before, 0)
	s.now = s.now.Add(time.Hour)
	if _, after := s.send("POST", target, cured, "Range:bytes=0-524287"); after == before {
		t.Error("the second version is not served")
	}
}

func TestProxyRefuses(t *testing.T) {
	s := start(t, wecomsim.Options{ProxyPassword: "u:p"})
	address, _ := strings.CutPrefix(s.ProxyURL, "http://")
	for request, status := range map[string]string{
		"CONNECT qyapi.weixin.qq.com:443 HTTP/1.1\r\n":                                    " 407 ",
		"CONNECT qyapi.weixin.qq.com:443 HTTP/1.1\r\nProxy-Authorization: Basic eDp5\r\n": " 407 ",
		"CONNECT qyapi.weixin.qq.com:443 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n": " 200 ",
		"CONNECT qyapi.weixin.qq.com:80 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n":  " 403 ",
		"CONNECT example.org:443 HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n":         " 403 ",
		"GET http://qyapi.weixin.qq.com/ HTTP/1.1\r\nProxy-Authorization: Basic dTpw\r\n": " 403 ",
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, request+"Host: x\r\n\r\n")
		if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, status) {
			t.Errorf("%q: got %q, error %v, want%s", request, line, err, status)
		}
		conn.Close()
	}
}

// The corpus is served byte for byte, as a client sees it that asks page after page.
func TestCorpus(t *testing.T) {
	s := start(t, wecomsim.Options{})
	if err := s.AddCorp(wecomsim.CorpusCorp(true)); err != nil {
		t.Fatal(err)
	}
	c, err := finance.NewPlain(finance.Options{CorpID: "ww-corpus", Secret: "corpus-secret", CA: s.CA, BaseURL: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seq := uint64(0)
	for _, name := range []string{"page1", "page2", "page3", "poison", "empty"} {
		want, err := os.ReadFile("testdata/getchatdata_" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.ChatData(t.Context(), seq, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if name != "poison" && !bytes.Equal(bytes.TrimSpace(want), got) {
			t.Errorf("%s after seq %d differs: got %d bytes, want %d", name, seq, len(got), len(want))
		}
		rows, err := finance.ParsePage(got)
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) > 0 {
			seq = rows[len(rows)-1].Seq
		}
	}
	if seq != 5002 {
		t.Errorf("got to seq %d, want 5002", seq)
	}
	for version, key := range wecomsim.CorpusKeys() {
		if block, _ := pem.Decode(key); block == nil {
			t.Errorf("key %d is no PEM", version)
		}
	}
}

func TestAddCorpRefuses(t *testing.T) {
	s := start(t, wecomsim.Options{})
	for name, c := range map[string]wecomsim.Corp{
		"no id":     {Secret: "s"},
		"no secret": {ID: "w"},
		"order":     {ID: "w", Secret: "s", Messages: []wecomsim.Message{{Seq: 2, Served: []byte("{}")}, {Seq: 2, Served: []byte("{}")}}},
		"no key":    {ID: "w", Secret: "s", Messages: []wecomsim.Message{{Seq: 2, KeyVersion: 9}}},
		"no json":   {ID: "w", Secret: "s", Messages: []wecomsim.Message{{Seq: 2, Served: []byte("{")}}},
		"aes key":   {ID: "w", Secret: "s", Media: map[string]wecomsim.Media{"f": {AESKey: "00"}}},
	} {
		if err := s.AddCorp(c); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
