//go:build linux && (amd64 || arm64) && !weirstatic

package finance

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/weir-etl/weir/plugins/native"
)

// Library is the official Finance SDK, loaded into this process. It can abort the process, so the process should do
// nothing else. Its methods are safe for concurrent use.
type Library struct {
	newSdk      func() unsafe.Pointer
	initSdk     func(sdk unsafe.Pointer, corpID, secret string) int32
	destroySdk  func(sdk unsafe.Pointer)
	getChatData func(sdk unsafe.Pointer, seq uint64, limit uint32, proxy, password string, timeout int32, out unsafe.Pointer) int32
	decryptData func(randomKey, message string, out unsafe.Pointer) int32
	getMedia    func(sdk unsafe.Pointer, index, fileID, proxy, password string, timeout int32, out unsafe.Pointer) int32

	newSlice     func() unsafe.Pointer
	freeSlice    func(unsafe.Pointer)
	sliceContent func(unsafe.Pointer) unsafe.Pointer
	sliceLen     func(unsafe.Pointer) int32

	newMedia   func() unsafe.Pointer
	freeMedia  func(unsafe.Pointer)
	mediaIndex func(unsafe.Pointer) unsafe.Pointer
	indexLen   func(unsafe.Pointer) int32
	mediaData  func(unsafe.Pointer) unsafe.Pointer
	dataLen    func(unsafe.Pointer) int32
	mediaDone  func(unsafe.Pointer) int32
}

// Load opens the library at path. It stays loaded until the process ends. The loader's own words are part of the error; a process that
// has another library is a [native.OtherError].
func Load(path string) (*Library, error) {
	l := new(Library)
	err := native.Load(native.WeCom, path, map[string]any{
		"NewSdk": &l.newSdk, "Init": &l.initSdk, "DestroySdk": &l.destroySdk,
		"GetChatData": &l.getChatData, "DecryptData": &l.decryptData, "GetMediaData": &l.getMedia,
		"NewSlice": &l.newSlice, "FreeSlice": &l.freeSlice,
		"GetContentFromSlice": &l.sliceContent, "GetSliceLen": &l.sliceLen,
		"NewMediaData": &l.newMedia, "FreeMediaData": &l.freeMedia,
		"GetOutIndexBuf": &l.mediaIndex, "GetIndexLen": &l.indexLen,
		"GetData": &l.mediaData, "GetDataLen": &l.dataLen, "IsMediaDataFinish": &l.mediaDone,
	})
	if err != nil {
		return nil, fmt.Errorf("load finance library: %w", err)
	}
	return l, nil
}

// Decode opens one message with the library's DecryptData; see the function [Decode] for its errors.
func (l *Library) Decode(randomKey, message string) ([]byte, error) {
	// A short message, and one that C takes for short, would abort the process.
	if len(message) < minMessage || strings.IndexByte(message, 0) >= 0 || strings.IndexByte(randomKey, 0) >= 0 {
		return nil, newError(opDecrypt, BadKey, "message is too short")
	}
	out := l.newSlice() // one per call: a second use leaks the first one's buffer (observed)
	defer l.freeSlice(out)
	if code := l.decryptData(randomKey, message, out); code != 0 {
		return nil, newError(opDecrypt, int(code), "")
	}
	return copied(l.sliceContent(out), l.sliceLen(out)), nil
}

// copied takes n bytes out of the library's memory, which is freed with the slice they belong to.
func copied(p unsafe.Pointer, n int32) []byte {
	b := make([]byte, max(n, 0))
	if p != nil {
		copy(b, unsafe.Slice((*byte)(p), len(b)))
	}
	return b
}

// Session is a Client that calls the library. A call in the library cannot be interrupted: it returns within
// Options.Timeout, and ctx is looked at before it starts.
type Session struct {
	lib     *Library
	options Options
	timeout int32
	slots   slots

	mu      sync.RWMutex // held for reading during a call, for writing while the handle changes
	sdk     unsafe.Pointer
	built   int // counts the handles
	rebuilt time.Time
}

// Open returns a client of the library. Nobody is called yet: a wrong secret shows at the first page, as errcode 41001.
func (l *Library) Open(o Options) (*Session, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Session{lib: l, options: o, slots: make(slots, o.Parallel)}
	s.timeout = int32((o.Timeout + time.Second - 1) / time.Second)
	if s.sdk, err = s.newHandle(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Session) newHandle() (unsafe.Pointer, error) {
	sdk := s.lib.newSdk()
	if code := s.lib.initSdk(sdk, s.options.CorpID, s.options.Secret); code != 0 {
		s.lib.destroySdk(sdk)
		return nil, newError("init", int(code), "")
	}
	return sdk, nil
}

// ChatData implements [Client].
func (s *Session) ChatData(ctx context.Context, seq uint64, limit int) ([]byte, error) {
	if err := checkPage(limit); err != nil {
		return nil, err
	}
	release, err := s.slots.take(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	body, handle, err := s.page(seq, limit)
	if err != nil || !tokenError(errcode(body)) || !s.rebuild(handle) {
		return body, err
	}
	body, _, err = s.page(seq, limit)
	return body, err
}

func (s *Session) page(seq uint64, limit int) (body []byte, handle int, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := s.lib.newSlice()
	defer s.lib.freeSlice(out)
	code := s.lib.getChatData(s.sdk, seq, uint32(limit), s.options.Proxy, s.options.ProxyPassword, s.timeout, out)
	if code != 0 {
		return nil, s.built, newError(opPage, int(code), "")
	}
	return copied(s.lib.sliceContent(out), s.lib.sliceLen(out)), s.built, nil
}

// Media implements [Client]. The library tells a refused token and every other errcode of the service as NotParsed
// (observed), so that one leads to a new handle and a second try as well.
func (s *Session) Media(ctx context.Context, sdkFileID, index string) (Shard, error) {
	if _, err := parseFileID(sdkFileID); err != nil {
		return Shard{}, err
	}
	if _, _, err := parseIndex(index); err != nil {
		return Shard{}, err
	}
	release, err := s.slots.take(ctx)
	if err != nil {
		return Shard{}, err
	}
	defer release()
	shard, handle, code := s.shard(sdkFileID, index)
	if code == NotParsed && s.rebuild(handle) {
		shard, _, code = s.shard(sdkFileID, index)
	}
	if code != 0 {
		return Shard{}, newError(opMedia, code, "")
	}
	return shard, nil
}

func (s *Session) shard(sdkFileID, index string) (shard Shard, handle, code int) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := s.lib.newMedia()
	defer s.lib.freeMedia(out)
	c := s.lib.getMedia(s.sdk, index, sdkFileID, s.options.Proxy, s.options.ProxyPassword, s.timeout, out)
	if c != 0 {
		return Shard{}, s.built, int(c)
	}
	return Shard{
		Data: copied(s.lib.mediaData(out), s.lib.dataLen(out)),
		Next: string(copied(s.lib.mediaIndex(out), s.lib.indexLen(out))),
		Done: s.lib.mediaDone(out) == 1,
	}, s.built, 0
}

// rebuild replaces the handle, the only way to make the library fetch a new token (observed), at most once a minute. It
// reports whether the handle is another than the caller's by now.
func (s *Session) rebuild(handle int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.built != handle {
		return true
	}
	now := s.options.Now()
	if !s.rebuilt.IsZero() && now.Sub(s.rebuilt) < renewal {
		return false
	}
	s.rebuilt = now
	sdk, err := s.newHandle()
	if err != nil {
		return false
	}
	s.lib.destroySdk(s.sdk)
	s.sdk = sdk
	s.built++
	return true
}

// Close implements [Client].
func (s *Session) Close() error {
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lib.destroySdk(s.sdk)
	s.sdk = nil
	return nil
}
