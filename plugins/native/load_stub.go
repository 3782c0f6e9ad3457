//go:build !linux || !(amd64 || arm64) || weirstatic

package native

import "errors"

func open(string) (uintptr, error) { return 0, errors.New("this build of weir loads no libraries") }

func bind(uintptr, map[string]any) error { return nil }
