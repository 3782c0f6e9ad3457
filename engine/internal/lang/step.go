package lang

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/weir-etl/weir/sdk"
)

// The engine's own words in the block of a step. They are never passed to the plugin.
var (
	sourceWords = []string{"connection", "enabled", "isolate"}
	stepWords   = []string{"connection", "enabled", "isolate", "input", "after", "about", "when", "order", "on_reject", "effect"}
	sinkWords   = append(slices.Clone(stepWords), "ids", "on_owed", "on_unknown")

	stepBlocks = []string{"limit", "retry", "batch"}

	choices = []sdk.Arg{
		{Name: "isolate", Type: sdk.Bool},
		{Name: "order", Type: sdk.String, OneOf: []string{"none", "key"}},
		{Name: "effect", Type: sdk.String, OneOf: []string{"idempotent", "once"}},
		{Name: "ids", Type: sdk.String, OneOf: []string{"source", "global"}},
		{Name: "on_owed", Type: sdk.String, OneOf: []string{"wait", "pass"}},
		{Name: "on_unknown", Type: sdk.String, OneOf: []string{"dead", "resend"}},
		{Name: "on_reject", Type: sdk.String, OneOf: []string{"dead"}},
	}
	retryArgs = []sdk.Arg{{Name: "tries", Type: sdk.Number}, {Name: "within", Type: sdk.Dur}, {Name: "silence", Type: sdk.Dur}}
	batchArgs = []sdk.Arg{{Name: "max_records", Type: sdk.Number}, {Name: "max_bytes", Type: sdk.Number}, {Name: "max_wait", Type: sdk.Dur}}
)

// readStep decodes the block of a step whose place in the graph is known.
func (l *loader) readStep(d *draft) {
	body := d.block.Body
	d.Enabled = l.enabled(d.Address, body)
	d.Sources = slices.Sorted(maps.Keys(d.in.sources))
	l.readWords(d)
	if d.component == nil {
		return // what its arguments should be, nobody knows
	}
	l.leniently(!d.Enabled, func() {
		l.readConnection(d)
		names, blocks := sinkWords, stepBlocks // a source decides itself how often it asks, and when again
		switch d.Kind {
		case sdk.KindSource:
			names, blocks = sourceWords, nil
		case sdk.KindTransform:
			names = stepWords
		}
		args := l.decode(d.Address, body, d.block.DefRange(), d.component.Args, names, blocks)
		d.Args, d.Volatile = args.raw(), args.volatile
		if args.volatile {
			d.reload = func() (json.RawMessage, string, Diagnostics) {
				fresh := *l
				fresh.list = nil
				args := fresh.decode(d.Address, body, d.block.DefRange(), d.component.Args, names, blocks).raw()
				return args, l.fingerprint(d, args), fresh.sorted()
			}
		}
		l.compile(d)
		d.Fingerprint = l.fingerprint(d, d.Args)
	})
	l.checkStep(d)
}

// readWords reads the engine's own words.
func (l *loader) readWords(d *draft) {
	body := d.block.Body
	own := newDecoded(body)
	for _, a := range choices {
		if attr := body.Attributes[a.Name]; attr != nil {
			l.decodeArg(d.Address, attr, a, own)
		}
	}
	d.Isolate = own.flag("isolate", false)
	d.IDsGlobal = own.text("ids") == "global"
	d.OnOwedPass = own.text("on_owed") == "pass"
	d.Ordered = own.text("order") == "key"
	l.readEffect(d, own)
	d.Limit = l.decodeLimit(d.Address, body)
	if r := l.common(d.Address, body, "retry", retryArgs); r != nil {
		d.Retry = Retry{l.positive(d.Address+": retry", r, "tries"), r.duration("within"), r.duration("silence")}
		if r.has("silence") && d.Retry.Silence < time.Second {
			l.errorf(r.at("silence"), `write: silence = "5m"`, "%s: retry: silence is shorter than a second: a call that merely waits would be lost", d.Address)
		}
	}
	if b := l.common(d.Address, body, "batch", batchArgs); b != nil {
		where := d.Address + ": batch"
		d.Batch = Batch{l.positive(where, b, "max_records"), int64(l.positive(where, b, "max_bytes")), b.duration("max_wait")}
		if d.Once {
			l.errorf(b.body.SrcRange, "take the block out", "%s: a step whose effect is once is called with one record at a time", d.Address)
		}
	}
}

// readEffect reads what a second delivery does, and what becomes of a record of which nobody knows whether it was delivered.
func (l *loader) readEffect(d *draft, own *decoded) {
	effect, declared := own.text("effect"), d.component != nil && d.component.Effect == sdk.Once
	d.Once = declared
	switch {
	case effect == "idempotent" && declared:
		l.errorf(own.at("effect"), `take the line out; on_unknown = "resend" allows a second delivery where nobody knows of the first`,
			"%s: a second delivery does harm, says %s %q", d.Address, d.Kind, d.Type)
	case effect == "once" && d.Kind == sdk.KindTransform:
		l.errorf(own.at("effect"), "take the line out, or put it on the sink", "%s: only what a sink does can be done once: what a transform makes is made again after a crash", d.Address)
	case effect == "once" && d.component != nil && d.component.Holds:
		l.errorf(own.at("effect"), "take the line out", "%s: sink %q packs many records into one object, and once is record by record", d.Address, d.Type)
	case effect == "once":
		d.Once = true
	}
	if a := own.body.Attributes["on_unknown"]; a != nil && d.Kind == sdk.KindSink && !d.Once && effect != "once" {
		l.errorf(a.NameRange, `take the line out, or write effect = "once" beside it`,
			"%s: on_unknown is for steps whose effect is once: this one is asked again, which is harmless", d.Address)
	}
	d.Resend = own.text("on_unknown") == "resend"
}

func (l *loader) readConnection(d *draft) {
	a := d.block.Body.Attributes["connection"]
	want := d.component.Connection
	if a == nil {
		if want != "" {
			l.errorf(d.block.DefRange(), fmt.Sprintf("write: connection = connection.%s.NAME", want), "%s needs a connection of type %s", d.Address, want)
		}
		return
	}
	address, ok := addressOf(a.Expr)
	c := l.connections[address]
	switch {
	case want == "":
		l.errorf(a.NameRange, "take the line out", "%s %q uses no connection", d.Kind, d.Type)
	case !ok || !strings.HasPrefix(address, "connection."):
		l.errorf(a.Expr.Range(), fmt.Sprintf("write: connection.%s.NAME", want), "connection of %s is not the name of a connection", d.Address)
	case c == nil:
		l.errorf(a.Expr.Range(), remedy(address, slices.Collect(maps.Keys(l.connections)), "there are"), "there is no %s", address)
	case c.Type != want:
		l.errorf(a.Expr.Range(), fmt.Sprintf("write: connection.%s.NAME", want), "%s needs a connection of type %s, and %s is of type %s", d.Address, want, address, c.Type)
	case d.Enabled && !c.Enabled:
		l.errorf(a.Expr.Range(), "give both the same enabled = …", "%s is enabled and its connection %s is not", d.Address, address)
	default:
		d.Connection = c
	}
}

// checkStep looks at what only the whole step tells.
func (l *loader) checkStep(d *draft) {
	body := d.block.Body
	if d.changesKind() {
		why := fmt.Sprintf("%s makes another kind of record: one that passes it by would reach the next step unread", d.Address)
		if a := body.Attributes["when"]; a != nil {
			l.errorf(a.NameRange, "put when on the steps that follow", "%s", why)
		}
		if a := body.Attributes["enabled"]; a != nil && !d.Enabled {
			l.errorf(a.NameRange, "disable the steps that follow, or the source", "%s", why)
		}
	}
	if a := body.Attributes["key"]; a != nil && d.Kind == sdk.KindSink && len(d.in.sources) > 1 && !d.IDsGlobal && !tellsApart(a.Expr, d.in) {
		l.errorf(a.NameRange, `write ids = "global" if ids are unique over all of them, or mention record.kind in the key`,
			"records of %s meet in one key, which does not tell them apart", strings.Join(slices.Sorted(maps.Keys(d.in.sources)), " and "))
	}
	for _, address := range d.Receipts {
		sink := l.steps[address]
		if len(d.Inputs) > 0 && len(sink.Inputs) > 0 && !slices.Equal(d.Inputs, sink.Inputs) { // what it could not say is said elsewhere
			l.errorf(d.block.DefRange(), fmt.Sprintf("give both the same input, here %s", strings.Join(sink.Inputs, ", ")),
				"%s mentions the receipt of %s, which takes its records from another step", d.Address, address)
		}
	}
}

// tellsApart reports whether a key differs for records of different sources.
func tellsApart(key hclsyntax.Expression, in *flow) bool {
	for _, tr := range key.Variables() {
		if text(tr) == "record.kind" {
			return len(in.kinds) >= len(in.sources)
		}
	}
	return false
}

// fingerprint covers all that decides what a step does.
func (l *loader) fingerprint(d *draft, args json.RawMessage) string {
	h := sha256.New()
	part := func(b []byte) { fmt.Fprintf(h, "%d ", len(b)); h.Write(b) }
	part([]byte(d.Plugin + " " + string(d.Kind) + " " + d.Type + " " + fmt.Sprint(d.Enabled)))
	part(args)
	if d.Connection != nil {
		part(d.Connection.Args)
	}
	for _, a := range inOrder(d.block.Body.Attributes) {
		r := a.Expr.Range()
		part([]byte(a.Name))
		part(l.source[r.Filename][r.Start.Byte:r.End.Byte])
		for _, tr := range a.Expr.Variables() {
			if root := tr.RootName(); len(tr) < 2 || root != "var" && root != "local" {
				continue
			}
			if val, diags := tr[:2].TraverseAbs(l.scope); !diags.HasErrors() {
				if val, _ = val.UnmarkDeep(); val.IsWhollyKnown() {
					part(appendJSON(nil, val, nil))
				}
			}
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}
