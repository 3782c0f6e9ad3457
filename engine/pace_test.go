package engine

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/sdk"
)

func TestPaceSpreadsCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPace(&sdk.Clock{}, lang.Limit{Count: 600, Per: time.Minute})
		begun := time.Now()
		for range 11 {
			if err := p.wait(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Since(begun); got != time.Second {
			t.Errorf("11 calls took %s, want 1s", got)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := p.wait(ctx); err == nil {
			t.Error("an ended context does not end the wait")
		}
	})
	if p := newPace(nil, lang.Limit{}); p.wait(context.Background()) != nil {
		t.Error("no limit, but a wait")
	}
}
