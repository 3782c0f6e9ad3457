package wecom

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

// archive is a service that answers a page, and to a file the shards that script says.
type archive struct {
	page   []byte
	script []byte
	asked  int
}

func (a *archive) ChatData(context.Context, uint64, int) ([]byte, error) { return a.page, nil }
func (a *archive) Close() error                                          { return nil }

// Media answers by the next byte of the script: a shard, the last one, or an error.
func (a *archive) Media(_ context.Context, _, index string) (finance.Shard, error) {
	do := byte(0x80)
	if a.asked < len(a.script) {
		do = a.script[a.asked]
	}
	a.asked++
	data := []byte(strings.Repeat(strconv.Itoa(len(index)%10), int(do&0x0f)))
	switch do >> 4 {
	case 0, 1, 2, 3:
		return finance.Shard{Data: data, Next: index + "x"}, nil
	case 4:
		return finance.Shard{}, &finance.Error{Op: "getchatmediadata", Code: finance.TooOld, Class: finance.Permanent}
	case 5:
		return finance.Shard{}, &finance.Error{Op: "getchatmediadata", Code: 45009, Class: finance.Throttled}
	case 6:
		return finance.Shard{}, &finance.Error{Op: "getchatmediadata", Code: finance.Network, Class: finance.Retry}
	case 7:
		return finance.Shard{}, &finance.Error{Op: "getchatmediadata", Code: finance.NotTrustedIP, Class: finance.Config}
	}
	return finance.Shard{Data: data, Done: true}, nil
}

// FuzzWeCom cuts what comes as a page into pages with positions, and fetches a file in whatever shards come.
func FuzzWeCom(f *testing.F) {
	names, err := filepath.Glob("*/testdata/*.json")
	more, _ := filepath.Glob("finance/testdata/pages/*.json")
	if err != nil || len(more) == 0 {
		f.Fatal("no pages", err)
	}
	for i, name := range append(names, more...) {
		page, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		if strings.Contains(name, "getchatdata") {
			f.Add(page, uint64(i), []byte{5, 0x63, 7, 0x83}, false)
		}
	}
	row := func(seq, id string) string { return `{"seq":` + seq + `,"msgid":"` + id + `"}` }
	page := func(rows ...string) []byte {
		return []byte(`{"errcode":0,"chatdata":[` + strings.Join(rows, ",") + `]}`)
	}
	f.Add(page(row("5", "a"), row("3", "b"), row("9", "a"), row("9", "a"), row("4", "c")), uint64(2), []byte{0x40}, true)
	f.Add(page(row("0", "a"), row("18446744073709551615", "b")), uint64(1), []byte{0x70, 0x50, 0x60}, false)
	var many []string
	for i := range 1200 {
		many = append(many, row(strconv.Itoa((i*7919)%1201), "m"+strconv.Itoa(i)))
	}
	f.Add(page(many...), uint64(0), []byte{0x0f, 0x0f, 0x60, 0x60, 0x60, 0x01, 0x8f}, false)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, body []byte, seq uint64, script []byte, final bool) {
		checkPages(t, body, seq)
		synctest.Test(t, func(t *testing.T) { checkMedia(t, dir, script, final) })
	})
}

// checkPages wants that no position passes by a row that has not been sent, and every row once.
func checkPages(t *testing.T, body []byte, seq uint64) {
	rows, err := finance.ParsePage(body)
	if err != nil {
		return
	}
	c := &chat{env: &sdk.Env{Clock: &sdk.Clock{}}}
	pages := c.pages(rows, seq)
	sent := map[string]bool{}
	last, size := seq, 0
	for i, p := range pages {
		at, err := strconv.ParseUint(string(p.Position), 10, 64)
		if err != nil || at < last {
			t.Fatalf("position %q after %d", p.Position, last)
		}
		last = at
		if len(p.Records) > partRecords || p.Drained != (len(rows) == 0) || len(p.Records) == 0 && i+1 < len(pages) {
			t.Errorf("page %d of %d has %d records, drained %v", i, len(pages), len(p.Records), p.Drained)
		}
		bytes := 0
		for _, r := range p.Records {
			bytes += len(r.Body)
			sent[r.ID+"\x00"+string(r.Body)] = true
			size++
			if r.ID == "" || r.Kind != RawKind {
				t.Errorf("got %+v", r)
			}
		}
		if bytes > partBytes && len(p.Records) > 1 {
			t.Errorf("page %d has %d bytes", i, bytes)
		}
		for _, row := range rows { // a row at or below the position is here already, or was below it from the start
			if row.Seq <= at && row.Seq > seq && !sent[row.MsgID+"\x00"+string(row.Raw)] {
				t.Fatalf("position %d passes by row %d", at, row.Seq)
			}
		}
	}
	want := map[string]bool{}
	for _, row := range rows {
		want[row.MsgID+"\x00"+string(row.Raw)] = true
	}
	if len(sent) != len(want) || size > len(rows) {
		t.Errorf("%d rows, %d of them different, became %d records of %d", len(rows), len(want), size, len(sent))
	}
}

// checkMedia fetches one file; time is that of a bubble, so that pauses cost nothing.
func checkMedia(t *testing.T, dir string, script []byte, final bool) {
	service := &archive{script: script}
	spool := sdk.OpenSpool(dir)
	m := &media{clock: &sdk.Clock{}, wait: time.Hour, again: []time.Duration{time.Minute}, told: map[string]time.Time{}}
	m.fetcher = newFetcher(service, spool, m.clock)
	defer m.fetcher.close()
	file := sdk.File{Index: 0, Size: -1, SizeClaimed: -1, Ref: sdk.NewSecret("secret-reference-0123456789")}
	row := sdk.Row{Record: sdk.Record{ID: "m", Time: time.Now(), Files: []sdk.File{file}}, Final: final}
	var o sdk.Outcome
	if err := m.Apply(t.Context(), sdk.NewCall([]sdk.Row{row}, time.Now(), false, func(_ int, got sdk.Outcome) { o = got })); err != nil {
		t.Fatal(err)
	}
	if o.Verdict != sdk.VerdictDone || len(o.Outputs) != 1 {
		t.Fatalf("got %+v", o)
	}
	for _, e := range o.Events {
		if strings.Contains(e.Attrs["error"], file.Ref.Reveal()) || len(e.Attrs["error"]) > 200 {
			t.Errorf("an event says %q", e.Attrs["error"])
		}
	}
	got := o.Outputs[0].Files[0]
	if !got.HasBytes() {
		if got.Outcome == sdk.FileWaiting != o.Revisit || o.Revisit && (o.After <= 0 || o.Due.IsZero()) || got.Outcome == sdk.FileExpired && !final {
			t.Errorf("outcome %s, asked again %v after %v", got.Outcome, o.Revisit, o.After)
		}
		return
	}
	defer os.Remove(filepath.Join(dir, got.Spool))
	r, err := spool.Open(&got)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if want := expected(script); err != nil || string(content) != want || got.Size != int64(len(want)) || got.Outcome != "" {
		t.Errorf("got %q, %v, %d bytes, %s, want %q", content, err, got.Size, got.Outcome, want)
	}
}

// expected is the file that a script makes when every error is followed by another try, or "" with an error it cannot be told from.
func expected(script []byte) string {
	a := &archive{script: script}
	var b strings.Builder
	index := ""
	for {
		s, err := a.Media(context.Background(), "", index)
		var refusal *finance.Error
		if errors.As(err, &refusal) {
			continue
		}
		b.Write(s.Data)
		if s.Done {
			return b.String()
		}
		index = s.Next
	}
}
