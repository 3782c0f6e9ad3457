//go:build linux && (amd64 || arm64) && !weirstatic

package native

import "github.com/ebitengine/purego"

// rtldDeepbind makes a library prefer its own symbols (glibc's dlfcn.h). WeCom's exports those of OpenSSL, curl and protobuf, which
// another copy in the process would otherwise hijack (observed).
const rtldDeepbind = 0x8

func open(path string) (uintptr, error) {
	return purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL|rtldDeepbind)
}

func bind(handle uintptr, functions map[string]any) error {
	for name, fn := range functions {
		symbol, err := purego.Dlsym(handle, name)
		if err != nil {
			return err
		}
		purego.RegisterFunc(fn, symbol)
	}
	return nil
}
