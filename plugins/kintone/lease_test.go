package kintone_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/kintone"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/sdk"
)

const appLease = 20

// withLease adds an app for leases. Its clock shows the given time, and goes on.
func withLease(at *time.Time) func(*kintonesim.Options) {
	return func(o *kintonesim.Options) {
		o.Apps = append(o.Apps, kintonesim.App{ID: appLease, Token: "lease", Fields: []kintonesim.Field{
			{Code: "lease", Type: "SINGLE_LINE_TEXT", Unique: true, Required: true}, {Code: "holder", Type: "MULTI_LINE_TEXT"},
		}})
		if at != nil {
			o.Now = func() time.Time { return *at }
		}
	}
}

// leaser is one engine's way to the lease.
type leaser struct {
	t   *testing.T
	env *sdk.Env
}

func lease(t *testing.T, srv *kintonesim.Server, extra object) leaser {
	t.Helper()
	args := object{"app": appLease, "token": "lease", "key": "lease", "holder": "holder"}
	for k, v := range extra {
		args[k] = v
	}
	return leaser{t, &sdk.Env{
		Address: "lease.kintone", Args: marshal(t, args), Clock: &sdk.Clock{}, Log: slog.New(slog.DiscardHandler),
		Connection: marshal(t, object{"url": srv.URL, "certificate": "", "basic_auth": "", "proxy": "", "stall": "2s"}),
	}}
}

func (l leaser) try(ask sdk.LeaseRequest) (sdk.LeaseRow, error) {
	return kintone.Plugin().Components[0].NewSink().(sdk.Leaser).Lease(l.t.Context(), l.env, ask)
}

func (l leaser) ask(ask sdk.LeaseRequest) sdk.LeaseRow {
	l.t.Helper()
	row, err := l.try(ask)
	if err != nil {
		l.t.Fatal(err)
	}
	return row
}

func TestLeaseIsWrittenByComparison(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	srv := start(t, withLease(&now))
	a := lease(t, srv, nil)
	if row := a.ask(sdk.LeaseRequest{Name: "p"}); row.Revision != "" || !row.Now.Equal(now) {
		t.Errorf("an empty app: %+v", row)
	}
	first := a.ask(sdk.LeaseRequest{Name: "p", Write: true, Holder: "a"})
	if !first.Written || first.Revision == "" {
		t.Fatalf("the first write: %+v", first)
	}
	late := a.ask(sdk.LeaseRequest{Name: "p", Write: true, Holder: "b"})
	if late.Written || late.Holder != "a" || late.Revision != first.Revision {
		t.Errorf("a second row: %+v", late)
	}
	now = now.Add(10 * time.Second)
	second := a.ask(sdk.LeaseRequest{Name: "p", Write: true, Revision: first.Revision, Holder: "a2"})
	if !second.Written || second.Revision == first.Revision {
		t.Errorf("a renewal: %+v", second)
	}
	now = now.Add(10 * time.Second)
	stale := a.ask(sdk.LeaseRequest{Name: "p", Write: true, Revision: first.Revision, Holder: "b"})
	if stale.Written || stale.Holder != "a2" || stale.Revision != second.Revision {
		t.Errorf("a write over an old revision: %+v", stale)
	}
	// Changed at 01:02:13; kintone says 01:02:00. Whatever is made of it must not be before.
	if stale.Changed.Before(now.Add(-10*time.Second)) || stale.Changed.After(now) || !stale.Now.Equal(now) {
		t.Errorf("changed %v, now %v; it is %v", stale.Changed, stale.Now, now)
	}
	now = now.Add(10 * time.Minute)
	if row := a.ask(sdk.LeaseRequest{Name: "p"}); row.Changed.Before(now.Add(-10*time.Minute-10*time.Second)) || row.Changed.After(now.Add(-9*time.Minute)) {
		t.Errorf("changed %v after ten minutes, now %v", row.Changed, now)
	}
	other := a.ask(sdk.LeaseRequest{Name: "other", Write: true, Holder: "x"})
	if !other.Written || len(srv.Rows(appLease)) != 2 {
		t.Errorf("another pipeline: %+v, %d rows", other, len(srv.Rows(appLease)))
	}
	if err := srv.Tamper(appLease, func([]kintonesim.Row) []kintonesim.Row { return nil }); err != nil {
		t.Fatal(err)
	}
	if row := a.ask(sdk.LeaseRequest{Name: "p", Write: true, Revision: second.Revision, Holder: "a3"}); row.Written || row.Revision != "" {
		t.Errorf("a row that somebody has deleted: %+v", row)
	}
}

// Of many who write at the same moment from what they all have read, one wins: when there is no row, and when there is one.
func TestOneWinsTheLease(t *testing.T) {
	srv := start(t, withLease(nil))
	revision := ""
	for round := range 150 {
		const rivals = 4
		rows := make([]sdk.LeaseRow, rivals)
		var group sync.WaitGroup
		begin := make(chan struct{})
		for i := range rivals {
			group.Go(func() {
				<-begin
				var err error
				rows[i], err = lease(t, srv, nil).try(sdk.LeaseRequest{Name: "p", Write: true, Revision: revision, Holder: fmt.Sprint(round, "/", i)})
				if err != nil {
					t.Error(err)
				}
			})
		}
		close(begin)
		group.Wait()
		winner := -1
		for i, row := range rows {
			if row.Written && winner >= 0 {
				t.Fatalf("round %d: %d and %d have won", round, winner, i)
			}
			if row.Written {
				winner = i
			}
		}
		if winner < 0 {
			t.Fatalf("round %d: nobody has won: %+v", round, rows)
		}
		for i, row := range rows {
			if want := fmt.Sprint(round, "/", winner); row.Holder != want || row.Revision != rows[winner].Revision {
				t.Errorf("round %d: rival %d sees %+v, want %s at %s", round, i, row, want, rows[winner].Revision)
			}
		}
		revision = rows[winner].Revision
		if round == 75 { // and from an empty app again
			revision = ""
			if err := srv.Tamper(appLease, func([]kintonesim.Row) []kintonesim.Row { return nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestLeaseInTrouble(t *testing.T) {
	srv := start(t, withLease(nil))
	a := lease(t, srv, nil)
	first := a.ask(sdk.LeaseRequest{Name: "p", Write: true, Holder: "a"})

	lift := srv.Fault(kintonesim.Fault{Kind: kintonesim.Lost, Method: "PUT"})
	_, err := a.try(sdk.LeaseRequest{Name: "p", Write: true, Revision: first.Revision, Holder: "a2"})
	lift()
	if err == nil {
		t.Error("a lost answer is no error")
	}
	if row := a.ask(sdk.LeaseRequest{Name: "p"}); row.Holder != "a2" || row.Revision == first.Revision {
		t.Errorf("after a lost answer the row is %+v", row)
	}

	lift = srv.Fault(kintonesim.Fault{Kind: kintonesim.Locked, Method: "PUT"})
	row, err := a.try(sdk.LeaseRequest{Name: "p", Write: true, Revision: first.Revision, Holder: "a3"})
	lift()
	if err != nil || row.Written || row.Holder != "a2" {
		t.Errorf("a lock gives %+v, %v; want the row as it stands", row, err)
	}

	for _, kind := range []kintonesim.FaultKind{kintonesim.Refuse, kintonesim.Maintenance} {
		lift = srv.Fault(kintonesim.Fault{Kind: kind})
		_, err = a.try(sdk.LeaseRequest{Name: "p", Write: true, Revision: row.Revision, Holder: "a4"})
		lift()
		var e *sdk.Error
		if !errors.As(err, &e) || !e.Outcome.Down || e.Outcome.Alarm {
			t.Errorf("fault %d gives %v", kind, err)
		}
	}

	for _, wrong := range []struct {
		extra object
		want  string
	}{
		{object{"key": "leese"}, `"leese"`},
		{object{"key": "holder"}, "prohibits duplicates"},
		{object{"holder": "houlder"}, `"houlder"`},
		{object{"holder": "lease"}, "allows duplicates"},
		{object{"token": "nobody"}, "GAIA_IA02"},
		{object{"app": 99}, "GAIA_AP01"},
	} {
		_, err := lease(t, srv, wrong.extra).try(sdk.LeaseRequest{Name: "new", Write: true, Holder: "a"})
		var e *sdk.Error
		if !errors.As(err, &e) || !e.Outcome.Alarm || !strings.Contains(err.Error(), wrong.want) {
			t.Errorf("%v gives %v, want an alarm with %s", wrong.extra, err, wrong.want)
		}
	}
	if n := len(srv.Rows(appLease)); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}
