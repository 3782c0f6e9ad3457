// Package wecom is the plugin towards WeCom (企业微信): source "wecom_chat" reads the chat archive of a company, still
// encrypted, and transform "wecom_media" fetches the files that its messages refer to.
//
// Both go through package finance, by the official library or by the plain client, as the connection says. Steps of one
// connection share one client: one token, and the limits of the service kept together.
package wecom

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

// RawKind is the kind of record that wecom_chat emits: one element of chatdata, byte for byte as WeCom served it.
const RawKind = "wecom.chat.raw/1"

// Plugin offers connection "wecom", source "wecom_chat" and transform "wecom_media".
func Plugin() sdk.Plugin {
	shared := &accounts{open: map[string]*account{}}
	return sdk.Plugin{
		Name:        "wecom",
		Version:     "0.1.0",
		Connections: []sdk.Connection{connection()},
		Components:  []sdk.Component{chatComponent(shared), mediaComponent(shared)},
	}
}

func connection() sdk.Connection {
	return sdk.Connection{
		Type: "wecom",
		Doc:  "The chat archive of one company (会话内容存档).",
		Args: []sdk.Arg{
			{Name: "corp_id", Type: sdk.String, Required: true, Doc: "Id of the company, ww… (企业ID)."},
			{Name: "secret", Type: sdk.String, Required: true, Secret: true,
				Doc: "Secret of the chat archive (会话内容存档), not of another application."},
			{Name: "client", Type: sdk.String, Default: "library", OneOf: []string{"library", "plain"},
				Doc: "library: the official Finance SDK, to be used towards Tencent. plain: the same protocol in plain Go, for " +
					"simulators and machines on which the library does not run."},
			{Name: "library", Type: sdk.String,
				Doc: "Path of libWeWorkFinanceSdk_C.so as downloaded from Tencent; required with client = \"library\"."},
			{Name: "proxy", Type: sdk.String, Doc: "URL of a proxy, http:// or socks5://, with user and password if need be."},
			{Name: "ca", Type: sdk.String,
				Doc: "Certificates to trust beside the system's: PEM, or the path of a PEM file. The library takes none."},
			{Name: "endpoint", Type: sdk.String,
				Doc: "Address of a simulator, https://host:port; left out: https://qyapi.weixin.qq.com. Plain client only."},
			{Name: "timeout", Type: sdk.Dur, Default: "30s", Doc: "Bound of one request, real time; the library counts whole seconds."},
		},
	}
}

// settings are the arguments of connection "wecom".
type settings struct {
	CorpID   string       `json:"corp_id"`
	Secret   sdk.Secret   `json:"secret"`
	Client   string       `json:"client"`
	Library  string       `json:"library"`
	Proxy    sdk.Secret   `json:"proxy"`
	CA       sdk.Secret   `json:"ca"`
	Endpoint string       `json:"endpoint"`
	Timeout  sdk.Duration `json:"timeout"`
}

// downloads is how many files are fetched at a time. One more call is left for pages: the service takes 5 calls of one API
// at a time (Tencent's staff; beyond them 45033).
const downloads = 4

// open makes the client that the settings ask for. Nobody is called yet.
func (s settings) open(clock *sdk.Clock, skew *sdk.Skew) (finance.Client, error) {
	options := finance.Options{
		CorpID:   s.CorpID,
		Secret:   s.Secret.Reveal(),
		BaseURL:  s.Endpoint,
		Timeout:  s.Timeout.Std(),
		Parallel: downloads + 1,
		Now:      clock.Now,
		Answered: skew.See,
	}
	var err error
	if options.Proxy, options.ProxyPassword, err = splitProxy(s.Proxy.Reveal()); err != nil {
		return nil, err
	}
	if options.CA, err = readCA(s.CA.Reveal()); err != nil {
		return nil, err
	}
	if s.Client == "plain" {
		return finance.NewPlain(options)
	}
	if s.Library == "" {
		return nil, fmt.Errorf(`client = "library" needs library, the path of libWeWorkFinanceSdk_C.so`)
	}
	if clock.Speed() != 1 {
		return nil, fmt.Errorf(`the official library keeps its own time: use client = "plain" with a clock of speed %g`, clock.Speed())
	}
	library, err := finance.Load(s.Library)
	if err != nil {
		return nil, err
	}
	return library.Open(options)
}

// splitProxy parts the URL of a proxy from the user and password in it. The errors do not repeat it.
func splitProxy(proxy string) (address, password string, err error) {
	if proxy == "" {
		return "", "", nil
	}
	u, err := url.Parse(proxy)
	if err != nil || u.Host == "" {
		return "", "", fmt.Errorf("proxy is not http://host:port or socks5://host:port")
	}
	if u.User != nil {
		secret, _ := u.User.Password()
		password = u.User.Username() + ":" + secret
	}
	return u.Scheme + "://" + u.Host, password, nil
}

func readCA(ca string) ([]byte, error) {
	if ca == "" || strings.Contains(ca, "-----BEGIN") {
		return []byte(ca), nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return nil, fmt.Errorf("read ca: %w", err)
	}
	return pem, nil
}

// accounts are the connections that steps of this process have open.
type accounts struct {
	mu   sync.Mutex
	open map[string]*account // by the connection's arguments
}

// An account is one connection, shared by its steps.
type account struct {
	client finance.Client
	clock  *sdk.Clock
	skew   sdk.Skew

	shared *accounts
	key    string
	users  int // guarded by shared.mu

	mu   sync.Mutex
	next time.Time // no page before
}

// take opens the step's connection or joins those who have it open.
func (a *accounts) take(env *sdk.Env) (*account, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := string(env.Connection)
	if opened := a.open[key]; opened != nil {
		opened.users++
		return opened, nil
	}
	s := settings{Client: "library", Timeout: sdk.Duration(30 * time.Second)}
	if err := env.DecodeConnection(&s); err != nil {
		return nil, err
	}
	opened := &account{clock: env.Clock, shared: a, key: key, users: 1}
	var err error
	if opened.client, err = s.open(env.Clock, &opened.skew); err != nil {
		return nil, err
	}
	a.open[key] = opened
	return opened, nil
}

// release lets the connection go; the last one to do so closes it.
func (a *account) release() error {
	a.shared.mu.Lock()
	defer a.shared.mu.Unlock()
	if a.users--; a.users > 0 {
		return nil
	}
	delete(a.shared.open, a.key)
	return a.client.Close()
}

// pagePause keeps the pages below 600 a minute, with a little room for calls that bunch on their way.
const pagePause = time.Minute/finance.PagesPerMinute + time.Millisecond

// page asks for a page when the limit allows it.
func (a *account) page(ctx context.Context, seq uint64) ([]finance.Row, error) {
	a.mu.Lock()
	now := a.clock.Now()
	wait := max(a.next.Sub(now), 0)
	a.next = now.Add(wait + pagePause)
	a.mu.Unlock()
	if wait > 0 {
		if err := a.clock.Sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
	raw, err := a.client.ChatData(ctx, seq, finance.MaxPage)
	if err != nil {
		return nil, err
	}
	return finance.ParsePage(raw)
}
