package reference

import (
	"fmt"
	"strings"

	"github.com/weir-etl/weir/sdk"
)

// Word is one that the engine itself understands in the block of a step: no plugin declares it.
type Word struct {
	Name    string
	Kinds   []sdk.ComponentKind // of the steps that take it
	Example string              // a value; of a block, its lines
	Doc     string
}

var (
	steps  = []sdk.ComponentKind{sdk.KindSource, sdk.KindTransform, sdk.KindSink}
	takers = steps[1:]
	sinks  = steps[2:]
)

// Words are those of the steps; the blocks among them come after the arguments.
func Words() (args, blocks []Word) {
	return []Word{
			{"connection", steps, "connection.wecom.archive", "The connection, where the component needs one."},
			{"enabled", steps, "true", "false takes the step out; who mentions the receipt of such a sink finds the state \"disabled\"."},
			{"isolate", steps, "true", "true: the step has a process of its own, and is called there for every record. Else a transform that takes every record as it is may be applied in the process of the step before it; weir plan says so."},
			{"input", takers, "[source.file.lines]", "Where its records come from: one source or transform, or a list of them; weir.events are the engine's own events."},
			{"when", takers, "record.seq > 0", "Which records it is for, evaluated per record. The others pass a sink by, and pass a transform unchanged. Not on a transform that makes another kind of record."},
			{"after", takers, "[sink.file.first]", "Sinks that have to be done with a record before. A mention of a sink's receipt says the same."},
			{"about", takers, "record.id", "Id of another record, evaluated per record: the step waits while a sink in after still owes that one."},
			{"order", takers, "\"none\"", "\"key\": records of one key go one after the other, in the order in which they were read. \"none\" where it is left out."},
			{"effect", takers, "\"idempotent\"", "\"once\" (sinks): a second delivery does harm; each record is announced durably before it is sent, alone."},
			{"on_reject", takers, "\"dead\"", "What becomes of a record that is refused: a dead letter. There is no other choice yet."},
			{"ids", sinks, "\"global\"", "\"global\": ids are unique over all inputs. \"source\" where it is left out: only within each source."},
			{"on_owed", sinks, "\"pass\"", "\"pass\": what mentions its receipt does not wait while it owes, and runs once more when it has delivered. \"wait\" where it is left out."},
			{"on_unknown", sinks, "\"dead\"", "With the effect once: a record whose call was lost becomes a dead letter (\"dead\", where it is left out), or is sent again (\"resend\")."},
		}, []Word{
			{"limit", takers, "rate = \"600/1m\"\nconcurrency = 4", "How often the step is called, as calls per duration, and how many calls there are at a time. A connection takes it too: for all its steps " +
				"together. A source decides itself how often it asks."},
			{"retry", takers, "tries = 3\nwithin = \"30s\"\nsilence = \"5m\"", "tries (3): calls for a record before it is owed. within (\"30s\"): so long after the first failure it is owed anyhow. " +
				"silence (\"5m\"): a call that shows no progress for so long, in real time, is lost, and its process is ended; one that merely sleeps has twelve times as long."},
			{"batch", takers, "max_records = 100\nmax_bytes = 100000\nmax_wait = \"10s\"", "Smaller calls than the component takes, and how long records may wait for a fuller one while more are on their way. " +
				"Of a sink that packs records into objects: when an object is finished."},
		}
}

// types are those of arguments and fields.
var types = []struct {
	name sdk.Type
	doc  string
}{
	{sdk.String, "Text."},
	{sdk.Number, "A number. mib(10) are 10 MiB in bytes."},
	{sdk.Bool, "true or false."},
	{sdk.Dur, "Text such as \"90s\", \"5m\", \"120h\"; the largest unit is the hour."},
	{sdk.Strings, "Texts in order: [\"a\", \"b\"]."},
	{sdk.Durs, "Durations in order: [\"1m\", \"1h\"]."},
	{sdk.StringMap, "Names to texts: { a = \"x\" }."},
	{sdk.AnyMap, "Names to values of any type."},
	{sdk.Any, "A value of any type."},
	{sdk.Files, "Files of the record: record.files, or [for f in record.files : f if f.size < mib(10)]."},
	{sdk.FilesMap, "Names to such lists."},
}

// Index writes what is common to all plugins, with a list of what there is.
func Index(list []sdk.Plugin) string {
	w := &writer{}
	w.line("# Plugins\n")
	w.line("What ships with weir. `weir plugin docs NAME` prints one of these pages, `weir plugin docs PATH` that of an executable of one's own.\n")
	w.line("| block | plugin | what it is |")
	w.line("|---|---|---|")
	for _, p := range list {
		for _, c := range p.Connections {
			w.line("| `connection %q` | [%s](%s/README.md#connection-%s) | %s |", c.Type, p.Name, p.Name, anchor(c.Type), cell(sentence(c.Doc)))
		}
		for _, c := range p.Components {
			w.line("| `%s %q` | [%s](%s/README.md#%s-%s) | %s |", c.Kind, c.Type, p.Name, p.Name, c.Kind, anchor(c.Type), cell(sentence(c.Doc)))
		}
	}
	w.line("\n## Words of every step\n")
	w.line("A step is a block with two labels, `sink \"TYPE\" \"NAME\"`. Beside the arguments of its component it takes the words of weir itself:\n")
	w.line("| word | of | |")
	w.line("|---|---|---|")
	args, blocks := Words()
	for _, a := range args {
		w.line("| `%s` | %s | %s |", a.Name, kinds(a.Kinds), cell(a.Doc))
	}
	for _, b := range blocks {
		w.line("| `%s { … }` | %s | %s For example `%s`. |", b.Name, kinds(b.Kinds), cell(b.Doc), strings.ReplaceAll(b.Example, "\n", "`, `"))
	}
	w.line("\n## Types\n")
	w.line("| type | |")
	w.line("|---|---|")
	for _, t := range types {
		w.line("| %s | %s |", t.name, cell(t.doc))
	}
	w.line("\nAn argument is evaluated once, at the start, unless its page says otherwise. *Per record*: the expression may mention `record`, and")
	w.line("`receipt` of sinks before it, and is evaluated for each. *Per file*: it may mention `file` too, and is evaluated for each file in the")
	w.line("argument `files`. A *secret* is never shown, and does not stand in the file itself.\n")
	w.line("An argument may be left out unless it is *required*. null counts as left out, except in what a sink writes, where it leaves a field alone.")
	return w.b.String()
}

func kinds(list []sdk.ComponentKind) string {
	if len(list) == len(steps) {
		return "all"
	}
	var names []string
	for _, k := range list {
		names = append(names, fmt.Sprintf("%ss", k))
	}
	return strings.Join(names, ", ")
}
