package sdk

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestWait bounds what a service may ask for: a nonsense number must not silence a step for ever.
const longestWait = 24 * time.Hour

// RetryAfter reads for how long an answer wants its service to be left alone: its header Retry-After, in seconds or as a date (RFC 9110,
// 10.2.3). A date is held against the answer's own Date, because the clocks of two machines differ; without that it says nothing. 0 = the
// answer does not say; more than a day is taken for a day. Give it to [Retry], or set it as After of what [Down] makes.
func RetryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		return time.Duration(min(seconds, uint64(longestWait/time.Second))) * time.Second
	}
	until, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	now, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0
	}
	return min(max(until.Sub(now), 0), longestWait)
}
