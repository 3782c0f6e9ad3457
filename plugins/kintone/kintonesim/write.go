package kintonesim

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tx is a transaction: what it did can be taken back. Everything runs under Server.mu, so nobody sees it half done.
type tx struct {
	*call
	undo  []func()
	moved moved // what the counters gain when it commits
}

func (t *tx) rollback() {
	for _, undo := range slices.Backward(t.undo) {
		undo()
	}
	t.undo, t.moved = nil, moved{}
}

// write answers a single writing call in a transaction of its own.
func (c *call) write() (any, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	t := &tx{call: c}
	out, bad := t.run(c.name, c.in)
	if bad != nil {
		t.rollback()
		return nil, bad
	}
	c.s.stats.commit(t.moved)
	return out, nil
}

func (t *tx) run(name string, in input) (any, *refusal) {
	switch name {
	case "POST record.json":
		return t.addOne(in)
	case "POST records.json":
		return t.addMany(in)
	case "PUT record.json":
		return t.updateOne(in)
	case "PUT records.json":
		return t.updateMany(in)
	case "DELETE records.json":
		return t.delete(in)
	}
	return nil, invalid("requests", badValue)
}

// bulkRequest runs up to 20 writes as one transaction. Its errors have a shape of their own: the status of the failed request,
// and results with the error in its place and {} elsewhere.
func (c *call) bulkRequest() (any, *refusal) {
	requests, ok := c.in.list("requests")
	switch {
	case !ok:
		return nil, invalid("requests", requiredParameter)
	case len(requests) > 20:
		return nil, invalid("requests", bulkLimit)
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	t := &tx{call: c}
	results := make([]any, len(requests))
	for i, r := range requests {
		request, _ := r.(map[string]any)
		method, _ := request["method"].(string)
		api, _ := request["api"].(string)
		payload, _ := request["payload"].(map[string]any)
		prefix := "/k/v1/"
		if c.space != 0 {
			prefix = fmt.Sprintf("/k/guest/%d/v1/", c.space) // all requests in the space of the path
		}
		name, within := strings.CutPrefix(api, prefix)
		out, bad := any(nil), invalid("requests["+strconv.Itoa(i)+"].api", badValue)
		if within && payload != nil {
			out, bad = t.run(strings.ToUpper(method)+" "+name, payload)
		}
		if bad != nil {
			t.rollback()
			for j := range results {
				results[j] = map[string]any{}
			}
			results[i] = c.body(bad)
			return nil, &refusal{status: bad.status, code: bad.code, results: results}
		}
		results[i] = out
	}
	c.s.stats.commit(t.moved)
	return map[string]any{"results": results}, nil
}

func (t *tx) addOne(in input) (any, *refusal) {
	a, bad := t.openFor(in)
	if bad != nil {
		return nil, bad
	}
	wrong := problems{}
	r, bad := t.insert(a, "record", in["record"], nil, wrong)
	if bad != nil || len(wrong) > 0 {
		return nil, either(bad, wrong)
	}
	return map[string]any{"id": text(r.id), "revision": text(r.revision)}, nil
}

func (t *tx) addMany(in input) (any, *refusal) {
	a, records, bad := t.openRecords(in, addLimit)
	if bad != nil {
		return nil, bad
	}
	ids, revisions, wrong := []string{}, []string{}, problems{}
	for i, in := range records {
		r, bad := t.insert(a, fmt.Sprintf("records[%d]", i), in, nil, wrong)
		if bad != nil {
			return nil, bad
		}
		if r != nil {
			ids, revisions = append(ids, text(r.id)), append(revisions, text(r.revision))
		}
	}
	if len(wrong) > 0 {
		return nil, wrong.refusal()
	}
	return map[string]any{"ids": ids, "revisions": revisions}, nil
}

func (t *tx) updateOne(in input) (any, *refusal) {
	a, bad := t.openFor(in)
	if bad != nil {
		return nil, bad
	}
	wrong := problems{}
	r, _, bad := t.change(a, "record", in, false, map[int64]bool{}, wrong)
	if bad != nil || len(wrong) > 0 {
		return nil, either(bad, wrong)
	}
	return map[string]any{"revision": text(r.revision)}, nil
}

func (t *tx) updateMany(in input) (any, *refusal) {
	a, records, bad := t.openRecords(in, updateLimit)
	if bad != nil {
		return nil, bad
	}
	upsert := in["upsert"] == true || in["upsert"] == "true"
	results, wrong, seen := []any{}, problems{}, map[int64]bool{}
	for i, item := range records {
		item, _ := item.(map[string]any)
		r, operation, bad := t.change(a, fmt.Sprintf("records[%d]", i), item, upsert, seen, wrong)
		if bad != nil {
			return nil, bad
		}
		if r == nil {
			continue
		}
		result := map[string]any{"id": text(r.id), "revision": text(r.revision)}
		if upsert {
			result["operation"] = operation
		}
		results = append(results, result)
	}
	if len(wrong) > 0 {
		return nil, wrong.refusal()
	}
	return map[string]any{"records": results}, nil
}

func (t *tx) delete(in input) (any, *refusal) {
	a, bad := t.openFor(in)
	if bad != nil {
		return nil, bad
	}
	ids, _ := in.list("ids")
	if len(ids) < 1 || len(ids) > 100 {
		return nil, invalid("ids", deleteLimit)
	}
	for i := range ids {
		id, bad := input{"ids": ids[i]}.id("ids")
		if bad != nil {
			return nil, bad
		}
		old := a.records[id]
		if old == nil {
			return nil, &refusal{status: http.StatusNotFound, code: "GAIA_RE01", text: noRecord, args: []any{id}}
		}
		t.s.put(a, id, nil)
		t.undo = append(t.undo, func() { t.s.put(a, id, old) })
	}
	t.rows += len(ids)
	return map[string]any{}, nil
}

func (t *tx) openFor(in input) (*app, *refusal) {
	id, bad := in.id("app")
	if bad != nil {
		return nil, bad
	}
	return t.open(id, true)
}

func (t *tx) openRecords(in input, tooMany message) (*app, []any, *refusal) {
	a, bad := t.openFor(in)
	if bad != nil {
		return nil, nil, bad
	}
	records, ok := in.list("records")
	switch {
	case !ok:
		return nil, nil, invalid("records", requiredParameter)
	case len(records) > 100:
		return nil, nil, invalid("records", tooMany)
	}
	t.rows += len(records)
	return a, records, nil
}

// change updates the record that item names by id or updateKey; with upsert it adds what is not there.
func (t *tx) change(a *app, path string, item input, upsert bool, seen map[int64]bool, wrong problems) (*record, string, *refusal) {
	id, fixed, bad := t.which(a, path, item, wrong)
	if bad != nil || len(wrong) > 0 && id < 0 {
		return nil, "", bad
	}
	old := a.records[id]
	if old == nil {
		if upsert { // an id that is not there is replaced by a new one (OpenAPI, putRecords)
			r, bad := t.insert(a, path, item["record"], fixed, wrong)
			if r != nil {
				seen[r.id] = true
			}
			return r, "INSERT", bad
		}
		if fixed != nil {
			return nil, "", &refusal{status: http.StatusNotFound, code: "GAIA_RE20", text: noKey}
		}
		return nil, "", &refusal{status: http.StatusNotFound, code: "GAIA_RE01", text: noRecord, args: []any{id}}
	}
	if seen[id] {
		wrong.add(path, sameRecordTwice) // assumed: no page says what the service does
		return nil, "", nil
	}
	seen[id] = true
	if want, ok := item.text("revision"); ok && want != "" && want != "-1" && want != text(old.revision) {
		return nil, "", &refusal{status: http.StatusConflict, code: "GAIA_CO02", text: conflict}
	}
	next := &record{id: id, revision: old.revision + 1, created: old.created, updated: t.at, values: maps.Clone(old.values)}
	if bad := t.fill(a, path, next, item["record"], fixed, wrong); bad != nil {
		return nil, "", bad
	}
	t.store(a, path, old, next, wrong)
	return next, "UPDATE", nil
}

// which finds the record that an update means: its id (0 if there is none), and the key's field if it came by key. It returns
// -1 when it has found something wrong.
func (t *tx) which(a *app, path string, item input, wrong problems) (int64, map[string]any, *refusal) {
	if _, byID := item["id"]; byID {
		id, bad := item.id("id")
		return id, nil, bad
	}
	key, _ := item["updateKey"].(map[string]any)
	if key == nil {
		wrong.add(path+".id", requiredParameter)
		return -1, nil, nil
	}
	code, _ := input(key).text("field")
	value, _ := input(key).text("value")
	f, known := a.fields[code]
	switch {
	case !known || !f.Unique || !fieldTypes[f.Type].key:
		wrong.add(path+".updateKey.field", badUpdateKey)
		return -1, nil, nil
	case value == "":
		wrong.add(path+".updateKey.value", requiredParameter)
		return -1, nil, nil
	case utf8.RuneCountInString(value) > maxUnique:
		wrong.add(path+".updateKey.value", tooLong, maxUnique+1) // OpenAPI: maxLength 64
		return -1, nil, nil
	}
	before := len(wrong)
	normal, _ := t.accept(a, f, path, value, wrong).(string)
	if len(wrong) > before {
		return -1, nil, nil
	}
	id, _ := t.s.find(a, code, normal)
	return id, map[string]any{code: normal}, nil
}

// insert adds a record. fixed holds the value of the key it was looked for by.
func (t *tx) insert(a *app, path string, in any, fixed map[string]any, wrong problems) (*record, *refusal) {
	next := &record{id: a.last + 1, revision: 1, created: t.at, updated: t.at, values: map[string]any{}}
	maps.Copy(next.values, fixed)
	if bad := t.fill(a, path, next, in, fixed, wrong); bad != nil {
		return nil, bad
	}
	t.store(a, path, nil, next, wrong)
	return next, nil
}

// fill reads what was sent into r, and checks what must be there on the merged record.
func (t *tx) fill(a *app, path string, r *record, in any, fixed map[string]any, wrong problems) *refusal {
	sent, ok := in.(map[string]any)
	if in != nil && !ok {
		return &refusal{status: http.StatusBadRequest, code: "CB_IJ01", text: badJSON}
	}
	for _, code := range slices.Sorted(maps.Keys(sent)) {
		f, known := a.fields[code]
		if systemFields[code] != "" && r.revision > 1 {
			return &refusal{status: http.StatusForbidden, code: "GAIA_FU01", text: fieldRight} // assumed
		}
		if !known {
			continue // ignored with 200 (kintone.dev, "Add Records"); this loses data, so clients must check
		}
		cell, ok := sent[code].(map[string]any)
		if !ok {
			return &refusal{status: http.StatusBadRequest, code: "CB_IJ01", text: badJSON}
		}
		value, given := cell["value"]
		if !given {
			continue
		}
		if _, isKey := fixed[code]; isKey {
			wrong.add(path+"."+code+".value", keyInRecord) // assumed; no official sample repeats the key
			continue
		}
		if f.Type == "FILE" {
			files, bad := t.attach(a, r, path, code, value, wrong)
			if bad != nil {
				return bad
			}
			r.values[code] = files
			continue
		}
		r.values[code] = t.accept(a, f, path, value, wrong)
	}
	for _, f := range a.fields {
		// RADIO_BUTTON takes required but never checks it (recorded).
		if !f.Required || f.Type == "RADIO_BUTTON" || !empty(r.values[f.Code]) {
			continue
		}
		suffix := ".value"
		if fieldTypes[f.Type].list {
			suffix = ".values"
		}
		if at := path + "." + f.Code + suffix; len(wrong[at]) == 0 {
			wrong.add(at, required)
		}
	}
	return nil
}

// store checks the unique fields and puts the record in place, undoably.
func (t *tx) store(a *app, path string, old, next *record, wrong problems) {
	for code := range a.unique {
		if v, _ := next.values[code].(string); v != "" {
			if holder, taken := t.s.find(a, code, v); taken && holder != next.id {
				wrong.add(path+"."+code+".value", duplicate)
			}
		}
	}
	if len(wrong) > 0 {
		return // all or nothing: the rest of the call is only checked
	}
	last := a.last
	a.last = max(a.last, next.id)
	t.s.put(a, next.id, next)
	t.undo = append(t.undo, func() { t.s.put(a, next.id, old); a.last = last })
	switch {
	case old == nil:
		t.moved.inserted++
	case same(old, next):
		t.moved.updated++
		t.moved.repeated++
	default:
		t.moved.updated++
	}
}

func either(bad *refusal, wrong problems) *refusal {
	if bad != nil {
		return bad
	}
	return wrong.refusal()
}

func text(n int64) string { return strconv.FormatInt(n, 10) }

// same reports whether two versions of a record hold the same values; files are compared by name and content.
func same(a, b *record) bool {
	seen := func(r *record) string {
		out := map[string]any{}
		for code, v := range r.values {
			if files, ok := v.([]*attachment); ok {
				var names []string
				for _, f := range files {
					names = append(names, f.file.name+"\x00"+f.file.sha256)
				}
				v = names
			}
			if !empty(v) {
				out[code] = v
			}
		}
		b, _ := json.Marshal(out)
		return string(b)
	}
	return seen(a) == seen(b)
}
