package finance

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/binary"
)

const (
	opRandomKey = "randomkey"
	opDecrypt   = "decrypt"

	// minMessage guards both decoders: the library aborts the whole process on fewer than 13 characters (observed), and
	// no real message has fewer than 64.
	minMessage = 64
)

// OpenRandomKey decrypts a row's encrypt_random_key with the private key of its publickey_ver, which does PKCS#1 v1.5 when it is not told
// otherwise, as an [rsa.PrivateKey] does. The result is a text, itself base64, for Decode. A wrong private key is an *[Error] with code
// BadKey.
func OpenRandomKey(priv crypto.Decrypter, encrypted string) (string, error) {
	ciphertext, err := base64.StdEncoding.DecodeString(encrypted)
	if err != nil {
		return "", newError(opRandomKey, BadKey, "random key is not base64")
	}
	text, err := priv.Decrypt(nil, ciphertext, nil)
	if err != nil {
		return "", newError(opRandomKey, BadKey, "private key does not open the random key")
	}
	return string(text), nil
}

// Decode opens one message (encrypt_chat_msg) as DecryptData of the official library does. Errors are *[Error] with code
// BadKey, BadFileID (the key info has no length) or NotDecrypted, each where the library gives it (observed). The format
// has no checksum: a damaged message may decode to damaged text, so compare the msgid inside with the one outside.
//
// A message is 13 characters of filler, 32 characters that are an AES key as they stand, and the rest. The key opens the
// random key: 16 bytes of IV, then a key info (AES-256-CBC). The info says how many characters of the rest are filler in
// front, at the end and, repeated once, in between, and holds the key of the body (again IV, then AES-256-CBC).
func Decode(randomKey, message string) ([]byte, error) {
	if len(message) < minMessage {
		return nil, newError(opDecrypt, BadKey, "message is too short")
	}
	wrapKey, rest := message[13:45], message[45:]

	sealed, err := base64.StdEncoding.DecodeString(randomKey)
	if err != nil {
		return nil, newError(opDecrypt, BadKey, "random key is not base64")
	}
	packed, ok := openCBC(wrapKey, sealed)
	if !ok {
		return nil, newError(opDecrypt, BadKey, "random key does not belong to the message")
	}
	info, ok := parseKeyInfo(packed)
	if !ok {
		return nil, newError(opDecrypt, BadKey, "key info cannot be read")
	}
	return decodeBody(info, rest)
}

// decodeBody takes the filler out of the rest of a message and decrypts what is left.
func decodeBody(info keyInfo, rest string) ([]byte, error) {
	if info.split < 1 {
		return nil, newError(opDecrypt, BadFileID, "key info without a length")
	}
	if info.front < 0 || info.end < 0 || info.front+info.end+2*info.split > int64(len(rest)) {
		return nil, newError(opDecrypt, NotDecrypted, "message is cut short")
	}
	rest = rest[info.front : int64(len(rest))-info.end]
	body, err := base64.StdEncoding.DecodeString(rest[:info.split] + rest[2*info.split:])
	if err != nil {
		return nil, newError(opDecrypt, NotDecrypted, "message is not base64")
	}
	plain, ok := openCBC(info.key, body)
	if !ok {
		return nil, newError(opDecrypt, NotDecrypted, "")
	}
	return plain, nil
}

// openCBC decrypts IV and ciphertext with AES-256-CBC and takes the PKCS#7 padding off.
func openCBC(key string, sealed []byte) ([]byte, bool) {
	if len(key) != 32 || len(sealed) < 2*aes.BlockSize || len(sealed)%aes.BlockSize != 0 {
		return nil, false
	}
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		return nil, false
	}
	plain := sealed[aes.BlockSize:]
	cipher.NewCBCDecrypter(block, sealed[:aes.BlockSize]).CryptBlocks(plain, plain)
	return unpad(plain)
}

// unpad takes the PKCS#7 padding (block 16) off. Every byte of it must be right.
func unpad(b []byte) ([]byte, bool) {
	if len(b) == 0 {
		return nil, false
	}
	n := int(b[len(b)-1])
	if n < 1 || n > aes.BlockSize || n > len(b) {
		return nil, false
	}
	for _, c := range b[len(b)-n:] {
		if int(c) != n {
			return nil, false
		}
	}
	return b[:len(b)-n], true
}

// keyInfo is the library's protobuf message SdkKeyInfo {k1=1, pre_len=2, end_len=3, s_len=4}.
type keyInfo struct {
	key               string
	front, end, split int64
}

func parseKeyInfo(b []byte) (keyInfo, bool) {
	var info keyInfo
	ok := eachField(b, func(number int, value uint64, text []byte) {
		switch number {
		case 1:
			info.key = string(text)
		case 2:
			info.front = int64(int32(value))
		case 3:
			info.end = int64(int32(value))
		case 4:
			info.split = int64(int32(value))
		}
	})
	return info, ok
}

// eachField walks the varint and length-delimited fields of a small protobuf message; the vendor's two have no others.
func eachField(b []byte, visit func(number int, value uint64, text []byte)) bool {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		value, n := binary.Uvarint(b)
		if n <= 0 {
			return false
		}
		b = b[n:]
		switch tag & 7 {
		case 0:
			visit(int(tag>>3), value, nil)
		case 2:
			if value > uint64(len(b)) {
				return false
			}
			visit(int(tag>>3), 0, b[:value])
			b = b[value:]
		default:
			return false
		}
	}
	return true
}
