package state

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// KeySize is the length of a sealing key in bytes.
const KeySize = 32

const (
	nonceSize = 24 // 12 bytes choose the key of the value, 12 are its GCM nonce
	tagSize   = 16
)

var (
	errSeal   = errors.New("a value cannot be opened")
	errDecode = errors.New("a value does not decode")
)

// sealer seals values with AES-256-GCM:
//
//	sealed = nonce (24 random bytes) ‖ GCM(key: HMAC-SHA256(K, nonce[:12]), nonce: nonce[12:], plaintext, aad: where it is stored)
//	K      = HKDF-SHA256(sealing key, info "weir state values")
//
// The long nonce lifts GCM's limit of 2^32 random nonces under one key, which a busy engine would reach within years. The place as
// additional data means that a value copied to another place does not open there.
type sealer struct{ key []byte }

func newSealer(key []byte) (*sealer, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("the state key has %d bytes, not %d", len(key), KeySize)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, "weir state values", KeySize)
	return &sealer{derived}, err
}

func (s *sealer) gcm(nonce []byte) cipher.AEAD {
	mac := hmac.New(sha256.New, s.key)
	mac.Write(nonce[:12])
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // the key has the right size
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return gcm
}

// inPlace seals buf[nonceSize:]; the first nonceSize bytes of buf are room for the nonce.
func (s *sealer) inPlace(buf, aad []byte) []byte {
	nonce := buf[:nonceSize]
	rand.Read(nonce) // never fails
	return s.gcm(nonce).Seal(nonce, nonce[12:], buf[nonceSize:], aad)
}

// open appends what was sealed to dst, which must not overlap sealed.
func (s *sealer) open(dst, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < nonceSize+tagSize {
		return nil, errSeal
	}
	plain, err := s.gcm(sealed[:nonceSize]).Open(dst, sealed[12:nonceSize], sealed[nonceSize:], aad)
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}
