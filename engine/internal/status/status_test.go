package status_test

import (
	"slices"
	"testing"

	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
)

func TestOf(t *testing.T) {
	const sha = "9f86d081"
	bytes := func(i int) status.File { return status.File{Index: i, HasBytes: true, SHA256: sha} }
	with := func(i int, o sdk.FileOutcome) status.File { return status.File{Index: i, Outcome: o} }
	rows := []struct {
		name     string
		files    []status.File
		flags    string
		receipts []status.Receipt
		want     string
	}{
		{"no files", nil, "", nil, status.Finished},
		{"no files, type unknown over field missing", nil, "FIELD_MISSING,TYPE_UNKNOWN", nil, status.TypeUnknown},
		{"field missing, spaces", nil, "truncated, FIELD_MISSING", nil, status.FieldMissing},
		{"other flags are no status", nil, "truncated,X_TYPE_UNKNOWN", nil, status.Finished},
		{"bytes and no receipt: the asking sink carries it", []status.File{bytes(0)}, "", nil, status.Finished},
		{"no bytes, nothing known", []status.File{{}}, "", nil, status.FileWaiting},
		{"known from before, but nobody says it is stored", []status.File{{SHA256: sha}}, "", nil, status.FileWaiting},
		{"stored before", []status.File{with(0, sdk.FileStored)}, "", nil, status.Finished},
		{"waiting", []status.File{with(0, sdk.FileWaiting)}, "TYPE_UNKNOWN", nil, status.FileWaiting},
		{"expired", []status.File{with(0, sdk.FileExpired)}, "TYPE_UNKNOWN", nil, status.FileExpired},
		{"mismatched", []status.File{{Outcome: sdk.FileMismatched, HasBytes: true}}, "", nil, status.FileMismatched},
		{"undefined before", []status.File{with(0, sdk.FileUndefined)}, "", nil, status.FileUndefined},
		{"an outcome from the future is never finished", []status.File{with(0, "melted")}, "", nil, status.FileWaiting},

		{"delivered", []status.File{bytes(0)}, "", []status.Receipt{{State: status.Delivered, Files: []int{0}}}, status.Finished},
		{"delivered in an earlier pass", []status.File{{SHA256: sha}}, "", []status.Receipt{{State: status.Delivered, Files: []int{0}}}, status.Finished},
		{"delivered in an earlier pass, fetch failed now", []status.File{{SHA256: sha, Outcome: sdk.FileWaiting}}, "",
			[]status.Receipt{{State: status.Delivered, Files: []int{0}}}, status.Finished},
		{"delivered row, file never had bytes", []status.File{{}}, "", []status.Receipt{{State: status.Delivered, Files: []int{0}}}, status.FileWaiting},
		{"delivered row, file expired", []status.File{with(0, sdk.FileExpired)}, "", []status.Receipt{{State: status.Delivered, Files: []int{0}}}, status.FileExpired},
		{"delivered stays mismatched", []status.File{{Outcome: sdk.FileMismatched, HasBytes: true, SHA256: sha}}, "",
			[]status.Receipt{{State: status.Delivered, Files: []int{0}}}, status.FileMismatched},
		{"owed", []status.File{bytes(0)}, "", []status.Receipt{{State: status.Owed, Files: []int{0}}}, status.FileWaiting},
		{"mismatched and owed is open", []status.File{{Outcome: sdk.FileMismatched, HasBytes: true}}, "",
			[]status.Receipt{{State: status.Owed, Files: []int{0}}}, status.FileWaiting},
		{"kept", []status.File{bytes(0)}, "", []status.Receipt{{State: status.Kept, Files: []int{0}}}, status.FileUploadFailed},
		{"rejected", []status.File{bytes(0)}, "", []status.Receipt{{State: status.Rejected, Files: []int{0}}}, status.FileUploadFailed},
		{"disabled", []status.File{{}}, "", []status.Receipt{{State: status.Disabled, Files: []int{0}}}, status.FileUndefined},
		{"disabled, expired before", []status.File{with(0, sdk.FileExpired)}, "", []status.Receipt{{State: status.Disabled, Files: []int{0}}}, status.FileExpired},
		{"passed by concerns nothing", []status.File{bytes(0)}, "", []status.Receipt{{State: status.Passed, Files: []int{0}}}, status.Finished},
		{"a receipt without state is not stored", []status.File{bytes(0)}, "", []status.Receipt{{Files: []int{0}}}, status.FileWaiting},
		{"a receipt about another file", []status.File{bytes(0)}, "", []status.Receipt{{State: status.Owed, Files: []int{1}}}, status.Finished},
		{"the worse of two receipts", []status.File{bytes(0)}, "",
			[]status.Receipt{{State: status.Delivered, Files: []int{0}}, {State: status.Rejected, Files: []int{0}}}, status.FileUploadFailed},

		{"waiting over upload failed", []status.File{bytes(0), with(1, sdk.FileWaiting)}, "",
			[]status.Receipt{{State: status.Kept, Files: []int{0}}}, status.FileWaiting},
		{"upload failed over expired", []status.File{bytes(0), with(1, sdk.FileExpired)}, "",
			[]status.Receipt{{State: status.Kept, Files: []int{0}}}, status.FileUploadFailed},
		{"expired over undefined", []status.File{{}, with(1, sdk.FileExpired)}, "",
			[]status.Receipt{{State: status.Disabled, Files: []int{0}}}, status.FileExpired},
		{"undefined over mismatched", []status.File{{}, with(1, sdk.FileMismatched)}, "",
			[]status.Receipt{{State: status.Disabled, Files: []int{0}}}, status.FileUndefined},
		{"one of two open", []status.File{bytes(0), {Index: 1}}, "", nil, status.FileWaiting},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got := status.Of(status.Record{Files: row.files, Flags: row.flags}, row.receipts...)
			if got != row.want {
				t.Errorf("got %s, want %s", got, row.want)
			}
		})
	}
}

// Whatever comes in, the answer is of the closed set, and FINISHED only if each file is stored.
func TestClosed(t *testing.T) {
	outcomes := []sdk.FileOutcome{"", sdk.FileWaiting, sdk.FileStored, sdk.FileMismatched, sdk.FileExpired, sdk.FileUndefined, sdk.FileUploadFailed, "?"}
	states := []string{"", status.Delivered, status.Passed, status.Rejected, status.Owed, status.Kept, status.Disabled, "?"}
	for _, o := range outcomes {
		for _, state := range states {
			for _, b := range []bool{false, true} {
				f := status.File{Outcome: o, HasBytes: b}
				got := status.Of(status.Record{Files: []status.File{f}}, status.Receipt{State: state, Files: []int{0}})
				if !slices.Contains(status.All(), got) {
					t.Errorf("outcome %q, receipt %q: %s is not of the closed set", o, state, got)
				}
				stored := b && (state == status.Delivered && o != sdk.FileMismatched || state == status.Passed && o == "") ||
					o == sdk.FileStored && (state == status.Passed || state == status.Delivered)
				if (got == status.Finished) != stored {
					t.Errorf("outcome %q, receipt %q, bytes %v: got %s", o, state, b, got)
				}
			}
		}
	}
}
