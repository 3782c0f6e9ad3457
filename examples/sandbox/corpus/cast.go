package corpus

import (
	"strings"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// faults are the messages with which something is wrong. round counts from 0 and turns what is wrong.
func (g *generator) faults(round int) []*draft {
	image := func(m manner, w when) *draft {
		d := g.message("image")
		*d = draft{kind: "image", talk: d.talk, when: w}
		return g.media(d, file{format: "jpg", size: g.size(30<<10, 8), manner: m})
	}
	document := func(m manner, w when) *draft {
		d := &draft{kind: "file", talk: g.people.converse(g.random), when: w}
		return g.media(d, file{name: g.fill("{n}-{o}.pdf"), format: "pdf", size: g.size(50<<10, 8), manner: m})
	}
	garbled := g.text(g.sentence(), nil)
	garbled.damage = []wecomsim.Damage{
		wecomsim.Garbled, wecomsim.SwappedKey, wecomsim.WrongInnerID, wecomsim.Truncated, wecomsim.ZeroLength,
	}[round%5]
	faults := []*draft{
		image(altered, usual), document(altered, usual),
		image(never, first), document(never, first),
		document(waiting, fresh),
		g.unknown(round), g.incomplete(round), garbled,
	}
	if round > 0 { // the cast has large files enough for the first thousand
		d := &draft{kind: "video", talk: g.people.converse(g.random)}
		faults = append(faults, g.media(d, file{format: "mp4", size: truth.Threshold + g.random.Int64N(1<<20)}))
	}
	return faults
}

// unknown is a message of a type that nobody has heard of, with a file inside.
func (g *generator) unknown(round int) *draft {
	d := &draft{kind: []string{"hologram", "jielong", "note"}[round%3], talk: g.people.converse(g.random), status: truth.TypeUnknown}
	f := g.add(d, file{format: "png", size: g.size(9<<10, 8), unnamed: true})
	d.payload = object{{"title", g.sentence()}, {"angle", 42}, {"sdkfileid", f.id}}
	return d
}

// incomplete is a message that lacks a member its type must have.
func (g *generator) incomplete(round int) *draft {
	kind, lacks := "link", "link_url"
	if round%2 == 1 {
		kind, lacks = "location", "latitude"
	}
	d := g.message(kind)
	d.status = truth.FieldMissing
	whole := d.payload
	d.payload = nil
	for _, m := range whole {
		if m.name != lacks {
			d.payload = append(d.payload, m)
		}
	}
	return d
}

// cast is every part that is not a fault, once.
func (g *generator) cast() []*draft {
	var cast []*draft
	play := func(d *draft) *draft {
		cast = append(cast, d)
		return d
	}
	document := func(f file) *draft {
		return play(g.media(&draft{kind: "file", talk: g.people.converse(g.random)}, f))
	}
	for _, m := range mix10k { // every type
		play(g.message(m.kind))
	}

	// Who speaks to whom.
	big := g.people.rooms[0]
	play(g.text(g.talk(true), &draft{talk: big.speak(g.random, big.members[0])})) // 179 receivers
	play(g.text(g.talk(false), &draft{talk: conversation{from: g.people.robots[0], to: []string{"lisi"}, external: true}}))
	play(g.text(g.talk(false), &draft{talk: conversation{from: "zhangsan", to: []string{"lisi"}}}))
	play(g.text(g.talk(false), &draft{talk: conversation{from: g.people.outside[0], to: []string{"zhangsan"}, external: true}}))

	// Texts.
	for _, text := range hostile {
		play(g.text(g.fill(text), nil))
	}
	long := g.sentence()
	play(g.text(long+strings.Repeat("很长的文字。長い文章。A long text. ", 700), nil))

	// Recalls: after and before the original in the archive's order, of an original that is outside (in the types above), of a
	// recall, and twice.
	price := play(g.text(g.fill("价格：{p} 每个 {y} 元（请保密 {o}）"), nil))
	recall := play(&draft{})
	g.recall(recall, price, 20*time.Second)
	reversed := play(g.text(g.sentence(), nil))
	g.recall(play(&draft{}), reversed, -time.Millisecond)
	g.recall(play(&draft{}), recall, time.Minute)

	// Sizes: around the threshold, around a piece of a download, and next to nothing.
	for _, size := range []int64{0, 1, 524_287, 524_288, 524_289, truth.Threshold - 1, truth.Threshold, truth.Threshold + 1} {
		document(file{name: g.fill("size-{o}.bin"), size: size})
	}
	// Large files wherever they can be, two of them close to the end of their 120 hours.
	play(g.media(&draft{kind: "video", talk: g.people.converse(g.random), when: early}, file{format: "mp4", size: 11<<20 + 7}))
	play(g.media(&draft{kind: "file", talk: g.people.converse(g.random), when: early}, file{name: g.fill("catalogue-{o}.pdf"), format: "pdf", size: 10<<20 + 4096}))
	document(file{name: g.fill("backup-{o}.zip"), format: "zip", size: 11_000_001, manner: late, late: 25 * time.Minute})
	play(g.mixed(&draft{talk: g.people.converse(g.random)}, file{format: "jpg", size: 60_123}, file{name: g.fill("drawing-{o}.zip"), format: "zip", size: 10_999_999},
		file{format: "gif", size: 20_321}))
	play(g.chatrecord(&draft{talk: g.people.converse(g.random)}, file{format: "mp4", size: 10_600_000}, file{name: g.fill("list-{o}.xlsx"), format: "xlsx", size: 33_333}))
	document(file{name: g.fill("plans-{o}.docx"), format: "docx", size: 10_700_000, manner: noSum})

	// Files that come late, with a wrong sum at first, without a sum, larger than said.
	play(g.media(&draft{kind: "image", talk: g.people.converse(g.random)}, file{format: "jpg", size: 45_678, manner: late}))
	play(g.media(&draft{kind: "voice", talk: g.people.converse(g.random), when: live}, file{format: "amr", size: 12_345, manner: late, late: 40 * time.Minute}))
	play(g.media(&draft{kind: "video", talk: g.people.converse(g.random)}, file{format: "mp4", size: 600_000, manner: late, late: 30 * time.Hour}))
	play(g.media(&draft{kind: "image", talk: g.people.converse(g.random)}, file{format: "jpg", size: 34_567, manner: cured}))
	document(file{name: g.fill("cured-{o}.xlsx"), format: "xlsx", size: 78_901, manner: cured})
	document(file{name: g.fill("no-sum-{o}.pdf"), format: "pdf", size: 23_456, manner: noSum})
	document(file{name: g.fill("undersized-{o}.pdf"), format: "pdf", size: 123_456, manner: undersized})
	document(file{name: g.fill("mislabelled-{o}.jpg"), format: "pdf", size: 3_210})

	// The same content under two ids, and the same id in two messages: sent, and forwarded.
	sent := &draft{kind: "file", talk: g.people.converse(g.random)}
	original := file{name: g.fill("twice-{o}.pdf"), format: "pdf", size: 5_000}
	ref := g.add(sent, original)
	sent.payload = g.says("file", original, ref)
	play(sent)
	document(file{name: g.fill("again-{o}.pdf"), format: "pdf", size: 5_000, same: &ref.content})
	forwarded := &draft{kind: "file", talk: g.people.converse(g.random), payload: sent.payload}
	forwarded.keep(sent.files[0], truth.Finished, sent.placed[0])
	play(forwarded)

	// Names that mean harm, and the same name twice.
	for _, name := range append(fileNames, fileNames[8]) {
		document(file{name: name, size: 2_000 + int64(len(name))})
	}
	return cast
}
