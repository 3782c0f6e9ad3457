package sdktest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weir-etl/weir/sdk"
)

// pack is a sink that packs records into objects, named by what is in them.
type pack struct {
	part
	mu      sync.Mutex
	held    []string
	objects map[string][]string

	flush func(p *pack, f *sdk.Flush) error
}

func newPack() *pack {
	p := &pack{objects: map[string][]string{}, flush: (*pack).finish}
	p.work = func(_ context.Context, call *sdk.Call) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range call.Rows {
			p.held = append(p.held, call.Rows[i].ID)
			call.Answer(i, sdk.Hold())
		}
		return nil
	}
	p.close = func() error { p.held = nil; return nil }
	return p
}

func (p *pack) Flush(_ context.Context, f *sdk.Flush) error { return p.flush(p, f) }

// finish makes an object of what is held.
func (p *pack) finish(f *sdk.Flush) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	sorted := slices.Sorted(slices.Values(p.held))
	p.objects[strings.Join(sorted, " ")] = p.held
	p.held = nil
	for i := range f.IDs {
		f.Answer(i, sdk.Done(nil))
	}
	return nil
}

func (p *pack) plugin() sdk.Plugin {
	plugin := plugin(sdk.KindSink, &p.part)
	plugin.Components[0].Holds = true
	plugin.Components[0].NewSink = func() sdk.Sink { return p }
	return plugin
}

// check wants each of the records once, in one object.
func (p *pack) check(records []sdk.Record) func(t testing.TB) {
	return func(t testing.TB) {
		p.mu.Lock()
		defer p.mu.Unlock()
		var got, want []string
		for _, o := range p.objects {
			got = append(got, o...)
		}
		for _, r := range records {
			want = append(want, r.ID)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("the objects hold %v, want %v", got, want)
		}
	}
}

func TestGoodHoldingSink(t *testing.T) {
	p := newPack()
	list := Records("n/1", 20)
	Run(t, p.plugin(), Case{Kind: sdk.KindSink, Type: "t", Records: list, Check: p.check(list)})
}

func TestGoodOnceSink(t *testing.T) {
	var sent []string
	p := plugin(sdk.KindSink, &part{work: func(_ context.Context, call *sdk.Call) error {
		if len(call.Rows) != 1 {
			return errors.New("more than one row")
		}
		sent = append(sent, call.Rows[0].ID)
		call.Answer(0, sdk.Done(nil))
		return nil
	}})
	p.Components[0].Effect = sdk.Once
	Run(t, p, Case{Kind: sdk.KindSink, Type: "t", Records: Records("n/1", 5), Check: func(t testing.TB) {
		if len(sent) != 5 {
			t.Errorf("sent %v", sent)
		}
	}})
}

// Each bad holding sink must be found out.
func TestBadHoldingSinks(t *testing.T) {
	for name, c := range map[string]struct {
		bend func(p *pack)
		run  func(*bench) error
		want string
	}{
		"forgets a row": {func(p *pack) {
			p.flush = func(_ *pack, f *sdk.Flush) error { f.Answer(0, sdk.Done(nil)); return nil }
		}, packed, "3 of 4 rows were not answered"},
		"holds on": {func(p *pack) {
			p.flush = func(_ *pack, f *sdk.Flush) error {
				for i := range f.IDs {
					f.Answer(i, sdk.Hold())
				}
				return nil
			}
		}, packed, "has been told to flush"},
		"puts off": {func(p *pack) {
			p.flush = func(*pack, *sdk.Flush) error { return sdk.Retry(0, "later", nil).Err() }
		}, packed, "was not accepted: later"},
		"a receipt too early": {func(p *pack) {
			p.work = each(func(*sdk.Row) sdk.Outcome {
				o := sdk.Hold()
				o.Receipt = &sdk.Receipt{URLs: []string{"u"}}
				return o
			})
		}, packed, "no receipt"},
		"an object for every call": {func(p *pack) {
			hold := p.work
			p.work = func(ctx context.Context, call *sdk.Call) error {
				err := hold(ctx, call)
				p.finish(&sdk.Flush{})
				return err
			}
		}, unseen, "-held"},
		"finishes when it is closed": {func(p *pack) {
			p.close = func() error { return p.finish(&sdk.Flush{}) }
		}, unseen, "-held"},
		"keeps what it held when it is opened again": {func(p *pack) { p.close = nil }, unseen, "-held"},
	} {
		l := &listener{TB: t}
		p := newPack()
		c.bend(p)
		list := Records("n/1", 4)
		b, err := open(l, p.plugin(), Case{Kind: sdk.KindSink, Type: "t", Records: list, Check: p.check(list)})
		if err == nil {
			err = c.run(b)
		}
		if err != nil {
			l.Error(err)
		}
		p.check(list)(l)
		for i := len(l.cleanup) - 1; i >= 0; i-- {
			l.cleanup[i]()
		}
		if got := strings.Join(l.errs, "\n"); !strings.Contains(got, c.want) {
			t.Errorf("%s: found %q, want %q", name, got, c.want)
		}
	}
}

func TestDeclarationsOfEffects(t *testing.T) {
	p := newPack().plugin()
	p.Components[0].Effect, p.Components[0].Probes = sdk.Once, true
	b, err := open(t, p, Case{Kind: sdk.KindSink, Type: "t"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"record by record", "cannot be probed"} {
		if got := declaration(b); got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("declaration: %v, want %q", got, want)
		}
	}
}
