// Package md5 is a transform that compares what a sender claimed with what arrived.
//
// A file whose md5 differs from the claimed one is not thrown away: it goes on at once with the outcome mismatched, and is asked
// for again later, because with WeCom a mismatch can disappear when the same file is downloaded a second time (wener.me, notes on
// the chat archive). A record without files gets the md5 of its body, which is handy for comparing pipelines.
//
// The judgement costs nothing: the md5 of a file was computed while it was written to the spool.
package md5

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Plugin offers transform "md5".
func Plugin() sdk.Plugin {
	return sdk.Plugin{Name: "md5", Version: "0.1.0", Components: []sdk.Component{{
		Kind: sdk.KindTransform,
		Type: "md5",
		Doc: "Compares the md5 of files with the claimed one; a copy that differs goes on at once and is fetched again later.\n\n" +
			"A record without files gets the md5 of its body in meta.md5.",
		Args: []sdk.Arg{
			{Name: "again", Type: sdk.Durs, Default: []string{"10m", "2h", "24h"},
				Doc: "Pauses before the planned second times of a file that differs; the last one repeats."},
			{Name: "until", Type: sdk.Dur, Default: "120h",
				Doc: "Age of a record at which planned second times end; WeCom keeps a file for 120 hours."},
		},
		Fields: []sdk.Field{
			{Name: "meta.md5_outcome", Type: sdk.String, Doc: "Of a record with files, the worst of mismatched, not_checkable, matched; absent while no file has been seen."},
			{Name: "meta.md5", Type: sdk.String, Doc: "Of a record without files: md5 of the body, lower-case hex."},
		},
		NewTransform: func() sdk.Transform { return &transform{} },
	}}}
}

// Values of meta.md5_outcome. A file that is not here and never was counts for nothing.
const (
	Matched      = "matched"
	NotCheckable = "not_checkable" // no md5 was claimed: WeCom gives none for recorded calls and may give "" for files
	Mismatched   = "mismatched"
)

type transform struct {
	again []time.Duration
	until time.Duration
}

// Open refuses an empty plan and pauses below a second.
func (t *transform) Open(_ context.Context, env *sdk.Env) error {
	args := struct {
		Again []sdk.Duration `json:"again"`
		Until sdk.Duration   `json:"until"`
	}{
		Again: []sdk.Duration{sdk.Duration(10 * time.Minute), sdk.Duration(2 * time.Hour), sdk.Duration(24 * time.Hour)},
		Until: sdk.Duration(120 * time.Hour),
	}
	if err := env.Decode(&args); err != nil {
		return err
	}
	if len(args.Again) == 0 {
		return fmt.Errorf("again: want at least one duration")
	}
	t.again = nil
	for _, d := range args.Again {
		if d.Std() < time.Second {
			return fmt.Errorf("again: %v is below one second", d.Std())
		}
		t.again = append(t.again, d.Std())
	}
	t.until = args.Until.Std()
	return nil
}

// Apply answers at once; it never fails.
func (t *transform) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		row := &call.Rows[i]
		r := row.Record
		if len(r.Files) == 0 {
			sum := md5.Sum(r.Body)
			r.SetMeta("md5", hex.EncodeToString(sum[:]))
			call.Answer(i, sdk.Emit(r))
			continue
		}
		r.Files = slices.Clone(r.Files)
		worst := judge(r.Files)
		r.SetMeta("md5_outcome", worst)
		answer := sdk.Emit(r)
		if worst == Mismatched && !row.Final {
			if pause, deadline, ok := t.next(row, call.Now); ok && row.Attempt > 0 && !slices.ContainsFunc(r.Files, hasBytes) {
				answer = sdk.Retry(pause, "MD5_MISMATCHED", nil) // nothing new: what was delivered stays
			} else if ok {
				answer = answer.AskAgain(pause, deadline)
			}
		}
		call.Answer(i, answer)
	}
	return nil
}

// Close does nothing.
func (t *transform) Close(context.Context) error { return nil }

// judge sets the outcomes of files and returns the worst verdict. A file without bytes keeps its outcome.
func judge(files []sdk.File) string {
	rank := 0
	for i := range files {
		f := &files[i]
		verdict := 0
		switch {
		case !f.HasBytes() && f.Outcome == sdk.FileMismatched:
			verdict = 3 // what an earlier pass delivered is still all there is
		case !f.HasBytes():
		case f.MD5Claimed == "":
			verdict = 2
		case f.MD5Claimed != f.MD5:
			f.Outcome, verdict = sdk.FileMismatched, 3
		default:
			verdict = 1
		}
		if verdict < 3 && f.Outcome == sdk.FileMismatched { // a better copy
			f.Outcome = ""
		}
		rank = max(rank, verdict)
	}
	return [...]string{"", Matched, NotCheckable, Mismatched}[rank]
}

// next is the next planned second time, while the deadline is ahead. A last one behind the deadline is moved in front of it by one
// first pause: at the deadline the file is gone.
func (t *transform) next(row *sdk.Row, now time.Time) (pause time.Duration, deadline time.Time, ok bool) {
	start := since(&row.Record)
	if start.IsZero() {
		return 0, time.Time{}, false
	}
	if deadline = start.Add(t.until); !deadline.After(now) { // long ago, the difference would not fit a Duration
		return 0, deadline, false
	}
	pause = min(t.again[min(row.Attempt, len(t.again)-1)], deadline.Sub(now)-t.again[0])
	return pause, deadline, pause > 0
}

func hasBytes(f sdk.File) bool { return f.HasBytes() }

// since is the instant that the deadline counts from: the record's time or, where it has none, when it was fetched.
func since(r *sdk.Record) time.Time {
	if !r.Time.IsZero() {
		return r.Time
	}
	fetched, _ := time.Parse(time.RFC3339Nano, r.Meta["fetched_at"])
	return fetched
}
