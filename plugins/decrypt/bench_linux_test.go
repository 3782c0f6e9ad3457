package decrypt

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// cpu is the processor time of this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// interleaved runs two ways of doing n things in turn, and reports how many of them each does in a second of processor time. Wall time of a
// shared machine says nothing, and two runs see two machines.
func interleaved(b *testing.B, n int, slow, fast func()) {
	var spent [2]time.Duration
	for b.Loop() {
		for i, way := range []func(){slow, fast} {
			start := cpu(b)
			way()
			spent[i] += cpu(b) - start
		}
	}
	rate := func(i int) float64 { return float64(n) * float64(b.N) / spent[i].Seconds() }
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(rate(0), "crypto/rsa/cpu-s")
	b.ReportMetric(rate(1), "openssl/cpu-s")
	b.ReportMetric(rate(1)/rate(0), "times")
}

// BenchmarkDecrypt: whole messages, in calls of 100 short ones.
func BenchmarkDecrypt(b *testing.B) {
	v := loadVectors(b).Vectors[0]
	raw, _ := json.Marshal(map[string]any{"private_keys": bothKeys(b)})
	way := func(names []string) func() {
		tr := newTransform().(*transform)
		if names != nil {
			tr.openssl = names
		}
		if err := tr.Open(context.Background(), &sdk.Env{Args: raw}); err != nil {
			b.Fatal(err)
		}
		return func() {
			rows := make([]sdk.Row, 100)
			for i := range rows {
				rows[i] = rawRow(v.MsgID, map[string]any{"msgid": v.MsgID, "publickey_ver": 3, "encrypt_random_key": v.RandomKey, "encrypt_chat_msg": v.Message})
			}
			for _, o := range apply(b, tr, rows...) {
				if o.Verdict != sdk.VerdictDone {
					b.Fatal(o.Detail)
				}
			}
		}
	}
	interleaved(b, 100, way([]string{}), way(nil))
}

// BenchmarkRSA: private operations alone, on one core.
func BenchmarkRSA(b *testing.B) {
	v := loadVectors(b).Vectors[0]
	sealed, err := base64.StdEncoding.DecodeString(v.RandomKey)
	if err != nil {
		b.Fatal(err)
	}
	fast := fasten(b, testKey(b, "3"))
	interleaved(b, 20, func() {
		for range 20 {
			if _, err := fast.slow.Decrypt(nil, sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
	}, func() {
		for range 20 {
			if _, err := fast.Decrypt(nil, sealed, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
