package protocol

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

// secrets lets cmp look into sdk.Secret.
func secrets() cmp.Option {
	return cmp.Options{cmp.Comparer(func(a, b sdk.Secret) bool { return a.Reveal() == b.Reveal() }), cmpopts.EquateEmpty()}
}

// mixed makes records that differ in every column; every third has files, every second meta.
func mixed(n int) []sdk.Record {
	list := make([]sdk.Record, n)
	for i := range list {
		r := sdk.Record{
			ID: fmt.Sprintf("id-%d", i*i), Seq: uint64(i), Key: fmt.Sprint("room ", i%3), Kind: "chat.message/1",
			Time: time.UnixMilli(1_600_000_000_000 + int64(i)).UTC(), Body: fmt.Appendf(nil, `{"text":"%0*d"}`, i%7, i),
		}
		if i%2 == 0 {
			r.SetMeta("ref", fmt.Sprint(i))
			r.SetMeta("lang", "zh")
		}
		for k := range i % 3 {
			r.Files = append(r.Files, sdk.File{
				Index: k, Name: "图\xff.png", MediaType: "image/png", Size: -1, SizeClaimed: int64(i), MD5Claimed: "ab",
				Outcome: sdk.FileWaiting, Ref: sdk.NewSecret("ref"), Spool: "f-1", SpoolKey: sdk.NewSecret("key"),
			})
		}
		list[i] = r
	}
	return list
}

func records(b *Batch) []sdk.Record {
	list := make([]sdk.Record, b.Rows())
	for i := range list {
		list[i] = b.Record(i)
	}
	return list
}

func same(t *testing.T, what string, got *Batch, want []sdk.Record) {
	t.Helper()
	if d := cmp.Diff(records(got), want, secrets()); d != "" {
		t.Errorf("%s: got - want +\n%s", what, d)
	}
	again, err := readBatch(got.toWire())
	if err != nil {
		t.Fatalf("%s: its own wire form is refused: %v", what, err)
	}
	if d := cmp.Diff(records(again), want, secrets()); d != "" {
		t.Errorf("%s, over the wire: got - want +\n%s", what, d)
	}
}

func TestBatchRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 5, 500} {
		want := mixed(n)
		b := FromRecords(want)
		same(t, fmt.Sprint(n, " records"), b, want)

		data, err := b.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Unmarshal(data)
		if err != nil {
			t.Fatal(err)
		}
		same(t, "marshalled", got, want)

		rest, body, err := b.SplitBody()
		if err != nil {
			t.Fatal(err)
		}
		if len(body) != b.BodyBytes() && n > 1 {
			t.Errorf("body apart has %d bytes, want %d", len(body), b.BodyBytes())
		}
		if got, err = JoinBody(rest, body); err != nil {
			t.Fatal(err)
		}
		same(t, "joined", got, want)
	}
	if _, _, err := FromRecords(nil).SplitBody(); err != nil {
		t.Error(err)
	}
}

func TestSameValuesTravelOnce(t *testing.T) {
	list := mixed(100)
	for i := range list {
		list[i].Body = []byte("equal")
	}
	b := FromRecords(list)
	if got := len(b.kind.wire.Data); got != len("chat.message/1") {
		t.Errorf("100 equal kinds take %d bytes", got)
	}
	if got := b.BodyBytes(); got != 500 {
		t.Errorf("BodyBytes = %d, want 500", got)
	}
	same(t, "equal bodies", b, list)
}

func TestGather(t *testing.T) {
	a, b := mixed(9), mixed(4)
	for i := range b {
		b[i].ID += "b"
		b[i].Meta = map[string]string{"other": fmt.Sprint(i)}
	}
	A, B := FromRecords(a), FromRecords(b)
	if Gather(Part{Batch: A}) != A {
		t.Error("a whole batch was copied")
	}
	same(t, "a run", Gather(Part{A, []int32{3, 4, 5}}), a[3:6])
	same(t, "one row", Gather(Part{A, []int32{8}}), a[8:])
	same(t, "a choice", Gather(Part{A, []int32{7, 0, 2, 2}}), []sdk.Record{a[7], a[0], a[2], a[2]})
	same(t, "none", Gather(Part{A, []int32{}}), nil)
	same(t, "two", Gather(Part{B, nil}, Part{A, []int32{1, 8}}), append(append([]sdk.Record{}, b...), a[1], a[8]))
	run := Gather(Part{A, []int32{3, 4, 5}})
	if &run.Body(0)[0] != &A.Body(3)[0] {
		t.Error("bodies of consecutive rows were copied")
	}
}

func TestInherit(t *testing.T) {
	a := mixed(6)
	A := FromRecords(a)
	if A.Inherit(nil, []uint32{0, 1, 2, 3, 4, 5}) != A {
		t.Error("nothing changed, yet a new batch")
	}

	// new bodies for all; one meta name replaced, one removed, one added; the rest inherited
	changed := &Batch{rows: 6, body: mustRead(pack(6, func(i int) string { return fmt.Sprint("new ", i) }), 6, false)}
	changed.meta = []metaColumn{
		makeMeta("lang", 6, func(int) string { return "" }),
		makeMeta("zz", 6, func(i int) string { return fmt.Sprint(i) }),
	}
	want := mixed(6)
	for i := range want {
		want[i].Body = []byte(fmt.Sprint("new ", i))
		want[i].SetMeta("lang", "")
		want[i].SetMeta("zz", fmt.Sprint(i))
	}
	got := A.Inherit(changed, []uint32{0, 1, 2, 3, 4, 5})
	same(t, "identity", got, want)
	if got.id.wire != A.id.wire {
		t.Error("the id column was copied")
	}

	// a split and a drop: row 1 twice, row 4 once, ids changed
	changed = &Batch{rows: 3, id: mustRead(pack(3, func(i int) string { return fmt.Sprint("c", i) }), 3, true)}
	want = []sdk.Record{a[1], a[1], a[4]}
	for i := range want {
		want[i].ID = fmt.Sprint("c", i)
	}
	same(t, "split", A.Inherit(changed, []uint32{1, 1, 4}), want)
}

func TestFileFacts(t *testing.T) {
	list := mixed(6)
	b := FromRecords(list)
	file := []sdk.File{{Name: "x", Size: 7, SizeClaimed: -1, Outcome: sdk.FileStored}}
	want := mixed(6)
	want[0].Files, want[2].Files = file, nil
	same(t, "replaced", b.WithFiles(map[int][]sdk.File{0: file, 2: nil}), want)

	want = mixed(6)
	for i := range want {
		for k := range want[i].Files {
			want[i].Files[k].Spool, want[i].Files[k].SpoolKey = "", sdk.Secret{}
		}
	}
	same(t, "without bytes", b.WithoutBytes(), want)
	same(t, "the original", b, mixed(6))
	bare := FromRecords(mixed(1))
	if bare.WithoutBytes() != bare {
		t.Error("a batch without files was copied")
	}
}

func TestBadBatches(t *testing.T) {
	for name, w := range map[string]*pb.Batch{
		"data without lengths":  {Rows: 2, Id: &pb.Text{Data: []byte("ab")}},
		"lengths add up wrong":  {Rows: 2, Id: &pb.Text{Data: []byte("ab"), Len: []uint32{1, 2}}},
		"lengths overflow":      {Rows: 2, Id: &pb.Text{Data: []byte("ab"), Len: []uint32{1<<32 - 1, 3}}},
		"too few lengths":       {Rows: 3, Id: &pb.Text{Data: []byte("ab"), Len: []uint32{1, 1}}},
		"one length, odd data":  {Rows: 3, Id: &pb.Text{Data: []byte("abcd"), Len: []uint32{2}}},
		"too few times":         {Rows: 3, Time: &pb.Instants{Ns: []int64{1, 2}}},
		"too few seqs":          {Rows: 3, Seq: &pb.Numbers{Value: []uint64{1, 2}}},
		"meta twice":            {Rows: 1, Meta: []*pb.Meta{{Name: "a"}, {Name: "a"}}},
		"more files than told":  {Rows: 1, Files: &pb.Files{File: []*pb.File{{}, {}}, Count: []uint32{1}}},
		"fewer files than told": {Rows: 2, Files: &pb.Files{File: []*pb.File{{}}, Count: []uint32{1}}},
		"files without counts":  {Rows: 1, Files: &pb.Files{File: []*pb.File{{}}}},
		"a million rows":        {Rows: 4_000_000_000, Files: &pb.Files{Count: []uint32{1}}},
	} {
		if _, err := readBatch(w); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// page is what a source sends: 500 records of 1 KiB, as they come from the wire.
func pageOf500(tb testing.TB) []byte {
	list := make([]sdk.Record, 500)
	for i := range list {
		list[i] = sdk.Record{ID: fmt.Sprint("msg-", i), Seq: uint64(i), Key: fmt.Sprint("room", i%9), Kind: "chat.message/1", Time: time.UnixMilli(int64(i) + 1), Body: make([]byte, 1000+i%50)}
		list[i].SetMeta("lang", "zh")
		list[i].SetMeta("ref", fmt.Sprint(i))
	}
	data, err := proto.Marshal(&pb.ReadResponse{Number: 1, Batch: FromRecords(list).toWire(), Position: []byte("500")})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// The engine forwards columns, not records.
func TestForwardingAllocatesLittle(t *testing.T) {
	page := pageOf500(t)
	allocs := testing.AllocsPerRun(20, func() {
		var in pb.ReadResponse
		if err := proto.Unmarshal(page, &in); err != nil {
			t.Fatal(err)
		}
		b, err := readBatch(in.Batch)
		if err == nil {
			err = b.checkIDs()
		}
		if err != nil {
			t.Fatal(err)
		}
		out := Gather(Part{Batch: b})
		if _, err := proto.Marshal(&pb.WorkRequest{Batch: out.toWire()}); err != nil {
			t.Fatal(err)
		}
	})
	t.Logf("%.0f allocations for 500 rows", allocs)
	if allocs >= 50 {
		t.Errorf("forwarding 500 rows allocates %.0f objects, want fewer than 50", allocs)
	}
}
