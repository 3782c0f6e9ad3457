package kintone

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// leaseArgs are the arguments of a block lease "kintone". Two fields are enough: kintone adds the revision, which decides who of two
// wins, and the time of the last change.
var leaseArgs = []sdk.Arg{
	{Name: "app", Type: sdk.Number, Required: true, Doc: "Number of the app that holds the lease: one row for each pipeline. Best an app of its own, not the archive."},
	{Name: "token", Type: sdk.String, Required: true, Secret: true, Doc: "API token of that app, with the rights to view, add and edit."},
	{Name: "key", Type: sdk.String, Default: "lease", Doc: "Code of the single-line text field that prohibits duplicates and takes the pipeline's name."},
	{Name: "holder", Type: sdk.String, Default: "holder", Doc: "Code of the text field that takes who holds the lease."},
}

type leaseSettings struct {
	App    int64      `json:"app"`
	Token  sdk.Secret `json:"token"`
	Key    string     `json:"key"`
	Holder string     `json:"holder"`
}

// connect makes a client from the connection's arguments. It makes no call.
func connect(env *sdk.Env, token sdk.Secret) (*Client, error) {
	connection := struct {
		URL         string       `json:"url"`
		Certificate string       `json:"certificate"`
		BasicAuth   sdk.Secret   `json:"basic_auth"`
		Proxy       sdk.Secret   `json:"proxy"`
		Stall       sdk.Duration `json:"stall"`
	}{}
	if err := env.DecodeConnection(&connection); err != nil {
		return nil, err
	}
	o := Options{
		URL:       connection.URL,
		Token:     token.Reveal(),
		BasicAuth: connection.BasicAuth.Reveal(),
		Proxy:     connection.Proxy.Reveal(),
		Stall:     connection.Stall.Std(),
	}
	if connection.Certificate != "" {
		pem, err := os.ReadFile(connection.Certificate)
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		pair, err := tls.X509KeyPair(pem, pem)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", connection.Certificate, err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	return New(o)
}

// Lease implements [sdk.Leaser]. A new row is added, never upserted: the unique key refuses the second of two. A row that is there is
// updated by its number and revision: kintone answers the second of two with 409 GAIA_CO02 (kintone.dev, "Update a Record"), or with a
// lock that it could not get.
func (s *sink) Lease(ctx context.Context, env *sdk.Env, ask sdk.LeaseRequest) (sdk.LeaseRow, error) {
	l := lease{ask: ask}
	if err := env.Decode(&l.set); err != nil {
		return sdk.LeaseRow{}, err
	}
	var err error
	if l.client, err = connect(env, l.set.Token); err != nil {
		return sdk.LeaseRow{}, err
	}
	defer l.client.Close()
	row, err := l.run(ctx)
	var e *Error
	if errors.As(err, &e) {
		err = stop(err).Err()
	}
	return row, err
}

type lease struct {
	set    leaseSettings
	ask    sdk.LeaseRequest
	client *Client
}

func (l *lease) run(ctx context.Context) (sdk.LeaseRow, error) {
	if !l.ask.Write {
		return l.look(ctx)
	}
	err := l.write(ctx)
	var e *Error
	switch {
	case err == nil:
		return sdk.LeaseRow{Revision: l.ask.Revision, Holder: l.ask.Holder, Written: true, Now: l.client.Now(), Changed: l.client.Now()}, nil
	case errors.As(err, &e) && (e.Class() == Locked || e.Class() == NoRecord || e.Class() == BadRows || e.Code == "CB_VA01"):
		row, err := l.look(ctx) // somebody else was there first; or the row is gone
		if err == nil && row.Revision == "" && l.ask.Revision == "" {
			return row, e // nobody was: it is what we send that kintone does not take
		}
		return row, err
	}
	return sdk.LeaseRow{}, err
}

// write adds or replaces the row, and leaves its new revision in ask.
func (l *lease) write(ctx context.Context) error {
	type value struct {
		Value string `json:"value"`
	}
	var out struct {
		ID       Number `json:"id"`
		Revision Number `json:"revision"`
	}
	if l.ask.Revision == "" {
		if err := l.check(ctx); err != nil {
			return err
		}
		record := map[string]value{l.set.Key: {l.ask.Name}, l.set.Holder: {l.ask.Holder}}
		err := l.client.send(ctx, http.MethodPost, "record.json", map[string]any{"app": l.set.App, "record": record}, &out)
		l.ask.Revision = string(out.ID) + "/" + string(out.Revision)
		return err
	}
	id, revision, _ := strings.Cut(l.ask.Revision, "/")
	record := map[string]value{l.set.Holder: {l.ask.Holder}}
	body := map[string]any{"app": l.set.App, "id": id, "revision": revision, "record": record}
	err := l.client.send(ctx, http.MethodPut, "record.json", body, &out)
	if err == nil {
		l.ask.Revision = id + "/" + string(out.Revision)
	}
	return err
}

// check compares the two fields with the form, because kintone ignores unknown codes without a word.
func (l *lease) check(ctx context.Context) error {
	f, err := l.client.Fields(ctx, l.set.App)
	if err != nil {
		return err
	}
	var wrong []string
	if key, known := f[l.set.Key]; !known || key.Type != "SINGLE_LINE_TEXT" || !key.Unique {
		wrong = append(wrong, fmt.Sprintf("key: the app needs a single-line text field %q that prohibits duplicates", l.set.Key))
	}
	if holder, known := f[l.set.Holder]; !known || holder.Type != "SINGLE_LINE_TEXT" && holder.Type != "MULTI_LINE_TEXT" || holder.Unique {
		wrong = append(wrong, fmt.Sprintf("holder: the app needs a text field %q that allows duplicates", l.set.Holder))
	}
	if wrong != nil {
		return sdk.DownAlarm("FIELD_CODES", fmt.Errorf("app %d: %s", l.set.App, strings.Join(wrong, "; "))).Err()
	}
	return nil
}

// look reads the row. All fields are asked for: the code of the time of the last change depends on the language of the site.
func (l *lease) look(ctx context.Context) (sdk.LeaseRow, error) {
	var out struct {
		Records []Record `json:"records"`
	}
	query := map[string]any{"app": l.set.App, "query": fmt.Sprintf("%s = %s limit 1", l.set.Key, quote(l.ask.Name))}
	if err := l.client.get(ctx, "records.json", query, &out); err != nil {
		return sdk.LeaseRow{}, err
	}
	row := sdk.LeaseRow{Now: l.client.Now()}
	if len(out.Records) == 0 {
		return row, nil
	}
	r := out.Records[0]
	row.Revision, row.Holder = r.Text("$id")+"/"+r.Text("$revision"), r.Text(l.set.Holder)
	for code, field := range r {
		if field.Type != "UPDATED_TIME" {
			continue
		}
		if at, err := time.Parse(time.RFC3339, r.Text(code)); err == nil {
			row.Changed = at.Add(time.Minute) // kintone keeps no seconds
			if !row.Now.IsZero() && row.Now.Before(row.Changed) {
				row.Changed = row.Now
			}
		}
	}
	return row, nil
}
