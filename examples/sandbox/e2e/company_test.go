package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/compare"
)

// company is a running sandbox, and the site of the weir that archives it.
type company struct {
	*site
	dir string // of the sandbox
}

// open starts a sandbox. It ends with the test.
func open(t *testing.T, args ...string) *company {
	t.Helper()
	c := &company{site: settle(t, pipeline(t, mainJob))}
	c.dir = filepath.Join(c.root, "box")
	env := filepath.Join(c.root, "env")
	slower := fmt.Sprintf("%.1f", slowness())
	box := exec.Command(filepath.Join(built, "weir-sandbox"), append([]string{"--dir", c.dir, "--env", env, "--slower", slower}, args...)...)
	var said bytes.Buffer
	box.Stdout, box.Stderr = &said, &said
	if err := box.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { box.Wait(); close(ended) }()
	t.Cleanup(func() {
		if t.Failed() && len(c.variables) > 0 {
			c.tell()
		}
		c.end()
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
	request, err := http.NewRequest(method, c.variables["WEIR_SANDBOX_CONTROL"]+path+"?"+form.Encode(), nil)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := (&http.Client{Timeout: time.Minute}).Do(request) // not with the test's context: it is over when a failure is explained
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
	var complaint strings.Builder
	cmd := exec.CommandContext(c.t.Context(), filepath.Join(built, "weir-sandbox"), args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) {
		c.t.Fatalf("compare: %v\n%s%s", err, out, &complaint)
	}
	var report compare.Report
	if err := json.Unmarshal(out, &report); err != nil {
		c.t.Fatalf("compare: %v\n%s%s", err, out, &complaint)
	}
	return &report
}

// equal fails unless the archive equals the truth and nothing is left over in the services or on the machine.
func (c *company) equal(args ...string) {
	c.t.Helper()
	report := c.compare(args...)
	for late := 1; !report.Good() && late <= lateHours; late++ {
		c.t.Logf("%d of %d messages are as they should be: running on for %d h of the company's time", report.Equal, report.Of, late)
		c.runOn()
		report = c.compare(args...)
	}
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

// lateHours is how long after its end a run may go on when the archive is not complete by then.
const lateHours = 24

// runOn lets weir work for another hour of the company's time, for which the truth holds too. That tells what is late from what is lost:
// the company's clock waits for nobody, and on a busy machine the last tries may fall behind its end, where a run that ends leaves them
// alone.
func (c *company) runOn() {
	c.t.Helper()
	clock := c.variables["WEIR_CLOCK"]
	end := c.clock().Add(time.Hour).UTC().Format(time.RFC3339Nano)
	o := c.last
	o.stop, o.env = "", append(slices.Clone(o.env), "WEIR_CLOCK="+clock[:strings.LastIndexByte(clock, ',')+1]+end)
	c.start(o).finish(10 * time.Minute)
}

// slowness is how many times slower the company's clock has to be than on a machine with nothing but these tests, where one gets a third of
// the processors or more: files expire by that clock, whether weir had the time to fetch them or not.
func slowness() float64 {
	const look = 300 * time.Millisecond
	var before, after syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	began := time.Now()
	var burning sync.WaitGroup
	for range runtime.NumCPU() {
		burning.Go(func() {
			for time.Since(began) < look {
			}
		})
	}
	burning.Wait()
	syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	got := time.Duration(after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano())
	share := float64(got) / float64(time.Since(began)) / float64(runtime.NumCPU())
	return min(max(0.33/share, 1), 4)
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
