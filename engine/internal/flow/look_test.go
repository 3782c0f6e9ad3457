package flow

import (
	"fmt"
	"time"
)

// owed counts live entries of a step on disk, dead ones apart.
func (w *world) owed(step string) (live, dead int) {
	for _, h := range w.disk.holdings {
		if w.cfg.Steps[h.Step].Address == step {
			for _, g := range h.Groups {
				if g.Dead {
					dead += len(g.Rows)
				} else {
					live += len(g.Rows)
				}
			}
		}
	}
	return live, dead
}

// clean fails unless nothing is owed and nothing is left anywhere.
func (w *world) clean() {
	w.t.Helper()
	if len(w.disk.holdings) > 0 || len(w.disk.parcels) > 0 {
		w.t.Errorf("owed entries never orphaned: left on disk: holdings %v, %d parcels", w.disk.holdings, len(w.disk.parcels))
	}
	w.idle()
}

// idle fails unless the machine and its shell have forgotten everything that is not owed.
func (w *world) idle() {
	w.t.Helper()
	m := w.m
	if len(m.lots) > 0 || len(m.inFlight) > 0 || len(m.shared) > 0 || len(m.calls) > 0 || len(m.blocked) > 0 || m.replays != 0 {
		w.t.Errorf("bounded memory: left in the machine: %d lots, %d identities, %d batches, %d calls, %d blocked, %d replays",
			len(m.lots), len(m.inFlight), len(m.shared), len(m.calls), len(m.blocked), m.replays)
	}
	for c, st := range m.states {
		if st.units != 0 || st.inFlight != 0 || len(st.fresh)+len(st.replays)+len(st.suspects) > 0 {
			w.t.Errorf("bounded memory: %s: %d units, %d calls left, queues %d %d %d", w.cfg.Steps[c].Address, st.units, st.inFlight,
				len(st.fresh), len(st.replays), len(st.suspects))
		}
	}
	if len(w.batches) > 0 || len(w.spool) > 0 || len(w.states) > 0 {
		w.t.Errorf("bounded memory: left in the shell: %d batches, %d files in the spool, receipts of %d lots", len(w.batches), len(w.spool), len(w.states))
	}
	used := map[uint64]bool{}
	for _, h := range w.disk.holdings {
		used[h.Parcel] = true
		if _, ok := w.disk.parcels[h.Parcel]; !ok {
			w.t.Errorf("owed entries never orphaned: %s owes rows of parcel %d, which is gone", w.cfg.Steps[h.Step].Address, h.Parcel)
		}
	}
	for p := range w.disk.parcels {
		if !used[p] {
			w.t.Errorf("owed entries never orphaned: parcel %d is left though nobody owes it", p)
		}
	}
}

func ids(rs []rec) []string {
	var out []string
	for _, r := range rs {
		out = append(out, r.id)
	}
	return out
}

func record(n int) rec { return rec{id: fmt.Sprintf("m%d", n), deadline: epoch.Add(120 * time.Hour)} }

func records(n int) []rec {
	var rs []rec
	for i := range n {
		rs = append(rs, record(i+1))
	}
	return rs
}

// archive is the graph of the main job.
func archive() []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "raw", Kind: Sink, Inputs: []int{0}, MaxRows: 100},
		2: {Address: "decrypt", Kind: Transform, Inputs: []int{0}},
		3: {Address: "parse", Kind: Transform, Inputs: []int{2}},
		4: {Address: "media", Kind: Transform, Inputs: []int{3}, MakesFiles: true},
		5: {Address: "md5", Kind: Transform, Inputs: []int{4}},
		6: {Address: "oss", Kind: Sink, Inputs: []int{5}, OnOwedPass: true, Probes: true},
		7: {Address: "log", Kind: Sink, Inputs: []int{5}, After: []int{6}, MaxRows: 100},
		8: {Address: "recalled", Kind: Sink, Inputs: []int{3}, After: []int{7}, About: true},
	}
}

// media makes the file of a record, unless it has none.
func media(r rec) rec {
	if r.file {
		r.bytes, r.outcome, r.copies = true, "", r.copies+1
	}
	return r
}

func ok(r rec) answer { return answer{Run: Run{Verdict: Done}, out: r} }

func down(code string) answer { return answer{Run: Run{Verdict: Retry, Down: true, Code: code}} }

// retry is an answer that asks for a row again after d.
func retry(d time.Duration, code string) answer {
	return answer{Run: Run{Verdict: Retry, After: d, Code: code}}
}

// object is a graph whose sinks take the record itself: what they owe stands at their own door.
func object() []Step {
	return []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "parse", Kind: Transform, Inputs: []int{0}},
		2: {Address: "s3", Kind: Sink, Inputs: []int{1}},
		3: {Address: "row", Kind: Sink, Inputs: []int{1}, After: []int{2}},
		4: {Address: "mail", Kind: Sink, Inputs: []int{1}, After: []int{3}},
	}
}
