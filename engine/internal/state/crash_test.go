package state_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

// The test binary plays the engine that dies: with childEnv set it does what that says in the directory named by dirEnv.
const (
	childEnv = "WEIR_TEST_STATE_CHILD"
	dirEnv   = "WEIR_TEST_STATE_DIR"
)

func TestMain(m *testing.M) {
	role, point, _ := strings.Cut(os.Getenv(childEnv), "@")
	dir := os.Getenv(dirEnv)
	switch role {
	case "":
		os.Exit(m.Run())
	case "commit":
		commitUntilKilled(dir)
	case "die":
		dieAt(dir, point)
	case "limit", "tmpfs", "crowd", "few":
		playDisk(role, point, dir)
	case "try":
		_, err := state.Open(dir, state.Options{Key: testKey})
		fmt.Println(err)
	case "open":
		if _, err := state.Open(dir, state.Options{Key: testKey}); err != nil {
			fmt.Println(err, errors.Is(err, state.ErrInUse))
			return
		}
		fmt.Println("open")
		select {}
	}
}

func child(t *testing.T, role, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+role, dirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

const (
	workers = 4
	spread  = 800 // entries in each change of worker 0, more than one transaction takes
)

func workerName(g int) string { return fmt.Sprint("sink.worker.w", g) }

// workerChange is number n of worker g: it replaces everything that the worker's last change wrote.
func workerChange(g, n int) *state.Change {
	id := func(n int) uint64 { return uint64(n*workers + g + 1) }
	c := &state.Change{
		Pipeline:    "p",
		Checkpoints: []state.Checkpoint{{Source: workerName(g), Position: strconv.AppendInt(nil, int64(n), 10)}},
		Parcels:     []state.Parcel{{ID: id(n), Rest: []byte("rest"), Body: strconv.AppendInt(nil, int64(n), 10), Opaque: g%2 == 0}},
		Owing:       []state.Owing{{Step: workerName(g), Parcel: id(n), Rows: n + 1}},
		DropOwing:   []state.OwingKey{{Step: workerName(g), Parcel: id(n - 1)}},
		DropParcels: []uint64{id(n - 1)},
	}
	if g == 0 {
		detail := strings.Repeat("x", 1800)
		for i := range spread {
			c.Owing = append(c.Owing, state.Owing{Step: "sink.many", Parcel: uint64(i), Rows: n + 1, Groups: []state.Group{{Detail: detail}}})
		}
	}
	return c
}

func commitUntilKilled(dir string) {
	db, err := state.Open(dir, state.Options{Key: testKey})
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := db.Load("p")
	if err != nil {
		fmt.Println(err)
		return
	}
	done := make(chan error)
	for g := range workers {
		from := 1
		for _, k := range s.Checkpoints {
			if k.Source == workerName(g) {
				n, _ := strconv.Atoi(string(k.Position))
				from = n + 1
			}
		}
		go func() {
			for n := from; ; n++ {
				if err := db.Commit(context.Background(), workerChange(g, n)); err != nil {
					done <- err
					return
				}
				fmt.Println("ack", g, n)
			}
		}()
	}
	fmt.Println(<-done)
}

// TestKill kills an engine ten times while it commits. What was acknowledged is there, and every change whole.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var acked [workers]int
	for round := range 10 {
		cmd, lines := child(t, "commit", dir)
		for i := 30 + rand.IntN(90); i > 0 && lines.Scan(); i-- {
			readAck(t, lines.Text(), &acked)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // what it said before it died
			readAck(t, lines.Text(), &acked)
		}
		cmd.Wait()

		db := open(t, dir)
		s := load(t, db, "p")
		var at [workers]int
		for _, k := range s.Checkpoints {
			g, _ := strconv.Atoi(k.Source[len(k.Source)-1:])
			at[g], _ = strconv.Atoi(string(k.Position))
		}
		owing := map[string]int{}
		for _, o := range s.Owing {
			owing[o.Step]++
			g := 0
			if o.Step != "sink.many" {
				g, _ = strconv.Atoi(o.Step[len(o.Step)-1:])
				if p, err := db.Parcel(o.Parcel); err != nil || string(p.Body) != strconv.Itoa(at[g]) {
					t.Errorf("round %d: parcel %d of worker %d is %q, %v; want %d", round, o.Parcel, g, p.Body, err, at[g])
				}
			}
			if o.Rows != at[g]+1 {
				t.Errorf("round %d: %s owes version %d beside checkpoint %d", round, o.Step, o.Rows-1, at[g])
			}
		}
		for g := range workers {
			if at[g] < acked[g] || at[g] > acked[g]+1 {
				t.Errorf("round %d: worker %d stands at %d; %d was acknowledged", round, g, at[g], acked[g])
			}
			if at[g] > 0 && owing[workerName(g)] != 1 {
				t.Errorf("round %d: worker %d owes %d; want 1", round, g, owing[workerName(g)])
			}
			acked[g] = at[g]
		}
		if at[0] > 0 && owing["sink.many"] != spread {
			t.Errorf("round %d: %d of the large change; want %d", round, owing["sink.many"], spread)
		}
		db.Close()
	}
	t.Logf("acknowledged by worker: %v", acked)
}

func readAck(t *testing.T, line string, acked *[workers]int) {
	t.Helper()
	var g, n int
	if _, err := fmt.Sscanf(line, "ack %d %d", &g, &n); err != nil {
		if strings.HasPrefix("ack ", line[:min(4, len(line))]) {
			return // cut by the kill: never said
		}
		t.Fatalf("the engine said %q", line)
	}
	acked[g] = max(acked[g], n)
}

// dieAt commits one small and one large change and kills itself, without any clean-up, at a failpoint of the large or small one.
func dieAt(dir, point string) {
	size, point, _ := strings.Cut(point, ":")
	armed := false
	db, err := state.Open(dir, state.Options{Key: testKey, Failpoint: func(name string) {
		if armed && name == point {
			p, _ := os.FindProcess(os.Getpid())
			p.Kill()
			select {}
		}
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	g := map[string]int{"large": 0, "small": 1}[size]
	if err := db.Commit(context.Background(), workerChange(g, 1)); err != nil {
		fmt.Println(err)
		return
	}
	armed = true
	err = db.Commit(context.Background(), workerChange(g, 2))
	fmt.Println("survived", err)
}

func TestDieAtFailpoint(t *testing.T) {
	for point, want := range map[string]int{
		"small:commit.before":  1,
		"small:commit.after":   2,
		"large:commit.before":  1,
		"large:commit.pieces":  1,
		"large:commit.journal": 2,
		"large:commit.after":   2,
	} {
		t.Run(point, func(t *testing.T) {
			dir := t.TempDir()
			cmd, lines := child(t, "die@"+point, dir)
			for lines.Scan() {
				t.Fatalf("the engine said %q", lines.Text())
			}
			cmd.Wait()
			db := open(t, dir)
			for range 2 {
				s := load(t, db, "p")
				same(t, "position", string(s.Checkpoints[0].Position), strconv.Itoa(want))
				for _, o := range s.Owing {
					if o.Rows != want+1 {
						t.Fatalf("%s owes version %d; want %d", o.Step, o.Rows-1, want)
					}
				}
				db = reopen(t, db, dir)
			}
		})
	}
}

func TestSecondProcess(t *testing.T) {
	dir := t.TempDir()
	cmd, lines := child(t, "open", dir)
	if !lines.Scan() || lines.Text() != "open" {
		t.Fatalf("first process: %q", lines.Text())
	}
	_, second := child(t, "open", dir)
	if !second.Scan() || !strings.Contains(second.Text(), dir) || !strings.HasSuffix(second.Text(), "true") {
		t.Errorf("second process: %q; want ErrInUse naming %s", second.Text(), dir)
	}
	cmd.Process.Kill()
	cmd.Wait()
	start := time.Now()
	open(t, dir)
	t.Logf("opened %v after a kill", time.Since(start))
}
