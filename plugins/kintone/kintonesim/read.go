package kintonesim

import (
	"net/http"
	"strconv"
	"time"
)

// getRecord answers GET record.json.
func (c *call) getRecord() (any, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	a, bad := c.openToRead()
	if bad != nil {
		return nil, bad
	}
	id, bad := c.in.id("id")
	if bad != nil {
		return nil, bad
	}
	r := a.records[id]
	if r == nil {
		return nil, &refusal{status: http.StatusNotFound, code: "GAIA_RE01", text: noRecord, args: []any{id}}
	}
	return map[string]any{"record": a.show(r, nil)}, nil
}

// getRecords answers GET records.json.
func (c *call) getRecords() (any, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	a, bad := c.openToRead()
	if bad != nil {
		return nil, bad
	}
	fields, bad := c.selection(a)
	if bad != nil {
		return nil, bad
	}
	source, _ := c.in.text("query")
	q, bad := a.parseQuery(source)
	if bad != nil {
		return nil, bad
	}
	found := q.run(a)
	var total any // null unless it is asked for
	if asked, _ := c.in.text("totalCount"); asked == "true" {
		total = strconv.Itoa(len(found))
	}
	found = found[min(q.offset, len(found)):]
	found = found[:min(q.limit, len(found))]
	c.rows = len(found)
	return map[string]any{"records": a.showAll(found, fields), "totalCount": total}, nil
}

func (c *call) openToRead() (*app, *refusal) {
	id, bad := c.in.id("app")
	if bad != nil {
		return nil, bad
	}
	return c.open(id, false)
}

// selection reads the fields parameter; nil means all of them. An unknown code is refused (assumed).
func (c *call) selection(a *app) ([]string, *refusal) {
	list, _ := c.in.list("fields")
	var codes []string
	for _, item := range list {
		code, _ := item.(string)
		if _, known := a.fields[code]; !known && systemFields[code] == "" && code != "$id" && code != "$revision" {
			return nil, &refusal{status: http.StatusBadRequest, code: "GAIA_IQ11", text: noField, args: []any{code}}
		}
		codes = append(codes, code)
	}
	return codes, nil
}

func (a *app) showAll(records []*record, fields []string) []any {
	out := make([]any, len(records))
	for i, r := range records {
		out[i] = a.show(r, fields)
	}
	return out
}

// show is a record as an answer has it: type and value of every field, times to the minute.
func (a *app) show(r *record, fields []string) map[string]any {
	cell := func(kind string, value any) any { return map[string]any{"type": kind, "value": value} }
	minute := func(t time.Time) string { return t.UTC().Truncate(time.Minute).Format("2006-01-02T15:04:05Z") }
	all := map[string]any{
		"$id":       cell("__ID__", text(r.id)),
		"$revision": cell("__REVISION__", text(r.revision)),
		"レコード番号":    cell("RECORD_NUMBER", text(r.id)),
		"作成日時":      cell("CREATED_TIME", minute(r.created)),
		"更新日時":      cell("UPDATED_TIME", minute(r.updated)),
	}
	for code, f := range a.fields {
		all[code] = cell(f.Type, shown(f, r.values[code]))
	}
	if fields == nil {
		return all
	}
	some := map[string]any{}
	for _, code := range fields {
		some[code] = all[code]
	}
	return some
}

const (
	maxCursors = 10 // per domain, for everybody (kintone.dev, "Add Cursor")
	cursorLife = 10 * time.Minute
)

// cursor is a result that is read in pieces.
type cursor struct {
	app    int64
	ids    []int64
	fields []string
	size   int
	used   time.Time
}

func (c *call) openCursor() (any, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	a, bad := c.openToRead()
	if bad != nil {
		return nil, bad
	}
	fields, bad := c.selection(a)
	if bad != nil {
		return nil, bad
	}
	size := 100
	if s, ok := c.in.text("size"); ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 500 {
			return nil, invalid("size", sizeRange)
		}
		size = n
	}
	source, _ := c.in.text("query")
	q, bad := a.parseQuery(source)
	if bad != nil {
		return nil, bad
	}
	if q.limited { // neither limit nor offset (kintone.dev, "Add Cursor")
		return nil, invalid("query", badQuery)
	}
	for id, old := range c.s.cursors {
		if c.at.Sub(old.used) >= cursorLife {
			delete(c.s.cursors, id)
		}
	}
	if len(c.s.cursors) >= maxCursors {
		return nil, &refusal{status: http.StatusTooManyRequests, code: "GAIA_TM12", text: cursorsUsedUp}
	}
	cur := &cursor{app: a.def.ID, fields: fields, size: size, used: c.at}
	for _, r := range q.run(a) {
		cur.ids = append(cur.ids, r.id)
	}
	id := c.s.newKey("9a9716fe-1394-4677-a1c7-%012x")
	c.s.cursors[id] = cur
	return map[string]any{"id": id, "totalCount": strconv.Itoa(len(cur.ids))}, nil
}

// readCursor answers the next piece; the last one ends the cursor.
func (c *call) readCursor() (any, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	id, cur, bad := c.findCursor()
	if bad != nil {
		return nil, bad
	}
	a, bad := c.open(cur.app, false)
	if bad != nil {
		return nil, bad
	}
	cur.used = c.at
	n := min(cur.size, len(cur.ids))
	var found []*record
	for _, id := range cur.ids[:n] {
		if r := a.records[id]; r != nil {
			found = append(found, r)
		}
	}
	cur.ids = cur.ids[n:]
	if len(cur.ids) == 0 {
		delete(c.s.cursors, id)
	}
	return map[string]any{"records": a.showAll(found, cur.fields), "next": len(cur.ids) > 0}, nil
}

func (c *call) closeCursor() (any, *refusal) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	id, _, bad := c.findCursor()
	if bad != nil {
		return nil, bad
	}
	delete(c.s.cursors, id)
	return map[string]any{}, nil
}

func (c *call) findCursor() (string, *cursor, *refusal) {
	id, _ := c.in.text("id")
	cur := c.s.cursors[id]
	if cur == nil || c.at.Sub(cur.used) >= cursorLife {
		return "", nil, &refusal{status: http.StatusNotFound, code: "GAIA_CN01", text: noCursor} // recorded 2026-07
	}
	return id, cur, nil
}
