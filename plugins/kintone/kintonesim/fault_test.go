package kintonesim_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
)

func TestConcurrency(t *testing.T) {
	srv := run(t, func(o *kintonesim.Options) { o.Concurrency = 3 })
	lift := srv.Fault(kintonesim.Fault{Kind: kintonesim.Hang, Path: "/record.json"})
	// On a connection of its own each: Go sends a GET again when a used one breaks.
	once := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var hung sync.WaitGroup
	for range 3 {
		hung.Go(func() {
			resp, err := once.Get(srv.URL + "/k/v1/record.json")
			if err == nil {
				resp.Body.Close()
				t.Error("a hung call was answered")
			}
		})
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		r := ask(t, srv, "GET", "/k/v1/records.json?app=7", "")
		if r.status == 429 {
			if r.code() != "GAIA_TO04" || r.header.Get("X-ConcurrencyLimit-Limit") != "3" || r.header.Get("X-ConcurrencyLimit-Running") != "4" {
				t.Errorf("got %s %v", r.text, r.header)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the fourth call at once is never refused")
		}
	}
	lift()
	hung.Wait()
}

func TestFaults(t *testing.T) {
	srv := run(t, nil)
	put := func(i int) (*http.Response, error) {
		req, _ := http.NewRequest("PUT", srv.URL+"/k/v1/records.json", strings.NewReader(upsert(log, keyed("msgid", fmt.Sprint(i), "{}"))))
		req.Header.Set("X-Cybozu-API-Token", "log")
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return resp, err
	}

	lift := srv.Fault(kintonesim.Fault{Kind: kintonesim.Lost, Method: "PUT", Count: 1})
	if _, err := put(1); err == nil || len(srv.Rows(log)) != 1 {
		t.Errorf("lost: got %v and %d rows, want an error and 1 row", err, len(srv.Rows(log)))
	}
	if _, err := put(1); err != nil || srv.Counters().Repeated != 1 {
		t.Errorf("after one lost answer: %v", err)
	}
	lift()

	lift = srv.Fault(kintonesim.Fault{Kind: kintonesim.Refuse})
	if _, err := put(2); err == nil {
		t.Error("refused: got an answer")
	}
	lift()
	if _, err := put(2); err != nil {
		t.Errorf("after refusing: %v", err)
	}

	lift = srv.Fault(kintonesim.Fault{Kind: kintonesim.Maintenance})
	if r := ask(t, srv, "GET", "/k/v1/records.json?app=7", ""); r.status != 503 || r.body != nil || !strings.Contains(r.text, "<html>") {
		t.Errorf("maintenance: got %d %s", r.status, r.text)
	}
	lift()

	lift = srv.Fault(kintonesim.Fault{Kind: kintonesim.Locked, Path: "/records.json", Every: 3})
	var codes []int
	for i := range 7 {
		resp, err := put(i)
		if err != nil {
			t.Fatal(err)
		}
		codes = append(codes, resp.StatusCode)
	}
	if diff := cmp.Diff([]int{200, 200, 400, 200, 200, 400, 200}, codes); diff != "" {
		t.Errorf("every third call locked (-want +got):\n%s", diff)
	}
	lift()

	var names []string
	for _, c := range srv.Calls() {
		names = append(names, fmt.Sprint(c.Name, " ", c.Rows, " ", c.Status, c.Code))
	}
	if got := strings.Join(names[:3], "; "); got != "PUT records.json 1 200; PUT records.json 1 200; PUT records.json 1 200" {
		t.Errorf("log: %s", got)
	}
	if c := srv.Counters(); c.Refused["GAIA_DA02"] != 2 || c.Calls["GET records.json 503"] != 1 {
		t.Errorf("got %+v", c)
	}
}

func TestTamper(t *testing.T) {
	srv := run(t, nil)
	ask(t, srv, "POST", "/k/v1/records.json", records(log, many(3, msgid)...))
	ask(t, srv, "PUT", "/k/v1/record.json", `{"app":7,"id":1,"record":`+attach(upload(t, srv, "a.txt", "content"))+`}`)
	err := srv.Tamper(log, func(rows []kintonesim.Row) []kintonesim.Row {
		files := rows[0].Values["file"].([]kintonesim.File)
		files[0].Content = bytes.ToUpper(files[0].Content)
		rows[1].Values["status"] = "FILE_WAITING"
		return append(rows[:2], rows[1]) // changed, doubled, removed
	})
	if err != nil {
		t.Fatal(err)
	}
	r := ask(t, srv, "GET", "/k/v1/records.json?app=7&fields[0]=$id&fields[1]=msgid&fields[2]=status&fields[3]=file&query=order+by+$id+asc", "")
	var got []string
	for _, item := range r.body["records"].([]any) {
		cells := item.(map[string]any)
		value := func(code string) any { return cells[code].(map[string]any)["value"] }
		row := fmt.Sprint(value("$id"), value("msgid"), value("status"))
		if files := value("file").([]any); len(files) > 0 {
			row += ask(t, srv, "GET", "/k/v1/file.json?fileKey="+files[0].(map[string]any)["fileKey"].(string), "").text
		}
		got = append(got, row)
	}
	if diff := cmp.Diff([]string{"1m0<nil>CONTENT", "2m1FILE_WAITING", "4m1FILE_WAITING"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if srv.Tamper(99, func(r []kintonesim.Row) []kintonesim.Row { return r }) == nil {
		t.Error("an app that is not there can be tampered with")
	}
}
