package kintone_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/sdk"
)

func TestSurvey(t *testing.T) {
	now := time.Date(2020, 11, 22, 1, 2, 3, 0, time.UTC)
	srv := start(t, func(o *kintonesim.Options) { o.Now = func() time.Time { return now } })
	s := open(t, srv.URL, nil)
	const seq = 1 << 62
	ask := sdk.SurveyRequest{
		Seq: seq, Statuses: []string{"FILE_WAITING", "FILE_UPLOAD_FAILED"}, Ago: 120 * time.Hour,
		Sample: marshal(t, object{"app": appLog, "key": object{"msgid": "sample"}, "fields": object{"seq": seq, "status": "FILE_WAITING", "filesize": 7}}),
	}
	survey := func() sdk.Survey {
		t.Helper()
		found, err := s.sink.(sdk.Surveyor).Survey(t.Context(), ask)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	if got := survey(); !got.Rows || got.Last != 0 || got.Waiting != nil || got.Where != "app 7" {
		t.Errorf("an empty app: %+v", got)
	}
	write := func(n int, status string) {
		t.Helper()
		if got := short(s.write(s.record(fmt.Sprint("m", n), object{"seq": n, "status": status}))); !strings.HasPrefix(got, "done") {
			t.Fatal(got)
		}
	}
	write(9, "FINISHED") // numbers, not texts: 9 is below 100
	write(100, "FILE_WAITING")
	write(101, "FINISHED")
	now = now.Add(121 * time.Hour)
	write(104, "FILE_WAITING") // 102 and 103 are missing
	write(99, "FILE_WAITING")  // and this one came late
	write(110, "FINISHED")
	want := sdk.Survey{
		Rows: true, Where: "app 7", Since: now.Add(-120 * time.Hour).Truncate(time.Minute), First: 9, Last: 110, Old: 101, Fresh: 99,
		Waiting: []sdk.Waiting{{Status: "FILE_WAITING", First: 99, Last: 104, Fresh: 2, Old: 1}},
	}
	if d := cmp.Diff(survey(), want); d != "" {
		t.Errorf("got - want +\n%s", d)
	}
	before := srv.Rows(appLog)
	survey()
	if d := cmp.Diff(srv.Rows(appLog), before); d != "" {
		t.Errorf("a survey has changed rows:\n%s", d)
	}

	there := now
	now = time.Now().Add(1000 * time.Hour) // one of the two clocks is wrong: the earlier one takes less for old
	if got := survey(); got.Since.After(time.Now().Add(-120 * time.Hour)) {
		t.Errorf("since %v, and here it is %v", got.Since, time.Now())
	}
	now = there

	ask.Sample = marshal(t, object{"app": appLog, "key": object{"msgid": "sample"}, "fields": object{"msgtime": "2026-11-22T00:00:00Z"}})
	if got := survey(); got.Rows {
		t.Errorf("rows without a seq: %+v", got)
	}
	ask.Sample = marshal(t, object{"app": appLog, "key": object{"msgid": fmt.Sprint(seq)}, "fields": object{}})
	if got := survey(); got.Rows {
		t.Errorf("a seq in a text field does not sort: %+v", got)
	}
	s = open(t, srv.URL, object{"mode": "update"})
	ask.Sample = marshal(t, object{"app": appLog, "key": object{"msgid": "sample"}, "fields": object{"seq": seq}})
	if got := survey(); got.Rows {
		t.Errorf("a step that never adds rows: %+v", got)
	}
}
