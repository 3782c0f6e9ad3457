package sdk_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

func TestRetryAfter(t *testing.T) {
	const date = "Sun, 22 Nov 2026 10:00:00 GMT"
	for _, c := range []struct {
		after, date string
		want        time.Duration
	}{
		{"", date, 0},
		{"120", date, 2 * time.Minute},
		{" 7 ", "", 7 * time.Second},
		{"0", date, 0},
		{"-5", date, 0},
		{"1.5", date, 0},
		{"999999999999999999", date, 24 * time.Hour},
		{"99999999999999999999", date, 0},
		{"Sun, 22 Nov 2026 10:05:00 GMT", date, 5 * time.Minute},
		{"Sunday, 22-Nov-26 10:05:00 GMT", date, 5 * time.Minute}, // the two old forms of a date
		{"Sun Nov 22 10:05:00 2026", date, 5 * time.Minute},
		{"Sun, 22 Nov 2026 09:59:00 GMT", date, 0},
		{"Sun, 29 Nov 2026 10:00:00 GMT", date, 24 * time.Hour},
		{"Sun, 22 Nov 2026 10:05:00 GMT", "", 0},
		{"tomorrow", date, 0},
	} {
		h := http.Header{}
		h.Set("Retry-After", c.after)
		h.Set("Date", c.date)
		if got := sdk.RetryAfter(h); got != c.want {
			t.Errorf("%q at %q: got %v, want %v", c.after, c.date, got, c.want)
		}
	}
}
