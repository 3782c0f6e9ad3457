package corpus

import (
	"crypto/rsa"
	"crypto/x509"
	_ "embed"
	"encoding/pem"
	"fmt"

	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// lateKey is the private key of version 5, a throw-away pair of tests as 3 and 4 are.
//
//go:embed testkey_v5.pkcs1.pem
var lateKey []byte

// LateKeyVersion is the version of the key that comes late, if Options.LateKey says so.
const LateKeyVersion = 5

// PrivateKeys returns the company's private keys as PEM, by version.
func PrivateKeys() map[int][]byte {
	keys := wecomsim.CorpusKeys()
	keys[LateKeyVersion] = lateKey
	return keys
}

func publicKeys() (map[int]*rsa.PublicKey, error) {
	public := map[int]*rsa.PublicKey{}
	for version, text := range PrivateKeys() {
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("key version %d: no pem", version)
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			public[version] = &key.PublicKey
			continue
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("key version %d: %w", version, err)
		}
		public[version] = &key.(*rsa.PrivateKey).PublicKey
	}
	return public, nil
}
