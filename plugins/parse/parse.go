// Package parse is a transform that turns decrypted messages of WeCom's chat archive into records that sinks can use: who, when, to
// whom, which type, the text, and the files to be fetched.
//
// Nothing is lost on the way. The whole message travels on, byte for byte, in body.message. A type that is not in the table of types
// (types.go) passes with the flag TYPE_UNKNOWN, a type of the table that lacks a field with FIELD_MISSING. Files are found wherever a
// message holds an sdkfileid: in the parts of mixed and forwarded messages, which are JSON inside JSON strings, and in unknown types.
//
// One thing is taken out: the values of sdkfileid. Whoever has one can fetch and decrypt the file, so they go into
// [sdk.File].Ref and nowhere else.
package parse

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/weir-etl/weir/sdk"
)

// Kinds of record that parse takes and makes.
const (
	KindPlain   = "wecom.chat.plain/1" // a decrypted message, as WeCom's library gives it
	KindMessage = "chat.message/1"
)

// Flags of a message, in meta.flags.
const (
	FlagTypeUnknown  = "TYPE_UNKNOWN"
	FlagFieldMissing = "FIELD_MISSING"
)

// Plugin offers transform "parse".
func Plugin() sdk.Plugin {
	return sdk.Plugin{Name: "parse", Version: "0.1.0", Components: []sdk.Component{{
		Kind: sdk.KindTransform,
		Type: "parse",
		Doc: "Reads decrypted WeCom messages: sets key, time and files, and finds the text.\n\n" +
			"The key is the conversation: the room or, in a single chat, the two ids in order with ~ between them. " +
			"Unknown types pass whole. A body that is no JSON object is rejected as NOT_JSON.\n\n" + reference(),
		Accepts: []string{KindPlain},
		Emits:   []string{KindMessage},
		Fields: []sdk.Field{
			{Name: "body.msgtype", Type: sdk.String, Doc: "Type, see the table; \"switch\" for the switch log, \"unknown\" where a message has none."},
			{Name: "body.action", Type: sdk.String, Doc: "send, recall or switch."},
			{Name: "body.from", Type: sdk.String, Doc: "Id of the sender; of the user in a switch log."},
			{Name: "body.tolist", Type: sdk.Strings, Doc: "Ids of the receivers."},
			{Name: "body.roomid", Type: sdk.String, Doc: "Id of the room; \"\" in a single chat."},
			{Name: "body.msgtime_ms", Type: sdk.Number, Doc: "Milliseconds since 1970, as sent (old messages have 0); null where a message has none."},
			{Name: "body.content", Type: sdk.String, Doc: "The text of text and markdown; of other types the JSON of the payload, without sdkfileid."},
			{Name: "body.message", Type: sdk.Any, Doc: "The whole message as decrypted, without sdkfileid."},
			{Name: "meta.msgtype", Type: sdk.String, Doc: "As body.msgtype."},
			{Name: "meta.action", Type: sdk.String, Doc: "As body.action."},
			{Name: "meta.ref_msgid", Type: sdk.String, Doc: "Of a recall, the id of the message that was recalled."},
			{Name: "meta.external", Type: sdk.String, Doc: "\"true\" in a chat with people outside the company."},
			{Name: "meta.flags", Type: sdk.String, Doc: "TYPE_UNKNOWN and FIELD_MISSING, separated by commas."},
			{Name: "meta.missing_fields", Type: sdk.String, Doc: "Names of the missing fields, separated by commas."},
			{Name: "meta.limited", Type: sdk.String, Doc: "What WeCom's archive does not give of this type."},
		},
		NewTransform: func() sdk.Transform { return &transform{seen: make(map[string]bool)} },
	}}}
}

type transform struct {
	mu   sync.Mutex
	seen map[string]bool // unknown types that were told
}

func (t *transform) Open(_ context.Context, env *sdk.Env) error { return env.Decode(&struct{}{}) }

func (t *transform) Close(context.Context) error { return nil }

var errNotJSON = errors.New("body is not a JSON object")

// Apply answers each row by itself; it needs no one else and never fails.
func (t *transform) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		row := &call.Rows[i]
		m, ok := readMessage(row.ID, row.Body)
		if !ok {
			call.Answer(i, sdk.Reject("NOT_JSON", errNotJSON))
			continue
		}
		answer := sdk.Emit(m.record(row.Record))
		if m.known == nil && t.isNew(m.msgtype) {
			answer = answer.With(sdk.Event{Code: FlagTypeUnknown, Severity: sdk.Warning, Attrs: map[string]string{"msgtype": short(m.msgtype)}})
		}
		call.Answer(i, answer)
	}
	return nil
}

// isNew reports whether an unknown type has not been told yet by this process. After a thousand nobody reads any more.
func (t *transform) isNew(msgtype string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[msgtype] || len(t.seen) >= 1000 {
		return false
	}
	t.seen[msgtype] = true
	return true
}

// short makes the name of a type, which comes from outside, fit for an event.
func short(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '?'
	}, name)
	return name[:min(len(name), 64)]
}
