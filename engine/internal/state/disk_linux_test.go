package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-etl/weir/engine/internal/state"
)

// busy is a sequence that writes in every way that there is: number n of it replaces what the one before wrote.
func busy(n int) *state.Change {
	size := []int{100, 3 << 10, 300 << 10, 2 << 20}[n%4]
	c := &state.Change{
		Pipeline:    "p",
		Checkpoints: []state.Checkpoint{{Source: "source.a.b", Position: strconv.AppendInt(nil, int64(n), 10)}},
		Parcels:     []state.Parcel{{ID: uint64(n), Rest: []byte("rest"), Body: bytes.Repeat([]byte{byte(n)}, size), Opaque: n%2 == 0}},
		Owing:       []state.Owing{{Step: fmt.Sprint("sink.a.s", n%7), Parcel: uint64(n), Rows: n}},
		DropOwing:   []state.OwingKey{{Step: fmt.Sprint("sink.a.s", (n-1)%7), Parcel: uint64(n - 1)}},
		DropParcels: []uint64{uint64(n - 1)},
	}
	if n%3 == 0 { // through the journal, and enough to fill a memory table
		detail := strings.Repeat("x", 1800)
		for i := range 1200 {
			c.Owing = append(c.Owing, state.Owing{Step: "sink.many", Parcel: uint64(i), Rows: n, Groups: []state.Group{{Detail: detail}}})
		}
	}
	return c
}

// holds reads everything of a busy sequence: it returns the number that the state stands at.
func holds(db *state.DB) (int, error) {
	s, err := db.Load("p")
	if err != nil || len(s.Checkpoints) == 0 {
		return 0, err
	}
	n, err := strconv.Atoi(string(s.Checkpoints[0].Position))
	if err != nil {
		return 0, err
	}
	p, err := db.Parcel(uint64(n))
	if err != nil {
		return 0, err
	}
	if want := busy(n).Parcels[0].Body; !bytes.Equal(p.Body, want) {
		return 0, fmt.Errorf("%d bytes of parcel %d, want %d", len(p.Body), n, len(want))
	}
	for _, o := range s.Owing {
		if want := n; o.Step == "sink.many" {
			if want -= n % 3; o.Rows != want {
				return 0, fmt.Errorf("sink.many owes version %d beside %d", o.Rows, n)
			}
		} else if o.Rows != n {
			return 0, fmt.Errorf("%s owes version %d beside %d", o.Step, o.Rows, n)
		}
	}
	r, err := db.Check(context.Background())
	if err == nil && len(r.Problems) > 1200 { // sink.many owes parcels that were never there
		err = fmt.Errorf("%v", r.Problems)
	}
	return n, err
}

func playDisk(role, point, dir string) {
	var err error
	switch role {
	case "limit":
		err = limited(dir)
	case "tmpfs":
		err = crowded(dir)
	case "few":
		err = starved(dir)
	case "crowd":
		err = crowd(dir, point)
	default:
		return
	}
	if err != nil {
		fmt.Println("FAIL:", err)
		return
	}
	fmt.Println("PASS")
}

func playsWell(t *testing.T, cmd *exec.Cmd, out io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.HasSuffix(string(text), "PASS\n") {
		t.Errorf("%v:\n%s", err, text)
	}
	return string(text)
}

// TestNoFileGrows lets each commit, compaction, opening and closing of a busy sequence meet a disk that takes no more: no file can grow
// and none be made (RLIMIT_FSIZE). What fails says so; afterwards there is room, and everything that was acknowledged is there.
func TestNoFileGrows(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=limit", dirEnv+"="+memory(t))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Log(playsWell(t, cmd, out))
}

func limit(bytes uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &now); err != nil {
		return err
	}
	now.Cur = min(bytes, now.Max)
	return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now)
}

func limited(dir string) error {
	const none = 1 << 62
	db, err := state.Open(dir, state.Options{Key: testKey})
	if err != nil {
		return err
	}
	refused, passed, acked := map[string]int{}, 0, 0
	reopen := func() error {
		closing := db.Close()
		if db, err = state.Open(dir, state.Options{Key: testKey}); err != nil {
			return fmt.Errorf("with room again: %w (closed: %v)", err, closing)
		}
		at, err := holds(db)
		if err == nil && at < acked {
			err = fmt.Errorf("stands at %d, %d was acknowledged", at, acked)
		}
		acked = at
		return err
	}
	for step := 1; step <= 48; step++ {
		what := "commit"
		if err := limit(0); err != nil {
			return err
		}
		var failed error
		switch {
		case step%12 == 0:
			what = "open"
			if err := errors.Join(limit(none), db.Close(), limit(0)); err != nil {
				return fmt.Errorf("close: %w", err)
			}
			var other *state.DB
			if other, failed = state.Open(dir, state.Options{Key: testKey}); failed == nil {
				db = other
			}
		case step%6 == 0:
			what = "compact"
			failed = db.Compact(context.Background())
		default:
			if failed = db.Commit(context.Background(), busy(acked+1)); failed == nil {
				acked++
			}
		}
		if err := limit(none); err != nil {
			return err
		}
		if failed == nil {
			passed++
		} else {
			refused[what]++
			if !errors.Is(failed, syscall.EFBIG) && !strings.Contains(failed.Error(), "file too large") && !errors.Is(failed, state.ErrBroken) {
				return fmt.Errorf("step %d, %s: %w; want what the disk said", step, what, failed)
			}
			if step < 3 {
				fmt.Println(what, "says:", failed)
			}
		}
		if failed != nil || what != "commit" {
			if err := reopen(); err != nil {
				return fmt.Errorf("step %d, %s, which said %v: %w", step, what, failed, err)
			}
		}
		// And one with room, so that every kind of file meets the limit in every state.
		if err := db.Commit(context.Background(), busy(acked+1)); err != nil {
			return fmt.Errorf("step %d, with room: %w", step, err)
		}
		acked++
	}
	fmt.Println("passed without growth:", passed, "refused:", refused)
	if refused["commit"] == 0 || refused["open"] == 0 {
		return errors.New("the limit was never met")
	}
	return reopen()
}

// TestFullTmpfs fills a real, small file system beside a busy engine, to within every distance of its end, and frees it again. It needs a
// mount namespace: root's, or one of its own where the system lets users have that; else it only says so.
func TestFullTmpfs(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=tmpfs", dirEnv+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Log("no mount namespace here, nothing is shown:", err)
		return
	}
	t.Log(playsWell(t, cmd, out))
}

// crowded has one engine after the other live in a file system of its own.
func crowded(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		fmt.Println("no mount here, nothing is shown:", err)
		return nil
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=192m"); err != nil {
		fmt.Println("no mount here, nothing is shown:", err)
		return nil
	}
	acked := 0
	said := map[string]int{}
	for _, left := range []int{64, 40, 36, 33, 31, 24, 16, 12, 8, 1, 0, -1} {
		for _, what := range []string{"live", "look"} { // one that meets the full disk, one that starts on it
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), fmt.Sprintf("%s=crowd@%s:%d:%d", childEnv, what, left, acked), dirEnv+"="+dir)
			out, err := cmd.CombinedOutput()
			var n int
			for line := range strings.Lines(string(out)) {
				if _, err := fmt.Sscanf(line, "acked %d", &n); err == nil {
					acked = n
				}
				if what, ok := strings.CutPrefix(line, "met "); ok {
					said[strings.TrimSpace(what)]++
				}
			}
			if err != nil || !strings.HasSuffix(string(out), "PASS\n") {
				return fmt.Errorf("%s, %d MiB left: %v: %s", what, left, err, out)
			}
		}
		if err := os.Remove(filepath.Join(dir, "ballast")); err != nil {
			return err
		}
	}
	fmt.Println(acked, "acknowledged;", said)
	if said["full commit"] == 0 || said["commit beside a full disk"] == 0 || said["full close"] == 0 || said["full open"] == 0 {
		return errors.New("the disk was never full, or always")
	}
	return nil
}

// fill leaves so many MiB.
func fill(dir string, left int) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, "ballast"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err = f.Write(make([]byte, max(0, int64(st.Bavail)*st.Bsize-int64(left)<<20))); errors.Is(err, syscall.ENOSPC) {
		return nil // the engine was quicker
	}
	return err
}

// crowd is one engine. It says what it has met.
func crowd(dir, role string) error {
	var what string
	var left, acked int
	if _, err := fmt.Sscanf(strings.ReplaceAll(role, ":", " "), "%s %d %d", &what, &left, &acked); err != nil {
		return err
	}
	db, err := state.Open(filepath.Join(dir, "state"), state.Options{Key: testKey})
	if errors.Is(err, state.ErrFull) && what == "look" {
		fmt.Println("met full open")
		return nil
	}
	if err != nil {
		return err
	}
	if at, err := holds(db); err != nil || at < acked {
		return fmt.Errorf("stands at %d, %d were acknowledged, %w", at, acked, err)
	} else {
		acked = at
	}
	defer func() { fmt.Println("acked", acked) }()
	commit := func(full string) error {
		err := db.Commit(context.Background(), busy(acked+1))
		switch {
		case err == nil:
			acked++
		case !errors.Is(err, state.ErrFull) || full == "":
			return fmt.Errorf("commit: %w", err)
		default:
			fmt.Println("met full commit")
		}
		if err == nil && full != "" {
			fmt.Println("met commit beside a full disk")
		}
		return nil
	}
	if what == "live" {
		for range 3 { // there is room again
			if err := commit(""); err != nil {
				return err
			}
		}
		if err := fill(dir, max(0, left)); err != nil {
			return err
		}
		for left < 0 { // somebody eats what is given up, too
			if _, err := os.Stat(filepath.Join(dir, "state", "spare")); errors.Is(err, fs.ErrNotExist) {
				left = 0
			} else if err != nil {
				return err
			}
			if err := fill(dir, 0); err != nil {
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	for range 5 {
		if err := commit("may be"); err != nil {
			return err
		}
	}
	if err := db.Compact(context.Background()); err != nil && !errors.Is(err, state.ErrFull) {
		return fmt.Errorf("compact: %w", err)
	}
	if at, err := holds(db); err != nil || at != acked {
		return fmt.Errorf("stands at %d, %d were acknowledged, %w", at, acked, err)
	}
	err = db.Close()
	if errors.Is(err, state.ErrFull) {
		fmt.Println("met full close")
		return nil
	}
	return err
}
