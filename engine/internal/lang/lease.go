package lang

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/weir-etl/weir/sdk"
)

// Lease is a decoded lease block: the row in a destination without which an engine must not write.
//
//	lease "kintone" {                      # a name may follow: lease "kintone" "one_engine"
//	  connection = connection.kintone.main
//	  app        = 120
//	  token      = env("KINTONE_TOKEN_LEASE")
//	  hold       = "10m"                   # what the plugin does not declare is the engine's: hold, enabled, connection
//	}
type Lease struct {
	Address    string // "lease.kintone", or with its name
	Type       string
	Plugin     string
	Connection *ConnectionConfig
	Hold       time.Duration
	Args       json.RawMessage // as those of a [Step]
}

// Bounds of hold. Below, an engine has no time to notice that it cannot renew; above, a dead one keeps others out for longer than it
// takes to fall behind.
const (
	defaultHold  = 10 * time.Minute
	shortestHold = time.Minute
	longestHold  = 6 * time.Hour
)

func (l *loader) readLeases(blocks []*hclsyntax.Block) {
	var first *hclsyntax.Block
	for _, b := range blocks {
		lease := l.readLease(b)
		switch {
		case first != nil:
			l.errorf(b.DefRange(), "keep one of them: it covers the whole pipeline", "a second lease block, after the one in line %d", first.TypeRange.Start.Line)
		default:
			first, l.pipeline.Lease = b, lease
		}
	}
}

// readLease decodes a block; nil when it is disabled or its type is not known.
func (l *loader) readLease(b *hclsyntax.Block) *Lease {
	typ := b.Labels[0]
	lease := &Lease{Address: "lease." + strings.Join(b.Labels, "."), Type: typ}
	decl, ok := l.components["sink."+typ]
	if !ok || decl.what.Lease == nil {
		var able []string
		for name, c := range l.components {
			if kind, t, _ := strings.Cut(name, "."); kind == string(sdk.KindSink) && c.what.Lease != nil {
				able = append(able, t)
			}
		}
		hint := remedy(typ, able, "a lease can be kept in")
		if hint == "" {
			hint = "take the block out: no plugin can keep one"
		}
		l.errorf(b.LabelRanges[0], hint, "no plugin keeps a lease in %q", typ)
		return nil
	}
	lease.Plugin = decl.plugin
	enabled := l.enabled(lease.Address, b.Body)
	l.leniently(!enabled, func() {
		d := &draft{
			Step:      &Step{Kind: "lease", Address: lease.Address, Type: typ, Enabled: enabled},
			block:     b,
			component: &sdk.Component{Connection: decl.what.Connection},
		}
		l.readConnection(d)
		args := l.decode(lease.Address, b.Body, b.DefRange(), decl.what.Lease, []string{"connection", "enabled", "hold"}, nil)
		if args.volatile {
			l.errorf(b.DefRange(), "keyring belongs to the step that uses the keys", "%s cannot follow key files", lease.Address)
		}
		lease.Connection, lease.Args, lease.Hold = d.Connection, args.raw(), l.readHold(lease.Address, b)
	})
	if !enabled {
		return nil
	}
	return lease
}

func (l *loader) readHold(address string, b *hclsyntax.Block) time.Duration {
	a := b.Body.Attributes["hold"]
	if a == nil {
		return defaultHold
	}
	d := newDecoded(b.Body)
	l.decodeArg(address, a, sdk.Arg{Name: "hold", Type: sdk.Dur}, d)
	hold := d.duration("hold")
	if d.has("hold") && (hold < shortestHold || hold > longestHold) {
		l.errorf(a.Expr.Range(), fmt.Sprintf("write a duration from %q to %q; %q is a good one", "1m", "6h", "10m"),
			"%s: hold is out of range: it is how long an engine that has died keeps others out, and three times as often as that it is renewed", address)
	}
	return hold
}

// Sample evaluates the per-record arguments for a made-up record, of which the body says nothing: what cannot be evaluated then is left
// out, in an object member by member. Arguments that name files are left out too.
func (s *Step) Sample(rec Record) json.RawMessage {
	values := map[string]json.RawMessage{}
	for _, arg := range s.rows.args {
		if arg.value == nil || arg.PerFile {
			continue
		}
		o, parts := arg.value.(*object)
		if !parts {
			if v, ok := s.sample(arg.value, rec); ok {
				values[arg.Name] = v
			}
			continue
		}
		members := map[string]json.RawMessage{}
		for i, name := range o.names {
			if v, ok := s.sample(o.values[i], rec); ok {
				members[name] = v
			}
		}
		values[arg.Name] = encode(members)
	}
	return encode(values)
}

// sample evaluates one expression. Every receipt is one that is not there yet.
func (s *Step) sample(e expression, rec Record) (json.RawMessage, bool) {
	v, err := e.append(nil, s.scope(rec, func(string) Receipt { return Receipt{} }))
	return v, err == nil && json.Valid(v) && string(v) != "null"
}

func encode(members map[string]json.RawMessage) json.RawMessage {
	out := []byte{'{'}
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(appendString(out, name), ':')
		out = append(out, members[name]...)
	}
	return append(out, '}')
}
