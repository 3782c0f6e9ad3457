package kintone

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// delivery writes the rows of one call into one app, in order.
type delivery struct {
	*sink
	call *sdk.Call
	app  int64
	held map[string]string // keys of rows that have to be asked again, and the code: later rows of the key wait with them
}

// run answers every item, or returns what stopped it.
func (d *delivery) run(ctx context.Context, items []*item) error {
	for len(items) > 0 {
		n := d.fit(items)
		if err := d.send(ctx, items[:n]); err != nil {
			return err
		}
		items = items[n:]
	}
	return nil
}

// fit returns how many items go into the next request: at most 100, within the limit of bytes, and no key twice. Rows of one key
// go in separate requests, in order. Keys that differ in case alone count as equal: whether kintone folds case is not documented.
func (d *delivery) fit(items []*item) int {
	const perFile = 60 // bytes of a file key in JSON
	size, keys := 0, map[string]bool{}
	for n, it := range items {
		if it.write.encoded == nil {
			b, err := it.write.MarshalJSON()
			if err != nil {
				panic(err) // strings and lists of strings always marshal
			}
			it.write.encoded = b
		}
		size += len(it.write.encoded) + perFile*len(it.attach)
		key := strings.ToLower(it.write.Key)
		if n > 0 && (n == MaxRows || size > d.args.MaxRequest || keys[key]) {
			return n
		}
		keys[key] = true
	}
	return len(items)
}

// send uploads the files of the items and writes them.
func (d *delivery) send(ctx context.Context, items []*item) error {
	if running, limit := d.client.Load(); limit > 0 && running*5 > limit*4 {
		// Near the limit of the whole domain every program of the company would get 429: make room, for a second at most,
		// whatever the header says.
		if err := d.env.Clock.Sleep(ctx, time.Duration(min(running, 100))*10*time.Millisecond); err != nil {
			return err
		}
	}
	var ready []*item
	for _, it := range items {
		if code, waits := d.held[strings.ToLower(it.write.Key)]; waits {
			d.answer(it, sdk.Retry(0, code, nil))
			continue
		}
		ok, err := d.prepare(ctx, it)
		if err != nil {
			return err
		}
		if ok {
			ready = append(ready, it)
		}
	}
	return d.put(ctx, ready)
}

// prepare uploads an item's files. ok is false when that has answered it: the trouble was its own.
func (d *delivery) prepare(ctx context.Context, it *item) (ok bool, err error) {
	if len(it.attach) == 0 {
		return true, nil
	}
	var held Record
	if fields := it.mixed(); fields != nil {
		found, err := d.client.Find(ctx, d.app, it.write.Field, []string{it.write.Key}, fields)
		if err != nil {
			return false, err
		}
		if len(found) > 0 {
			held = found[0]
		}
	}
	err = d.upload(ctx, it)
	var e *Error
	switch {
	case err == nil:
		it.value(held)
		return true, nil
	case errors.Is(err, sdk.ErrNoBytes):
		d.answer(it, sdk.Retry(0, "NO_BYTES", err)) // written without them, the row would claim what is not there
		return false, nil
	case !errors.As(err, &e):
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		d.answer(it, sdk.Retry(0, "SPOOL", err))
		return false, nil
	}
	switch class := e.Class(); {
	case e.HTTP == 413:
		d.answer(it, sdk.Reject("FILE_TOO_LARGE", e))
		return false, nil
	case class == Permanent || class == BadRows:
		d.answer(it, sdk.Reject(e.name(), e))
		return false, nil
	}
	return false, e
}

// put writes items in one request. When kintone names bad rows it writes the others again; when it does not say which row is at
// fault it halves. An error concerns all of them; none of those that are not answered then was written, unless its class is Down.
func (d *delivery) put(ctx context.Context, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	rows := make([]Row, len(items))
	for i, it := range items {
		rows[i] = it.write
	}
	mode := Upsert
	if d.args.Mode == "update" {
		mode = Update
	}
	results, err := d.client.Put(ctx, d.app, mode, rows)
	if err == nil {
		for i, it := range items {
			d.answer(it, sdk.Done(d.receipt(it, results[i])))
		}
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Class() {
	case BadRows:
		bad := e.Rows()
		if bad[len(bad)-1] >= len(items) {
			return e
		}
		var good []*item
		for i, it := range items {
			if !slices.Contains(bad, i) {
				good = append(good, it)
				continue
			}
			if err := d.refuse(ctx, it, &Error{HTTP: e.HTTP, Code: e.Code, Paths: e.RowPaths(i)}); err != nil {
				return err
			}
		}
		return d.put(ctx, good)
	case NoFile:
		if again, err := d.uploadAgain(ctx, items); again || err != nil {
			return err
		}
	case HiddenRow, NoRecord, TooLarge, Permanent:
	default:
		return e
	}
	if len(items) > 1 {
		half := len(items) / 2
		if err := d.put(ctx, items[:half]); err != nil {
			return err
		}
		return d.put(ctx, items[half:])
	}
	return d.refuse(ctx, items[0], e)
}

// uploadAgain replaces file keys that kintone does not know (any longer), once for each item, and writes the items.
func (d *delivery) uploadAgain(ctx context.Context, items []*item) (again bool, err error) {
	var ready []*item
	for _, it := range items {
		if len(it.attach) > 0 && it.uploaded < 2 {
			again = true
		}
	}
	if !again {
		return false, nil
	}
	for _, it := range items {
		ok, err := true, error(nil)
		if it.uploaded < 2 {
			ok, err = d.prepare(ctx, it)
		}
		if err != nil {
			return true, err
		}
		if ok {
			ready = append(ready, it)
		}
	}
	return true, d.put(ctx, ready)
}

// refuse answers the one row that kintone did not take.
func (d *delivery) refuse(ctx context.Context, it *item, e *Error) error {
	switch e.Class() {
	case NoRecord:
		if it.row.Final {
			d.answer(it, sdk.Passed("orphan"))
		} else {
			d.answer(it, sdk.Retry(0, "orphan", nil))
		}
		return nil
	case NoFile:
		d.answer(it, sdk.Retry(0, e.name(), e))
		return nil
	case TooLarge:
		if e.HTTP != 413 {
			return e // one row alone: it is the service
		}
	}
	if slices.Contains(e.Paths, it.write.Field+".value") {
		// Another call has inserted the key at the same moment: next time this is an update.
		found, err := d.client.Find(ctx, d.app, it.write.Field, []string{it.write.Key}, []string{"$id"})
		if err != nil {
			return err
		}
		if len(found) > 0 {
			d.answer(it, sdk.Retry(0, e.name(), e))
			return nil
		}
	}
	d.answer(it, sdk.Reject(e.name(), e))
	return nil
}

// answer answers an item; what has to come again holds later rows of its key.
func (d *delivery) answer(it *item, o sdk.Outcome) {
	if o.Verdict == sdk.VerdictRetry {
		d.held[strings.ToLower(it.write.Key)] = o.Code
	}
	d.call.Answer(it.index, o)
}

func (d *delivery) receipt(it *item, r Result) *sdk.Receipt {
	receipt := &sdk.Receipt{
		URLs:   []string{fmt.Sprintf("%s/%d/show#record=%s", d.site, d.app, r.ID)},
		Files:  slices.Clone(it.kept),
		Fields: map[string]any{"app": d.app, "record_id": string(r.ID), "operation": r.Operation},
	}
	var sent []any
	for _, a := range it.attach {
		sent = append(sent, map[string]any{"field": a.field, "name": a.name, "sha256": a.sha256})
		if a.file != nil {
			receipt.Files = append(receipt.Files, a.file.Index)
		}
	}
	if sent != nil {
		receipt.Fields["files"] = sent
	}
	slices.Sort(receipt.Files)
	return receipt
}
