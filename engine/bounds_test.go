package engine

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// asked starts a desk that answers "/" with a word, "/large" with more than any buffer holds, and "/body" with the length of the body.
func asked(t *testing.T, b bounds) (path string, d *desk) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "here") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 64<<20)) })
	mux.HandleFunc("/body", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n, err)
	})
	d = newDesk(l, mux, b)
	served := make(chan struct{})
	go func() { d.serve(); close(served) }()
	t.Cleanup(func() { d.close(); <-served })
	return path, d
}

func connect(t *testing.T, path, send string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	io.WriteString(c, send)
	return c
}

// ended waits for the end of a connection.
func ended(t *testing.T, c net.Conn, within time.Duration) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("still open after %v", within)
	}
}

func answered(t *testing.T, path, request string) string {
	t.Helper()
	c := connect(t, path, request)
	c.SetDeadline(time.Now().Add(20 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	return resp.Status + " " + string(b)
}

const get = "GET / HTTP/1.1\r\nHost: weir\r\n\r\n"

func quickBounds() bounds {
	b := usualBounds()
	b.header, b.request, b.answer, b.end = 100*time.Millisecond, 200*time.Millisecond, 300*time.Millisecond, 50*time.Millisecond
	return b
}

func TestSilentClients(t *testing.T) {
	path, _ := asked(t, quickBounds())
	for name, send := range map[string]string{
		"nothing": "", "half a header": "GET / HTTP/1.1\r\nHo", "no body": "POST /body HTTP/1.1\r\nHost: weir\r\nContent-Length: 9\r\n\r\n", "nothing more": get,
	} {
		t.Run(name, func(t *testing.T) { ended(t, connect(t, path, send), 5*time.Second) })
	}
}

func TestLongRequests(t *testing.T) {
	path, d := asked(t, usualBounds())
	if got := answered(t, path, "GET /"+strings.Repeat("x", 1<<20)+" HTTP/1.1\r\n"); !strings.HasPrefix(got, "431") {
		t.Errorf("a line of 1 MiB: %.100s", got)
	}
	if got := answered(t, path, "GET / HTTP/1.1\r\nHost: weir\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"); !strings.HasPrefix(got, "431") {
		t.Errorf("a header of 1 MiB: %.100s", got)
	}
	n := d.bytes + 1<<10
	if got := answered(t, path, fmt.Sprintf("POST /body HTTP/1.1\r\nHost: weir\r\nContent-Length: %d\r\n\r\n%s", n, strings.Repeat("x", int(n)))); !strings.Contains(got, "too large") {
		t.Errorf("a body of 8 MiB and more: %.100s", got)
	}
}

// A thousand clients that say nothing hold few descriptors, and the one that speaks is answered.
func TestThousandClients(t *testing.T) {
	b := quickBounds()
	b.connections = 64
	path, d := asked(t, b)
	for range 1000 {
		connect(t, path, "")
	}
	if got := answered(t, path, get); got != "200 OK here" {
		t.Errorf("got %s", got)
	}
	if n := len(d.l.(*boundedListener).slots); n > b.connections {
		t.Errorf("%d connections at once, want at most %d", n, b.connections)
	}
}

// Somebody asks for much and stops reading: others are answered, and the engine ends in time.
func TestSlowReader(t *testing.T) {
	b := quickBounds()
	b.answer = time.Hour
	path, d := asked(t, b)
	slow := connect(t, path, strings.Replace(get, "/", "/large", 1))
	if _, err := io.ReadFull(slow, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if got := answered(t, path, get); got != "200 OK here" {
		t.Errorf("got %s", got)
	}
	closed := make(chan struct{})
	go func() { d.close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(10 * time.Second):
		t.Error("a client that does not read keeps the engine from ending")
	}

	path, d = asked(t, quickBounds()) // … and the answer is given up after a while
	slow = connect(t, path, strings.Replace(get, "/", "/large", 1))
	if _, err := io.ReadFull(slow, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(d.l.(*boundedListener).slots) > 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the answer still waits to be read")
		}
	}
}
