package flow

import (
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	seeds = flag.Int("seeds", 300, "how many random worlds TestRandomWorlds lives through")
	seed  = flag.Uint64("seed", 0, "live through this random world alone, and tell it")
)

// TestRandomWorlds lets machines live through weeks of trouble: steps that retry, refuse, reject, wait for a cause, plan a second time or
// are away; plugins that die in the middle of a call; records that kill them; engines that are killed with anything under way, also
// between a commit and its acknowledgement. Then everything is healthy again, and every record must be where its fate says.
func TestRandomWorlds(t *testing.T) {
	if *seed != 0 {
		simulate(t, *seed, true, false)
		return
	}
	for n := range uint64(*seeds) {
		simulate(t, n+1, false, false)
		if t.Failed() {
			t.Fatalf("the world that failed comes again with -seed %d", n+1)
		}
	}
}

// TestAWorldComesAgain holds the machine to its purity: the same events bring the same actions.
func TestAWorldComesAgain(t *testing.T) {
	for n := range uint64(40) {
		if a, b := simulate(t, n+1, false, true), simulate(t, n+1, false, true); a != b {
			t.Fatalf("world %d took another way the second time", n+1)
		}
	}
}

// simGraphs are the graphs that worlds are built on.
func simGraphs() map[string][]Step {
	waits := archive()
	waits[6].OnOwedPass = false
	disabled := archive()
	disabled[6].Disabled, disabled[6].FilesOnly = true, true
	mates := archive()
	for _, i := range []int{1, 7, 8} {
		mates[i].Process = 1
	}
	two := slices.Insert(archive(), 7, Step{Address: "s3", Kind: Sink, Inputs: []int{5}})
	two[8].After = []int{6, 7}
	two[9].After = []int{8}
	two = append(two, Step{Address: "mail", Kind: Sink, Inputs: []int{5}, After: []int{8}})
	branch := []Step{
		0: {Address: "chat", Kind: Source},
		1: {Address: "decrypt", Kind: Transform, Inputs: []int{0}, Process: 1},
		2: {Address: "parse", Kind: Transform, Inputs: []int{1}, Process: 1},
		3: {Address: "s3", Kind: Sink, Inputs: []int{1}},
		4: {Address: "raw", Kind: Sink, Inputs: []int{2}, After: []int{3}},
		5: {Address: "recalled", Kind: Sink, Inputs: []int{2}, After: []int{4}, About: true},
	}
	return map[string][]Step{"archive": archive(), "waits": waits, "disabled": disabled, "mates": mates, "two": two, "object": object(), "branch": branch}
}

type sim struct {
	*world
	t     testing.TB
	rng   *rand.Rand
	seed  uint64
	graph *graph // for fates: the world's, with everything enabled

	healthy  bool
	trouble  float64 // how often a row gets another answer than done
	away     map[string]bool
	full     map[string]map[string]bool // by sink and record: delivered with all that it should have
	had      map[string]map[string]bool // … delivered at all
	kept     map[string]map[string]bool // bytes of it are kept
	ossSaid  map[string]State           // what the log was last told of oss
	instant  time.Time
	ops      int
	tell     bool
	disabled int // a step that is disabled until everything is healthy, -1 = none
}

// simulate lives through one world and returns, if that is wanted, a hash of all that the machine asked for.
func simulate(t testing.TB, n uint64, tell, trace bool) uint64 {
	rng := rand.New(rand.NewPCG(n, 7))
	graphs := simGraphs()
	names := []string{"archive", "waits", "disabled", "mates", "two", "object", "branch"}
	steps := graphs[names[n%uint64(len(names))]]
	for i := range steps {
		steps[i].MaxRows = []int{0, 1, 3, 10}[rng.IntN(4)]
		steps[i].MaxInFlight = 1 + rng.IntN(3)
		steps[i].MaxWait = []time.Duration{0, 0, 10 * time.Second}[rng.IntN(3)]
	}
	s := &sim{t: t, rng: rng, seed: n, away: map[string]bool{}, full: map[string]map[string]bool{}, had: map[string]map[string]bool{},
		kept: map[string]map[string]bool{}, ossSaid: map[string]State{}, tell: tell, disabled: -1, trouble: []float64{0.02, 0.1, 0.3}[rng.IntN(3)]}
	var source []rec
	short := rng.IntN(4) == 0 // so that rescue and deadline fall into the time of trouble
	for i := range 5 + rng.IntN(60) {
		r := record(i + 1)
		if short {
			r.deadline = epoch.Add(time.Duration(25+rng.IntN(20)) * time.Hour)
		}
		r.file, r.large = rng.IntN(3) == 0, rng.IntN(2) == 0
		if i > 0 && rng.IntN(6) == 0 {
			r.about = fmt.Sprintf("m%d", 1+rng.IntN(i))
		}
		source = append(source, r)
	}
	for i, st := range steps {
		if st.Disabled {
			s.disabled = i
		}
	}
	s.world = newWorld(t, steps, source)
	s.slow, s.page = true, 1+rng.IntN(20)
	s.cfg.Seed = n
	s.cfg.Limits = Limits{FreshRows: 1 + rng.IntN(60), ReplayRows: 1 + rng.IntN(40)}
	s.world.wants = wantsArchive
	s.world.do = func(_ *world, step string, r rec, c Call) answer { return s.does(step, r, c) }
	s.graph = newGraph(steps)
	if trace {
		s.trace = fnv.New64a()
	}
	s.start()
	s.chaos(short || rng.IntN(10) == 0)
	s.heal()
	s.verify()
	if trace {
		return s.trace.Sum64()
	}
	return 0
}

func (s *sim) log(format string, args ...any) {
	if s.tell {
		fmt.Fprintf(os.Stderr, "%s ", s.now.Format("02 15:04:05"))
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// fate is what becomes of a record at a step however healthy that is: "" = it is done.
func (s *sim) fate(step, id string) string {
	root, _, _ := strings.Cut(id, "/")
	switch h := hashOf(fmt.Sprint(s.seed, step, root)) % 97; {
	case h == 0:
		return "rejected"
	case h == 1:
		return "killer"
	case h == 2 && step == "parse":
		return "dropped"
	case h < 8 && step == "parse":
		return "split"
	case h < 5 && step == "decrypt":
		return "caused"
	case h < 50 && step == "md5":
		return "differs"
	}
	return ""
}

func (s *sim) does(step string, r rec, c Call) answer {
	chance := func(p float64) bool { return !s.healthy && s.rng.Float64() < p*s.trouble*3 }
	fate := s.fate(step, r.id)
	past := !s.now.Before(r.deadline)
	switch {
	case s.away[step]:
		return down("away")
	case c.Probe:
		if s.full[step][r.id] {
			return ok(r)
		}
		return retry(0, CodeNeedBytes)
	case fate == "killer":
		return answer{dies: true}
	case fate == "rejected":
		return answer{Run: Run{Verdict: Reject, Code: "bad"}}
	case fate == "caused" && !s.healthy:
		return answer{Run: Run{Verdict: Retry, Cause: "key", Code: "key"}}
	case chance(0.3):
		return retry([]time.Duration{0, time.Second, time.Hour}[s.rng.IntN(3)], "busy")
	case chance(0.03):
		return down("blip")
	case !s.m.states[c.Step].proving && chance(0.03): // two deaths alone are a verdict
		return answer{dies: true}
	}
	switch step {
	case "parse":
		switch fate {
		case "dropped":
			return answer{Run: Run{Verdict: Done}, outs: []rec{}}
		case "split":
			a, b := r, r
			a.id, b.id = r.id+"/0", r.id+"/1"
			b.file, b.about = false, ""
			return answer{Run: Run{Verdict: Done}, outs: []rec{a, b}}
		}
	case "media":
		switch {
		case !r.file:
			return ok(r)
		case past:
			if r.outcome != "differs" {
				r.outcome = "expired"
			}
			return ok(r)
		case chance(0.5) && c.Attempt > 0:
			return retry(15*time.Minute, "late")
		case chance(0.5):
			r.outcome = "waiting"
			return answer{Run: Run{Verdict: Done, Revisit: true, After: time.Minute, Due: r.deadline}, out: r}
		}
		return ok(media(r))
	case "md5":
		if fate == "differs" && r.bytes && r.copies < 2 && !past {
			r.outcome = "differs"
			return answer{Run: Run{Verdict: Done, Revisit: true, After: 10 * time.Minute, Due: r.deadline}, out: r}
		}
	case "oss":
		if !r.bytes && r.copies > 0 && !past && !s.full[step][r.id] {
			return retry(0, CodeNeedBytes)
		}
		if !r.bytes && !s.full[step][r.id] {
			return answer{Run: Run{Verdict: Passed, Code: "no_bytes"}}
		}
	case "recalled":
		if !s.had["log"][r.about] && !s.had["raw"][r.about] && s.rng.IntN(2) == 0 && !c.Final {
			return retry(time.Hour, CodeOrphan)
		}
	}
	if s.cfg.Steps[c.Step].Kind == Sink {
		s.took(step, r)
	}
	return ok(r)
}

func set2(m map[string]map[string]bool, a, b string) {
	if m[a] == nil {
		m[a] = map[string]bool{}
	}
	m[a][b] = true
}

// takesFile reports whether a sink takes the file of a record.
func takesFile(step string, r rec) bool {
	return r.file && (step == "oss" && r.large || step == "log" && !r.large)
}

func (s *sim) took(step string, r rec) {
	set2(s.had, step, r.id)
	if !takesFile(step, r) || r.bytes {
		set2(s.full, step, r.id)
	}
	if step == "log" {
		s.ossSaid[r.id] = s.states[r.lot][Ref{Batch(s.step("oss")), r.root}]
	}
}

// chaos lives through some time of trouble.
func (s *sim) chaos(hours bool) {
	for range 100 + s.rng.IntN(600) {
		if s.t.Failed() {
			return
		}
		switch n := s.rng.IntN(100); {
		case n < 70:
			s.finishOne()
		case n < 85:
			s.sleep(hours)
		case n < 90:
			step := s.cfg.Steps[1+s.rng.IntN(len(s.cfg.Steps)-1)]
			if s.away[step.Address] = !s.away[step.Address]; s.away[step.Address] {
				s.log("%s goes away", step.Address)
			}
		case n < 93:
			s.die(1 + s.rng.IntN(len(s.cfg.Steps)-1))
		case n < 95:
			s.log("engine killed with %d under way", len(s.world.ops))
			s.durable()
			s.start()
		case n < 96:
			step := 1 + s.rng.IntN(len(s.cfg.Steps)-1)
			s.event(Wanted{Step: step, Dead: s.rng.IntN(2) == 0})
		case n < 97:
			s.event(Reconfigured{1 + s.rng.IntN(len(s.cfg.Steps)-1)})
		default:
			for range 20 {
				s.finishOne()
			}
		}
		s.noteKept()
	}
}

// finishOne ends something that is under way: calls and loads in any order, arrivals and writes in theirs.
func (s *sim) finishOne() bool {
	if s.now != s.instant {
		s.instant, s.ops = s.now, 0
	}
	if s.ops++; s.ops > 20000 {
		s.t.Fatalf("the machine spins: %d operations at one instant", s.ops)
	}
	var can []int
	seen := map[opKind]bool{}
	for i, o := range s.world.ops {
		if o.kind < arriving || !seen[o.kind] {
			can = append(can, i)
		}
		seen[o.kind] = true
	}
	if len(can) == 0 {
		return false
	}
	i := can[s.rng.IntN(len(can))]
	o := s.world.ops[i]
	if o.kind != calling {
		s.log("%s ends", [...]string{"call", "load", "page", "write"}[o.kind])
		s.finish(i)
		return true
	}
	s.world.ops = slices.Delete(s.world.ops, i, i+1)
	s.work(o.call)
	return true
}

// work answers a call, in one or more messages; it may fail, or kill its process, after any of them.
func (s *sim) work(c Call) {
	list := s.rowsOf(c)
	s.log("call %d to %s: %v attempt %d final %v probe %v", c.ID, s.cfg.Steps[c.Step].Address, ids(list), c.Attempt, c.Final, c.Probe)
	for from := 0; from < len(list); {
		to := from + 1 + s.rng.IntN(len(list)-from)
		e, died := s.answerSome(c, list, from, to)
		if len(e.Runs) > 0 {
			for _, r := range e.Runs {
				s.log("  %s: %s %s%s", list[r.First].id, [...]string{"", "done", "passed", "retry", "reject"}[r.Verdict], r.Code, map[bool]string{true: " and again"}[r.Revisit])
			}
			s.event(e)
		}
		if died {
			s.die(c.Step, c)
			return
		}
		if from = to; from < len(list) && !s.healthy && s.rng.IntN(50) == 0 {
			s.event(Returned{Call: c.ID, Failure: []Failure{Refused, Canceled}[s.rng.IntN(2)], Code: "failed"})
			return
		}
	}
	s.event(Returned{Call: c.ID})
}

// die ends the process of a step: all its calls are lost, some with answers under way.
func (s *sim) die(step int, under ...Call) {
	if s.cfg.Steps[step].Disabled || len(under) == 0 && slices.ContainsFunc(s.m.mates[step], func(i int) bool { return s.m.states[i].proving }) {
		return
	}
	s.log("process of %s dies", s.cfg.Steps[step].Address)
	mates := s.m.mates[step]
	for _, i := range mates {
		s.event(Available{i, false})
	}
	s.world.ops = slices.DeleteFunc(s.world.ops, func(o op) bool {
		mine := o.kind == calling && slices.Contains(mates, o.call.Step)
		if mine {
			under = append(under, o.call)
		}
		return mine
	})
	for _, c := range under {
		s.event(Returned{Call: c.ID, Failure: Died})
	}
	up := func() []Event {
		var evs []Event
		for _, i := range mates {
			if !s.cfg.Steps[i].Disabled {
				evs = append(evs, Available{i, true})
			}
		}
		return evs
	}
	s.world.ops = append(s.world.ops, op{kind: loading, end: up})
}

// sleep lets time pass: to the next tick, or some way towards it.
func (s *sim) sleep(long bool) {
	d := []time.Duration{time.Second, 10 * time.Second, time.Minute, 20 * time.Minute}[s.rng.IntN(4)]
	if long {
		d *= 30
	}
	if next := s.m.Next(); !next.IsZero() && next.Before(s.now.Add(d)) {
		d = next.Sub(s.now)
	}
	s.now = s.now.Add(max(d, 0))
	s.event(Tick{})
}

// heal ends all trouble, and waits until nothing is under way or due.
func (s *sim) heal() {
	s.log("healthy")
	s.healthy = true
	clear(s.away)
	if s.disabled >= 0 && s.rng.IntN(2) == 0 {
		s.cfg.Steps[s.disabled].Disabled = false
		s.disabled = -1
		s.durable()
		s.start()
	}
	for i, st := range s.cfg.Steps {
		if st.Kind != Source && !st.Disabled {
			s.event(Reconfigured{i})
		}
	}
	for range 200000 {
		if s.t.Failed() {
			return
		}
		if s.finishOne() {
			s.noteKept()
			continue
		}
		next := s.m.Next()
		if next.IsZero() {
			return
		}
		s.now = next
		s.event(Tick{})
	}
	s.t.Errorf("the machine does not come to rest")
}

// noteKept remembers whose bytes are durable: they must arrive, whatever comes.
func (s *sim) noteKept() {
	for _, h := range s.disk.holdings {
		for _, g := range h.Groups {
			for _, row := range g.Rows {
				if g.Kept && !g.Dead {
					set2(s.kept, s.cfg.Steps[h.Step].Address, s.disk.parcels[h.Parcel].at[row].id)
				}
			}
		}
	}
}

// onDisk is what a step owes, dead letters apart.
func (s *sim) onDisk() (live, dead map[int]map[uint64]bool) {
	live, dead = map[int]map[uint64]bool{}, map[int]map[uint64]bool{}
	for _, h := range s.disk.holdings {
		for _, g := range h.Groups {
			m := live
			if g.Dead {
				m = dead
			}
			if m[h.Step] == nil {
				m[h.Step] = map[uint64]bool{}
			}
			for _, row := range g.Rows {
				m[h.Step][h.IDs[row]] = true
			}
		}
	}
	return live, dead
}

// stop is the transform at which the way of a record to a step ends for good, -1 = none, and the records that it is by then.
func (s *sim) stop(step int, r rec) (at int, arrive []rec) {
	arrive = []rec{r}
	for u, st := range s.cfg.Steps[:step] {
		if st.Kind != Transform || !s.graph.above[step].has(u) {
			continue
		}
		switch s.fate(st.Address, r.id) {
		case "rejected", "killer", "dropped":
			return u, arrive
		case "split":
			a, b := r, r
			a.id, b.id = r.id+"/0", r.id+"/1"
			b.file, b.about = false, ""
			arrive = []rec{a, b}
		}
	}
	return -1, arrive
}

// durable fails when the checkpoint has run ahead: every record before it has been delivered to each of its sinks, or is owed, or dead.
func (s *sim) durable() {
	live, dead := s.onDisk()
	for _, r := range s.source[:s.disk.position] {
		for c, st := range s.cfg.Steps {
			if st.Kind != Sink || st.Disabled || s.graph.steps[c].FilesOnly {
				continue
			}
			at, arrive := s.stop(c, r)
			if at >= 0 {
				continue
			}
			for _, x := range arrive {
				if !s.world.wants(st.Address, x) || s.had[st.Address][x.id] {
					continue
				}
				found := false
				for u := range s.cfg.Steps {
					if u == c || s.graph.above[c].has(u) || slices.Contains(s.graph.also[u], c) {
						for _, id := range []uint64{hashOf(r.id), hashOf(x.id)} {
							found = found || live[u][id] || dead[u][id]
						}
					}
				}
				if !found && !(st.Address == "recalled" || st.Address == "oss") { // those may have passed
					s.t.Errorf("the checkpoint has passed %s, of which %s knows nothing", x.id, st.Address)
				}
			}
		}
	}
}

// verify holds the end to the contract.
func (s *sim) verify() {
	if s.t.Failed() {
		return
	}
	if s.disk.position != len(s.source) {
		s.t.Errorf("checkpoint %d of %d", s.disk.position, len(s.source))
	}
	s.idle()
	live, dead := s.onDisk()
	for step, rows := range live {
		if !s.cfg.Steps[step].Disabled {
			s.t.Errorf("%s still owes %d", s.cfg.Steps[step].Address, len(rows))
		}
	}
	for _, r := range s.source {
		for c, st := range s.cfg.Steps {
			if st.Kind == Sink && !st.Disabled {
				s.arrived(c, r, dead)
			}
		}
	}
}

func (s *sim) arrived(c int, r rec, dead map[int]map[uint64]bool) {
	name := s.cfg.Steps[c].Address
	at, arrive := s.stop(c, r)
	if at >= 0 {
		if s.had[name][r.id] {
			s.t.Errorf("%s has %s, which %s never let pass", name, r.id, s.cfg.Steps[at].Address)
		}
		for _, x := range arrive {
			if fate := s.fate(s.cfg.Steps[at].Address, r.id); fate != "dropped" && !dead[at][hashOf(x.id)] {
				s.t.Errorf("%s is no dead letter of %s, but was %s there", x.id, s.cfg.Steps[at].Address, fate)
			}
		}
		return
	}
	for _, x := range arrive {
		if !s.world.wants(name, x) {
			if s.had[name][x.id] {
				s.t.Errorf("%s has %s, which it does not want", name, x.id)
			}
			continue
		}
		fate := s.fate(name, x.id)
		if fate == "rejected" || fate == "killer" {
			if !dead[c][hashOf(x.id)] && !(name == "oss" && s.now.After(x.deadline)) {
				s.t.Errorf("%s is no dead letter of %s, but was %s there", x.id, name, fate)
			}
			continue
		}
		if dead[c][hashOf(x.id)] {
			s.t.Errorf("%s is a dead letter of %s for no reason", x.id, name)
		}
		late := s.now.After(x.deadline) // its file may have expired
		switch {
		case !s.had[name][x.id] && !(name == "recalled" && late) && !(name == "oss" && late):
			s.t.Errorf("%s has not got %s", name, x.id)
		case !s.full[name][x.id] && (!late || s.kept[name][x.id]):
			s.t.Errorf("%s has %s without its file (kept: %v)", name, x.id, s.kept[name][x.id])
		}
		if name == "log" && takesFile("oss", x) && s.full["oss"][x.id] && x.id == r.id {
			if got := s.ossSaid[x.id]; got != StateDelivered {
				s.t.Errorf("the log was last told that oss has %s %s, but it is there", got, x.id)
			}
		}
	}
}
