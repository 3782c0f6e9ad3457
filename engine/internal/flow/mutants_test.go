package flow

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

var (
	mutate     = flag.Bool("mutants", false, "break the machine in each way of the list, and see that the simulation alone notices")
	mutateSeed = flag.Int("mutant-seeds", 3000, "… within so many worlds")
	mutateOnly = flag.String("mutant", "", "… only those whose names match")
)

// mutant is a way to break the machine: in a file old, which must be there once, becomes new.
type mutant struct {
	name     string
	file     string
	old, new string
}

// mutants are faults that a machine like this one could have had, and that others did have.
var mutants = []mutant{
	{"credit before the write (Conduit #2680: ack before the position is durable)", "settle.go",
		"	m.do(s.commit)\n	m.owed.next()",
		"	if c := s.commit; c.Source >= 0 {\n		l := m.lots[c.Lot]\n		m.do(Grant{Source: c.Source, Rows: len(l.first.rows)})\n	}\n	m.do(s.commit)\n	m.owed.next()"},
	{"credit when a lot is done, not when it is committed", "lot.go",
		"		l.done = true\n		m.finish(l)",
		"		l.done = true\n		if l.source >= 0 {\n			m.do(Grant{Source: l.source, Rows: len(l.first.rows)})\n		}\n		m.finish(l)"},
	{"checkpoints out of read order", "settle.go",
		"	for len(queue) > 0 && queue[0].done {\n		m.settle(queue[0])\n		queue = queue[1:]\n	}",
		"	for i, x := range queue {\n		if x.done {\n			m.settle(x)\n			queue = append(append([]*lot{}, queue[:i]...), queue[i+1:]...)\n			break\n		}\n	}"},
	{"checkpoint with units left", "lot.go",
		"	if l.units--; l.units == 0 && !l.done {",
		"	if l.units--; l.units <= 1 && !l.done {"},
	{"head of a split acknowledged before its tail (Conduit #2723)", "answer.go",
		"	if len(outRows) > 0 {\n		if len(outRows) == len(o.rows) {",
		"	if len(outRows) > 0 {\n		for i := 1; i < len(outRows); i++ {\n			if o.fromRow[outRows[i]] == o.fromRow[outRows[i-1]] {\n				outRows = append(outRows[:i:i], outRows[i+1:]...)\n			}\n		}\n		if len(outRows) == len(o.rows) {"},
	{"outcomes of the second item of a call moved by one (Conduit #2729: nack index shift)", "answer.go",
		"			rows = append(rows, p.row(pos-p.first))",
		"			i := pos - p.first\n			if p.first > 0 && r.Verdict == Retry {\n				i = (i + 1) % p.n\n			}\n			rows = append(rows, p.row(i))"},
	{"a failed record counts as done where its call holds several (Conduit #2729)", "answer.go",
		"	case r.Verdict == Retry:\n		m.retry(c, p, rows, r)",
		"	case r.Verdict == Retry && len(rows) > 2:\n		m.close(step, b, rows)\n	case r.Verdict == Retry:\n		m.retry(c, p, rows, r)"},
	{"a retry skips the last row and goes on past it (Conduit #2722)", "answer.go",
		"	for _, row := range rows {\n		m.owe(c.step, p.b, row, r)\n	}\n	m.close(c.step, p.b, rows)\n}\n\n// unknown",
		"	for _, row := range rows[:max(1, len(rows)-1)] {\n		m.owe(c.step, p.b, row, r)\n	}\n	m.close(c.step, p.b, rows)\n}\n\n// unknown"},
	{"in-line retries take one row too few (Conduit #2722)", "answer.go",
		"		m.push(c.step, &item{b: p.b, rows: rows, n: int32(len(rows)),",
		"		if len(rows) > 1 {\n			m.close(c.step, p.b, rows[1:2])\n			rows = append(rows[:1:1], rows[2:]...)\n		}\n		m.push(c.step, &item{b: p.b, rows: rows, n: int32(len(rows)),"},
	{"unanswered rows of a dead call are off by one", "answer.go",
		"			if !c.answered[p.first+i] {\n				rows = append(rows, p.row(i))",
		"			if !c.answered[p.first+i] {\n				rows = append(rows, p.row(min(i+1, p.n-1)))"},
	{"lost revisit", "answer.go",
		"	if r.Revisit {\n		m.revisit(c.step, b, rows, o, outRows, r)\n	}",
		"	if r.Revisit && c.step%2 == 0 {\n		m.revisit(c.step, b, rows, o, outRows, r)\n	}"},
	{"a revisit in a replay is lost", "owe.go",
		"		if l.replay.passing(m, step) && m.owed.has(step, b.rows[row].ID) {",
		"		if l.replay != nil {"},
	{"a later pass forgets what it replaces although it owes too", "settle.go",
		"		s.supersede(w.step, w.id, l, w.bytes)\n		p := in[i]",
		"		if s.supersede(w.step, w.id, l, w.bytes) != nil {\n			continue\n		}\n		p := in[i]"},
	{"an entry stays when a later pass has delivered the record", "owe.go",
		"		l.gone = append(l.gone, gone{aboutKey{step, id}, ref, m.needsBytes(step, ref)})",
		"		_ = ref"},
	{"a parcel is dropped with the first of its holdings", "settle.go",
		"		if o.parcels[h.parcel]--; o.parcels[h.parcel] == 0 {",
		"		if o.parcels[h.parcel]--; o.parcels[h.parcel] <= 1 {"},
	{"an entry is replayed before it is durable", "replay.go",
		"			case !g.live:",
		"			case !g.live && g.Tries > 0:"},
	{"a row past a transform skips the next one, too", "offer.go",
		"	m.offer(o, nil, m.consumers[c], false)\n	m.offer(o, nil, m.consumers[c], true)\n	m.unhold(b.lot)",
		"	for _, x := range m.consumers[c] {\n		if m.steps[x].Kind == Transform {\n			m.offer(o, nil, m.consumers[x], false)\n			m.offer(o, nil, m.consumers[x], true)\n			continue\n		}\n		m.offer(o, nil, []int{x}, false)\n		m.offer(o, nil, []int{x}, true)\n	}\n	m.unhold(b.lot)"},
	{"fail open: rows of a transform that died go on without it", "answer.go",
		"	case !c.suspect:\n		m.suspect(c.step, &it)",
		"	case !c.suspect && m.steps[c.step].Kind == Transform:\n		m.offer(p.b, rows, m.consumers[c.step], false)\n		m.close(c.step, p.b, rows)\n	case !c.suspect:\n		m.suspect(c.step, &it)"},
	{"two passes of one record at a time", "flow.go",
		"		if p := m.inFlight[r.ID]; p != nil && p.lot != l {\n			return true",
		"		if p := m.inFlight[r.ID]; p != nil && p.lot != l {\n			continue"},
	{"a replay takes records that are under way", "replay.go",
		"		if len(rows) < limit && m.inFlight[g.h.ids[row]] == nil {",
		"		if len(rows) < limit {"},
	{"replays without limit", "replay.go",
		"i < len(queue) && m.replays < m.limits.ReplayRows; i++",
		"i < len(queue) && m.replays < 100*m.limits.ReplayRows; i++"},
	{"rows of replays are never given back", "settle.go",
		"		m.replays -= len(l.replay.rows)",
		"		m.replays -= len(l.replay.rows) - 1"},
	{"batches are not let go", "lot.go",
		"		if m.shared[id]--; m.shared[id] == 0 {",
		"		if m.shared[id]--; m.shared[id] == 0 && id%7 != 0 {"},
	{"batches are let go too early", "lot.go",
		"		if m.shared[id]--; m.shared[id] == 0 {",
		"		if m.shared[id]--; m.shared[id] <= 1 {"},
	{"kept files are let go before they are durable", "lot.go",
		"		if p.lot.rowUnits[p.root] == 0 && !p.lot.keeps[p.root] {",
		"		if p.lot.rowUnits[p.root] == 0 {"},
	{"no rescue before the deadline", "breaker.go",
		"	return g.Door != g.h.step && !g.Kept && !g.Deadline.IsZero() && m.steps[g.h.step].Kind == Sink &&\n		!m.now.Before(g.Deadline.Add(-m.limits.Rescue))",
		"	return false"},
	{"a pass without bytes replaces an entry that owes them", "settle.go",
		"	case g.wantsBytes() && !bytes:\n		return nil",
		"	case g.wantsBytes() && !bytes && g.Tries > 1000:\n		return nil"},
	{"what waits for a service is forgotten when that is back", "breaker.go",
		"	*b = breaker{}\n	m.do(Breaker{Step: c})\n	m.owed.up(c)",
		"	*b = breaker{}\n	m.do(Breaker{Step: c})"},
	{"a breaker never opens halfway", "breaker.go",
		"		if b.open && !b.half && !b.probe.After(m.horizon()) {",
		"		if b.open && !b.half && !b.probe.After(m.horizon()) && b.wait < 40*time.Second {"},
	{"what waits for another record is not woken", "owed.go",
		"		if g.Cause == CauseAbout && len(g.Rows) > 0 {\n			o.makeReady(g)",
		"		if g.Cause == CauseAbout && len(g.Rows) > 99 {\n			o.makeReady(g)"},
	{"steps behind a sink run before it has spoken", "offer.go",
		"		if l.left[a][root] > 0 {\n			m.wait(&place{l, root}, a, waiter{c, b, row})\n			return\n		}\n	}\n	if len(m.others",
		"		if l.left[a][root] > 1 {\n			m.wait(&place{l, root}, a, waiter{c, b, row})\n			return\n		}\n	}\n	if len(m.others"},
	{"one death alone is a verdict", "answer.go",
		"	case c.rows == 1 && m.marks[it.key(c.step)] >= strikes:",
		"	case c.rows == 1 && m.marks[it.key(c.step)] >= 1:"},
	{"halving forgets a half", "answer.go",
		"		m.suspect(c.step, &z)\n		m.suspect(c.step, &a)",
		"		m.close(c.step, p.b, z.rows)\n		m.suspect(c.step, &a)"},
	{"suspects go without a mark", "mark.go",
		"	return !it.marked && !it.probe && (m.steps[c].Once || suspect && it.n == 1)",
		"	return !it.marked && !it.probe && m.steps[c].Once"},
	{"what happens once goes without a mark", "mark.go",
		"	return !it.marked && !it.probe && (m.steps[c].Once || suspect && it.n == 1)",
		"	return !it.marked && !it.probe && suspect && it.n == 1"},
	{"what may have been sent is sent again", "answer.go",
		"	case s.Once && !s.Resend && !c.probe:\n		m.unknown(c.step, p.b, rows)\n	case",
		"	case s.Once && !s.Resend && !c.probe && e.Code == \"never\":\n		m.unknown(c.step, p.b, rows)\n	case"},
	{"marks of an earlier engine are not read", "flow.go",
		"		m.marks[aboutKey{k.Step, k.ID}] = k.Tries",
		"		_ = k"},
	{"marks stay on disk", "settle.go",
		"	s.commit.Marks = m.unmarked(l)",
		"	_ = m.unmarked(l)"},
	{"order: a record does not wait for the one before it", "order.go",
		"		if k := u.key(); k != 0 && m.states[c].line.lines[k][0] != u {\n			return false",
		"		if k := u.key(); k != 0 && m.states[c].line.lines[k][0] != u {\n			return true"},
	{"order: what is owed holds back nobody", "order.go",
		"		if m.owed.before(s, key, order) || order == 0 && m.pending[aboutKey{s, key}] > 0 {",
		"		if s < 0 && order == 0 {"},
	{"order: places are given as rows come, not as they were read", "order.go",
		"		if l.before[c][root] > 0 {\n			return false\n		}",
		"		if l.before[c][root] > 0 {\n			continue\n		}"},
	{"held rows are forgotten with their process", "hold.go",
		"		l.units++\n		m.push(c, it)\n		m.unhold(l)",
		"		rows := make([]int32, it.n)\n		for i := range rows {\n			rows[i] = it.row(int32(i))\n		}\n		l.units++\n		m.close(c, it.b, rows)\n		m.unhold(l)"},
	{"a flush among other calls", "hold.go",
		"	if st.inFlight > 0 {\n		return false, true",
		"	if st.inFlight > 1 {\n		return false, true"},
	{"a sink that flushes is sent more", "queue.go",
		"	if !st.up || st.flushing {",
		"	if !st.up {"},
	{"the machine follows the clock backward", "flow.go",
		"	if now.After(m.now) {\n		m.now = now\n	}",
		"	m.now = now"},
	{"marks of what somebody else has settled stay", "mark.go",
		"				l.unmark = append(l.unmark, k)\n			}",
		"			}"},
	{"convicted by its own call that is under way", "mark.go",
		"	if it.marked || it.n > 1 || m.marks[it.key(c)] < strikes {",
		"	if it.n > 1 || m.marks[it.key(c)] < strikes {"},
	{"a second time has had its turn everywhere", "order.go",
		"r != nil && r.group.Revisit && (order == 0 || !m.below[r.step].has(c)) {",
		"r != nil && r.group.Revisit {"},
	{"identities in errors", "owe.go",
		"	g := Group{Cause: r.Cause, Code: r.Code, Since: m.now, Detail: r.Detail,",
		"	g := Group{Cause: r.Cause, Code: r.Code + r.Detail, Since: m.now, Detail: r.Detail,"},
}

// TestMutants breaks the machine in each way of the list and lives through worlds until the simulation notices. Without -mutants it only
// sees that every way still fits the source.
func TestMutants(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, name := range sources {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text[name] = string(b)
	}
	for _, m := range mutants {
		if n := strings.Count(text[m.file], m.old); n != 1 {
			t.Errorf("mutant %q: what it changes stands %d times in %s, not once: bring it up to date with the code", m.name, n, m.file)
		}
	}
	if !*mutate || t.Failed() {
		return
	}
	only := regexp.MustCompile(*mutateOnly)
	var wg sync.WaitGroup
	room := make(chan struct{}, 2)
	for _, m := range mutants {
		if !only.MatchString(m.name) {
			continue
		}
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			law, seed, err := hunt(t.TempDir(), m, text)
			switch {
			case err != nil:
				t.Errorf("%s: %v", m.name, err)
			case law == "":
				t.Errorf("nobody noticed in %d worlds: %s", *mutateSeed, m.name)
			default:
				fmt.Fprintf(os.Stderr, "%-85s %-42s seed %s\n", m.name, law, seed) // at once: all of them take minutes
			}
		})
	}
	wg.Wait()
}

// needed are the tests that make up the simulation. No other one runs with a mutant.
var needed = []string{"world_test.go", "worldsteps_test.go", "worlddisk_test.go", "look_test.go", "sim_test.go", "simworld_test.go",
	"simsources_test.go", "simsteps_test.go", "simchaos_test.go", "simgraph_test.go", "simlaws_test.go", "simrare_test.go"}

// hunt lives through worlds with a mutant, in a copy of this package that is a module of its own.
func hunt(dir string, m mutant, text map[string]string) (law, seed string, err error) {
	files := map[string]string{"go.mod": "module example.com/flow\n\ngo 1.26\n"}
	for name, s := range text {
		if !strings.HasSuffix(name, "_test.go") || slices.Contains(needed, name) {
			files[name] = s
		}
	}
	files[m.file] = strings.Replace(files[m.file], m.old, m.new, 1)
	for name, s := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(s), 0o600); err != nil {
			return "", "", err
		}
	}
	c := exec.Command("go", "test", "-vet=off", "-run", "^TestRandomWorlds$", "-timeout", "10m", ".", "-seeds", fmt.Sprint(*mutateSeed))
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err == nil {
		return "", "", nil
	}
	first := regexp.MustCompile(`(?m)^ +sim_test\.go:\d+: ([^:\n]+):`).FindSubmatch(out)
	if first == nil {
		return "", "", fmt.Errorf("%w\n%s", err, out)
	}
	seed = "?"
	if s := regexp.MustCompile(`-seed (\d+)`).FindSubmatch(out); s != nil {
		seed = string(s[1])
	}
	return string(first[1]), seed, nil
}
