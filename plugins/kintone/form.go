package kintone

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// form is an app's fields by code.
type form map[string]Field

// forms remembers the forms of apps. They are read again every ten minutes, because a field that somebody deletes swallows its
// values without an error, and whenever a check fails, because somebody may have added the field meanwhile.
type forms struct {
	client *Client
	now    func() time.Time

	mu     sync.Mutex
	known  map[int64]form
	read   map[int64]time.Time
	asking map[int64]*question
}

// question is a request for a form that is under way. Who wants the same form waits for its answer: ten calls that each wait for a minute in
// vain, one after the other, would hide an outage for ten minutes.
type question struct {
	done chan struct{} // closed when form or err is there
	form form
	err  error
}

const formLife = 10 * time.Minute

// get returns the form of an app that passes check.
func (f *forms) get(ctx context.Context, app int64, check func(form) error) (form, error) {
	for {
		f.mu.Lock()
		if known := f.known[app]; known != nil && f.now().Sub(f.read[app]) < formLife && check(known) == nil {
			f.mu.Unlock()
			return known, nil
		}
		q := f.asking[app]
		mine := q == nil
		if mine {
			q = &question{done: make(chan struct{})}
			f.asking[app] = q
		}
		f.mu.Unlock()
		if mine {
			f.ask(ctx, app, q)
		}
		select {
		case <-q.done:
		case <-ctx.Done():
			return nil, lost(context.Cause(ctx))
		}
		var e *Error
		if !mine && errors.As(q.err, &e) && e.Code == "canceled" && ctx.Err() == nil {
			continue // who asked has gone; we have not
		}
		if q.err != nil {
			return nil, q.err
		}
		return q.form, check(q.form)
	}
}

// ask answers a question.
func (f *forms) ask(ctx context.Context, app int64, q *question) {
	q.form, q.err = f.client.Fields(ctx, app)
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.err == nil {
		f.known[app], f.read[app] = q.form, f.now()
	}
	delete(f.asking, app)
	close(q.done)
}

// writable are the types of field that a value can be written to.
var writable = map[string]bool{
	"SINGLE_LINE_TEXT": true, "MULTI_LINE_TEXT": true, "RICH_TEXT": true, "NUMBER": true, "LINK": true, "DATE": true, "TIME": true,
	"DATETIME": true, "DROP_DOWN": true, "RADIO_BUTTON": true, "CHECK_BOX": true, "MULTI_SELECT": true,
}

// check compares the arguments of a row with a form. What does not fit is a mistake in the pipeline or in the app, not in the
// record: the step stops with an alarm until somebody mends either.
func (s *sink) check(app int64, f form, key, fields map[string]any, files map[string][]int) error {
	var wrong []string
	for _, code := range slices.Sorted(maps.Keys(key)) {
		field, known := f[code]
		switch {
		case !known:
			wrong = append(wrong, fmt.Sprintf("key field %q does not exist", code))
		case !field.Unique || field.Type != "SINGLE_LINE_TEXT" && field.Type != "NUMBER":
			wrong = append(wrong, fmt.Sprintf("key field %q is not a text or number field that prohibits duplicates", code))
		}
	}
	if len(key) != 1 {
		wrong = append(wrong, fmt.Sprintf("key names %d fields, want one", len(key)))
	}
	for _, code := range slices.Sorted(maps.Keys(fields)) {
		field, known := f[code]
		switch {
		case !known:
			wrong = append(wrong, fmt.Sprintf("field %q does not exist", code))
		case !writable[field.Type]:
			wrong = append(wrong, fmt.Sprintf("field %q is of type %s, which cannot be written as a value", code, field.Type))
		}
	}
	targets := slices.Sorted(maps.Keys(files))
	if s.args.Overflow != "" && !slices.Contains(targets, s.args.Overflow) {
		targets = append(targets, s.args.Overflow)
	}
	for _, code := range targets {
		field, known := f[code]
		switch {
		case !known:
			wrong = append(wrong, fmt.Sprintf("FILE field %q does not exist", code))
		case field.Type != "FILE":
			wrong = append(wrong, fmt.Sprintf("field %q is of type %s, want FILE", code, field.Type))
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	return sdk.DownAlarm("FIELD_CODES", fmt.Errorf("app %d: %s", app, strings.Join(wrong, "; "))).Err()
}
