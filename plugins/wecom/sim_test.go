package wecom_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
	"github.com/weir-etl/weir/sdk"
)

const (
	authKey = "YXV0aA=="
	aesKey  = "000102030405060708090a0b0c0d0e0f"
)

// world is a simulator and a plugin that talks to it, both by one clock.
type world struct {
	*wecomsim.Server
	t     *testing.T
	clock *sdk.Clock
	begin time.Time
	corp  wecomsim.Corp
	spool *sdk.Spool
	dir   string
}

// newWorld starts a world whose time runs speed times as fast.
func newWorld(t *testing.T, speed float64) *world {
	t.Helper()
	w := &world{t: t, begin: time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC), dir: t.TempDir()}
	w.clock = sdk.NewClock(time.Now(), w.begin, speed)
	w.spool = sdk.OpenSpool(w.dir)
	var err error
	if w.Server, err = wecomsim.Start(wecomsim.Options{Now: w.clock.Now}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Server.Close() })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w.corp = wecomsim.Corp{
		ID: "ww1", Secret: "the-secret", Keys: map[int]*rsa.PublicKey{1: &key.PublicKey}, Media: map[string]wecomsim.Media{},
	}
	return w
}

func (w *world) serve() {
	w.t.Helper()
	if err := w.AddCorp(w.corp); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) file(id string, content []byte, change func(*wecomsim.Media)) {
	m := wecomsim.Media{
		AuthKey: authKey, AESKey: aesKey, Time: w.begin, Size: int64(len(content)), Content: bytes.NewReader(content),
	}
	if change != nil {
		change(&m)
	}
	w.corp.Media[id] = m
}

func (w *world) env(args string) *sdk.Env {
	connection, err := json.Marshal(map[string]string{
		"corp_id": "ww1", "secret": "the-secret", "client": "plain", "ca": string(w.CA), "endpoint": w.URL, "timeout": "5s",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return &sdk.Env{
		Address: "test", Args: json.RawMessage(args), Connection: connection, Clock: w.clock, Spool: w.spool,
		Log: slog.New(slog.DiscardHandler),
	}
}

func component(t *testing.T, typ string) sdk.Component {
	t.Helper()
	for _, c := range wecom.Plugin().Components {
		if c.Type == typ {
			return c
		}
	}
	t.Fatalf("no component %s", typ)
	return sdk.Component{}
}

func (w *world) source(args string) sdk.Source {
	w.t.Helper()
	s := component(w.t, "wecom_chat").NewSource()
	if err := s.Open(w.t.Context(), w.env(args)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func (w *world) media(args string) sdk.Transform {
	w.t.Helper()
	m := component(w.t, "wecom_media").NewTransform()
	if err := m.Open(w.t.Context(), w.env(args)); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { m.Close(context.Background()) })
	return m
}

// pages collects what a source emits until stop says so.
type pages struct {
	mu   sync.Mutex
	all  []sdk.Page
	stop func(sdk.Page) bool
	end  context.CancelFunc
}

func (p *pages) Emit(_ context.Context, page sdk.Page) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, page)
	if p.stop(page) {
		p.end()
	}
	return nil
}

// read runs Read from a position until stop holds of a page, or it returns.
func (w *world) read(s sdk.Source, position []byte, stop func(sdk.Page) bool) ([]sdk.Page, error) {
	w.t.Helper()
	ctx, end := context.WithTimeout(w.t.Context(), time.Minute)
	defer end()
	p := &pages{stop: stop, end: end}
	err := s.Read(ctx, position, p)
	if ctx.Err() == context.DeadlineExceeded {
		w.t.Fatal("read went on for a minute")
	}
	return p.all, err
}

func drained(p sdk.Page) bool { return p.Drained }

// apply runs one call and returns the outcomes, in order of rows, and the order in which they were answered.
func (w *world) apply(m sdk.Transform, rows ...sdk.Row) (outcomes []sdk.Outcome, order []int) {
	w.t.Helper()
	outcomes = make([]sdk.Outcome, len(rows))
	call := sdk.NewCall(rows, w.clock.Now(), false, func(row int, o sdk.Outcome) {
		outcomes[row] = o
		order = append(order, row)
	})
	if err := m.Apply(w.t.Context(), call); err != nil {
		w.t.Fatal(err)
	}
	for i, o := range outcomes {
		if o.Verdict == sdk.VerdictUnset {
			w.t.Fatalf("row %d has no answer", i)
		}
	}
	return outcomes, order
}

// row is a row of a record with files.
func (w *world) row(id string, files ...string) sdk.Row {
	r := sdk.Record{ID: id, Kind: "chat.message/1", Time: w.begin, Body: []byte("{}")}
	for i, name := range files {
		r.Files = append(r.Files, sdk.File{
			Index: i, Name: name, Size: -1, SizeClaimed: -1, Ref: sdk.NewSecret(wecomsim.SDKFileID(name, authKey, aesKey)),
		})
	}
	return sdk.Row{Record: r}
}

// bytes reads a file's bytes from the spool.
func (w *world) bytes(f sdk.File) []byte {
	w.t.Helper()
	r, err := w.spool.Open(&f)
	if err != nil {
		w.t.Errorf("%s: %v", f.Name, err)
		return nil
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		w.t.Errorf("%s: %v", f.Name, err)
	}
	return b
}

func message(seq int, at time.Time) wecomsim.Message {
	id := fmt.Sprintf("m%d", seq)
	return wecomsim.Message{Seq: uint64(seq), MsgID: id, KeyVersion: 1, Time: at, Plain: fmt.Appendf(nil, `{"msgid":%q}`, id)}
}
