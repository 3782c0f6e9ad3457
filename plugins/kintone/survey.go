package kintone

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Survey implements [sdk.Surveyor]. Which row is older is judged by the time at which kintone made it: that is never before the record was
// fetched, so a row that is old there is of a record that is older still.
func (s *sink) Survey(ctx context.Context, ask sdk.SurveyRequest) (sdk.Survey, error) {
	found, err := s.survey(ctx, ask)
	var e *Error
	if errors.As(err, &e) {
		err = stop(err).Err()
	}
	return found, err
}

func (s *sink) survey(ctx context.Context, ask sdk.SurveyRequest) (sdk.Survey, error) {
	var sample struct {
		App    Number         `json:"app"`
		Key    map[string]any `json:"key"`
		Fields map[string]any `json:"fields"`
	}
	dec := json.NewDecoder(bytes.NewReader(ask.Sample))
	dec.UseNumber()
	if err := dec.Decode(&sample); err != nil {
		return sdk.Survey{}, fmt.Errorf("survey: the sample does not have the declared types")
	}
	app, err := strconv.ParseInt(string(sample.App), 10, 64)
	if err != nil || app < 1 {
		return sdk.Survey{}, nil // no app at this seq
	}
	form, err := s.client.Fields(ctx, app)
	if err != nil {
		return sdk.Survey{}, err
	}
	q := look{client: s.client, app: app, now: s.env.Clock.Now()}
	if now := s.client.Now(); !now.IsZero() && now.Before(q.now) {
		q.now = now
	}
	seq := strconv.FormatUint(ask.Seq, 10)
	for _, values := range []map[string]any{sample.Key, sample.Fields} {
		for _, code := range slices.Sorted(maps.Keys(values)) {
			n, _ := values[code].(json.Number)
			text, _ := values[code].(string)
			kind := form[code].Type
			switch {
			case q.seq == "" && (n.String() == seq || text == seq) && kind == "NUMBER": // texts do not sort by size
				q.seq = code
			case q.status == "" && len(ask.Statuses) > 0 && text == ask.Statuses[0] && slices.Contains(searchable, kind):
				q.status = code
			}
		}
	}
	for code, field := range form {
		if field.Type == "CREATED_TIME" {
			q.created = code
		}
	}
	if q.seq == "" || q.created == "" || s.args.Mode == "update" { // what never adds a row proves nothing
		return sdk.Survey{}, nil
	}
	return q.run(ctx, ask)
}

// searchable are the types of field that a status may stand in, and that the query language finds by "in".
var searchable = []string{"DROP_DOWN", "RADIO_BUTTON", "SINGLE_LINE_TEXT"}

// look asks one app.
type look struct {
	client               *Client
	app                  int64
	now                  time.Time
	seq, status, created string // field codes
}

func (q *look) run(ctx context.Context, ask sdk.SurveyRequest) (sdk.Survey, error) {
	s := sdk.Survey{Rows: true, Where: fmt.Sprintf("app %d", q.app), Since: q.now.Add(-ask.Ago).UTC().Truncate(time.Minute)} // kintone keeps no seconds
	since := quote(s.Since.Format(time.RFC3339))
	some, old, fresh := q.seq+" > 0", q.created+" < "+since, q.created+" >= "+since
	for _, x := range []struct {
		into  *uint64
		where string
		down  bool
	}{{&s.First, some, false}, {&s.Last, some, true}, {&s.Old, some + " and " + old, true}, {&s.Fresh, some + " and " + fresh, false}} {
		n, _, err := q.edge(ctx, x.where, x.down)
		if err != nil {
			return s, err
		}
		*x.into = n
	}
	for _, status := range ask.Statuses {
		if q.status == "" {
			break
		}
		w := sdk.Waiting{Status: status}
		is := fmt.Sprintf("%s and %s in (%s)", some, q.status, quote(status))
		var err, err2, err3 error
		w.First, w.Fresh, err = q.edge(ctx, is, false)
		w.Last, _, err2 = q.edge(ctx, is, true)
		_, w.Old, err3 = q.edge(ctx, is+" and "+old, false)
		if err := errors.Join(err, err2, err3); err != nil {
			return s, err
		}
		if w.Fresh -= w.Old; w.Fresh+w.Old > 0 {
			s.Waiting = append(s.Waiting, w)
		}
	}
	return s, nil
}

// edge returns the lowest or highest seq of the rows that match, 0 for none, and how many match.
func (q *look) edge(ctx context.Context, where string, highest bool) (seq uint64, count int, err error) {
	order := "asc"
	if highest {
		order = "desc"
	}
	var out struct {
		Records []Record `json:"records"`
		Total   Number   `json:"totalCount"`
	}
	query := map[string]any{
		"app": q.app, "query": fmt.Sprintf("%s order by %s %s limit 1", where, q.seq, order), "fields": []string{q.seq}, "totalCount": "true",
	}
	if err := q.client.get(ctx, "records.json", query, &out); err != nil {
		return 0, 0, err
	}
	if len(out.Records) == 0 {
		return 0, 0, nil
	}
	count, _ = strconv.Atoi(string(out.Total))
	text := out.Records[0].Text(q.seq)
	if seq, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("app %d: field %s holds what is no seq", q.app, q.seq)
	}
	return seq, count, nil
}
