// Package decrypt is a transform that opens the messages of WeCom's chat archive with the customer's private keys.
//
// Every message is encrypted for one of the public keys that the customer has uploaded; its publickey_ver says which. Old messages
// keep their old version, so all private keys are kept, and a message whose key is missing waits for it without holding up others.
//
// The format has no checksum: a damaged message may decrypt to damaged text without an error (observed with the official library).
// So the text must be a JSON object, and its msgid must be the one on the envelope.
//
// Nearly all of the work is one RSA operation a message. The system's OpenSSL does it where it can be loaded, else crypto/rsa; which of
// them is a line in the log at debug, and makes no other difference (openssl.go).
package decrypt

import (
	"bytes"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weir-etl/weir/plugins/native"
	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

// Kinds of record that decrypt takes and makes.
const (
	KindRaw   = "wecom.chat.raw/1" // one element of chatdata, as WeCom serves it
	KindPlain = "wecom.chat.plain/1"
)

// Codes of refusals and events.
const (
	CodeFailed     = "DECRYPT_FAILED"      // damaged, or the private key is not the one of its version
	CodeUnknownKey = "KEY_VERSION_UNKNOWN" // waits for the cause "key version N"
	CodeBadKey     = "KEY_UNREADABLE"      // the same, but there is something under that version
)

// Plugin offers transform "decrypt".
func Plugin() sdk.Plugin {
	told, turn := &told{versions: make(map[string]bool)}, make(chan struct{}, 1)
	return sdk.Plugin{Name: "decrypt", Version: "0.1.0", Components: []sdk.Component{{
		Kind: sdk.KindTransform,
		Type: "decrypt",
		Doc: "Opens messages of WeCom's chat archive with the private keys of all versions.\n\n" +
			"A message of a version without key waits, owed for the cause \"key version N\", and is opened when the key is there. " +
			"A message that cannot be opened is rejected as DECRYPT_FAILED; its ciphertext stays in the dead letter.\n\n" +
			"The system's OpenSSL (libcrypto 1.1.1 or 3) does RSA where it can be loaded and decoder is not \"library\"; else Go's own, more slowly. " +
			"The log says at debug which.",
		Args: []sdk.Arg{
			{Name: "private_keys", Type: sdk.StringMap, Required: true, Secret: true, Doc: "Version of the public key (publickey_ver) to private key: PEM, PKCS#1 or PKCS#8, RSA, without password. See keyring()."},
			{Name: "decoder", Type: sdk.String, Default: "plain", OneOf: []string{"plain", "library"}, Doc: "\"plain\" = weir's own, \"library\" = the official one, which can end the process of this step, and shares none with OpenSSL: beside a step with \"plain\" it wants isolate = true."},
			{Name: "library", Type: sdk.String, Default: "", Doc: "Path of the official library, for decoder = \"library\"."},
		},
		Accepts: []string{KindRaw},
		Emits:   []string{KindPlain},
		Fields: []sdk.Field{
			{Name: "meta.key_version", Type: sdk.String, Doc: "Version of the key that opened the message."},
			{Name: "meta.msgid_absent", Type: sdk.String, Doc: "\"true\" where the message says no msgid of its own; it goes under the one on the envelope."},
		},
		NewTransform: func() sdk.Transform {
			return &transform{told: told, turn: turn, openssl: []string{"libcrypto.so.3", "libcrypto.so.1.1"}}
		},
	}}}
}

type transform struct {
	address string
	keys    map[int64]key
	decode  func(randomKey, message string) ([]byte, error)
	told    *told
	turn    chan struct{} // of the process, holds one token: one call at a time
	openssl []string      // names of the system's libcrypto, the first that is there is taken
	log     *slog.Logger
}

// Open reads the keys. One that cannot be read counts as missing, so that the others go on working; the log and the messages of its
// version tell. A library that does not load is an error.
func (t *transform) Open(_ context.Context, env *sdk.Env) error {
	args := struct {
		PrivateKeys map[string]sdk.Secret `json:"private_keys"`
		Decoder     string                `json:"decoder"`
		Library     string                `json:"library"`
	}{Decoder: "plain"}
	if err := env.Decode(&args); err != nil {
		return err
	}
	fast, slow := (*openssl)(nil), errors.New(`decoder is "library", which has an OpenSSL of its own`)
	switch args.Decoder {
	case "plain":
		t.decode = finance.Decode
		fast, slow = loadOpenSSL(t.openssl)
	case "library":
		if args.Library == "" {
			return errors.New(`library: is empty, but decoder is "library"`)
		}
		library, err := finance.Load(args.Library)
		if errors.As(err, new(*native.OtherError)) {
			return fmt.Errorf("%w: set isolate = true for this step", err)
		}
		if err != nil {
			return err
		}
		t.decode = library.Decode
	default:
		return errors.New(`decoder: want "plain" or "library"`)
	}

	t.log = env.Log
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	t.address = env.Address
	t.keys = make(map[int64]key, len(args.PrivateKeys))
	for name, pem := range args.PrivateKeys {
		version, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			return fmt.Errorf("private_keys: %q is not a version number", name)
		}
		k := readKey(pem)
		if k.err == nil {
			t.told.forget(t.address, version)
			k.hasten(fast, slow, t.log.With(slog.Int64("key_version", version)))
		} else {
			t.log.Error("private key cannot be read", slog.Int64("key_version", version), slog.String("reason", k.err.Error()))
		}
		t.keys[version] = k
	}
	return nil
}

// Close does nothing.
func (t *transform) Close(context.Context) error { return nil }

// together is how long answers of a call wait for each other: the steps behind work by what comes at once, and a few rows at a time cost
// them several times as much a row. A call of 500 takes a quarter of a second on one core, with crypto/rsa twice that.
const together = time.Second

// Apply opens the rows on all cores: RSA is nearly all of the work, 0.3 to 1 ms a message. Calls take turns, because more threads in C than
// there are cores get in each other's way, and neither call would end sooner.
func (t *transform) Apply(ctx context.Context, call *sdk.Call) error {
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	gathered := answers{call: call}
	stop := gathered.every(together)
	defer stop()
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(call.Rows)) {
		workers.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(call.Rows) {
					return
				}
				gathered.add(i, t.one(call.Rows[i].Record))
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// answers of a call, until they are given.
type answers struct {
	call *sdk.Call

	mu       sync.Mutex
	rows     []int
	outcomes []sdk.Outcome
}

func (a *answers) add(row int, o sdk.Outcome) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.rows, a.outcomes = append(a.rows, row), append(a.outcomes, o)
}

func (a *answers) give() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, row := range a.rows {
		a.call.Answer(row, a.outcomes[k])
	}
	a.rows, a.outcomes = a.rows[:0], a.outcomes[:0]
}

// every gives answers now and then, and the last of them when stop is called: a row that takes long holds no other back.
func (a *answers) every(pause time.Duration) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				a.give()
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		a.give()
	}
}

func (t *transform) one(r sdk.Record) sdk.Outcome {
	var e envelope
	if !e.read(r.Body) {
		return failed("body is not a row of the chat archive")
	}
	k, ok := t.keys[e.Version]
	if !ok || k.err != nil {
		return t.missingKey(e.Version, ok)
	}
	plain, absent, err := t.open(&k, &e)
	if err != nil {
		return sdk.Reject(CodeFailed, err)
	}
	r.Kind, r.Body = KindPlain, plain
	r.SetMeta("key_version", strconv.FormatInt(e.Version, 10))
	if absent {
		r.SetMeta("msgid_absent", "true")
	}
	return sdk.Emit(r)
}

// open decrypts a message and checks it. Nothing is refused on OpenSSL's word alone: crypto/rsa has the last one.
func (t *transform) open(k *key, e *envelope) (plain []byte, absent bool, err error) {
	if k.fast == nil || k.fast.failed.Load() {
		return t.openWith(k.rsa, e)
	}
	if plain, absent, err = t.openWith(k.fast, e); err == nil {
		return plain, absent, nil
	}
	if plain, absent, err = t.openWith(k.rsa, e); err == nil && !k.fast.failed.Swap(true) {
		t.log.Warn("OpenSSL does not open what crypto/rsa does, which goes on alone", slog.String("rsa", k.fast.lib.version), slog.Int64("key_version", e.Version))
	}
	return plain, absent, err
}

func (t *transform) openWith(private crypto.Decrypter, e *envelope) (plain []byte, absent bool, err error) {
	randomKey, err := finance.OpenRandomKey(private, e.RandomKey)
	if err != nil {
		return nil, false, err
	}
	if plain, err = t.decode(randomKey, e.Message); err != nil {
		return nil, false, err
	}
	absent, err = checkMsgID(plain, e.MsgID)
	return plain, absent, err
}

func failed(why string) sdk.Outcome { return sdk.Reject(CodeFailed, errors.New(why)) }

var (
	errNotJSON    = errors.New("decrypted text is not a JSON object")
	errOtherMsgID = errors.New("msgid inside differs from the one on the envelope")
)

// checkMsgID looks for damage, and whether the message says no msgid. The name has to be exact, unlike that of a struct's field.
func checkMsgID(plain []byte, outer string) (absent bool, err error) {
	if !json.Valid(plain) {
		return false, errNotJSON
	}
	raw, ok := lastMember(plain, "msgid")
	switch {
	case !ok:
		return false, errNotJSON
	case raw == nil || string(raw) == "null":
		return true, nil
	case len(raw) == len(outer)+2 && string(raw[1:len(raw)-1]) == outer && bytes.IndexByte(raw, '\\') < 0:
		return false, nil
	}
	var id string
	if err := json.Unmarshal(raw, &id); err != nil || id != outer {
		return false, errOtherMsgID
	}
	return false, nil
}

// missingKey owes a message of a version without a usable key, and tells once.
func (t *transform) missingKey(version int64, unreadable bool) sdk.Outcome {
	code := CodeUnknownKey
	if unreadable {
		code = CodeBadKey
	}
	number := strconv.FormatInt(version, 10)
	cause := "key version " + number
	o := sdk.WaitFor(cause, code)
	if t.told.first(t.address, version) {
		o = o.With(sdk.Event{Code: code, Severity: sdk.Critical, Cause: cause, Attrs: map[string]string{"key_version": number}})
	}
	return o
}

// told remembers which missing versions of which step the process has told of. It outlives a transform, which is opened anew
// whenever the keys change.
type told struct {
	mu       sync.Mutex
	versions map[string]bool
}

func (t *told) first(address string, version int64) bool {
	name := fmt.Sprint(address, " ", version)
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.versions[name]
	t.versions[name] = true
	return !before
}

func (t *told) forget(address string, version int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.versions, fmt.Sprint(address, " ", version))
}
