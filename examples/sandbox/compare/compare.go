package compare

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-etl/weir/examples/sandbox/truth"
)

// Store says how the object store was during the run, on which some statuses depend.
type Store string

const (
	Here Store = "here" // large files are in it
	Away Store = "away" // it could not be reached until the end
	None Store = "none" // the pipeline knew of none
)

// Options say what to expect.
type Options struct {
	Store Store // default Here
	// ObjectKey finds seq and index of a file in an object's key, as its first two groups; default DefaultObjectKey.
	ObjectKey *regexp.Regexp
	// BodyKey finds the seq of a message in the key of its body, for CompareBodies; default DefaultBodyKey.
	BodyKey *regexp.Regexp
}

// DefaultObjectKey fits keys that end in "SEQ-INDEX_name".
var DefaultObjectKey = regexp.MustCompile(`(?:^|/)(\d+)-(\d+)_[^/]*$`)

// Compare holds an archive against the truth.
func Compare(t *truth.Truth, a *Archive, o Options) *Report {
	o.Store = cmp.Or(o.Store, Here)
	if o.ObjectKey == nil {
		o.ObjectKey = DefaultObjectKey
	}
	c := newComparer(t, o)
	c.raw(a.Raw)
	c.log(a.Log)
	c.objects(a.Objects)
	c.references(a)
	c.addUp(a)
	return c.finish()
}

func newComparer(t *truth.Truth, o Options) *comparer {
	c := &comparer{
		truth: t, options: o, good: map[uint64]bool{},
		report: &Report{First: t.First, Last: t.Last, Of: len(t.Messages), Differences: []Difference{}},
	}
	for _, m := range t.Messages {
		c.good[m.Seq] = true
	}
	return c
}

func (c *comparer) finish() *Report {
	c.report.Equal = len(c.good)
	c.report.sort()
	return c.report
}

type comparer struct {
	truth   *truth.Truth
	options Options
	report  *Report
	good    map[uint64]bool // seqs of messages in which no difference was found
}

// differ notes a difference and counts it in a line of the table.
func (c *comparer) differ(l *Line, d Difference) {
	switch d.Kind {
	case Missing:
		l.Missing++
	case Extra:
		l.Extra++
	case Twice:
		l.Twice++
	case Altered:
		l.Altered++
	}
	c.report.differ(d)
	delete(c.good, d.Seq)
}

// field compares one value of a row.
func field(differences *[]Difference, place string, m truth.Message, name, got, want string) {
	if got != want {
		*differences = append(*differences, Difference{place, Altered, m.Seq, m.ID, name, got, want})
	}
}

func (c *comparer) raw(rows []Row) {
	line := Line{Name: "kintone Raw Data", Expected: len(c.truth.Messages), Arrived: len(rows)}
	bySeq := group(rows, "seq")
	for _, m := range c.truth.Messages {
		key := fmt.Sprint(m.Seq)
		c.each(&line, "raw", m, bySeq[key], func(row Row) (found []Difference) {
			v := row.Values
			field(&found, "raw", m, "msgid", v["msgid"], m.ID)
			field(&found, "raw", m, "publickey_ver", v["publickey_ver"], fmt.Sprint(m.KeyVersion))
			field(&found, "raw", m, "decode_status", v["decode_status"], m.Raw)
			if m.Served != "" {
				sum := sha256.Sum256([]byte(v["encrypt_random_key"] + "\n" + v["encrypt_chat_msg"]))
				field(&found, "raw", m, "ciphertext", hex.EncodeToString(sum[:]), m.Served)
			}
			return found
		})
		delete(bySeq, key)
	}
	c.rest(&line, "raw", bySeq)
	c.report.Lines = append(c.report.Lines, line)
}

func (c *comparer) log(rows []Row) {
	line := Line{Name: "kintone Chat Log", Arrived: len(rows)}
	files := Line{Name: "kintone files < 10 MiB"}
	byID := group(rows, "msgid")
	for _, m := range c.truth.Messages {
		if m.Row == nil {
			continue
		}
		line.Expected++
		c.each(&line, "log", m, byID[m.ID], func(row Row) []Difference { return c.row(m, row) })
		if rows := byID[m.ID]; len(rows) > 0 {
			c.attachments(&files, m, rows[0])
		} else {
			c.attachments(&files, m, Row{})
		}
		delete(byID, m.ID)
	}
	for _, rows := range byID {
		for _, row := range rows {
			files.Arrived += len(row.Files["file"])
			files.Extra += len(row.Files["file"])
		}
	}
	c.rest(&line, "log", byID)
	c.report.Lines = append(c.report.Lines, line, files)
}

// each compares the rows that were found for a message, of which there should be one.
func (c *comparer) each(l *Line, place string, m truth.Message, rows []Row, differences func(Row) []Difference) {
	if len(rows) == 0 {
		c.differ(l, Difference{Place: place, Kind: Missing, Seq: m.Seq, ID: m.ID})
		return
	}
	for _, row := range rows[1:] {
		c.differ(l, Difference{Place: place, Kind: Twice, Seq: m.Seq, ID: m.ID, Field: "record", Got: row.Number, Want: rows[0].Number + " only"})
	}
	found := differences(rows[0])
	for i, d := range found {
		c.differ(l, d)
		if i > 0 {
			l.Altered-- // a row is altered once, however many of its fields are
		}
	}
}

// rest are rows that nobody sent.
func (c *comparer) rest(l *Line, place string, rows map[string][]Row) {
	for key, list := range rows {
		for _, row := range list {
			seq, _ := strconv.ParseUint(row.Values["seq"], 10, 64)
			c.differ(l, Difference{Place: place, Kind: Extra, Seq: seq, ID: cmp.Or(row.Values["msgid"], key)})
		}
	}
}

func group(rows []Row, code string) map[string][]Row {
	by := map[string][]Row{}
	for _, r := range rows {
		by[r.Values[code]] = append(by[r.Values[code]], r)
	}
	return by
}

// row compares the fields of a row of the chat log.
func (c *comparer) row(m truth.Message, row Row) (found []Difference) {
	want, got := m.Row, row.Values
	check := func(name, want string) { field(&found, "log", m, name, got[name], want) }
	check("seq", fmt.Sprint(m.Seq))
	if want.TimeMS == 0 { // the message says no time
		check("msgtime", "")
		check("msgtime_ms", "")
	} else {
		check("msgtime", want.Time.Format("2006-01-02T15:04:05Z"))
		check("msgtime_ms", fmt.Sprint(want.TimeMS))
	}
	check("from", want.From)
	check("to", want.To)
	check("roomid", want.RoomID)
	check("tolist", strings.Join(want.ToList, "\n"))
	check("msgtype", want.Type)
	check("status", c.status(want))
	if want.JSON {
		if !sameJSON(got["content"], want.Content) {
			check("content", want.Content)
		}
	} else {
		check("content", want.Content)
	}
	size := ""
	if want.FileSize != nil {
		size = fmt.Sprint(*want.FileSize)
	}
	check("filesize", size)
	if len(m.Files) == 0 || want.FileName != "" {
		check("filename", want.FileName)
	} else if shape := nameShape(m.Files[0].Ext); !shape.MatchString(got["filename"]) {
		found = append(found, Difference{"log", Altered, m.Seq, m.ID, "filename", got["filename"], "a name like " + shape.String()})
	}
	return found
}

func (c *comparer) status(r *truth.Row) string {
	switch c.options.Store {
	case None:
		return r.StatusWithoutOSS
	case Away:
		return r.StatusOSSAway
	}
	return r.Status
}

// nameShape is what a file without a name is called.
func nameShape(ext string) *regexp.Regexp {
	if ext == "?" {
		return regexp.MustCompile(`^[A-Z0-9]{20}(\.[a-z0-9]{1,8})?$`)
	}
	return regexp.MustCompile(`^[A-Z0-9]{20}\.` + regexp.QuoteMeta(ext) + `$`)
}

// attachments compares the files of a row, which may be in any order.
func (c *comparer) attachments(l *Line, m truth.Message, row Row) {
	got := slices.Clone(row.Files["file"])
	l.Arrived += len(got)
	var open []truth.File
	matched := map[string]bool{}
	for _, f := range m.Files {
		if f.To != truth.Kintone {
			continue
		}
		l.Expected++
		i := slices.IndexFunc(got, func(a Attachment) bool { return a.SHA256 == f.SHA256 && a.Size == f.Size })
		if i < 0 {
			open = append(open, f)
			continue
		}
		if f.Name == "" && f.Index == 0 && got[i].Name != row.Values["filename"] {
			c.differ(l, Difference{"kintone file", Altered, m.Seq, m.ID, "name", got[i].Name, row.Values["filename"]})
		}
		matched[f.SHA256] = true
		got = slices.Delete(got, i, i+1)
	}
	for _, a := range got {
		d := Difference{"kintone file", Extra, m.Seq, m.ID, "sha256", a.SHA256, ""}
		switch {
		case matched[a.SHA256]:
			d.Kind = Twice
		case len(open) > 0:
			d.Kind, d.Want = Altered, open[0].SHA256
			open = open[1:]
		}
		c.differ(l, d)
	}
	for _, f := range open {
		c.differ(l, Difference{"kintone file", Missing, m.Seq, m.ID, "sha256", "", f.SHA256})
	}
}

// objects compares the object store.
func (c *comparer) objects(objects []Object) {
	if c.options.Store == None && len(objects) == 0 {
		return
	}
	c.stored("OSS files >= 10 MiB", objects, func(f truth.File) bool { return f.To == truth.OSS && c.options.Store == Here })
}

// stored compares objects with the files that should be there.
func (c *comparer) stored(name string, objects []Object, wanted func(truth.File) bool) {
	line := Line{Name: name, Arrived: len(objects)}
	type place struct {
		seq   uint64
		index int
	}
	found := map[place][]Object{}
	for _, o := range objects {
		p := place{}
		if part := c.options.ObjectKey.FindStringSubmatch(o.Key); part != nil {
			p.seq, _ = strconv.ParseUint(part[1], 10, 64)
			p.index, _ = strconv.Atoi(part[2])
		}
		found[p] = append(found[p], o)
	}
	for _, m := range c.truth.Messages {
		for _, f := range m.Files {
			if !wanted(f) {
				continue
			}
			line.Expected++
			p := place{m.Seq, f.Index}
			got := found[p]
			delete(found, p)
			if len(got) == 0 {
				c.differ(&line, Difference{"object", Missing, m.Seq, m.ID, "sha256", "", f.SHA256})
				continue
			}
			c.object(&line, m, f, got[0])
			for _, o := range got[1:] {
				c.differ(&line, Difference{"object", Twice, m.Seq, o.Key, "", "", ""})
			}
		}
	}
	for p, list := range found {
		for _, o := range list {
			c.differ(&line, Difference{"object", Extra, p.seq, o.Key, "", "", ""})
		}
	}
	c.report.Lines = append(c.report.Lines, line)
}

func (c *comparer) object(l *Line, m truth.Message, f truth.File, o Object) {
	for _, v := range []struct{ name, got, want string }{
		{"size", fmt.Sprint(o.Size), fmt.Sprint(f.Size)},
		{"crc64", o.CRC64, fmt.Sprint(f.CRC64)},
		{"sha256", o.SHA256, f.SHA256},
		{"noted sha256", o.Noted, f.SHA256},
	} {
		if v.got != v.want && v.got != "" {
			c.differ(l, Difference{"object", Altered, m.Seq, o.Key, v.name, v.got, v.want})
			return
		}
	}
	if o.CRC64 == "" && o.SHA256 == "" {
		c.differ(l, Difference{"object", Altered, m.Seq, o.Key, "sum", "", "a sum that the store computed"})
	}
}

// references looks for vendor references, which embed keys, in what people can read.
func (c *comparer) references(a *Archive) {
	line := &Line{}
	known := map[string]truth.Message{}
	for _, m := range c.truth.Messages {
		for _, ref := range m.References {
			known[ref] = m
		}
	}
	token := regexp.MustCompile(`[A-Za-z0-9+/]{40,}=*`)
	for _, row := range slices.Concat(a.Raw, a.Log) {
		for code, value := range row.Values {
			for _, found := range token.FindAllString(value, -1) {
				if m, ok := known[found]; ok {
					c.differ(line, Difference{"kintone", Altered, m.Seq, m.ID, code, "an sdkfileid", "none"})
				}
			}
		}
	}
}

// addUp accounts for every seq of the range, from what is in the archive alone.
func (c *comparer) addUp(a *Archive) {
	count := map[string]int{}
	raw := map[string]bool{}
	for _, r := range a.Raw {
		raw[r.Values["seq"]] = true
	}
	log := map[string]bool{}
	for _, r := range a.Log {
		count[r.Values["status"]]++
		log[r.Values["seq"]] = true
	}
	for _, r := range a.Raw {
		if r.Values["decode_status"] == truth.DecryptFailed && !log[r.Values["seq"]] {
			count[truth.DecryptFailed]++
		}
	}
	holes := 0
	for seq := c.truth.First; seq <= c.truth.Last; seq++ {
		if !raw[fmt.Sprint(seq)] {
			holes++
		}
	}
	total := holes
	order := []string{truth.Finished, truth.Unmatched, truth.Expired, truth.OSSUndefined, truth.UploadFailed, truth.Waiting,
		truth.TypeUnknown, truth.FieldMissing, truth.DecryptFailed}
	for status := range count {
		if !slices.Contains(order, status) {
			order = append(order, status)
		}
	}
	for _, status := range order {
		if n := count[status]; n > 0 {
			c.report.Sum = append(c.report.Sum, Share{status, n})
			total += n
		}
	}
	c.report.Sum = append(c.report.Sum, Share{"holes", holes})
	c.report.AddsUp = total == int(c.truth.Last-c.truth.First+1) && holes == len(c.truth.Holes)
}
