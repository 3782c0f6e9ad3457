package wecomsim

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"fmt"
	"io"
)

// shardSize is the length of a piece of ciphertext, in bytes (observed: the library asks for Range:bytes=0-524287).
const shardSize = 512 << 10

func newBlock(aesKey string) (cipher.Block, error) {
	key, err := hex.DecodeString(aesKey)
	if err != nil || len(key) != 16 {
		return nil, fmt.Errorf("aes key is not 32 hex digits")
	}
	return aes.NewCipher(key)
}

// cipherLen is the length of a file's ciphertext: padding is never absent.
func cipherLen(size int64) int64 { return size + aes.BlockSize - size%aes.BlockSize }

// encryptPiece returns the ciphertext bytes [first, last] of a file. Both ends lie on block boundaries. AES-128-ECB over
// the whole file lets any piece be computed alone (observed).
func encryptPiece(block cipher.Block, content io.ReaderAt, size, first, last int64) ([]byte, error) {
	piece := make([]byte, last-first+1)
	plain := min(size-first, int64(len(piece)))
	if n, err := content.ReadAt(piece[:plain], first); int64(n) < plain {
		return nil, fmt.Errorf("read content: %w", err)
	}
	if plain < int64(len(piece)) {
		filler := int64(len(piece)) - plain
		copy(piece[plain:], bytes.Repeat([]byte{byte(filler)}, int(filler)))
	}
	for b := piece; len(b) > 0; b = b[aes.BlockSize:] {
		block.Encrypt(b, b)
	}
	return piece, nil
}
