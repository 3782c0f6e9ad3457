package lang_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/lang"
)

// A file with ten mistakes gives ten diagnostics, each at its line and with its remedy.
func TestTenMistakes(t *testing.T) {
	_, diags := lang.Load([]string{"testdata/ten.hcl"}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
	var got []string
	for _, d := range diags {
		got = append(got, fmt.Sprintf("%d: %s | %s", d.Line, d.Problem, d.Remedy))
	}
	want := []string{
		`3: there is no time zone "Asia/Shangai" | write a name of the IANA list, such as "Asia/Tokyo"`,
		`10: connection.wecom.archive: secret is a secret and must not stand in the file | write: secret = env("SECRET"), and set that variable where weir runs`,
		`19: source.wecom_chat.chat has no argument "evrey" | did you mean every?`,
		`23: there is no step source.wecom_chat.chta | did you mean source.wecom_chat.chat?`,
		`27: no plugin offers a transform "pasre" | did you mean parse?`,
		`32: transform.wecom_media.got understands chat.message/1, but source.wecom_chat.chat gives wecom.chat.raw/1 | steps are missing in between: transform "decrypt", then "parse"`,
		`43: there is no function "sinse" | did you mean since?`,
		`47: no step before this one publishes body.contnet | did you mean record.body.content?`,
		`48: there is no step sink.oss.large | write the name of a sink of this file: there is no other`,
		`51: sink.kintone.log: batch: max_wait wants a duration such as "30s", "5m" or "1h30m" | write: max_wait = "5m"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("diagnostics (-want +got):\n%s", diff)
	}

	var text bytes.Buffer
	if err := diags.Write(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "never-show-this-text") {
		t.Errorf("a literal secret is shown:\n%s", text.String())
	}
	const block = `testdata/ten.hcl:23:18: error: there is no step source.wecom_chat.chta
  23 |   input        = source.wecom_chat.chta
     |                  ^^^^^^^^^^^^^^^^^^^^^^
  did you mean source.wecom_chat.chat?
`
	if !strings.Contains(text.String(), block) {
		t.Errorf("got:\n%s\nwant in it:\n%s", text.String(), block)
	}
	var list []struct {
		File, Problem, Remedy, Snippet string
		Line                           int
	}
	var asJSON bytes.Buffer
	if err := diags.WriteJSON(&asJSON); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(asJSON.Bytes(), &list); err != nil || len(list) != 10 || list[3].Line != 23 || list[3].Snippet == "" {
		t.Errorf("as JSON: %v, %d diagnostics:\n%s", err, len(list), asJSON.String())
	}
}

// head is the beginning of the pipelines below: lines 1 to 10.
const head = `weir { name = "t" }
connection "wecom" "a" {
  corp_id = "c"
  secret  = env("S")
}
connection "kintone" "k" { url = "http://127.0.0.1:1/" }
source "wecom_chat" "chat" { connection = connection.wecom.a }
source "generate" "gen" {}
variable "apps" { default = { "1" = 5 } }
locals { n = 1 }
`

// log is a sink that is fine, from line 11; %s, line 16, is more of it. chain puts what it needs before it: then %s is line 22.
const log = `sink "kintone" "log" {
  connection = connection.kintone.k
  app = 1
  token = env("T")
  key = { id = record.id }
  %s
}
`

func chain(sink string) string {
	return `transform "decrypt" "d" {
  input        = source.wecom_chat.chat
  private_keys = keyring("*.pem")
}
transform "parse" "p" { input = transform.decrypt.d }
` + fmt.Sprintf(log, "input = transform.parse.p\n  "+sink)
}

func TestMistakes(t *testing.T) {
	rows := []struct {
		name, text string
		want       []string // "line: problem | remedy", both may be the beginning only
	}{
		{"fine", chain(""), nil},
		{"syntax", `sink "kintone" {{`, []string{"11: argument or block definition required"}},
		{"unknown block", `sinc "kintone" "x" {}`, []string{`11: there is no block "sinc" | did you mean sink?`}},
		{"reserved block", `module "m" {}`, []string{"11: module blocks are not built yet"}},
		{"reserved blocks", "report \"daily\" {}\ntest \"x\" {}", []string{"11: report blocks are not", "12: test blocks are not"}},
		{"labels", `sink "kintone" {}`, []string{`11: a sink block has 2 labels, not 1 | write: sink "TYPE" "NAME" { … }`}},
		{"bad name", `locals { x = 1 }` + "\n" + `variable "a b" {}`, []string{`12: "a b" is not a name`}},
		{"outside", `x = 1`, []string{`11: x stands outside of every block`}},
		{"two weir blocks", `weir { name = "u" }`, []string{"11: a second weir block"}},
		{"variable twice", `variable "apps" {}`, []string{"11: variable apps is declared twice, first in line 9"}},
		{"variable default of wrong type", "variable \"x\" {\n  type = number\n  default = \"many\"\n}", []string{"13: the default of variable x is not a number"}},
		{"unknown type", "variable \"x\" { type = strin }", []string{"11: "}},
		{"local twice", "locals { n = 2 }", []string{"11: local n is declared twice, also in line 10"}},
		{"local of itself", "locals {\n  a = local.b\n  b = local.a\n}", []string{"12: local a is made of itself"}},
		{"unknown local", "locals { a = local.nn }", []string{`11: there is no local "nn" | did you mean n?`}},
		{"unknown variable", "locals { a = var.app }", []string{`11: there is no variable "app" | did you mean apps?`}},
		{"forgotten var.", "locals { a = apps }", []string{`11: there is no "apps" | did you mean var.apps?`}},
		{"unquoted text", "locals { a = hello }", []string{`11: there is no "hello" | text stands in quotes`}},
		{"unknown function inside try", "locals { a = try(uper(\"x\"), 1) }", []string{`11: there is no function "uper" | did you mean upper?`}},
		{"keyring in a local", "locals { a = keyring(\"*.pem\") }", []string{"11: keyring is read again every minute"}},
		{"record in a local", "locals { a = record.id }", []string{"11: local.a is evaluated once, before any record is there: it cannot mention record"}},
		{"wrong argument of a function", "locals { a = upper([1]) }", []string{"11: upper() cannot work with these arguments"}},

		{"unknown connection type", `connection "kintome" "x" {}`, []string{`11: no plugin knows a connection of type "kintome" | did you mean kintone?`}},
		{"connection twice", `connection "kintone" "k" { url = "x" }`, []string{"11: connection.kintone.k is declared twice"}},
		{"connection without use is fine", `connection "kintone" "k2" { url = "x" }`, nil},
		{"missing argument", `connection "kintone" "k2" {}`, []string{`11: connection.kintone.k2 needs an argument "url"`}},
		{"rate", "connection \"kintone\" \"k2\" {\n  url = \"x\"\n  limit {\n    rate = \"600\"\n  }\n}", []string{`14: connection.kintone.k2: limit: rate cannot be "600" | write calls per duration: "600/1m"`}},
		{"concurrency", "connection \"kintone\" \"k2\" {\n  url = \"x\"\n  limit {\n    concurrency = 0\n  }\n}", []string{`14: connection.kintone.k2: limit: concurrency is out of range`}},
		{"one of", "connection \"oss\" \"o\" {\n  endpoint = \"x\"\n  bucket = \"b\"\n  signature = \"v44\"\n}", []string{"14: connection.oss.o: signature must be one of v1, v4: did you mean v4?"}},

		{"unknown source", `source "wecom_groups" "x" {}`, []string{`11: no plugin offers a source "wecom_groups"`}},
		{"other kind", `sink "parse" "x" {}`, []string{"11: sink.parse.x has no input", `11: parse is a transform, not a sink`}},
		{"step twice", `source "generate" "gen" {}`, []string{"11: source.generate.gen is declared twice, first in line 8"}},
		{"source with input", "source \"generate\" \"g2\" {\n  input = source.generate.gen\n}", []string{`12: source.generate.g2 has no argument "input"`}},
		{"for_each", "source \"generate\" \"g2\" {\n  for_each = []\n}", []string{"12: for_each is not built yet"}},
		{"unknown block in a step", "source \"generate\" \"g2\" {\n  callback {}\n}", []string{`12: source.generate.g2 has no block "callback"`}},
		{"argument written as block", "source \"generate\" \"g2\" {\n  count {}\n}", []string{`12: count is an argument, not a block | write: count = …`}},
		{"block written as argument", "source \"wecom_chat\" \"c2\" {\n  connection = connection.wecom.a\n  holes = {}\n}", []string{`13: holes is a block | write: holes { … }`}},
		{"two nested blocks", "source \"wecom_chat\" \"c2\" {\n  connection = connection.wecom.a\n  holes {}\n  holes {}\n}", []string{`14: source.wecom_chat.c2 has two holes blocks`}},
		{"wrong type", "source \"generate\" \"g2\" {\n  count = \"many\"\n}", []string{`12: source.generate.g2: count wants a number`}},
		{"wrong structure", "source \"generate\" \"g2\" {\n  count = [1]\n}", []string{`12: source.generate.g2: count wants a number, not a list`}},
		{"duration", "source \"wecom_chat\" \"c2\" {\n  connection = connection.wecom.a\n  every = \"5 minutes\"\n}", []string{`13: source.wecom_chat.c2: every wants a duration`}},
		{"no connection", `source "wecom_chat" "c2" {}`, []string{"11: source.wecom_chat.c2 needs a connection of type wecom"}},
		{"wrong connection", `source "wecom_chat" "c2" { connection = connection.kintone.k }`, []string{"11: source.wecom_chat.c2 needs a connection of type wecom, and connection.kintone.k is of type kintone"}},
		{"unknown connection", `source "wecom_chat" "c2" { connection = connection.wecom.b }`, []string{"11: there is no connection.wecom.b"}},
		{"connection not needed", `source "generate" "g2" { connection = connection.wecom.a }`, []string{`11: source "generate" uses no connection`}},
		{"disabled connection", "connection \"kintone\" \"off\" {\n  enabled = false\n  url = \"x\"\n}\nsink \"kintone\" \"x\" {\n  connection = connection.kintone.off\n  input = source.generate.gen\n  app = 1\n  token = env(\"T\")\n  key = { id = record.id }\n}",
			[]string{"16: sink.kintone.x is enabled and its connection connection.kintone.off is not"}},

		{"no input", fmt.Sprintf(log, ""), []string{"11: sink.kintone.log has no input"}},
		{"unknown input", fmt.Sprintf(log, "input = source.generate.geen"), []string{"16: there is no step source.generate.geen | did you mean source.generate.gen?"}},
		{"short input", fmt.Sprintf(log, "input = source.generate"), []string{"16: input of sink.kintone.log is not the name of a step"}},
		{"quoted input", fmt.Sprintf(log, `input = "source.generate.gen"`), []string{"16: input of sink.kintone.log is not the name of a step"}},
		{"sink as input", chain("") + "sink \"file\" \"f\" {\n  input = sink.kintone.log\n  path = \"x\"\n}", []string{"25: sink.kintone.log cannot be an input"}},
		{"health", fmt.Sprintf(log, "input = weir.health"), []string{"16: weir.health is not built yet"}},
		{"report", fmt.Sprintf(log, "input = [weir.events, report.daily]"), []string{"16: reports are not built yet"}},
		{"input twice", fmt.Sprintf(log, "input = [source.generate.gen, source.generate.gen]"), []string{"16: source.generate.gen stands twice in input"}},
		{"step in an argument", fmt.Sprintf(log, "input = source.generate.gen\n  schema = source.generate.gen"), []string{"17: schema cannot mention source.generate.gen"}},

		{"kinds", `transform "parse" "p" { input = source.wecom_chat.chat }`, []string{`11: transform.parse.p understands wecom.chat/1, but source.wecom_chat.chat gives wecom.chat.raw/1 | a step is missing in between: transform "decrypt"`}},
		{"kinds that no step joins", `transform "parse" "p" { input = source.generate.gen }`, []string{`11: transform.parse.p understands wecom.chat/1, but source.generate.gen gives text/1 | no transform leads`}},
		{"events are a kind", `transform "parse" "p" { input = weir.events }`, []string{`11: transform.parse.p understands wecom.chat/1, but weir.events gives weir.event/1`}},
		{"kind of a file source", "source \"file\" \"f\" {\n  path = \"x\"\n  kind = \"chat.message/1\"\n}\ntransform \"parse\" \"p\" { input = source.file.f }", []string{`15: transform.parse.p understands wecom.chat/1, but source.file.f gives chat.message/1`}},
		{"kind of a file source not said", "source \"file\" \"f\" { path = \"x\" }\ntransform \"parse\" \"p\" { input = source.file.f }", nil},
		{"when on a transform of another kind", "transform \"decrypt\" \"d\" {\n  input = source.wecom_chat.chat\n  when = record.seq > 5\n  private_keys = keyring(\"*\")\n}", []string{"13: transform.decrypt.d makes another kind of record"}},
		{"disabled transform of another kind", "transform \"decrypt\" \"d\" {\n  input = source.wecom_chat.chat\n  enabled = false\n  private_keys = keyring(\"*\")\n}", []string{"13: transform.decrypt.d makes another kind of record"}},
		{"when on a transform of the same kind", "transform \"md5\" \"m\" {\n  input = source.wecom_chat.chat\n  when = record.seq > 5\n}", nil},
		{"when is no condition", "transform \"md5\" \"m\" {\n  input = source.wecom_chat.chat\n  when = [record.seq]\n}", []string{"13: transform.md5.m: when wants true or false, not a list"}},

		{"circle", "transform \"md5\" \"a\" { input = transform.md5.b }\ntransform \"md5\" \"b\" { input = transform.md5.a }", []string{"12: steps wait for each other: transform.md5.a needs transform.md5.b needs transform.md5.a"}},
		{"circle by receipt", "sink \"file\" \"a\" {\n  input = source.generate.gen\n  path = \"a\"\n  line = receipt.file.b.state\n}\nsink \"file\" \"b\" {\n  input = source.generate.gen\n  path = \"b\"\n  after = [sink.file.a]\n}", []string{"16: steps wait for each other: sink.file.a needs sink.file.b needs sink.file.a"}},
		{"after itself", fmt.Sprintf(log, "input = source.generate.gen\n  after = [sink.kintone.log]"), []string{"17: sink.kintone.log comes after itself"}},
		{"after a source", fmt.Sprintf(log, "input = source.generate.gen\n  after = [source.generate.gen]"), []string{"17: source.generate.gen is not a sink"}},
		{"receipt of a transform", chain("fields = { x = receipt.parse.p.state }"), []string{"22: parse.p is not a sink"}},
		{"receipt of nothing", chain("fields = { x = receipt.oss.large.state }"), []string{"22: there is no step sink.oss.large"}},
		{"receipt of a sink of other records", chain("fields = { x = receipt.file.f.state }") + "sink \"file\" \"f\" {\n  input = source.generate.gen\n  path = \"x\"\n}", []string{"16: sink.kintone.log mentions the receipt of sink.file.f, which takes its records from another step"}},
		{"receipt's field", chain("") + "sink \"file\" \"f\" {\n  input = transform.parse.p\n  path = \"x\"\n  line = receipt.kintone.log.recordid\n}", []string{`27: the receipt of sink.kintone.log has no "recordid" | did you mean record_id?`}},
		{"receipt's field of a type", chain("") + "sink \"file\" \"f\" {\n  input = transform.parse.p\n  path = \"x\"\n  line = length(receipt.kintone.log.record_id)\n}", []string{`27: length() wants a list, an object or a string`}},

		{"record's attribute", chain("fields = { x = record.idd }"), []string{`22: a record has no "idd" | did you mean record.id?`}},
		{"body's field", chain("fields = { x = record.body.msgtyp }"), []string{`22: no step before this one publishes body.msgtyp | did you mean record.body.msgtype?`}},
		{"body's field inside try", chain("fields = { x = try(record.body.msgtyp, 1) }"), []string{`22: no step before this one publishes body.msgtyp`}},
		{"field of an earlier body", chain("fields = { x = record.body.encrypt_chat_msg }"), []string{`22: no step before this one publishes body.encrypt_chat_msg`}},
		{"meta of an earlier step", chain("fields = { x = record.meta.fetched_at }"), nil},
		{"meta", chain("fields = { x = record.meta.ref_msid }"), []string{`22: no step before this one publishes meta.ref_msid | did you mean record.meta.ref_msgid?`}},
		{"indexed field", chain("fields = { x = record.body[\"nope\"] }"), []string{`22: no step before this one publishes body.nope`}},
		{"file's attribute", chain("files = { f = [for f in record.files : f if f.siz > 1] }"), []string{`22: a file has no "siz" | did you mean size?`}},
		{"file's attribute by index", chain("fields = { x = record.files[0].nam }"), []string{`22: a file has no "nam" | did you mean name?`}},
		{"file where there is none", chain("fields = { x = file.name }"), []string{`22: fields is not evaluated per file: it cannot mention file`}},
		{"files are no files", chain("files = { f = \"all\" }"), []string{`22: sink.kintone.log: files says which of the record's files are wanted`}},
		{"event's subject", fmt.Sprintf(log, "input = weir.events\n  fields = { a = record.body.subject.seq, b = record.body.subject.sek }"), []string{`17: no step before this one publishes body.subject.sek | did you mean record.body.subject.seq?`}},
		{"type of a field", chain("fields = { x = lower(record.body.tolist) }"), []string{`22: lower() cannot work with these arguments`}},
		{"type of an argument", "sink \"oss\" \"o\" {\n  connection = connection.oss.o\n  input = source.generate.gen\n  key = record.files\n}\nconnection \"oss\" \"o\" {\n  endpoint = \"x\"\n  bucket = \"y\"\n}", []string{"14: sink.oss.o: key wants a string, not"}},
		{"env per record", chain("fields = { x = \"${record.id}${env(\"A\")}\" }"), []string{"22: env() is not allowed in fields, which is evaluated for each record"}},
		{"env without record", chain("fields = { x = env(\"A\") }"), nil},
		{"status without record", chain("fields = { x = status(1) }"), []string{"22: the first argument of status() is record itself"}},
		{"status fixed", chain("schema = status(record)"), []string{"22: status() needs a record, and schema is fixed", "22: schema is evaluated once"}},
		{"status of no receipts", chain("fields = { x = status(record, record.id) }"), []string{"22: status() wants record and receipts"}},
		{"secret from a plain value", strings.Replace(chain(""), `env("T")`, `"tok"`, 1), []string{"19: sink.kintone.log: token is a secret and must not stand in the file"}},
		{"secret with a default", strings.Replace(chain(""), `env("T")`, `env("T", "none")`, 1), nil},
		{"record in a fixed argument", chain("schema = record.id"), []string{"22: schema is evaluated once, before any record is there: it cannot mention record"}},

		{"two sources in one key", fmt.Sprintf(log, "input = [source.generate.gen, source.wecom_chat.chat]"), []string{`15: records of source.generate.gen and source.wecom_chat.chat meet in one key`}},
		{"ids global", fmt.Sprintf(log, "input = [source.generate.gen, source.wecom_chat.chat]\n  ids = \"global\""), nil},
		{"key tells apart", strings.Replace(fmt.Sprintf(log, "input = [source.generate.gen, source.wecom_chat.chat]"), "id = record.id", `id = "${record.kind}/${record.id}"`, 1), nil},
		{"order", chain(`order = "key"`), nil},
		{"order by something else", chain(`order = "time"`), []string{`22: sink.kintone.log: order must be one of none, key`}},
		{"order of a source", "source \"generate\" \"g2\" {\n  order = \"key\"\n}", []string{`12: source.generate.g2 has no argument "order"`}},
		{"order none", chain(`order = "none"`), nil},
		{"effect", chain("effect = \"once\"\n  on_unknown = \"resend\""), nil},
		{"effect misspelt", chain(`effect = "onec"`), []string{`22: sink.kintone.log: effect must be one of idempotent, once: did you mean once?`}},
		{"effect of a transform", "transform \"md5\" \"m\" {\n  input = source.generate.gen\n  effect = \"once\"\n}", []string{`13: transform.md5.m: only what a sink does can be done once | take the line out, or put it on the sink`}},
		{"on_unknown of a transform", "transform \"md5\" \"m\" {\n  input = source.generate.gen\n  on_unknown = \"dead\"\n}", []string{`13: transform.md5.m has no argument "on_unknown"`}},
		{"on_unknown alone", chain(`on_unknown = "dead"`), []string{`22: sink.kintone.log: on_unknown is for steps whose effect is once | take the line out, or write effect = "once"`}},
		{"on_unknown beside idempotent", chain("effect = \"idempotent\"\n  on_unknown = \"dead\""), []string{`23: sink.kintone.log: on_unknown is for steps whose effect is once`}},
		{"on_unknown misspelt", chain("effect = \"once\"\n  on_unknown = \"rseend\""), []string{`23: sink.kintone.log: on_unknown must be one of dead, resend: did you mean resend?`}},
		{"batches of one", chain("effect = \"once\"\n  batch { max_records = 10 }"), []string{`23: sink.kintone.log: a step whose effect is once is called with one record at a time | take the block out`}},
		{"a declared effect", "sink \"mail\" \"m\" {\n  input = source.generate.gen\n  on_unknown = \"resend\"\n}", nil},
		{"a declared effect taken back", "sink \"mail\" \"m\" {\n  input = source.generate.gen\n  effect = \"idempotent\"\n}", []string{`13: sink.mail.m: a second delivery does harm, says sink "mail" | take the line out; on_unknown = "resend"`}},
		{"once and held", "sink \"pack\" \"p\" {\n  input = source.generate.gen\n  effect = \"once\"\n}", []string{`13: sink.pack.p: sink "pack" packs many records into one object, and once is record by record | take the line out`}},
		{"limits of what is held", "sink \"pack\" \"p\" {\n  input = source.generate.gen\n  batch {\n    max_records = 1000\n    max_bytes = mib(8)\n    max_wait = \"10m\"\n  }\n}", nil},
		{"silence", chain("retry { silence = \"10m\" }"), nil},
		{"silence too short", chain("retry { silence = \"0s\" }"), []string{`22: sink.kintone.log: retry: silence is shorter than a second | write: silence = "5m"`}},
		{"choice", chain(`on_owed = "pas"`), []string{`22: sink.kintone.log: on_owed must be one of wait, pass: did you mean pass?`}},
		{"on_owed of a transform", "transform \"md5\" \"m\" {\n  input = source.generate.gen\n  on_owed = \"pass\"\n}", []string{`13: transform.md5.m has no argument "on_owed"`}},

		{"moved", chain("") + "moved {\n  from = sink.kintone.old\n  to = sink.kintone.log\n}\nremoved { from = sink.s3.gone }", nil},
		{"moved to nowhere", chain("") + "moved {\n  from = sink.kintone.old\n  to = sink.kintone.logg\n}", []string{"26: there is no step sink.kintone.logg | did you mean sink.kintone.log?"}},
		{"moved and still there", chain("") + "moved {\n  from = sink.kintone.log\n  to = sink.kintone.log\n}", []string{"25: sink.kintone.log is still there"}},
		{"removed and still there", chain("") + "removed { from = sink.kintone.log }", []string{"24: sink.kintone.log is still there"}},
		{"moved without to", chain("") + "moved { from = sink.kintone.old }", []string{`24: moved needs an argument "to"`}},
		{"external plugin", "plugin \"acme\" { path = \"bin/acme\" }", []string{"11: external plugins cannot be started here"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			_, diags := lang.Load([]string{write(t, head+row.text+"\n")}, lang.Options{Plugins: plugins(), Static: true, Getenv: empty})
			var got bytes.Buffer
			diags.Write(&got)
			if len(diags) != len(row.want) {
				t.Fatalf("got %d diagnostics, want %d:\n%s", len(diags), len(row.want), got.String())
			}
			for i, d := range diags {
				problem, remedy, _ := strings.Cut(row.want[i], " | ")
				if !strings.HasPrefix(fmt.Sprintf("%d: %s", d.Line, d.Problem), problem) || !strings.HasPrefix(d.Remedy, remedy) {
					t.Errorf("got:\n%swant: %s", got.String(), row.want[i])
				}
			}
		})
	}
}

// write puts a pipeline file into a folder of its own.
func write(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "p.hcl")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
