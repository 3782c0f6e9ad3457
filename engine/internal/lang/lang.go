// Package lang reads pipeline files: HCL in, a checked [Pipeline] of plain data out.
//
// [Load] parses the files, resolves variables and locals, decodes every block by the schema its plugin declares, checks every
// reference, every edge of the graph and the kinds of record that flow along it, and reports all mistakes at once as [Diagnostics].
// What depends on a record is compiled, and evaluated by the methods of [Step]: [Step.Wants], [Step.WantedFiles], [Step.RowArgs] and
// [Step.About].
//
// Two kinds of expression exist. A fixed one is evaluated once, by Load. One that mentions record, file or receipt is evaluated for
// each record, and only where the component's schema allows that. Values from env(), file() and keyring() carry a mark that follows
// them through every operation; nothing marked is ever shown.
//
// cty is what defines the value of an expression, and its errors. Those per-record expressions that pipelines are made of are compiled
// as well (fast.go), which takes a twentieth of the time, and whatever a compiled one is not sure of is left to cty.
//
// This is the only package that knows hcl and cty; neither appears in what it exports.
package lang

import (
	"encoding/json"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Pipeline is a checked pipeline.
type Pipeline struct {
	Name     string
	Timezone *time.Location // UTC unless the file says otherwise
	Lang     string         // language of texts for people: "en", "ja" or "zh"
	StateKey *sdk.Secret    // nil = the default key file
	Rescue   time.Duration  // this near to a source's deadline, owed bytes are kept

	Steps       []*Step // inputs before those they feed
	Connections []*ConnectionConfig
	Moved       []Move
	Removed     []string // addresses whose state may be forgotten
	Plugins     []ExternalPlugin
	Lease       *Lease // nil = the pipeline has none

	Folder string // relative paths in the file are relative to this
	Hash   string // sha256 of the files' text, hex
}

// Step returns the step with this address, or nil.
func (p *Pipeline) Step(address string) *Step {
	for _, s := range p.Steps {
		if s.Address == address {
			return s
		}
	}
	return nil
}

// Events is the address under which steps name the engine's events as their input. Its records have kind [EventKind].
const (
	Events    = "weir.events"
	EventKind = "weir.event/1"
)

// Move says that the state of one address belongs to another now.
type Move struct{ From, To string }

// ExternalPlugin is an executable that the pipeline names.
type ExternalPlugin struct {
	Name   string
	Path   string // absolute
	SHA256 string // hex: what the lock file lists for it on this platform
}

// Refused is the error of [Options].External where a plugin must not be started. Anything else means that it could not be.
type Refused struct{ Problem, Remedy string }

func (r *Refused) Error() string { return r.Problem }

// ConnectionConfig is a decoded connection block.
type ConnectionConfig struct {
	Type, Name, Address string // Address: "connection.wecom.archive"
	Plugin              string // the plugin that declares the type
	Enabled             bool
	Args                json.RawMessage // secrets revealed; nil when a value is unknown under Options.Static
	Loopback            bool            // it names at least one host, and every host it names is this machine
	Limit               Limit
}

// Step is one configured component.
type Step struct {
	Address    string // "sink.kintone.log"
	Kind       sdk.ComponentKind
	Type, Name string
	Component  *sdk.Component
	Plugin     string            // the plugin that declares the component
	Connection *ConnectionConfig // nil = needs none

	Sources  []string // where its records come from in the end: sources, and [Events]
	Inputs   []string // addresses of sources and transforms, and [Events]
	After    []string // sinks it runs after: named by "after", or implied by a mention of their receipts
	Receipts []string // the sinks whose receipts it mentions
	HasAbout bool
	HasWhen  bool
	Behind   *Step // of a transform: the one step before it, whose process may apply it to its rows ahead of a call; nil = none

	Enabled    bool
	OnOwedPass bool // what runs after this sink does not wait while it owes
	IDsGlobal  bool // the author says that ids are unique over all inputs
	Isolate    bool
	Ordered    bool // records of one key go one after the other
	Once       bool // a second delivery does harm
	Resend     bool // … and is made all the same where nobody knows of the first; else the record is dead
	Retry      Retry
	Batch      Batch
	Limit      Limit

	Args     json.RawMessage // fixed arguments, secrets revealed: for the plugin alone; nil when a value is unknown under Options.Static
	Volatile bool            // Args depends on key files: call Reload every minute
	// Fingerprint changes when the step's configuration does: its arguments, their expressions and its connection. It is a hash
	// that covers secrets, so it is to be stored sealed.
	Fingerprint string

	reload func() (args json.RawMessage, fingerprint string, diags Diagnostics)
	rows   rows
}

// Retry bounds a call and its in-line retries. Zero values leave it to the engine.
type Retry struct {
	Tries   int
	Within  time.Duration
	Silence time.Duration // real time after which a call that shows no progress is lost
}

// Batch bounds what goes into one call or, where the component holds, into one object. Zero values leave it to the component and the
// engine.
type Batch struct {
	MaxRecords int
	MaxBytes   int64
	MaxWait    time.Duration
}

// Limit bounds how often and how widely a service is asked. Zero values mean no limit.
type Limit struct {
	Count       int // Count calls in each Per; written "600/1m"
	Per         time.Duration
	Concurrency int
}

// Options of Load. Plugins is required; the zero value of everything else is useful.
type Options struct {
	Plugins []sdk.Plugin // declarations of the bundled plugins
	Alone   []string     // names of those that share their process with no other plugin
	// External reads the declaration of a plugin that the file names and the lock file lists. nil: such a block is a mistake.
	External func(ExternalPlugin) (sdk.Plugin, error)

	Vars    map[string]string                // --var NAME=VALUE: stronger than WEIR_VAR_NAME, which is stronger than *.weirvars
	Getenv  func(name string) (string, bool) // nil = os.LookupEnv
	Version string                           // of this program, for required_version; "" = not checked

	// Static is for validate: what only a running machine has (environment, variables without a value, key files) may be missing,
	// and expressions that need it are checked by type alone.
	Static bool
}

// Load reads pipeline files, and folders of them, as one pipeline. The pipeline is nil when the diagnostics hold an error.
func Load(paths []string, opt Options) (*Pipeline, Diagnostics) {
	files, diags := readSources(paths)
	if diags.HasErrors() {
		return nil, diags
	}
	return load(files, opt)
}

// Reload evaluates the arguments that depend on key files again and reports whether they changed; Args and Fingerprint are then new.
// On a mistake both stay as they are. Nobody may read them meanwhile; the methods for records may run.
func (s *Step) Reload() (changed bool, diags Diagnostics) {
	if s.reload == nil {
		return false, nil
	}
	args, fingerprint, diags := s.reload()
	if diags.HasErrors() || string(args) == string(s.Args) {
		return false, diags
	}
	s.Args, s.Fingerprint = args, fingerprint
	return true, diags
}
