package parse

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// message is a decrypted message, understood.
type message struct {
	id      string // the outer msgid: the inner one may be absent
	text    []byte // all of it, valid UTF-8
	root    node
	msgtype string
	known   *messageType // nil: unknown
	payload node         // root where the message has none of its own

	files   []sdk.File
	secrets []span // where sdkfileids stand in text
}

func readMessage(id string, body []byte) (*message, bool) {
	m := &message{id: id, text: validUTF8(body)}
	root, ok := parseJSON(m.text)
	if !ok || root.kind != '{' {
		return nil, false
	}
	m.root = root
	m.msgtype = root.str("msgtype")
	wire := m.msgtype
	switch {
	case m.msgtype != "":
	case root.str("action") == "switch":
		m.msgtype = typeSwitch
	default:
		m.msgtype = typeNone
	}
	if m.known = typesByName[m.msgtype]; m.known != nil {
		m.msgtype = m.known.name
	}
	m.payload = m.findPayload(wire)
	m.walk(root, m.msgtype, false, func(s span) { m.secrets = append(m.secrets, s) })
	return m, true
}

// findPayload looks under the msgtype as it is spelled in the message, as in the table, and then wherever else the table says.
func (m *message) findPayload(wire string) node {
	names := []string{wire, m.msgtype}
	if m.known != nil {
		names = slices.Concat(names, m.known.aliases, m.known.payload)
	}
	for _, name := range names {
		if v, ok := m.root.get(name); ok && v.kind == '{' {
			return v
		}
	}
	return m.root
}

// missing lists the required fields that a known type lacks.
func (m *message) missing() (names []string) {
	if m.known == nil {
		return nil
	}
	at := m.payload
	if at.at == m.root.at && !slices.Contains(m.known.payload, ".") {
		at = node{} // no payload where one is due: all its fields are missing
	}
	if m.known.name != typeSwitch {
		for _, name := range commonFields {
			if _, ok := m.root.get(name); !ok {
				names = append(names, name)
			}
		}
	}
	for _, rule := range m.known.required {
		where, rule := at, rule
		if top, ok := strings.CutPrefix(rule, "."); ok {
			where, rule = m.root, top
		}
		held := false
		for name := range strings.SplitSeq(rule, "|") {
			held = held || where.holds(name)
		}
		if !held {
			names = append(names, rule)
		}
	}
	return names
}

// holds reports whether the member is there: not absent, not null, and not "" where that would be a file without an id.
func (n node) holds(name string) bool {
	v, ok := n.get(name)
	return ok && (name != sdkfileid || v.text() != "")
}

// record is r with everything that was found.
func (m *message) record(r sdk.Record) sdk.Record {
	from, at := m.str("from"), m.number("msgtime")
	if m.msgtype == typeSwitch {
		from, at = m.str("user"), m.number("time")
	}
	to := m.receivers()

	r.Kind = KindMessage
	r.Key = m.conversation(from, to)
	r.Time = instant(at)
	r.Files = m.files
	r.Body = m.body(from, to, at)

	r.SetMeta("msgtype", m.msgtype)
	r.SetMeta("action", m.str("action"))
	r.SetMeta("ref_msgid", m.recalled())
	if strings.HasSuffix(m.id, "_external") {
		r.SetMeta("external", "true")
	}
	var flags []string
	missing := m.missing()
	if m.known == nil {
		flags = append(flags, FlagTypeUnknown)
	} else {
		r.SetMeta("limited", m.known.limited)
	}
	if len(missing) > 0 {
		flags = append(flags, FlagFieldMissing)
	}
	r.SetMeta("flags", strings.Join(flags, ","))
	r.SetMeta("missing_fields", strings.Join(missing, ","))
	return r
}

func (m *message) str(name string) string { return m.root.str(name) }

// number is a whole number, also one that was sent as a string or as 1.6e12; "" for anything else.
func (m *message) number(name string) string {
	text := m.str(name)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return strconv.FormatInt(n, 10)
	}
	if f, err := strconv.ParseFloat(text, 64); err == nil && f == float64(int64(f)) && f > -1<<53 && f < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	return ""
}

// instant is the time of a message; it is not known for 0, which old messages have, and beyond 2262, where nanoseconds end.
func instant(ms string) time.Time {
	n, err := strconv.ParseInt(ms, 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/int64(time.Millisecond) {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

func (m *message) receivers() []string {
	list, _ := m.root.get("tolist")
	if list.kind == '"' {
		return []string{list.text()}
	}
	to := make([]string, len(list.elements))
	for i, e := range list.elements {
		to[i] = e.text()
	}
	return to
}

func (m *message) recalled() string {
	if m.msgtype != "revoke" {
		return ""
	}
	return m.payload.str("pre_msgid")
}

// conversation is the room, the pair of a single chat, or a hash of all who took part in a call that has no room. No user id holds
// a ~ (letters, digits and _-@. only, official 90195).
func (m *message) conversation(from string, to []string) string {
	if room := m.str("roomid"); room != "" {
		return room
	}
	if m.msgtype == typeSwitch || from == "" && len(to) == 0 {
		return ""
	}
	people := append([]string{from}, to...)
	slices.Sort(people)
	if len(people) <= 2 {
		return strings.Join(people, "~")
	}
	sum := sha256.Sum256([]byte(strings.Join(slices.Compact(people), "~")))
	return "~" + hex.EncodeToString(sum[:16])
}

// body writes the record's body. Whatever the message holds is copied, never written anew.
func (m *message) body(from string, to []string, at string) []byte {
	content := m.content()
	b := make([]byte, 0, len(m.root.raw)+len(content)+256)
	str := func(name, value string) {
		b = append(b, name...)
		b = appendString(b, []byte(value))
	}
	str(`{"msgtype":`, m.msgtype)
	str(`,"action":`, m.str("action"))
	str(`,"from":`, from)
	b = append(b, `,"tolist":[`...)
	for i, id := range to {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, []byte(id))
	}
	str(`],"roomid":`, m.str("roomid"))
	if at == "" {
		at = "null"
	}
	b = append(b, `,"msgtime_ms":`...)
	b = append(b, at...)
	b = append(b, `,"content":`...)
	b = append(b, content...)
	b = append(b, `,"message":`...)
	b = m.appendWithout(b, m.root)
	return append(b, '}')
}

// content is, as a JSON string, the text of the message or else the JSON of its payload.
func (m *message) content() []byte {
	if m.known != nil && m.known.text != "" {
		if v, ok := m.payload.get(m.known.text); ok && v.kind == '"' && m.payload.at != m.root.at {
			return v.raw
		}
	}
	return appendString(nil, m.without(m.payload))
}
