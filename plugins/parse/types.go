package parse

import (
	"fmt"
	"strings"
)

// messageType is what weir knows about one msgtype. A new type of WeCom needs a line in knownTypes and nothing else; until it has
// one, it passes whole, with its files, as TYPE_UNKNOWN.
type messageType struct {
	name    string
	label   string   // in WeCom's documentation
	aliases []string // other spellings on the wire
	payload []string // where the payload is, if not under the msgtype; "." = at the top level of the message

	required []string // fields of the payload, "a|b" = one of them, ".a" = at the top level; one that is missing gives FIELD_MISSING
	text     string   // the field that is the content; "" = the payload's JSON is

	// hasItems: the payload is a list of parts {type, content}, whose content is JSON again, as a string.
	hasItems  bool
	extension string // of a file without name
	limited   string // what WeCom gives is less than what people saw (△ in the product's list)
}

// Sources: WeCom's documentation (91774, read 2026-01-19) and, for voiptext, qydiskfile and meeting_notification, public libraries
// for the chat archive. md5sum is required nowhere: WeCom sends it empty at times.
var knownTypes = []messageType{
	{name: "text", label: "文本", required: []string{"content"}, text: "content"},
	{name: "image", label: "图片", required: []string{"sdkfileid", "filesize"}, extension: "jpg"},
	{name: "revoke", label: "撤回消息", required: []string{"pre_msgid"}},
	{name: "agree", label: "同意会话聊天内容", required: []string{"userid", "agree_time"}},
	{name: "disagree", label: "不同意会话聊天内容", payload: []string{"agree"}, required: []string{"userid", "disagree_time|agree_time"}},
	{name: "voice", label: "语音", required: []string{"sdkfileid", "voice_size", "play_length"}, extension: "amr"},
	{name: "video", label: "视频", required: []string{"sdkfileid", "filesize", "play_length"}, extension: "mp4"},
	{name: "card", label: "名片", required: []string{"corpname", "userid"}},
	{name: "location", label: "位置", required: []string{"longitude", "latitude", "address", "title", "zoom"}},
	{name: "emotion", label: "表情", required: []string{"sdkfileid", "type", "imagesize"}},
	{name: "file", label: "文件", required: []string{"sdkfileid", "filename", "fileext", "filesize"}},
	{name: "link", label: "链接", required: []string{"title", "link_url"}},
	{name: "weapp", label: "小程序消息", required: []string{"title", "displayname", "username"}},
	{name: "chatrecord", label: "会话记录消息", required: []string{"title", "item"}, hasItems: true, limited: "kept as it is: its parts are not documented completely"},
	{name: "todo", label: "待办消息", payload: []string{"."}, required: []string{"title", "content"}},
	{name: "vote", label: "投票消息", payload: []string{"."}, required: []string{"votetitle", "voteitem", "votetype", "voteid"}},
	{name: "collect", label: "填表消息", required: []string{"room_name", "creator", "create_time", "title", "details"}},
	{name: "redpacket", label: "红包消息", required: []string{"type", "wish", "totalcnt", "totalamount"}},
	{name: "external_redpacket", label: "互通红包消息", payload: []string{"redpacket"}, required: []string{"type", "wish", "totalcnt", "totalamount"}},
	{name: "meeting", label: "会议邀请消息", required: []string{"topic", "starttime", "endtime", "meetingid"}},
	{name: "meeting_notification", label: "会议控制消息", payload: []string{"info"}, required: []string{"meeting_id", "notification_type"}},
	{name: "docmsg", label: "在线文档消息", payload: []string{"doc"}, required: []string{"title", "link_url", "doc_creator"}, limited: "a link, not the document"},
	{name: "markdown", label: "Markdown格式消息", payload: []string{"info"}, required: []string{"content"}, text: "content"},
	{name: "news", label: "图文消息", payload: []string{"info"}, required: []string{"item|title"}},
	{name: "calendar", label: "日程消息", required: []string{"title", "creatorname", "attendeename", "starttime", "endtime"}},
	{name: "mixed", label: "混合消息", required: []string{"item"}, hasItems: true},
	{name: "meeting_voice_call", label: "音频存档消息", aliases: []string{"meetingvoicecall"}, required: []string{".voiceid", "endtime", "sdkfileid"}},
	{name: "voip_doc_share", label: "音频共享文档消息", aliases: []string{"voipdocshare"}, required: []string{"filename", "filesize", "sdkfileid"}},
	{name: "sphfeed", label: "视频号消息", required: []string{"feed_type", "sph_name", "feed_desc"}},
	{name: "voiptext", label: "音视频通话", payload: []string{"info"}, required: []string{"callduration", "invitetype"}},
	{name: "qydiskfile", label: "微盘文件", payload: []string{"info"}, required: []string{"filename"}, limited: "a name, not the file"},
	{name: typeSwitch, label: "切换企业日志", payload: []string{"."}, required: []string{"user", "time"}},
}

// typeSwitch is our name for the log line that WeCom writes when a user switches between companies: it has no msgtype.
const typeSwitch = "switch"

// typeNone is our name for a message without a msgtype that is not a switch.
const typeNone = "unknown"

// typedFields are the fields of known types that a person fills in.
var typedFields = map[string]bool{
	"content": true, "title": true, "description": true, "filename": true, "wish": true, "topic": true, "address": true,
	"remarks": true, "place": true, "room_name": true, "creator": true, "ques": true, "votetitle": true, "voteitem": true,
	"corpname": true, "creatorname": true, "attendeename": true, "doc_creator": true, "displayname": true, "sph_name": true, "feed_desc": true,
}

// commonFields stand in every message but the switch log. roomid may be absent.
var commonFields = []string{"from", "tolist", "msgtime"}

var typesByName = func() map[string]*messageType {
	all := make(map[string]*messageType)
	for i := range knownTypes {
		t := &knownTypes[i]
		for _, name := range append(t.aliases, t.name) {
			all[name] = t
		}
	}
	return all
}()

// reference is the table of types for the plugin's reference page.
func reference() string {
	var b strings.Builder
	b.WriteString("| msgtype | | payload | required | limited |\n|---|---|---|---|---|\n")
	for _, t := range knownTypes {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", strings.Join(append([]string{t.name}, t.aliases...), ", "), t.label,
			strings.Join(append([]string{t.name}, t.payload...), ", "), strings.ReplaceAll(strings.Join(t.required, ", "), "|", " or "), t.limited)
	}
	return b.String()
}
