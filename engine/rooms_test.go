package engine_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weir-etl/weir/"

// reasons says why an import is allowed: a package of this module without the module's name, a module of others with all its
// packages, or a guarded package of the standard library.
type reasons = map[string]string

// floor is the floor plan: the folders, as patterns of path.Match, and what their packages may import beyond the standard library. A
// folder has what all patterns that match it allow; one that none matches has no place here. A new import changes this table in
// the same commit.
var floor = map[string]reasons{
	"sdk": {}, // what integrators build on drags nothing along
	"sdk/protocol": {
		"sdk":                            "it carries the words of the sdk",
		"sdk/protocol/pb":                "its generated code",
		"github.com/hashicorp/go-plugin": "handshake",
		"google.golang.org/grpc":         "transport",
		"google.golang.org/protobuf":     "messages",
	},
	"sdk/protocol/pb": {
		"google.golang.org/grpc":     "generated",
		"google.golang.org/protobuf": "generated",
	},
	"sdk/serve": {
		"sdk":                            "what it serves",
		"sdk/protocol":                   "how it serves",
		"github.com/hashicorp/go-plugin": "it is the plugin's end of go-plugin",
		"github.com/hashicorp/go-hclog":  "go-plugin logs with it",
		"google.golang.org/grpc":         "server options",
	},
	"sdk/sdktest": {
		"sdk":                    "what it tests",
		"sdk/protocol":           "a custom plugin is tested through the real wire",
		"google.golang.org/grpc": "in memory",
	},

	"plugins":   {"sdk": "the type of a plugin", "plugins/*": "it lists them: no registration by init"},
	"plugins/*": {"sdk": "all that a plugin may know of weir"},
	"plugins/decrypt": {
		"plugins/wecom/finance": "opens messages, with the official library where it is asked to",
		"plugins/native":        "loads the system's OpenSSL, which is faster than crypto/rsa",
	},
	"plugins/wecom": {"plugins/wecom/finance": "the vendor's client"},
	"plugins/wecom/finance": {
		"sdk":            "reads Retry-After",
		"plugins/native": "loads the vendor's library",
	},
	"plugins/native": { // the only door: it keeps two libraries out of one process
		"github.com/ebitengine/purego": "loads libraries at run time, without cgo",
	},
	"plugins/oss": {
		"plugins/object":                      "what object stores share",
		"github.com/aliyun/aliyun-oss-go-sdk": "the vendor's client",
	},
	"plugins/s3": {
		"plugins/object":               "what object stores share",
		"github.com/aws/aws-sdk-go-v2": "the vendor's client",
		"github.com/aws/smithy-go":     "its errors and middleware",
	},
	"plugins/object/objecttest":       {"plugins/object": "what it tests", "sdk": "outcomes"},
	"plugins/*/*sim":                  {}, // a simulator shares no code with what it judges
	"plugins/kintone/kintonesim/real": {},

	"engine": {
		"sdk":                           "records and outcomes",
		"sdk/protocol":                  "batches as they travel",
		"engine/internal/*":             "the shell wires its rooms",
		"github.com/hashicorp/go-hclog": "the engine's log",
	},
	"engine/internal/flow": { // pure: nothing here can start a goroutine, read a clock, or reach outside; a seed replays exactly
		"container/heap": "what is due, in order of time",
		"slices":         "data",
		"sort":           "data",
		"cmp":            "places in line",
		"math/rand/v2":   "jitter, from the seed that it is given",
		"time":           "as a value: now comes with the event",
	},
	"engine/internal/lang": {
		"sdk":                          "schemas and secrets",
		"engine/internal/status":       "the function status(…)",
		"engine/internal/plain":        "diagnostics are read on a terminal",
		"github.com/hashicorp/hcl/v2":  "the language",
		"github.com/zclconf/go-cty":    "its values",
		"github.com/tidwall/gjson":     "reads single fields of a body",
		"github.com/agext/levenshtein": "did you mean",
		"golang.org/x/text":            "safename: one spelling of a name",
	},
	"engine/internal/state":     {"github.com/dgraph-io/badger/v4": "the store"},
	"engine/internal/status":    {"sdk": "outcomes of files"},
	"engine/internal/plain":     {},
	"engine/internal/reference": {"sdk": "the declarations that it writes down"},
	"engine/internal/host": {
		"sdk":                            "schemas",
		"sdk/protocol":                   "the client of a plugin",
		"engine/internal/plain":          "what plugins write is read on a terminal",
		"github.com/hashicorp/go-plugin": "it is the engine's end of go-plugin",
		"github.com/hashicorp/go-hclog":  "go-plugin logs with it",
		"google.golang.org/grpc":         "dial options",
		"golang.org/x/time":              "bounds what a plugin may log",
		"golang.org/x/sys":               "sealed memory: what was checked is what runs",
		"os/exec":                        "plugins are processes",
	},
	"engine/cmd/weir": {
		"engine":                        "what it runs",
		"engine/bench":                  "it measures itself",
		"engine/internal/*":             "it loads the pipeline, and reads the state when no engine runs",
		"plugins":                       "the only place that sees engine and plugins",
		"sdk":                           "the clock",
		"sdk/serve":                     "the same binary serves the bundled plugins",
		"github.com/hashicorp/go-hclog": "the log is made here",
		"github.com/spf13/cobra":        "command line",
		"github.com/mattn/go-isatty":    "a progress line is for people",
	},

	"engine/bench": {"os/exec": "it measures built commands, from outside"},

	"examples/sandbox": {
		"sdk":                        "the clock that the pipelines get",
		"examples/sandbox/*":         "its rooms",
		"plugins/kintone/kintonesim": "it starts the simulators",
		"plugins/oss/osssim":         "it starts the simulators",
		"plugins/wecom/wecomsim":     "it starts the simulators",
		"os/exec":                    "the S3 server, and weir in the demo",
	},
	"examples/sandbox/truth": {},
	"examples/sandbox/compare": { // no code of weir: it judges weir
		"examples/sandbox/truth":       "what it holds an archive against",
		"github.com/aws/aws-sdk-go-v2": "reads a bucket back as anybody would",
	},
	"examples/sandbox/corpus": {
		"examples/sandbox/truth": "the generator's intent",
		"plugins/wecom/wecomsim": "encrypts what it serves",
	},
	"examples/sandbox/e2e": {},
	"examples/quickstart":  {},
	"examples/plugin-go":   {"sdk": "all that a plugin needs", "sdk/serve": "its main"},
}

// tests is what the tests of a folder may import besides; anyTest, what all tests may. The package that they test needs no word.
var tests = map[string]reasons{
	"plugins/*":                       {"sdk/sdktest": "conformance"},
	"plugins/oss":                     {"plugins/oss/osssim": "its service", "plugins/object/objecttest": "what stores share"},
	"plugins/s3":                      {"plugins/object/objecttest": "what stores share"},
	"plugins/oss/osssim":              {"github.com/aliyun/aliyun-oss-go-sdk": "the vendor's client provokes the refusals"},
	"plugins/kintone":                 {"plugins/kintone/kintonesim": "its service"},
	"plugins/kintone/kintonesim/real": {"plugins/kintone/kintonesim": "judged by the vendor's client, in a process of its own"},
	"plugins/wecom":                   {"plugins/wecom/wecomsim": "its service"},
	"plugins/wecom/finance":           {"plugins/wecom/wecomsim": "its service"},
	"plugins/wecom/wecomsim":          {"plugins/wecom/finance": "the client provokes the refusals"},
	"engine/bench": {
		"sdk": "a sink that can be away", "sdk/serve": "the test binary is that plugin", "sdk/protocol": "how it knows; and what a call costs is counted",
		"plugins/kintone/kintonesim": "a service that is away", "plugins/oss/osssim": "a service that is away",
		"plugins/generate": "the hop is counted", "plugins/md5": "the hop is counted", "plugins/file": "the hop is counted",
		"google.golang.org/grpc": "over a connection that counts", "engine": "its part is counted in this process",
		"engine/internal/lang": "what that engine runs", "engine/internal/host": "the test binary is the plugins of the hop",
	},
	"engine": {"sdk/serve": "the test binary is the plugin"},
	"engine/internal/host": {"sdk/serve": "the test binary is the plugin", "sdk/protocol/pb": "… and one that is written by hand",
		"google.golang.org/protobuf": "likewise"},
	"examples/sandbox/*": {"examples/sandbox/*": "a made-up archive to judge", "plugins/wecom/wecomsim": "what it fills"},
	"examples/*":         {"sdk/sdktest": "how a custom plugin is tested"},
}

var anyTest = reasons{
	"github.com/google/go-cmp":        "differences of big values",
	"github.com/rogpeppe/go-internal": "command lines as scripts",
	"pgregory.net/rapid":              "properties",
	"go.uber.org/goleak":              "goroutines left behind",
	"os/exec":                         "real processes",
}

// guarded are the packages of the standard library that need a reason. In the pure room all do, its tests apart.
var guarded = []string{"C", "os/exec", "plugin"}

const pure = "engine/internal/flow"

// roots are the folders that may stand at the root; bin is built and never committed.
var roots = []string{"bin", "engine", "examples", "pipelines", "plugins", "sdk"}

func TestRooms(t *testing.T) {
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && !slices.Contains(roots, e.Name()) {
			t.Errorf("%s: no folder of this name at the root", e.Name())
		}
	}
	for _, f := range sources(t) {
		for _, p := range f.imports {
			if why := refuse(f.folder, p, f.test); why != "" {
				t.Errorf("%s: %s", f.name, why)
			}
		}
	}
}

// A customer's binary holds nothing that only plays a service or judges.
func TestNothingForTestsInWeir(t *testing.T) {
	imports := map[string][]string{}
	for _, f := range sources(t) {
		if !f.test {
			imports[f.folder] = append(imports[f.folder], f.imports...)
		}
	}
	seen := map[string]bool{}
	var walk func(from, folder string)
	walk = func(from, folder string) {
		if seen[folder] {
			return
		}
		seen[folder] = true
		if strings.HasSuffix(folder, "sim") || strings.HasPrefix(folder, "examples/") || folder == "sdk/sdktest" || folder == "testing" {
			t.Errorf("weir holds %s: imported by %s", folder, from)
		}
		for _, p := range imports[folder] {
			walk(folder, strings.TrimPrefix(p, module))
		}
	}
	walk("", "engine/cmd/weir")
	if !seen["plugins/wecom"] {
		t.Error("weir does not hold plugins/wecom: the walk is broken")
	}
}

// A plan that refuses nothing would be green for ever: one row for each wall.
func TestWalls(t *testing.T) {
	for _, row := range []struct {
		folder, imports string
		test            bool
	}{
		{"sdk", "github.com/hashicorp/go-hclog", false},
		{"sdk", module + "engine", false},
		{"sdk", "github.com/hashicorp/go-hclog", true},
		{"sdk/serve", module + "engine", false},
		{"plugins/md5", module + "engine", false},
		{"plugins/md5", module + "engine/internal/status", false},
		{"plugins/md5", module + "plugins/file", false},
		{"plugins/md5", module + "plugins/object", false},
		{"plugins/md5", module + "sdk/protocol", false},
		{"plugins/md5", "google.golang.org/grpc", false},
		{"plugins/md5", "github.com/hashicorp/go-plugin", false},
		{"plugins/md5", "os/exec", false},
		{"plugins/parse", module + "plugins/wecom/finance", false},
		{"plugins/s3", "github.com/aliyun/aliyun-oss-go-sdk/oss", false},
		{"plugins/wecom", module + "plugins/wecom/wecomsim", false},
		{"plugins/wecom", "github.com/ebitengine/purego", false},
		{"plugins/wecom/finance", "github.com/ebitengine/purego", false},
		{"plugins/decrypt", "github.com/ebitengine/purego", false},
		{"plugins/wecom/finance", "C", false},
		{"plugins/kintone/kintonesim", module + "plugins/kintone", false},
		{"engine", module + "plugins", false},
		{"engine", module + "plugins/md5", false},
		{"engine", "github.com/hashicorp/hcl/v2", false},
		{"engine", "github.com/dgraph-io/badger/v4", false},
		{"engine", "github.com/hashicorp/go-plugin", false},
		{"engine", "google.golang.org/protobuf/proto", false},
		{"engine", "os/exec", false},
		{"engine/internal/flow", "context", false},
		{"engine/internal/flow", "os", false},
		{"engine/internal/flow", "sync", false},
		{"engine/internal/flow", module + "sdk", false},
		{"engine/internal/flow", "time/tzdata", false},
		{"engine/internal/lang", "github.com/dgraph-io/badger/v4", false},
		{"engine/internal/state", "github.com/zclconf/go-cty/cty", false},
		{"engine/internal/host", "github.com/hashicorp/hcl/v2", false},
		{"engine/cmd/weir", "github.com/dgraph-io/badger/v4", false},
		{"engine/cmd/weir", "os/exec", false},
		{"engine/bench", module + "engine", false},
		{"engine/bench", module + "plugins/md5", false},
		{"engine/cmd/weir", "github.com/google/go-cmp/cmp", false},
		{"examples/sandbox/compare", module + "sdk", false},
		{"examples/sandbox/compare", module + "plugins/wecom/wecomsim", false},
		{"examples/sandbox/corpus", module + "plugins/parse", false},
		{"examples/sandbox", module + "engine", false},
		{"engine/internal/state", "github.com/stretchr/testify/assert", true},
		{"common", "fmt", false},
		{"engine/internal/util", "fmt", false},
	} {
		if refuse(row.folder, row.imports, row.test) == "" {
			t.Errorf("%s may import %s (in tests: %v)", row.folder, row.imports, row.test)
		}
	}
}

// refuse says why a folder may not import path, or "".
func refuse(folder, imports string, test bool) string {
	standard := !strings.Contains(strings.Split(imports, "/")[0], ".")
	allowed, known := reasons{}, false
	for pattern, r := range floor {
		if match(pattern, folder) {
			known = true
			maps.Copy(allowed, r)
		}
	}
	if !known {
		return folder + " is not on the floor plan"
	}
	if standard && (folder != pure || test) && !slices.Contains(guarded, imports) {
		return ""
	}
	if test {
		maps.Copy(allowed, anyTest)
		for pattern, r := range tests {
			if match(pattern, folder) {
				maps.Copy(allowed, r)
			}
		}
	}
	own, ours := strings.CutPrefix(imports, module)
	if ours && test && own == folder {
		return ""
	}
	for p := range allowed {
		switch {
		case ours && match(p, own), standard && p == imports:
			return ""
		case !ours && !standard && (p == imports || strings.HasPrefix(imports, p+"/")):
			return ""
		}
	}
	return folder + " may not import " + imports + ": the floor plan has no reason for it"
}

func match(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	if err != nil {
		panic(err)
	}
	return ok
}

// source is a Go file, whatever its build tags.
type source struct {
	name, folder string // folder relative to the root, with slashes
	test         bool
	imports      []string
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir("..", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && name != ".." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata" || e.Name() == "node_modules" || e.Name() == "bin"):
			return filepath.SkipDir
		case e.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		name = strings.TrimPrefix(filepath.ToSlash(name), "../")
		f := source{name: name, folder: path.Dir(name), test: strings.HasSuffix(name, "_test.go")}
		for _, i := range parsed.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			f.imports = append(f.imports, p)
		}
		all = append(all, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
