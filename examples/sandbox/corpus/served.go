package corpus

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// NoteServed writes into the truth what each row looks like as the company's archive serves it. It asks a simulator of its own for
// all pages, so that the one of the run counts nothing: a row's ciphertext depends on the company and the message alone.
func NoteServed(corp *wecomsim.Corp, t *truth.Truth) error {
	still := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	server, err := wecomsim.Start(wecomsim.Options{Now: func() time.Time { return still }})
	if err != nil {
		return err
	}
	defer server.Close()
	all := *corp
	all.Media, all.Now, all.Messages = nil, nil, slices.Clone(corp.Messages)
	for i := range all.Messages {
		m := &all.Messages[i]
		m.Time, m.VisibleAt, m.EndsPage = still, time.Time{}, false
	}
	if err := server.AddCorp(all); err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(server.CA)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}}}
	defer client.CloseIdleConnections()

	var token struct {
		Token string `json:"access_token"`
	}
	if err := ask(client, http.MethodGet, server.URL+"/cgi-bin/gettoken?corpid="+corp.ID+"&corpsecret="+corp.Secret, "", &token); err != nil {
		return err
	}
	served := map[uint64]string{}
	seq := uint64(0)
	for {
		var page struct {
			Errcode  int
			Errmsg   string
			Chatdata []struct {
				Seq       uint64
				RandomKey string `json:"encrypt_random_key"`
				Message   string `json:"encrypt_chat_msg"`
			}
		}
		body := fmt.Sprintf(`{"seq":%d,"limit":1000,"version":1,"encrypt_sign":"%d"}`, seq, sign(token.Token))
		if err := ask(client, http.MethodPost, server.URL+"/cgi-bin/message/getchatdata?access_token="+token.Token, body, &page); err != nil {
			return err
		}
		if page.Errcode != 0 {
			return fmt.Errorf("page behind %d: %d %s", seq, page.Errcode, page.Errmsg)
		}
		for _, row := range page.Chatdata {
			sum := sha256.Sum256([]byte(row.RandomKey + "\n" + row.Message))
			served[row.Seq] = hex.EncodeToString(sum[:])
			seq = row.Seq
		}
		if len(page.Chatdata) == 0 {
			break
		}
	}
	for i := range t.Messages {
		m := &t.Messages[i]
		if m.Served = served[m.Seq]; m.Served == "" {
			return fmt.Errorf("seq %d is not served", m.Seq)
		}
	}
	return nil
}

// sign is the encrypt_sign of a request, as the official library computes it from the token.
func sign(token string) uint64 {
	h := uint64(0)
	for _, c := range []byte(token) {
		h = h*1313 + uint64(c)
	}
	return h>>32 ^ h&0xffffffff
}

func ask(client *http.Client, method, address, body string, into any) error {
	request, err := http.NewRequest(method, address, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", b[:min(len(b), 100)], err)
	}
	return nil
}
