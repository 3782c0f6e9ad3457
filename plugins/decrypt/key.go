package decrypt

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"

	"github.com/weir-etl/weir/sdk"
)

// key is a private key, or why there is none.
type key struct {
	rsa  *rsa.PrivateKey
	fast *fastKey // the same in faster hands, or nil
	err  error
}

// hasten gives the key to OpenSSL, unless that is not there for a reason, and tells who works with it.
func (k *key) hasten(l *openssl, why error, log *slog.Logger) {
	if l != nil {
		if k.fast, why = l.fasten(k.rsa); why == nil {
			log.Debug("private key is read", slog.String("rsa", l.version))
			return
		}
		k.fast = nil
	}
	log.Debug("private key is read", slog.String("rsa", "crypto/rsa"), slog.String("reason", why.Error()))
}

// readKey finds the first private key in a PEM text: "RSA PRIVATE KEY" (PKCS#1) or "PRIVATE KEY" (PKCS#8). Reasons never repeat
// anything of the text.
func readKey(secret sdk.Secret) key {
	for rest := []byte(secret.Reveal()); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return key{err: errors.New("no private key in PEM")}
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return key{err: errors.New("private key has a password")}
		case block.Type == "RSA PRIVATE KEY":
			if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
				return key{rsa: k}
			}
			return key{err: errors.New("PKCS#1 private key is damaged")}
		case block.Type == "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return key{err: errors.New("PKCS#8 private key is damaged")}
			}
			if k, ok := k.(*rsa.PrivateKey); ok {
				return key{rsa: k}
			}
			return key{err: errors.New("private key is not RSA")}
		}
	}
}
