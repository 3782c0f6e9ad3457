package wecomsim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
)

// row returns a message as an element of chatdata. The bytes depend on the company's seed and the message alone.
func (c *corp) row(m Message) []byte {
	if m.Served != nil {
		return m.Served
	}
	random := &stream{seed: c.Seed + "\x00" + c.ID + "\x00" + m.MsgID}
	plain := m.Plain
	if m.Damage == WrongInnerID {
		plain = withOtherID(plain, m.MsgID)
	}
	key, message := seal(random, plain, m.Damage)
	if m.Damage == SwappedKey {
		key, _ = seal(&stream{seed: random.seed + "another"}, plain, None)
	}
	return fmt.Appendf(nil, `{"seq":%d,"msgid":%s,"publickey_ver":%d,"encrypt_random_key":"%s","encrypt_chat_msg":"%s"}`,
		m.Seq, quoted(m.MsgID), m.KeyVersion, encryptPKCS1(random, c.Keys[m.KeyVersion], []byte(key)), message)
}

func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return b
}

// withOtherID changes the last character of the msgid inside a message.
func withOtherID(plain []byte, id string) []byte {
	last := byte('0')
	if id[len(id)-1] == last {
		last = '1'
	}
	other := id[:len(id)-1] + string(last)
	return bytes.Replace(plain, []byte(`"`+id+`"`), []byte(`"`+other+`"`), 1)
}

// seal does what the service does to a message: the inverse of the library's DecryptData (observed, build 200215; see
// package finance). It returns the random key, a text of 88 characters, and encrypt_chat_msg.
func seal(random *stream, plain []byte, damage Damage) (key, message string) {
	front, end, split := 1+random.intn(20), 1+random.intn(20), 1+random.intn(20)
	wrapKey, bodyKey := random.text(32), random.text(32)

	body := base64.StdEncoding.EncodeToString(sealCBC(random, bodyKey, plain))
	switch damage {
	case Garbled: // the first character is the top of the IV's first byte, so the opening brace changes
		body = string(otherDigit(body[0])) + body[1:]
	case Truncated:
		body = body[:24] // 18 bytes are not whole blocks
	}
	message = random.text(13) + wrapKey + random.text(front) +
		body[:split] + random.text(split) + body[split:] + random.text(end)

	written := split
	if damage == ZeroLength {
		written = 0
	}
	info := protoText(1, bodyKey)
	for i, n := range []int{front, end, written} {
		info = append(info, byte((i+2)<<3), byte(n))
	}
	return base64.StdEncoding.EncodeToString(sealCBC(random, wrapKey, info)), message
}

// otherDigit returns a base64 digit whose top bit differs.
func otherDigit(c byte) byte {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return digits[bytes.IndexByte([]byte(digits), c)^32]
}

// sealCBC returns a random IV and the AES-256-CBC ciphertext of b with PKCS#7 padding.
func sealCBC(random *stream, key string, b []byte) []byte {
	block, err := aes.NewCipher([]byte(key))
	if err != nil {
		panic(err) // keys are made here
	}
	sealed := append(random.bytes(aes.BlockSize), padded(b)...)
	iv, body := sealed[:aes.BlockSize], sealed[aes.BlockSize:]
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(body, body)
	return sealed
}

func padded(b []byte) []byte {
	n := aes.BlockSize - len(b)%aes.BlockSize
	return append(bytes.Clone(b), bytes.Repeat([]byte{byte(n)}, n)...)
}

// encryptPKCS1 is RSA with PKCS#1 v1.5 padding (RFC 8017, 7.2.1) from a random source of our own, which crypto/rsa would
// ignore.
func encryptPKCS1(random *stream, key *rsa.PublicKey, text []byte) string {
	size := key.Size()
	padding := random.bytes(size - len(text) - 3)
	for i, b := range padding {
		padding[i] = max(b, 1)
	}
	block := append([]byte{0, 2}, padding...)
	block = append(append(block, 0), text...)
	m := new(big.Int).SetBytes(block)
	m.Exp(m, big.NewInt(int64(key.E)), key.N)
	return base64.StdEncoding.EncodeToString(m.FillBytes(make([]byte, size)))
}

// SDKFileID returns the sdkfileid of a file: base64 of the library's protobuf message MsgSdkFileId {fileid=1, authkey=2,
// aeskey=3} (observed). aesKey is 32 hex digits.
func SDKFileID(fileID, authKey, aesKey string) string {
	packed := protoText(1, fileID)
	packed = append(packed, protoText(2, authKey)...)
	packed = append(packed, protoText(3, aesKey)...)
	return base64.StdEncoding.EncodeToString(packed)
}

func protoText(number int, s string) []byte {
	return append(binary.AppendUvarint([]byte{byte(number<<3 | 2)}, uint64(len(s))), s...)
}

// stream is a source of bytes that a seed decides: SHA-256 of seed and block number.
type stream struct {
	seed  string
	block int
	left  []byte
}

func (s *stream) bytes(n int) []byte {
	out := make([]byte, 0, n+32)
	for len(out) < n {
		if len(s.left) == 0 {
			sum := sha256.Sum256([]byte(s.seed + "\x00" + strconv.Itoa(s.block)))
			s.left, s.block = sum[:], s.block+1
		}
		take := min(n-len(out), len(s.left))
		out = append(out, s.left[:take]...)
		s.left = s.left[take:]
	}
	return out
}

func (s *stream) intn(n int) int { return int(binary.BigEndian.Uint32(s.bytes(4)) % uint32(n)) }

// text returns n base64 digits.
func (s *stream) text(n int) string {
	return base64.RawStdEncoding.EncodeToString(s.bytes(n))[:n]
}
