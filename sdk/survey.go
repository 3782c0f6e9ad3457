package sdk

import (
	"context"
	"encoding/json"
	"time"
)

// Surveyor is a sink that can say what its destination holds, by the records' seq. Its component sets Surveys. Optional: implement it
// beside [Sink]. It is what weir rebuild asks when a state is lost; it reads, and changes nothing.
type Surveyor interface {
	Survey(ctx context.Context, ask SurveyRequest) (Survey, error)
}

// SurveyRequest asks about the rows that a step has written.
//
// The engine does not know how a step maps records to rows, and the plugin does not know the expressions. So Sample holds the values
// of the per-record arguments for a made-up record: where Seq, or one of Statuses, stands in them is where rows have theirs.
type SurveyRequest struct {
	Sample   json.RawMessage
	Seq      uint64        // of the made-up record
	Statuses []string      // what its status may be; the first is the one of the made-up record
	Ago      time.Duration // rows that are older than this, by the destination's own clock, are told apart from the others
}

// Survey is what was found. A seq of 0 means that there is none.
type Survey struct {
	Rows    bool      // whether the step's rows have a seq at all; the rest is empty if not
	Where   string    // which place was asked, for people: "app 101"
	Since   time.Time // what was written before is older; where the destination shows no clock, by the earlier one of what is known
	First   uint64    // lowest seq
	Last    uint64    // highest seq
	Old     uint64    // highest seq of the rows that were written before Since
	Fresh   uint64    // lowest seq of the others
	Waiting []Waiting // by status; nil also where rows have no status
}

// Waiting counts rows of one status.
type Waiting struct {
	Status      string
	First, Last uint64 // seqs
	Fresh, Old  int    // how many of them are not, and are, older than Since
}

// Positioner is a source that can turn a seq into a position. Its component sets Positions. Optional: implement it beside [Source].
type Positioner interface {
	// PositionAfter returns the position from which Read continues with the first record whose seq is greater. It must not be ahead of
	// that; a little behind is harmless. It asks nobody.
	PositionAfter(ctx context.Context, seq uint64) ([]byte, error)
}
