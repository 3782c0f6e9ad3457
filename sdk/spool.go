package sdk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
)

// Spool is the private folder for media in flight.
//
// A spool file is a sequence of pieces, each AES-256-GCM under the file's own random 32-byte key: 65,536 bytes of plain text (the
// last piece 0 to 65,536) and a 16-byte tag. The nonce is the piece's number, 11 bytes big-endian from 0, and one byte that is
// 1 on the last piece and 0 before it, so that neither reordering nor truncation goes unnoticed. There is no header. The key
// travels in calls and lives in memory only: after kill -9 the file is noise.
//
// The state may lie on the same disk, and must find room there: the spool leaves 64 MiB of it free.
type Spool struct {
	dir     string
	reserve int64
	watch   func(f *File) (moved func()) // nil = nobody asks
}

// Sizes of a spool piece, in bytes.
const (
	SpoolPiece  = 64 << 10
	spoolTag    = 16
	spoolSealed = SpoolPiece + spoolTag
)

// OpenSpool uses dir, which must exist.
func OpenSpool(dir string) *Spool { return &Spool{dir: dir, reserve: 64 << 20} }

// Watched is the same spool, which asks watch about each file that is created or opened and calls moved whenever bytes of it move. The
// wire adapter sees by it that a call makes progress.
func (s *Spool) Watched(watch func(f *File) (moved func())) *Spool {
	return &Spool{s.dir, s.reserve, watch}
}

func (s *Spool) moves(f *File) func() {
	if s.watch == nil {
		return func() {}
	}
	return s.watch(f)
}

// ErrNoBytes says that a file is not in the spool.
var ErrNoBytes = errors.New("file has no bytes in the spool")

// ErrNoRoom says that the disk under the spool is nearly full. It is a reason to try again later.
var ErrNoRoom = errors.New("the disk under the spool is full")

// SpoolWriter takes the bytes of one file and computes size, md5 and sha256 on the way. Memory use is constant.
type SpoolWriter struct {
	spool    *Spool
	moved    func()
	f        *os.File
	file     *File
	aead     cipher.AEAD
	key      []byte
	md5, sha hash.Hash
	size     int64
	piece    uint64
	buf      []byte // plain text of the piece being filled
	out      []byte
}

// Create begins to write the bytes of file. Nothing about file changes before Commit.
func (s *Spool) Create(file *File) (*SpoolWriter, error) {
	key := make([]byte, 32)
	rand.Read(key)
	f, err := os.CreateTemp(s.dir, fmt.Sprintf("f-%d-*", os.Getpid())) // whose it was, should this process die
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	return &SpoolWriter{spool: s, moved: s.moves(file), f: f, file: file, aead: spoolAEAD(key), key: key, md5: md5.New(), sha: sha256.New(), buf: make([]byte, 0, SpoolPiece)}, nil
}

// Write adds bytes, or answers [ErrNoRoom].
func (w *SpoolWriter) Write(p []byte) (int, error) {
	n := len(p)
	w.moved()
	w.md5.Write(p)
	w.sha.Write(p)
	w.size += int64(n)
	for len(p) > 0 {
		if len(w.buf) == SpoolPiece { // only now it is known not to be the last
			if err := w.flush(false); err != nil {
				return 0, err
			}
		}
		k := min(SpoolPiece-len(w.buf), len(p))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
	}
	return n, nil
}

// Size is the number of bytes written so far.
func (w *SpoolWriter) Size() int64 { return w.size }

func (w *SpoolWriter) flush(last bool) error {
	if n, known := room(w.spool.dir); known && n < w.spool.reserve {
		return ErrNoRoom
	}
	w.out = w.aead.Seal(w.out[:0], spoolNonce(w.piece, last), w.buf, nil)
	w.piece++
	w.buf = w.buf[:0]
	if _, err := w.f.Write(w.out); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Commit ends the file, or answers [ErrNoRoom], and writes what was found into it: Size, MD5, SHA256, Spool and SpoolKey.
func (w *SpoolWriter) Commit() error {
	if err := w.flush(true); err != nil {
		w.Abort()
		return err
	}
	if err := w.f.Close(); err != nil {
		os.Remove(w.f.Name())
		return fmt.Errorf("spool: %w", err)
	}
	w.file.Size = w.size
	w.file.MD5 = hex.EncodeToString(w.md5.Sum(nil))
	w.file.SHA256 = hex.EncodeToString(w.sha.Sum(nil))
	w.file.Spool = filepath.Base(w.f.Name())
	w.file.SpoolKey = NewSecret(base64.RawStdEncoding.EncodeToString(w.key))
	return nil
}

// Abort removes what was written; file stays as it was. After Commit it must not be called.
func (w *SpoolWriter) Abort() {
	w.f.Close()
	os.Remove(w.f.Name())
}

// SpoolReader reads one file; it can seek, so that an upload can be tried again. Not for several goroutines at once.
type SpoolReader struct {
	f     *os.File
	moved func()
	aead  cipher.AEAD
	size  int64
	at    int64
	piece int64 // number of the piece in plain, -1 = none
	plain []byte
	in    []byte
}

// Open opens the bytes of file. It returns [ErrNoBytes] when there are none, or no longer.
func (s *Spool) Open(file *File) (*SpoolReader, error) {
	if !file.HasBytes() {
		return nil, ErrNoBytes
	}
	key, err := base64.RawStdEncoding.DecodeString(file.SpoolKey.Reveal())
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("spool: bad key: %w", ErrNoBytes)
	}
	f, err := os.Open(filepath.Join(s.dir, filepath.Base(file.Spool)))
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoBytes
	}
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("spool: %w", err)
	}
	pieces := (st.Size() + spoolSealed - 1) / spoolSealed
	// Else it would be read as a file that ends before its last piece, which is empty in no file but an empty one.
	if last := st.Size() - (pieces-1)*spoolSealed; last < spoolTag || last == spoolTag && pieces > 1 {
		f.Close()
		return nil, fmt.Errorf("spool: piece %d is damaged", max(0, pieces-1))
	}
	return &SpoolReader{f: f, moved: s.moves(file), aead: spoolAEAD(key), size: st.Size() - pieces*spoolTag, piece: -1, in: make([]byte, spoolSealed)}, nil
}

// Size is the plain size in bytes.
func (r *SpoolReader) Size() int64 { return r.size }

// Read reads on.
func (r *SpoolReader) Read(p []byte) (int, error) {
	r.moved()
	if r.at >= r.size {
		if r.size == 0 && r.piece < 0 { // an empty file has its tag checked too
			if err := r.load(0); err != nil {
				return 0, err
			}
		}
		return 0, io.EOF
	}
	if want := r.at / SpoolPiece; want != r.piece {
		if err := r.load(want); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.plain[r.at%SpoolPiece:])
	r.at += int64(n)
	return n, nil
}

// Seek moves the place of the next Read.
func (r *SpoolReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.size
	}
	if offset < 0 {
		return 0, errors.New("spool: seek before the start")
	}
	r.at = offset
	return offset, nil
}

// Close closes the file; its bytes stay until the engine removes them.
func (r *SpoolReader) Close() error { return r.f.Close() }

func (r *SpoolReader) load(piece int64) error {
	n, err := r.f.ReadAt(r.in, piece*spoolSealed)
	if err != nil && !(err == io.EOF && n >= spoolTag) {
		return fmt.Errorf("spool: piece %d: %w", piece, err)
	}
	last := (piece+1)*SpoolPiece >= r.size
	r.plain, err = r.aead.Open(r.plain[:0], spoolNonce(uint64(piece), last), r.in[:n], nil)
	if err != nil {
		r.piece = -1
		return fmt.Errorf("spool: piece %d is damaged", piece)
	}
	r.piece = piece
	return nil
}

func spoolAEAD(key []byte) cipher.AEAD {
	b, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // a key of 32 bytes always works
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		panic(err)
	}
	return a
}

func spoolNonce(piece uint64, last bool) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint64(n[3:11], piece)
	if last {
		n[11] = 1
	}
	return n
}
