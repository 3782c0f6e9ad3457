package corpus

import (
	"fmt"
	"strings"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// mix is the share of each type in 10,000 messages.
var mix10k = []struct {
	kind   string
	weight int
}{
	{"text", 6646}, {"image", 1050}, {"voice", 550}, {"file", 430}, {"emotion", 300}, {"link", 190}, {"mixed", 150}, {"video", 120},
	{"revoke", 120}, {"weapp", 80}, {"chatrecord", 60}, {"agree", 40}, {"disagree", 6}, {"card", 40}, {"location", 30},
	{"markdown", 30}, {"news", 24}, {"docmsg", 20}, {"todo", 14}, {"calendar", 14}, {"meeting", 14}, {"voiptext", 14},
	{"meeting_voice_call", 12}, {"voip_doc_share", 4}, {"redpacket", 8}, {"external_redpacket", 4}, {"sphfeed", 6}, {"vote", 4},
	{"collect", 4}, {"qydiskfile", 6}, {"switch", 4}, {"meeting_notification", 6},
}

// message makes an ordinary message of a kind.
func (g *generator) message(kind string) *draft {
	d := &draft{kind: kind, talk: g.people.converse(g.random)}
	r := g.random
	line := g.sentence()
	seconds := g.options.Start.Unix() - r.Int64N(300_000)
	switch kind {
	case "text":
		return g.text(g.talk(d.talk.room != ""), d)
	case "image":
		return g.media(d, file{format: "jpg", size: g.size(48<<10, 20)})
	case "voice":
		return g.media(d, file{format: "amr", size: 800 * (1 + r.Int64N(60))})
	case "video":
		return g.media(d, file{format: "mp4", size: g.size(400<<10, 20)})
	case "emotion":
		return g.media(d, file{format: []string{"gif", "png"}[r.IntN(2)], size: g.size(30<<10, 12)})
	case "file":
		format := []string{"pdf", "xlsx", "docx", "zip", "txt", "png"}[r.IntN(6)]
		return g.media(d, file{name: g.fill([]string{"{o}_{p}.", "報告書 {p}.", "合同-{o}.", "{n}_{o}."}[r.IntN(4)]) + format, format: format, size: g.size(90<<10, 28)})
	case "mixed":
		return g.mixed(d, file{format: "jpg", size: g.size(60<<10, 16)})
	case "chatrecord":
		return g.chatrecord(d, file{format: "jpg", size: g.size(40<<10, 12)}, file{name: g.fill("{p}.pdf"), format: "pdf", size: g.size(60<<10, 16)})
	case "revoke": // the original lies outside the archive, unless the caller says otherwise
		d.action = "recall"
		d.payload = object{{"pre_msgid", fmt.Sprintf("%d_%d", 1e18+r.Int64N(9e17), seconds)}}
	case "agree", "disagree":
		d.talk.from, d.talk.external = few(r, g.people.outside), true
		d.payload = object{{"userid", d.talk.from}, {kind + "_time", seconds*1000 + r.Int64N(1000)}}
	case "card":
		d.payload = object{{"corpname", "微信联系人"}, {"userid", few(r, g.people.outside)}}
	case "location":
		d.payload = object{{"longitude", float64(116000000+r.IntN(5e6)) / 1e6}, {"latitude", float64(31000000+r.IntN(5e6)) / 1e6},
			{"address", g.fill("上海市浦东新区{p}路{q}号")}, {"title", g.fill("{n}的仓库 {o}")}, {"zoom", 15}}
	case "link":
		d.payload = object{{"title", line}, {"description", g.sentence()}, {"link_url", g.fill("https://portal.example.com/l/{o}?a=1&b=<2>")},
			{"image_url", g.fill("https://img.example.com/{p}/0")}}
	case "weapp":
		d.payload = object{{"title", line}, {"description", "客户需同意存档聊天记录"}, {"username", "gh_" + letters(r, 12) + "@app"}, {"displayname", "服务须知"}}
	case "markdown":
		d.talk.from = few(r, g.people.robots)
		d.key, d.payload = "info", object{{"content", "## " + line + "\n> " + g.sentence() + "\n**" + g.sentence() + "**"}}
		d.asText = d.payload[0].value.(string)
	case "news":
		d.key = "info"
		d.payload = object{{"item", list{object{{"title", line}, {"description", "每周简报"}, {"url", g.fill("https://news.example.com/{o}")}, {"picurl", g.fill("https://img.example.com/{o}.jpg")}}}}}
	case "docmsg":
		d.key, d.payload = "doc", object{{"title", line}, {"doc_creator", few(r, staff)}, {"link_url", g.fill("https://doc.weixin.qq.com/txdoc/excel?docid={o}")}}
	case "todo":
		d.payload = object{{"title", "审批"}, {"content", line}}
	case "calendar":
		d.payload = object{{"title", line}, {"creatorname", names[r.IntN(len(names))]}, {"attendeename", list{names[r.IntN(len(names))], "山本"}},
			{"starttime", seconds}, {"endtime", seconds + 3600}, {"place", ""}, {"remarks", g.sentence()}}
	case "meeting":
		d.payload = object{{"topic", line}, {"starttime", seconds}, {"endtime", seconds + 1800}, {"address", ""}, {"remarks", ""},
			{"meetingtype", 102}, {"meetingid", uint64(1)<<63 + r.Uint64N(1<<60)}, {"status", 1 + r.IntN(7)}}
	case "meeting_notification":
		d.key, d.payload = "info", object{{"content", line}, {"meeting_id", 1210342560 + r.IntN(1000)}, {"notification_type", 102}}
	case "voiptext":
		d.key, d.payload = "info", object{{"callduration", 1 + r.IntN(4000)}, {"invitetype", 1 + r.IntN(4)}}
	case "redpacket", "external_redpacket":
		d.key, d.payload = "redpacket", object{{"type", 1 + r.IntN(2)}, {"wish", g.fill("恭喜发财，大吉大利 {o}")}, {"totalcnt", 1 + r.IntN(20)}, {"totalamount", 100 * (1 + r.IntN(200))}}
	case "sphfeed":
		d.payload = object{{"feed_type", 4}, {"sph_name", "云游天地旅行家"}, {"feed_desc", line + "\n\n#旅行#"}}
	case "vote":
		d.payload = object{{"votetitle", line}, {"voteitem", list{"A", g.sentence()}}, {"votetype", 101 + r.IntN(2)}, {"voteid", "vote" + letters(r, 16)}}
	case "collect":
		d.payload = object{{"room_name", "这是一个群"}, {"creator", few(r, staff)}, {"create_time", "2026-02-27 11:21:22"}, {"title", line},
			{"details", list{object{{"id", uint64(1)<<63 + r.Uint64N(1<<62)}, {"ques", "表项1，文本"}, {"type", "Text"}}, object{{"id", 2}, {"ques", "日付"}, {"type", "Date"}}}}}
	case "qydiskfile":
		d.key, d.payload = "info", object{{"filename", g.fill("合同-{o}.pdf")}}
	case "switch":
		d.action, d.talk = "switch", conversation{from: few(r, staff)}
	case "meeting_voice_call":
		d.beside, d.withoutRoom, d.talk.room = object{{"voiceid", "gr" + letters(r, 32)}}, true, ""
		d.talk.to = d.talk.to[:1]
		return g.media(d, file{format: "mp4", size: g.size(200<<10, 12), unnamed: true})
	case "voip_doc_share":
		d.beside, d.withoutRoom, d.talk.room = object{{"voipid", "gr" + letters(r, 32)}}, true, ""
		d.talk.to = d.talk.to[:1]
		return g.media(d, file{name: g.fill("欢迎使用微盘 {o}.pdf.pdf"), format: "pdf", size: g.size(150<<10, 16)})
	default:
		panic("no such kind: " + kind)
	}
	return d
}

// text makes a message of type text.
func (g *generator) text(words string, d *draft) *draft {
	if d == nil {
		d = &draft{talk: g.people.converse(g.random)}
	}
	d.kind, d.asText = "text", words
	d.payload = object{{"content", words}}
	return d
}

// media fills a message whose payload is one file.
func (g *generator) media(d *draft, f file) *draft {
	d.payload = g.says(d.kind, f, g.add(d, f))
	return d
}

// says is a payload that describes a file, as each type spells it.
func (g *generator) says(kind string, f file, ref reference) object {
	id, sum := member{"sdkfileid", ref.id}, member{"md5sum", ref.md5}
	switch kind {
	case "voice":
		return object{sum, {"voice_size", ref.claimed}, {"play_length", 1 + ref.claimed/800}, id}
	case "video":
		return object{sum, {"filesize", ref.claimed}, {"play_length", 1 + ref.claimed/100_000}, id}
	case "emotion":
		return object{{"type", strings.Index("gifpng", f.format)/3 + 1}, {"width", 290}, {"height", 290}, {"imagesize", ref.claimed}, sum, id}
	case "file":
		ext := ""
		if dot := strings.LastIndexByte(f.name, '.'); dot >= 0 {
			ext = f.name[dot+1:]
		}
		return object{sum, {"filename", f.name}, {"fileext", ext}, {"filesize", ref.claimed}, id}
	case "voip_doc_share":
		return object{{"filename", f.name}, sum, {"filesize", ref.claimed}, id}
	case "meeting_voice_call":
		return object{{"endtime", g.options.Start.Unix()}, id, {"sharescreendata", list{object{{"share", "zhangsan"}, {"starttime", 1594197624}, {"endtime", 1594197624}}}}}
	}
	return object{sum, {"filesize", ref.claimed}, id}
}

// mixed makes a message of texts and files together; files with a name are files, jpg are images.
func (g *generator) mixed(d *draft, files ...file) *draft {
	d.kind = "mixed"
	items := list{object{{"type", "text"}, {"content", embedded{object{{"content", g.sentence() + "[微笑]\n"}}}}}}
	for _, f := range files {
		kind := kindOf(f)
		items = append(items, object{{"type", kind}, {"content", embedded{g.says(kind, f, g.add(d, f))}}})
	}
	d.payload = object{{"item", items}}
	return d
}

// chatrecord makes a forwarded piece of another conversation. Its items tell the time in seconds.
func (g *generator) chatrecord(d *draft, files ...file) *draft {
	d.kind = "chatrecord"
	item := func(kind string, o object) object {
		return object{{"type", kind}, {"msgtime", g.options.Start.Unix() - 400_000}, {"content", embedded{o}}, {"from_chatroom", true}}
	}
	items := list{item("ChatRecordText", object{{"content", g.sentence()}})}
	for _, f := range files {
		kind := kindOf(f)
		items = append(items, item("ChatRecord"+strings.ToUpper(kind[:1])+kind[1:], g.says(kind, f, g.add(d, f))))
	}
	d.payload = object{{"title", g.sentence()}, {"item", items}}
	return d
}

func kindOf(f file) string {
	switch {
	case f.name != "":
		return "file"
	case f.format == "mp4":
		return "video"
	case f.format == "gif":
		return "emotion"
	}
	return "image"
}

// size draws a size in bytes below the threshold; when a corpus has spent its gibibyte, files become small.
func (g *generator) size(median int64, spread int) int64 {
	size := max(200, min(around(g.random, median, spread), truth.Threshold-2))
	if g.spent > 900<<20 {
		size = min(size, 4<<10)
	}
	return size
}
