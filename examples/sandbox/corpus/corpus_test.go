package corpus

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

var start = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)

func options(messages int) Options {
	return Options{Messages: messages, Seed: 9, Start: start, Until: start.Add(5 * time.Hour)}
}

func generate(t *testing.T, o Options) (*wecomsim.Corp, *truth.Truth) {
	t.Helper()
	corp, tr, err := Generate(o)
	if err != nil {
		t.Fatal(err)
	}
	return corp, tr
}

func TestSmallestHoldsEverything(t *testing.T) {
	_, tr := generate(t, options(Smallest))
	statuses, kinds, places := map[string]int{}, map[string]int{}, map[string]int{}
	for _, m := range tr.Messages {
		if m.Row == nil {
			statuses[m.Raw]++
			continue
		}
		statuses[m.Row.Status]++
		kinds[m.Row.Type]++
		for _, f := range m.Files {
			places[f.To]++
		}
	}
	want := map[string]int{
		truth.Finished: 192, truth.Unmatched: 2, truth.Expired: 2, truth.Waiting: 1, truth.TypeUnknown: 1, truth.FieldMissing: 1,
		truth.DecryptFailed: 1,
	}
	if diff := cmp.Diff(want, statuses); diff != "" {
		t.Errorf("statuses (-want +got):\n%s", diff)
	}
	if got := len(tr.Holes); got != 3 || tr.First != 1 || tr.Last != 203 {
		t.Errorf("got %d holes in %d-%d, want 3 in 1-203", got, tr.First, tr.Last)
	}
	if places[truth.OSS] != 8 || places[truth.Kintone] < 50 {
		t.Errorf("got files %v, want 8 large ones and at least 50 small ones", places)
	}
	for _, m := range mix10k {
		if kinds[m.kind] == 0 {
			t.Errorf("no message of type %s", m.kind)
		}
	}
}

// The sum is that of every message and every file; it changes only with the generator.
func TestSameSeedSameBytes(t *testing.T) {
	sum := func(seed uint64) string {
		o := options(Smallest)
		o.Seed = seed
		corp, tr := generate(t, o)
		h := sha256.New()
		for _, m := range corp.Messages {
			fmt.Fprintln(h, m.Seq, m.MsgID, m.KeyVersion, m.Time.UnixMilli(), m.EndsPage, m.Damage, string(m.Plain))
		}
		if err := json.NewEncoder(h).Encode(tr); err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(h.Sum(nil))
	}
	const want = "c01534895b429f9b798aa02b4718b07bff46b711321bdcb436228250a24bfd34"
	if got := sum(9); got != want {
		t.Errorf("got corpus %s, want %s", got, want)
	}
	if sum(9) == sum(10) {
		t.Error("two seeds gave the same corpus")
	}
}

// What the simulator serves is what the truth says.
func TestTruthTellsOfTheFiles(t *testing.T) {
	corp, tr := generate(t, options(Smallest))
	served := map[string]int64{} // SHA-256 of what can be had at the truth's instant
	for id, m := range corp.Media {
		if m.AvailableFrom.After(tr.Holds) {
			continue
		}
		content := m.Content
		for _, v := range m.Versions {
			content = v.Content
		}
		h := sha256.New()
		n, err := io.Copy(h, io.NewSectionReader(content, 0, m.Size))
		if err != nil || n != m.Size {
			t.Fatalf("file %s: %d bytes, %v", id, n, err)
		}
		served[hex.EncodeToString(h.Sum(nil))] = m.Size
	}
	for _, m := range tr.Messages {
		for _, f := range m.Files {
			switch {
			case f.To == truth.Nowhere:
				if f.SHA256 != "" {
					t.Errorf("seq %d: a file that goes nowhere has a sum", m.Seq)
				}
			case served[f.SHA256] != f.Size:
				t.Errorf("seq %d file %d: got size %d from the simulator, want %d", m.Seq, f.Index, served[f.SHA256], f.Size)
			case (f.Size >= truth.Threshold) != (f.To == truth.OSS):
				t.Errorf("seq %d file %d: %d bytes go to %s", m.Seq, f.Index, f.Size, f.To)
			}
		}
	}
}

func TestTimesLeaveRoom(t *testing.T) {
	for _, run := range []time.Duration{3 * time.Minute, 5 * time.Hour, 125 * time.Hour} {
		o := options(Smallest)
		o.Until = start.Add(run)
		corp, tr := generate(t, o)
		for i, m := range corp.Messages {
			status := ""
			if row := tr.Messages[i].Row; row != nil {
				status = row.Status
			}
			deadline := m.Time.Add(120 * time.Hour)
			switch status {
			case truth.Expired:
				if !deadline.After(start.Add(min(run/2, 3*time.Hour))) || !deadline.Before(tr.Holds) {
					t.Errorf("run %s: seq %d expires at %s, not late in the run", run, m.Seq, deadline.Sub(start))
				}
			case truth.Waiting:
				if deadline.Before(tr.Holds.Add(24 * time.Hour)) {
					t.Errorf("run %s: seq %d still waits at the end, but has only %s left", run, m.Seq, deadline.Sub(tr.Holds))
				}
			default:
				if !deadline.After(start.Add(20 * time.Hour)) {
					t.Errorf("run %s: seq %d has only %s to be fetched in", run, m.Seq, deadline.Sub(start))
				}
			}
			if run < polled && m.Time.After(start.Add(run/10)) {
				t.Errorf("run %s: seq %d comes in after %s, when nobody asks again", run, m.Seq, m.Time.Sub(start))
			}
			if m.Time.After(tr.Holds.Add(-run / 3)) {
				t.Errorf("run %s: seq %d comes in only %s before the end", run, m.Seq, tr.Holds.Sub(m.Time))
			}
		}
	}
}

func TestOrder(t *testing.T) {
	corp, tr := generate(t, options(Smallest))
	pages, turns := 1, 0
	ids := map[string]uint64{}
	for i, m := range corp.Messages {
		if i > 0 {
			before := corp.Messages[i-1]
			if m.Seq <= before.Seq || m.Time.Before(before.Time) {
				t.Errorf("seq %d comes behind %d", m.Seq, before.Seq)
			}
			if before.EndsPage {
				pages++
			}
			if before.KeyVersion != m.KeyVersion {
				if turns++; before.EndsPage {
					t.Errorf("the key changes between two pages, at seq %d", m.Seq)
				}
			}
		}
		if slices.Contains(tr.Holes, m.Seq) {
			t.Errorf("seq %d is a hole and a message", m.Seq)
		}
		if ids[m.MsgID] != 0 {
			t.Errorf("seq %d has the msgid of %d", m.Seq, ids[m.MsgID])
		}
		ids[m.MsgID] = m.Seq
	}
	if pages < 4 || turns != 1 {
		t.Errorf("got %d pages and %d changes of key, want at least 4 and 1", pages, turns)
	}
	forward, backward, outside := 0, 0, 0
	for _, m := range tr.Messages {
		if m.Row == nil || m.Row.Type != "revoke" {
			continue
		}
		var original struct {
			ID string `json:"pre_msgid"`
		}
		if err := json.Unmarshal([]byte(m.Row.Content), &original); err != nil {
			t.Fatal(err)
		}
		switch seq := ids[original.ID]; {
		case seq == 0:
			outside++
		case seq < m.Seq:
			forward++
		default:
			backward++
		}
	}
	if forward == 0 || backward == 0 || outside == 0 {
		t.Errorf("got %d recalls behind, %d before and %d without their original, want some of each", forward, backward, outside)
	}
}

func TestNothingPublicHoldsAReference(t *testing.T) {
	_, tr := generate(t, options(Smallest))
	needled := 0
	for _, m := range tr.Messages {
		if len(m.Needles) > 0 {
			needled++
		}
		if m.Row != nil && strings.Contains(m.Row.Content, `sdkfileid":"C`) {
			t.Errorf("seq %d: content holds an sdkfileid", m.Seq)
		}
	}
	if needled != len(tr.Messages) {
		t.Errorf("%d of %d messages can be searched for", needled, len(tr.Messages))
	}
}

func TestOtherStatuses(t *testing.T) {
	_, tr := generate(t, options(Smallest))
	got := map[string]int{}
	for _, m := range tr.Messages {
		if m.Row != nil && m.Row.StatusWithoutOSS != m.Row.Status {
			got["without "+m.Row.StatusWithoutOSS]++
		}
		if m.Row != nil && m.Row.StatusOSSAway != m.Row.Status {
			got["away "+m.Row.StatusOSSAway]++
		}
	}
	want := map[string]int{"without FILE_OSS_UNDEFINED": 8, "away FILE_WAITING": 5, "away FILE_UPLOAD_FAILED": 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestContentReadsLikeAFile(t *testing.T) {
	for _, size := range []int64{0, 1, 7, 41, 42, 43, 1000, 8191} {
		c := content{head("gif"), 5, size}
		whole := make([]byte, size)
		if n, err := c.ReadAt(whole, 0); n != int(size) {
			t.Fatalf("size %d: got %d bytes, %v", size, n, err)
		}
		if err := iotest.TestReader(io.NewSectionReader(c, 0, size), whole); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
	}
}

func TestLateKey(t *testing.T) {
	o := options(Smallest)
	o.LateKey = true
	_, tr := generate(t, o)
	late := 0
	for _, m := range tr.Messages {
		if m.KeyVersion == LateKeyVersion {
			if late++; m.Raw != truth.Decoded || m.Row == nil {
				t.Errorf("seq %d: raw %s", m.Seq, m.Raw)
			}
		}
	}
	if late == 0 {
		t.Error("no message has the late key")
	}
}

func TestRefusesWhatHoldsNotEverything(t *testing.T) {
	for name, o := range map[string]Options{
		"few messages": options(Smallest - 1),
		"no time":      {Messages: Smallest, Start: start, Until: start},
	} {
		if _, _, err := Generate(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTruthSurvivesTheDisk(t *testing.T) {
	_, tr := generate(t, options(Smallest))
	path := t.TempDir() + "/truth.json"
	if err := tr.Write(path); err != nil {
		t.Fatal(err)
	}
	back, err := truth.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(tr, back) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(tr, back))
	}
}

func TestServedRowsDoNotDependOnTheServer(t *testing.T) {
	corp, tr := generate(t, options(Smallest))
	var sums [2][]string
	for i := range sums {
		if err := NoteServed(corp, tr); err != nil {
			t.Fatal(err)
		}
		for _, m := range tr.Messages {
			sums[i] = append(sums[i], m.Served)
		}
	}
	if diff := cmp.Diff(sums[0], sums[1]); diff != "" {
		t.Errorf("two servers (-first +second):\n%s", diff)
	}
}
