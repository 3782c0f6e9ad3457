package lang_test

import "github.com/weir-etl/weir/sdk"

// plugins mirrors, reduced, what ships in the binary.
func plugins() []sdk.Plugin {
	str := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.String} }
	need := func(a sdk.Arg) sdk.Arg { a.Required = true; return a }
	secret := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.String, Secret: true} }
	row := func(name string, t sdk.Type) sdk.Arg { return sdk.Arg{Name: name, Type: t, PerRecord: true} }
	text := func(names ...string) (out []sdk.Field) {
		for _, n := range names {
			out = append(out, sdk.Field{Name: n, Type: sdk.String})
		}
		return out
	}
	source := func() sdk.Source { return nil }
	transform := func() sdk.Transform { return nil }
	sink := func() sdk.Sink { return nil }
	return []sdk.Plugin{
		{Name: "wecom", Connections: []sdk.Connection{{Type: "wecom", Args: []sdk.Arg{
			need(str("corp_id")), need(secret("secret")), {Name: "client", Type: sdk.String, OneOf: []string{"library", "plain"}, Default: "library"},
			str("library"), str("ca"), secret("proxy"),
		}}}, Components: []sdk.Component{
			{Kind: sdk.KindSource, Type: "wecom_chat", Connection: "wecom", Emits: []string{"wecom.chat.raw/1"}, NewSource: source,
				Args: []sdk.Arg{
					{Name: "every", Type: sdk.Dur, Default: "5m"}, {Name: "start", Type: sdk.Any, Default: "oldest"},
					{Name: "holes", Block: []sdk.Arg{{Name: "again", Type: sdk.Durs}}},
				},
				Fields: text("body.publickey_ver", "body.encrypt_random_key", "body.encrypt_chat_msg", "meta.fetched_at")},
			{Kind: sdk.KindTransform, Type: "wecom_media", Connection: "wecom", Accepts: []string{"chat.message/1"}, MakesFiles: true, NewTransform: transform,
				Args: []sdk.Arg{
					{Name: "files", Type: sdk.Files, PerRecord: true}, {Name: "wait", Type: sdk.Dur, Default: "30s"}, {Name: "again", Type: sdk.Durs},
				}, Fields: text("meta.file_deadline")},
		}},
		{Name: "decrypt", Components: []sdk.Component{
			{Kind: sdk.KindTransform, Type: "decrypt", Accepts: []string{"wecom.chat.raw/1"}, Emits: []string{"wecom.chat/1"}, NewTransform: transform,
				Args: []sdk.Arg{{Name: "private_keys", Type: sdk.StringMap, Required: true, Secret: true, Doc: "key version -> PEM"}}},
		}},
		{Name: "parse", Components: []sdk.Component{
			{Kind: sdk.KindTransform, Type: "parse", Accepts: []string{"wecom.chat/1"}, Emits: []string{"chat.message/1"}, NewTransform: transform,
				Fields: append(text("body.msgtype", "body.from", "body.roomid", "body.content", "body.action", "meta.ref_msgid", "meta.flags"),
					sdk.Field{Name: "body.tolist", Type: sdk.Strings}, sdk.Field{Name: "body.msgtime_ms", Type: sdk.Number}, sdk.Field{Name: "body.extra", Type: sdk.Any})},
		}},
		{Name: "md5", Components: []sdk.Component{
			{Kind: sdk.KindTransform, Type: "md5", NewTransform: transform, Args: []sdk.Arg{{Name: "again", Type: sdk.Durs}}, Fields: text("meta.md5", "meta.md5_outcome")},
		}},
		{Name: "kintone", Connections: []sdk.Connection{{Type: "kintone", Args: []sdk.Arg{need(str("url")), str("certificate"), secret("basic_auth")}}},
			Components: []sdk.Component{{Kind: sdk.KindSink, Type: "kintone", Connection: "kintone", NewSink: sink,
				Receipt: []sdk.Field{{Name: "record_id", Type: sdk.Number}},
				Lease:   []sdk.Arg{{Name: "app", Type: sdk.Number, Required: true}, need(secret("token")), {Name: "key", Type: sdk.String, Default: "lease"}},
				Args: []sdk.Arg{
					need(row("app", sdk.Any)), need(secret("token")), str("schema"),
					{Name: "mode", Type: sdk.String, OneOf: []string{"upsert", "update"}, Default: "upsert"},
					need(row("key", sdk.AnyMap)), {Name: "files", Type: sdk.FilesMap, PerRecord: true}, row("fields", sdk.AnyMap),
					{Name: "overflow", Type: sdk.String},
				}}}},
		{Name: "oss", Connections: []sdk.Connection{{Type: "oss", Args: []sdk.Arg{
			need(str("endpoint")), str("region"), need(str("bucket")), secret("access_key_id"), secret("access_key_secret"),
			{Name: "signature", Type: sdk.String, OneOf: []string{"v1", "v4"}, Default: "v4"},
		}}}, Components: []sdk.Component{{Kind: sdk.KindSink, Type: "oss", Connection: "oss", FilesOnly: true, Probes: true, NewSink: sink,
			Args: []sdk.Arg{
				{Name: "files", Type: sdk.Files, PerRecord: true}, {Name: "key", Type: sdk.String, Required: true, PerFile: true},
				str("storage_class"), {Name: "metadata", Type: sdk.StringMap, PerFile: true}, str("on_differs"),
			}}}},
		{Name: "generate", Components: []sdk.Component{
			{Kind: sdk.KindSource, Type: "generate", Emits: []string{"text/1"}, NewSource: source, Fields: text("body.text"),
				Args: []sdk.Arg{{Name: "count", Type: sdk.Number, Default: 1000}, {Name: "size", Type: sdk.Number}, {Name: "seed", Type: sdk.Number}}},
		}},
		{Name: "mail", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "mail", Effect: sdk.Once, NewSink: sink}}},
		{Name: "pack", Components: []sdk.Component{{Kind: sdk.KindSink, Type: "pack", Holds: true, NewSink: sink}}},
		{Name: "file", Components: []sdk.Component{
			{Kind: sdk.KindSource, Type: "file", NewSource: source, Args: []sdk.Arg{need(str("path")), str("kind")}},
			{Kind: sdk.KindSink, Type: "file", NewSink: sink, Args: []sdk.Arg{need(str("path")), row("line", sdk.Any)}},
		}},
	}
}
