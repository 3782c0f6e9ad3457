package decrypt

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/weir-etl/weir/plugins/native"
)

// openssl is the system's libcrypto, loaded into this process. BenchmarkRSA tells how much faster than crypto/rsa it is on a machine. Its
// functions are safe for concurrent use.
//
// These are functions of OpenSSL 1.1 that 3 still has. Those of keys are called deprecated there, but for all of 3 the ABI stands, and
// they need no context for each thread to be kept and given back.
type openssl struct {
	version string

	init    func(options uint64, settings unsafe.Pointer) int32
	number  func() uint64 // C's unsigned long, which has 64 bits where native loads anything
	name    func(what int32) unsafe.Pointer
	parse   func(key unsafe.Pointer, der unsafe.Pointer, size int64) unsafe.Pointer
	free    func(key unsafe.Pointer)
	private func(size int32, from, to, key unsafe.Pointer, padding int32) int32
}

const (
	noConfig  = 0x80    // OPENSSL_INIT_NO_LOAD_CONFIG: the machine's openssl.cnf could bring in engines
	noAtExit  = 0x80000 // OPENSSL_INIT_NO_ATEXIT: other threads may be in it when the process ends
	noPadding = 3       // RSA_NO_PADDING
)

// loadOpenSSL loads the first of the libraries that is there, and never a second one. Whatever it is, an error means crypto/rsa.
func loadOpenSSL(names []string) (*openssl, error) {
	var all []string
	for _, name := range names {
		l, err := bindOpenSSL(name)
		if err == nil {
			return l, nil
		}
		all = append(all, err.Error())
		if other := (*native.OtherError)(nil); errors.As(err, &other) && other.Loaded != native.OpenSSL {
			break
		}
	}
	return nil, errors.New(strings.Join(all, "; "))
}

func bindOpenSSL(name string) (*openssl, error) {
	l := new(openssl)
	err := native.Load(native.OpenSSL, name, map[string]any{
		"OPENSSL_init_crypto": &l.init, "OpenSSL_version_num": &l.number, "OpenSSL_version": &l.name,
		"d2i_RSAPrivateKey": &l.parse, "RSA_free": &l.free,
		"RSA_private_decrypt": &l.private,
	})
	if err != nil {
		return nil, err
	}
	if err := usable(l.number()); err != nil {
		return nil, err
	}
	if l.init(noConfig|noAtExit, nil) != 1 {
		return nil, errors.New("OpenSSL does not start")
	}
	l.version = text(l.name(0))
	return l, nil
}

// usable refuses what is too old, is not OpenSSL (LibreSSL says 2.0.0), or damages memory in just these operations: 3.0.4, CVE-2022-2274.
func usable(version uint64) error {
	old, three := version >= 0x1010100f && version < 0x10102000, version>>28 == 3
	if !old && !three || version>>4 == 0x3000004 {
		return fmt.Errorf("OpenSSL %#x is not used", version)
	}
	return nil
}

// text copies a text of C, of 100 characters at most.
func text(p unsafe.Pointer) string {
	var b strings.Builder
	for i := 0; p != nil && i < 100; i++ {
		c := *(*byte)(unsafe.Add(p, i))
		if c == 0 {
			break
		}
		b.WriteByte(c)
	}
	return b.String()
}

// fastKey is a private key that OpenSSL works with. It opens and refuses what crypto/rsa does, if OpenSSL calculates right; whoever uses it
// has to ask crypto/rsa again before a message is refused (transform.open).
//
// What is opened is not proven here by the public operation. OpenSSL does that within each private one, once more would cost an eighth of
// the speed, and a wrong key opens no message that is JSON and says the right msgid.
type fastKey struct {
	slow    *rsa.PrivateKey
	lib     *openssl
	key     unsafe.Pointer // C's; it lives as long as this
	modulus []byte
	failed  atomic.Bool
}

// fasten makes a key fast. An error means that crypto/rsa has to do.
func (l *openssl) fasten(slow *rsa.PrivateKey) (*fastKey, error) {
	if bits := slow.N.BitLen(); len(slow.Primes) != 2 || bits != 2048 && bits != 3072 && bits != 4096 {
		return nil, fmt.Errorf("a key of %d bits with %d primes", bits, len(slow.Primes))
	}
	der := x509.MarshalPKCS1PrivateKey(slow)
	defer clear(der)
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&der[0])
	next := unsafe.Pointer(&der[0]) // C moves it
	key := l.parse(nil, unsafe.Pointer(&next), int64(len(der)))
	if key == nil {
		return nil, errors.New("OpenSSL does not read the key")
	}
	k := &fastKey{slow: slow, lib: l, key: key, modulus: slow.N.Bytes()}
	runtime.AddCleanup(k, l.free, key)
	return k, k.test()
}

// test asks for answers that are known.
func (k *fastKey) test() error {
	wrong := errors.New("OpenSSL fails the test of the key")
	for range 2 {
		want := []byte(rand.Text())
		//lint:ignore SA1019 it is what the service encrypts with
		sealed, err := rsa.EncryptPKCS1v15(rand.Reader, &k.slow.PublicKey, want)
		if err != nil {
			return err // crypto/rsa refuses, as it may be told to: then this must not open anything
		}
		if got, err := k.Decrypt(nil, sealed, nil); err != nil || !bytes.Equal(got, want) {
			return wrong
		}
	}
	one := make([]byte, len(k.modulus))
	one[len(one)-1] = 1 // to any power it is one, which is no padding
	if _, err := k.Decrypt(nil, one, nil); err == nil {
		return wrong
	}
	return nil
}

// Public implements [crypto.Decrypter].
func (k *fastKey) Public() crypto.PublicKey { return k.slow.Public() }

// Decrypt implements [crypto.Decrypter]: PKCS#1 v1.5, whatever the options.
//
// OpenSSL is asked for the bare operation, and the padding is taken off here. Its own way with PKCS#1 v1.5 gives a made-up text for a
// wrong padding, since 3.2 and in distributions' older ones as well (CVE-2023-50782). There is a parameter against that, but not
// everywhere, and where it is missing or forgotten damage looks like a text. Of the bare operation there is one kind only; it is blinded
// as any other.
func (k *fastKey) Decrypt(random io.Reader, ciphertext []byte, options crypto.DecrypterOpts) ([]byte, error) {
	size := len(k.modulus)
	if len(ciphertext) != size || k.failed.Load() {
		return k.slow.Decrypt(random, ciphertext, nil)
	}
	if bytes.Compare(ciphertext, k.modulus) >= 0 {
		return nil, rsa.ErrDecryption
	}
	padded := make([]byte, size)
	defer clear(padded)
	n := k.lib.private(int32(size), unsafe.Pointer(&ciphertext[0]), unsafe.Pointer(&padded[0]), k.key, noPadding)
	runtime.KeepAlive(k)
	if n != int32(size) {
		return nil, rsa.ErrDecryption
	}
	return unpad(padded)
}

// unpad takes a copy of what is behind 0, 2, eight or more bytes that are not 0, and a 0. It takes the same time for all texts of one
// length, and for all paddings that are wrong.
func unpad(b []byte) ([]byte, error) {
	right := subtle.ConstantTimeByteEq(b[0], 0) & subtle.ConstantTimeByteEq(b[1], 2)
	end, looking := 0, 1
	for i := 2; i < len(b); i++ {
		zero := subtle.ConstantTimeByteEq(b[i], 0)
		end = subtle.ConstantTimeSelect(looking&zero, i, end)
		looking = subtle.ConstantTimeSelect(zero, 0, looking)
	}
	right &= (looking ^ 1) & subtle.ConstantTimeLessOrEq(2+8, end)
	if right == 0 {
		return nil, rsa.ErrDecryption
	}
	return bytes.Clone(b[end+1:]), nil
}
