package decrypt

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/weir-etl/weir/sdk"
)

// systemOpenSSL is the system's, or one that plays it where there is none: the tests hold either against crypto/rsa. TestOpenSSLIsHere
// fails where the real one was promised.
func systemOpenSSL(t testing.TB, k *rsa.PrivateKey) *openssl {
	t.Helper()
	l, err := loadOpenSSL(newTransform().(*transform).openssl)
	if err != nil {
		t.Log("played:", err)
		return playedOpenSSL(k)
	}
	return l
}

// playedOpenSSL does what OpenSSL is asked for, with one key.
func playedOpenSSL(k *rsa.PrivateKey) *openssl {
	return &openssl{
		version: "played",
		parse:   func(_, _ unsafe.Pointer, _ int64) unsafe.Pointer { return unsafe.Pointer(new(int)) },
		free:    func(unsafe.Pointer) {},
		private: func(size int32, from, to, _ unsafe.Pointer, padding int32) int32 {
			if padding != noPadding || int(size) != k.Size() {
				return -1
			}
			x := new(big.Int).SetBytes(unsafe.Slice((*byte)(from), size))
			x.Exp(x, k.D, k.N).FillBytes(unsafe.Slice((*byte)(to), size))
			return size
		},
	}
}

func testKey(t testing.TB, version string) *rsa.PrivateKey {
	t.Helper()
	k := readKey(sdk.NewSecret(bothKeys(t)[version]))
	if k.err != nil {
		t.Fatal(k.err)
	}
	return k.rsa
}

func fasten(t testing.TB, k *rsa.PrivateKey) *fastKey {
	t.Helper()
	fast, err := systemOpenSSL(t, k).fasten(k)
	if err != nil {
		t.Fatal(err)
	}
	return fast
}

// raise is the public operation without padding. m is made smaller than the modulus.
func raise(k *rsa.PrivateKey, m []byte) []byte {
	x := new(big.Int).SetBytes(m)
	x.Mod(x, k.N)
	return x.Exp(x, big.NewInt(int64(k.E)), k.N).FillBytes(make([]byte, k.Size()))
}

// checkSame holds both against each other, and reports whether the ciphertext is opened.
func checkSame(t *testing.T, name string, fast *fastKey, ciphertext []byte) bool {
	t.Helper()
	before := bytes.Clone(ciphertext)
	want, wantErr := fast.slow.Decrypt(nil, ciphertext, nil)
	got, err := fast.Decrypt(nil, ciphertext, nil)
	if !bytes.Equal(got, want) || err != wantErr {
		t.Errorf("%s: got %x, %v; want %x, %v", name, got, err, want, wantErr)
	}
	if !bytes.Equal(ciphertext, before) {
		t.Errorf("%s: the ciphertext was written into", name)
	}
	return wantErr == nil
}

// padded is 0, 2, filler of n bytes, 0 and text, as long as the modulus.
func padded(size, n int, text []byte) []byte {
	b := append([]byte{0, 2}, bytes.Repeat([]byte{0xa5}, n)...)
	b = append(append(b, 0), text...)
	if len(b) != size {
		panic("not as long as the modulus")
	}
	return b
}

func TestOpenSSLDecidesAsCryptoRSA(t *testing.T) {
	v3, v4 := testKey(t, "3"), testKey(t, "4")
	keys := []*rsa.PrivateKey{v3, v4}
	for _, bits := range []int{3072, 4096} {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	for _, k := range keys {
		checkKey(t, fasten(t, k))
	}
	for _, v := range loadVectors(t).Vectors {
		b, err := base64.StdEncoding.DecodeString(v.RandomKey)
		if err != nil {
			t.Fatal(err)
		}
		for version, k := range map[int64]*rsa.PrivateKey{3: v3, 4: v4} {
			if opened := checkSame(t, v.Name, fasten(t, k), b); opened != (version == v.Version) {
				t.Errorf("%s with version %d: opened is %v", v.Name, version, opened)
			}
		}
	}
}

func checkKey(t *testing.T, fast *fastKey) {
	k := fast.slow
	size := k.Size()
	good := padded(size, size-3-88, bytes.Repeat([]byte("k"), 88))
	at := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	same := func(b []byte) []byte { return b }
	sealed := func(b []byte) []byte { return raise(k, b) }
	less := func(n int64) []byte { return new(big.Int).Sub(k.N, big.NewInt(n)).FillBytes(make([]byte, size)) }
	zeros := make([]byte, size)
	one := append(make([]byte, size-1), 1)
	for _, row := range []struct {
		name   string
		how    func([]byte) []byte
		b      []byte
		opened bool
	}{
		{"good", sealed, good, true},
		{"no text", sealed, padded(size, size-3, nil), true},
		{"text of zeros", sealed, padded(size, 8, make([]byte, size-11)), true},
		{"longest text", sealed, padded(size, 8, good[:size-11]), true},
		{"filler of 7", sealed, padded(size, 7, good[:size-10]), false},
		{"no filler", sealed, padded(size, 0, good[:size-3]), false},
		{"no zero", sealed, append([]byte{0, 2}, bytes.Repeat([]byte{1}, size-2)...), false},
		{"starts with 1", sealed, at(0, 1), false},
		{"type 1", sealed, at(1, 1), false},
		{"type 0", sealed, at(1, 0), false},
		{"zero in filler, too early", sealed, at(9, 0), false},
		{"zero in filler, late enough", sealed, at(10, 0), true},
		{"zeros inside", sealed, zeros, false},
		{"one inside", sealed, one, false},
		{"nothing", same, nil, false},
		{"zero", same, zeros, false},
		{"one", same, one, false},
		{"modulus", same, k.N.Bytes(), false},
		{"modulus - 1", same, less(1), false},
		{"modulus + 1", same, less(-1), false},
		{"ones", same, bytes.Repeat([]byte{0xff}, size), false},
		{"cut short", same, raise(k, good)[:size-1], false},
		{"a byte too long", same, append(raise(k, good), 0), false},
		{"a byte too long in front", same, append([]byte{0}, raise(k, good)...), false},
	} {
		if opened := checkSame(t, row.name, fast, row.how(row.b)); opened != row.opened {
			t.Errorf("%s: opened is %v", row.name, opened)
		}
	}
}

// FuzzRSA gives OpenSSL and crypto/rsa ciphertexts as they come, paddings as they come, and good ones with a bit flipped.
func FuzzRSA(f *testing.F) {
	k := testKey(f, "3")
	fast := fasten(f, k)
	size := k.Size()
	for _, v := range loadVectors(f).Vectors {
		b, err := base64.StdEncoding.DecodeString(v.RandomKey)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, []byte("text"), uint16(0))
	}
	for n := range 12 {
		f.Add(k.N.Bytes(), padded(size, n, make([]byte, size-3-n)), uint16(n))
	}
	f.Add([]byte{}, []byte{}, uint16(1))
	f.Fuzz(func(t *testing.T, ciphertext, text []byte, bit uint16) {
		checkSame(t, "as it comes", fast, ciphertext)
		if len(ciphertext) > 0 {
			checkSame(t, "filled up", fast, append(bytes.Clone(ciphertext), make([]byte, max(0, size-len(ciphertext)))...))
		}
		checkSame(t, "padding as it comes", fast, raise(k, text))
		checkSame(t, "padding as it comes, behind 0 and 2", fast, raise(k, append([]byte{0, 2}, append(text, make([]byte, max(0, size-2-len(text)))...)[:size-2]...)))
		text = text[:min(len(text), size-11)]
		b := padded(size, size-3-len(text), text)
		if !checkSame(t, "good", fast, raise(k, b)) {
			t.Error("a good one is refused")
		}
		b[int(bit)/8%size] ^= 1 << (bit % 8)
		checkSame(t, "bit flipped inside", fast, raise(k, b))
		b = raise(k, b)
		b[int(bit)/8%size] ^= 1 << (bit % 8)
		checkSame(t, "bit flipped outside", fast, b)
	})
}

// A library that calculates wrong costs speed, and nothing else: no message, and no refusal.
func TestMiscalculation(t *testing.T) {
	k := testKey(t, "3")
	for name, spoil := range map[string]func(right []byte) (size int32){
		"first bit":       func(b []byte) int32 { b[0] ^= 0x80; return 256 },
		"last bit":        func(b []byte) int32 { b[255] ^= 1; return 256 },
		"end of the text": func(b []byte) int32 { b[255] = 0; return 256 },
		"another length":  func(b []byte) int32 { b[100] = 0; return 256 },
		"a made-up text":  func(b []byte) int32 { copy(b, padded(256, 165, bytes.Repeat([]byte("A"), 88))); return 256 },
		"no text":         func(b []byte) int32 { copy(b, padded(256, 253, nil)); return 256 },
		"nothing":         func(b []byte) int32 { clear(b); return 256 },
		"refused":         func(b []byte) int32 { clear(b); return -1 },
		"cut short":       func(b []byte) int32 { return 245 },
	} {
		var log strings.Builder
		tr, _ := openWith(t, bothKeys(t), "/nowhere/libcrypto.so.3")
		tr.log = slog.New(slog.NewTextHandler(&log, nil))
		bad := *systemOpenSSL(t, k)
		fast, err := bad.fasten(k)
		if err != nil {
			t.Fatal(err)
		}
		right := bad.private
		bad.private = func(n int32, from, to, key unsafe.Pointer, padding int32) int32 {
			right(n, from, to, key, padding)
			return spoil(unsafe.Slice((*byte)(to), n))
		}
		fast.lib = &bad
		tr.keys[3] = key{rsa: k, fast: fast}
		checkVectors(t, tr)
		if got := strings.Count(log.String(), "level=WARN"); got != 1 || !fast.failed.Load() {
			t.Errorf("%s: told %d times, forsaken is %v", name, got, fast.failed.Load())
		}
		if _, err := bad.fasten(k); err == nil {
			t.Errorf("%s: passes the test of a key", name)
		}
	}
}

// What both refuse says nothing against OpenSSL.
func TestRefusalIsNoFailure(t *testing.T) {
	var log strings.Builder
	tr, _ := openWith(t, bothKeys(t), "/nowhere/libcrypto.so.3")
	tr.log = slog.New(slog.NewTextHandler(&log, nil))
	k := testKey(t, "4")
	fast := fasten(t, k)
	tr.keys[3] = key{rsa: k, fast: fast} // not the key of version 3
	for _, v := range loadVectors(t).Vectors {
		if v.Version != 3 {
			continue
		}
		o := apply(t, tr, rawRow(v.MsgID, map[string]any{"msgid": v.MsgID, "publickey_ver": 3, "encrypt_random_key": v.RandomKey, "encrypt_chat_msg": v.Message}))[0]
		if o.Verdict != sdk.VerdictReject || o.Code != CodeFailed {
			t.Errorf("%s: got verdict %d %s", v.Name, o.Verdict, o.Code)
		}
	}
	if log.String() != "" || fast.failed.Load() {
		t.Errorf("got log %s", log.String())
	}
}

// Keys of other sizes, or that the library does not read, are left to crypto/rsa.
func TestKeysForCryptoRSA(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1536)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := systemOpenSSL(t, small).fasten(small); err == nil {
		t.Error("1536 bits: no error")
	}
	k := testKey(t, "3")
	blind := playedOpenSSL(k)
	blind.parse = func(_, _ unsafe.Pointer, _ int64) unsafe.Pointer { return nil }
	if _, err := blind.fasten(k); err == nil {
		t.Error("a key that is not read: no error")
	}
}

func TestUsableVersions(t *testing.T) {
	for version, want := range map[uint64]bool{
		0: false, 0x1000221f: false, 0x1010100f: true, 0x1010117f: true, 0x10102000: false, 0x20000000: false, 0x30000000: true,
		0x30000030: true, 0x30000040: false, 0x30000050: true, 0x30000130: true, 0x30500040: true, 0x40000000: false,
	} {
		if err := usable(version); (err == nil) != want {
			t.Errorf("%#x: got %v, want usable %v", version, err, want)
		}
	}
}

// openWith opens the step with libraries of these names, and returns what it logs.
func openWith(t *testing.T, keys map[string]string, names ...string) (*transform, string) {
	t.Helper()
	var log strings.Builder
	raw, _ := json.Marshal(map[string]any{"private_keys": keys})
	tr := newTransform().(*transform)
	if names != nil {
		tr.openssl = names
	}
	env := &sdk.Env{Args: raw, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	if err := tr.Open(context.Background(), env); err != nil {
		t.Fatal(err)
	}
	return tr, log.String()
}

func TestWithoutOpenSSL(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.so")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("garbage "), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, names := range [][]string{{}, {"/nowhere/libcrypto.so.3"}, {garbage}, {t.TempDir()}, {"/nowhere/libcrypto.so.3", garbage}} {
		tr, log := openWith(t, bothKeys(t), names...)
		if strings.Count(log, "level=DEBUG") != 2 || strings.Count(log, "rsa=crypto/rsa reason=") != 2 {
			t.Errorf("%v: got log %s", names, log)
		}
		checkVectors(t, tr)
	}
}

func TestLogTellsWhoDoesRSA(t *testing.T) {
	_, log := openWith(t, bothKeys(t))
	if strings.Count(log, "level=DEBUG") != 2 || strings.Count(log, "key_version=") != 2 || strings.Count(log, " rsa=") != 2 ||
		strings.Contains(log, "level=WARN") {
		t.Errorf("got log %s", log)
	}
}

// Several calls at a time use one key, while others come and go.
func TestOneKeyManyWorkers(t *testing.T) {
	k := testKey(t, "3")
	fast := fasten(t, k)
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for i := range 20 {
				want := bytes.Repeat([]byte{byte(w), byte(i)}, 44)
				sealed := raise(k, padded(k.Size(), k.Size()-3-88, want))
				if got, err := fast.Decrypt(nil, sealed, nil); err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %x, %v, want %x", got, err, want)
				}
				if i%5 == 0 {
					fasten(t, k)
					runtime.GC()
				}
			}
		})
	}
	workers.Wait()
}

const cores = 4

// The rows of one call are opened by as many workers as there are cores, and each is answered when it is ready: here the first rows wait for
// each other, and the later ones for an answer.
func TestCallIsSharedByCores(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	var workers atomic.Int32
	together, answered := make(chan struct{}), make(chan struct{})
	k := testKey(t, "3")
	lib := playedOpenSSL(k)
	lib.private = func(int32, unsafe.Pointer, unsafe.Pointer, unsafe.Pointer, int32) int32 {
		wait := together
		if n := workers.Add(1); n == cores {
			close(together)
		} else if n > cores {
			wait = answered
		}
		select {
		case <-wait:
		case <-time.After(20 * time.Second):
			t.Error("a row waits for another, or for an answer")
		}
		return -1
	}
	fast := &fastKey{slow: k, lib: lib, modulus: k.N.Bytes()}
	tr := &transform{keys: map[int64]key{3: {rsa: k, fast: fast}}, turn: make(chan struct{}, 1)}
	rows := make([]sdk.Row, 100)
	for i := range rows {
		rows[i] = rawRow("m", map[string]any{"publickey_ver": 3, "encrypt_random_key": base64.StdEncoding.EncodeToString(make([]byte, 256))})
	}
	var answers int
	call := sdk.NewCall(rows, time.Time{}, false, func(int, sdk.Outcome) {
		if answers++; answers == 1 {
			close(answered)
		}
	})
	if err := tr.Apply(context.Background(), call); err != nil || answers != len(rows) || int(workers.Load()) != len(rows) {
		t.Errorf("%d rows are opened, %d answered, error %v", workers.Load(), answers, err)
	}
}
