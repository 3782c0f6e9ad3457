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

	MaxRecords  int   // rows per call; 0 = 500
	MaxBytes    int64 // body bytes per call; 0 = 512 KiB. A single larger record still comes, alone
	MaxInFlight int   // calls at the same time; 0 = 2

	NewSource    func() Source
	NewTransform func() Transform
	NewSink      func() Sink
}

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

// Transform changes, drops, splits or completes records.
type Transform interface {
	Open(ctx context.Context, env *Env) error

	// Apply answers every row of call exactly once through [Call.Answer], in any order and from any goroutine, at the latest before
	// it returns. What is left unanswered when it returns a non-nil error gets that error as its outcome; unanswered rows with a nil
	// return are a bug of the plugin and refused loudly. Apply may run several times at once.
	Apply(ctx context.Context, call *Call) error

	Close(ctx context.Context) error
}

// Sink delivers records. Its rows may come a second time after a crash or a lost answer: it must write by identity.
type Sink interface {
	Open(ctx context.Context, env *Env) error

	// Write answers every row as [Transform].Apply does. Delivered means durable at the destination.
	Write(ctx context.Context, call *Call) error

	// Close delivers what is buffered and frees connections; it is called before the process is ended.
	Close(ctx context.Context) error
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
