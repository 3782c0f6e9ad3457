package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/reference"
	"github.com/weir-etl/weir/plugins"
	"github.com/weir-etl/weir/sdk"
)

const folder = "../../../plugins"

// What is in the repository is what the plugins declare.
func TestReference(t *testing.T) {
	list, err := pages(nil, "")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, p := range list {
		known[filepath.Join(folder, p.name)] = true
		got, err := os.ReadFile(filepath.Join(folder, p.name))
		if err != nil {
			t.Errorf("%v: make reference", err)
			continue
		}
		if d := cmp.Diff(strings.Split(reference.Written+p.text, "\n"), strings.Split(string(got), "\n")); d != "" {
			t.Errorf("plugins/%s is not what the plugin declares: make reference\n-want +got\n%s", p.name, d)
		}
	}
	for _, pattern := range []string{"README.md", "*/README.md"} {
		found, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range found {
			if text, _ := os.ReadFile(name); strings.HasPrefix(string(text), reference.Written) && !known[name] {
				t.Errorf("%s is about a plugin that does not exist", name)
			}
		}
	}
}

// A declaration that has travelled makes the same page as one that has not.
func TestReferenceOverTheWire(t *testing.T) {
	for _, p := range plugins.All() {
		exe, err := host.Bundled(p.Name)
		if err != nil {
			t.Fatal(err)
		}
		run, err := host.Start(t.Context(), exe, host.Options{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		got := reference.Plugin(run.Plugin(), plugins.Example(p.Name))
		if err := run.Kill(context.Background()); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(reference.Plugin(p, plugins.Example(p.Name)), got); d != "" {
			t.Errorf("%s: -here +over the wire\n%s", p.Name, d)
		}
	}
}

// Each component and connection has an example, and each example is a pipeline without a mistake.
func TestReferenceExamples(t *testing.T) {
	for _, p := range plugins.All() {
		text := plugins.Example(p.Name)
		valid(t, p.Name+"/example.hcl", text)
		has := func(kind, typ string) {
			if len(reference.Blocks(text, kind, typ)) == 0 {
				t.Errorf("plugins/%s/example.hcl has no %s %q", p.Name, kind, typ)
			}
		}
		for _, c := range p.Connections {
			has("connection", c.Type)
		}
		for _, c := range p.Components {
			has(string(c.Kind), c.Type)
			if c.Lease != nil {
				has("lease", c.Type)
			}
		}
	}
}

// What stands in for an example is a pipeline too.
func TestSkeletons(t *testing.T) {
	for _, p := range plugins.All() {
		for _, c := range p.Components {
			name := fmt.Sprintf("%s %s of %s", c.Kind, c.Type, p.Name)
			valid(t, name, "weir {\n  name = \"skeleton\"\n}\n"+reference.Skeleton(p, c))
		}
	}
}

// The words of the reference are those of the language, with values that it takes, at the steps that it takes them of.
func TestWords(t *testing.T) {
	args, blocks := reference.Words()
	for _, kind := range []sdk.ComponentKind{sdk.KindSource, sdk.KindTransform, sdk.KindSink} {
		for _, w := range slices.Concat(args, blocks) {
			if w.Name == "connection" {
				continue // every example has one
			}
			line := w.Name + " = " + w.Example + "\n"
			switch {
			case slices.ContainsFunc(blocks, func(b reference.Word) bool { return b.Name == w.Name }):
				line = w.Name + " {\n" + w.Example + "\n}\n"
			case w.Name == "about":
				line += "after = [sink.file.first]\n"
			case w.Name == "on_unknown":
				line += "effect = \"once\"\n"
			}
			own := map[sdk.ComponentKind]string{}
			for k, needs := range map[sdk.ComponentKind][]string{
				sdk.KindSource: {"path = \"a\"\n"}, sdk.KindTransform: {"input = source.file.lines\n"}, sdk.KindSink: {"input = source.file.lines\n", "path = \"b\"\n"},
			} {
				if own[k] = ""; k == kind {
					own[k] = line
				}
				for _, need := range needs {
					if !strings.HasPrefix(own[k], "input =") || !strings.HasPrefix(need, "input =") {
						own[k] += need
					}
				}
			}
			text := fmt.Sprintf("weir {\nname = \"words\"\n}\nsource \"file\" \"lines\" {\n%s}\ntransform \"md5\" \"sums\" {\n%s}\n"+
				"sink \"file\" \"first\" {\ninput = source.file.lines\npath = \"first\"\n}\nsink \"file\" \"second\" {\n%s}\n",
				own[sdk.KindSource], own[sdk.KindTransform], own[sdk.KindSink])
			diags := load(t, text)
			if takes := slices.Contains(w.Kinds, kind); takes == diags.HasErrors() {
				t.Errorf("%s on a %s: takes it: %v, mistakes: %v", w.Name, kind, takes, diags)
			}
		}
	}
}

// valid reports every diagnostic of a pipeline, warnings among them.
func valid(t *testing.T, name, text string) {
	t.Helper()
	for _, d := range load(t, text) {
		t.Errorf("%s:%d: %s (%s)", name, d.Line, d.Problem, d.Remedy)
	}
}

// load reads a pipeline as weir validate does.
func load(t *testing.T, text string) lang.Diagnostics {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pipeline.hcl")
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	p := place{log: "info"}
	_, diags, err := p.read([]string{name}, true)
	if err != nil {
		t.Fatal(err)
	}
	return diags
}

// What a declaration holds cannot steer a terminal, nor break out of a table.
func TestReferenceOfStrangers(t *testing.T) {
	evil := "\x1b[2J\u202e a|b\nc"
	text := shown(sdk.Plugin{Name: "acme", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "acme", Doc: evil, Args: []sdk.Arg{
		{Name: "a", Type: sdk.String, Doc: evil, Default: evil, OneOf: []string{evil}},
	}}}}, "sink \"acme\" \"x\" {\n\tinput = source.file.lines\n}\n")
	if strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("control characters are shown as they are: %q", text)
	}
	if want := "\n  input = source.file.lines\n"; !strings.Contains(text, want) {
		t.Errorf("no line %q in %q", want, text)
	}
	for line := range strings.Lines(text) {
		if cells := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); strings.HasPrefix(line, "| `a`") && cells != 6 {
			t.Errorf("%d cells in %q", cells-1, line)
		}
	}
}
