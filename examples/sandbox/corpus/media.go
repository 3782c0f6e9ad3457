package corpus

import (
	"crypto/md5"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc64"
	"io"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
)

// heads are the first bytes of real files: a JPEG, PNG, GIF and PDF that viewers open, the box structure of an MP4, an AMR magic
// and the first entry of a ZIP.
//
//go:embed heads
var heads embed.FS

func head(format string) []byte {
	switch format {
	case "docx", "xlsx", "pptx", "apk":
		format = "zip"
	case "jpeg":
		format = "jpg"
	}
	b, err := heads.ReadFile("heads/" + format)
	if err != nil {
		return nil // a format without a signature, such as txt
	}
	return b
}

// content is a file that is computed, not stored: a real head, then bytes that depend on seed and place alone.
type content struct {
	head []byte
	seed uint64
	size int64
}

// ReadAt implements io.ReaderAt.
func (c content) ReadAt(p []byte, off int64) (int, error) {
	if off >= c.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	var word [8]byte
	for i := 0; i < n; {
		at := off + int64(i)
		if at < int64(len(c.head)) {
			i += copy(p[i:n], c.head[at:])
			continue
		}
		value := mix(c.seed + uint64(at/8)*0x9e3779b97f4a7c15)
		if at%8 == 0 && n-i >= 8 {
			binary.LittleEndian.PutUint64(p[i:], value)
			i += 8
			continue
		}
		binary.LittleEndian.PutUint64(word[:], value)
		i += copy(p[i:n], word[at%8:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// mix is the finishing step of splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// describe computes what the truth says of a content.
func (c content) describe(f *truth.File) {
	f.Size = c.size
	weak, strong := md5.New(), sha256.New()
	sums := []io.Writer{weak, strong}
	crc := crc64.New(crc64.MakeTable(crc64.ECMA))
	if c.size >= truth.Threshold {
		sums = append(sums, crc)
	}
	if _, err := io.Copy(io.MultiWriter(sums...), io.NewSectionReader(c, 0, c.size)); err != nil {
		panic(err) // it only computes
	}
	f.MD5, f.SHA256 = hex.EncodeToString(weak.Sum(nil)), hex.EncodeToString(strong.Sum(nil))
	f.CRC64 = crc.Sum64()
	const piece = 24
	for _, at := range []int64{int64(len(c.head)), c.size / 2, c.size - piece} {
		if at >= int64(len(c.head)) && at+piece <= c.size {
			b := make([]byte, piece)
			c.ReadAt(b, at)
			f.Pieces = append(f.Pieces, b)
		}
	}
}

// How a file behaves.
type manner int

const (
	plain      manner = iota
	late              // cannot be downloaded at first
	cured             // other bytes at first: the md5 differs, later it matches
	altered           // other bytes for ever: the md5 never matches
	noSum             // the message says an empty md5sum
	never             // cannot be downloaded while the message lives
	waiting           // cannot be downloaded before the truth's instant
	undersized        // the message says a smaller size than the file has
)

// A file to be made.
type file struct {
	name   string // as the message says; "" where its type has none
	format string // decides the first bytes, and the extension of a file without a name
	size   int64
	manner manner
	late   time.Duration // of a late or cured file
	same   *content      // the content of another file
	// unnamed: the message says neither name, format, size nor sum.
	unnamed bool
}

// reference is what a message says of a file.
type reference struct {
	id      string // sdkfileid
	md5     string
	claimed int64
	content content
}

// add makes the file, keeps it for download, notes it in the draft and returns what the message is to say of it.
func (g *generator) add(d *draft, f file) reference {
	c := content{head(f.format), g.random.Uint64(), f.size}
	if f.same != nil {
		c = *f.same
	}
	entry := truth.File{Index: len(d.files), Name: f.name, To: truth.Kintone}
	if f.name == "" {
		entry.Ext = f.format
		if f.unnamed {
			entry.Ext = "?"
		}
	}
	g.spent += c.size
	c.describe(&entry)
	if c.size >= truth.Threshold {
		entry.To = truth.OSS
	}
	says := reference{md5: entry.MD5, claimed: entry.Size, content: c}
	media := wecomsim.Media{
		AuthKey: fmt.Sprintf("47_%d_%d_%d", 1688850000000000+g.random.Int64N(1e9), len(g.corp.Media), g.options.Start.Unix()),
		AESKey:  fmt.Sprintf("%016x%016x", g.random.Uint64(), g.random.Uint64()),
		Size:    c.size, Content: c,
	}
	status := truth.Finished
	switch f.manner {
	case cured:
		if g.delay(f.late) > 0 { // else nobody asks a second time
			media.Content = content{c.head, c.seed + 1, c.size}
			media.Versions = []wecomsim.Version{{Size: c.size, Content: c}}
		}
	case altered:
		says.md5 = fmt.Sprintf("%016x%016x", g.random.Uint64(), g.random.Uint64())
		status = truth.Unmatched
	case noSum:
		says.md5 = ""
	case never:
		status = truth.Expired
	case waiting:
		status = truth.Waiting
	case undersized:
		says.claimed = entry.Size / 2
	}
	entry.Claimed = says.claimed
	if f.unnamed {
		entry.Claimed = -1
	}
	if status == truth.Expired || status == truth.Waiting {
		entry = truth.File{Index: entry.Index, Name: entry.Name, Ext: entry.Ext, Claimed: entry.Claimed}
	}
	id := fmt.Sprintf("%016x%016x", g.random.Uint64(), g.random.Uint64())
	says.id = wecomsim.SDKFileID(id, media.AuthKey, media.AESKey)
	g.corp.Media[id] = media
	d.keep(entry, status, placed{id, says.id, f.manner, f.late})
	return says
}

// placed is a file whose times wait for the time of its message.
type placed struct {
	id        string
	reference string // sdkfileid
	manner    manner
	late      time.Duration
}

func (d *draft) keep(f truth.File, status string, p placed) {
	d.files, d.fileStatus, d.placed = append(d.files, f), append(d.fileStatus, status), append(d.placed, p)
}

// place gives a file its times, once its message has one.
func (g *generator) place(p placed, at time.Time) {
	m := g.corp.Media[p.id]
	if m.Time.Before(at) { // the same file may belong to two messages: the later one counts
		m.Time = at
	}
	from := g.options.Start
	if at.After(from) {
		from = at
	}
	switch p.manner {
	case late:
		m.AvailableFrom = from.Add(g.delay(p.late))
	case cured:
		if len(m.Versions) > 0 {
			m.Versions[0].From = from.Add(g.delay(p.late))
		}
	case never, waiting:
		m.AvailableFrom = g.options.Until.Add(10_000 * time.Hour)
	}
	g.corp.Media[p.id] = m
}

// delay returns how long after its message a late file can be had. It fits into the run, and into the times at which an archive
// asks again: after 1, 5, 15 minutes and every hour for a file that is missing, after 10 minutes and 2 hours for a sum that
// differs. A run too short for a second question gets 0.
func (g *generator) delay(want time.Duration) time.Duration {
	run := g.options.Until.Sub(g.options.Start)
	switch {
	case run < polled:
		return 0
	case want == 0 || want > run/6:
		return min(5*time.Minute, run/8)
	}
	return want
}
