package kintonesim_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRefusals provokes each documented refusal by a hand-written request against a site that holds m0 (seq 1) and m1 (seq 2).
func TestRefusals(t *testing.T) {
	long := strings.Repeat("あ", 65)
	tests := []struct {
		name         string
		method, path string
		body         string
		headers      []string
		status       int
		code, paths  string
	}{
		{"no token", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: "}, 401, "CB_AU01", ""},
		{"password", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: ", "X-Cybozu-Authorization: eDp5"}, 401, "CB_WA01", ""},
		{"unknown token", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: nobody"}, 400, "GAIA_IA02", ""},
		{"one of two tokens unknown", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: log, nobody"}, 400, "GAIA_IA02", ""},
		{"two tokens of one app", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: log,log-view"}, 400, "GAIA_DA03", ""},
		{"ten tokens", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: " + strings.Repeat("log,", 10)}, 400, "CB_IL02", ""},
		{"token of another app", "GET", "/k/v1/records.json?app=7", "", []string{"X-Cybozu-API-Token: raw"}, 403, "GAIA_NO01", ""},
		{"token that may only view", "POST", "/k/v1/record.json", `{"app":7}`, []string{"X-Cybozu-API-Token: log-view"}, 403, "GAIA_NO01", ""},
		{"unknown app", "GET", "/k/v1/records.json?app=70", "", nil, 404, "GAIA_AP01", ""},
		{"no app", "GET", "/k/v1/records.json", "", nil, 400, "CB_VA01", "app"},
		{"app 0", "GET", "/k/v1/records.json?app=0", "", nil, 400, "CB_VA01", "app"},
		{"guest app by the normal path", "GET", "/k/v1/records.json?app=9", "", []string{"X-Cybozu-API-Token: guest"}, 400, "GAIA_IL23", ""},
		{"normal app by a guest path", "GET", "/k/guest/3/v1/records.json?app=7", "", nil, 403, "CB_NO02", ""},
		{"content type on a GET", "GET", "/k/v1/records.json?app=7", "", []string{"Content-Type: application/json"}, 400, "CB_IL02", ""},
		{"broken JSON", "POST", "/k/v1/records.json", `{"app":7,`, nil, 400, "CB_IJ01", ""},
		{"form instead of JSON", "POST", "/k/v1/records.json", `app=7`, []string{"Content-Type: application/x-www-form-urlencoded"}, 400, "CB_IL02", ""},
		{"body too large", "POST", "/k/v1/records.json", `{"app":7,"x":"` + strings.Repeat("x", 1<<20) + `"}`, nil, 413, "", ""},
		{"unknown page", "GET", "/k/v2/records.json", "", nil, 404, "", ""},
		{"unknown method", "PATCH", "/k/v1/records.json", "{}", nil, 405, "", ""},

		{"add 101", "POST", "/k/v1/records.json", records(log, many(101, func(i int) string { return msgid(i + 100) })...), nil, 400, "CB_VA01", "records"},
		{"update 101", "PUT", "/k/v1/records.json", records(log, many(101, func(i int) string { return keyed("msgid", "m0", "{}") })...), nil, 400, "CB_VA01", "records"},
		{"delete none", "DELETE", "/k/v1/records.json", `{"app":7,"ids":[]}`, nil, 400, "CB_VA01", "ids"},
		{"delete 101", "DELETE", "/k/v1/records.json?app=7" + strings.Repeat("&ids[]=1", 101), "", nil, 400, "CB_VA01", "ids"},
		{"delete what is not there", "DELETE", "/k/v1/records.json?app=7&ids[0]=99", "", nil, 404, "GAIA_RE01", ""},
		{"21 requests in one", "POST", "/k/v1/bulkRequest.json", `{"requests":[` + strings.TrimSuffix(strings.Repeat("{},", 21), ",") + `]}`, nil, 400, "CB_VA01", "requests"},

		{"required missing", "POST", "/k/v1/record.json", `{"app":7,"record":{}}`, nil, 400, "CB_VA01", "record.msgid.value"},
		{"required missing in a batch", "POST", "/k/v1/records.json", records(log, msgid(5), `{}`), nil, 400, "CB_VA01", "records[1].msgid.value"},
		{"required emptied by an update", "PUT", "/k/v1/record.json", `{"app":7,"id":1,"record":{"msgid":{"value":""}}}`, nil, 400, "CB_VA01", "record.msgid.value"},
		{"duplicate", "POST", "/k/v1/record.json", `{"app":7,"record":` + msgid(0) + `}`, nil, 400, "CB_VA01", "record.msgid.value"},
		{"duplicate in a batch", "POST", "/k/v1/records.json", records(log, msgid(5), msgid(1)), nil, 400, "CB_VA01", "records[1].msgid.value"},
		{"duplicate within a batch", "POST", "/k/v1/records.json", records(log, msgid(5), msgid(5)), nil, 400, "CB_VA01", "records[1].msgid.value"},
		{"duplicate number in another form", "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", "m5", `{"seq":{"value":"1.0"}}`)), nil, 400, "CB_VA01", "records[0].seq.value"},
		{"65 characters in a unique field", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"` + long + `"}}}`, nil, 400, "CB_VA01", "record.msgid.value"},
		{"65,536 characters", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"content":{"value":"` + strings.Repeat("x", 65536) + `"}}}`, nil, 400, "CB_VA01", "record.content.value"},
		{"line break in one line", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"from":{"value":"a\nb"}}}`, nil, 400, "CB_VA01", "record.from.value"},
		{"no number", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"size":{"value":"1,000"}}}`, nil, 400, "CB_VA01", "record[size].value"},
		{"no number in a batch", "POST", "/k/v1/records.json", records(log, msgid(5), `{"msgid":{"value":"x"},"size":{"value":"12abc"}}`), nil, 400, "CB_VA01", "records[1][size].value"},
		{"13 digits", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"size":{"value":"1763773323000"}}}`, nil, 400, "CB_VA01", "record.size.value"},
		{"no option", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"status":{"value":"DONE"}}}`, nil, 400, "CB_VA01", "record.status.value"},
		{"no option in a list", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"revoked":{"value":["revoked","x"]}}}`, nil, 400, "CB_VA01", "record.revoked.values[1].value"},
		{"text for a list", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"revoked":{"value":"revoked"}}}`, nil, 400, "CB_VA01", "record.revoked.values"},
		{"year 10000", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"msgtime":{"value":"9999-12-31T23:59:00-01:00"}}}`, nil, 400, "CB_VA01", "record.msgtime.value"},
		{"year 999", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"msgtime":{"value":"0999-12-31T23:59:00Z"}}}`, nil, 400, "CB_VA01", "record.msgtime.value"},
		{"time without zone", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"msgtime":{"value":"2026-11-22T01:02:03"}}}`, nil, 400, "CB_VA01", "record.msgtime.value"},
		{"no date", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":{"value":"x"},"day":{"value":"2026-02-30"}}}`, nil, 400, "CB_VA01", "record.day.value"},
		{"record that is no record", "POST", "/k/v1/record.json", `{"app":7,"record":{"msgid":"x"}}`, nil, 400, "CB_IJ01", ""},
		{"system field in an update", "PUT", "/k/v1/record.json", `{"app":7,"id":1,"record":{"作成日時":{"value":"2026-11-22T00:00:00Z"}}}`, nil, 403, "GAIA_FU01", ""},

		{"update of a missing id", "PUT", "/k/v1/record.json", `{"app":7,"id":99,"record":{}}`, nil, 404, "GAIA_RE01", ""},
		{"update of a missing key", "PUT", "/k/v1/records.json", records(log, keyed("msgid", "m0", "{}"), keyed("msgid", "m9", "{}")), nil, 404, "GAIA_RE20", ""},
		{"neither id nor key", "PUT", "/k/v1/records.json", records(log, `{"record":{}}`), nil, 400, "CB_VA01", "records[0].id"},
		{"key field that is not unique", "PUT", "/k/v1/records.json", upsert(log, keyed("from", "a", "{}")), nil, 400, "CB_VA01", "records[0].updateKey.field"},
		{"key field that is not there", "PUT", "/k/v1/records.json", upsert(log, keyed("nope", "a", "{}")), nil, 400, "CB_VA01", "records[0].updateKey.field"},
		{"empty key", "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", "", "{}")), nil, 400, "CB_VA01", "records[0].updateKey.value"},
		{"key of 65 characters", "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", long, "{}")), nil, 400, "CB_VA01", "records[0].updateKey.value"},
		{"key among the values", "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", "m5", msgid(5))), nil, 400, "CB_VA01", "records[0].msgid.value"},
		{"one key twice", "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", "m5", "{}"), keyed("msgid", "m5", "{}")), nil, 400, "CB_VA01", "records[1]"},
		{"two wrong rows", "PUT", "/k/v1/records.json", upsert(log, keyed("msgid", "m5", `{"status":{"value":"x"}}`), keyed("msgid", "m6", "{}"), keyed("msgid", "m7", `{"seq":{"value":"2"},"size":{"value":"x"}}`)), nil, 400, "CB_VA01", "records[0].status.value records[2].seq.value records[2][size].value"},
		{"revision conflict", "PUT", "/k/v1/record.json", `{"app":7,"id":1,"revision":9,"record":{}}`, nil, 409, "GAIA_CO02", ""},

		{"unknown file", "PUT", "/k/v1/record.json", `{"app":7,"id":1,"record":` + attach("nope") + `}`, nil, 404, "GAIA_BL01", ""},
		{"download of nothing", "GET", "/k/v1/file.json?fileKey=nope", "", nil, 404, "GAIA_BL01", ""},
		{"download without key", "GET", "/k/v1/file.json", "", nil, 400, "CB_VA01", "fileKey"},
		{"upload that is not multipart", "POST", "/k/v1/file.json", "x", []string{"Content-Type: text/plain"}, 400, "CB_IL02", ""},
		{"upload under another name", "POST", "/k/v1/file.json", "--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a\"\r\n\r\nx\r\n--b--\r\n", []string{"Content-Type: multipart/form-data; boundary=b"}, 400, "CB_VA01", "file"},
		{"upload cut short", "POST", "/k/v1/file.json", "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nx", []string{"Content-Type: multipart/form-data; boundary=b"}, 400, "CB_IL02", ""},

		{"missing record", "GET", "/k/v1/record.json?app=7&id=99", "", nil, 404, "GAIA_RE01", ""},
		{"record without id", "GET", "/k/v1/record.json?app=7", "", nil, 400, "CB_VA01", "id"},
		{"query that is none", "GET", "/k/v1/records.json?app=7&query=msgid+equals+%22a%22", "", nil, 400, "CB_VA01", "query"},
		{"query with a raw tab in a string", "GET", "/k/v1/records.json?app=7&query=msgid=%22%09%22", "", nil, 400, "CB_VA01", "query"},
		{"query of an unknown field", "GET", "/k/v1/records.json?app=7&query=nope=%22a%22", "", nil, 400, "GAIA_IQ11", ""},
		{"order by an unknown field", "GET", "/k/v1/records.json?app=7&query=order+by+nope", "", nil, 400, "GAIA_IQ11", ""},
		{"operator that the type lacks", "GET", "/k/v1/records.json?app=7&query=status=%22FINISHED%22", "", nil, 400, "GAIA_IQ03", ""},
		{"equals on long text", "GET", "/k/v1/records.json?app=7&query=content=%22a%22", "", nil, 400, "GAIA_IQ03", ""},
		{"limit 501", "GET", "/k/v1/records.json?app=7&query=limit+501", "", nil, 400, "GAIA_QU01", ""},
		{"limit -1", "GET", "/k/v1/records.json?app=7&query=limit+-1", "", nil, 400, "CB_VA01", "query"},
		{"offset 10001", "GET", "/k/v1/records.json?app=7&query=offset+10001", "", nil, 400, "GAIA_QU02", ""},
		{"selection of an unknown field", "GET", "/k/v1/records.json?app=7&fields[0]=nope", "", nil, 400, "GAIA_IQ11", ""},
		{"cursor with a limit", "POST", "/k/v1/records/cursor.json", `{"app":7,"query":"limit 5"}`, nil, 400, "CB_VA01", "query"},
		{"cursor of 501", "POST", "/k/v1/records/cursor.json", `{"app":7,"size":501}`, nil, 400, "CB_VA01", "size"},
		{"unknown cursor", "GET", "/k/v1/records/cursor.json?id=x", "", nil, 404, "GAIA_CN01", ""},
		{"closing an unknown cursor", "DELETE", "/k/v1/records/cursor.json", `{"id":"x"}`, nil, 404, "GAIA_CN01", ""},
	}
	srv := run(t, nil)
	if r := ask(t, srv, "POST", "/k/v1/records.json", records(log, `{"msgid":{"value":"m0"},"seq":{"value":1}}`, `{"msgid":{"value":"m1"},"seq":{"value":2}}`)); r.status != 200 {
		t.Fatal(r.text)
	}
	before := srv.Rows(log)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := ask(t, srv, test.method, test.path, test.body, test.headers...)
			if r.status != test.status || r.code() != test.code || r.paths() != test.paths {
				t.Errorf("got %d %s [%s], want %d %s [%s]", r.status, r.code(), r.paths(), test.status, test.code, test.paths)
			}
			if r.header.Get("X-Cybozu-Error") != test.code || r.header.Get("X-ConcurrencyLimit-Limit") != "100" || r.header.Get("X-ConcurrencyLimit-Running") == "" {
				t.Errorf("headers are not those of the service: %v", r.header)
			}
		})
	}
	if diff := cmp.Diff(before, srv.Rows(log)); diff != "" {
		t.Errorf("a refused call has changed something (-before +after):\n%s", diff)
	}
}
