package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weir-etl/weir/sdk"
	"github.com/weir-etl/weir/sdk/serve"
)

// The test binary is also the plugin, and the host that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case ServeArg:
			serve.Main(probe())
		case "host":
			hostUntilKilled(os.Args[2])
		case "host-again":
			hostAgain(os.Args[2])
		case "says":
			fmt.Println(os.Args[2])
			select {}
		case "by-hand", "by-hand-without-shutdown":
			byHand(os.Args[1] == "by-hand")
			os.Exit(0)
		case "mute": // never comes up
			select {}
		}
	}
	os.Exit(m.Run())
}

// hostUntilKilled starts a plugin, prints its pid and waits.
func hostUntilKilled(dir string) {
	exe, err := Bundled("probe")
	if err != nil {
		panic(err)
	}
	p, err := Start(context.Background(), exe, Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.PID())
	select {}
}

// hostAgain starts a plugin for each line that it reads, prints what its process runs, and ends it.
func hostAgain(dir string) {
	exe, err := Bundled("probe")
	if err != nil {
		panic(err)
	}
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		p, err := Start(context.Background(), exe, Options{Dir: dir})
		if err != nil {
			panic(err)
		}
		runs, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID()))
		if err != nil {
			panic(err)
		}
		fmt.Println(runs)
		p.Kill(context.Background())
	}
}

// probe is a plugin that shows what happens inside of it.
func probe() sdk.Plugin {
	return sdk.Plugin{Name: "probe", Version: "1.0.0", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "env", NewSource: func() sdk.Source { return &envSource{} }},
		{Kind: sdk.KindTransform, Type: "upper", NewTransform: func() sdk.Transform { return &upper{} }},
		{Kind: sdk.KindSink, Type: "slow", NewSink: func() sdk.Sink { return &slow{} }},
	}}
}

// envSource emits its environment, a record per variable.
type envSource struct{ env *sdk.Env }

func (s *envSource) Open(_ context.Context, env *sdk.Env) error { s.env = env; return nil }
func (s *envSource) Read(ctx context.Context, _ []byte, out sdk.Emitter) error {
	s.env.Log.Warn("reading", "clock", s.env.Clock.Now().Year())
	fmt.Println("printed")
	var p sdk.Page
	for i, v := range os.Environ() {
		p.Records = append(p.Records, sdk.Record{ID: fmt.Sprint(i), Body: []byte(v)})
	}
	p.Drained = true
	if err := out.Emit(ctx, p); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
func (s *envSource) Close(context.Context) error { return nil }

type upper struct{}

func (*upper) Open(context.Context, *sdk.Env) error { return nil }
func (*upper) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		r.Body = []byte(strings.ToUpper(string(r.Body)))
		call.Answer(i, sdk.Emit(r))
	}
	return nil
}
func (*upper) Close(context.Context) error { return nil }

// slow delivers the first row and then hangs; on Close it writes a file.
type slow struct {
	args struct{ Closed string }
}

func (s *slow) Open(_ context.Context, env *sdk.Env) error { return env.Decode(&s.args) }
func (s *slow) Write(ctx context.Context, call *sdk.Call) error {
	call.Answer(0, sdk.Done(nil))
	if len(call.Rows) == 1 {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
func (s *slow) Close(context.Context) error {
	if s.args.Closed == "" {
		return errors.New("nowhere to write")
	}
	return os.WriteFile(s.args.Closed, []byte("closed"), 0o600)
}

// gone waits until no process has this pid, or only a zombie that nobody has collected.
func gone(pid int) bool {
	for range 200 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return true
		}
		<-time.After(25 * time.Millisecond)
	}
	return false
}

// start runs this binary with args and returns it with the first line it prints.
func start(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}
