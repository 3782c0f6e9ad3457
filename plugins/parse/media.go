package parse

import (
	"crypto/sha256"
	"strconv"
	"strings"

	"github.com/weir-etl/weir/sdk"
)

// sdkfileid is the member that names a file and holds the key to it.
const sdkfileid = "sdkfileid"

// span is a stretch of the message's text.
type span struct{ from, to int }

// walk finds the files in n, which belongs to a message or part of type msgtype, in document order, and tells where in the text of n
// their ids stand. It looks into every string that may hold JSON; what a person typed stays a text, even if it looks like a file.
func (m *message) walk(n node, msgtype string, typed bool, secret func(span)) {
	switch n.kind {
	case '"':
		if !typed {
			m.inside(n, msgtype, secret)
		}
	case '[':
		for _, e := range n.elements {
			m.walk(e, msgtype, typed, secret)
		}
	case '{':
		known := typesByName[msgtype]
		part, isPart := partType(n, known)
		var beside *facts // read once, however many ids the object holds
		for _, member := range n.members {
			v := member.value
			if v.kind == '"' && strings.EqualFold(member.name, sdkfileid) {
				if id := v.text(); id != "" {
					if beside == nil {
						beside = factsOf(n, msgtype)
					}
					m.addFile(id, beside)
					secret(span{v.at + 1, v.at + len(v.raw) - 1})
				}
			} else if isPart && member.name == "content" {
				m.walk(v, part, false, secret)
			} else {
				m.walk(v, msgtype, known != nil && typedFields[member.name], secret)
			}
		}
	}
}

// inside looks for files in a string that holds JSON.
func (m *message) inside(str node, msgtype string, secret func(span)) {
	switch str.raw[1] {
	case '{', '[', ' ', '\\': // an object, a list, or something before it
	default:
		return
	}
	text := str.text()
	if start := strings.TrimLeft(text, " \t\r\n"); start == "" || start[0] != '{' && start[0] != '[' {
		return
	}
	n, ok := parseJSON([]byte(text))
	if !ok {
		return
	}
	var ends []int
	m.walk(n, msgtype, false, func(s span) { ends = append(ends, s.from, s.to) })
	ends = str.rawOffsets(ends)
	for i := 0; i < len(ends); i += 2 {
		secret(span{ends[i], ends[i+1]})
	}
}

// partType is the type of a part of a mixed, forwarded or unknown message: {"type":"ChatRecordImage","content":…}.
func partType(n node, known *messageType) (name string, ok bool) {
	v, has := n.get("type")
	if _, ok := n.get("content"); !ok || !has || v.kind != '"' || known != nil && !known.hasItems {
		return "", false
	}
	return strings.ToLower(strings.TrimPrefix(v.text(), "ChatRecord")), true
}

// without is n as it stands in the message, with every sdkfileid empty.
func (m *message) without(n node) []byte { return m.appendWithout(make([]byte, 0, len(n.raw)), n) }

func (m *message) appendWithout(b []byte, n node) []byte {
	at, end := n.at, n.at+len(n.raw)
	for _, s := range m.secrets {
		if s.from >= at && s.to <= end {
			b = append(b, m.text[at:s.from]...)
			at = s.to
		}
	}
	return append(b, m.text[at:end]...)
}

// facts are what stands beside an sdkfileid.
type facts struct {
	name, extension, md5 string
	size                 int64
}

func factsOf(n node, msgtype string) *facts {
	f := &facts{name: n.str("filename"), md5: strings.ToLower(strings.TrimSpace(n.str("md5sum"))), size: -1}
	for _, name := range []string{"filesize", "voice_size", "imagesize"} {
		if size, err := strconv.ParseInt(n.str(name), 10, 64); err == nil && size >= 0 {
			f.size = size
			break
		}
	}
	if f.name == "" {
		f.extension = extension(n, msgtype)
	}
	return f
}

func (m *message) addFile(id string, beside *facts) {
	f := sdk.File{
		Index:       len(m.files),
		Name:        beside.name,
		SizeClaimed: beside.size,
		Size:        -1,
		MD5Claimed:  beside.md5,
		Ref:         sdk.NewSecret(id),
	}
	if f.Name == "" {
		f.Name = m.madeUpName(f.Index)
		if beside.extension != "" {
			f.Name += "." + beside.extension
		}
	}
	f.MediaType = mediaType(f.Name)
	m.files = append(m.files, f)
}

// madeUpName is a name for a file that has none: 20 characters of A–Z and 0–9, the same whenever the message is read.
func (m *message) madeUpName(index int) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	sum := sha256.Sum256([]byte(m.id + "/" + strconv.Itoa(index)))
	name := sum[:20]
	for i, c := range name {
		name[i] = alphabet[int(c)%len(alphabet)]
	}
	return string(name)
}

// extension is that of a nameless file, "" if nothing says.
func extension(n node, msgtype string) string {
	if ext := strings.ToLower(n.str("fileext")); ext != "" && len(ext) <= 10 && strings.Trim(ext, "abcdefghijklmnopqrstuvwxyz0123456789") == "" {
		return ext
	}
	if msgtype == "emotion" {
		if n.str("type") == "2" {
			return "png"
		}
		return "gif"
	}
	if known := typesByName[msgtype]; known != nil {
		return known.extension
	}
	return ""
}

// mediaTypes is a table of our own, because package mime asks the machine's.
var mediaTypes = map[string]string{
	"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "webp": "image/webp", "bmp": "image/bmp",
	"amr": "audio/amr", "mp3": "audio/mpeg", "wav": "audio/wav", "m4a": "audio/mp4", "mp4": "video/mp4", "mov": "video/quicktime",
	"txt": "text/plain", "csv": "text/csv", "html": "text/html", "md": "text/markdown", "json": "application/json", "xml": "application/xml",
	"pdf": "application/pdf", "zip": "application/zip", "rar": "application/vnd.rar", "7z": "application/x-7z-compressed",
	"doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint",
	"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}

func mediaType(name string) string {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		if t, ok := mediaTypes[strings.ToLower(name[i+1:])]; ok {
			return t
		}
	}
	return "application/octet-stream"
}
