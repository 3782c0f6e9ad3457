package flow

import "time"

// Batch names rows that the shell holds. The shell numbers the batches that it brings; the machine numbers those it asks for with
// [Alias], from the top bit up.
type Batch uint64

// Ref is one row of a batch.
type Ref struct {
	Batch Batch
	Row   int32
}

// Row is what the machine has to know of a record.
type Row struct {
	ID       uint64    // hash of its identity; equal identities have equal hashes
	Key      uint64    // hash of its ordering key; 0 = none
	Size     int32     // bytes of its body
	Deadline time.Time // after it what the record refers to is gone at the source; zero = never
}

// Content answers questions about rows, of which the machine knows no content. The answers must depend on nothing but the row and on
// the receipts that the machine has announced before.
type Content interface {
	// Wants reports whether the step is for this row: its when and, for a sink of files only, whether there are any. A code means that the
	// question could not be answered: the row becomes a dead letter of the step.
	Wants(step int, r Ref) (wanted bool, code string)
	// NeedsBytes reports whether the step wants files of the row whose bytes were made by a step before it.
	NeedsBytes(step int, r Ref) bool
	// About is the hash of the identity that the row is about; 0 = none.
	About(step int, r Ref) uint64
	// Announce tells of an Alias or a Receipt. It is done at once, because questions that depend on it may follow before the step of the
	// machine has ended.
	Announce(a Action)
}

// Event is something that happened.
type Event interface{ event() }

// Arrived brings a fresh page of a source.
type Arrived struct {
	Source  int
	Batch   Batch
	Rows    []Row // may be empty: a position alone
	Drained bool
	Lot     func(lot uint64) // told the number of its lot; may be nil
}

// Ended says that a source has no more for ever.
type Ended struct{ Source int }

// Answered brings outcomes of a call.
type Answered struct {
	Call   uint64
	Runs   []Run
	Out    Batch   // outputs of a transform; 0 = none
	Rows   []Row   // of Out
	Parent []int32 // for each row of Out its row in the call
}

// Verdict of a row.
type Verdict uint8

// Verdicts.
const (
	Done Verdict = iota + 1
	Passed
	Retry
	Reject
	Held // sink: taken, and answered for good by the next flush
)

// Run is the outcome of Count rows of a call from First on.
type Run struct {
	First, Count int32
	Verdict      Verdict
	Down         bool // retry: the service is down
	Revisit      bool // done: ask again after After, until Due
	After        time.Duration
	Due          time.Time
	Cause, Code  string
	Alarm        bool // the rows wait for a person
	Unknown      bool // retry: it is not known whether it was done; matters where that is to happen once
	Detail       string

	about   uint64 // with CauseAbout
	aboutAt int
}

// Failure says how a call ended without all its answers.
type Failure uint8

// Failures.
const (
	Fine     Failure = iota
	Died             // the process is gone: maybe killed by one of the rows
	Refused          // it broke the protocol or fell silent
	Canceled         // the engine stopped it
	Unsent           // it never reached the process
)

// Returned ends a call.
type Returned struct {
	Call    uint64
	Failure Failure
	Code    string
}

// Available says that the process of a step can be called, or cannot for now.
type Available struct {
	Step int
	Up   bool
}

// Reconfigured makes due what a step owes, but for what it planned itself.
type Reconfigured struct{ Step int }

// Committed says that the commit of a lot is durable.
type Committed struct{ Lot uint64 }

// Loaded brings the rows of a [Load]: At at the door, Last as they stood at the owed step (0 = as at the door), and what the receipts
// in the parcel say of the sinks that others wait for. An Err leaves the entries as they are.
type Loaded struct {
	Lot      uint64
	At, Last Batch
	Rows     []Row
	LastRows []Row           // of Last: their keys count
	Receipts map[int][]State // by sink, per row
	Err      bool
}

// Wanted is an operator's word about owed entries or dead letters of a step: make them due, or forget them.
type Wanted struct {
	Step int
	Dead bool
	Drop bool
	ID   uint64 // one record; 0 = all of the step
}

// Tick lets time pass.
type Tick struct{}

func (Arrived) event()      {}
func (Ended) event()        {}
func (Answered) event()     {}
func (Returned) event()     {}
func (Available) event()    {}
func (Reconfigured) event() {}
func (Committed) event()    {}
func (Loaded) event()       {}
func (Wanted) event()       {}
func (Tick) event()         {}

// State is what a sink says of a record, as far as other steps wait for it.
type State uint8

// States, in the order in which the worst of several wins.
const (
	None State = iota
	StatePassed
	StateDelivered
	StateDisabled
	StateRejected
	StateKept // owed, and the engine holds the bytes
	StateOwed
)

func (s State) String() string {
	return [...]string{"none", "passed", "delivered", "disabled", "rejected", "kept", "owed"}[s]
}

// Action is something that the shell has to do, in the order given.
type Action interface{ action() }

// Call sends rows to a step.
type Call struct {
	ID      uint64
	Step    int
	Parts   []Part
	Rows    int
	Final   bool // every row of it is past its deadline
	Probe   bool
	Flush   bool // the rows are all that the step holds, in the order in which it took them: it has them, and answers for them now
	Attempt int
	For     int // the owed step for whose sake alone the rows pass this one; -1 = for every step behind it
}

// Part is some rows of a batch; nil Rows = all of them.
type Part struct {
	Batch Batch
	Rows  []int32
}

// Alias makes New out of rows of Of: they went past a transform unchanged. It is announced to Content.
type Alias struct {
	New, Of Batch
	Rows    []int32 // nil = all
}

// Receipt says what a sink says of a row of a lot's first batch. It is announced to Content.
type Receipt struct {
	Lot   uint64
	Root  int32
	Sink  int
	State State
}

// Load asks for rows of a parcel.
type Load struct {
	Lot    uint64
	Door   int
	Parcel uint64
	Rows   []uint32
}

// Grant gives a source credit for more.
type Grant struct {
	Source int
	Rows   int
	Bytes  int64
}

// Release says that no step works on this row of a lot's first batch any more: its files in the spool can go. Those of a row that is to be
// kept go with Forget.
type Release struct {
	Lot  uint64
	Root int32
}

// Forget frees the batches of a lot.
type Forget struct {
	Lot     uint64
	Batches []Batch
}

// Breaker tells that the breaker of a step has opened (an outage begins) or closed again.
type Breaker struct {
	Step  int
	Open  bool
	Code  string
	Alarm bool
}

// Commit writes what became of a lot, in one transaction. [Committed] answers it.
type Commit struct {
	Lot     uint64
	Source  int // checkpoint of this source moves to the end of Batch; -1 = a replay
	Batch   Batch
	Parcels []Parcel
	Drop    []uint64  // parcels that nothing refers to any more
	Owing   []Holding // whole new values; one without groups is deleted
	Marks   []Mark    // new values; one without tries is deleted
	Facts   []Fact
}

// Parcel is rows to be stored for later.
type Parcel struct {
	ID    uint64
	Lot   uint64
	Door  int
	Rows  []Ref   // at the door
	Roots []int32 // their rows in the lot's first batch, for the receipts
	Last  []Ref   // as they stood at the owed step, for probes; nil = the same
	Facts []Ref   // rows from which the facts about files are taken; nil = Rows
	Keep  bool    // their bytes are kept
}

// Holding is all that one step owes of one parcel.
type Holding struct {
	Step   int
	Parcel uint64
	IDs    []uint64 // of the parcel's rows
	Keys   []uint64 // of the parcel's rows, where an ordered step has to know; else nil
	Orders []uint64 // their places in line, with Keys
	Groups []Group
}

// Mark says that a record was sent to a step alone and that nothing durable tells how that ended: an intent of a step whose effect is
// once, or a strike against a record that may kill its plugin.
type Mark struct {
	Step  int
	ID    uint64
	Tries int
}

// Group is rows of a parcel that wait for the same thing.
type Group struct {
	Rows     []uint32
	Dead     bool
	Door     int
	Cause    string // "" = time
	Code     string
	About    uint64 // Cause is this record at step AboutAt
	AboutAt  int
	Due      time.Time // zero = only the cause
	Deadline time.Time
	Since    time.Time
	Tries    int
	Kept     bool
	Revisit  bool // planned by the step itself
	Raised   bool // an event told of it
	Detail   string
}

// Fact is something that happened to a row, for events and counters.
type Fact struct {
	Step      int
	Ref       Ref // a row of this lot
	Code      string
	Cause     string
	Dead      bool
	Recovered bool // the entry that was raised has left its step as done
	Alarm     bool
}

func (Call) action()    {}
func (Alias) action()   {}
func (Receipt) action() {}
func (Load) action()    {}
func (Grant) action()   {}
func (Release) action() {}
func (Forget) action()  {}
func (Breaker) action() {}
func (Commit) action()  {}

// Causes that the machine itself gives.
const (
	CauseDown     = "service down"
	CauseDisabled = "step disabled"
	CauseAbout    = "record delivered"
	CauseOnce     = "to be sent once" // … alone, now that it is durable
)

// ours reports whether a cause is one that the machine gives and that nobody has to be told of.
func ours(cause string) bool {
	switch cause {
	case CauseDown, CauseDisabled, CauseAbout, CauseOnce, CauseOrder:
		return true
	}
	return false
}
