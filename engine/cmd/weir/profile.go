//go:build !profile

package main

import (
	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/serve"
)

// profiled calls f; builds with the tag profile write down where its processor time goes.
func profiled(_ string, f func()) { f() }

// serveMain never returns.
func serveMain(p sdk.Plugin) { serve.Main(p) }
