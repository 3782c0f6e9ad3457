package engine

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/host"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
	"github.com/weir-etl/weir/sdk"
)

// Options of a run. Pipeline, Dir and Key are required.
type Options struct {
	Pipeline *lang.Pipeline
	Dir      string // data directory: state, spool, kept files, socket
	Key      []byte // seals the state

	Clock *sdk.Clock // nil = the real one
	Until time.Time  // the clock's end: with Once, what falls due before it is worked; zero = only what is due now
	// Takeover takes the lease of the pipeline from another engine that holds it; see lease.
	Takeover bool
	Once     bool // end when the sources are drained and nothing is under way

	Log       hclog.Logger      // nil = silent
	Progress  func(Status)      // called about twice a second of real time, from the loop: must be quick
	Failpoint func(name string) // crash tests: called when a window is entered; nil in production

	volume  func(dir string) volume // tests of a full disk; nil = the system is asked
	silence time.Duration           // tests of frozen processes: see protocol.Options; 0 = as ever
}

// Summary is how a run ended.
type Summary struct {
	Status
	Open bool // dead letters or holes are left
}

// Run runs a pipeline until ctx ends or, with Once, until there is nothing left to do. Errors are configuration errors (a state that
// another engine uses, a lease that another engine holds, entries of steps that the file no longer has) or the end of the state; a destination that is away is not an
// error. With Once and no end of the clock, a source that cannot be read and a step that cannot be opened are, after three times: there
// is nothing that such a run could wait for.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	if o.Clock == nil {
		o.Clock = &sdk.Clock{}
	}
	if o.Failpoint == nil {
		o.Failpoint = func(string) {}
	}
	if o.volume == nil {
		o.volume = volumeOf
	}
	db, err := openState(o)
	if err != nil {
		return Summary{}, err
	}
	defer db.Close()
	sockets, err := host.Folder(o.Dir)
	if err != nil {
		return Summary{}, err
	}
	defer os.RemoveAll(sockets)
	lease, giveBack, err := takeLease(ctx, o, sockets)
	if err != nil {
		return Summary{}, err
	}
	defer giveBack()
	e, err := newEngine(o, db)
	if err != nil {
		return Summary{}, err
	}
	e.lease, e.sockets = lease, sockets
	return e.run(ctx)
}

// openState opens the state of a data directory.
func openState(o Options) (*state.DB, error) {
	return state.Open(filepath.Join(o.Dir, "state"), state.Options{Key: o.Key, Log: o.Log.Named("state").Trace, Failpoint: o.Failpoint})
}

// Engine runs one pipeline. Everything in it belongs to the goroutine of run, except where a field says otherwise.
type Engine struct {
	Options
	db      *state.DB
	idKey   []byte // hashes of identities are keyed, so that they tell nothing
	steps   []*step
	byName  map[string]int // address -> step
	ordered bool           // some step takes the records of a key one after the other
	machine *flow.Machine

	events  chan func()   // work for the loop, from any goroutine
	soon    []func()      // work that the loop has found for itself
	commits *commits      // to the writer, in order
	loads   chan struct{} // taken while a parcel is read: many replays of few rows each would else hold their whole parcels at once
	failed  chan error    // what ends the run

	batches   map[flow.Batch]*held
	lastBatch flow.Batch
	lots      map[uint64]*lotFacts
	spool     *spool
	disk      *disk
	news      *news
	procs     map[string]*process
	sockets   string // private folder of the processes
	lease     *lease // nil = the pipeline has none
	changed   []int  // steps that are configured otherwise than in the last run
	started   time.Time

	ending  bool                      // nothing new is begun
	sending map[sendingKey]*announced // what is being sent once, until it is durable how that ended

	ctx        context.Context // of the run: calls end with it
	begin      context.Context // calls that have not been sent yet end with it
	background sync.WaitGroup  // everything that the run has started
}

// step is a configured step and what runs it.
type step struct {
	*lang.Step // nil for weir.events
	address    string
	index      int
	upstream   int           // its source, for deadlines; -1 = several or none
	retention  time.Duration // of that source
	awaits     []int         // sinks whose receipts it mentions, and itself
	mentioned  bool          // some step mentions its receipts
	onlySome   bool          // when, or files only: rows have to be asked about
	evenArgs   bool          // its arguments are the same for every record without files
	proc       *process
	pace       *pace // the step's own limit; that of its connection is the process's
	source     *source
	follower   *step     // the transform that may answer ahead for what comes out of this step; nil = none
	trouble    string    // what the last outage of its service looked like, for people
	downSince  time.Time // an outage that an earlier run has told of, and since which its service has not answered; else zero
	failures   int       // in a row: reads of a source, or openings
}

// newEngine loads the state and builds the machine on it.
func newEngine(o Options, db *state.DB) (*Engine, error) {
	e := &Engine{
		Options: o, db: db, idKey: identityKey(o.Key), byName: map[string]int{},
		events:  make(chan func(), 64), // producers wait for room; the loop never sends to itself
		commits: newCommits(), loads: make(chan struct{}, loadsAtOnce), failed: make(chan error, 1),
		batches: map[flow.Batch]*held{}, lots: map[uint64]*lotFacts{}, procs: map[string]*process{}, sending: map[sendingKey]*announced{}, started: o.Clock.Now(),
	}
	for _, m := range o.Pipeline.Moved {
		if err := db.Rename(o.Pipeline.Name, m.From, m.To); err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, fmt.Errorf("moved %s to %s: %w", m.From, m.To, err)
		}
	}
	snapshot, err := db.Load(o.Pipeline.Name)
	if err != nil {
		return nil, err
	}
	if err := e.neighbours(snapshot); err != nil {
		return nil, err
	}
	cfg := e.graph()
	if stranded := e.stranded(snapshot); len(stranded) > 0 {
		return nil, &StrandedError{Pipeline: o.Pipeline.Name, Addresses: stranded}
	}
	e.machine = flow.New(cfg, e, e.holdings(snapshot), e.marks(snapshot), snapshot.NextParcel-1, o.Clock.Now())
	e.news = newNews(e, snapshot)
	e.disk = &disk{e: e, withheld: map[int]credit{}}
	if e.spool, err = openSpool(o.Dir, o.Pipeline.Name, snapshot); err != nil {
		return nil, err
	}
	for _, s := range e.steps {
		if s.Step != nil && s.Kind == sdk.KindSource {
			if s.source, err = newSource(e, s, snapshot); err != nil {
				return nil, err
			}
		}
	}
	return e, e.changedSteps(snapshot)
}

// StrandedError says that the state knows steps which the pipeline file no longer has.
type StrandedError struct {
	Pipeline  string
	Addresses []string
}

func (e *StrandedError) Error() string {
	return fmt.Sprintf("the state of pipeline %q holds entries of steps that the file no longer has: %v. "+
		"Say what becomes of them: moved { from = OLD  to = NEW }, removed { from = OLD }, or weir owed drop", e.Pipeline, e.Addresses)
}

// stranded lists addresses with owed entries or a checkpoint that no step has, unless the file says that they may go.
func (e *Engine) stranded(s state.Snapshot) []string {
	seen := map[string]bool{}
	for _, r := range e.Pipeline.Removed {
		seen[r] = true
	}
	var list []string
	look := func(address string) {
		if _, ok := e.byName[address]; !ok && !seen[address] {
			seen[address] = true
			list = append(list, address)
		}
	}
	for _, o := range s.Owing {
		look(o.Step)
	}
	for _, c := range s.Checkpoints {
		look(c.Source)
	}
	return list
}

// neighbours tells, at the first run of a pipeline, of others that the state holds: a new name in the file looks the same, and leaves
// behind what was owed under the old one.
func (e *Engine) neighbours(s state.Snapshot) error {
	if len(s.Checkpoints)+len(s.Owing)+len(s.Steps) > 0 {
		return nil
	}
	for _, name := range e.db.Pipelines() {
		if name == e.Pipeline.Name {
			continue
		}
		other, err := e.db.Load(name)
		if err != nil {
			return err
		}
		n := 0
		for _, o := range other.Owing {
			for _, g := range o.Groups {
				n += len(g.Rows)
			}
		}
		if len(other.Checkpoints)+n > 0 {
			e.Log.Warn("this pipeline begins anew beside another one in the same state, which is left as it is: if it was only renamed, stop and give the old name back",
				"pipeline", e.Pipeline.Name, "other", name, "owed_or_dead", n)
		}
	}
	return nil
}

// graph translates the pipeline for the machine. Step 0 is weir.events where something listens to it.
func (e *Engine) graph() flow.Config {
	var cfg flow.Config
	cfg.Limits.Rescue = e.Pipeline.Rescue
	if e.Once {
		cfg.Limits.Until, cfg.Limits.Brief = e.Until, true
	}
	cfg.Seed = uint64(time.Now().UnixNano())
	processes := map[string]int{}
	listens := false
	for _, s := range e.Pipeline.Steps {
		for _, in := range s.Inputs {
			listens = listens || in == lang.Events
		}
	}
	if listens {
		e.steps = append(e.steps, &step{address: lang.Events, upstream: -1})
		e.byName[lang.Events] = 0
		cfg.Steps = append(cfg.Steps, flow.Step{Address: lang.Events, Kind: flow.Source})
	}
	for _, s := range e.order() {
		i := len(e.steps)
		c := s.Component
		r := &step{Step: s, address: s.Address, index: i, upstream: -1}
		f := flow.Step{
			Address: s.Address, About: s.HasAbout, OnOwedPass: s.OnOwedPass, Disabled: !s.Enabled, MakesFiles: c.MakesFiles,
			FilesOnly: c.FilesOnly, Probes: c.Probes,
			MaxRows: c.MaxRecords, MaxBytes: c.MaxBytes, MaxInFlight: c.MaxInFlight,
			MaxWait: s.Batch.MaxWait, Tries: s.Retry.Tries, Within: s.Retry.Within,
			Ordered: s.Ordered, Once: s.Once, Resend: s.Resend,
		}
		e.ordered = e.ordered || s.Ordered
		name := processName(s)
		if processes[name] == 0 {
			processes[name] = len(processes) + 1
		}
		f.Process = processes[name]
		switch s.Kind {
		case sdk.KindSource:
			f.Kind = flow.Source
			r.upstream, r.retention = i, c.Retention
		case sdk.KindTransform:
			f.Kind = flow.Transform
		case sdk.KindSink:
			f.Kind = flow.Sink
		}
		if n := s.Batch.MaxRecords; n > 0 && (c.MaxRecords == 0 || n < c.MaxRecords) {
			f.MaxRows = n
		}
		if n := s.Batch.MaxBytes; n > 0 {
			f.MaxBytes = n
		}
		if c.Holds { // the block is about objects; calls are as large as ever, unless that is too much
			f.Holds, f.HoldRows, f.HoldBytes, f.HoldFor = true, s.Batch.MaxRecords, s.Batch.MaxBytes, s.Batch.MaxWait
			f.MaxRows, f.MaxBytes, f.MaxWait = c.MaxRecords, c.MaxBytes, 0
			if n := f.HoldRows; n > 0 && n < cmp.Or(f.MaxRows, 500) {
				f.MaxRows = n
			}
			if n := f.HoldBytes; n > 0 && n < cmp.Or(f.MaxBytes, 512<<10) {
				f.MaxBytes = n
			}
		}
		for _, n := range []int{s.Limit.Concurrency, connectionLimit(s)} {
			if n > 0 && (f.MaxInFlight == 0 || n < f.MaxInFlight) {
				f.MaxInFlight = n
			}
		}
		for _, in := range s.Inputs {
			j := e.byName[in]
			f.Inputs = append(f.Inputs, j)
			if up := e.steps[j]; up.upstream >= 0 {
				r.upstream = up.upstream
				r.retention = max(r.retention, up.retention)
			}
		}
		for _, a := range s.After {
			f.After = append(f.After, e.byName[a])
		}
		for _, a := range s.Receipts {
			r.awaits = append(r.awaits, e.byName[a])
			e.steps[e.byName[a]].mentioned = true
		}
		if len(r.awaits) > 0 { // what it has delivered itself tells which of the files are stored
			r.awaits, r.mentioned = append(r.awaits, i), true
		}
		r.onlySome, r.evenArgs = s.HasWhen || c.FilesOnly, len(s.PerRecord()) == 0
		if s.Behind != nil {
			e.steps[e.byName[s.Behind.Address]].follower = r
		}
		e.byName[s.Address] = i
		e.steps = append(e.steps, r)
		cfg.Steps = append(cfg.Steps, f)
	}
	return cfg
}

func connectionLimit(s *lang.Step) int {
	if s.Connection == nil {
		return 0
	}
	return s.Connection.Limit.Concurrency
}

// order puts every step behind what it takes from and what it is after.
func (e *Engine) order() []*lang.Step {
	var out []*lang.Step
	done := map[string]bool{lang.Events: true}
	for len(out) < len(e.Pipeline.Steps) {
		n := len(out)
	next:
		for _, s := range e.Pipeline.Steps {
			if done[s.Address] {
				continue
			}
			for _, before := range [][]string{s.Inputs, s.After} {
				for _, a := range before {
					if !done[a] {
						continue next
					}
				}
			}
			done[s.Address] = true
			out = append(out, s)
		}
		if len(out) == n {
			panic("engine: the pipeline has a cycle that the language let pass")
		}
	}
	return out
}

// identity is the hash of (source, id).
func (e *Engine) identity(source int, id string) uint64 {
	if source < 0 {
		return identity(e.idKey, "", id)
	}
	return identity(e.idKey, e.steps[source].address, id)
}

// key is the hash of (source, ordering key): equal keys of two sources are two conversations.
func (e *Engine) key(source int, key string) uint64 {
	if source < 0 {
		return identity(e.idKey, "\x00key", key)
	}
	return identity(e.idKey, e.steps[source].address+"\x00key", key)
}

// identity is the hash of an id of the source with this address; "" = of several.
func identity(key []byte, source, id string) uint64 {
	h := sha256.New()
	h.Write(key)
	h.Write([]byte(source))
	h.Write([]byte{0})
	h.Write([]byte(id))
	var sum [32]byte
	return binary.BigEndian.Uint64(h.Sum(sum[:0])) | 1 // 0 means none
}

func identityKey(stateKey []byte) []byte {
	key := sha256.Sum256(append([]byte("weir identity "), stateKey...))
	return key[:]
}

// post hands work to the loop. When the run ends, what nobody has worked yet is dropped: it is not acknowledged, and comes again with the
// next run.
func (e *Engine) post(f func()) {
	select {
	case e.events <- f:
	case <-e.ctx.Done():
	}
}

// fail ends the run.
func (e *Engine) fail(err error) {
	select {
	case e.failed <- err:
	default: // it is ending
	}
}
