package wecomsim

import (
	"encoding/base64"
	"fmt"
	"time"
)

// What a company remembers between requests: its token, its limits and its counters.

// newToken returns the token in force and the life left to it.
func (c *corp) newToken(now time.Time, lives time.Duration) (string, time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == "" || !now.Before(c.expires) {
		c.tokens++
		random := &stream{seed: fmt.Sprintf("%s token %d %s", c.Seed, c.tokens, c.ID)}
		// The library puts a token into the address as it is (observed), so it has no "+" and no "/".
		c.token, c.expires = base64.RawURLEncoding.EncodeToString(random.bytes(48)), now.Add(lives)
		c.old[c.token] = true
	}
	c.calls.Tokens++
	return c.token, c.expires.Sub(now)
}

// knows tells whether a token was ever the company's.
func (c *corp) knows(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.old[token]
}

func (c *corp) check(token string, now time.Time) (errcode int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case token != c.token:
		return badToken
	case !now.Before(c.expires):
		return tokenExpired
	}
	return ok
}

func (c *corp) revoke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = ""
}

// enter counts a request in, leave counts it out.
func (c *corp) enter(endpoint string, most int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy[endpoint] >= most {
		return false
	}
	c.busy[endpoint]++
	return true
}

func (c *corp) leave(endpoint string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy[endpoint]--
}

// admitPage holds the limit of 600 pages in any 60 seconds.
func (c *corp) admitPage(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.recent) > 0 && now.Sub(c.recent[0]) >= time.Minute {
		c.recent = c.recent[1:]
	}
	if len(c.recent) >= pagesPerMinute {
		return false
	}
	c.recent = append(c.recent, now)
	return true
}

// admitMedia returns the errcode for a request for a file at an instant. 301048 is what the library turns into 10010, data
// older than 5 days (observed).
func (c *corp) admitMedia(fileID string, m Media, now time.Time) (errcode int) {
	c.mu.Lock()
	c.asked[fileID]++
	call := c.asked[fileID]
	c.mu.Unlock()
	switch {
	case now.Sub(m.Time) > keeps:
		return tooOld
	case now.Before(m.AvailableFrom) && m.Early != 0:
		return m.Early
	case now.Before(m.AvailableFrom):
		return busy
	case m.Fail != nil:
		return m.Fail(call)
	}
	return ok
}

func (c *corp) count(f func(*Calls)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.calls)
}

func (c *corp) countPage(seq uint64, rows int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.Pages++
	c.calls.Rows += rows
	if rows == 0 {
		return
	}
	if c.pages[seq] {
		c.calls.PagesAgain++
	}
	c.pages[seq] = true
}

func (c *corp) countShard(fileID string, first int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls.Shards++
	key := fmt.Sprintf("%s %d", fileID, first)
	if c.shards[key] {
		c.calls.ShardsAgain++
	}
	c.shards[key] = true
}
