// Package reference writes what a plugin offers as Markdown, for those who write pipelines.
//
// All of it comes from the plugin's own declaration, which is what Describe carries over the wire: so it is written in the same way for a
// plugin that ships with weir and for one that somebody else has made. What a declaration cannot say is the example. It is cut out of a
// pipeline file, where there is one ([Plugin]); else it is made of the arguments that are required ([Skeleton]).
//
// A declaration's texts are Markdown, as their authors mean them. Those of a component or connection may have paragraphs and tables;
// all others are one line.
package reference

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/weir-etl/weir/sdk"
)

// Written is the first line of every file that is written by this package.
const Written = "<!-- Written by weir plugin docs from what the plugin declares: change that, then run make reference. -->\n"

// What applies where a component does not say; sdk.Component names the same numbers.
const (
	maxRecords  = 500
	maxBytes    = 512 << 10
	maxInFlight = 2
)

// Plugin writes the reference of a plugin. example is the text of a pipeline file that uses it, "" = none.
func Plugin(p sdk.Plugin, example string) string {
	w := &writer{plugin: p, example: example}
	w.line("# Plugin %s", p.Name)
	w.line("")
	if p.Version != "" {
		w.line("Version %s.", p.Version)
		w.line("")
	}
	w.line("| block | what it is |")
	w.line("|---|---|")
	for _, c := range p.Connections {
		w.line("| [`connection %q`](#connection-%s) | %s |", c.Type, anchor(c.Type), cell(sentence(c.Doc)))
	}
	for _, c := range p.Components {
		w.line("| [`%s %q`](#%s-%s) | %s |", c.Kind, c.Type, c.Kind, anchor(c.Type), cell(sentence(c.Doc)))
		if c.Lease != nil {
			w.line("| [`lease %q`](#lease-%s) | keeps a second engine away from what the first one writes |", c.Type, anchor(c.Type))
		}
	}
	for _, c := range p.Connections {
		w.connection(c)
	}
	for _, c := range p.Components {
		w.component(c)
	}
	return w.b.String()
}

type writer struct {
	b       strings.Builder
	plugin  sdk.Plugin
	example string
}

func (w *writer) line(format string, a ...any) { fmt.Fprintf(&w.b, format+"\n", a...) }

func (w *writer) connection(c sdk.Connection) {
	w.line("\n## connection %q\n", c.Type)
	w.paragraphs(c.Doc)
	w.arguments("###", c.Args)
	w.block("connection", c.Type, "")
}

func (w *writer) component(c sdk.Component) {
	w.line("\n## %s %q\n", c.Kind, c.Type)
	w.paragraphs(c.Doc)
	for _, fact := range facts(c) {
		w.line("* %s", fact)
	}
	w.line("")
	w.arguments("###", c.Args)
	if len(c.Fields) > 0 {
		w.line("\n### Fields of its records\n")
		w.fields("record.", c.Fields)
	}
	if c.Kind == sdk.KindSink {
		w.line("\n### Receipt\n")
		w.line("Later steps may mention `receipt.%s.NAME` with `state`, `code`, `urls` and `files`%s", c.Type, ending(len(c.Receipt) > 0, ", and with:\n", "."))
		if len(c.Receipt) > 0 {
			w.fields("", c.Receipt)
		}
	}
	w.block(string(c.Kind), c.Type, Skeleton(w.plugin, c))
	if c.Lease != nil {
		w.line("\n## lease %q\n", c.Type)
		w.line("One row in the destination says which engine may write there. Beside the arguments below the block takes `connection`,")
		w.line("`enabled`, and `hold`: how long an engine that has died keeps others out, from \"1m\" to \"6h\", \"10m\" where it is left out.\n")
		w.arguments("###", c.Lease)
		w.block("lease", c.Type, "")
	}
}

func ending(when bool, then, otherwise string) string {
	if when {
		return then
	}
	return otherwise
}

// facts are what a component declares beside its arguments.
func facts(c sdk.Component) (list []string) {
	add := func(format string, a ...any) { list = append(list, fmt.Sprintf(format, a...)) }
	if c.Connection != "" {
		add("Needs `connection = connection.%s.NAME`.", c.Connection)
	}
	if c.Kind != sdk.KindSource {
		if len(c.Accepts) > 0 {
			add("Takes records of kind %s.", codes(c.Accepts))
		} else {
			add("Takes records of any kind.")
		}
	}
	switch {
	case len(c.Emits) > 0:
		add("Makes records of kind %s.", codes(c.Emits))
	case c.Kind == sdk.KindSource:
		add("Makes records of the kind that its argument `kind` says.")
	case c.Kind == sdk.KindTransform:
		add("The kind of a record stays as it came.")
	}
	if c.Kind == sdk.KindSource {
		if c.Retention > 0 {
			add("The service keeps what a record refers to for %g hours, from the record's time: that is the deadline of its files.", c.Retention.Hours())
		}
		if c.Opaque {
			add("Bodies are unreadable as they come; the state keeps them as they are.")
		}
		if c.Positions {
			add("`weir rebuild` can begin it behind any seq.")
		}
		return list
	}
	records, in := c.MaxRecords, c.MaxInFlight
	if records == 0 {
		records = maxRecords
	}
	if in == 0 {
		in = maxInFlight
	}
	size := c.MaxBytes
	if size == 0 {
		size = maxBytes
	}
	switch {
	case c.Effect == sdk.Once:
		add("A second delivery of a record does harm (effect once): each is announced durably before it is sent, one record in a call, and " +
			"`on_unknown` says what becomes of one whose call was lost.")
	case c.Kind == sdk.KindSink:
		add("A second delivery of a record is harmless.")
	}
	if c.Effect != sdk.Once {
		add("A call has up to %s and %s of bodies; a single larger record comes alone.", count(records, "record"), bytesText(size))
	}
	add("Up to %s at a time.", count(in, "call"))
	if c.Holds {
		add("Packs records of many calls into one object: `batch {}` says when it is finished; without it after 10,000 records, 64 MiB or a minute.")
	}
	if c.MakesFiles {
		add("Fetches files: their bytes go through the spool, never through records.")
	}
	if c.FilesOnly {
		add("A record without wanted files (`files`) passes by.")
	}
	if c.Probes {
		add("Before what it owes is sent again, it is asked whether it is there already; bytes are only fetched again when it is not.")
	}
	if c.Surveys {
		add("`weir rebuild` can ask its destination how far it has come.")
	}
	return list
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// bytesText is a size with the largest unit that leaves no rest.
func bytesText(n int64) string {
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// arguments writes the table of a block, and those of the blocks in it. level is the heading of the first.
func (w *writer) arguments(level string, args []sdk.Arg) {
	w.line("%s Arguments\n", level)
	w.table(level, "", args)
}

func (w *writer) table(level, path string, args []sdk.Arg) {
	if len(args) == 0 {
		w.line("None.")
		return
	}
	w.line("| argument | type | default | evaluated | |")
	w.line("|---|---|---|---|---|")
	for _, a := range args {
		if a.Block != nil {
			w.line("| `%s { … }` | block | %s | | %s See below. |", a.Name, ending(a.Required, "**required**", ""), cell(a.Doc))
			continue
		}
		w.line("| `%s` | %s | %s | %s | %s |", a.Name, cell(string(a.Type)), defaultText(a), evaluated(a), cell(meaning(a)))
	}
	for _, a := range args {
		if a.Block != nil {
			w.line("\n%s# Block `%s`\n", level, path+a.Name)
			w.table(level+"#", path+a.Name+".", a.Block)
		}
	}
}

func defaultText(a sdk.Arg) string {
	switch {
	case a.Required:
		return "**required**"
	case a.Default == nil:
		return ""
	case a.Secret && a.Default != "":
		return "(secret)"
	}
	return "`" + strings.ReplaceAll(valueText(a.Default), "|", `\|`) + "`"
}

// valueText is a value as it would stand in a pipeline file.
func valueText(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return "?" // what came over the wire was JSON
	}
	return strings.ReplaceAll(strings.TrimSpace(b.String()), `","`, `", "`)
}

// evaluated says how often, where that is more than once.
func evaluated(a sdk.Arg) string {
	switch {
	case a.PerFile:
		return "per file"
	case a.PerRecord || a.Type == sdk.Files || a.Type == sdk.FilesMap:
		return "per record"
	}
	return ""
}

func meaning(a sdk.Arg) string {
	parts := []string{a.Doc}
	if len(a.OneOf) > 0 {
		var list []string
		for _, v := range a.OneOf {
			list = append(list, valueText(v))
		}
		parts = append(parts, "One of "+codes(list)+".")
	}
	if a.Secret {
		parts = append(parts, "Never shown; from `env()`, `file()` or `keyring()`.")
	}
	return strings.TrimSpace(strings.Join(parts, " "))
}

func (w *writer) fields(prefix string, fields []sdk.Field) {
	w.line("| field | type | |")
	w.line("|---|---|---|")
	for _, f := range fields {
		w.line("| `%s` | %s | %s |", prefix+f.Name, cell(string(f.Type)), cell(f.Doc))
	}
}

// block writes the example of a block: as it stands in the example, or otherwise.
func (w *writer) block(kind, typ, otherwise string) {
	text := strings.Join(Blocks(w.example, kind, typ), "\n")
	title := "Example"
	if text == "" {
		if text = otherwise; text == "" {
			return
		}
		title = "To begin with"
	}
	w.line("\n### %s\n\n```hcl\n%s```", title, text)
}

// Blocks are the blocks of a kind and type in the text of a pipeline file, with the comments right above them. The file must be formatted
// as usual: a block begins, and ends with its brace, at the start of a line.
func Blocks(text, kind, typ string) (list []string) {
	var comment, block []string
	inside, wanted := false, false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case inside:
			block = append(block, line)
			if line == "}" {
				if wanted {
					list = append(list, strings.Join(block, "\n")+"\n")
				}
				inside, comment = false, nil
			}
		case strings.HasPrefix(line, "#"):
			comment = append(comment, line)
		case strings.Contains(line, "{"):
			wanted = strings.HasPrefix(line, fmt.Sprintf("%s %q ", kind, typ))
			block = append(comment, line)
			if inside = !strings.HasSuffix(line, "}"); !inside {
				if wanted {
					list = append(list, strings.Join(block, "\n")+"\n")
				}
				comment = nil
			}
		default:
			comment = nil
		}
	}
	return list
}

// Skeleton is a pipeline that uses a component with what it requires and nothing else. Its records come from a file.
func Skeleton(p sdk.Plugin, c sdk.Component) string {
	var b strings.Builder
	for _, x := range p.Connections {
		if x.Type == c.Connection {
			fmt.Fprintf(&b, "connection %q \"main\" {\n%s}\n", x.Type, required(x.Args, nil, 1))
		}
	}
	var own []line
	if c.Connection != "" {
		own = append(own, line{"connection", "connection." + c.Connection + ".main"})
	}
	if c.Kind != sdk.KindSource {
		from := []line{{"path", `"records.jsonl"`}}
		if len(c.Accepts) > 0 {
			from = append(from, line{"kind", valueText(c.Accepts[0])})
		}
		fmt.Fprintf(&b, "source \"file\" \"records\" {\n%s}\n", align(from, 1))
		own = append(own, line{"input", "source.file.records"})
	}
	fmt.Fprintf(&b, "%s %q \"main\" {\n%s}\n", c.Kind, c.Type, required(c.Args, own, 1))
	return b.String()
}

type line struct{ name, value string }

// required are the lines of a block, with those of the arguments that it cannot do without.
func required(args []sdk.Arg, lines []line, depth int) string {
	blocks := ""
	indent := strings.Repeat("  ", depth)
	for _, a := range args {
		switch {
		case !a.Required:
		case a.Block != nil:
			blocks += fmt.Sprintf("%s%s {\n%s%s}\n", indent, a.Name, required(a.Block, nil, depth+1), indent)
		default:
			lines = append(lines, line{a.Name, placeholder(a)})
		}
	}
	return align(lines, depth) + blocks
}

func align(lines []line, depth int) string {
	width := 0
	for _, l := range lines {
		width = max(width, len(l.name))
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%s%-*s = %s\n", strings.Repeat("  ", depth), width, l.name, l.value)
	}
	return b.String()
}

// placeholder is a value of the right type, to be replaced.
func placeholder(a sdk.Arg) string {
	secret := `env("` + strings.ToUpper(strings.ReplaceAll(a.Name, "-", "_")) + `")`
	switch {
	case a.Secret && a.Type == sdk.StringMap:
		return "{ name = " + secret + " }"
	case a.Secret:
		return secret
	case len(a.OneOf) > 0:
		return valueText(a.OneOf[0])
	case a.PerFile && a.Type == sdk.String:
		return `"${file.index}_${safename(file.name)}"`
	}
	switch a.Type {
	case sdk.Number:
		return "1"
	case sdk.Bool:
		return "true"
	case sdk.Dur:
		return `"5m"`
	case sdk.Strings:
		return `["…"]`
	case sdk.Durs:
		return `["1m", "1h"]`
	case sdk.StringMap, sdk.AnyMap:
		if a.PerRecord {
			return "{ name = record.id }"
		}
		return `{ name = "…" }`
	case sdk.Files:
		return "record.files"
	case sdk.FilesMap:
		return "{ name = record.files }"
	}
	if a.PerRecord {
		return "record.id"
	}
	return `"…"`
}

// paragraphs writes a text that may have some.
func (w *writer) paragraphs(doc string) {
	if doc = strings.TrimSpace(doc); doc != "" {
		w.line("%s\n", doc)
	}
}

// sentence is the first one of a text.
func sentence(doc string) string {
	doc, _, _ = strings.Cut(doc, "\n")
	for i, r := range doc {
		if r == '.' && (i+1 == len(doc) || strings.HasPrefix(doc[i+1:], " ")) {
			return doc[:i+1]
		}
	}
	return doc
}

// cell is a text in one cell of a table.
func cell(s string) string {
	return strings.NewReplacer("\r", "", "\n", " ", "|", `\|`, "<", `\<`, "*", `\*`).Replace(strings.TrimSpace(s))
}

func codes(list []string) string {
	return "`" + strings.Join(list, "`, `") + "`"
}

func anchor(typ string) string { return strings.ToLower(typ) }
