// Package sdk is all that the author of a weir plugin needs: records in, outcomes out.
//
// A plugin is an executable that serves components: sources read from a service, transforms change records on their way, and
// sinks deliver them. The engine starts the executable as a subprocess and speaks gRPC with it; package sdk/serve hides that,
// so that a plugin's main is one line:
//
//	func main() { serve.Main(acme.Plugin()) }
//
// What a plugin may rely on, and what is asked of it, stands on the methods of [Source], [Transform] and [Sink]. In short:
// every row of a call is answered exactly once; a second time must be harmless, because after a crash a row may come again;
// time comes from [Env].Clock only, so that 120 hours can be lived through in two minutes; and files never travel in a
// record: they go through [Env].Spool.
//
// The package imports only the standard library.
package sdk

import (
	"context"
	"time"
)

// Plugin is what an executable offers.
type Plugin struct {
	Name        string // unique among the plugins of a pipeline, e.g. "kintone"
	Version     string // semantic version of the plugin itself
	Connections []Connection
	Components  []Component
}

// Connection declares the schema of connection "TYPE" blocks: credentials and limits of one service, shared by several steps.
type Connection struct {
	Type string
	Doc  string
	Args []Arg
}

// ComponentKind says on which side of the graph a component stands.
type ComponentKind string

// The three kinds of component.
const (
	KindSource    ComponentKind = "source"
	KindTransform ComponentKind = "transform"
	KindSink      ComponentKind = "sink"
)

// Component declares one type of source, transform or sink. Exactly one of NewSource, NewTransform and NewSink is set, as Kind says.
// The engine reads the declaration before it opens anything and checks pipelines against it.
type Component struct {
	Kind ComponentKind
	Type string // the first label of the block: sink "TYPE" "name"
	Doc  string // one sentence, then details; becomes the plugin reference

	Connection string // type of connection the step needs, "" = none
	Args       []Arg
	Receipt    []Field // sinks: what receipt.TYPE.name offers beside state, code and urls

	Accepts []string // kinds of record it understands, e.g. "chat.message/1"; empty = any
	Emits   []string // kinds of record it makes; empty for a transform = the kind that came in, for a source = what its argument "kind" says
	Fields  []Field  // what the emitted kinds carry beyond what came in: "body.NAME", "meta.NAME"; checked in every reference

	Opaque     bool          // source: bodies are unreadable without a key the engine does not have (ciphertext); state keeps them as given
	Retention  time.Duration // source: how long the service keeps what its records refer to, from the record's time; 0 = for ever
	MakesFiles bool          // transform: it puts bytes of files into the spool
	FilesOnly  bool          // sink: a record without wanted files (its argument "files") is none of its business
	Probes     bool          // sink: answers a call with Probe set: is it there already, judged by file facts alone?
	Effect     Effect        // sink: whether a second delivery of a record is harmless; zero = it is
	Holds      bool          // sink: it may answer with [Hold], and is a [Flusher]

	Lease     []Arg // sink: it is a [Leaser], and these are the arguments of a block lease "TYPE"
	Surveys   bool  // sink: it is a [Surveyor]
	Positions bool  // source: it is a [Positioner]

	MaxRecords  int   // rows per call; 0 = 500
	MaxBytes    int64 // body bytes per call; 0 = 512 KiB. A single larger record still comes, alone
	MaxInFlight int   // calls at the same time; 0 = 2

	NewSource    func() Source
	NewTransform func() Transform
	NewSink      func() Sink
}

// Effect says what a second delivery of a record does.
type Effect string

// Effects.
const (
	// Idempotent: nothing more than the first did. The sink writes by identity.
	Idempotent Effect = ""
	// Once: harm. A mail or a chat message cannot be taken back. The engine writes down that it is about to deliver before it calls the
	// sink, with one record in each call, and calls again only when it knows how the last call ended. Where it cannot know (the process
	// or the engine died meanwhile) the pipeline's on_unknown decides between a second delivery and a dead letter. So answer as soon as
	// the destination has accepted the record, and with [Retry] or [Down] only when it certainly has not. Where the vendor leaves it open,
	// with a time-out above all, answer with [Unknown].
	Once Effect = "once"
)

// Source reads records from a service.
//
// The engine calls Open once, then Read once at a time, each time from the last position it received, then Close. Open must not
// fail because the service is away: that is for Read.
type Source interface {
	Open(ctx context.Context, env *Env) error

	// Read sends pages to out, oldest first, from position (nil = from the start) until ctx ends, which is no error, or until the
	// source has no more for ever, which is a nil return. It paces itself by the clock of env. An error makes the engine wait and
	// call Read again; wrap it with [Down] and friends when the kind of trouble is known. Read must not go past what it could not read.
	Read(ctx context.Context, position []byte, out Emitter) error

	Close(ctx context.Context) error
}

// Emitter takes pages from a source.
type Emitter interface {
	// Emit hands over a page. It blocks while the engine has no room, and returns an error only when ctx ends or the engine is gone.
	// The page's memory belongs to the engine afterwards.
	Emit(ctx context.Context, p Page) error
}

// Page is a batch of records with the position behind it.
type Page struct {
	Records  []Record
	Position []byte // opaque; Read continues here
	Drained  bool   // nothing more at this moment; may come without records. Ends `weir run --once`, feeds freshness
	Events   []Event
}

// Transform changes, drops, splits or completes records. It may be open in two processes at once, its own and that of the step before it in the
// pipeline, which applies it to the rows it makes: what one of them remembers, the other does not know.
type Transform interface {
	Open(ctx context.Context, env *Env) error

	// Apply answers every row of call exactly once through [Call.Answer], in any order and from any goroutine, at the latest before
	// it returns. What is left unanswered when it returns a non-nil error gets that error as its outcome; unanswered rows with a nil
	// return are a bug of the plugin and refused loudly. Apply may run several times at once.
	//
	// A record on which Apply panics, or which ends the process, is found by asking for fewer and fewer, and becomes a dead letter. So
	// does one on which Apply hangs: a call must show life every five minutes of real time (or what the step's retry { silence } says),
	// else its process is ended. Life is an answer, a read from or write to the spool, a sleep by [Clock].Sleep with the call's ctx,
	// the return of such a sleep, and [Alive].
	Apply(ctx context.Context, call *Call) error

	Close(ctx context.Context) error
}

// Sink delivers records. Its rows may come a second time after a crash or a lost answer: it must write by identity, unless it declares
// the effect [Once]. One that packs many records into one object is a [Flusher] too.
type Sink interface {
	Open(ctx context.Context, env *Env) error

	// Write answers every row as [Transform].Apply does, and must show life as it does. Delivered means durable at the destination.
	Write(ctx context.Context, call *Call) error

	// Close delivers what is buffered and frees connections; it is called before the process is ended. What was answered with [Hold] is
	// not delivered but thrown away.
	Close(ctx context.Context) error
}

// Flusher is a [Sink] that packs records of many calls into one object. It declares Holds, answers rows with [Hold] while the object
// grows, and is told when to finish it.
//
// The engine calls Flush when as many records, bytes or time have gathered as the step's batch {} says. It never calls it together with
// Write, nor twice at once, and it asks for everything that is held: after a Flush the sink holds nothing. A row that gets [Retry] or [Down] in answer to it comes again through Write, with its body; Flush must not answer with [Hold].
//
// Until a row is answered with [Done] nobody has promised it: when the process or the engine dies, when Flush does not return, when the
// step is opened anew, every row that was held comes again through Write, perhaps in other company. What was held by then must not show at
// the destination, half or whole: write under a name that nobody reads, and give it its own name as the last act of Flush. Only between
// that act and the answer can records come a second time that show already; so choose the name by the records in it (their ids, sorted and
// hashed), that the same company makes the same object. Close throws away what is held and never finishes it: the rows come again with the next start.
type Flusher interface {
	// Flush answers every row of f exactly once, as Write does for its rows. The ids tell which they are, in the order in which the
	// engine knows that they were taken: where several calls run at once it may differ from the sink's own, so go by id. What is left
	// unanswered when it returns a non-nil error gets that error as its outcome.
	Flush(ctx context.Context, f *Flush) error
}

// Event is something an operator should know. Code is a constant such as "RATE_LIMITED"; nothing in an event repeats content.
type Event struct {
	Code     string
	Severity Severity
	Cause    string // what it waits for, e.g. "key version 9"
	Attrs    map[string]string
}

// Severity of an event.
type Severity string

// Severities, from for-the-record to wake-somebody.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)
