package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/compare"
)

// company is a running sandbox, and the folder of one test.
type company struct {
	t         *testing.T
	dir       string            // of the sandbox
	data      string            // of weir
	weir      string            // a copy of weir for this test alone, so that its processes can be told from others
	variables map[string]string // of the environment file
}

// open starts a sandbox. It ends with the test.
func open(t *testing.T, args ...string) *company {
	t.Helper()
	root := t.TempDir()
	c := &company{t: t, dir: filepath.Join(root, "box"), data: filepath.Join(root, "data"), weir: filepath.Join(root, "weir")}
	if err := os.Link(filepath.Join(built, "weir"), c.weir); err != nil {
		t.Fatal(err)
	}
	env := filepath.Join(root, "env")
	box := exec.Command(filepath.Join(built, "weir-sandbox"), append([]string{"--dir", c.dir, "--env", env}, args...)...)
	var said bytes.Buffer
	box.Stdout, box.Stderr = &said, &said
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { box.Wait(); close(ended) }()
	t.Cleanup(func() {
		box.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	until(t, time.Minute, "the sandbox", func() bool {
		select {
		case <-ended:
			t.Fatalf("the sandbox ended: %s", said.String())
		default:
		}
		_, err := os.Stat(env)
		return err == nil
	})
	c.variables = variables(t, env)
	return c
}

// variables reads an environment file, which is written for shells.
func variables(t *testing.T, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if len(value) >= 2 && value[0] == '\'' {
			value = strings.ReplaceAll(value[1:len(value)-1], `'\''`, "'")
		}
		values[name] = value
	}
	return values
}

// control asks the sandbox's control.
func (c *company) control(method, path string, form url.Values) []byte {
	c.t.Helper()
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.variables["WEIR_SANDBOX_CONTROL"]+path+"?"+form.Encode(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: %s %s %v", method, path, response.Status, body, err)
	}
	return body
}

// fault takes a service away, or brings it back: "kintone", "refuse".
func (c *company) fault(service, kind string) {
	c.t.Helper()
	c.control(http.MethodPost, "/fault", url.Values{service: {kind}})
}

// counters are what the services saw.
type counters struct {
	Now   time.Time
	WeCom struct {
		Pages, Rows, PagesAgain, Shards, ShardsAgain int
		Running                                      map[string]int
	}
	Kintone struct {
		Inserted, Updated, Repeated, Uploaded, Attached, Doubled, Running int
	}
	OSS struct {
		Stored, Repeated, Overwritten, Running int
		ByOp                                   map[string]int
	}
	Uploads int `json:"oss_uploads_open"`
}

func (c *company) look() counters {
	c.t.Helper()
	var now counters
	if err := json.Unmarshal(c.control(http.MethodGet, "/counters", nil), &now); err != nil {
		c.t.Fatal(err)
	}
	return now
}

// again counts what the services were asked for or sent a second time.
func (n counters) again() int {
	return n.WeCom.PagesAgain + n.WeCom.ShardsAgain + n.Kintone.Repeated + n.OSS.Repeated
}

// clock is the simulated instant.
func (c *company) clock() time.Time { return c.look().Now }

// compare holds the archive against the truth, and searches what weir left on the machine.
func (c *company) compare(args ...string) *compare.Report {
	c.t.Helper()
	args = append([]string{"compare", "--dir", c.dir, "--data", c.data, "--spool", filepath.Join(c.data, "spool"), "--json"}, args...)
	out, err := exec.CommandContext(c.t.Context(), filepath.Join(built, "weir-sandbox"), args...).Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		c.t.Fatalf("compare: %v\n%s", err, out)
	}
	var report compare.Report
	if err := json.Unmarshal(out, &report); err != nil {
		c.t.Fatalf("compare: %v\n%s", err, out)
	}
	return &report
}

// equal fails unless the archive equals the truth and nothing is left over in the services or on the machine.
func (c *company) equal(args ...string) {
	c.t.Helper()
	report := c.compare(args...)
	var text strings.Builder
	report.Print(&text)
	if !report.Good() {
		c.t.Errorf("the archive differs:\n%s", text.String())
	} else {
		c.t.Logf("\n%s", text.String())
	}
	now := c.look()
	if now.Kintone.Doubled != 0 || now.OSS.Overwritten != 0 || now.Uploads != 0 {
		c.t.Errorf("%d doubled attachments, %d objects overwritten, %d multipart uploads open; want none",
			now.Kintone.Doubled, now.OSS.Overwritten, now.Uploads)
	}
	if left := c.processes(); len(left) > 0 {
		c.t.Errorf("processes are left over: %v", left)
	}
}

// hidden fails when anything that people wrote lies readable on the machine. No service is asked.
func (c *company) hidden() {
	c.t.Helper()
	left, err := compare.Search(c.truth(), []string{c.data}, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	if left.Texts != 0 || left.Controls == 0 || left.Searched == 0 {
		c.t.Errorf("%d of %d messages can be read on the machine (%v); %d planted texts were found in %d bytes",
			left.Texts, left.Of, left.Found, left.Controls, left.Searched)
	}
}

// tail is the end of a file, for reports.
func tail(path string, n int) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(slices.Clone(lines[max(0, len(lines)-n):]), "\n")
}
