package state

import "time"

// Change is one atomic commit of one pipeline. All step and source addresses in it belong to that pipeline; parcels and events are
// numbered across the whole state. What a change both drops and writes ends up written. A change may be of any size up to
// MaxChange; up to some thousand entries it is one transaction, beyond that a journal keeps it atomic at twice the cost.
type Change struct {
	Pipeline string

	Checkpoints []Checkpoint
	Parcels     []Parcel
	DropParcels []uint64
	Owing       []Owing // replaces the entry of the same step and parcel
	DropOwing   []OwingKey
	Marks       []Mark // replaces the mark of the same step and record
	Events      []Event
	TrimEvents  uint64 // events numbered up to here are deleted; 0 deletes none
	Steps       []StepState
	Audit       []Audit  // is added
	DropSteps   []string // forgets the StepState, the Checkpoint and the Marks of these addresses; what they owe stays until DropOwing
}

// Checkpoint is how far a source was read and settled.
type Checkpoint struct {
	Source   string // address
	Position []byte // the source's own bookmark
	Stats    []byte // what the engine counts beside it: holes, counters
}

// Parcel is the records of one batch as they stand at a door. ID is given by the engine, larger than any before
// (Snapshot.NextParcel); an ID is never used twice, also after a restart.
type Parcel struct {
	ID     uint64
	Rest   []byte // everything but the bodies; always sealed
	Body   []byte // the bodies of all rows
	Opaque bool   // Body is encrypted already: store it as given
}

// OwingKey names what one step owes of one parcel.
type OwingKey struct {
	Step   string // address
	Parcel uint64
}

// Owing is all that one step owes of one parcel: one value in the store, however many rows wait.
type Owing struct {
	Step   string
	Parcel uint64
	Rows   int      // rows of the parcel
	IDs    []uint64 // hashes of the rows' identities, one for each row, or none
	Keys   []uint64 // hashes of the rows' ordering keys, one for each row, or none
	Orders []uint64 // the rows' places in line, one for each row, or none
	Groups []Group
}

// Group is the rows of an Owing that wait for the same thing. Addresses in Door and AboutAt follow a Rename.
type Group struct {
	Rows     []uint32 // ascending, each once, each below Owing.Rows
	Dead     bool
	Door     string // address at which these rows stand
	Cause    string // what is waited for, "" for a time only
	About    uint64 // waited for: the record with this identity …
	AboutAt  string // … at this address
	Code     string
	Detail   string
	Due      time.Time // zero: no time. Times keep their nanosecond, not their zone
	Deadline time.Time
	Since    time.Time
	Tries    int // ≥ 0
	Kept     bool
	Revisit  bool // planned by the step itself
	Raised   bool
}

// Mark says that a record was sent to a step alone, and that nothing durable tells yet how that ended.
type Mark struct {
	Step  string
	ID    uint64 // hash of the record's identity
	Tries int    // ≥ 0; 0 deletes the mark
}

// Event is one entry of the event log. Number is given by the engine, larger than any before (Snapshot.LastEvent).
type Event struct {
	Number uint64
	Data   []byte
}

// StepState is what the state remembers of a step's configuration, so that a change of it is noticed.
type StepState struct {
	Address    string
	ConfigHash []byte
}
