package protocol

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weir-etl/weir/sdk"
)

// cutConn breaks after so many bytes from the other side.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		c.Conn.Close()
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(-int64(n))
	return n, err
}

// Wherever in an answer a process dies, it is the process that is gone.
func TestConnectionCutAnywhere(t *testing.T) {
	c := &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			r := call.Rows[i].Record
			r.Body = make([]byte, 40<<10)
			call.Answer(i, sdk.Emit(r))
		}
		return nil
	}}
	lis := bufconn.Listen(1 << 20)
	g := grpc.NewServer(ServerOptions()...)
	Register(g, c.plugin(), io.Discard)
	go g.Serve(lis)
	defer g.Stop()
	for n := int64(1); n < 130000; n += 1 + n/9 {
		var cut *cutConn
		conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				if cut != nil {
					return nil, errors.New("gone")
				}
				raw, err := lis.DialContext(ctx)
				cut = &cutConn{Conn: raw}
				cut.left.Store(1 << 30)
				return cut, err
			}))
		if err != nil {
			t.Fatal(err)
		}
		client := NewClient(conn, Options{})
		h, err := client.Open(t.Context(), Step{Kind: sdk.KindTransform, Type: "any"}, "")
		if err != nil {
			t.Fatal(err)
		}
		cut.left.Store(n)
		_, _, _, _, err = work(t, client, h, Work{Batch: FromRecords([]sdk.Record{{ID: "1"}, {ID: "2"}, {ID: "3"}})})
		var gone *GoneError
		if err != nil && !errors.As(err, &gone) {
			t.Errorf("after %d bytes: %T %v", n, err, err)
		}
		conn.Close()
	}
}
