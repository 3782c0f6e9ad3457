package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/weir-etl/weir/plugins"
)

func versionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Say which weir this is, and which plugins it carries",
		Args:  cobra.NoArgs,
		RunE: work(func(c *cobra.Command, _ []string) error {
			v := struct {
				Version  string            `json:"version"`
				Revision string            `json:"revision,omitempty"`
				Go       string            `json:"go"`
				Platform string            `json:"platform"`
				Plugins  map[string]string `json:"plugins"`
			}{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Plugins: map[string]string{}}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Revision = s.Value
					}
				}
			}
			for _, p := range plugins.All() {
				v.Plugins[p.Name] = p.Version
			}
			w := c.OutOrStdout()
			if asJSON {
				return writeJSON(w, v)
			}
			fmt.Fprintf(w, "weir %s (%s, %s)\n", v.Version, v.Go, v.Platform)
			for _, p := range plugins.All() {
				fmt.Fprintf(w, "  plugin %s %s\n", p.Name, p.Version)
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}
