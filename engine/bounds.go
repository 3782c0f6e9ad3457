package engine

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// bounds are what those who ask a running engine may take of it. Only its owner can reach the socket: they keep a script that runs wild,
// or a terminal that somebody has stopped, from using up the engine's descriptors and memory, or holding up its end.
type bounds struct {
	connections int           // at once; more wait until there is room
	header      time.Duration // for a request to arrive with its headers
	request     time.Duration // … and with its body
	answer      time.Duration // for an answer to be made and taken away
	end         time.Duration // what is under way when the engine ends has so long
	bytes       int64         // of a request's body; its headers have 64 KiB
}

func usualBounds() bounds {
	return bounds{connections: 128, header: 2 * time.Second, request: 10 * time.Second, answer: time.Minute, end: 2 * time.Second, bytes: 8 << 20}
}

// desk serves requests within bounds.
type desk struct {
	bounds
	server *http.Server
	l      net.Listener
	busy   sync.WaitGroup // handlers that run
}

func newDesk(l net.Listener, h http.Handler, b bounds) *desk {
	d := &desk{bounds: b, l: &boundedListener{Listener: l, slots: make(chan struct{}, b.connections), closed: make(chan struct{})}}
	d.server = &http.Server{
		Handler: http.MaxBytesHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			d.busy.Add(1)
			defer d.busy.Done()
			h.ServeHTTP(w, r)
		}), b.bytes),
		ReadHeaderTimeout: b.header, ReadTimeout: b.request, WriteTimeout: b.answer, IdleTimeout: b.request, MaxHeaderBytes: 64 << 10,
	}
	return d
}

// serve returns when close is called.
func (d *desk) serve() { d.server.Serve(d.l) }

// close returns when no handler runs any more: they may read the state, which is closed after that. None of them waits for the loop then,
// and who does not take an answer away loses it.
func (d *desk) close() {
	ctx, cancel := context.WithTimeout(context.Background(), d.end)
	defer cancel()
	d.server.Shutdown(ctx)
	d.server.Close()
	d.busy.Wait()
}

// boundedListener hands out so many connections at once. Others wait in the kernel's queue.
type boundedListener struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &boundedConn{Conn: c, free: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *boundedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type boundedConn struct {
	net.Conn
	free func()
}

func (c *boundedConn) Close() error {
	defer c.free()
	return c.Conn.Close()
}
