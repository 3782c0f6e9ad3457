package lang

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// LockName is the file beside the pipelines of a folder that says which executables may run as their external plugins. It is written by
// a program, in an order of its own, and read by people who look at what has changed:
//
//	plugin "acme" {
//	  executable "linux/amd64" {
//	    version = "0.1.0"
//	    size    = 15728640
//	    sha256  = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//	  }
//	}
//
// Names are of the folder: two pipelines in it that name a plugin alike mean the same executable.
const LockName = ".weir.lock.hcl"

// Lock is what a lock file lists.
type Lock struct{ list []Locked }

// Locked is one executable.
type Locked struct {
	Name     string
	Platform string // "linux/amd64", see [Platform]
	Version  string // as the plugin described itself
	Size     int64
	SHA256   string // hex
}

// Platform is the one that this program was built for.
func Platform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// Find returns what is listed for a plugin on a platform.
func (l *Lock) Find(name, platform string) (Locked, bool) {
	for _, x := range l.list {
		if x.Name == name && x.Platform == platform {
			return x, true
		}
	}
	return Locked{}, false
}

// All lists everything, in the order of the file.
func (l *Lock) All() []Locked { return slices.Clone(l.list) }

// Set lists an executable in place of what was listed for its name and platform.
func (l *Lock) Set(x Locked) {
	l.list = slices.DeleteFunc(l.list, func(y Locked) bool { return y.Name == x.Name && y.Platform == x.Platform })
	l.list = append(l.list, x)
	slices.SortFunc(l.list, func(a, b Locked) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Platform, b.Platform))
	})
}

func (l *Lock) String() string {
	var b strings.Builder
	b.WriteString("# Written by weir plugin lock: only these executables run as external plugins of the pipelines in this folder.\n" +
		"# Keep it with the pipelines, and look at what changes in it.\n")
	for i, x := range l.list {
		if i == 0 || l.list[i-1].Name != x.Name {
			fmt.Fprintf(&b, "\nplugin %q {\n", x.Name)
		}
		fmt.Fprintf(&b, "  executable %q {\n    version = %s\n    size    = %d\n    sha256  = %q\n  }\n", x.Platform, quoted(x.Version), x.Size, x.SHA256)
		if i == len(l.list)-1 || l.list[i+1].Name != x.Name {
			b.WriteString("}\n")
		}
	}
	return b.String()
}

// quoted is a string of HCL, of what a plugin says of itself: nothing in it is a template, or steers a terminal.
func quoted(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"\$%{}`, r) {
			return '_'
		}
		return r
	}, s)
	return `"` + s[:min(len(s), 64)] + `"`
}

// Write replaces the lock file of a folder, whole or not at all, and reports whether that changed anything.
func (l *Lock) Write(folder string) (changed bool, err error) {
	path, text := filepath.Join(folder, LockName), l.String()
	if old, err := os.ReadFile(path); err == nil && string(old) == text {
		return false, nil
	}
	f, err := os.CreateTemp(folder, LockName+".")
	if err != nil {
		return false, err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return false, err
	}
	if d, err := os.Open(folder); err == nil { // so that the new name outlives a power cut
		d.Sync()
		d.Close()
	}
	return true, nil
}

// ReadLock reads the lock file of a folder; there may be none.
func ReadLock(folder string) (*Lock, Diagnostics) {
	l := &loader{report: report{source: map[string][]byte{}}}
	lock := l.readLock(folder)
	if lock == nil {
		lock = &Lock{}
	}
	return lock, l.sorted()
}

var hexSum = regexp.MustCompile(`^[0-9a-f]{64}$`)

// readLock returns nil where the file cannot be understood: then nothing is listed, not some of it.
func (l *loader) readLock(folder string) *Lock {
	name := filepath.Join(folder, LockName)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return &Lock{}
	}
	if err != nil {
		l.list = append(l.list, Diagnostic{Problem: err.Error(), Remedy: "without it no external plugin is started"})
		return nil
	}
	l.source[name] = text
	var content struct {
		Plugins []struct {
			Name        string `hcl:"name,label"`
			Executables []struct {
				Platform string `hcl:"platform,label"`
				Version  string `hcl:"version"`
				Size     int64  `hcl:"size"`
				SHA256   string `hcl:"sha256"`
			} `hcl:"executable,block"`
		} `hcl:"plugin,block"`
	}
	file, diags := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	if !diags.HasErrors() {
		diags = gohcl.DecodeBody(file.Body, nil, &content)
	}
	mistakes := len(l.list)
	l.addHCL(diags, nil)
	lock := &Lock{}
	for _, p := range content.Plugins {
		for _, x := range p.Executables {
			at := hcl.Range{Filename: name}
			if _, twice := lock.Find(p.Name, x.Platform); twice {
				l.errorf(at, "keep the one that you mean", "%s lists plugin %s for %s twice", name, p.Name, x.Platform)
			}
			if !hexSum.MatchString(x.SHA256) {
				l.errorf(at, "write the file anew: weir plugin lock", "%s: the sha256 of plugin %s for %s is not one", name, p.Name, x.Platform)
			}
			lock.Set(Locked{p.Name, x.Platform, x.Version, x.Size, x.SHA256})
		}
	}
	if len(l.list) > mistakes {
		return nil
	}
	return lock
}

// ReadPlugins reads only the plugin blocks of pipeline files, and starts nothing. Their SHA256 is what the lock file of their folder
// lists, "" = nothing.
func ReadPlugins(paths []string, opt Options) (list []ExternalPlugin, folder string, diags Diagnostics) {
	files, diags := readSources(paths)
	if diags.HasErrors() {
		return nil, "", diags
	}
	opt.Static = true // variables that are about something else need no value
	l := newLoader(files, opt)
	blocks, ok := l.parse(files)
	if !ok {
		return nil, "", l.sorted()
	}
	l.declareVariables(blocks["variable"])
	l.declareLocals(blocks["locals"])
	lock, mistakes := ReadLock(l.folder)
	l.list = append(l.list, mistakes...)
	for _, p := range l.namedPlugins(blocks["plugin"]) {
		if p.Path == "" && p.d.body.Attributes["path"] != nil {
			l.errorf(p.d.at("path"), "give the variable a value", "the path of plugin %s is not known here", p.Name)
		}
		x, _ := lock.Find(p.Name, Platform())
		p.SHA256 = x.SHA256
		list = append(list, p.ExternalPlugin)
	}
	return list, l.folder, l.sorted()
}
