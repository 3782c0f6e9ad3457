package protocol

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/protocol/pb"
)

func specification(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var example = regexp.MustCompile("(?s)```textproto ([a-zA-Z0-9.]+)\n(.*?)```\n\n```hex\n(.*?)```")

// The bytes of each example are the message that stands beside them.
func TestSpecExamples(t *testing.T) {
	found := 0
	for _, m := range example.FindAllStringSubmatch(specification(t), -1) {
		found++
		name, text, dump := protoreflect.FullName(m[1]), m[2], m[3]
		typ, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		data, err := readHex(dump)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want, got := typ.New().Interface(), typ.New().Interface()
		if err := prototext.Unmarshal([]byte(text), want); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := proto.Unmarshal(data, got); err != nil || !proto.Equal(got, want) {
			t.Errorf("%s: the bytes are %s (%v), want %s", name, prototext.Format(got), err, prototext.Format(want))
		}
		if err := acceptable(got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all := strings.Count(specification(t), "```hex"); found != all || found < 5 {
		t.Errorf("%d examples with %d dumps", found, all)
	}
}

var pairs = regexp.MustCompile(`^(?:[0-9a-f]{2} ?)+`)

// readHex takes the bytes at the start of each line; what stands behind two spaces is for people.
func readHex(dump string) (data []byte, err error) {
	for line := range strings.Lines(dump) {
		b, err := hex.DecodeString(strings.ReplaceAll(pairs.FindString(line), " ", ""))
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		data = append(data, b...)
	}
	return data, nil
}

// acceptable reports what the reader of the columns says.
func acceptable(m proto.Message) error {
	var err error
	switch m := m.(type) {
	case *pb.Batch:
		_, err = readBatch(m)
	case *pb.ReadResponse:
		_, err = readBatch(m.GetBatch())
	case *pb.WorkResponse:
		_, err = readBatch(m.GetOutputs())
	case *pb.Files:
		_, err = readFiles(m, len(m.GetCount()))
	}
	return err
}

// Every call, message field and verdict stands on the page: in `…`, and a field in a table or text that names its message.
func TestSpecIsComplete(t *testing.T) {
	text := specification(t)
	f := pb.File_sdk_protocol_plugin_proto
	named := func(name protoreflect.Name) bool {
		return regexp.MustCompile("`" + string(name) + "[`.]").MatchString(text)
	}
	for i := range f.Services().Len() {
		for k := range f.Services().Get(i).Methods().Len() {
			if m := f.Services().Get(i).Methods().Get(k); !named(m.Name()) {
				t.Errorf("PROTOCOL.md does not say what %s does", m.FullName())
			}
		}
	}
	for i := range f.Enums().Len() {
		for k := range f.Enums().Get(i).Values().Len() {
			if v := f.Enums().Get(i).Values().Get(k); !named(v.Name()) {
				t.Errorf("PROTOCOL.md does not say what %s means", v.FullName())
			}
		}
	}
	for i := range f.Messages().Len() {
		m := f.Messages().Get(i)
		for k := range m.Fields().Len() {
			if field := m.Fields().Get(k); !named(field.Name()) {
				t.Errorf("PROTOCOL.md does not say what %s means", field.FullName())
			}
		}
		head := fmt.Sprintf("| field of `%s` |", m.Name())
		_, table, ok := strings.Cut(text, head)
		if !ok {
			continue // in the text
		}
		table, _, _ = strings.Cut(table, "\n\n")
		for k := range m.Fields().Len() {
			if field := m.Fields().Get(k); !regexp.MustCompile("\n\\|[^|]*`" + string(field.Name()) + "`").MatchString(table) {
				t.Errorf("the table of %s in PROTOCOL.md has no %s", m.Name(), field.Name())
			}
		}
	}
}

// The numbers on the page are those of the code.
func TestSpecNumbers(t *testing.T) {
	text := strings.Join(strings.Fields(specification(t)), " ")
	h := Handshake()
	limit := NewClient(nil, Options{}).options.Silence
	for _, want := range []string{
		fmt.Sprintf("| `%s` | the cookie: `%s` |", h.MagicCookieKey, h.MagicCookieValue),
		fmt.Sprintf("1|%d|unix|PATH-OF-THE-SOCKET|grpc", h.ProtocolVersion),
		fmt.Sprintf("a message, either way | %d MiB", MaxMessage>>20),
		"at most " + commas(maxRows) + " |",
		"at most " + commas(maxData) + " bytes together",
		fmt.Sprintf("Send one at least every %d seconds", int(beat/time.Second)),
		fmt.Sprintf("waited **%d seconds**", int(limit/time.Second)),
		fmt.Sprintf("(0 = %d minutes)", int(silence/time.Minute)),
		fmt.Sprintf("may take %d times as long", patience),
		fmt.Sprintf("have %d KiB or more together", newCodec().apart>>10),
		fmt.Sprintf("AES-256-GCM of %s bytes", commas(sdk.SpoolPiece)),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md does not say %q", want)
		}
	}
}

func commas(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// The table of statuses says what the client makes of each.
func TestSpecStatuses(t *testing.T) {
	_, table, ok := strings.Cut(specification(t), "| status | the engine takes it for |\n|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if !ok {
		t.Fatal("PROTOCOL.md has no table of statuses")
	}
	said := map[string]string{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		for name := range strings.SplitSeq(cells[1], ",") {
			said[strings.Trim(name, " `")] = strings.TrimSpace(cells[2])
		}
	}
	c := NewClient(nil, Options{})
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		err := c.failure(t.Context(), "sink.any.x", status.Error(code, "why"))
		want := "refused" // by the engine: it is no word of a component, nor of a process
		var gone *GoneError
		var broken *BrokenError
		switch {
		case errors.As(err, &gone):
			want = "gone"
		case errors.As(err, &broken):
			want = "broken"
		}
		var name string
		for n := range said {
			var c codes.Code
			if c.UnmarshalJSON([]byte(`"`+n+`"`)) == nil && c == code {
				name = n
			}
		}
		if said[name] != want {
			t.Errorf("PROTOCOL.md says of %s %q, the code %q", code, said[name], want)
		}
	}
	if len(said) != 16 {
		t.Errorf("PROTOCOL.md names %d statuses, want 16", len(said))
	}
}

// The vectors on the page are files of the spool.
func TestSpecSpool(t *testing.T) {
	text := specification(t)
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	encoded := base64.RawStdEncoding.EncodeToString(key)
	if !strings.Contains(text, "`"+encoded+"`") {
		t.Errorf("PROTOCOL.md does not say that the key is %s", encoded)
	}
	read := func(file []byte) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f-1-x"), file, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := sdk.OpenSpool(dir).Open(&sdk.File{Spool: "f-1-x", SpoolKey: sdk.NewSecret(encoded)})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		plain, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(plain)
	}
	for plain, row := range map[string]string{"": "| empty | `", "weir": "| the 4 bytes `weir` | `"} {
		_, rest, _ := strings.Cut(text, row)
		vector, _, _ := strings.Cut(rest, "`")
		file, err := hex.DecodeString(vector)
		if err != nil || len(file) == 0 {
			t.Errorf("%s: %q is no vector", row, vector)
		} else if got := read(file); got != plain {
			t.Errorf("%s: it holds %q, want %q", row, got, plain)
		}
	}
	// By the words of the page: pieces, number, last flag.
	long := strings.Repeat("a", 65537)
	file := append(specSeal(t, key, 0, 0, long[:65536]), specSeal(t, key, 1, 1, long[65536:])...)
	if got := read(file); md5.Sum([]byte(got)) != md5.Sum([]byte(long)) {
		t.Error("a file of two pieces is read as another")
	}
	if row := fmt.Sprintf("| 65,537 times `a` | %s bytes; sha256 `%x` |", commas(len(file)), sha256.Sum256(file)); !strings.Contains(text, row) {
		t.Errorf("PROTOCOL.md does not say %s", row)
	}
}

func specSeal(t *testing.T, key []byte, number uint64, last byte, plain string) []byte {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(b)
	if err != nil {
		t.Fatal(err)
	}
	nonce := append(binary.BigEndian.AppendUint64(make([]byte, 3), number), last)
	return gcm.Seal(nil, nonce, []byte(plain), nil)
}
