package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const s3Bucket, s3Region = "weir-archive", "us-east-1"

// gateway is versitygw, a real S3 server, in a process of its own. It keeps real time.
type gateway struct {
	url     string
	command *exec.Cmd
	ended   chan struct{}
}

// findGateway returns the path of versitygw, or "".
func findGateway(o options) string {
	if o.s3 != "" {
		return o.s3
	}
	path := filepath.Join(o.dir, "..", "bin", "versitygw")
	if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
		return path
	}
	return ""
}

// startGateway serves a fresh folder with one bucket.
func startGateway(path, dir string) (*gateway, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	data, versions := filepath.Join(dir, "data"), filepath.Join(dir, "versions")
	for _, d := range []string{filepath.Join(data, s3Bucket), versions} { // a folder is a bucket
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	g := &gateway{url: "http://" + addr, ended: make(chan struct{})}
	g.command = exec.Command(path, "--port", addr, "--access", s3ID, "--secret", s3Secret, "--region", s3Region, "--quiet",
		"posix", "--versioning-dir", versions, data)
	g.command.Stderr = os.Stderr
	if err := g.command.Start(); err != nil {
		return nil, fmt.Errorf("s3: %w", err)
	}
	go func() {
		g.command.Wait()
		close(g.ended)
	}()
	for deadline := time.After(20 * time.Second); ; { // it says nothing when it is ready
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return g, nil
		}
		select {
		case <-g.ended:
			return nil, fmt.Errorf("s3: %s ended: %s", path, g.command.ProcessState)
		case <-deadline:
			g.close()
			return nil, fmt.Errorf("s3: %s does not listen", path)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (g *gateway) close() {
	g.command.Process.Kill()
	<-g.ended
}
