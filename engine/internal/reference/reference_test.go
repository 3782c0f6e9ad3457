package reference_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-etl/weir/engine/internal/reference"
	"github.com/weir-etl/weir/sdk"
)

// all is a plugin that declares everything that can be declared.
func all() sdk.Plugin {
	return sdk.Plugin{Name: "acme", Version: "1.2.3",
		Connections: []sdk.Connection{{Type: "acme", Doc: "An account. It has limits.", Args: []sdk.Arg{
			{Name: "url", Type: sdk.String, Required: true, Doc: "Address of a|b."},
			{Name: "token", Type: sdk.String, Required: true, Secret: true, Doc: "Token."},
		}}},
		Components: []sdk.Component{
			{Kind: sdk.KindSource, Type: "acme_log", Doc: "Reads a log.", Connection: "acme", Emits: []string{"acme.log/1"}, Opaque: true, Retention: 120 * time.Hour,
				Positions: true, Fields: []sdk.Field{{Name: "body.text", Type: sdk.String, Doc: "The text."}}},
			{Kind: sdk.KindTransform, Type: "acme_fetch", Doc: "Fetches <files>.", Accepts: []string{"acme.log/1", "acme.log/2"}, MakesFiles: true, MaxInFlight: 1,
				Args: []sdk.Arg{{Name: "files", Type: sdk.Files, PerRecord: true, Doc: "Which."}, {Name: "again", Type: sdk.Durs, Default: []string{"1m", "1h"}, Doc: "Pauses."}}},
			{Kind: sdk.KindSink, Type: "acme_store", Doc: "Stores.\n\n* all of it", Connection: "acme", Accepts: nil, FilesOnly: true, Probes: true, Holds: true, Surveys: true,
				MaxRecords: 50, MaxBytes: 3 << 20,
				Args: []sdk.Arg{
					{Name: "key", Type: sdk.String, PerFile: true, Required: true, Doc: "Key of each file."},
					{Name: "mode", Type: sdk.String, Default: "a", OneOf: []string{"a", "b"}, Doc: "How."},
					{Name: "password", Type: sdk.String, Default: "hunter2", Secret: true, Doc: "What is never shown."},
					{Name: "form", Required: true, Doc: "The form.", Block: []sdk.Arg{
						{Name: "width", Type: sdk.Number, Required: true, Doc: "In mm."},
						{Name: "colour", Block: []sdk.Arg{{Name: "name", Type: sdk.String, Doc: "Its name."}}},
						{Name: "empty", Block: []sdk.Arg{}},
					}},
				},
				Receipt: []sdk.Field{{Name: "object", Type: sdk.String, Doc: "Its name."}},
				Lease:   []sdk.Arg{{Name: "name", Type: sdk.String, Required: true, Doc: "Of the row."}}},
			{Kind: sdk.KindSink, Type: "acme_mail", Doc: "Sends a mail.", Effect: sdk.Once, MaxInFlight: 3},
		}}
}

const example = `# head of the file

connection "acme" "main" {
  url = "https://acme.example"
}

# What is stored.
sink "acme_store" "one" {
  form {
    width = 1
  }
}
sink "acme_mail" "all" {}
sink "acme_store" "two" { key = "a" }
`

// The page of such a plugin is testdata/acme.md: look at what changes in it.
func TestPlugin(t *testing.T) {
	got := reference.Plugin(all(), example)
	want, err := os.ReadFile("testdata/acme.md")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if strings.Contains(got, "hunter2") {
		t.Error("the default of a secret is shown")
	}
}

func TestBlocks(t *testing.T) {
	got := reference.Blocks(example, "sink", "acme_store")
	want := []string{
		"# What is stored.\nsink \"acme_store\" \"one\" {\n  form {\n    width = 1\n  }\n}\n",
		"sink \"acme_store\" \"two\" { key = \"a\" }\n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if got := reference.Blocks(example, "sink", "acme"); got != nil {
		t.Errorf("blocks of another type: %q", got)
	}
}
