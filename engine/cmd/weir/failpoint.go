//go:build !failpoints

package main

// failpoint is nil outside crash tests.
var failpoint func(name string)
