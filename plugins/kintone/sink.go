package kintone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Plugin is the kintone plugin: one sink.
func Plugin() sdk.Plugin {
	return sdk.Plugin{
		Name:    "kintone",
		Version: "0.1.0",
		Connections: []sdk.Connection{{
			Type: "kintone",
			Doc:  "A kintone site, or one guest space of it.",
			Args: []sdk.Arg{
				{Name: "url", Type: sdk.String, Required: true, Doc: "Whole address of the site: https://example.cybozu.com, https://example.s.cybozu.com (client certificate) or https://example.cybozu.com/k/guest/7 (guest space)."},
				{Name: "certificate", Type: sdk.String, Default: "", Doc: "Path of a PEM file with the client certificate of セキュアアクセス and its key; empty = none. From the .pfx that cybozu.com issues: openssl pkcs12 -in client.pfx -out client.pem -nodes."},
				{Name: "basic_auth", Type: sdk.String, Default: "", Secret: true, Doc: "user:password of Basic authentication in front of the site; empty = none."},
				{Name: "proxy", Type: sdk.String, Default: "", Secret: true, Doc: "URL of an HTTP proxy, with user and password where it needs them; empty = direct."},
				{Name: "stall", Type: sdk.Dur, Default: "1m", Doc: "A connection on which nothing moves for so long is given up. Real time."},
			},
		}},
		Components: []sdk.Component{{
			Kind:       sdk.KindSink,
			Type:       "kintone",
			Connection: "kintone",
			Doc: "Writes each record into one row of an app, by a unique field, and its files into FILE fields.\n\n" +
				"Values are converted to the field's type: DATETIME is cut to the minute (kintone keeps no seconds), lists become lines " +
				"of a text or choices of a CHECK_BOX, line breaks in a single line become spaces, and too long a text is cut with a visible mark. " +
				"Field codes are compared with the form before the first write, because kintone ignores unknown ones without a word.",
			Args: []sdk.Arg{
				{Name: "app", Type: sdk.Number, Required: true, PerRecord: true, Doc: "Number of the app."},
				{Name: "token", Type: sdk.String, Required: true, Secret: true, Doc: "API token of the app, with the rights to view, add and edit; several apps: several tokens, separated by commas, at most 9."},
				{Name: "key", Type: sdk.AnyMap, Required: true, PerRecord: true, Doc: "{ field = value }: which row is meant. One text or number field that prohibits duplicates; at most 64 characters."},
				{Name: "fields", Type: sdk.AnyMap, PerRecord: true, Doc: "{ field = value }: what to write. Null leaves a field alone."},
				{Name: "files", Type: sdk.FilesMap, PerRecord: true, Doc: "{ field = [for f in record.files : f if …] }: which files go into which FILE field. A file without bytes is not sent."},
				{Name: "mode", Type: sdk.String, Default: "upsert", OneOf: []string{"upsert", "update"}, Doc: "upsert adds the row where it is missing; update waits for it, and passes by when it never comes (orphan)."},
				{Name: "overflow", Type: sdk.String, Default: "", Doc: "FILE field that takes the whole of texts that had to be cut, as one gzipped JSON file; empty = they are only cut."},
				{Name: "max_text", Type: sdk.Number, Default: 64_000, Doc: "Most characters of a text; kintone documents no limit."},
				{Name: "max_request", Type: sdk.Number, Default: 900_000, Doc: "Most bytes of one request, files apart; kintone documents no limit."},
			},
			Receipt: []sdk.Field{
				{Name: "app", Type: sdk.Number, Doc: "the app"},
				{Name: "record_id", Type: sdk.String, Doc: "kintone's number of the row"},
				{Name: "operation", Type: sdk.String, Doc: "INSERT or UPDATE"},
				{Name: "files", Type: sdk.Any, Doc: "files sent by this delivery: list of {field, name, sha256}"},
			},
			Lease:       leaseArgs,
			Surveys:     true,
			MaxRecords:  MaxRows,
			MaxInFlight: 4, // a call with files waits for one upload after the other
			NewSink:     func() sdk.Sink { return &sink{} },
		}},
	}
}

// sink is one step. Its fields do not change after Open.
type sink struct {
	args   stepArgs
	site   string // address without /v1, for links to rows
	client *Client
	forms  forms
	env    *sdk.Env
}

type stepArgs struct {
	Token      sdk.Secret `json:"token"`
	Mode       string     `json:"mode"`
	Overflow   string     `json:"overflow"`
	MaxText    int        `json:"max_text"`
	MaxRequest int        `json:"max_request"`
}

// Open reads the arguments. It makes no call: whether the token is good and the fields exist shows at the first write.
func (s *sink) Open(_ context.Context, env *sdk.Env) error {
	s.env = env
	s.args = stepArgs{Mode: "upsert", MaxText: 64_000, MaxRequest: 900_000}
	if err := env.Decode(&s.args); err != nil {
		return err
	}
	if s.args.MaxText < 100 {
		return fmt.Errorf("max_text = %d: want at least 100 characters", s.args.MaxText)
	}
	var err error
	if s.client, err = connect(env, s.args.Token); err != nil {
		return err
	}
	s.site = s.client.base[:len(s.client.base)-len("/v1")]
	s.forms = forms{
		client: s.client, now: env.Clock.Now, known: map[int64]form{}, read: map[int64]time.Time{}, asking: map[int64]*question{},
	}
	return nil
}

// Close drops idle connections; nothing is buffered.
func (s *sink) Close(context.Context) error {
	if s.client != nil {
		s.client.Close()
	}
	return nil
}

// Write converts the rows, then delivers them app by app. What stops one request for reasons that concern all of them (locks,
// limits, outages, rights) ends the call; rows that were answered by then stay answered.
func (s *sink) Write(ctx context.Context, call *sdk.Call) error {
	if ev, ok := s.client.skew.Event(s.env.Clock); ok { // by the answers to earlier calls
		call.Tell(ev)
	}
	byApp := map[int64][]*item{}
	var apps []int64
	for i := range call.Rows {
		it, err := s.plan(ctx, &call.Rows[i])
		var reject *rejection
		switch {
		case errors.As(err, &reject):
			call.Answer(i, sdk.Reject(reject.code, reject))
			continue
		case err != nil:
			return stop(err).Err()
		}
		it.index = i
		if byApp[it.app] == nil {
			apps = append(apps, it.app)
		}
		byApp[it.app] = append(byApp[it.app], it)
	}
	for _, app := range apps {
		d := &delivery{sink: s, call: call, app: app, held: map[string]string{}}
		if err := d.run(ctx, byApp[app]); err != nil {
			return stop(err).Err()
		}
	}
	return nil
}

// stop is the outcome of rows that were not reached.
func stop(err error) sdk.Outcome {
	var e *Error
	if !errors.As(err, &e) {
		return sdk.OutcomeOf(err)
	}
	code := e.name()
	if errors.Is(err, context.Canceled) {
		return sdk.Retry(0, code, e) // the engine stops; kintone is well
	}
	o := sdk.DownAlarm(code, e)
	switch e.Class() {
	case Locked:
		o = sdk.Retry(0, code, e)
	case Busy:
		if o = sdk.Down(code, e); e.After == 0 {
			o = sdk.Retry(5*time.Second, code, e) // a moment later there is room again; who names a time is left alone by every call
		}
	case Down, TooLarge:
		o = sdk.Down(code, e)
	}
	o.After = max(o.After, e.After)
	return o
}

// item is a row, converted.
type item struct {
	index    int
	row      *sdk.Row
	app      int64
	write    Row
	attach   []attachment // what goes into FILE fields
	missing  map[string][]*sdk.File
	uploaded int // times its files were uploaded
	kept     []int
}

// rejection is a reason why a row can never be written as it is. It holds field codes, never values.
type rejection struct{ code, field, why string }

func (r *rejection) Error() string { return "field " + r.field + ": " + r.why }

// plan reads a row's arguments and converts its values. An error that is not a *rejection concerns every row.
func (s *sink) plan(ctx context.Context, row *sdk.Row) (*item, error) {
	var args struct {
		App    Number           `json:"app"`
		Key    map[string]any   `json:"key"`
		Fields map[string]any   `json:"fields"`
		Files  map[string][]int `json:"files"`
	}
	dec := json.NewDecoder(bytes.NewReader(row.Args))
	dec.UseNumber() // a seq of 64 bits does not fit a float64
	if err := dec.Decode(&args); err != nil {
		return nil, &rejection{"BAD_ARGUMENTS", "app, key, fields or files", "the arguments do not have their declared types"}
	}
	var app int64
	if _, err := fmt.Sscan(string(args.App), &app); err != nil || app < 1 {
		return nil, &rejection{"BAD_ARGUMENTS", "app", "not the number of an app"}
	}
	form, err := s.forms.get(ctx, app, func(f form) error { return s.check(app, f, args.Key, args.Fields, args.Files) })
	if err != nil {
		return nil, err
	}
	it := &item{row: row, app: app, write: Row{Values: map[string]any{}}, missing: map[string][]*sdk.File{}}
	for code, v := range args.Key {
		key, err := convertKey(form[code], v)
		if err != nil {
			return nil, err
		}
		it.write.Field, it.write.Key = code, key
	}
	whole := map[string]string{}
	for code, v := range args.Fields {
		if v == nil || code == it.write.Field {
			continue
		}
		value, uncut, err := convert(form[code], v, s.args.MaxText)
		if err != nil {
			return nil, err
		}
		it.write.Values[code] = value
		if uncut != "" {
			whole[code] = uncut
		}
	}
	return it, it.planFiles(args.Files, s.args.Overflow, whole)
}
