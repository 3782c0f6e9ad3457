package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/weir-etl/weir/engine"
	"github.com/weir-etl/weir/engine/internal/host"
)

// The test binary is weir: as a command of the scripts, and as the plugins that it starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == host.ServeArg {
		servePlugin(os.Args[2])
	}
	testscript.Main(m, map[string]func(){"weir": func() { os.Exit(run()) }})
}

func TestScript(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE").Output() // the scripts have another HOME
	if err != nil {
		t.Fatal(err)
	}
	caches := strings.Fields(string(cache))
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("XDG_CONFIG_HOME", env.Getenv("WORK")+"/config")
			env.Setenv("ROOT", root) // of this module
			env.Setenv("GOCACHE", caches[0])
			env.Setenv("GOMODCACHE", caches[1])
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "listens": listens, "until": until, "lines": lines, "private": private, "absent": absent, "children": children,
		},
	})
}

// exits N COMMAND…: the command ends with this exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits N COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// patience is how long a script waits for what must come.
const patience = 30 * time.Second

// listens DIR: waits until an engine answers there.
func listens(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: listens DIR")
	}
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := engine.Dial(ts.MkAbs(args[0]))
		if err == nil {
			ts.Check(c.Close())
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("no engine listens: %v", err)
		}
	}
}

// until PATTERN COMMAND…: runs the command until its output matches.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until PATTERN COMMAND…")
	}
	pattern := regexp.MustCompile("(?m)" + args[0])
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("never matched %s", args[0])
		}
	}
}

// lines N FILE: the file has so many lines.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: lines N FILE")
	}
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s has %d lines, want %s", args[1], got, args[0])
	}
}

// private FILE…: nobody but the owner may open them.
func private(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if open := info.Mode().Perm()&0o077 != 0; open != neg {
			ts.Fatalf("%s has mode %v", name, info.Mode())
		}
	}
}

// absent TEXT PATH…: no file there holds the text; ! absent: one does.
func absent(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: absent TEXT PATH…")
	}
	found := ""
	for _, root := range args[1:] {
		ts.Check(filepath.WalkDir(ts.MkAbs(root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			if bytes.Contains(text, []byte(args[0])) {
				found = path
			}
			return err
		}))
	}
	if (found != "") != neg {
		ts.Fatalf("the text is in %q", found)
	}
}

// children N TEXT…: the commands in the background have at least N child processes, and none has a TEXT in its environment or arguments.
func children(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: children N TEXT…")
	}
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	parents := map[string]bool{}
	for _, c := range ts.BackgroundCmds() {
		parents[strconv.Itoa(c.Process.Pid)] = true
		own, err := os.ReadFile("/proc/" + strconv.Itoa(c.Process.Pid) + "/environ")
		ts.Check(err)
		for _, text := range args[1:] { // the control: where it is, this search finds it
			if !bytes.Contains(own, []byte(text)) {
				ts.Fatalf("the engine's own environment does not hold what its children must not")
			}
		}
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	ts.Check(err)
	found := 0
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		_, rest, ok := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest) // state, parent, …
		if err != nil || !ok || len(fields) < 2 || !parents[fields[1]] {
			continue // ended meanwhile, or not ours
		}
		found++
		for _, file := range []string{"environ", "cmdline"} {
			data, err := os.ReadFile(filepath.Join(filepath.Dir(name), file))
			ts.Check(err)
			if len(data) == 0 {
				ts.Fatalf("%s of a plugin is empty", file)
			}
			for _, text := range args[1:] {
				if bytes.Contains(data, []byte(text)) {
					ts.Fatalf("%s of a plugin holds %q", file, text)
				}
			}
		}
	}
	if found < least {
		ts.Fatalf("%d child processes, want %d", found, least)
	}
}
