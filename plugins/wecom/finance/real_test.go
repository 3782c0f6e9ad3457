//go:build real

package finance_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// These tests call the official library, which WEIR_WECOM_LIBRARY must name.

func loadLibrary(t *testing.T) *finance.Library {
	t.Helper()
	path := os.Getenv("WEIR_WECOM_LIBRARY")
	if path == "" {
		t.Fatal("WEIR_WECOM_LIBRARY does not name the official library")
	}
	library, err := finance.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return library
}

func openLibrary(t *testing.T, w *world, o finance.Options) *finance.Session {
	t.Helper()
	o.Proxy = w.ProxyURL
	c, err := loadLibrary(t).Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestLibraryArchive(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	checkArchive(t, w, openLibrary(t, w, w.options()), loadLibrary(t).Decode)
}

func TestLibraryRefusals(t *testing.T) {
	w := newWorld(t, wecomsim.Options{ProxyPassword: "user:pass"})
	o := w.options()
	_, err := rows(t, openLibrary(t, w, o), 0, 10)
	wantCode(t, "proxy without password", err, finance.Network, finance.Retry)

	o.ProxyPassword = "user:pass"
	c := openLibrary(t, w, o)
	if got, err := rows(t, c, 0, 10); err != nil || len(got) != 10 {
		t.Errorf("proxy with password: got %d rows, error %v", len(got), err)
	}
	_, err = c.ChatData(t.Context(), 0, 1001)
	wantCode(t, "limit", err, finance.BadArgument, finance.Permanent)
	_, _, err = download(t.Context(), c, "old")
	wantCode(t, "old media", err, finance.TooOld, finance.Permanent)
	_, _, err = download(t.Context(), c, "late")
	wantCode(t, "late media", err, finance.NotParsed, finance.Retry)
	_, err = c.Media(t.Context(), "not a file id", "")
	wantCode(t, "bad file id", err, finance.BadFileID, finance.Permanent)

	w.clock.Add(time.Hour)
	w.Fault(wecomsim.Fault{Revoke: true, Times: 1})
	if got, err := rows(t, c, 0, 10); err != nil || len(got) != 10 {
		t.Errorf("revoked token: got %d rows, error %v", len(got), err)
	}
	w.clock.Add(time.Hour)
	w.Fault(wecomsim.Fault{Revoke: true, Times: 1})
	if _, _, err := download(t.Context(), c, "one"); err != nil {
		t.Errorf("revoked token, media: %v", err)
	}
	w.Fault(wecomsim.Fault{Errcode: 301042, Times: 1})
	_, _, err = download(t.Context(), c, "one")
	wantCode(t, "address not trusted", err, finance.NotTrustedIP, finance.Config)
	lift := w.Fault(wecomsim.Fault{Hang: true})
	_, err = rows(t, c, 0, 10)
	wantCode(t, "hang", err, finance.Network, finance.Retry)
	lift()

	o.Secret = "wrong"
	_, err = rows(t, openLibrary(t, w, o), 0, 10)
	wantCode(t, "wrong secret", err, 41001, finance.Config)
}

func TestLibraryConcurrently(t *testing.T) {
	w := newWorld(t, wecomsim.Options{})
	c := openLibrary(t, w, w.options())
	library := loadLibrary(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				page, err := rows(t, c, 0, 5)
				if err != nil || len(page) != 5 {
					t.Errorf("got %d rows, error %v", len(page), err)
					return
				}
				key, err := finance.OpenRandomKey(w.key, page[0].RandomKey)
				if err != nil {
					t.Error(err)
					return
				}
				for range 200 {
					if text, err := library.Decode(key, page[0].Message); err != nil || string(text) != string(plain(page[0].MsgID)) {
						t.Errorf("got %q, error %v", text, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}
