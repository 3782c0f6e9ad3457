package finance

import (
	"crypto/aes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

// fileID is what an sdkfileid holds: base64 of the library's protobuf message MsgSdkFileId {fileid=1, authkey=2, aeskey=3}.
// The AES key in it makes the whole string a secret.
type fileID struct {
	id, auth string
	key      []byte // AES-128
}

func parseFileID(s string) (fileID, error) {
	packed, err := base64.StdEncoding.DecodeString(s)
	if err != nil || s == "" {
		return fileID{}, newError(opMedia, BadFileID, "")
	}
	var f fileID
	var hexKey string
	ok := eachField(packed, func(number int, _ uint64, text []byte) {
		switch number {
		case 1:
			f.id = string(text)
		case 2:
			f.auth = string(text)
		case 3:
			hexKey = string(text)
		}
	})
	f.key, err = hex.DecodeString(hexKey)
	if !ok || err != nil || f.id == "" || len(f.key) != 16 {
		return fileID{}, newError(opMedia, BadFileID, "")
	}
	return f, nil
}

// An index names a shard as the library does: "Range:bytes=524288-1048575", both ends included; "" is the first shard.
const indexPrefix = "Range:bytes="

// parseIndex returns the first and the last byte that an index asks for.
func parseIndex(index string) (first, last int64, err error) {
	if index == "" {
		return 0, ShardSize - 1, nil
	}
	text, ok := strings.CutPrefix(index, indexPrefix)
	if ok {
		_, err = fmt.Sscanf(text, "%d-%d", &first, &last)
	}
	if !ok || err != nil || first < 0 || last < first {
		return 0, 0, newError(opMedia, BadArgument, "bad index")
	}
	return first, last, nil
}

// nextIndex reads the answer's header CONTENT-RANGE ("BYTES 0-524287/1300000", total = length of the ciphertext) and
// returns the index of the following shard, or done. A missing header means that the file ends here (observed in the
// library), which is only believed of a shard that is shorter than a full one.
func nextIndex(header string, first int64, length int) (next string, done bool, err error) {
	if header == "" {
		if length == ShardSize {
			return "", false, newError(opMedia, NotParsed, "full shard without content-range")
		}
		return "", true, nil
	}
	var from, to, total int64
	_, err = fmt.Sscanf(strings.ToLower(header), "bytes %d-%d/%d", &from, &to, &total)
	if err != nil || from != first || to-from+1 != int64(length) || to >= total {
		return "", false, newError(opMedia, NotParsed, "content-range does not fit the shard")
	}
	if to+1 == total {
		return "", true, nil
	}
	return fmt.Sprintf("%s%d-%d", indexPrefix, to+1, min(to+ShardSize, total-1)), false, nil
}

// openShard decrypts one shard in place. A file is encrypted as a whole with AES-128-ECB and then cut, so every shard
// stands alone and only the last one ends in padding (PKCS#7).
func openShard(key, shard []byte, last bool) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil || len(shard)%aes.BlockSize != 0 {
		return nil, newError(opMedia, NotDecrypted, "shard is not whole blocks")
	}
	for b := shard; len(b) > 0; b = b[aes.BlockSize:] {
		block.Decrypt(b, b)
	}
	if !last {
		return shard, nil
	}
	plain, ok := unpad(shard)
	if !ok {
		return nil, newError(opMedia, NotDecrypted, "padding of the last shard is wrong")
	}
	return plain, nil
}
