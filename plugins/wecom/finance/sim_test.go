package finance_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

const (
	authKey = "NDdfNzg4MTMwMDAwMDAwMDAwXzFfMTYwMzg3NTYwNQ=="
	aesKey  = "000102030405060708090a0b0c0d0e0f"
)

// clock is a clock that stands still until it is moved.
type clock struct{ at atomic.Int64 }

func newClock(t time.Time) *clock {
	c := new(clock)
	c.at.Store(t.UnixNano())
	return c
}

func (c *clock) Now() time.Time      { return time.Unix(0, c.at.Load()) }
func (c *clock) Add(d time.Duration) { c.at.Add(int64(d)) }

// world is a simulator with one company of a few messages and files.
type world struct {
	*wecomsim.Server
	clock *clock
	key   *rsa.PrivateKey
	files map[string][]byte
}

func newWorld(t *testing.T, options wecomsim.Options) *world {
	t.Helper()
	w := &world{clock: newClock(time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)), files: map[string][]byte{}}
	options.Now = w.clock.Now
	var err error
	if w.Server, err = wecomsim.Start(options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Server.Close() })
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	corp := wecomsim.Corp{ID: "ww1", Secret: "the-secret", Keys: map[int]*rsa.PublicKey{1: &w.key.PublicKey}}
	for i := range 30 {
		id := fmt.Sprintf("m%d", i)
		corp.Messages = append(corp.Messages, wecomsim.Message{
			Seq: uint64(10 + 2*i), MsgID: id, KeyVersion: 1, Time: w.clock.Now().Add(-time.Hour), Plain: plain(id),
		})
	}
	for i, damage := range []wecomsim.Damage{
		wecomsim.Garbled, wecomsim.Truncated, wecomsim.SwappedKey, wecomsim.ZeroLength, wecomsim.WrongInnerID,
	} {
		corp.Messages[20+i].Damage = damage
	}
	corp.Messages[0].Time = w.clock.Now().Add(-121 * time.Hour)
	corp.Messages[5].VisibleAt = w.clock.Now().Add(time.Minute)
	corp.Media = map[string]wecomsim.Media{}
	for id, size := range map[string]int{
		"empty": 0, "one": 1, "blocks": 32, "shard-1": 512<<10 - 1, "shard": 512 << 10, "shard+1": 512<<10 + 1,
		"long": 1300000, "late": 10, "old": 10,
	} {
		w.files[id] = content(id, size)
		corp.Media[id] = wecomsim.Media{
			AuthKey: authKey, AESKey: aesKey, Time: w.clock.Now(), Size: int64(size), Content: bytes.NewReader(w.files[id]),
		}
	}
	late, old := corp.Media["late"], corp.Media["old"]
	late.AvailableFrom, old.Time = w.clock.Now().Add(40*time.Minute), w.clock.Now().Add(-121*time.Hour)
	corp.Media["late"], corp.Media["old"] = late, old
	if err := w.AddCorp(corp); err != nil {
		t.Fatal(err)
	}
	return w
}

func plain(id string) []byte {
	return fmt.Appendf(nil, `{"msgid":%q,"action":"send","msgtype":"text","text":{"content":"你好 %s"}}`, id, id)
}

func content(seed string, n int) []byte {
	var key [32]byte
	copy(key[:], seed)
	b := make([]byte, n)
	mathrand.NewChaCha8(key).Read(b)
	return b
}

func (w *world) options() finance.Options {
	return finance.Options{CorpID: "ww1", Secret: "the-secret", Now: w.clock.Now, CA: w.CA, BaseURL: w.URL, Timeout: 2 * time.Second}
}

func (w *world) plain(t *testing.T, o finance.Options) *finance.Plain {
	t.Helper()
	c, err := finance.NewPlain(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func sdkFileID(id string) string { return wecomsim.SDKFileID(id, authKey, aesKey) }

// rows asks for a page and parses it.
func rows(t *testing.T, c finance.Client, seq uint64, limit int) ([]finance.Row, error) {
	t.Helper()
	raw, err := c.ChatData(t.Context(), seq, limit)
	if err != nil {
		return nil, err
	}
	return finance.ParsePage(raw)
}

// download walks the shards of a file.
func download(ctx context.Context, c finance.Client, id string) ([]byte, int, error) {
	var all []byte
	index := ""
	for n := 1; ; n++ {
		shard, err := c.Media(ctx, sdkFileID(id), index)
		if err != nil {
			return nil, n, err
		}
		all = append(all, shard.Data...)
		if shard.Done {
			return all, n, nil
		}
		index = shard.Next
	}
}

func wantCode(t *testing.T, what string, err error, code int, class finance.Class) {
	t.Helper()
	refusal := (*finance.Error)(nil)
	if !errors.As(err, &refusal) || refusal.Code != code || refusal.Class != class {
		t.Errorf("%s: got error %v, want code %d, class %v", what, err, code, class)
	}
}

// checkArchive reads everything that the world holds through a client.
func checkArchive(t *testing.T, w *world, c finance.Client, decode func(randomKey, message string) ([]byte, error)) {
	var got []finance.Row
	for seq := uint64(0); ; {
		page, err := rows(t, c, seq, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		got, seq = append(got, page...), page[len(page)-1].Seq
	}
	if len(got) != 28 { // one is too old, one not visible yet
		t.Fatalf("got %d rows, want 28", len(got))
	}
	damaged := map[string]int{"m21": finance.NotDecrypted, "m22": finance.BadKey, "m23": finance.BadFileID}
	for _, row := range got {
		key, err := finance.OpenRandomKey(w.key, row.RandomKey)
		if err != nil {
			t.Fatalf("%s: %v", row.MsgID, err)
		}
		text, err := decode(key, row.Message)
		if code, bad := damaged[row.MsgID]; bad {
			wantCode(t, row.MsgID, err, code, finance.Permanent)
			continue
		}
		var inner struct{ MsgID string }
		switch row.MsgID {
		case "m20":
			if err != nil || json.Unmarshal(text, &inner) == nil {
				t.Errorf("garbled: got %q, error %v, want text that is no JSON", text, err)
			}
		case "m24":
			if err != nil || json.Unmarshal(text, &inner) != nil || inner.MsgID == row.MsgID {
				t.Errorf("wrong inner id: got %q, error %v", text, err)
			}
		default:
			if err != nil || string(text) != string(plain(row.MsgID)) {
				t.Errorf("%s: got %q, error %v", row.MsgID, text, err)
			}
		}
	}
	for id, want := range w.files {
		if id == "late" || id == "old" {
			continue
		}
		file, shards, err := download(t.Context(), c, id)
		if err != nil || md5.Sum(file) != md5.Sum(want) {
			t.Errorf("%s: got %d bytes, error %v, want %d", id, len(file), err, len(want))
		}
		if n := len(want)/(512<<10) + 1; shards != n {
			t.Errorf("%s: got %d shards, want %d", id, shards, n)
		}
	}
}
