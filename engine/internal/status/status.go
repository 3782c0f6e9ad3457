// Package status turns what is known about a record into its one status.
//
// It is the only place where file outcomes, receipts and flags become a status: the status(…) function of the language, sinks and
// reports all ask here, so that a chat row and a daily statement can never disagree. The set is closed; see [All].
package status

import (
	"slices"
	"strings"

	"github.com/weir-etl/weir/sdk"
)

// The statuses of a record. FileMismatched is spelled as the destination spells it.
const (
	Finished         = "FINISHED"
	FileWaiting      = "FILE_WAITING"
	FileUploadFailed = "FILE_UPLOAD_FAILED"
	FileExpired      = "FILE_EXPIRED"
	FileUndefined    = "FILE_OSS_UNDEFINED"
	FileMismatched   = "FILE_MD5SUM_UNMACHED"
	TypeUnknown      = "TYPE_UNKNOWN"
	FieldMissing     = "FIELD_MISSING"
)

// All lists the closed set, strongest first: a record has the first of these that applies to it.
func All() []string {
	return []string{FileWaiting, FileUploadFailed, FileExpired, FileUndefined, FileMismatched, TypeUnknown, FieldMissing, Finished}
}

// States of a receipt. A state not listed here counts as owed: what is not understood is never called stored.
const (
	Delivered = "delivered"
	Passed    = "passed"
	Rejected  = "rejected"
	Owed      = "owed"
	Kept      = "kept" // owed, and the bytes are kept sealed because the source's deadline is near or gone
	Disabled  = "disabled"
)

// Record is what counts about a record.
type Record struct {
	Files []File
	Flags string // meta "flags", separated by commas
}

// File is what counts about a file.
type File struct {
	Index    int
	Outcome  sdk.FileOutcome // as transforms and earlier receipts left it
	HasBytes bool            // its bytes travel with this pass
	SHA256   string          // found now or in an earlier pass
}

// Receipt is what one sink said about a record.
type Receipt struct {
	State string
	Files []int // indexes of the files it concerns
}

// Of returns the status of rec in the light of receipts.
//
// A file with bytes that no receipt concerns counts as stored, because the sink that asks carries it in the same row.
func Of(rec Record, receipts ...Receipt) string {
	worst := len(ranks)
	for _, f := range rec.Files {
		worst = min(worst, rank(outcome(f, receipts)))
	}
	if worst < len(ranks) {
		return ranks[worst].status
	}
	flags := strings.FieldsFunc(rec.Flags, func(r rune) bool { return r == ',' || r == ' ' })
	for _, s := range []string{TypeUnknown, FieldMissing} {
		if slices.Contains(flags, s) {
			return s
		}
	}
	return Finished
}

// ranks orders the outcomes that are not fine: open files first, then the worst file.
var ranks = [...]struct {
	outcome sdk.FileOutcome
	status  string
}{
	{sdk.FileWaiting, FileWaiting},
	{sdk.FileUploadFailed, FileUploadFailed},
	{sdk.FileExpired, FileExpired},
	{sdk.FileUndefined, FileUndefined},
	{sdk.FileMismatched, FileMismatched},
}

func rank(o sdk.FileOutcome) int {
	if o == sdk.FileStored {
		return len(ranks)
	}
	for i, r := range ranks {
		if r.outcome == o {
			return i
		}
	}
	return 0 // an outcome of a later version: certainly not finished
}

// outcome is where one file stands: what the receipts that concern it write, the worst of them, else what it brought along.
func outcome(f File, receipts []Receipt) sdk.FileOutcome {
	concerned := false
	var worst sdk.FileOutcome
	for _, r := range receipts {
		if r.State == Passed || !slices.Contains(r.Files, f.Index) {
			continue
		}
		if o := written(f, r.State); !concerned || rank(o) < rank(worst) {
			concerned, worst = true, o
		}
	}
	switch {
	case concerned:
		return worst
	case f.Outcome != "":
		return f.Outcome
	case f.HasBytes:
		return sdk.FileStored
	}
	return sdk.FileWaiting
}

// written is the outcome that a receipt in this state gives the file.
func written(f File, state string) sdk.FileOutcome {
	had := f.HasBytes || f.SHA256 != ""
	switch {
	case state == Delivered && f.Outcome == sdk.FileMismatched:
		return sdk.FileMismatched // the copy arrived, but it is not the one that was sent
	case state == Delivered && had:
		return sdk.FileStored
	case f.Outcome == sdk.FileExpired && !had:
		return sdk.FileExpired // no receipt brings back what the source no longer holds
	case state == Delivered && f.Outcome != "":
		return f.Outcome // the row arrived, this file never had bytes
	case state == Rejected || state == Kept:
		return sdk.FileUploadFailed
	case state == Disabled:
		return sdk.FileUndefined
	}
	return sdk.FileWaiting
}
