package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/corpus"
	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/plugins/oss/osssim"
)

// begin starts a sandbox in a folder of the test.
func begin(t *testing.T, o options) *sandbox {
	t.Helper()
	o.messages, o.seed, o.dir, o.corp = corpus.Smallest, 9, t.TempDir(), "seed"
	o.env, o.span = filepath.Join(o.dir, "env"), 5*time.Hour
	o.start, o.speed = time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC), 600
	s, err := newSandbox(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// archive puts into the services what the truth asks for, as a pipeline without a flaw would.
func (s *sandbox) archive(t *testing.T) {
	t.Helper()
	contents := map[string][]byte{} // small files by SHA-256
	for _, m := range s.corp.Media {
		content := m.Content
		for _, v := range m.Versions {
			content = v.Content
		}
		if m.Size <= keptBytes {
			b := make([]byte, m.Size)
			content.ReadAt(b, 0)
			contents[sum(b)] = b
		}
	}
	var raw, log []kintonesim.Row
	for _, m := range s.truth.Messages {
		raw = append(raw, kintonesim.Row{Values: map[string]any{
			"seq": fmt.Sprint(m.Seq), "msgid": m.ID, "publickey_ver": fmt.Sprint(m.KeyVersion), "decode_status": m.Raw,
			"encrypt_random_key": "served", // the test has no ciphertext: see ignoreCiphertext
		}})
		if m.Row == nil {
			continue
		}
		values := map[string]any{
			"seq": fmt.Sprint(m.Seq), "msgid": m.ID, "msgtime": m.Row.Time.Format("2006-01-02T15:04:05Z"),
			"msgtime_ms": fmt.Sprint(m.Row.TimeMS), "from": m.Row.From, "to": m.Row.To, "roomid": m.Row.RoomID,
			"tolist": strings.Join(m.Row.ToList, "\n"), "msgtype": m.Row.Type, "content": m.Row.Content, "status": m.Row.Status,
		}
		if m.Row.FileSize != nil {
			values["filesize"] = fmt.Sprint(*m.Row.FileSize)
		}
		var files []kintonesim.File
		for i, f := range m.Files {
			name := f.Name
			if name == "" {
				name = "ABCDEFGHIJ0123456789." + strings.ReplaceAll(f.Ext, "?", "png")
			}
			if i == 0 {
				values["filename"] = name
			}
			switch f.To {
			case truth.Kintone:
				files = append(files, kintonesim.File{Name: name, Size: f.Size, SHA256: f.SHA256, MD5: f.MD5, Content: contents[f.SHA256]})
			case truth.OSS:
				o := osssim.Object{
					Bucket: ossBucket, Key: fmt.Sprintf("c/%d-%d_%s", m.Seq, f.Index, name), Size: f.Size, CRC64: f.CRC64, Type: "Normal",
					Meta: map[string]string{"sha256": f.SHA256},
				}
				hex.Decode(o.SHA256[:], []byte(f.SHA256))
				s.oss.Replace(o)
			}
		}
		if files != nil {
			values["file"] = files
		}
		log = append(log, kintonesim.Row{Values: values})
	}
	for app, rows := range map[int64][]kintonesim.Row{rawApp: raw, logApp: log} {
		if err := s.kintone.Tamper(app, func([]kintonesim.Row) []kintonesim.Row { return rows }); err != nil {
			t.Fatal(err)
		}
	}
}

// ignoreCiphertext makes the truth silent about the ciphertext of raw rows, which archive does not write.
func (s *sandbox) ignoreCiphertext(t *testing.T) {
	t.Helper()
	for i := range s.truth.Messages {
		s.truth.Messages[i].Served = ""
	}
	if err := s.truth.Write(filepath.Join(s.options.dir, "truth.json")); err != nil {
		t.Fatal(err)
	}
}

// command runs weir-sandbox.
func command(args ...string) (code int, output string) {
	var out bytes.Buffer
	code = run(context.Background(), args, &out, &out)
	return code, out.String()
}

func TestCompareOverTheProtocols(t *testing.T) {
	s := begin(t, options{})
	if code, out := command("compare", "--dir", s.options.dir); code != 1 || !strings.Contains(out, "200        0      200") {
		t.Errorf("an empty archive: exit %d\n%s", code, out)
	}
	s.archive(t)
	if code, out := command("compare", "--dir", s.options.dir); code != 1 || !strings.Contains(out, "ciphertext") {
		t.Errorf("without ciphertext: exit %d\n%s", code, out)
	}
	s.ignoreCiphertext(t)
	code, out := command("compare", "--dir", s.options.dir, "--data", t.TempDir(), "--spool", t.TempDir())
	if code != 0 || !strings.HasSuffix(out, "archive equals truth: 200 of 200\n") {
		t.Errorf("a perfect archive: exit %d\n%s", code, out)
	}
	code, out = command("compare", "--dir", s.options.dir, "--json")
	var report struct{ Equal, Of int }
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil || report.Equal != 200 || report.Of != 200 {
		t.Errorf("json: exit %d, %v, %+v", code, err, report)
	}
	code, out = command("tamper", "--dir", s.options.dir)
	if code != 0 || strings.Count(out, "  RED   ") != len(tamperings) || strings.Count(out, "  equal  the") != 2 {
		t.Errorf("tamper: exit %d\n%s", code, out)
	}
}

func TestEnvironmentIsWrittenLast(t *testing.T) {
	s := begin(t, options{noOSS: true})
	b, err := os.ReadFile(s.options.env)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		got[name] = value
	}
	clock := strings.Split(got["WEIR_CLOCK"], ",")
	if len(clock) != 4 || clock[1] != "2026-03-02T01:00:00Z" || clock[2] != "600" || clock[3] != "2026-03-02T06:00:00Z" {
		t.Errorf("WEIR_CLOCK is %q", got["WEIR_CLOCK"])
	}
	if got["WEIR_VAR_app_log"] != "{1=102}" || got["WEIR_VAR_oss_bucket"] != "" {
		t.Errorf("got apps %q and bucket %q", got["WEIR_VAR_app_log"], got["WEIR_VAR_oss_bucket"])
	}
	for _, name := range []string{"truth.json", "compare.json", "control", "keys/v3.pem", "keys/v4.pem", "wecom-ca.pem"} {
		if _, err := os.Stat(filepath.Join(s.options.dir, name)); err != nil {
			t.Error(err)
		}
	}
	s.close()
	if _, err := os.Stat(s.options.env); !os.IsNotExist(err) {
		t.Errorf("the environment outlives the sandbox: %v", err)
	}
}

func TestFaultsComeAndGo(t *testing.T) {
	s := begin(t, options{})
	dir := s.options.dir
	reach := func(address string) int {
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(address)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	for _, c := range []struct {
		fault, address string
		broken, well   int
	}{
		{"kintone=refuse", s.kintone.URL + "/k/v1/records.json", 0, 401},
		{"kintone=html503", s.kintone.URL + "/k/v1/records.json", 503, 401},
		{"kintone=lost", s.kintone.URL + "/k/v1/records.json", 0, 401},
		{"oss=refuse", s.oss.URL + "/" + ossBucket + "/x", 0, 403},
		{"oss=html503", s.oss.URL + "/" + ossBucket + "/x", 503, 403},
	} {
		if code, out := command("fault", "--dir", dir, c.fault); code != 0 {
			t.Fatalf("%s: exit %d\n%s", c.fault, code, out)
		}
		if got := reach(c.address); got != c.broken {
			t.Errorf("%s: got %d, want %d", c.fault, got, c.broken)
		}
		service, _, _ := strings.Cut(c.fault, "=")
		if code, out := command("fault", "--dir", dir, service+"=off"); code != 0 {
			t.Fatalf("%s=off: exit %d\n%s", service, code, out)
		}
		if got := reach(c.address); got != c.well {
			t.Errorf("after %s: got %d, want %d", c.fault, got, c.well)
		}
	}
	for _, fault := range []string{"wecom=45009", "wecom=hang", "wecom=html503", "wecom=off"} {
		if code, out := command("fault", "--dir", dir, fault); code != 0 {
			t.Errorf("%s: exit %d\n%s", fault, code, out)
		}
	}
	for _, wrong := range [][]string{{"kintone=fire"}, {"moon=off"}, {}} {
		if code, _ := command(append([]string{"fault", "--dir", dir}, wrong...)...); code == 0 {
			t.Errorf("%v: no error", wrong)
		}
	}
	var counted counters
	response, err := http.Get(s.control.url + "/counters")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&counted); err != nil || counted.OSS.Requests == 0 || counted.Kintone.Calls == nil {
		t.Errorf("counters: %v %+v", err, counted)
	}
}

func TestLateKeyIsHandedOut(t *testing.T) {
	s := begin(t, options{lateKey: true})
	path := s.keyFile(corpus.LateKeyVersion)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Fatalf("the late key is there from the start: %v", err)
	}
	if _, err := post(t.Context(), s.options.dir, "/key", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

func TestMistakesInArguments(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{}, {"--dir", dir}, {"--dir", dir, "--env", dir + "/env", "--messages", "10"}, {"--dir", dir, "--env", dir + "/env", "--corp", "none"},
		{"--dir", dir, "--env", dir + "/env", "--library", "x.so", "--speed", "60"}, {"--what"}, {"compare"}, {"compare", "--dir", dir, "--oss", "gone"},
		{"--dir", dir, "--env", dir + "/env", "--start", "yesterday"}, {"stray"},
	} {
		if code, out := command(args...); code != 2 {
			t.Errorf("%v: exit %d, want 2\n%s", args, code, out)
		}
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
