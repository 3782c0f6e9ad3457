package corpus

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// Pages returns the company of 2020: three pages whose rows the official library has confirmed, served byte for byte. The
// company's clock stands at [wecomsim.CorpusTime]; the run's starts there, and the truth, which was written by hand, holds a span
// later. None of its files can be had, so those messages wait.
func Pages(span time.Duration) (*wecomsim.Corp, *truth.Truth, error) {
	corp := wecomsim.CorpusCorp(false)
	start := wecomsim.CorpusTime()
	t := &truth.Truth{
		Format: truth.Format, Corp: corp.ID, Starts: start, Holds: start.Add(span), First: 1001, Last: 1039,
		Messages: []truth.Message{
			pagesText(1001, "1000000000000007919_1603875601", "hello"),
			pagesText(1002, "1000000000000015838_1603875602", "你好，世界。請確認報價單（税込み）。"),
			from(pagesText(1003, "1000000000000023757_1603875603_external", "👨\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈😀[微笑]\u200b\u2028end"), "wmErxtDgAA9AW32YyyuYRimKr7D1KWlw", "", "zhangsan"),
			pagesText(1004, "1000000000000031676_1603875604", "这是一条引用/回复消息：\"李四:\n你好\"\n------\n@nick\t\\ / \u0001"),
			pagesBare(1005, "raw_4", `{"a":"xxxxxxx"}`),
			pagesBare(1006, "raw_5", `{"a":"xxxxxxxx"}`),
			pagesBare(1007, "raw_6", `{"a":"xxxxxxxxx"}`),
			pagesBare(1008, "raw_7", `{"a":"`+strings.Repeat("x", 23)+`"}`),
			pagesBare(1009, "raw_8", `{"a":"`+strings.Repeat("x", 24)+`"}`),
			pagesBare(1010, "raw_9", `{"a":"`+strings.Repeat("x", 25)+`"}`),
			pagesBare(1021, "raw_10", `{}`),
			waits(pagesJSON(1023, "1000000000000039595_1603875605", "image", `{"md5sum":"b798abe6e1b1318ee36b0dcb3fb9e4d3","filesize":70961}`),
				truth.File{Ext: "jpg", Claimed: 70961}),
			waits(from(pagesJSON(1025, "1000000000000047514_1603875606_external", "file", `{"md5sum":"","filename":"報價單 (最终版)🚀.xlsx","fileext":"xlsx","filesize":18181}`),
				"zhangsan", "wrJawBCQAAStr3jxVxEH", "lisi", "wmGAgeDQAAdBjb8CK4ieMPRm7Cqm-9VA"), truth.File{Name: "報價單 (最终版)🚀.xlsx", Claimed: 18181}),
			pagesJSON(1027, "1000000000000055433_1603875607", "revoke", `{"pre_msgid":"1000000000000007919_1603875601"}`),
			pagesSwitch(),
			waits(from(pagesJSON(1031, "1000000000000063352_1603875608", "mixed", `{"item":[{"type":"text","content":"{\"content\":\"你好[微笑]\\n\"}"},`+
				`{"type":"image","content":"{\"md5sum\":\"368b6c18c82e6441bfd89b343e9d2429\",\"filesize\":13177}"}]}`),
				"zhangsan", "wr_tZ2BwAAUwHpYMwy9cIWqnlU3Hzqfg", "lisi"), truth.File{Ext: "jpg", Claimed: 13177}),
			waits(pagesJSON(1033, "1000000000000071271_1603875609", "chatrecord", `{"title":"群聊","item":[`+
				`{"type":"ChatRecordText","msgtime":1603875610,"content":"{\"content\":\"test\"}","from_chatroom":false},`+
				`{"type":"ChatRecordImage","msgtime":1603875620,"content":"{\"md5sum\":\"aa\",\"filesize\":1}","from_chatroom":true},`+
				`{"type":"ChatRecordMixed","msgtime":1603875621,"content":"{\"item\":[{\"type\":\"ChatRecordText\",\"content\":\"{\\\"content\\\":\\\"in\\\"}\"}]}","from_chatroom":true}]}`),
				truth.File{Ext: "jpg", Claimed: 1}),
			pagesJSON(1035, "1000000000000079190_1603875610", "docmsg", `{"title":"测试&演示客户","doc_creator":"test","link_url":"https://doc.weixin.qq.com/txdoc/excel?docid=xxx"}`),
			from(pagesJSON(1037, "1000000000000087109_1603875611_external", "external_redpacket", `{"type":1,"wish":"恭喜发财，大吉大利","totalcnt":2,"totalamount":20}`),
				"woJ7ijBwAAmqwojT8r_DaNMbr_NAvaag", "wrJ7ijBwAAG1vly_DzVI72Ghc-PtA5Dw", "zhangsan"),
			pagesText(1039, "1000000000000095028_1603875612", strings.Repeat("长文本測試🚀long ", 9000)),
		},
	}
	for seq := t.First; seq <= t.Last; seq++ {
		if !slices.ContainsFunc(t.Messages, func(m truth.Message) bool { return m.Seq == seq }) {
			t.Holes = append(t.Holes, seq)
		}
	}
	return &corp, t, nil
}

// pagesMessage is a message of zhangsan to lisi. Ids of the pages name the second; every message came 123 ms later.
func pagesMessage(seq uint64, id, kind string) truth.Message {
	second, err := strconv.ParseInt(strings.Split(id, "_")[1], 10, 64)
	if err != nil {
		panic(err) // ids are written above
	}
	m := pagesRaw(seq, id, &truth.Row{TimeMS: second*1000 + 123, Type: kind, Status: truth.Finished})
	m.Row.Time = time.Unix(second, 0).UTC().Truncate(time.Minute)
	return from(m, "zhangsan", "", "lisi")
}

func pagesRaw(seq uint64, id string, row *truth.Row) truth.Message {
	m := truth.Message{Seq: seq, ID: id, KeyVersion: 3, Raw: truth.RawStored, Row: row}
	if seq >= 1025 {
		m.KeyVersion = 4
	}
	return m
}

func pagesText(seq uint64, id, text string) truth.Message {
	m := pagesMessage(seq, id, "text")
	m.Row.Content = text
	if line := longestLine(text); len(line) >= truth.MinNeedle {
		m.Needles = []string{line[:min(len(line), 100)]}
	}
	return settled(m)
}

func pagesJSON(seq uint64, id, kind, payload string) truth.Message {
	m := pagesMessage(seq, id, kind)
	m.Row.Content, m.Row.JSON, m.Needles = payload, true, []string{payload[:len(payload)/2]}
	return settled(m)
}

// pagesBare is a row without any of the members that messages have.
func pagesBare(seq uint64, id, whole string) truth.Message {
	m := pagesRaw(seq, id, &truth.Row{Type: "unknown", Status: truth.TypeUnknown, Content: whole, JSON: true})
	if len(whole) >= truth.MinNeedle {
		m.Needles = []string{whole}
	}
	return settled(m)
}

func pagesSwitch() truth.Message {
	const whole = `{"msgid":"125289002219525886280","action":"switch","time":1554119421840,"user":"XuJinSheng"}`
	return settled(pagesRaw(1029, "125289002219525886280", &truth.Row{
		Time: time.UnixMilli(1554119421840).UTC().Truncate(time.Minute), TimeMS: 1554119421840, From: "XuJinSheng", Type: "switch",
		Status: truth.Finished, Content: whole, JSON: true,
	}))
}

// settled makes the statuses without an object store the same: no file of the pages is large.
func settled(m truth.Message) truth.Message {
	m.Row.StatusWithoutOSS, m.Row.StatusOSSAway = m.Row.Status, m.Row.Status
	return m
}

// from sets who speaks to whom.
func from(m truth.Message, sender, room string, to ...string) truth.Message {
	m.Row.From, m.Row.RoomID, m.Row.ToList, m.Row.To = sender, room, to, ""
	if room == "" && len(to) == 1 {
		m.Row.To = to[0]
	}
	return m
}

// waits adds a file that cannot be had.
func waits(m truth.Message, f truth.File) truth.Message {
	m.Row.Status, m.Files = truth.Waiting, []truth.File{f}
	m.Row.FileName, m.Row.FileSize = f.Name, &f.Claimed
	return settled(m)
}
