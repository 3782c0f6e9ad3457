package lang

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// mark follows a value through every operation.
type mark string

const (
	secretMark   mark = "secret"   // never shown
	volatileMark mark = "volatile" // from key files, which may change while the pipeline runs
)

// name is a parameter of env, file and keyring: a name, which may be secret itself.
func name(what string) function.Parameter {
	return function.Parameter{Name: what, Type: cty.String, AllowMarked: true}
}

// unmarked takes the marks off such an argument. shown is its text for a mistake.
func unmarked(arg cty.Value) (text, shown string) {
	if arg.IsMarked() {
		arg, _ = arg.Unmark()
		return arg.AsString(), "(secret)"
	}
	return arg.AsString(), arg.AsString()
}

// envFunc is env(NAME) and env(NAME, default). The value is always secret, the default too.
func (l *loader) envFunc() function.Function {
	return function.New(&function.Spec{
		Params:   []function.Parameter{name("name")},
		VarParam: &function.Parameter{Name: "default", Type: cty.String},
		Type: func(args []cty.Value) (cty.Type, error) {
			if len(args) > 2 {
				return cty.NilType, &mistake{"env() takes a name and perhaps a default", `write: env("NAME") or env("NAME", "")`}
			}
			return cty.String, nil
		},
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			name, shown := unmarked(args[0])
			if value, ok := l.opt.Getenv(name); ok {
				return cty.StringVal(value).Mark(secretMark), nil
			}
			switch {
			case len(args) == 2:
				return args[1].Mark(secretMark), nil
			case l.lenient:
				return cty.UnknownVal(cty.String).Mark(secretMark), nil
			}
			return cty.NilVal, &mistake{fmt.Sprintf("environment variable %s is not set", shown), "set it where weir runs"}
		},
	})
}

// path makes a name relative to the pipeline's folder absolute.
func (l *loader) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(l.folder, name)
}

// fileFunc is file(PATH): the text of a file of at most 1 MiB. It counts as secret.
func (l *loader) fileFunc() function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{name("path")},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			if l.lenient {
				return cty.UnknownVal(cty.String).Mark(secretMark), nil
			}
			path, shown := unmarked(args[0])
			text, err := readText(l.path(path))
			if err != nil {
				if shown == path {
					shown = l.path(path)
				}
				return cty.NilVal, &mistake{fmt.Sprintf("file %s: %v", shown, err), "paths are relative to the pipeline's folder"}
			}
			return cty.StringVal(text).Mark(secretMark), nil
		},
	})
}

const maxText = 1 << 20

func readText(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case os.IsNotExist(err):
		return "", fmt.Errorf("does not exist")
	case err != nil:
		return "", fmt.Errorf("cannot be read")
	case !info.Mode().IsRegular() || info.Size() > maxText:
		return "", fmt.Errorf("is not a text file of at most 1 MiB")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("cannot be read")
	}
	if !utf8.Valid(text) {
		return "", fmt.Errorf("is not a text file of at most 1 MiB")
	}
	return string(text), nil
}

// keyringFunc is keyring(GLOB…): a map from key version to private key in PEM. The version is the number at the end of the file's
// name, without its extension: v3.pem is version 3.
func (l *loader) keyringFunc() function.Function {
	return function.New(&function.Spec{
		VarParam: &function.Parameter{Name: "globs", Type: cty.String, AllowMarked: true},
		Type:     function.StaticReturnType(cty.Map(cty.String)),
		Impl: func(args []cty.Value, want cty.Type) (cty.Value, error) {
			if l.lenient {
				return cty.UnknownVal(want).WithMarks(cty.NewValueMarks(secretMark, volatileMark)), nil
			}
			keys := map[string]cty.Value{}
			from := map[string]string{}
			for _, arg := range args {
				glob, shown := unmarked(arg)
				names, err := filepath.Glob(l.path(glob))
				if err != nil {
					return cty.NilVal, &mistake{fmt.Sprintf("keyring: %q is not a pattern of file names", shown), `write for example "keys/v*.pem"`}
				}
				for _, name := range names {
					version, key, m := readKey(name)
					if m != nil {
						return cty.NilVal, m
					}
					if other := from[version]; other != "" && other != name {
						return cty.NilVal, &mistake{fmt.Sprintf("keyring: %s and %s are both key version %s", other, name, version), "keep one of them"}
					}
					from[version], keys[version] = name, cty.StringVal(key)
				}
			}
			if len(keys) == 0 {
				return cty.NilVal, &mistake{"keyring finds no key file", "name them by version, as v1.pem; paths are relative to the pipeline's folder"}
			}
			return cty.MapVal(keys).WithMarks(cty.NewValueMarks(secretMark, volatileMark)), nil
		},
	})
}

var keyVersion = regexp.MustCompile(`([0-9]{1,18})$`)

// readKey reads an RSA private key, PKCS#1 or PKCS#8. What it complains of never repeats the file's text.
func readKey(name string) (version, key string, m *mistake) {
	stem := strings.TrimSuffix(filepath.Base(name), filepath.Ext(name))
	digits := keyVersion.FindString(stem)
	if digits == "" {
		return "", "", &mistake{fmt.Sprintf("key file %s says no version", name), "name it by version, as v3.pem"}
	}
	if version = strings.TrimLeft(digits, "0"); version == "" {
		version = "0"
	}
	const want = "want an RSA private key in PEM, PKCS#1 or PKCS#8, without a password"
	text, err := readText(name)
	if err != nil {
		return "", "", &mistake{fmt.Sprintf("key file %s: %v", name, err), want}
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return "", "", &mistake{fmt.Sprintf("key file %s is not PEM", name), want}
	}
	if _, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return version, text, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if _, ok := parsed.(*rsa.PrivateKey); err != nil || !ok {
		return "", "", &mistake{fmt.Sprintf("key file %s holds no RSA private key", name), want}
	}
	return version, text, nil
}
