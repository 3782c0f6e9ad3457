package bench

import (
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

// BenchmarkMainJob archives a company's chat log: fetched, decrypted, parsed, media and all, until the last row stands in kintone. The
// simulators share the machine. Every message costs one RSA-2048 decryption, so the rate stands beside what all cores together could do
// with crypto/rsa if they did nothing else; decrypt is faster where it finds OpenSSL.
func BenchmarkMainJob(b *testing.B) {
	const messages = 4000
	weir, sandbox := build(b, "./engine/cmd/weir"), build(b, "./examples/sandbox")
	for b.Loop() {
		ceiling := rsaRate(b, 2*time.Second)
		rows, took, cpu, private := archive(b, weir, sandbox, messages)
		rate := float64(rows) / took.Seconds()
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(rate, "messages/s")
		b.ReportMetric(ceiling, "rsa-decrypts/s")
		b.ReportMetric(rate/ceiling, "messages/rsa")
		b.ReportMetric(micros(cpu)/float64(rows), "cpu-µs/message")
		b.ReportMetric(private, "private-MiB")
	}
}

// rsaRate is how many keys of messages the machine decrypts in a second with crypto/rsa, one goroutine for each core: the yardstick, also
// where decrypt has OpenSSL.
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

// archive runs the main job against a company of its own, until kintone has had no new row for five seconds. took ends with the last
// row; cpu is that of the engine and its plugins up to the end of the run.
func archive(tb testing.TB, weir, sandbox string, messages int) (rows int, took, cpu time.Duration, private float64) {
	tb.Helper()
	dir := tb.TempDir()
	env := filepath.Join(dir, "env")
	// At speed 1 with half an hour ahead of it the clock ends no run; all but the few live messages are there from the start.
	company := start(tb, exec.Command(sandbox, "--messages", strconv.Itoa(messages), "--seed", "7", "--dir", dir, "--env", env,
		"--speed", "1", "--span", "30m"))
	defer interrupt(company)
	environment := strings.Split(strings.TrimSpace(string(waitFile(tb, env, company))), "\n")

	cmd := exec.Command(weir, "run", "--data-dir", filepath.Join(dir, "data"), "pipelines/wecom-kintone-oss.hcl")
	cmd.Dir = root(tb)
	cmd.Env = append(os.Environ(), environment...)
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
		if n := count(tb, dir); n > rows {
			rows, took = n, time.Since(job.began)
		}
		quiet := time.Since(job.began) - took
		if rows > messages/2 && quiet > 5*time.Second {
			break
		}
		if quiet > time.Minute {
			tb.Fatalf("%d of %d messages stand in kintone, and for a minute none has come\n%s", rows, messages, job.output.Bytes())
		}
	}
	interrupt(job)
	cpu, private, _ = job.end(tb)
	return rows, took, cpu, private
}

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
