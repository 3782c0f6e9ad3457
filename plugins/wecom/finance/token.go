package finance

import (
	"context"
	"errors"
	"sync"
	"time"
)

// renewal is how often a token may be renewed because the service refused one: too many calls of gettoken are blocked
// (official 91039).
const renewal = time.Minute

// A token is an access token that many calls share.
type token struct {
	now   func() time.Time
	fetch func(context.Context) (value string, lives time.Duration, err error)

	mu      sync.Mutex
	value   string
	expires time.Time
	renewed time.Time // when a refusal last led to a new one
	refused error     // what the service last answered instead of a token, remembered for a renewal
	asked   time.Time // when it answered that
}

// get returns a token that is not known to be stale, and fetches one if need be.
func (t *token) get(ctx context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.getLocked(ctx)
}

func (t *token) getLocked(ctx context.Context) (string, error) {
	now := t.now()
	if t.value != "" && now.Before(t.expires) {
		return t.value, nil
	}
	if t.refused != nil && now.Sub(t.asked) < renewal {
		return "", t.refused
	}
	value, lives, err := t.fetch(ctx)
	t.refused = nil
	if refusal := (*Error)(nil); errors.As(err, &refusal) && refusal.Class == Config {
		t.refused, t.asked = err, now
	}
	if err != nil {
		return "", err
	}
	t.value, t.expires = value, now.Add(lives)
	return value, nil
}

// replace returns another token than stale, which the service has refused. It answers ok = false when stale is itself the
// fruit of a renewal less than a minute ago: then the refusal stands.
func (t *token) replace(ctx context.Context, stale string) (value string, ok bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.value == stale {
		now := t.now()
		if !t.renewed.IsZero() && now.Sub(t.renewed) < renewal {
			return "", false, nil
		}
		t.renewed = now
		t.value = ""
	}
	value, err = t.getLocked(ctx)
	return value, err == nil, err
}
