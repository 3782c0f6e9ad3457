package bench

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkMainJob archives a company's chat log, of which every message costs one RSA-2048 decryption. So the processor time of weir's
// processes for a message, their start included and the simulators not, stands beside what that one operation costs in the same
// run by the implementation that decrypt uses: OpenSSL where it is there.
//
// In "lines" the messages go from WeCom through decrypt, parse and md5 to a file. "kintone" is the main job, media and all, until the last row
// stands in kintone.
func BenchmarkMainJob(b *testing.B) {
	weir, sandbox := build(b, "./engine/cmd/weir"), build(b, "./examples/sandbox")
	for _, job := range []struct {
		name     string
		messages int
		run      func(tb testing.TB, weir, sandbox string, messages int) archived
	}{{"lines", 40_000, lines}, {"kintone", 4000, archive}} {
		b.Run(job.name, func(b *testing.B) {
			for b.Loop() {
				before := rsaCost(b)
				got := job.run(b, weir, sandbox, job.messages)
				cost := (before + rsaCost(b)) / 2
				rows := float64(got.rows)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(rows/got.took.Seconds(), "messages/s")
				b.ReportMetric(micros(got.cpu)/rows, "cpu-µs/message")
				b.ReportMetric(micros(cost), "rsa-µs")
				b.ReportMetric(cost.Seconds()*rows/got.cpu.Seconds(), "rsa/cpu")
				b.ReportMetric(got.private, "private-MiB")
			}
		})
	}
}

// rsaCost is the processor time of one private operation, as BenchmarkRSA of package decrypt finds it on this machine; without OpenSSL, as
// crypto/rsa does it.
func rsaCost(tb testing.TB) time.Duration {
	tb.Helper()
	cmd := exec.Command("go", "test", "-run", "^$", "-bench", "^BenchmarkRSA$", "-benchtime", "2s", "./plugins/decrypt")
	cmd.Dir = root(tb)
	out, err := cmd.Output()
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for i, unit := range fields {
			if unit != "openssl/cpu-s" || err != nil {
				continue
			}
			rate, err := strconv.ParseFloat(fields[i-1], 64)
			if err != nil || rate <= 0 {
				tb.Fatalf("got %q", line)
			}
			return time.Duration(float64(time.Second) / rate)
		}
	}
	tb.Logf("crypto/rsa is the yardstick: there is no OpenSSL (%v)", err)
	return time.Duration(float64(runtime.GOMAXPROCS(0)) / rsaRate(tb, 2*time.Second) * float64(time.Second))
}

// rsaRate is how many keys of messages the machine decrypts in a second with crypto/rsa, one goroutine for each core.
func rsaRate(tb testing.TB, length time.Duration) float64 {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	//lint:ignore SA1019 as WeCom does
	secret, err := rsa.EncryptPKCS1v15(rand.Reader, &key.PublicKey, make([]byte, 32))
	if err != nil {
		tb.Fatal(err)
	}
	var done atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for time.Since(began) < length {
				//lint:ignore SA1019 as the main job does
				if _, err := rsa.DecryptPKCS1v15(nil, key, secret); err != nil {
					tb.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	all.Wait()
	return float64(done.Load()) / time.Since(began).Seconds()
}

// archived is what a run has done, and what it took: until the last row was there, and in processor time of the engine and its plugins up to the
// end of the run.
type archived struct {
	rows      int
	took, cpu time.Duration
	private   float64 // MiB
}

// company starts a sandbox, and returns the environment of its pipelines.
func company(tb testing.TB, sandbox, dir string, messages int) (*watched, []string) {
	tb.Helper()
	env := filepath.Join(dir, "env")
	// At speed 1 with half an hour ahead of it the clock ends no run; all but the few live messages are there from the start.
	w := start(tb, exec.Command(sandbox, "--messages", strconv.Itoa(messages), "--seed", "7", "--dir", dir, "--env", env,
		"--speed", "1", "--span", "30m"))
	return w, append(os.Environ(), strings.Split(strings.TrimSpace(string(waitFile(tb, env, w))), "\n")...)
}

// archive runs the main job against a company of its own, until kintone has had no new row for five seconds.
func archive(tb testing.TB, weir, sandbox string, messages int) (got archived) {
	tb.Helper()
	dir := tb.TempDir()
	sim, environment := company(tb, sandbox, dir, messages)
	defer interrupt(sim)
	cmd := exec.Command(weir, "run", "--data-dir", filepath.Join(dir, "data"), "pipelines/wecom-kintone-oss.hcl")
	cmd.Dir = root(tb)
	cmd.Env = environment
	job := start(tb, cmd)
	defer interrupt(job)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for asked := time.Now(); ; {
		select {
		case <-job.done:
			tb.Fatalf("weir ended: %v\n%s", job.err, job.output.Bytes())
		case <-tick.C:
		}
		job.look()
		if time.Since(asked) < 500*time.Millisecond {
			continue
		}
		asked = time.Now()
		if n := count(tb, dir); n > got.rows {
			got.rows, got.took = n, time.Since(job.began)
		}
		quiet := time.Since(job.began) - got.took
		if got.rows > messages/2 && quiet > 5*time.Second {
			break
		}
		if quiet > time.Minute {
			tb.Fatalf("%d of %d messages stand in kintone, and for a minute none has come\n%s", got.rows, messages, job.output.Bytes())
		}
	}
	interrupt(job)
	got.cpu, got.private, _ = job.end(tb)
	return got
}

// lines reads the whole chat log into a file, without media.
func lines(tb testing.TB, weir, sandbox string, messages int) (got archived) {
	tb.Helper()
	dir := tb.TempDir()
	sim, environment := company(tb, sandbox, dir, messages)
	defer interrupt(sim)

	file, out := filepath.Join(dir, "lines.hcl"), filepath.Join(dir, "out.jsonl")
	if err := os.WriteFile(file, []byte(linesPipeline), 0o600); err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(weir, "run", "--data-dir", filepath.Join(dir, "data"), "--var", "out="+out, file)
	cmd.Env = environment
	job := start(tb, cmd)
	defer interrupt(job)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for size := int64(0); ; {
		select {
		case <-job.done:
			tb.Fatalf("weir ended: %v\n%s", job.err, job.output.Bytes())
		case <-tick.C:
		}
		job.look()
		if st, err := os.Stat(out); err == nil && st.Size() > size {
			size, got.took = st.Size(), time.Since(job.began)
		}
		if quiet := time.Since(job.began) - got.took; size > 0 && quiet > 5*time.Second || quiet > time.Minute {
			break
		}
	}
	interrupt(job)
	got.cpu, got.private, _ = job.end(tb)
	text, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	if got.rows = bytes.Count(text, []byte("\n")); got.rows <= messages/2 {
		tb.Fatalf("%d lines of %d messages\n%s", got.rows, messages, job.output.Bytes())
	}
	return got
}

const linesPipeline = `weir {
  name      = "lines"
  state_key = env("WEIR_STATE_KEY")
}
variable "corp_id" { type = string }
variable "wecom_client" { type = string }
variable "wecom_keys" { type = string }
variable "out" { type = string }
connection "wecom" "archive" {
  corp_id = var.corp_id
  secret  = env("WECOM_CHAT_SECRET")
  client  = var.wecom_client
  ca      = env("WECOM_CA", "")
  proxy   = env("WECOM_PROXY", "")
}
source "wecom_chat" "chat" { connection = connection.wecom.archive }
transform "decrypt" "plain" {
  input        = source.wecom_chat.chat
  private_keys = keyring(var.wecom_keys)
}
transform "parse" "message" { input = transform.decrypt.plain }
transform "md5" "checked" { input = transform.parse.message }
sink "file" "lines" {
  input = transform.md5.checked
  path  = var.out
}
`

// interrupt asks a process to end, and waits for it.
func interrupt(w *watched) {
	w.cmd.Process.Signal(syscall.SIGINT) // an error says that it has ended
	<-w.done
}

func waitFile(tb testing.TB, path string, by *watched) []byte {
	tb.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if data, err := os.ReadFile(path); err == nil {
			return data
		}
		select {
		case <-by.done:
			tb.Fatalf("the sandbox ended: %v\n%s", by.err, by.output.Bytes())
		case <-tick.C:
		}
	}
}

// count asks kintone how many rows its chat log has.
func count(tb testing.TB, dir string) int {
	tb.Helper()
	var reading struct {
		Kintone struct {
			URL      string `json:"url"`
			LogApp   int    `json:"log_app"`
			LogToken string `json:"log_token"`
		} `json:"kintone"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "compare.json"))
	if err == nil {
		err = json.Unmarshal(text, &reading)
	}
	if err != nil {
		tb.Fatal(err)
	}
	query := url.Values{"app": {strconv.Itoa(reading.Kintone.LogApp)}, "query": {"limit 1"}, "totalCount": {"true"}, "fields[0]": {"$id"}}
	req, err := http.NewRequest("GET", reading.Kintone.URL+"/k/v1/records.json?"+query.Encode(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	req.Header.Set("X-Cybozu-API-Token", reading.Kintone.LogToken)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		TotalCount string `json:"totalCount"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		tb.Fatal(fmt.Errorf("kintone, status %d: %w", resp.StatusCode, err))
	}
	n, err := strconv.Atoi(answer.TotalCount)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}
