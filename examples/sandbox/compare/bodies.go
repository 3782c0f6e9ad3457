package compare

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// DefaultBodyKey fits keys that end in "SEQ_msgid.json".
var DefaultBodyKey = regexp.MustCompile(`(?:^|/)(\d+)_[^/]*\.json$`)

// CompareBodies holds an archive in which every message is one JSON object, and every file, whatever its size, is another, against
// the truth. bodies holds the content of objects by key. Statuses have no place in such an archive; what could not be decrypted has
// no body.
func CompareBodies(t *truth.Truth, objects []Object, bodies map[string][]byte, o Options) *Report {
	o.Store = Here
	if o.ObjectKey == nil {
		o.ObjectKey = DefaultObjectKey
	}
	if o.BodyKey == nil {
		o.BodyKey = DefaultBodyKey
	}
	c := newComparer(t, o)
	line := Line{Name: "S3 messages"}
	var files []Object
	found := map[uint64][]Object{}
	for _, object := range objects {
		if part := o.BodyKey.FindStringSubmatch(object.Key); part != nil {
			seq, _ := strconv.ParseUint(part[1], 10, 64)
			found[seq] = append(found[seq], object)
			line.Arrived++
		} else {
			files = append(files, object)
		}
	}
	hidden := 0
	for _, m := range t.Messages {
		if m.Row == nil {
			hidden++
			continue
		}
		line.Expected++
		list := found[m.Seq]
		delete(found, m.Seq)
		if len(list) == 0 {
			c.differ(&line, Difference{Place: "body", Kind: Missing, Seq: m.Seq, ID: m.ID})
			continue
		}
		c.body(&line, m, list[0].Key, bodies[list[0].Key])
		for _, again := range list[1:] {
			c.differ(&line, Difference{Place: "body", Kind: Twice, Seq: m.Seq, ID: again.Key})
		}
	}
	for seq, list := range found {
		for _, object := range list {
			c.differ(&line, Difference{Place: "body", Kind: Extra, Seq: seq, ID: object.Key})
		}
	}
	c.report.Lines = append(c.report.Lines, line)
	c.stored("S3 files", files, func(f truth.File) bool { return f.To != truth.Nowhere })
	without := int(t.Last-t.First) + 1 - line.Arrived
	c.report.Sum = []Share{{"messages", line.Arrived}, {"without one", without}}
	c.report.AddsUp = without == len(t.Holes)+hidden
	return c.finish()
}

// body compares one message, as the parse step writes it.
func (c *comparer) body(l *Line, m truth.Message, key string, content []byte) {
	var got struct {
		MsgType string   `json:"msgtype"`
		From    string   `json:"from"`
		RoomID  string   `json:"roomid"`
		ToList  []string `json:"tolist"`
		TimeMS  int64    `json:"msgtime_ms"`
		Content string   `json:"content"`
	}
	if err := json.Unmarshal(content, &got); err != nil {
		c.differ(l, Difference{"body", Altered, m.Seq, key, "json", string(content), "a message"})
		return
	}
	for _, v := range []struct{ name, got, want string }{
		{"msgtype", got.MsgType, m.Row.Type}, {"from", got.From, m.Row.From}, {"roomid", got.RoomID, m.Row.RoomID},
		{"tolist", strings.Join(got.ToList, "\n"), strings.Join(m.Row.ToList, "\n")}, {"msgtime_ms", fmt.Sprint(got.TimeMS), fmt.Sprint(m.Row.TimeMS)},
	} {
		if v.got != v.want {
			c.differ(l, Difference{"body", Altered, m.Seq, key, v.name, v.got, v.want})
			return
		}
	}
	if got.Content != m.Row.Content && !(m.Row.JSON && sameJSON(got.Content, m.Row.Content)) {
		c.differ(l, Difference{"body", Altered, m.Seq, key, "content", got.Content, m.Row.Content})
	}
}
