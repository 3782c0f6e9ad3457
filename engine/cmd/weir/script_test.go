package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
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
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP) // under nohup its programs would begin with the signal ignored, and weir goes on then
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
			"exits": exits, "listens": listens, "until": until, "lines": lines, "private": private, "absent": absent, "children": children, "strike": strike,
			"bucket": bucket, "descriptors": descriptors, "unreachable": unreachable,
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

// strike NAME: kills the one process below the commands in the background whose executable has this in its name.
func strike(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: strike NAME")
	}
	found := 0
	for _, c := range ts.BackgroundCmds() {
		for _, pid := range childrenOf(c.Process.Pid) {
			if runs, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); strings.Contains(runs, args[0]) {
				ts.Check(syscall.Kill(pid, syscall.SIGKILL))
				found++
			}
		}
	}
	if found != 1 {
		ts.Fatalf("%d such processes", found)
	}
}

// childrenOf lists the processes that a process has started.
func childrenOf(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		_, rest, ok := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest) // state, parent, …
		if err != nil || !ok || len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue // ended meanwhile, or not ours
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		pids = append(pids, pid)
	}
	return pids
}

// children N TEXT…: the commands in the background have at least N child processes, and none has a TEXT in its environment or arguments.
func children(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: children N TEXT…")
	}
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	for _, c := range ts.BackgroundCmds() {
		own, err := os.ReadFile("/proc/" + strconv.Itoa(c.Process.Pid) + "/environ")
		ts.Check(err)
		for _, text := range args[1:] { // the control: where it is, this search finds it
			if !bytes.Contains(own, []byte(text)) {
				ts.Fatalf("the engine's own environment does not hold what its children must not")
			}
		}
	}
	found := 0
	for _, c := range ts.BackgroundCmds() {
		for _, pid := range childrenOf(c.Process.Pid) {
			found++
			for _, file := range []string{"environ", "cmdline"} {
				data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
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
	}
	if found < least {
		ts.Fatalf("%d child processes, want %d", found, least)
	}
}

// opened lists what a process has open: what each descriptor leads to.
func opened(ts *testscript.TestScript, pid int) map[string]bool {
	names, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	ts.Check(err)
	links := map[string]bool{}
	for _, name := range names {
		if to, err := os.Readlink(name); err == nil {
			links[to] = true
		}
	}
	return links
}

// descriptors N: each of at least N processes below the commands in the background shares with its parent three pipes (its standard input,
// output and error) and nothing else, and nothing with the others; what it has open beside is its own.
func descriptors(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: descriptors N")
	}
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	found := 0
	for _, c := range ts.BackgroundCmds() {
		others := opened(ts, c.Process.Pid)
		if len(others) < 10 {
			ts.Fatalf("the engine has only %v open", others) // the control: it has a state, a socket, plugins
		}
		for _, pid := range childrenOf(c.Process.Pid) {
			found++
			pipes := 0
			links := opened(ts, pid)
			for to := range links {
				switch {
				case own(to):
				case !others[to] || to == "/memfd:weir-plugin (deleted)": // one name, and its own: see package host
				case strings.HasPrefix(to, "pipe:"):
					pipes++
				default:
					ts.Fatalf("process %d has inherited %s", pid, to)
				}
				if strings.Contains(to, "/state/") || strings.HasSuffix(to, "state.key") {
					ts.Fatalf("process %d has %s open", pid, to)
				}
			}
			if pipes != 3 {
				ts.Fatalf("process %d shares %d pipes with its engine, want 3", pid, pipes)
			}
			for to := range links {
				others[to] = others[to] || !strings.HasPrefix(to, "/memfd:")
			}
		}
	}
	if found < least {
		ts.Fatalf("%d processes, want %d", found, least)
	}
}

// own reports what every Go process opens for itself, under one name: epoll and the like, and the limits of its group.
func own(to string) bool {
	return strings.HasPrefix(to, "anon_inode:") || strings.HasPrefix(to, "/sys/fs/cgroup/") || to == "/dev/null"
}

// unreachable N: none of the commands in the background, nor of at least N processes below them, listens on a TCP or UDP port.
func unreachable(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unreachable N")
	}
	least, err := strconv.Atoi(args[0])
	ts.Check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0") // the control: this search finds a port
	ts.Check(err)
	defer l.Close()
	if len(ports(ts, os.Getpid())) == 0 {
		ts.Fatalf("a listening port is not found")
	}
	found := 0
	for _, c := range ts.BackgroundCmds() {
		pids := childrenOf(c.Process.Pid)
		found += len(pids)
		for _, pid := range append(pids, c.Process.Pid) {
			if list := ports(ts, pid); len(list) > 0 {
				ts.Fatalf("process %d listens on %v", pid, list)
			}
		}
	}
	if found < least {
		ts.Fatalf("%d processes, want %d", found, least)
	}
}

// ports lists the addresses, as the kernel writes them, on which a process listens.
func ports(ts *testscript.TestScript, pid int) (list []string) {
	links := opened(ts, pid)
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without it
		}
		ts.Check(err)
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line) // number, local address, remote address, state, …, and tenth the inode
			if len(f) < 10 || !links["socket:["+f[9]+"]"] {
				continue
			}
			if f[3] == "0A" || table[0] == 'u' && f[3] == "07" { // LISTEN, and for UDP unconnected
				list = append(list, table+" "+f[1])
			}
		}
	}
	return list
}

// bucket VARIABLE FILE: serves what the sinks of S3 need until the script ends, under the URL in the variable, and writes the path of each
// object that is put to the file, quoted. A path is unescaped, and a request with a header that no sink sends fails.
func bucket(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: bucket VARIABLE FILE")
	}
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodHead:
			w.WriteHeader(http.StatusNotFound)
		case err != nil || r.Method != http.MethodPut || r.Header.Get("X-Evil") != "" || strings.Contains(r.Host, "evil"):
			w.WriteHeader(http.StatusBadRequest)
		default:
			sum := md5.Sum(body)
			w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:])+`"`)
			fmt.Fprintf(f, "%q\n", r.URL.Path)
		}
	}))
	ts.Defer(func() {
		server.Close()
		f.Close()
	})
	ts.Setenv(args[0], server.URL)
}
