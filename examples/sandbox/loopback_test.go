package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The company is made up, its services believe everybody: nobody but this machine reaches them.
func TestLoopbackOnly(t *testing.T) {
	before := listening(t)
	begin(t, options{})
	found := 0
	for address := range listening(t) {
		if before[address] {
			continue
		}
		found++
		host, _, _ := strings.Cut(address, ":") // as the kernel writes it: 127.0.0.1 is 0100007F
		if host != "0100007F" && host != "00000000000000000000000001000000" {
			t.Errorf("something listens on %s", address)
		}
	}
	if runtime.GOOS == "linux" && found < 4 { // WeCom and its proxy, kintone, OSS
		t.Errorf("%d ports found, want those of all services", found)
	}
}

// listening lists the TCP addresses on which this process listens; none where the system does not tell.
func listening(t *testing.T) map[string]bool {
	t.Helper()
	sockets := map[string]bool{}
	descriptors, _ := filepath.Glob("/proc/self/fd/*")
	for _, name := range descriptors {
		if to, err := os.Readlink(name); err == nil {
			sockets[to] = true
		}
	}
	list := map[string]bool{}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == "0A" && sockets["socket:["+f[9]+"]"] {
				list[f[1]] = true
			}
		}
	}
	return list
}
