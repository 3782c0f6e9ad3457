// Package plugins lists what ships in the binary.
package plugins

import (
	"embed"

	"github.com/weir-etl/weir/plugins/decrypt"
	"github.com/weir-etl/weir/plugins/file"
	"github.com/weir-etl/weir/plugins/generate"
	"github.com/weir-etl/weir/plugins/kintone"
	"github.com/weir-etl/weir/plugins/md5"
	"github.com/weir-etl/weir/plugins/oss"
	"github.com/weir-etl/weir/plugins/parse"
	"github.com/weir-etl/weir/plugins/s3"
	"github.com/weir-etl/weir/plugins/wecom"
	"github.com/weir-etl/weir/sdk"
)

// All are the bundled plugins, in the order of the reference.
func All() []sdk.Plugin {
	return []sdk.Plugin{
		wecom.Plugin(), decrypt.Plugin(), parse.Plugin(), md5.Plugin(),
		kintone.Plugin(), oss.Plugin(), s3.Plugin(),
		file.Plugin(), generate.Plugin(),
	}
}

// Alone are the names of those that load native code. What that does to its process is not to happen to others.
func Alone() []string { return []string{wecom.Plugin().Name, decrypt.Plugin().Name} }

//go:embed */example.hcl
var examples embed.FS

// Example is a pipeline file that uses all that a bundled plugin offers; "" where there is no such plugin.
func Example(name string) string {
	text, err := examples.ReadFile(name + "/example.hcl")
	if err != nil {
		return ""
	}
	return string(text)
}
