package finance

import (
	"fmt"
	"strconv"
	"time"
)

// Return codes of the official library (its header, and official FAQ 91552). The plain client uses the same ones, so that
// a caller sees one vocabulary. Codes of the service itself (errcode) are -1 and everything from 40000 up.
const (
	BadArgument  = 10000 // a wrong argument
	Network      = 10001 // no connection, timeout, or the proxy refuses
	NotParsed    = 10002 // the answer cannot be read; for media, in the library, also every errcode but two (observed)
	SystemCall   = 10003 // a system call failed
	BadFileID    = 10005 // not a file id; in Decode: the key info has no length
	NotDecrypted = 10006 // the bytes do not decrypt
	BadKey       = 10008 // the random key cannot be read: mostly the private key of another version
	NotTrustedIP = 10009 // the caller's address is not in the trusted list
	TooOld       = 10010 // older than 5 days: lost
	Certificate  = 10011 // the certificate of the service or a proxy does not verify
)

// Codes of the service (errcode; official global table, page 90313, and observed where noted).
const (
	codeBusy          = -1
	codeBadSecret     = 40001
	codeBadCorp       = 40013
	codeBadToken      = 40014
	codeNoToken       = 41001 // in the library: the token could not be had, so corp id or secret is wrong (observed)
	codeTokenExpired  = 42001
	codeFrequency     = 45009
	codeConcurrency   = 45033
	codeForbidden     = 48002
	codeIPNotTrusted  = 60020
	codeIPNotArchived = 301042 // the library turns it into 10009 for media (observed)
	codeTooOld        = 301048 // the library turns it into 10010 for media (observed)
	codeExpired       = 301052 // the company's chat archive has run out
)

// Class says what is to be done about an error.
type Class int

const (
	// Retry: the same call may succeed later.
	Retry Class = iota
	// Throttled: too many calls; wait Error.Wait before the next one.
	Throttled
	// Config: a person must change something (secret, trusted address, certificate, contract); until then every call
	// fails alike. Stop and tell.
	Config
	// Permanent: this very call can never succeed.
	Permanent
)

func (c Class) String() string {
	switch c {
	case Retry:
		return "retry"
	case Throttled:
		return "throttled"
	case Config:
		return "config"
	case Permanent:
		return "permanent"
	}
	return "class " + strconv.Itoa(int(c))
}

// An Error is a refusal by the library, the service or a decoder. It never holds the vendor's text, a token, a secret or a
// file id.
type Error struct {
	Op     string // what was asked: init, gettoken, getchatdata, getchatmediadata, randomkey, decrypt
	Code   int    // return code of the library, or errcode of the service
	Class  Class
	Reason string // a few words of our own, may be empty

	After time.Duration // for so long the service, or what stands before it, wants to be left alone; 0 = it does not say
}

const (
	opToken = "gettoken"
	opPage  = "getchatdata"
	opMedia = "getchatmediadata"
)

func (e *Error) Error() string {
	s := fmt.Sprintf("wecom %s: code %d", e.Op, e.Code)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Wait is how long to leave the service alone: what it asks for itself, a minute after 45009, because a violated minute blocks for
// 60 s (official 90454), 2 s after 45033, otherwise 0.
func (e *Error) Wait() time.Duration {
	switch {
	case e.After > 0:
		return e.After
	case e.Class != Throttled:
		return 0
	case e.Code == codeConcurrency:
		return 2 * time.Second
	default:
		return time.Minute
	}
}

// newError returns the error for a code, with the class that the code has. An empty reason is filled in.
func newError(op string, code int, reason string) *Error {
	class, meaning := classify(code)
	if op == opDecrypt || op == opRandomKey {
		class = Permanent // the same bytes and key give the same answer
	}
	if reason == "" {
		reason = meaning
	}
	return &Error{Op: op, Code: code, Class: class, Reason: reason}
}

// classify is the one table from code to class. An unknown code may be retried.
func classify(code int) (Class, string) {
	switch code {
	case BadArgument:
		return Permanent, "bad argument"
	case Network:
		return Retry, "no connection or timeout"
	case NotParsed:
		return Retry, "answer cannot be read"
	case SystemCall:
		return Retry, "system call failed"
	case BadFileID:
		return Permanent, "bad file id"
	case NotDecrypted:
		return Retry, "does not decrypt"
	case BadKey:
		return Permanent, "random key cannot be read"
	case NotTrustedIP, codeIPNotArchived, codeIPNotTrusted:
		return Config, "this machine's address is not in the trusted list"
	case TooOld, codeTooOld:
		return Permanent, "older than 5 days"
	case Certificate:
		return Config, "certificate does not verify"
	case codeBusy:
		return Retry, "service is busy"
	case codeBadSecret:
		return Config, "wrong secret"
	case codeBadCorp:
		return Config, "wrong corp id"
	case codeNoToken:
		return Config, "no token: wrong corp id or secret"
	case codeBadToken, codeTokenExpired:
		return Retry, "token is not accepted"
	case codeFrequency:
		return Throttled, "too many calls"
	case codeConcurrency:
		return Throttled, "too many calls at a time"
	case codeForbidden:
		return Config, "the secret is not the chat archive's"
	case codeExpired:
		return Config, "chat archive service has expired"
	}
	return Retry, ""
}

// tokenError tells whether a new token (in the library: a new handle) may cure the code.
func tokenError(code int) bool {
	switch code {
	case codeBadSecret, codeBadToken, codeNoToken, codeTokenExpired:
		return true
	}
	return false
}
