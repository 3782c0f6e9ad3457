package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/plain"
	"github.com/weir-etl/weir/engine/internal/reference"
	"github.com/weir-etl/weir/plugins"
	"github.com/weir-etl/weir/sdk"
)

func pluginDocsCommand() *cobra.Command {
	var dir, example string
	c := &cobra.Command{
		Use:   "docs [NAME|PATH]…",
		Short: "Write the reference of plugins: components, arguments, receipts and limits, as Markdown",
		Long: "Write what plugins offer as Markdown: every component with its arguments, fields, receipt, limits and an example. NAME is a bundled\n" +
			"plugin, PATH an executable, with at least one slash in it. Without either, all bundled plugins are written, behind the words that every\n" +
			"step takes.\n\n" +
			"An executable is started once, to ask what it offers, whatever a lock file says of it: name only what you would run by hand.",
		Example: "  weir plugin docs kintone\n  weir plugin docs ./acme\n  weir plugin docs --example pipeline.hcl ./acme >ACME.md\n  weir plugin docs --dir docs",
		RunE: work(func(c *cobra.Command, args []string) error {
			text := ""
			if example != "" {
				if len(args) != 1 {
					return usage("--example is for one plugin: name it")
				}
				b, err := os.ReadFile(example)
				if err != nil {
					return usage("--example: %w", err)
				}
				text = string(b)
			}
			pages, err := pages(args, text)
			if err != nil {
				return err
			}
			if dir != "" {
				return writePages(c.OutOrStdout(), dir, pages)
			}
			for i, p := range pages {
				if i > 0 {
					fmt.Fprintln(c.OutOrStdout())
				}
				if _, err := io.WriteString(c.OutOrStdout(), p.text); err != nil {
					return err
				}
			}
			return nil
		}),
	}
	c.Flags().StringVar(&dir, "dir", "", "write files below this `DIR` instead: README.md, and NAME/README.md for each plugin")
	c.Flags().StringVar(&example, "example", "", "pipeline `FILE` that the examples are cut out of")
	return c
}

// page is one file of the reference.
type page struct{ name, text string } // name: below the folder of the reference, with slashes

// pages are those of the plugins that are named; of all bundled ones, and the words of steps before them, where none is.
func pages(names []string, example string) (list []page, err error) {
	if len(names) == 0 {
		all := plugins.All()
		list = append(list, page{"README.md", reference.Index(all)})
		for _, p := range all {
			names = append(names, p.Name)
		}
	}
	for _, name := range names {
		p, text, err := declared(name)
		if err != nil {
			return nil, err
		}
		if example != "" {
			text = example
		}
		if p.Name != filepath.Base(p.Name) || p.Name == "." || p.Name == ".." { // it becomes a folder
			return nil, usage("%s calls itself %q, which is no name", name, p.Name)
		}
		list = append(list, page{p.Name + "/README.md", shown(p, text)})
	}
	return list, nil
}

// shown is the reference of a plugin for a terminal: nothing in it obeys what somebody wrote into a declaration.
func shown(p sdk.Plugin, example string) string {
	return plain.Text(reference.Plugin(p, strings.ReplaceAll(example, "\t", "  ")), 0)
}

// declared is what a plugin offers, with the example that is shown with it.
func declared(name string) (p sdk.Plugin, example string, err error) {
	for _, p := range plugins.All() {
		if p.Name == name {
			return p, plugins.Example(name), nil
		}
	}
	if !strings.ContainsAny(name, "/"+string(filepath.Separator)) {
		var bundled []string
		for _, p := range plugins.All() {
			bundled = append(bundled, p.Name)
		}
		return p, "", usage("no plugin %q is bundled: there are %s\nof an executable, name the path: weir plugin docs ./%s", name, strings.Join(bundled, ", "), name)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return p, "", err
	}
	sum, _, err := host.Sum(path)
	if err != nil {
		return p, "", usage("%w", err)
	}
	if p, err = external(lang.ExternalPlugin{Name: filepath.Base(path), Path: path, SHA256: sum}); err != nil {
		return p, "", usage("%s does not answer: %w", name, err)
	}
	return p, "", nil
}

// writePages writes the files that are not as they should be, and tells of them. What it has not written it leaves alone.
func writePages(w io.Writer, dir string, pages []page) error {
	for _, p := range pages {
		name := filepath.Join(dir, filepath.FromSlash(p.name))
		text := []byte(reference.Written + p.text)
		old, err := os.ReadFile(name)
		switch {
		case err == nil && bytes.Equal(old, text):
			continue
		case err == nil && !bytes.HasPrefix(old, []byte(reference.Written)):
			return usage("%s is there already, and is not one of ours: name another folder, or move it away", name)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(name, text, 0o666); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(w, plain.Line(name)); err != nil {
			return err
		}
	}
	return nil
}
