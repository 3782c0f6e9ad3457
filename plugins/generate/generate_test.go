package generate

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/sdk"
)

func open(t testing.TB, args string) sdk.Source {
	t.Helper()
	s := Plugin().Components[0].NewSource()
	if err := s.Open(context.Background(), &sdk.Env{Args: json.RawMessage(args)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// pages collects what a source emits; stop, if not nil, may end the reading.
type pages struct {
	all  []sdk.Page
	stop func()
}

func (p *pages) Emit(_ context.Context, page sdk.Page) error {
	p.all = append(p.all, page)
	if p.stop != nil {
		p.stop()
	}
	return nil
}

func (p *pages) records() (all []sdk.Record) {
	for _, page := range p.all {
		all = append(all, page.Records...)
	}
	return all
}

func read(t *testing.T, args string, position []byte) *pages {
	t.Helper()
	var out pages
	if err := open(t, args).Read(context.Background(), position, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestBodies(t *testing.T) {
	for _, size := range []int{64, 65, 1024, 300_000} {
		got := read(t, fmt.Sprintf(`{"count":3,"size":%d,"seed":-9223372036854775808}`, size), nil).records()
		if len(got) != 3 {
			t.Fatalf("size %d: got %d records, want 3", size, len(got))
		}
		for i, r := range got {
			var body struct {
				N, Seed int64
				Text    string
			}
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatalf("size %d: %v in %s", size, err, r.Body)
			}
			if len(r.Body) != size || body.N != int64(i+1) || r.Seq != uint64(i+1) || r.Kind != "generate/1" {
				t.Errorf("size %d: got %d bytes, n %d, seq %d, kind %s", size, len(r.Body), body.N, r.Seq, r.Kind)
			}
		}
		if want := "g--9223372036854775808-2"; got[1].ID != want {
			t.Errorf("got id %s, want %s", got[1].ID, want)
		}
	}
}

func TestAnyPositionContinuesAlike(t *testing.T) {
	const args = `{"count":1203,"size":100,"seed":7}`
	whole := read(t, args, nil)
	if n := len(whole.all); n != 3 || whole.all[0].Drained || !whole.all[2].Drained {
		t.Fatalf("got %d pages, want 3, the last one drained", n)
	}
	want := whole.records()
	for _, page := range whole.all {
		rest := read(t, args, page.Position)
		n := page.Records[len(page.Records)-1].Seq
		if diff := cmp.Diff(want[n:], append([]sdk.Record{}, rest.records()...), cmp.AllowUnexported(sdk.Secret{})); diff != "" {
			t.Errorf("behind %s (-want +got):\n%s", page.Position, diff)
		}
		if !rest.all[len(rest.all)-1].Drained {
			t.Errorf("behind %s: never drained", page.Position)
		}
	}
	if other := read(t, `{"count":1203,"size":100,"seed":8}`, nil).records(); string(other[0].Body) == string(want[0].Body) {
		t.Error("another seed gives the same body")
	}
}

func TestEndlessStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out := &pages{}
	out.stop = func() {
		if len(out.all) == 3 {
			cancel()
		}
	}
	if err := open(t, `{"count":0,"rate":1e9}`).Read(ctx, nil, out); err != nil {
		t.Error(err)
	}
	if len(out.all) != 3 || out.all[2].Drained {
		t.Errorf("got %d pages, want 3 and none drained", len(out.all))
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if got := len(read(t, `{"count":101,"rate":50}`, nil).records()); got != 101 {
			t.Fatalf("got %d records, want 101", got)
		}
		if took := time.Since(start); took < 1900*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("101 records at 50 a second took %v, want 2s", took)
		}
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, args := range []string{`{"count":-1}`, `{"count":1,"size":63}`, `{"count":1,"size":16777217}`, `{"count":1,"rate":-1}`, `{"count":1,"page":-1}`, `{"count":1,"page":501}`, `{"count":1.5}`, `{"cuont":1}`} {
		s := Plugin().Components[0].NewSource()
		if err := s.Open(context.Background(), &sdk.Env{Args: json.RawMessage(args)}); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

type nowhere struct{}

func (nowhere) Emit(context.Context, sdk.Page) error { return nil }

// BenchmarkRead: one operation is one record of 1 KiB.
func BenchmarkRead(b *testing.B) {
	s := open(b, fmt.Sprintf(`{"count":%d}`, b.N))
	b.ReportAllocs()
	b.ResetTimer()
	if err := s.Read(context.Background(), nil, nowhere{}); err != nil {
		b.Fatal(err)
	}
}
