package protocol

import (
	"context"
	"errors"
	"io"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/weir-etl/weir/sdk"
)

// Handshake is what both sides of a process must agree on. The cookie only keeps people from starting a plugin by hand. The version
// stays 1: what is added later shows in "can" of the description.
func Handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "WEIR_PLUGIN", MagicCookieValue: "a wall that measures"}
}

// Name is how a plugin is known within its process.
const Name = "weir"

// Served is the serving half for go-plugin.
type Served struct {
	plugin.NetRPCUnsupportedPlugin
	Plugin sdk.Plugin
	Log    io.Writer
}

// GRPCServer implements plugin.GRPCPlugin.
func (s *Served) GRPCServer(_ *plugin.GRPCBroker, r *grpc.Server) error {
	Register(r, s.Plugin, s.Log)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (s *Served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("the serving half")
}

// Dialed is the engine's half for go-plugin; dispensing it gives a [Client].
type Dialed struct {
	plugin.NetRPCUnsupportedPlugin
	Options Options
}

// GRPCServer implements plugin.GRPCPlugin.
func (d *Dialed) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the engine's half")
}

// GRPCClient implements plugin.GRPCPlugin.
func (d *Dialed) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return NewClient(conn, d.Options), nil
}
