package protocol_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/weir-etl/weir/sdk/protocol/pb"
)

var renew = flag.Bool("renew", false, "TestWireStays writes what has been added to the wire into testdata/wire.txt")

const wireFile = "testdata/wire.txt"

// What is on the wire stays there, with its number, name and type: plugins that were built against it go on running. testdata/wire.txt
// lists all of it. What is new is written there on purpose, by
//
//	go test ./sdk/protocol -run TestWireStays -renew
//
// which never takes anything away, except that a number which was kept for later may be put to use.
func TestWireStays(t *testing.T) {
	text, err := os.ReadFile(wireFile)
	if err != nil && !*renew {
		t.Fatal(err)
	}
	want := strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
	got := wire(pb.File_sdk_protocol_plugin_proto)
	lost, added := compareWire(want, got)
	for _, line := range lost {
		t.Errorf("no longer on the wire, which breaks plugins that exist: %s", line)
	}
	if *renew && len(lost) == 0 {
		if err := os.WriteFile(wireFile, []byte(strings.Join(got, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range added {
		t.Errorf("new on the wire: %s", line)
	}
	if len(added) > 0 {
		t.Error("if that is meant to be, and is in PROTOCOL.md: go test ./sdk/protocol -run TestWireStays -renew")
	}
}

// Each kind of change is noticed for what it is.
func TestWireChangesShow(t *testing.T) {
	now := wire(pb.File_sdk_protocol_plugin_proto)
	for _, row := range []struct {
		name        string
		line, other string // a line of now, and what it was before; "" = there was none, or is none any more
		breaks      bool
	}{
		{"number", "weir.v1.Text 1 data bytes", "weir.v1.Text 3 data bytes", true},
		{"name", "weir.v1.Text 1 data bytes", "weir.v1.Text 1 bytes bytes", true},
		{"type", "weir.v1.Text 1 data bytes", "weir.v1.Text 1 data string", true},
		{"repeated", "weir.v1.Text 2 len repeated uint32 packed", "weir.v1.Text 2 len uint32", true},
		{"oneof", "weir.v1.ReadRequest 1 start weir.v1.Start oneof do", "weir.v1.ReadRequest 1 start weir.v1.Start", true},
		{"verdict", "weir.v1.Verdict 1 VERDICT_DONE", "weir.v1.Verdict 6 VERDICT_DONE", true},
		{"stream", "weir.v1.Plugin Work weir.v1.WorkRequest stream weir.v1.WorkResponse", "weir.v1.Plugin Work weir.v1.WorkRequest weir.v1.WorkResponse", true},
		{"field removed", "", "weir.v1.Text 4 more bytes", true},
		{"reserved number free", "", "weir.v1.Text 3 reserved", true},
		{"reserved number used", "weir.v1.Component 22 lease repeated weir.v1.Arg", "weir.v1.Component 22 reserved", false},
		{"field added", "weir.v1.Text 2 len repeated uint32 packed", "", false},
	} {
		before := slices.Clone(now)
		if row.line != "" {
			i := slices.Index(before, row.line)
			if i < 0 {
				t.Errorf("%s: not on the wire: %s", row.name, row.line)
				continue
			}
			before = slices.Delete(before, i, i+1)
		}
		if row.other != "" {
			before = append(before, row.other)
		}
		lost, added := compareWire(before, now)
		if len(lost) > 0 != row.breaks || !row.breaks && len(added) != 1 {
			t.Errorf("%s: lost %q, added %q", row.name, lost, added)
		}
	}
}

func compareWire(before, now []string) (lost, added []string) {
	for _, line := range before {
		number, kept := strings.CutSuffix(line, "reserved")
		if kept && slices.ContainsFunc(now, func(line string) bool { return strings.HasPrefix(line, number) }) {
			continue // still so, or put to use
		}
		if !slices.Contains(now, line) {
			lost = append(lost, line)
		}
	}
	for _, line := range now {
		if !slices.Contains(before, line) {
			added = append(added, line)
		}
	}
	return lost, added
}

// wire lists all that two sides have to agree about, one thing in a line.
func wire(f protoreflect.FileDescriptor) (lines []string) {
	add := func(format string, a ...any) { lines = append(lines, fmt.Sprintf(format, a...)) }
	for i := range f.Services().Len() {
		s := f.Services().Get(i)
		for k := range s.Methods().Len() {
			m := s.Methods().Get(k)
			stream := func(is bool, name protoreflect.FullName) string {
				if is {
					return "stream " + string(name)
				}
				return string(name)
			}
			add("%s %s %s %s", s.FullName(), m.Name(), stream(m.IsStreamingClient(), m.Input().FullName()), stream(m.IsStreamingServer(), m.Output().FullName()))
		}
	}
	for i := range f.Enums().Len() {
		e := f.Enums().Get(i)
		for k := range e.Values().Len() {
			add("%s %d %s", e.FullName(), e.Values().Get(k).Number(), e.Values().Get(k).Name())
		}
	}
	for i := range f.Messages().Len() {
		m := f.Messages().Get(i)
		for k := range m.Fields().Len() {
			add("%s %d %s %s", m.FullName(), m.Fields().Get(k).Number(), m.Fields().Get(k).Name(), fieldType(m.Fields().Get(k)))
		}
		for k := range m.ReservedRanges().Len() {
			r := m.ReservedRanges().Get(k)
			for n := r[0]; n < r[1]; n++ {
				add("%s %d reserved", m.FullName(), n)
			}
		}
		if n := m.Enums().Len() + m.Extensions().Len(); n > 0 {
			add("%s has %d enums and extensions in it, which this list does not know", m.FullName(), n)
		}
	}
	return lines
}

func fieldType(f protoreflect.FieldDescriptor) string {
	if f.IsMap() {
		return "map " + fieldType(f.MapKey()) + " " + fieldType(f.MapValue())
	}
	text := f.Kind().String()
	switch {
	case f.Message() != nil:
		text = string(f.Message().FullName())
	case f.Enum() != nil:
		text = string(f.Enum().FullName())
	}
	if f.IsList() {
		text = "repeated " + text
	}
	if f.IsPacked() {
		text += " packed"
	}
	if f.HasOptionalKeyword() {
		text += " optional"
	} else if o := f.ContainingOneof(); o != nil {
		text += " oneof " + string(o.Name())
	}
	return text
}
