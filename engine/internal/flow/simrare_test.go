package flow

import (
	"fmt"
	"io"
)

// rare counts what happened in worlds. A run of many worlds in which something of it never happened proves less than it seems to.
type rare [rares]int

const (
	nWorlds = iota
	nRecords
	nPages
	nCalls
	nCallsOfLots
	nCallsOfSources
	nCommits
	nCheckpoints
	nReplays
	nRetried
	nKills
	nKillsBeforeWrite
	nKillsUnacknowledged
	nTornDropped
	nTornApplied
	nDiskErrors
	nLoadErrors
	nDeaths
	nDeathsOfMany
	nDeathsAlone
	nPoison
	nUnsent
	nBroken
	nSlowCalls
	nJumpsForward
	nJumpsBack
	nOpened
	nClosedAgain
	nVainProbes
	nRowsExhausted
	nBytesExhausted
	nReplaysExhausted
	nEmptyPages
	nDuplicates
	nOverlaps
	nBlockedLots
	nSplitRows
	nAliases
	nRevisits
	nSuperseded
	nOvertaken
	nRescues
	nKeptRows
	nProbes
	nFinals
	nDisabledOwed
	nAboutOwed
	nOrphans
	nNeedBytes
	nDeadLetters
	nRecoveries
	nReconfigured
	nOperated
	nOperatorDrops
	nParcelsDropped
	nOrderWaits
	nHeld
	nFlushes
	nDeathsHolding
	nMarks
	nUnknown
	nLostAnswers
	nOutcomeUnknown
	rares
)

var rareNames = [rares]string{
	nWorlds: "worlds", nRecords: "records read", nPages: "pages", nCalls: "calls", nCallsOfLots: "… with rows of several lots",
	nCallsOfSources: "… with rows of several sources", nCommits: "commits", nCheckpoints: "checkpoints", nReplays: "replays",
	nRetried: "rows retried in line", nKills: "engine killed", nKillsBeforeWrite: "… with writes under way, none durable",
	nKillsUnacknowledged: "… with a durable write that the machine does not know", nTornDropped: "… a torn write is dropped",
	nTornApplied: "… a torn write is applied", nDiskErrors: "disk errors", nLoadErrors: "load errors", nDeaths: "plugin deaths",
	nDeathsOfMany: "… with several calls under way", nDeathsAlone: "… alone with suspects", nPoison: "poison verdicts",
	nUnsent: "calls never sent", nBroken: "calls broken off", nSlowCalls: "calls held up by a slow consumer",
	nJumpsForward: "clock jumps forward", nJumpsBack: "clock jumps backward", nOpened: "breakers opened", nClosedAgain: "breakers closed",
	nVainProbes: "probes of a breaker in vain", nRowsExhausted: "credit for rows exhausted", nBytesExhausted: "credit for bytes exhausted",
	nReplaysExhausted: "credit for replays exhausted", nEmptyPages: "empty pages", nDuplicates: "records sent again",
	nOverlaps: "sources read again from before their checkpoint", nBlockedLots: "pages blocked by another pass", nSplitRows: "rows split",
	nAliases: "rows past a transform", nRevisits: "second times planned", nSuperseded: "entries superseded by a later pass",
	nOvertaken: "… while they were replayed", nRescues: "rescues", nKeptRows: "rows whose bytes are kept", nProbes: "files asked for by probe",
	nFinals: "final calls", nDisabledOwed: "entries of disabled steps", nAboutOwed: "entries that wait for another record",
	nOrphans: "orphans", nNeedBytes: "rows without the bytes that they need", nDeadLetters: "dead letters", nRecoveries: "recoveries told",
	nReconfigured: "configurations changed with lots under way", nOperated: "words of operators", nOperatorDrops: "… to drop",
	nParcelsDropped: "parcels dropped", nOrderWaits: "entries that wait for an earlier record of their key", nHeld: "rows held",
	nFlushes: "flushes", nDeathsHolding: "deaths with rows held", nMarks: "marks", nUnknown: "… answers that say so",
	nLostAnswers: "answers lost of what happens once", nOutcomeUnknown: "dead letters of unknown outcome",
}

func (r *rare) add(o *rare) {
	for i, n := range o {
		r[i] += n
	}
}

func (r *rare) print(w io.Writer) {
	for i, n := range r {
		fmt.Fprintf(w, "%12d  %s\n", n, rareNames[i])
	}
}
