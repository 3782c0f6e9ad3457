package protocol

import (
	"context"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

func decodePage(b *testing.B, page []byte) (*Batch, *pb.WorkRequest) {
	var in pb.ReadResponse
	if err := proto.Unmarshal(page, &in); err != nil {
		b.Fatal(err)
	}
	batch, err := readBatch(in.Batch)
	if err != nil {
		b.Fatal(err)
	}
	return batch, &pb.WorkRequest{}
}

// BenchmarkDecode is what a plugin pays per record before its own work: 1 KiB bodies, two meta values.
func BenchmarkDecode(b *testing.B) {
	page := pageOf500(b)
	for b.Loop() {
		batch, req := decodePage(b, page)
		if _, err := readRows(batch, req); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/record")
}

// BenchmarkEncode is what it pays to answer with one meta value more.
func BenchmarkEncode(b *testing.B) {
	batch, req := decodePage(b, pageOf500(b))
	rows, err := readRows(batch, req)
	if err != nil {
		b.Fatal(err)
	}
	outputs := make([]output, len(rows))
	for i := range rows {
		rows[i].SetMeta("md5", fmt.Sprint(i))
		outputs[i] = output{parent: i, Record: &rows[i].Record}
	}
	for b.Loop() {
		w, parent := writeOutputs(batch, outputs)
		if _, err := proto.Marshal(&pb.WorkResponse{Outputs: w, Parent: parent}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/record")
}

// BenchmarkCall is a whole call through gRPC, in one process.
func BenchmarkCall(b *testing.B) {
	batch, _ := decodePage(b, pageOf500(b))
	c := &component{work: func(_ context.Context, call *sdk.Call) error {
		for i := range call.Rows {
			call.Rows[i].SetMeta("md5", "x")
			call.Answer(i, sdk.Emit(call.Rows[i].Record))
		}
		return nil
	}}
	client, h := opened(b, c, sdk.KindTransform, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if err := client.Work(b.Context(), h, Work{Batch: batch}, func(Answer) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/record")
}
