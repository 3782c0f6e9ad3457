package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// byHand is a plugin as somebody writes it who has sdk/protocol/PROTOCOL.md and generated code, but neither our sdk nor go-plugin. Its one
// service is weir.v1.Plugin, and the Shutdown of go-plugin's controller where it is asked for: so no other has to be there.
func byHand(shutdown bool) {
	if os.Getenv("WEIR_PLUGIN") != "a wall that measures" {
		fmt.Fprintln(os.Stderr, "a plugin of weir is not run by hand")
		os.Exit(2)
	}
	go func() { // the engine is gone when this ends
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "plugin")
	l, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	g := grpc.NewServer(grpc.MaxRecvMsgSize(512 << 20))
	pb.RegisterPluginServer(g, &byHandPlugin{})
	if shutdown {
		g.RegisterService(&grpc.ServiceDesc{ServiceName: "plugin.GRPCController", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Shutdown",
			Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
				go g.Stop()
				return &emptypb.Empty{}, nil
			},
		}}}, struct{}{})
	}
	fmt.Printf("1|1|unix|%s|grpc\n", path)
	g.Serve(l)
}

type byHandPlugin struct{ pb.UnimplementedPluginServer }

func (*byHandPlugin) Describe(context.Context, *pb.Hello) (*pb.Description, error) {
	names := []string{}
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		names = append(names, name)
	}
	slices.Sort(names)
	folder, _ := os.Getwd()
	return &pb.Description{Name: "by hand", Version: strings.Join(names, " "), Components: []*pb.Component{
		{Kind: "transform", Type: "upper", Doc: os.Args[0] + " in " + folder},
	}}, nil
}

func (*byHandPlugin) Open(context.Context, *pb.OpenRequest) (*pb.OpenResponse, error) {
	fmt.Fprintln(os.Stderr, `{"@level":"warn","@message":"opened by hand","@timestamp":"2026-11-22T12:00:00.000000Z","n":1}`)
	return &pb.OpenResponse{Step: 7}, nil
}

func (*byHandPlugin) Work(req *pb.WorkRequest, s grpc.ServerStreamingServer[pb.WorkResponse]) error {
	b := req.GetBatch()
	w := &pb.WorkResponse{Outcomes: []*pb.Outcome{{Count: b.GetRows(), Verdict: pb.Verdict_VERDICT_DONE}},
		Outputs: &pb.Batch{Rows: b.GetRows(), Body: &pb.Text{Data: bytes.ToUpper(b.GetBody().GetData()), Len: b.GetBody().GetLen()}}}
	for i := range b.GetRows() {
		w.Parent = append(w.Parent, i)
	}
	return s.Send(w)
}

func (*byHandPlugin) Close(context.Context, *pb.CloseRequest) (*pb.CloseResponse, error) {
	return &pb.CloseResponse{}, nil
}

// What PROTOCOL.md asks of a process is enough, and what it says of the environment is true.
func TestByHand(t *testing.T) {
	for _, row := range []struct {
		arg         string
		least, most time.Duration // to end it
	}{
		{"by-hand", 0, 1500 * time.Millisecond},
		{"by-hand-without-shutdown", 1500 * time.Millisecond, 10 * time.Second}, // it is killed after a while
	} {
		t.Run(row.arg, func(t *testing.T) {
			self, err := checkedSelf("by-hand")
			if err != nil {
				t.Fatal(err)
			}
			self.Args = []string{row.arg}
			var out buffer
			home := t.TempDir()
			p, err := Start(t.Context(), self, Options{Dir: folder(t), Home: home, Log: hclog.New(&hclog.LoggerOptions{Output: &out})})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Kill(context.Background())
			d := p.Plugin()
			if d.Name != "by hand" || d.Components[0].Doc != "by-hand in "+home {
				t.Errorf("described %q, %q", d.Name, d.Components[0].Doc)
			}
			must := []string{"PLUGIN_MAX_PORT", "PLUGIN_MIN_PORT", "PLUGIN_PROTOCOL_VERSIONS", "PLUGIN_UNIX_SOCKET_DIR", "TMPDIR", "WEIR_PLUGIN", "WEIR_PLUGIN_PATH"}
			got := strings.Fields(d.Version)
			for _, name := range got {
				if !slices.Contains(must, name) && !slices.Contains([]string{"PATH", "LANG", "TZ"}, name) {
					t.Errorf("it is given the variable %s", name)
				}
			}
			for _, name := range must {
				if !slices.Contains(got, name) {
					t.Errorf("it is not given the variable %s", name)
				}
			}
			h, err := p.Client().Open(t.Context(), protocol.Step{Address: "transform.upper.x", Kind: sdk.KindTransform, Type: "upper"}, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			bodies := ""
			err = p.Client().Work(t.Context(), h, protocol.Work{Batch: protocol.FromRecords([]sdk.Record{{ID: "1", Body: []byte("ab")}, {ID: "2", Body: []byte("c")}})},
				func(a protocol.Answer) error {
					for i := range a.Outputs.Rows() {
						bodies += a.Outputs.ID(i) + " " + string(a.Outputs.Body(i)) + "\n"
					}
					return nil
				})
			if err != nil || bodies != "1 AB\n2 C\n" {
				t.Errorf("outputs %q, %v", bodies, err)
			}
			began := time.Now()
			if err := p.Kill(context.Background()); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took < row.least || took > row.most {
				t.Errorf("it took %s to end, want %s to %s", took, row.least, row.most)
			}
			if text := out.String(); !strings.Contains(text, "opened by hand") || !strings.Contains(text, "n=1") {
				t.Errorf("log %q", text)
			}
		})
	}
}
