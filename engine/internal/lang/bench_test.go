package lang_test

import (
	"testing"

	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/status"
	"github.com/weir-etl/weir/sdk"
)

// shipped is what the pipelines that ship with weir need: more than what the other tests do.
func shipped() []sdk.Plugin {
	list := plugins()
	str := func(names ...string) (args []sdk.Arg) {
		for _, n := range names {
			args = append(args, sdk.Arg{Name: n, Type: sdk.String})
		}
		return args
	}
	for i := range list {
		p := &list[i]
		for k := range p.Connections {
			p.Connections[k].Args = append(p.Connections[k].Args, str("proxy")...)
		}
		if p.Name == "wecom" {
			p.Connections[0].Args = p.Connections[0].Args[:len(p.Connections[0].Args)-1]
		}
	}
	object := func(name string, t sdk.Type) sdk.Arg { return sdk.Arg{Name: name, Type: t, PerFile: true} }
	return append(list, sdk.Plugin{Name: "s3",
		Connections: []sdk.Connection{{Type: "s3", Args: append(str("endpoint", "region", "bucket", "access_key_id", "access_key_secret"), sdk.Arg{Name: "path_style", Type: sdk.Bool})}},
		Components: []sdk.Component{{Kind: sdk.KindSink, Type: "s3", Connection: "s3", NewSink: func() sdk.Sink { return nil }, Args: []sdk.Arg{
			{Name: "files", Type: sdk.Files, PerRecord: true}, {Name: "body_key", Type: sdk.String, PerRecord: true}, object("key", sdk.String), object("metadata", sdk.StringMap)}}}})
}

// shippedPipeline loads a pipeline that ships with weir.
func shippedPipeline(t testing.TB, name string) *lang.Pipeline {
	t.Helper()
	p, diags := lang.Load([]string{"../../../pipelines/" + name}, lang.Options{Plugins: shipped(), Static: true, Getenv: environment(map[string]string{
		"WEIR_VAR_corp_id": "ww1", "WEIR_VAR_app_raw": `{ "1" = 101, "1000" = 131 }`, "WEIR_VAR_app_log": `{ "1" = 201 }`, "WEIR_VAR_oss_bucket": "b",
		"WEIR_VAR_oss_endpoint": "http://127.0.0.1:9000", "WEIR_VAR_kintone_url": "http://127.0.0.1:1"})})
	return must(t, p, diags)
}

// chatRow is a message as the parser hands it on: 900 bytes, of a picture in a room.
func chatRow() record {
	rec := message()
	rec.r.Body = []byte(`{"action":"send","content":"{\"md5sum\":\"50de8e5ae8ffe4f1df7a93841f71993a\",\"filesize\":70961}","from":"wmErxtDgAA9AW32YyyuYRimKr7D1KWlw","message":` +
		`{"msgid":"CAQQvPnc4QUY0On2rYSAgAMgooLa0Q8=","action":"send","from":"wmErxtDgAA9AW32YyyuYRimKr7D1KWlw","tolist":["kens","zhangsan","lisi"],"roomid":"wrErxtDgAAz2rYSAgAMgooLa0Q8",` +
		`"msgtime":1603819800005,"msgtype":"image","image":{"md5sum":"50de8e5ae8ffe4f1df7a93841f71993a","filesize":70961,"note":"\u4f60\u597d\uff0c世界"}},"msgtime_ms":1603819800005,"msgtype":"image",` +
		`"roomid":"wrErxtDgAAz2rYSAgAMgooLa0Q8","tolist":["kens","zhangsan","lisi"]}`)
	rec.r.Meta = map[string]string{"flags": "", "ref_msgid": "", "md5_outcome": "equal"}
	return rec
}

// stepOf is a sink with these lines in its block, whose records come from the parser.
func stepOf(b *testing.B, lines string) *lang.Step {
	b.Helper()
	p, diags := lang.Load([]string{write(b, head+chain(lines))}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
	return must(b, p, diags).Step("sink.kintone.log")
}

func BenchmarkWhen(b *testing.B) {
	for _, row := range []struct{ name, when string }{
		{"fixed", `record.kind != null && local.n == 1`},
		{"kind", `record.kind == "chat.message/1"`},
		{"meta", `record.meta.flags == "x" || record.meta.ref_msgid != ""`},
		{"body", `record.body.action == "recall"`},
		{"bodies", `record.body.msgtype == "text" && record.body.roomid != "" && length(record.body.tolist) > 1`},
		{"number", `record.body.msgtime_ms >= 1600000000000`},
	} {
		s, rec := stepOf(b, "when = "+row.when), lang.Record(chatRow())
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Wants(rec, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkWantedFiles(b *testing.B) {
	s, rec := stepOf(b, "files = { file = [for f in record.files : f if f.size >= mib(10)] }"), lang.Record(chatRow())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.WantedFiles(rec, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkKeyTemplate(b *testing.B) {
	for _, row := range []struct{ name, key string }{
		{"template", `"ww1/${record.seq}-${record.files[0].index}_${safename(record.files[0].name)}"`},
		{"date", `join("/", ["ww1", formatdate("YYYY/MM/DD", record.time), safename(record.key), "${record.seq}-x"])`},
	} {
		s, rec := stepOf(b, "fields = { k = "+row.key+" }"), lang.Record(chatRow())
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.RowArgs(rec, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// All arguments of a row of the pipelines that ship.
func BenchmarkRowArgs(b *testing.B) {
	chat := shippedPipeline(b, "wecom-kintone-oss.hcl")
	for _, row := range []struct {
		name string
		step *lang.Step
	}{{"log", chat.Step("sink.kintone.log")}, {"raw", chat.Step("sink.kintone.raw")}, {"large", chat.Step("sink.oss.large")},
		{"s3", shippedPipeline(b, "wecom-s3.hcl").Step("sink.s3.archive")}} {
		rec, r := lang.Record(chatRow()), receipts(status.Owed, 1)
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := row.step.RowArgs(rec, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
