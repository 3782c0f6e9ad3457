//go:build !linux || !(amd64 || arm64) || weirstatic

package finance

import (
	"context"
	"errors"
)

var errNoLibrary = errors.New(`this build of weir cannot load the official library: use client = "plain"`)

// Library is the official Finance SDK, which this build cannot load.
type Library struct{}

// Load returns an error that names the way out.
func Load(string) (*Library, error) { return nil, errNoLibrary }

// Decode returns an error.
func (*Library) Decode(string, string) ([]byte, error) { return nil, errNoLibrary }

// Open returns an error.
func (*Library) Open(Options) (*Session, error) { return nil, errNoLibrary }

// Session is a Client that no build of this kind can make.
type Session struct{}

// ChatData implements [Client].
func (*Session) ChatData(context.Context, uint64, int) ([]byte, error) { return nil, errNoLibrary }

// Media implements [Client].
func (*Session) Media(context.Context, string, string) (Shard, error) { return Shard{}, errNoLibrary }

// Close implements [Client].
func (*Session) Close() error { return nil }
