package bench

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// Machine says where figures come from. What the system does not tell is "" or 0.
type Machine struct {
	CPU        string  `json:"cpu"`
	Cores      int     `json:"cores"`
	MemoryMiB  int     `json:"memory_mib"`
	OS         string  `json:"os"`
	Kernel     string  `json:"kernel"`
	Platform   string  `json:"platform"`
	Go         string  `json:"go"`
	Filesystem string  `json:"filesystem"`  // of the folder where the runs write; tmpfs is memory, and syncs for nothing
	Load       float64 `json:"load_before"` // mean number of processes that ran in the minute before
}

func machine(dir string) Machine {
	m := Machine{
		CPU: first("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`), Cores: runtime.NumCPU(),
		OS: first("/etc/os-release", `(?m)^PRETTY_NAME="?(.*?)"?$`), Kernel: first("/proc/sys/kernel/osrelease", `(.*)`),
		Platform: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Filesystem: filesystem(dir),
	}
	if m.CPU == "" && runtime.GOOS == "darwin" {
		name, _ := exec.Command("sysctl", "-n", "machdep.cpu.brand_string").Output()
		m.CPU = strings.TrimSpace(string(name))
	}
	kib, _ := strconv.Atoi(first("/proc/meminfo", `(?m)^MemTotal:\s*(\d+) kB$`))
	m.MemoryMiB = kib >> 10
	m.Load, _ = strconv.ParseFloat(first("/proc/loadavg", `^(\S+)`), 64)
	return m
}

// first is what the first group of a pattern matches in a file.
func first(path, pattern string) string {
	text, _ := os.ReadFile(path)
	if m := regexp.MustCompile(pattern).FindSubmatch(text); m != nil {
		return strings.TrimSpace(string(m[1]))
	}
	return ""
}

// filesystem is the kind of the one that dir lies on.
func filesystem(dir string) (kind string) {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	mounts, _ := os.ReadFile("/proc/mounts")
	longest := 0
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line) // device, folder, kind
		if len(f) < 3 || len(f[1]) < longest {
			continue
		}
		if f[1] == "/" || dir == f[1] || strings.HasPrefix(dir, f[1]+"/") {
			longest, kind = len(f[1]), f[2]
		}
	}
	return kind
}
