// Package serve turns an [sdk.Plugin] into a process that the engine can start. A plugin's main is one line:
//
//	func main() { serve.Main(acme.Plugin()) }
package serve

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
)

// Main serves p until the engine ends it, then exits. Started by hand it says what it is and exits with status 2.
func Main(p sdk.Plugin) {
	h := protocol.Handshake()
	if os.Getenv(h.MagicCookieKey) != h.MagicCookieValue {
		fmt.Fprint(os.Stderr, greeting(p))
		os.Exit(2)
	}
	Serve(p)
	os.Exit(0)
}

// Together makes one plugin of those of all that are named, separated by commas; ok is false where one of them is not there.
func Together(names string, all []sdk.Plugin) (one sdk.Plugin, ok bool) {
	one.Name = names
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(p sdk.Plugin) bool { return p.Name == name })
		if i < 0 {
			return one, false
		}
		one.Version = all[i].Version
		one.Connections = append(one.Connections, all[i].Connections...)
		one.Components = append(one.Components, all[i].Components...)
	}
	return one, true
}

func greeting(p sdk.Plugin) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s is a plugin of weir. It is not run by hand: name it in a pipeline file,\n\n", p.Name, p.Version)
	fmt.Fprintf(&b, "  plugin %q {\n    path = %q\n  }\n\nand use what it offers:\n\n", p.Name, os.Args[0])
	for _, c := range p.Components {
		fmt.Fprintf(&b, "  %-9s  %q\n", c.Kind, c.Type)
	}
	return b.String()
}

// Serve serves p until the engine ends it. The process must have been started by the engine: it is for executables that hold several
// plugins and choose by an argument; all others call [Main]. What the process prints from here on reaches the engine's log only as
// debug lines; [sdk.Env].Log is the way to it.
func Serve(p sdk.Plugin) {
	go exitWith(os.Stdin)
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM) // a service manager ends all at once: the engine still wants us, to close its steps
	stderr := os.Stderr                                     // go-plugin replaces os.Stderr
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: protocol.Handshake(),
		Plugins:         plugin.PluginSet{protocol.Name: &protocol.Served{Plugin: p, Log: stderr}},
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: stderr, JSONFormat: true}),
		GRPCServer: func(o []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(o, protocol.ServerOptions()...)...)
		},
	})
}

// exitWith ends the process when the engine is gone: the engine holds the other end of standard input and never writes, so that the
// kernel tells us of its death, however it died.
func exitWith(stdin io.Reader) {
	io.Copy(io.Discard, stdin)
	os.Exit(1)
}
