package wecom

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

func chatComponent(shared *accounts) sdk.Component {
	return sdk.Component{
		Kind:       sdk.KindSource,
		Type:       "wecom_chat",
		Connection: "wecom",
		Doc: "Reads the chat archive page by page, still encrypted.\n\n" +
			"The position is the last seq that was read; it never moves on an error. WeCom keeps messages for 120 hours.",
		Args: []sdk.Arg{
			{Name: "every", Type: sdk.Dur, Default: "5m", Doc: "Pause after an empty page."},
			{Name: "start", Type: sdk.Any, Default: "oldest",
				Doc: "Where the very first run begins: \"oldest\" for all that WeCom still holds, or a number to begin after that seq."},
		},
		Emits: []string{RawKind},
		Fields: []sdk.Field{
			{Name: "body.seq", Type: sdk.Number, Doc: "WeCom's number of the message, rising, with holes."},
			{Name: "body.msgid", Type: sdk.String, Doc: "WeCom's id of the message."},
			{Name: "body.publickey_ver", Type: sdk.Number, Doc: "Version of the public key that the random key is encrypted with."},
			{Name: "body.encrypt_random_key", Type: sdk.String, Doc: "Random key, encrypted with the public key; base64."},
			{Name: "body.encrypt_chat_msg", Type: sdk.String, Doc: "Message, encrypted with the random key."},
			{Name: "meta.fetched_at", Type: sdk.String, Doc: "When the page was fetched, RFC 3339 with milliseconds, UTC."},
		},
		Opaque:    true,
		Retention: finance.Keeps,
		Positions: true,
		NewSource: func() sdk.Source { return &chat{shared: shared} },
	}
}

// FetchedAt is the meta value that says when a record was fetched, as FetchedLayout writes it. It stands in for the time of
// a record that has none.
const (
	FetchedAt     = "fetched_at"
	FetchedLayout = "2006-01-02T15:04:05.000Z07:00"
)

type chat struct {
	shared  *accounts
	account *account
	env     *sdk.Env
	every   time.Duration
	start   uint64
}

// Open reads the arguments and loads the client; WeCom is not called.
func (c *chat) Open(_ context.Context, env *sdk.Env) error {
	args := struct {
		Every sdk.Duration `json:"every"`
		Start any          `json:"start"`
	}{Every: sdk.Duration(5 * time.Minute), Start: "oldest"}
	if err := env.Decode(&args); err != nil {
		return err
	}
	if args.Every <= 0 {
		return fmt.Errorf("every = %s: want more than 0", args.Every.Std())
	}
	switch start := args.Start.(type) {
	case nil:
	case float64:
		if start < 0 || start != float64(uint64(start)) {
			return fmt.Errorf("start = %v: want \"oldest\" or a seq", start)
		}
		c.start = uint64(start)
	case string:
		if start != "oldest" {
			return fmt.Errorf("start = %q: want \"oldest\" or a seq", start)
		}
	default:
		return fmt.Errorf("start: want \"oldest\" or a seq")
	}
	var err error
	c.env, c.every = env, args.Every.Std()
	c.account, err = c.shared.take(env)
	return err
}

// Read implements [sdk.Source].
func (c *chat) Read(ctx context.Context, from []byte, out sdk.Emitter) error {
	seq := c.start
	if len(from) > 0 {
		var err error
		if seq, err = strconv.ParseUint(string(from), 10, 64); err != nil {
			return sdk.DownAlarm("BAD_POSITION", errors.New("position is not a seq")).Err()
		}
	}
	for {
		rows, err := c.account.page(ctx, seq)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return down(err).Err()
		}
		last := seq
		for _, row := range rows {
			last = max(last, row.Seq)
		}
		if last == seq && len(rows) > 0 {
			return sdk.Down("PAGE_BEHIND", errors.New("no message of the page is newer than the position")).Err()
		}
		for _, page := range c.pages(rows, seq) {
			if ev, ok := c.account.skew.Event(c.env.Clock); ok {
				page.Events = append(page.Events, ev)
			}
			if err := out.Emit(ctx, page); err != nil {
				return ended(ctx, err)
			}
		}
		seq = last
		if len(rows) > 0 {
			continue
		}
		if err := c.env.Clock.Sleep(ctx, c.every); err != nil {
			return nil
		}
	}
}

// A page of WeCom's goes to the engine in parts of this size at most, as the engine likes its batches.
const (
	partRecords = 500
	partBytes   = 512 << 10
)

// pages cuts what WeCom served after seq into parts, in the order of the page; nothing at all is one empty part, drained. A
// row that is there twice, byte for byte, comes once. Behind each part stands the greatest position that leaves no row of a
// later part behind: the last seq, as long as seq rises as it should.
func (c *chat) pages(rows []finance.Row, seq uint64) []sdk.Page {
	if len(rows) == 0 {
		return []sdk.Page{{Position: position(seq), Drained: true}}
	}
	later := make([]uint64, len(rows)+1) // smallest seq from a row on
	later[len(rows)] = math.MaxUint64
	for i, row := range slices.Backward(rows) {
		later[i] = min(later[i+1], row.Seq)
	}
	var pages []sdk.Page
	var part sdk.Page
	size, last := 0, seq
	fetched := c.env.Clock.Now().UTC().Format(FetchedLayout)
	seen := make(map[string][]byte, len(rows))
	for i, row := range rows {
		last = max(last, row.Seq)
		if !bytes.Equal(seen[row.MsgID], row.Raw) {
			seen[row.MsgID] = row.Raw
			size += len(row.Raw)
			part.Records = append(part.Records, sdk.Record{
				ID: row.MsgID, Seq: row.Seq, Kind: RawKind, Body: row.Raw, Meta: map[string]string{FetchedAt: fetched},
			})
		}
		end := i+1 == len(rows)
		if end || len(part.Records) == partRecords || size+len(rows[i+1].Raw) > partBytes {
			part.Position = position(max(seq, min(last, max(later[i+1], 1)-1)))
			pages = append(pages, part)
			part, size = sdk.Page{}, 0
		}
	}
	return pages
}

// PositionAfter implements [sdk.Positioner]: the position is the seq. One that WeCom no longer keeps is no mistake: it begins with the
// oldest message that it has (developer.work.weixin.qq.com/document/path/91552).
func (c *chat) PositionAfter(_ context.Context, seq uint64) ([]byte, error) {
	return position(seq), nil
}

func position(seq uint64) []byte { return strconv.AppendUint(nil, seq, 10) }

// ended turns the error of an ended context into none.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Close implements [sdk.Source].
func (c *chat) Close(context.Context) error {
	if c.account == nil {
		return nil
	}
	return c.account.release()
}

// down is the outcome of an error of the service as a whole: nothing can be read now. Codes are WECOM_ and the code of
// package finance, for example WECOM_301042.
func down(err error) sdk.Outcome {
	refusal := (*finance.Error)(nil)
	if !errors.As(err, &refusal) {
		return sdk.Down("WECOM", err)
	}
	if refusal.Class == finance.Config || refusal.Class == finance.Permanent {
		return sdk.DownAlarm(code(refusal), err)
	}
	o := sdk.Down(code(refusal), err)
	o.After = refusal.Wait()
	return o
}

func code(e *finance.Error) string { return "WECOM_" + strconv.Itoa(e.Code) }
