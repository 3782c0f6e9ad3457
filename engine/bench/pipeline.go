package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const recordSize = 1024

// shape of a pipeline from generate through md5 to a file that is synced.
type shape struct {
	records int // of all sources together
	sources int
	steps   int  // md5 in a row
	idle    int  // further plugin processes that get no record
	apart   bool // every component in a process of its own, and called there
}

// even has as many records of each source.
func (s shape) even() shape {
	s.records = max(s.records/s.sources, 1) * s.sources
	return s
}

// empty are the same processes with the fewest records.
func (s shape) empty() shape {
	s.records = s.sources
	return s
}

// text is the pipeline file. The steps of a plugin share a process, unless they have a connection of their own, as an idle one has.
func (s shape) text(out string) string {
	var t strings.Builder
	fmt.Fprintln(&t, `weir { name = "bench" }`)
	var inputs []string
	for i := range s.sources {
		fmt.Fprintf(&t, "source \"generate\" \"g%d\" {\n  count = %d\n  size  = %d\n  seed  = %d\n  isolate = %v\n}\n", i+1, s.records/s.sources, recordSize, i+1, s.apart)
		inputs = append(inputs, fmt.Sprintf("source.generate.g%d", i+1))
	}
	input := "[" + strings.Join(inputs, ", ") + "]"
	for i := range s.steps {
		fmt.Fprintf(&t, "transform \"md5\" \"m%d\" {\n  input   = %s\n  isolate = %v\n}\n", i+1, input, s.apart)
		input = fmt.Sprintf("transform.md5.m%d", i+1)
	}
	fmt.Fprintf(&t, "sink \"file\" \"f\" {\n  input = %s\n  path  = %q\n}\n", input, out)
	for i := range s.idle {
		fmt.Fprintf(&t, `connection "s3" "c%d" {
  endpoint          = "http://127.0.0.1:9"
  bucket            = "none"
  access_key_id     = "none"
  access_key_secret = env("BENCH_SECRET")
}
sink "s3" "s%[1]d" {
  connection = connection.s3.c%[1]d
  input      = %[2]s
  when       = false
  body_key   = record.id
}
`, i+1, input)
	}
	return t.String()
}

// weir runs a pipeline, and holds what it has written against what it should have.
func (b *bench) weir(ctx context.Context, s shape) (figures, error) {
	return b.inFolder(func(dir string) (figures, error) {
		file, out := filepath.Join(dir, "p.hcl"), filepath.Join(dir, "out.jsonl")
		if err := os.WriteFile(file, []byte(s.text(out)), 0o600); err != nil {
			return figures{}, err
		}
		f, err := measure(ctx, b.command(ctx, dir, "run", "--once", "--data-dir", filepath.Join(dir, "data"), file), out)
		if err != nil {
			return f, err
		}
		f.twice, err = arrived(out, s.sources, s.records/s.sources)
		return f, err
	})
}

// validate only reads the pipeline.
func (b *bench) validate(ctx context.Context, s shape) (figures, error) {
	return b.inFolder(func(dir string) (figures, error) {
		file := filepath.Join(dir, "p.hcl")
		if err := os.WriteFile(file, []byte(s.text("out.jsonl")), 0o600); err != nil {
			return figures{}, err
		}
		return measure(ctx, b.command(ctx, dir, "validate", file), file)
	})
}

// inFolder gives f a folder of its own, which is gone afterwards.
func (b *bench) inFolder(f func(dir string) (figures, error)) (figures, error) {
	dir, err := os.MkdirTemp(b.dir, "run-")
	if err != nil {
		return figures{}, err
	}
	defer os.RemoveAll(dir)
	return f(dir)
}

// command is weir in a folder, with an environment that is the same for everybody.
func (b *bench) command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.Weir, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "BENCH_SECRET=none"}
	if tmp, ok := os.LookupEnv("TMPDIR"); ok { // sockets, where the path of dir is too long for them
		cmd.Env = append(cmd.Env, "TMPDIR="+tmp)
	}
	return cmd
}

// arrived reads bodies of generate back and says how many lines were there before. It is an error if one of the numbers from 1 to
// records is missing for one of the seeds from 1 to sources, and if something else stands there.
func arrived(path string, sources, records int) (twice int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	seen := make([]bool, sources*records)
	missing := len(seen)
	lines := bufio.NewReaderSize(file, 1<<20)
	for at := 1; ; at++ {
		line, err := lines.ReadSlice('\n')
		if len(line) == 0 && err != nil {
			break
		}
		n, seed, ok := numbers(line)
		if !ok || len(line) != recordSize+1 || n < 1 || n > records || seed < 1 || seed > sources {
			return 0, fmt.Errorf("line %d is no record: %.60q", at, line)
		}
		if i := (seed-1)*records + n - 1; seen[i] {
			twice++
		} else {
			seen[i] = true
			missing--
		}
	}
	if missing > 0 {
		return 0, fmt.Errorf("%d of %d records did not arrive", missing, len(seen))
	}
	return twice, nil
}

// numbers reads the start of a body of generate: {"n":1,"seed":7,…
func numbers(line []byte) (n, seed int, ok bool) {
	rest, ok1 := bytes.CutPrefix(line, []byte(`{"n":`))
	n, rest = digits(rest)
	rest, ok2 := bytes.CutPrefix(rest, []byte(`,"seed":`))
	seed, rest = digits(rest)
	return n, seed, ok1 && ok2 && bytes.HasPrefix(rest, []byte(","))
}

func digits(text []byte) (n int, rest []byte) {
	for len(text) > 0 && text[0] >= '0' && text[0] <= '9' && n < 1<<40 {
		n, text = n*10+int(text[0]-'0'), text[1:]
	}
	return n, text
}
