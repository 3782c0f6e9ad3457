package md5

import (
	"crypto/md5"
	"encoding/hex"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// FuzzMD5 judges two files of a record by rules that are told here once more, and plans what comes after.
func FuzzMD5(f *testing.F) {
	const a, b = "0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f"
	for _, claimed := range []string{a, b, "", "no md5", "\xff"} {
		f.Add([]byte("weir"), claimed, a, "mismatched", true, int64(1_700_000_000), "2026-11-22T10:00:00Z", 0, false)
		f.Add([]byte{}, claimed, b, "", false, int64(0), "said in confidence", 3, true)
	}
	f.Add([]byte{}, a, b, "", true, int64(-62135596800), "0001-01-01T00:00:00Z", 1<<40, false)
	f.Fuzz(func(t *testing.T, body []byte, claimed, found, outcome string, here bool, sent int64, fetched string, attempt int, final bool) {
		if attempt < 0 {
			return // the wire knows none
		}
		now := time.Unix(1_700_000_100, 0)
		one := sdk.File{MD5Claimed: claimed, MD5: found, Outcome: sdk.FileOutcome(outcome)}
		if here {
			one.Spool = "f-1"
		}
		good := sdk.File{Index: 1, MD5Claimed: "x", MD5: "x", Spool: "f-2"}
		r := sdk.Record{ID: "r", Body: body, Time: time.Unix(sent, 0), Files: []sdk.File{one, good}, Meta: map[string]string{"fetched_at": fetched}}
		if sent == 0 {
			r.Time = time.Time{}
		}
		o := apply(t, `{}`, now, sdk.Row{Record: r, Attempt: attempt, Final: final})[0]
		if r.Files[0] != one {
			t.Errorf("the row's file was written into: %+v", r.Files[0])
		}
		wrong := here && claimed != "" && claimed != found || !here && one.Outcome == sdk.FileMismatched
		switch {
		case o.Verdict != sdk.VerdictDone || len(o.Outputs) != 1:
			t.Fatalf("got %+v", o)
		case (o.Outputs[0].Files[0].Outcome == sdk.FileMismatched) != wrong || (o.Outputs[0].Meta["md5_outcome"] == Mismatched) != wrong:
			t.Errorf("claimed %q, found %q, here %v, %q: got %q, %s", claimed, found, here, outcome, o.Outputs[0].Files[0].Outcome, o.Outputs[0].Meta["md5_outcome"])
		case o.Outputs[0].Files[1].Outcome != "":
			t.Errorf("the other file is %s", o.Outputs[0].Files[1].Outcome)
		case o.Revisit && (!wrong || final || o.After <= 0 || !o.Due.After(now.Add(o.After))):
			t.Errorf("asked again after %v until %v", o.After, o.Due)
		case !o.Revisit && (o.After != 0 || !o.Due.IsZero()):
			t.Errorf("not asked again, after %v until %v", o.After, o.Due)
		}

		r.Files = nil
		o = apply(t, `{}`, now, sdk.Row{Record: r})[0]
		sum := md5.Sum(body)
		if len(o.Outputs) != 1 || o.Outputs[0].Meta["md5"] != hex.EncodeToString(sum[:]) || o.Revisit {
			t.Errorf("got %+v", o)
		}
	})
}
