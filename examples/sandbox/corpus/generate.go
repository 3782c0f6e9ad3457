// Package corpus makes up the chat archive of a company, and the truth about it.
//
// It is a generator with a seed: the same options give the same messages, ids and bytes on every machine. It holds every kind of
// message and every status that a run can reach, in 200 messages as in 20,000: first a cast in which each part is played once,
// then, for every thousand messages, the faults again, and between them ordinary talk in the shares of a real company. Messages
// that look alike to a reader are told apart by order numbers, so that each can be searched for.
//
// The truth is written from what the generator means to do. Nothing is parsed to find it out.
package corpus

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// Options shape a corpus.
type Options struct {
	Messages int // at least Smallest
	Seed     uint64
	// Start is the simulated instant at which the company can first be asked. Messages lie up to 116 hours before it, and some
	// after it.
	Start time.Time
	// Until is the instant for which the truth holds.
	Until time.Time
	// LateKey encrypts some messages for key version 5. The truth then holds once its private key was added during the run, later
	// than those messages were fetched.
	LateKey bool
}

// Smallest is the fewest messages that hold the whole cast.
const Smallest = 200

// CorpID and Secret are the company's.
const (
	CorpID = "ww0sandbox0weir001"
	Secret = "sandbox-chat-secret-7f3a"
)

type generator struct {
	options Options
	random  *rand.Rand
	people  *people
	corp    *wecomsim.Corp
	spent   int64 // bytes of media so far
	orders  int   // order numbers given out
}

// A draft is a message in the making.
type draft struct {
	kind        string
	action      string // send, unless set
	talk        conversation
	withoutRoom bool   // the type has no roomid
	beside      object // members beside the payload
	key         string // of the payload, if it is not the type
	payload     object // nil: there is none
	asText      string // the content of types that are text
	status      string // a flag: TYPE_UNKNOWN or FIELD_MISSING
	damage      wecomsim.Damage
	keyVersion  int // unless 0

	when   when
	after  *draft // in time and order behind this one, or, by a negative delay, before it
	delay  time.Duration
	at     time.Time
	id     string
	number int // order of making, which decides between equal times

	files      []truth.File
	fileStatus []string
	placed     []placed
}

// when is a stretch of the corpus.
type when int

const (
	usual when = iota
	first      // the oldest: its files expire within the run
	early      // within 24 hours of its deadline
	fresh      // so late that its deadline lies behind the run
	live       // comes in during the run
)

// Generate makes a company with its truth.
func Generate(o Options) (*wecomsim.Corp, *truth.Truth, error) {
	if o.Messages < Smallest {
		return nil, nil, fmt.Errorf("%d messages: the smallest corpus that holds everything has %d", o.Messages, Smallest)
	}
	if !o.Until.After(o.Start) {
		return nil, nil, fmt.Errorf("the truth would hold before the start")
	}
	keys, err := publicKeys()
	if err != nil {
		return nil, nil, err
	}
	g := &generator{
		options: o,
		random:  rand.New(rand.NewPCG(o.Seed, 0x77656972)),
		corp: &wecomsim.Corp{
			ID: CorpID, Secret: Secret, Seed: fmt.Sprint(o.Seed), Media: map[string]wecomsim.Media{}, Keys: keys,
		},
	}
	g.people = newPeople(g.random, o.Messages)
	drafts := g.drafts()
	g.date(drafts)
	t := g.number(drafts)
	return g.corp, t, nil
}

// drafts plays the cast once, the faults once per thousand messages, and fills up with ordinary talk.
func (g *generator) drafts() []*draft {
	drafts := g.cast()
	for i := range 1 + g.options.Messages/1000 {
		drafts = append(drafts, g.faults(i)...)
	}
	total := 0
	for _, m := range mix10k {
		total += m.weight
	}
	have := map[string]int{}
	for _, d := range drafts {
		have[d.kind]++
	}
	var recallable []*draft
	for len(drafts) < g.options.Messages {
		n := g.random.IntN(total)
		for _, m := range mix10k {
			if n -= m.weight; n >= 0 {
				continue
			}
			if have[m.kind] > m.weight*g.options.Messages/total {
				break // the cast has played enough of them
			}
			have[m.kind]++
			d := g.message(m.kind)
			if g.random.IntN(10) == 0 {
				d.when = live
			}
			if m.kind == "revoke" && len(recallable) > 0 {
				last := len(recallable) - 1
				g.recall(d, recallable[last], time.Duration(around(g.random, 20_000, 24))*time.Millisecond)
				recallable = recallable[:last]
			}
			if m.kind == "text" && g.random.IntN(20) == 0 {
				recallable = append(recallable, d)
			}
			drafts = append(drafts, d)
			break
		}
	}
	for i, d := range drafts {
		d.number = i
	}
	return drafts
}

// recall makes d the recall of an original, a while after it, or before it in the archive's order if the delay is negative.
func (g *generator) recall(d, original *draft, delay time.Duration) {
	d.kind, d.action, d.talk = "revoke", "recall", original.talk
	d.payload = object{{"pre_msgid", &original.id}}
	d.after, d.delay, d.when = original, delay, original.when
}

// polled is a run in which an archive that asks every five minutes asks often enough.
const polled = 30 * time.Minute

// date gives every message and its files their times, and puts the messages in order.
func (g *generator) date(drafts []*draft) {
	run := g.options.Until.Sub(g.options.Start)
	for _, d := range drafts {
		if d.after != nil {
			continue
		}
		switch d.when {
		case usual:
			d.at = g.hour()
		case first: // expires when four fifths of the run, or four hours, are over
			d.at = g.options.Start.Add(min(run*4/5, 4*time.Hour) - 120*time.Hour)
		case early:
			d.at = g.options.Start.Add(-99 * time.Hour)
		case fresh:
			d.at = g.options.Start.Add(-time.Hour)
			if late := g.options.Until.Add(-60 * time.Hour); late.After(d.at) {
				d.at = late
			}
		case live:
			if run < polled { // nobody would ask a second time
				d.at = g.hour()
				break
			}
			d.at = g.options.Start.Add(time.Duration(g.random.Int64N(int64(run * 3 / 10))))
		}
		d.at = d.at.Add(time.Duration(g.random.IntN(int(min(run/50, time.Minute).Milliseconds()))) * time.Millisecond).Truncate(time.Millisecond)
	}
	for _, d := range drafts {
		if d.after != nil {
			d.at = d.after.at.Add(d.delay)
		}
	}
	sort.SliceStable(drafts, func(i, j int) bool { return drafts[i].at.Before(drafts[j].at) })
	for _, d := range drafts {
		for _, p := range d.placed {
			g.place(p, d.at)
		}
		suffix := ""
		if d.talk.external {
			suffix = "_external"
		}
		if g.random.IntN(40) == 0 {
			suffix = "_updown_stream"
		}
		d.id = fmt.Sprintf("%d_%d%s", uint64(1e18)+g.random.Uint64N(17e18), d.at.Unix(), suffix)
	}
}

// hour draws an instant of the last 100 hours before the start: two humps a day, 09–12 and 14–18 in China, little at night.
func (g *generator) hour() time.Time {
	for {
		at := g.options.Start.Add(-time.Duration(g.random.Int64N(int64(100 * time.Hour))))
		switch h := at.UTC().Add(8 * time.Hour).Hour(); {
		case h >= 9 && h < 12, h >= 14 && h < 18:
			return at
		case h >= 8 && h < 22:
			if g.random.IntN(4) == 0 {
				return at
			}
		default:
			if g.random.IntN(40) == 0 {
				return at
			}
		}
	}
}

// number hands out seq, keys and page ends, and writes corp and truth.
func (g *generator) number(drafts []*draft) *truth.Truth {
	t := &truth.Truth{
		Format: truth.Format, Corp: g.corp.ID, Seed: g.options.Seed,
		Starts: g.options.Start.UTC(), Holds: g.options.Until.UTC(), First: 1,
	}
	n := len(drafts)
	holes := map[int]bool{} // before the message of this index
	for len(holes) < 3*(1+n/1000) {
		holes[1+g.random.IntN(n-1)] = true
	}
	page := max(25, min(n/7, 700)) // shorter than WeCom's 1,000, so that a small corpus has pages too
	ends := page/2 + g.random.IntN(page)
	turn := n*43/100 + 1 // the key changes in the middle of a page
	seq := uint64(0)
	for i, d := range drafts {
		seq++
		if holes[i] {
			t.Holes = append(t.Holes, seq)
			seq++
		}
		m := wecomsim.Message{Seq: seq, MsgID: d.id, KeyVersion: 3, Time: d.at, Damage: d.damage}
		if i >= turn {
			m.KeyVersion = 4
		}
		if g.options.LateKey && i > n/2 && i%50 == 0 && d.damage == wecomsim.None {
			d.keyVersion = LateKeyVersion
		}
		if d.keyVersion != 0 {
			m.KeyVersion = d.keyVersion
		}
		if ends--; (ends == 0 || holes[i+1] && i%2 == 0 && ends < page/2) && i != turn-1 {
			m.EndsPage, ends = true, page/2+g.random.IntN(page)
		} else if ends == 0 {
			ends = 1
		}
		m.Plain = encode(d.message())
		g.corp.Messages = append(g.corp.Messages, m)
		t.Messages = append(t.Messages, d.truth(m, g.options))
	}
	t.Last = seq
	return t
}

// message is the JSON of a draft, as WeCom writes it.
func (d *draft) message() object {
	if d.action == "switch" {
		return object{{"msgid", d.id}, {"action", "switch"}, {"time", d.at.UnixMilli()}, {"user", d.talk.from}}
	}
	action := d.action
	if action == "" {
		action = "send"
	}
	o := object{{"msgid", d.id}, {"action", action}, {"from", d.talk.from}, {"tolist", stringList(d.talk.to)}}
	if !d.withoutRoom {
		o = append(o, member{"roomid", d.talk.room})
	}
	o = append(o, member{"msgtime", d.at.UnixMilli()}, member{"msgtype", d.kind})
	o = append(o, d.beside...)
	if d.payload != nil {
		key := d.key
		if key == "" {
			key = d.kind
		}
		o = append(o, member{key, d.payload})
	}
	return o
}

func stringList(s []string) list {
	out := list{}
	for _, e := range s {
		out = append(out, e)
	}
	return out
}

// truth is what an archive holds of a message.
func (d *draft) truth(m wecomsim.Message, o Options) truth.Message {
	sum := sha256.Sum256(m.Plain)
	t := truth.Message{Seq: m.Seq, ID: d.id, KeyVersion: m.KeyVersion, Raw: truth.RawStored, SHA256: hex.EncodeToString(sum[:]), Needles: d.needles()}
	for _, p := range d.placed {
		t.References = append(t.References, p.reference)
	}
	if m.KeyVersion == LateKeyVersion {
		t.Raw = truth.Decoded
	}
	if d.damage != wecomsim.None {
		t.Raw = truth.DecryptFailed
		return t
	}
	t.Files = d.files
	row := &truth.Row{
		Time: d.at.UTC().Truncate(time.Minute), TimeMS: d.at.UnixMilli(), From: d.talk.from, RoomID: d.talk.room,
		ToList: slices.Clone(d.talk.to), Type: d.kind, Content: d.asText,
	}
	if row.RoomID == "" && len(row.ToList) == 1 {
		row.To = row.ToList[0]
	}
	if d.asText == "" {
		row.JSON = true
		whole := d.payload
		if whole == nil {
			whole = d.message()
		}
		row.Content = string(encode(public(whole)))
	}
	if len(d.files) > 0 {
		first := d.files[0]
		size := first.Size
		if first.To == truth.Nowhere {
			size = max(first.Claimed, 0)
		}
		row.FileName, row.FileSize = first.Name, &size
	}
	d.statuses(row, o)
	t.Row = row
	return t
}

// statuses judges a message's files: an open one wins, then the worst; a flag shows only where the files are fine.
func (d *draft) statuses(row *truth.Row, o Options) {
	here, without, away := slices.Clone(d.fileStatus), slices.Clone(d.fileStatus), slices.Clone(d.fileStatus)
	for i, f := range d.files {
		if f.To != truth.OSS {
			continue
		}
		without[i], away[i] = truth.OSSUndefined, truth.Waiting
		if !d.at.Add(120*time.Hour - 24*time.Hour).After(o.Until) { // kept from 24 hours before the deadline on
			away[i] = truth.UploadFailed
		}
	}
	judge := func(files []string) string {
		for _, s := range []string{truth.UploadFailed, truth.Waiting, truth.Expired, truth.OSSUndefined, truth.Unmatched} {
			if slices.Contains(files, s) {
				return s
			}
		}
		if d.status != "" {
			return d.status
		}
		return truth.Finished
	}
	row.Status, row.StatusWithoutOSS, row.StatusOSSAway = judge(here), judge(without), judge(away)
}

// needles are what must not be found readable: the longest texts, names and addresses; where a message has none, a piece of its
// JSON.
func (d *draft) needles() []string {
	var found []string
	keep := func(s string) {
		if s = longestLine(s); len(s) >= truth.MinNeedle && !slices.Contains(found, s) {
			found = append(found, s)
		}
	}
	worded := []string{"content", "title", "description", "link_url", "url", "picurl", "image_url", "filename", "address", "wish", "topic",
		"feed_desc", "votetitle", "remarks", ""}
	texts(d.payload, func(name, s string) {
		// Only what no other message says: every line of a story holds a number of its own.
		if slices.Contains(worded, name) && (strings.ContainsAny(s, "0123456789") || name == "filename") {
			keep(s)
		}
	})
	if len(found) == 0 {
		piece := string(encode(d.payload))
		if d.payload == nil {
			piece = fmt.Sprintf(`"action":"switch","time":%d`, d.at.UnixMilli())
		}
		keep(piece)
	}
	return found
}
