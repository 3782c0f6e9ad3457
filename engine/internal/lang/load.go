package lang

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // a machine without zone files must not change the dates in keys
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"

	"github.com/weir-etl/weir/sdk"
)

// source is the text of one file.
type source struct {
	name string // as shown in diagnostics
	text []byte
}

// readSources reads files, and the *.hcl files of folders.
func readSources(paths []string) ([]source, Diagnostics) {
	var files []source
	var diags Diagnostics
	fail := func(format string, args ...any) {
		diags = append(diags, Diagnostic{Problem: fmt.Sprintf(format, args...), Remedy: "name pipeline files (*.hcl) or a folder that holds them"})
	}
	for _, path := range paths {
		names := []string{path}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			names, _ = filepath.Glob(filepath.Join(escapeGlob(path), "[^.]*.hcl")) // the lock file is no pipeline
			if len(names) == 0 {
				fail("folder %s holds no *.hcl file", path)
			}
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				fail("%v", err)
				continue
			}
			files = append(files, source{name, text})
		}
	}
	if len(paths) == 0 {
		fail("no pipeline file is named")
	}
	return files, diags
}

func escapeGlob(path string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllStringFunc(path, func(s string) string {
		if s == `\` {
			return s // a separator on Windows, where Glob knows no escapes
		}
		return "[" + s + "]"
	})
}

// loader holds what is known while a pipeline is read.
type loader struct {
	report
	opt    Options
	folder string
	// lenient lets what only a running machine has be missing: under Options.Static, and in blocks that are disabled.
	lenient bool

	components  map[string]declared[sdk.Component] // by "sink.kintone"
	connectable map[string]declared[sdk.Connection]
	shares      map[string]bool // by plugin: it is bundled, and its process may be that of others too

	functions map[string]function.Function
	variables map[string]*variable
	locals    map[string]*local
	scope     *hcl.EvalContext // var, local and the functions

	connections map[string]*ConnectionConfig
	steps       map[string]*draft
	order       []*draft
	pipeline    *Pipeline
}

// declared is something a plugin offers.
type declared[T any] struct {
	what   *T
	plugin string
}

// words are the blocks of a pipeline file, each with the names of its labels.
var words = map[string][]string{
	"weir": {}, "variable": {"NAME"}, "locals": {}, "plugin": {"NAME"}, "connection": {"TYPE", "NAME"},
	"source": {"TYPE", "NAME"}, "transform": {"TYPE", "NAME"}, "sink": {"TYPE", "NAME"}, "moved": {}, "removed": {}, "lease": {"TYPE"},
}

// reserved are words that later versions give a meaning.
var reserved = []string{"module", "for_each", "test", "report"}

func load(files []source, opt Options) (*Pipeline, Diagnostics) {
	l := newLoader(files, opt)
	blocks, ok := l.parse(files)
	if !ok { // a file that does not parse would only give echoes
		return nil, l.sorted()
	}
	l.declareVariables(blocks["variable"])
	l.declareLocals(blocks["locals"])
	l.readWeir(blocks["weir"])
	l.readPlugins(blocks["plugin"])
	l.readConnections(blocks["connection"])
	l.readSteps(slices.Concat(blocks["source"], blocks["transform"], blocks["sink"]))
	l.readMoves(blocks["moved"], blocks["removed"])
	l.readLeases(blocks["lease"])
	diags := l.sorted()
	if diags.HasErrors() {
		return nil, diags
	}
	return l.pipeline, diags
}

// LoadName reads only what a pipeline is called and where it lies: enough to find the engine that runs it.
func LoadName(paths []string, opt Options) (name, folder string, diags Diagnostics) {
	files, diags := readSources(paths)
	if diags.HasErrors() {
		return "", "", diags
	}
	opt.Static = true
	l := newLoader(files, opt)
	blocks, ok := l.parse(files)
	if ok {
		l.declareVariables(blocks["variable"])
		l.declareLocals(blocks["locals"])
		l.readWeir(blocks["weir"])
	}
	return l.pipeline.Name, l.folder, l.sorted()
}

func newLoader(files []source, opt Options) *loader {
	if opt.Getenv == nil {
		opt.Getenv = os.LookupEnv
	}
	l := &loader{
		report: report{source: map[string][]byte{}}, opt: opt, lenient: opt.Static,
		components: map[string]declared[sdk.Component]{}, connectable: map[string]declared[sdk.Connection]{}, shares: map[string]bool{},
		variables: map[string]*variable{}, locals: map[string]*local{},
		connections: map[string]*ConnectionConfig{}, steps: map[string]*draft{},
		pipeline: &Pipeline{Timezone: time.UTC, Lang: "en", Rescue: 24 * time.Hour},
	}
	hash := sha256.New()
	for i, f := range files {
		if i == 0 {
			l.folder = filepath.Dir(f.name)
		}
		l.source[f.name] = f.text
		fmt.Fprintf(hash, "%d\n", len(f.text))
		hash.Write(f.text)
	}
	l.pipeline.Folder, l.pipeline.Hash = l.folder, hex.EncodeToString(hash.Sum(nil))
	for _, p := range opt.Plugins {
		l.offer(p)
		l.shares[p.Name] = !slices.Contains(opt.Alone, p.Name)
	}
	l.functions = l.allFunctions()
	l.scope = &hcl.EvalContext{Functions: l.functions, Variables: map[string]cty.Value{"var": cty.EmptyObjectVal, "local": cty.EmptyObjectVal}}
	return l
}

// offer makes a plugin's components known and returns what another plugin offers already.
func (l *loader) offer(p sdk.Plugin) (taken []string) {
	for _, c := range p.Components {
		name := string(c.Kind) + "." + c.Type
		if _, twice := l.components[name]; twice {
			taken = append(taken, name)
			continue
		}
		l.components[name] = declared[sdk.Component]{&c, p.Name}
	}
	for _, c := range p.Connections {
		if _, twice := l.connectable[c.Type]; twice {
			taken = append(taken, "connection."+c.Type)
			continue
		}
		l.connectable[c.Type] = declared[sdk.Connection]{&c, p.Name}
	}
	return taken
}

// parse returns the blocks of all files by their word; ok is false when a file is no HCL.
func (l *loader) parse(files []source) (blocks map[string][]*hclsyntax.Block, ok bool) {
	blocks, ok = map[string][]*hclsyntax.Block{}, true
	for _, f := range files {
		if !utf8.Valid(f.text) { // else the parser complains of every character
			at := hcl.Range{Filename: f.name, Start: hcl.InitialPos, End: hcl.InitialPos}
			delete(l.source, f.name) // nor can it be quoted
			l.errorf(at, "save it as UTF-8", "the file is no text in UTF-8")
			ok = false
			continue
		}
		if at, problem := tooMuch(f.text, f.name); problem != "" {
			l.errorf(at, "write it in smaller parts, as locals", "%s", problem)
			ok = false
			continue
		}
		file, diags := hclsyntax.ParseConfig(f.text, f.name, hcl.InitialPos)
		l.addHCL(diags, nil)
		if diags.HasErrors() {
			ok = false
			continue
		}
		body := file.Body.(*hclsyntax.Body)
		countRounds(body)
		for _, a := range body.Attributes {
			l.errorf(a.NameRange, "put it into a block: "+strings.Join(slices.Sorted(maps.Keys(words)), ", "), "%s stands outside of every block", a.Name)
		}
		for _, b := range body.Blocks {
			if l.knownWord(b) {
				blocks[b.Type] = append(blocks[b.Type], b)
			}
		}
	}
	return blocks, ok
}

func (l *loader) knownWord(b *hclsyntax.Block) bool {
	labels, ok := words[b.Type]
	switch {
	case slices.Contains(reserved, b.Type):
		l.errorf(b.TypeRange, "the word is reserved: take the block out until a later version knows it", "%s blocks are not built yet", b.Type)
		return false
	case !ok:
		l.errorf(b.TypeRange, remedy(b.Type, slices.Collect(maps.Keys(words)), "the blocks are"), "there is no block %q", b.Type)
		return false
	case b.Type == "lease" && len(b.Labels) == 2: // it may have a name, as everything else has
	case len(b.Labels) != len(labels):
		form := b.Type
		for _, label := range labels {
			form += " \"" + label + "\""
		}
		l.errorf(b.DefRange(), "write: "+form+" { … }", "a %s block has %d labels, not %d", b.Type, len(labels), len(b.Labels))
		return false
	}
	for i, label := range b.Labels {
		if !hclsyntax.ValidIdentifier(label) {
			l.errorf(b.LabelRanges[i], "use letters, digits, _ and -, and begin with a letter", "%q is not a name", label)
			return false
		}
	}
	return true
}

// only reports attributes and blocks of body that are not named.
func (l *loader) only(where string, body *hclsyntax.Body, attrs, blocks []string) {
	for _, name := range slices.Sorted(maps.Keys(body.Attributes)) {
		a := body.Attributes[name]
		switch {
		case slices.Contains(attrs, name):
		case slices.Contains(reserved, name):
			l.errorf(a.NameRange, "the word is reserved: take it out until a later version knows it", "%s is not built yet", name)
		case slices.Contains(blocks, name):
			l.hidden(a.NameRange, a.Expr.Range(), fmt.Sprintf("write: %s { … }", name), "%s is a block", name)
		default: // the value may be a secret under a misspelt name
			l.hidden(a.NameRange, a.Expr.Range(), remedy(name, slices.Concat(attrs, blocks), "it has"), "%s has no argument %q", where, name)
		}
	}
	seen := map[string]bool{}
	for _, b := range body.Blocks {
		switch {
		case slices.Contains(blocks, b.Type):
			if seen[b.Type] {
				l.errorf(b.TypeRange, "keep one of them", "%s has two %s blocks", where, b.Type)
			}
			if len(b.Labels) > 0 {
				l.errorf(b.LabelRanges[0], "write: "+b.Type+" { … }", "a %s block has no labels", b.Type)
			}
			seen[b.Type] = true
		case slices.Contains(attrs, b.Type):
			l.errorf(b.TypeRange, fmt.Sprintf("write: %s = …", b.Type), "%s is an argument, not a block", b.Type)
		case slices.Contains(reserved, b.Type):
			l.errorf(b.TypeRange, "the word is reserved: take the block out until a later version knows it", "%s is not built yet", b.Type)
		default:
			l.errorf(b.TypeRange, remedy(b.Type, blocks, "it has"), "%s has no block %q", where, b.Type)
		}
	}
}

// weirArgs is the schema of the weir block.
var weirArgs = []sdk.Arg{
	{Name: "name", Type: sdk.String, Required: true},
	{Name: "required_version", Type: sdk.String},
	{Name: "timezone", Type: sdk.String},
	{Name: "lang", Type: sdk.String, OneOf: []string{"en", "ja", "zh"}},
	{Name: "state_key", Type: sdk.String, Secret: true},
	{Name: "rescue", Type: sdk.Dur},
}

var pipelineName = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,63}$`)

func (l *loader) readWeir(blocks []*hclsyntax.Block) {
	if len(blocks) == 0 {
		l.list = append(l.list, Diagnostic{Problem: "there is no weir block", Remedy: `write: weir { name = "…" } (state belongs to this name)`})
		return
	}
	for _, b := range blocks[1:] {
		l.errorf(b.TypeRange, "keep one of them", "a second weir block, after the one in %s, line %d", blocks[0].TypeRange.Filename, blocks[0].TypeRange.Start.Line)
	}
	b, p := blocks[0], l.pipeline
	d := l.decode("weir", b.Body, b.TypeRange, weirArgs, nil, nil)
	if name := d.text("name"); name != "" && !pipelineName.MatchString(name) {
		l.errorf(d.at("name"), "use up to 64 lower-case letters, digits, '_', '.' and '-'", "name cannot be %q", d.shown("name"))
	} else {
		p.Name = name
	}
	if zone := d.text("timezone"); zone != "" {
		loc, err := time.LoadLocation(zone)
		if err != nil {
			l.errorf(d.at("timezone"), `write a name of the IANA list, such as "Asia/Tokyo"`, "there is no time zone %q", d.shown("timezone"))
		} else {
			p.Timezone = loc
		}
	}
	if s := d.text("lang"); s != "" {
		p.Lang = s
	}
	if d.has("rescue") {
		p.Rescue = d.duration("rescue")
	}
	if d.has("state_key") {
		key := sdk.NewSecret(d.text("state_key"))
		if key.IsZero() {
			l.errorf(d.at("state_key"), "give the variable a value, or leave state_key out: then a key file is used", "state_key is empty")
		}
		p.StateKey = &key
	}
	if want := d.text("required_version"); want != "" && l.opt.Version != "" {
		if ok, err := versionAllows(want, l.opt.Version); err != nil && d.secret["required_version"] {
			l.errorf(d.at("required_version"), `write conditions such as ">= 0.2, < 1.0"`, "(secret) is not a version")
		} else if err != nil {
			l.errorf(d.at("required_version"), `write conditions such as ">= 0.2, < 1.0"`, "%v", err)
		} else if !ok {
			l.errorf(d.at("required_version"), "install such a version, or change required_version", "this is weir %s, the file wants %s", l.opt.Version, d.shown("required_version"))
		}
	}
}

// versionAllows reports whether version meets all conditions, which are separated by commas. A pre-release counts as its release.
func versionAllows(conditions, version string) (bool, error) {
	have, err := parseVersion(version)
	if err != nil {
		return false, err
	}
	for c := range strings.SplitSeq(conditions, ",") {
		c = strings.TrimSpace(c)
		number := strings.TrimLeft(c, "<>=!")
		want, err := parseVersion(strings.TrimSpace(number))
		if err != nil {
			return false, err
		}
		order := slices.Compare(have, want)
		ok := false
		switch c[:len(c)-len(number)] {
		case "", "=", "==":
			ok = order == 0
		case "!=":
			ok = order != 0
		case ">=":
			ok = order >= 0
		case "<=":
			ok = order <= 0
		case ">":
			ok = order > 0
		case "<":
			ok = order < 0
		default:
			return false, fmt.Errorf("%q is no condition on a version", c)
		}
		if !ok {
			return false, nil
		}
	}
	return true, nil
}

func parseVersion(s string) ([]int, error) {
	number, _, _ := strings.Cut(strings.TrimPrefix(s, "v"), "-")
	number, _, _ = strings.Cut(number, "+")
	v := make([]int, 3)
	parts := strings.Split(number, ".")
	if len(parts) > 3 {
		return nil, fmt.Errorf("%q is not a version", s)
	}
	for i, part := range parts {
		if _, err := fmt.Sscanf(part+" ", "%d ", &v[i]); err != nil {
			return nil, fmt.Errorf("%q is not a version", s)
		}
	}
	return v, nil
}

// namedPlugin is a plugin block. Its Path is "" while it depends on what only a running machine has.
type namedPlugin struct {
	ExternalPlugin
	d     *decoded
	block *hclsyntax.Block
}

// namedPlugins reads the plugin blocks.
func (l *loader) namedPlugins(blocks []*hclsyntax.Block) (list []namedPlugin) {
	seen := map[string]bool{}
	for _, p := range l.opt.Plugins {
		seen[p.Name] = true
	}
	for _, b := range blocks {
		name := b.Labels[0]
		d := l.decode("plugin "+name, b.Body, b.DefRange(), []sdk.Arg{{Name: "path", Type: sdk.String, Required: true}}, nil, nil)
		if seen[name] {
			l.errorf(b.LabelRanges[0], "choose another name", "there is a plugin %q already", name)
			continue
		}
		seen[name] = true
		path := d.text("path")
		if path != "" {
			if !filepath.IsAbs(path) {
				path = filepath.Join(l.folder, path)
			}
			var err error
			if path, err = filepath.Abs(path); err != nil { // the pipeline may have been named from here, the plugin starts elsewhere
				l.errorf(d.at("path"), "", "path %s: %v", path, err)
				continue
			}
		}
		list = append(list, namedPlugin{ExternalPlugin{Name: name, Path: path}, d, b})
	}
	return list
}

// readPlugins starts the plugins that the file names, to hear what they offer: those that the lock file lists, as it lists them.
func (l *loader) readPlugins(blocks []*hclsyntax.Block) {
	plugins := l.namedPlugins(blocks)
	if len(plugins) == 0 {
		return
	}
	lock := l.readLock(l.folder)
	if lock == nil {
		return
	}
	for _, x := range plugins {
		if x.Path == "" {
			continue
		}
		if l.opt.External == nil {
			l.errorf(x.block.DefRange(), "", "external plugins cannot be started here")
			continue
		}
		listed, ok := lock.Find(x.Name, Platform())
		if !ok {
			l.errorf(x.d.at("path"), "look at where it comes from, then list it: weir plugin lock", "plugin %s is not listed in %s for %s: it is not started",
				x.Name, filepath.Join(l.folder, LockName), Platform())
			continue
		}
		x.SHA256 = listed.SHA256
		p, err := l.opt.External(x.ExternalPlugin)
		var refused *Refused
		if errors.As(err, &refused) {
			l.errorf(x.d.at("path"), refused.Remedy, "plugin %s is not started: %s", x.Name, refused.Problem)
			continue
		}
		if err != nil {
			l.errorf(x.d.at("path"), "check that the file is there, can be executed and serves the weir protocol", "plugin %s does not answer: %v", x.Name, err)
			continue
		}
		p.Name = x.Name
		if taken := l.offer(p); len(taken) > 0 {
			l.errorf(x.block.DefRange(), "two plugins cannot offer the same type", "plugin %s offers what another plugin offers: %s", x.Name, strings.Join(taken, ", "))
		}
		l.pipeline.Plugins = append(l.pipeline.Plugins, x.ExternalPlugin)
	}
}

// readMoves reads moved and removed blocks: what happens to the state of steps that changed their address or are gone.
func (l *loader) readMoves(moved, removed []*hclsyntax.Block) {
	from := map[string]bool{}
	gone := func(b *hclsyntax.Block) (string, bool) {
		a, ok := l.addressIn(b, "from")
		if !ok {
			return "", false
		}
		if l.steps[a] != nil {
			l.errorf(b.Body.Attributes["from"].Expr.Range(), "from names a step that the file no longer has", "%s is still there", a)
			return "", false
		}
		if from[a] {
			l.errorf(b.Body.Attributes["from"].Expr.Range(), "keep one of them", "%s is moved or removed twice", a)
			return "", false
		}
		from[a] = true
		return a, true
	}
	for _, b := range moved {
		l.only("moved", b.Body, []string{"from", "to"}, nil)
		old, ok := gone(b)
		now, ok2 := l.addressIn(b, "to")
		if !ok || !ok2 {
			continue
		}
		if l.steps[now] == nil {
			l.errorf(b.Body.Attributes["to"].Expr.Range(), remedy(now, slices.Collect(maps.Keys(l.steps)), "there are"), "there is no step %s", now)
			continue
		}
		l.pipeline.Moved = append(l.pipeline.Moved, Move{old, now})
	}
	for _, b := range removed {
		l.only("removed", b.Body, []string{"from"}, nil)
		if old, ok := gone(b); ok {
			l.pipeline.Removed = append(l.pipeline.Removed, old)
		}
	}
}

// addressIn reads a step's address from an argument of a block.
func (l *loader) addressIn(b *hclsyntax.Block, name string) (string, bool) {
	a := b.Body.Attributes[name]
	if a == nil {
		l.errorf(b.DefRange(), fmt.Sprintf("write: %s = sink.TYPE.NAME", name), "%s needs an argument %q", b.Type, name)
		return "", false
	}
	address, ok := addressOf(a.Expr)
	if !ok || !strings.HasPrefix(address, "source.") && !strings.HasPrefix(address, "transform.") && !strings.HasPrefix(address, "sink.") {
		l.errorf(a.Expr.Range(), "write an address such as sink.kintone.log, without quotes", "%s names a step", name)
		return "", false
	}
	return address, true
}
