package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/plain"
	"github.com/weir-etl/weir/plugins"
	"github.com/weir-etl/weir/sdk"
)

func pluginCommand() *cobra.Command {
	return group("plugin", "Plugins: what is bundled, and which executables of others may run",
		"Plugins offer sources, transforms and sinks. Those that ship with weir are weir itself; others are executables that a pipeline\n"+
			"names, plugin \"acme\" { path = \"acme\" }, and that run only while they are what "+lang.LockName+" beside the pipeline lists.",
		pluginListCommand(), pluginLockCommand(), pluginDocsCommand())
}

// pluginLine is one plugin as it is shown.
type pluginLine struct {
	Name     string   `json:"name"`
	Version  string   `json:"version,omitempty"` // of external ones as it was when they were listed
	Bundled  bool     `json:"bundled"`
	Path     string   `json:"path,omitempty"`
	State    string   `json:"state,omitempty"` // of external ones: locked, unlocked, differs, unreadable
	Problem  string   `json:"problem,omitempty"`
	SHA256   string   `json:"sha256,omitempty"` // what is there now
	Locked   string   `json:"locked,omitempty"` // what the lock file lists
	Provides []string `json:"provides,omitempty"`
}

func pluginListCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "list [PIPELINE…]",
		Short: "List plugins: bundled ones and those that a pipeline names, and whether these may run",
		Long: "List the plugins that weir carries and, of a pipeline, those that it names. Nothing is started: the executable of each is\n" +
			"compared with what " + lang.LockName + " lists. Exit code 2 when one of them would be refused.",
		Example: "  weir plugin list\n  weir plugin list --json shop.hcl",
		RunE: work(func(c *cobra.Command, args []string) error {
			var list []pluginLine
			for _, b := range plugins.All() {
				list = append(list, pluginLine{Name: b.Name, Version: b.Version, Bundled: true, Provides: provides(b)})
			}
			refused := false
			if len(args) > 0 {
				named, lock, _, err := p.plugins(args)
				if err != nil {
					return err
				}
				for _, x := range named {
					line := inspect(x, lock)
					refused = refused || line.State != "locked"
					list = append(list, line)
				}
			}
			var err error
			if p.json {
				err = writeJSON(c.OutOrStdout(), list)
			} else {
				err = printPlugins(c.OutOrStdout(), list)
			}
			if err == nil && refused {
				return usage("not every plugin may run; if these are what they should be: weir plugin lock PIPELINE")
			}
			return err
		}),
	}
	p.flags(c, "as JSON")
	return c
}

// plugins reads which external plugins a pipeline names, and what the lock file of its folder lists; mistakes are printed.
func (p *place) plugins(paths []string) (named []lang.ExternalPlugin, lock *lang.Lock, folder string, err error) {
	opt, err := p.options()
	if err != nil {
		return nil, nil, "", err
	}
	named, folder, diags := lang.ReadPlugins(paths, opt)
	if err := p.report(diags); err != nil {
		return nil, nil, "", err
	}
	lock, diags = lang.ReadLock(folder)
	return named, lock, folder, p.report(diags)
}

// inspect compares an executable with the lock file.
func inspect(x lang.ExternalPlugin, lock *lang.Lock) pluginLine {
	listed, _ := lock.Find(x.Name, lang.Platform())
	line := pluginLine{Name: x.Name, Version: listed.Version, Path: x.Path, Locked: x.SHA256, State: "locked"}
	sum, _, err := host.Sum(x.Path)
	switch {
	case err != nil:
		line.State, line.Problem = "unreadable", err.Error()
	case x.SHA256 == "":
		line.State = "unlocked"
	case sum != x.SHA256:
		line.State = "differs"
	}
	line.SHA256 = sum
	return line
}

func provides(p sdk.Plugin) (list []string) {
	for _, c := range p.Components {
		list = append(list, string(c.Kind)+" "+c.Type)
	}
	return list
}

func printPlugins(w io.Writer, list []pluginLine) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, x := range list {
		switch {
		case x.Bundled:
			fmt.Fprintf(t, "%s\t%s\tbundled\n", x.Name, x.Version)
		case x.State == "differs":
			fmt.Fprintf(t, "%s\t%s\t%s\tdiffers: sha256 %s, listed is %s\n", x.Name, or(plain.Line(x.Version), "-"), plain.Line(x.Path), x.SHA256, x.Locked)
		case x.State == "unreadable":
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", x.Name, or(plain.Line(x.Version), "-"), plain.Line(x.Path), plain.Line(x.Problem))
		default:
			fmt.Fprintf(t, "%s\t%s\t%s\t%s, sha256 %s\n", x.Name, or(plain.Line(x.Version), "-"), plain.Line(x.Path), x.State, x.SHA256)
		}
	}
	return t.Flush()
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// lockLine is what became of one plugin.
type lockLine struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Path    string `json:"path"`
	SHA256  string `json:"sha256"`
	Before  string `json:"before,omitempty"` // what was listed, where that was something else
	Change  string `json:"change"`           // added, changed, same
}

func pluginLockCommand() *cobra.Command {
	var p place
	c := &cobra.Command{
		Use:   "lock PIPELINE…",
		Short: "List the external plugins of a pipeline, as they are now, as those that may run",
		Long: "Write the sha256 and size of each external plugin of a pipeline to " + lang.LockName + " beside it, for this platform, and the\n" +
			"version that it tells: for that it is started once. From then on nothing else is started under its name. What the file lists\n" +
			"for other plugins and platforms stays. Look at what a plugin is before you lock it, and keep the file with the pipeline.",
		Example: "  weir plugin lock shop.hcl",
		Args:    pipelines,
		RunE: work(func(c *cobra.Command, args []string) error {
			named, lock, folder, err := p.plugins(args)
			if err != nil {
				return err
			}
			lines := []lockLine{}
			for _, x := range named {
				before := x.SHA256
				sum, size, err := host.Sum(x.Path)
				if err != nil {
					return usage("plugin %s: %w", x.Name, err)
				}
				x.SHA256 = sum // what is started now is what will be listed
				described, err := external(x)
				if err != nil {
					return usage("plugin %s does not answer: %w", x.Name, err)
				}
				lock.Set(lang.Locked{Name: x.Name, Platform: lang.Platform(), Version: described.Version, Size: size, SHA256: sum})
				line := lockLine{Name: x.Name, Version: described.Version, Path: x.Path, SHA256: sum, Change: "same"}
				switch {
				case before == "":
					line.Change = "added"
				case before != sum:
					line.Change, line.Before = "changed", before
				}
				lines = append(lines, line)
			}
			if len(lines) > 0 {
				if _, err := lock.Write(folder); err != nil {
					return err
				}
			}
			if p.json {
				return writeJSON(c.OutOrStdout(), lines)
			}
			w := c.OutOrStdout()
			for _, l := range lines {
				fmt.Fprintf(w, "%s %s: %s, sha256 %s\n", l.Name, or(plain.Line(l.Version), "-"), l.Change, l.SHA256)
				if l.Before != "" {
					fmt.Fprintf(w, "%s was sha256 %s\n", l.Name, l.Before)
				}
			}
			if len(lines) == 0 {
				fmt.Fprintln(w, "the pipeline names no external plugin")
			}
			return nil
		}),
	}
	p.flags(c, "what was done as JSON")
	return c
}
