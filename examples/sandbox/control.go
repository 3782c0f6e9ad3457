package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/corpus"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/plugins/oss/osssim"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// control is the hand that a demo or a test lays on a running sandbox, over HTTP on the loopback interface:
//
//	POST /fault?kintone=KIND   refuse | hang | html503 | lost (carried out, never answered) | locked | busy | slow | off
//	POST /fault?oss=KIND       refuse | hang | html503 | 503 | 500 | deny | lost | slow | off
//	POST /fault?wecom=KIND     an errcode such as 45009 | html503 | hang | drop | cut | revoke | slow | off
//	POST /tamper?what=KIND     see tamper; what=undo takes it back
//	POST /key                  hands out the private key that --late-key holds back
//	GET  /counters             what the services saw
//	GET  /now                  the simulated instant
//
// A new fault of a service takes the place of the one before. kintone takes path= (the end of a path), every= and count= as well;
// slow takes for=, in real time.
type control struct {
	*sandbox
	url     string
	server  *http.Server
	serving sync.WaitGroup

	mu       sync.Mutex
	lift     map[string]func() // by service
	tampered func()            // nil: nothing to undo
}

func startControl(s *sandbox) (*control, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &control{sandbox: s, url: "http://" + l.Addr().String(), lift: map[string]func(){}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /fault", c.answer(c.fault))
	mux.HandleFunc("POST /tamper", c.answer(c.tamper))
	mux.HandleFunc("POST /key", c.answer(func(url.Values) (any, error) {
		return map[string]int{"version": corpus.LateKeyVersion}, s.writeKey(corpus.LateKeyVersion)
	}))
	mux.HandleFunc("GET /counters", c.answer(c.counters))
	mux.HandleFunc("GET /now", c.answer(func(url.Values) (any, error) { return s.clock.Now().UTC(), nil }))
	c.server = &http.Server{Handler: mux}
	c.serving.Go(func() { c.server.Serve(l) })
	return c, nil
}

func (c *control) close() {
	c.server.Close()
	c.serving.Wait()
}

// answer runs one command at a time.
func (c *control) answer(command func(url.Values) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		result, err := command(r.Form)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(result)
	}
}

func (c *control) fault(form url.Values) (any, error) {
	done := map[string]string{}
	for _, service := range []string{"kintone", "oss", "wecom"} {
		kind := form.Get(service)
		if kind == "" {
			continue
		}
		fault, err := c.faultOf(service, kind, form)
		if err != nil {
			return nil, err
		}
		if lift := c.lift[service]; lift != nil {
			lift()
			delete(c.lift, service)
		}
		if fault != nil {
			if c.lift[service], err = fault(); err != nil {
				return nil, err
			}
		}
		done[service] = kind
	}
	if len(done) == 0 {
		return nil, fmt.Errorf("no service is named: kintone=, oss= or wecom=")
	}
	return done, nil
}

// faultOf returns what puts a fault into force, nil for "off".
func (c *control) faultOf(service, kind string, form url.Values) (func() (lift func(), err error), error) {
	if kind == "off" {
		return nil, nil
	}
	number := func(name string) int {
		n, _ := strconv.Atoi(form.Get(name))
		return n
	}
	delay, err := time.ParseDuration(cmp.Or(form.Get("for"), "300ms"))
	if err != nil {
		return nil, fmt.Errorf("for: %w", err)
	}
	switch service {
	case "kintone":
		kinds := map[string]kintonesim.FaultKind{
			"refuse": kintonesim.Refuse, "hang": kintonesim.Hang, "html503": kintonesim.Maintenance, "lost": kintonesim.Lost,
			"locked": kintonesim.Locked, "busy": kintonesim.Busy, "slow": kintonesim.Slow,
		}
		if f := (kintonesim.Fault{Kind: kinds[kind], Path: form.Get("path"), Every: number("every"), Count: number("count"), Delay: delay}); f.Kind != 0 {
			return func() (func(), error) { return c.kintone.Fault(f), nil }, nil
		}
	case "oss":
		kinds := map[string]osssim.FaultKind{
			"hang": osssim.Hang, "html503": osssim.Fail503HTML, "503": osssim.Fail503, "500": osssim.Fail500, "deny": osssim.Deny,
			"lost": osssim.DropAfter, "slow": osssim.Slow,
		}
		if kind == "refuse" {
			back := func() {
				if err := c.oss.Refuse(false); err != nil {
					panic(err) // nobody else uses its port
				}
			}
			return func() (func(), error) { return back, c.oss.Refuse(true) }, nil
		}
		if f := (osssim.Fault{Kind: kinds[kind], Count: number("count"), Delay: delay}); f.Kind != 0 {
			return func() (func(), error) { c.oss.Inject(f); return c.oss.ClearFaults, nil }, nil
		}
	case "wecom":
		f := wecomsim.Fault{Times: number("count"), Endpoint: form.Get("endpoint")}
		switch kind {
		case "html503":
			f.Status, f.Body = http.StatusServiceUnavailable, "<html><body>Service Unavailable</body></html>"
		case "hang":
			f.Hang = true
		case "drop":
			f.Drop = true
		case "cut":
			f.Cut = true
		case "revoke":
			f.Revoke = true
		case "slow":
			f.Slow = delay
		default:
			f.Errcode, _ = strconv.Atoi(kind)
		}
		if f.Errcode != 0 || f.Body != "" || f.Hang || f.Drop || f.Cut || f.Revoke || f.Slow > 0 {
			return func() (func(), error) { return c.wecom.Fault(f), nil }, nil
		}
	}
	return nil, fmt.Errorf("%s cannot fail as %q; there are\n%s", service, kind, strings.TrimSuffix(faults, "\n"))
}

// counters are what the services saw, and what is left undone in them.
type counters struct {
	Now     time.Time           `json:"now"`
	WeCom   wecomsim.Calls      `json:"wecom"`
	Kintone kintonesim.Counters `json:"kintone"`
	OSS     osssim.Counts       `json:"oss"`
	Uploads int                 `json:"oss_uploads_open"` // multipart uploads neither completed nor aborted
}

func (c *control) counters(url.Values) (any, error) { return c.look(), nil }

func (c *control) look() counters {
	return counters{
		Now: c.clock.Now().UTC(), WeCom: c.wecom.Calls(c.corp.ID), Kintone: c.kintone.Counters(), OSS: c.oss.Counts(),
		Uploads: len(c.oss.Uploads()),
	}
}

// post sends a command to the sandbox whose folder is dir, and returns its answer.
func post(ctx context.Context, dir, path string, form url.Values) (string, error) {
	address, err := os.ReadFile(filepath.Join(dir, "control"))
	if err != nil {
		return "", fmt.Errorf("no sandbox runs for this folder: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSpace(string(address))+path+"?"+form.Encode(), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", strings.TrimSpace(string(body)))
	}
	return strings.TrimSpace(string(body)), err
}

// faults are what can go wrong with each service, for people.
const faults = `  kintone=  refuse, hang, html503, lost (carried out, never answered), locked, busy, slow, off; with path=, every= and count=
  oss=      refuse, hang, html503, 503, 500, deny, lost, slow, off
  wecom=    an errcode such as 45009, html503, hang, drop, cut, revoke, slow, off; with endpoint=
  for=      how long every answer of a slow service takes (300ms)
`

func faultCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("weir-sandbox fault", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "weir-sandbox fault --dir DIR SERVICE=KIND…\n\n"+faults)
	}
	dir := flags.String("dir", "", "folder of the sandbox (required)")
	if err := parse(flags, args, true); err != nil {
		return err
	}
	form := url.Values{}
	for _, arg := range flags.Args() {
		name, value, _ := strings.Cut(arg, "=")
		if !slices.Contains([]string{"kintone", "oss", "wecom", "path", "every", "count", "endpoint", "for"}, name) {
			return usage{fmt.Errorf("%q is not understood: write for example kintone=refuse", arg)}
		}
		form.Set(name, value)
	}
	answer, err := post(ctx, *dir, "/fault", form)
	if err == nil {
		fmt.Fprintln(stdout, answer)
	}
	return err
}
