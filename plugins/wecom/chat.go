package wecom

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
func (c *chat) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	seq := c.start
	if len(position) > 0 {
		var err error
		if seq, err = strconv.ParseUint(string(position), 10, 64); err != nil {
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
		page := sdk.Page{Records: c.records(rows)}
		last := seq
		for _, row := range rows {
			last = max(last, row.Seq)
		}
		if last == seq && len(rows) > 0 {
			return sdk.Down("PAGE_BEHIND", errors.New("no message of the page is newer than the position")).Err()
		}
		seq = last
		page.Position = strconv.AppendUint(nil, seq, 10)
		page.Drained = len(rows) == 0
		if err := out.Emit(ctx, page); err != nil {
			return ended(ctx, err)
		}
		if page.Drained {
			if err := c.env.Clock.Sleep(ctx, c.every); err != nil {
				return nil
			}
		}
	}
}

// records makes records of rows, in the order of the page. A row that is there twice, byte for byte, comes once.
func (c *chat) records(rows []finance.Row) []sdk.Record {
	fetched := c.env.Clock.Now().UTC().Format(FetchedLayout)
	records := make([]sdk.Record, 0, len(rows))
	seen := make(map[string][]byte, len(rows))
	for _, row := range rows {
		if bytes.Equal(seen[row.MsgID], row.Raw) {
			continue
		}
		seen[row.MsgID] = row.Raw
		records = append(records, sdk.Record{
			ID: row.MsgID, Seq: row.Seq, Kind: RawKind, Body: json.RawMessage(row.Raw), Meta: map[string]string{FetchedAt: fetched},
		})
	}
	return records
}

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
