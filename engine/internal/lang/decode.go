package lang

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"github.com/weir-etl/weir/sdk"
)

// decoded is a block read by a schema: its fixed arguments.
type decoded struct {
	body     *hclsyntax.Body
	values   map[string]cty.Value // without marks; what is null or absent, and has no default, is not in it
	json     map[string]json.RawMessage
	unknown  bool // a value depends on what only a running machine has
	volatile bool // a value depends on key files
	hosts    []string
	secret   map[string]bool // arguments whose value is never shown
}

func newDecoded(body *hclsyntax.Body) *decoded {
	return &decoded{body: body, values: map[string]cty.Value{}, json: map[string]json.RawMessage{}, secret: map[string]bool{}}
}

// shown is an argument's text for a diagnostic.
func (d *decoded) shown(name string) string {
	if d.secret[name] {
		return "(secret)"
	}
	return d.text(name)
}

// has reports whether the argument has a known value.
func (d *decoded) has(name string) bool {
	v, ok := d.values[name]
	return ok && v.IsWhollyKnown()
}

func (d *decoded) text(name string) string {
	if !d.has(name) || d.values[name].Type() != cty.String {
		return ""
	}
	return d.values[name].AsString()
}

func (d *decoded) duration(name string) time.Duration {
	v, _ := time.ParseDuration(d.text(name))
	return v
}

func (d *decoded) number(name string) int64 {
	if !d.has(name) {
		return 0
	}
	n, _ := d.values[name].AsBigFloat().Int64()
	return n
}

func (d *decoded) flag(name string, otherwise bool) bool {
	if !d.has(name) {
		return otherwise
	}
	return d.values[name].True()
}

// at is where the argument's value stands.
func (d *decoded) at(name string) hcl.Range {
	if a := d.body.Attributes[name]; a != nil {
		return a.Expr.Range()
	}
	return d.body.SrcRange
}

// raw is the arguments as a JSON object, nil while a value is unknown.
func (d *decoded) raw() json.RawMessage {
	if d.unknown {
		return nil
	}
	b, err := json.Marshal(d.json)
	if err != nil {
		panic(err) // every value was encoded by us
	}
	return b
}

// perRecord reports whether the engine evaluates the argument for each record.
func perRecord(a sdk.Arg) bool {
	return a.PerRecord || a.PerFile || a.Type == sdk.Files || a.Type == sdk.FilesMap
}

// decode reads the fixed arguments of a block, and reports what args and the further names do not know.
func (l *loader) decode(where string, body *hclsyntax.Body, at hcl.Range, args []sdk.Arg, attrs, blocks []string) *decoded {
	attrs, blocks = slices.Clip(attrs), slices.Clip(blocks) // they are everybody's
	for _, a := range args {
		if a.Block != nil {
			blocks = append(blocks, a.Name)
		} else {
			attrs = append(attrs, a.Name)
		}
	}
	l.only(where, body, attrs, blocks)
	d := newDecoded(body)
	for _, a := range args {
		attr := body.Attributes[a.Name]
		switch {
		case a.Block != nil:
			l.decodeBlock(where, body, at, a, d)
		case attr == nil && a.Required:
			l.errorf(at, missingRemedy(a), "%s needs an argument %q", where, a.Name)
		case perRecord(a):
		case attr == nil:
			d.setDefault(a)
		default:
			l.decodeArg(where, attr, a, d)
		}
	}
	return d
}

func missingRemedy(a sdk.Arg) string {
	s := fmt.Sprintf("write: %s = %s", a.Name, sample(a))
	if line, _, _ := strings.Cut(a.Doc, "\n"); line != "" {
		s += " (" + line + ")"
	}
	return s
}

// sample shows how an argument is written.
func sample(a sdk.Arg) string {
	if a.Secret {
		return fmt.Sprintf("env(%q)", strings.ToUpper(a.Name))
	}
	if len(a.OneOf) > 0 {
		return `"` + a.OneOf[0] + `"`
	}
	switch a.Type {
	case sdk.String:
		return `"…"`
	case sdk.Number:
		return "10"
	case sdk.Bool:
		return "true"
	case sdk.Dur:
		return `"5m"`
	case sdk.Durs:
		return `["1m", "1h"]`
	case sdk.Files:
		return "record.files"
	case sdk.FilesMap:
		return "{ NAME = record.files }"
	case sdk.AnyMap, sdk.StringMap:
		return "{ NAME = … }"
	}
	return "…"
}

func (d *decoded) setDefault(a sdk.Arg) {
	if a.Default == nil {
		return
	}
	b, err := json.Marshal(a.Default)
	if err != nil {
		panic(fmt.Sprintf("lang: the default of argument %s is no JSON: %v", a.Name, err))
	}
	d.json[a.Name] = b
	if s, ok := a.Default.(string); ok {
		d.values[a.Name] = cty.StringVal(s)
	}
}

func (l *loader) decodeBlock(where string, body *hclsyntax.Body, at hcl.Range, a sdk.Arg, d *decoded) {
	for _, b := range body.Blocks {
		if b.Type != a.Name {
			continue
		}
		inner := l.decode(where+": "+a.Name, b.Body, b.DefRange(), a.Block, nil, nil)
		d.unknown = d.unknown || inner.unknown
		d.volatile = d.volatile || inner.volatile
		d.hosts = append(d.hosts, inner.hosts...)
		if raw := inner.raw(); raw != nil {
			d.json[a.Name] = raw
		}
		return
	}
	if a.Required {
		l.errorf(at, fmt.Sprintf("write: %s { … }", a.Name), "%s needs a block %q", where, a.Name)
	}
}

func (l *loader) decodeArg(where string, attr *hclsyntax.Attribute, a sdk.Arg, d *decoded) {
	val, ok := l.fixedValue(attr.Expr, a.Name)
	if !ok {
		d.unknown = true
		return
	}
	val, marks := val.UnmarkDeep()
	_, secret := marks[secretMark]
	d.secret[a.Name] = secret
	if _, volatile := marks[volatileMark]; volatile {
		d.volatile = true
	}
	if val.IsKnown() && val.IsNull() {
		if a.Required {
			l.errorf(attr.Expr.Range(), missingRemedy(a), "%s needs an argument %q, and this is null", where, a.Name)
			return
		}
		d.setDefault(a)
		return
	}
	fitted, problem := fitArg(val, a)
	if problem != "" {
		l.hidden(attr.NameRange, hideIf(a.Secret || secret, attr.Expr.Range()), "write: "+a.Name+" = "+sample(a), "%s: %s %s", where, a.Name, problem)
		return
	}
	if a.Secret && !secret && val.IsWhollyKnown() && !(val.Type() == cty.String && val.AsString() == "") {
		l.hidden(attr.NameRange, attr.Expr.Range(), fmt.Sprintf("write: %s = %s, and set that variable where weir runs", a.Name, sample(a)),
			"%s: %s is a secret and must not stand in the file", where, a.Name)
		return
	}
	d.values[a.Name] = fitted
	if !fitted.IsWhollyKnown() {
		d.unknown = true
		return
	}
	d.json[a.Name] = appendJSON(nil, fitted, nil)
	if fitted.Type() == cty.String {
		if host, ok := hostOf(fitted.AsString()); ok {
			d.hosts = append(d.hosts, host)
		}
	}
}

// hideIf is the range to hide, or one that hides nothing.
func hideIf(secret bool, r hcl.Range) hcl.Range {
	if secret {
		return r
	}
	return hcl.Range{}
}

// fitArg converts a value to what the argument's type asks for, and says what is wrong with it. It never repeats the value.
func fitArg(val cty.Value, a sdk.Arg) (cty.Value, string) {
	want, name := wanted(a.Type)
	if a.Type == sdk.AnyMap {
		if t := val.Type(); t != cty.DynamicPseudoType && !t.IsObjectType() && !t.IsMapType() {
			return val, "wants " + name + ", not " + typeName(t)
		}
	}
	if holdsUnwritable(val) {
		return val, "holds a number of thousands of digits"
	}
	fitted, err := convert.Convert(val, want)
	if err == nil && holdsUnwritable(fitted) {
		return fitted, "holds a number of thousands of digits"
	}
	if err != nil {
		if val.Type() == cty.String || !val.Type().IsPrimitiveType() && typeName(val.Type()) == name {
			return val, "wants " + name + ": " + err.Error()
		}
		return val, "wants " + name + ", not " + typeName(val.Type())
	}
	if !fitted.IsWhollyKnown() || fitted.IsNull() {
		return fitted, ""
	}
	switch a.Type {
	case sdk.Dur:
		return fitted, durationProblem(fitted)
	case sdk.Durs:
		for it := fitted.ElementIterator(); it.Next(); {
			if _, v := it.Element(); v.IsNull() || durationProblem(v) != "" {
				return fitted, `wants a list of durations such as ["1m", "1h30m"]`
			}
		}
	case sdk.String:
		if len(a.OneOf) > 0 && !slices.Contains(a.OneOf, fitted.AsString()) {
			return fitted, oneOf(fitted.AsString(), a.OneOf)
		}
	case sdk.Strings:
		for it := fitted.ElementIterator(); it.Next(); {
			if _, v := it.Element(); v.IsNull() {
				return fitted, "holds null"
			} else if len(a.OneOf) > 0 && !slices.Contains(a.OneOf, v.AsString()) {
				return fitted, oneOf(v.AsString(), a.OneOf)
			}
		}
	}
	return fitted, ""
}

func oneOf(got string, words []string) string {
	problem := fmt.Sprintf("must be one of %s", strings.Join(words, ", "))
	if s := nearest(got, words); s != "" {
		problem += ": " + s
	}
	return problem
}

func durationProblem(v cty.Value) string {
	if d, err := time.ParseDuration(v.AsString()); err != nil || d < 0 {
		return `wants a duration such as "30s", "5m" or "1h30m"`
	}
	return ""
}

// wanted is the type that an argument's value is converted to, and its name for people.
func wanted(t sdk.Type) (cty.Type, string) {
	switch t {
	case sdk.String:
		return cty.String, "a string"
	case sdk.Number:
		return cty.Number, "a number"
	case sdk.Bool:
		return cty.Bool, "true or false"
	case sdk.Dur:
		return cty.String, `a duration such as "5m"`
	case sdk.Strings:
		return cty.List(cty.String), "a list of strings"
	case sdk.Durs:
		return cty.List(cty.String), `a list of durations such as ["1m", "1h"]`
	case sdk.StringMap:
		return cty.Map(cty.String), "an object of strings"
	case sdk.AnyMap:
		return cty.DynamicPseudoType, "an object"
	}
	return cty.DynamicPseudoType, "any value"
}

var hostPort = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9][A-Za-z0-9.-]*):[0-9]{1,5}$`)

// hostOf is the host that a text names as a URL or as host:port.
func hostOf(s string) (string, bool) {
	if u, err := url.Parse(s); err == nil && u.Scheme != "" && u.Host != "" {
		return u.Hostname(), true
	}
	if hostPort.MatchString(s) {
		host, _, err := net.SplitHostPort(s)
		return host, err == nil
	}
	return "", false
}

// loopback reports whether hosts names at least one host and none but this machine.
func loopback(hosts []string) bool {
	for _, h := range hosts {
		if ip := net.ParseIP(h); h != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return len(hosts) > 0
}

var limitArgs = []sdk.Arg{{Name: "rate", Type: sdk.String}, {Name: "concurrency", Type: sdk.Number}}

var rateForm = regexp.MustCompile(`^([1-9][0-9]{0,8})/(\S+)$`)

// decodeLimit reads the limit block of a step or connection.
func (l *loader) decodeLimit(where string, body *hclsyntax.Body) (limit Limit) {
	d := l.common(where, body, "limit", limitArgs)
	if d == nil {
		return limit
	}
	if rate := d.text("rate"); rate != "" {
		m := rateForm.FindStringSubmatch(rate)
		if m != nil {
			fmt.Sscan(m[1], &limit.Count)
			limit.Per, _ = time.ParseDuration(m[2])
		}
		if limit.Per <= 0 {
			l.errorf(d.at("rate"), `write calls per duration: "600/1m"`, "%s: limit: rate cannot be %q", where, d.shown("rate"))
		}
	}
	limit.Concurrency = l.positive(where+": limit", d, "concurrency")
	return limit
}

// common decodes the block of one of the engine's own words, or returns nil.
func (l *loader) common(where string, body *hclsyntax.Body, word string, args []sdk.Arg) *decoded {
	for _, b := range body.Blocks {
		if b.Type == word {
			return l.decode(where+": "+word, b.Body, b.DefRange(), args, nil, nil)
		}
	}
	return nil
}

func (l *loader) positive(where string, d *decoded, name string) int {
	n := d.number(name)
	if d.has(name) && (n < 1 || n > 1<<40) {
		l.errorf(d.at(name), "write a whole number from 1", "%s: %s is out of range", where, name)
		return 0
	}
	return int(n)
}

// readConnections decodes the connection blocks.
func (l *loader) readConnections(blocks []*hclsyntax.Block) {
	for _, b := range blocks {
		c := &ConnectionConfig{Type: b.Labels[0], Name: b.Labels[1]}
		c.Address = "connection." + c.Type + "." + c.Name
		if l.connections[c.Address] != nil {
			l.errorf(b.DefRange(), "choose another name", "%s is declared twice", c.Address)
			continue
		}
		l.connections[c.Address] = c
		l.pipeline.Connections = append(l.pipeline.Connections, c)
		decl, ok := l.connectable[c.Type]
		if !ok {
			l.errorf(b.LabelRanges[0], remedy(c.Type, slices.Collect(maps.Keys(l.connectable)), "the types are"), "no plugin knows a connection of type %q", c.Type)
			continue
		}
		c.Plugin = decl.plugin
		c.Enabled = l.enabled(c.Address, b.Body)
		l.leniently(!c.Enabled, func() {
			d := l.decode(c.Address, b.Body, b.DefRange(), decl.what.Args, []string{"enabled"}, []string{"limit"})
			if d.volatile {
				l.errorf(b.DefRange(), "keyring belongs to the step that uses the keys", "%s cannot follow key files", c.Address)
			}
			c.Args, c.Loopback = d.raw(), loopback(d.hosts)
			c.Limit = l.decodeLimit(c.Address, b.Body)
		})
	}
}

// enabled evaluates the argument of this name; what is unknown under Options.Static counts as enabled.
func (l *loader) enabled(where string, body *hclsyntax.Body) bool {
	a := body.Attributes["enabled"]
	if a == nil {
		return true
	}
	d := newDecoded(body)
	l.decodeArg(where, a, sdk.Arg{Name: "enabled", Type: sdk.Bool}, d)
	return d.flag("enabled", true)
}

// leniently runs f with what a disabled block need not have.
func (l *loader) leniently(disabled bool, f func()) {
	before := l.lenient
	l.lenient = before || disabled
	f()
	l.lenient = before
}
