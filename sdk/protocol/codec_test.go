package protocol

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// messages are all that may hold a batch, with bodies of size bytes.
func messages(size int) map[string]proto.Message {
	b := FromRecords([]sdk.Record{{ID: "1", Body: []byte(strings.Repeat("a", size))}, {ID: "2", Body: []byte(strings.Repeat("b", size/2))}})
	bodies := &pb.Batch{Rows: 2, Body: &pb.Text{Data: bytes.Repeat([]byte("x"), size), Len: []uint32{uint32(size / 2)}}}
	return map[string]proto.Message{
		"request":     &pb.WorkRequest{Step: 7, Batch: b.toWire(), Args: &pb.Text{Data: []byte("{}"), Len: []uint32{2}}, Now: 5, Final: []uint32{1}},
		"page":        &pb.ReadResponse{Number: 3, Batch: b.toWire(), Position: []byte("p"), Drained: true},
		"answer":      &pb.WorkResponse{Outcomes: []*pb.Outcome{{Count: 2}}, Outputs: b.toWire(), Parent: []uint32{0, 1}},
		"only bodies": &pb.WorkRequest{Batch: bodies},
		"no batch":    &pb.WorkRequest{Step: 7, Args: &pb.Text{Data: bytes.Repeat([]byte("y"), size), Len: []uint32{uint32(size)}}},
		"other":       &pb.OpenRequest{SpoolDir: strings.Repeat("z", size)},
	}
}

// Whatever one side of the wire writes, the other reads, be it this codec or plain protobuf.
func TestCodecIsProtobuf(t *testing.T) {
	ours, plain := newCodec(), encoding.GetCodecV2("proto")
	for _, size := range []int{10, 16 << 10, 50_000} {
		for name, want := range messages(size) {
			before := proto.Clone(want)
			for _, way := range []struct {
				name     string
				from, to encoding.CodecV2
			}{{"ours to ours", ours, ours}, {"ours to plain", ours, plain}, {"plain to ours", plain, ours}} {
				data, err := way.from.Marshal(want)
				if err != nil {
					t.Fatal(err)
				}
				got := want.ProtoReflect().New().Interface()
				if err := way.to.Unmarshal(framed(data.Materialize()), got); err != nil {
					t.Fatal(err)
				}
				if !proto.Equal(want, got) {
					t.Errorf("%s of %d bytes, %s (-sent +read):\n%s", name, size, way.name, cmp.Diff(want, got, protocmp.Transform()))
				}
			}
			if !proto.Equal(before, want) {
				t.Errorf("%s of %d bytes: sending has changed it", name, size)
			}
		}
	}
}

// Neither side copies the bodies once more.
func TestCodecSparesCopies(t *testing.T) {
	w := messages(50_000)["request"].(*pb.WorkRequest)
	data, err := newCodec().Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	if last := data[len(data)-1].ReadOnlyData(); &last[0] != &w.Batch.Body.Data[0] {
		t.Error("the bodies were copied when they were sent")
	}
	message := framed(data.Materialize())
	perRun := testing.AllocsPerRun(10, func() {
		var got pb.WorkRequest
		if err := newCodec().Unmarshal(message, &got); err != nil {
			t.Fatal(err)
		}
	})
	if perRun > 25 {
		t.Errorf("reading a message took %v allocations", perRun)
	}
}

// framed cuts a message as HTTP/2 does.
func framed(data []byte) mem.BufferSlice {
	const frame = 16 << 10
	var s mem.BufferSlice
	for len(data) > frame {
		s, data = append(s, mem.SliceBuffer(data[:frame])), data[frame:]
	}
	return append(s, mem.SliceBuffer(data))
}
