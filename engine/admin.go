package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/weir-etl/weir/engine/internal/flow"
	"github.com/weir-etl/weir/engine/internal/lang"
	"github.com/weir-etl/weir/engine/internal/state"
)

// Socket is where a running engine listens for the other commands: HTTP over a unix socket in its data directory. Its mode, 0600, is the
// guard: the kernel lets nobody connect but the owner and root, who could read the engine's memory anyway; so nobody is asked who they
// are. Whoever may write to the folder could put a socket of their own there: the folder belongs to the owner alone, too.
func Socket(dir string) string { return filepath.Join(dir, "weir.sock") }

// maxSocketPath is what the address of a unix socket holds on every system: 104 bytes with the final zero on macOS and BSD.
const maxSocketPath = 103

// reach calls f with a path of the socket that is short enough, through a link where the data directory lies too deep.
func reach(dir string, f func(path string) error) error {
	path := Socket(dir)
	if len(path) <= maxSocketPath {
		return f(path)
	}
	target, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	private, err := os.MkdirTemp("", "weir-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(private)
	link := filepath.Join(private, "d")
	if err := os.Symlink(target, link); err != nil {
		return err
	}
	return f(Socket(link))
}

// listen serves the socket until ctx ends.
func (e *Engine) listen(ctx context.Context) error {
	if info, err := os.Stat(e.Dir); err == nil && info.Mode().Perm()&0o022 != 0 {
		e.Log.Warn("others can write to the data directory, and take away what lies there: chmod 700", "dir", e.Dir)
	}
	os.Remove(Socket(e.Dir)) // of an engine that was killed: the state's lock says that none runs
	var l net.Listener
	err := reach(e.Dir, func(path string) error {
		old := umask(0o177)
		defer umask(old)
		unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err == nil {
			unix.SetUnlinkOnClose(false) // the path may be gone by then
			l = unix
		}
		return err
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	handle(mux, "GET /status", func(r *http.Request) (Status, error) {
		var s Status
		err := e.ask(r, func() { s = e.status() })
		return s, err
	})
	handle(mux, "GET /owed", e.listOwed)
	handle(mux, "POST /retry", func(r *http.Request) (Effect, error) { return e.want(r, false) })
	handle(mux, "POST /drop", func(r *http.Request) (Effect, error) { return e.want(r, true) })
	handle(mux, "GET /state", func(*http.Request) (StateInfo, error) { return describe(e.db, e.Dir, e.Pipeline.Name) })
	handle(mux, "GET /audit", func(*http.Request) ([]state.Audit, error) { return e.db.Audits() })
	mux.HandleFunc("POST /backup", e.backup)
	handle(mux, "POST /since", func(r *http.Request) (Since, error) {
		var o Outline
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			return Since{}, err
		}
		snapshot, err := e.db.Load(e.Pipeline.Name)
		return o.since(snapshot), err
	})
	d := newDesk(l, mux, usualBounds())
	e.background.Go(d.serve)
	e.background.Go(func() {
		<-ctx.Done()
		os.Remove(Socket(e.Dir))
		d.close()
	})
	return nil
}

// errStopping tells a client that its request came too late.
var errStopping = errors.New("the engine is stopping")

// handle answers a request with the value of f as JSON.
func handle[T any](mux *http.ServeMux, pattern string, f func(r *http.Request) (T, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		value, err := f(r)
		switch {
		case errors.Is(err, ErrNoStep):
			http.Error(w, err.Error(), http.StatusNotFound)
		case errors.Is(err, errStopping):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		case err != nil:
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(value) // a client that went away does not care
		}
	})
}

// ask runs f in the loop and waits for it. What f writes may be read when the answer is nil.
func (e *Engine) ask(r *http.Request, f func()) error {
	done := make(chan struct{})
	e.post(func() {
		f()
		close(done)
	})
	select {
	case <-done:
		return nil
	case <-r.Context().Done():
		return r.Context().Err()
	case <-e.ctx.Done():
		return errStopping
	}
}

// listOwed answers what is owed, or dead. The loop only says which rows; their parcels are read beside it.
func (e *Engine) listOwed(r *http.Request) (Listing, error) {
	p, err := e.picked(r)
	if err != nil {
		return Listing{}, err
	}
	var owings []state.Owing
	if err := e.ask(r, func() { owings = e.owings(p) }); err != nil {
		return Listing{}, err
	}
	return p.list(owings, e.readParcel)
}

// owings is what the machine holds of the picked step; of the loop.
func (e *Engine) owings(p *Pick) (list []state.Owing) {
	for _, s := range e.steps {
		if p.Step != "" && p.Step != s.address {
			continue
		}
		for _, h := range e.machine.Holdings(s.index) {
			list = append(list, e.owing(h))
		}
	}
	return list
}

// want makes owed entries due, replays dead letters, or drops either. Entries that are on their way at the moment stay as they are.
func (e *Engine) want(r *http.Request, drop bool) (Effect, error) {
	p, err := e.picked(r)
	if err != nil {
		return Effect{}, err
	}
	var done Effect
	a := state.Audit{Who: r.FormValue("who"), Verb: "drop", What: r.FormValue("what")}
	noted := func(what string) { // before the deed: a kill between the two must not leave one of which nothing tells
		a.When, a.What = e.Clock.Now().UTC(), what
		e.commits.put(commit{change: state.Change{Pipeline: e.Pipeline.Name, Audit: []state.Audit{a}}})
	}
	err = e.ask(r, func() {
		done.Entries = p.count(e.owings(p))
		if drop && done.Entries > 0 {
			noted(a.What)
		}
		for _, s := range e.steps {
			if p.Step != "" && p.Step != s.address {
				continue
			}
			w := flow.Wanted{Step: s.index, Dead: p.Dead, Drop: drop}
			if p.ids == nil {
				e.step(w)
			}
			for w.ID = range p.ids {
				e.step(w)
			}
		}
		if drop {
			if stay := p.count(e.owings(p)); stay > 0 {
				done.Entries -= stay
				noted(fmt.Sprintf("%d of them were on their way at that moment, and are still owed", stay))
			}
		}
	})
	return done, err
}

// picked reads a Pick from a request.
func (e *Engine) picked(r *http.Request) (*Pick, error) {
	limit, _ := strconv.Atoi(r.FormValue("limit")) // the client's own: see Pick.values
	p := &Pick{Dead: r.FormValue("dead") == "true", Step: r.FormValue("step"), ID: r.FormValue("id"), Body: r.FormValue("body") == "true", Limit: limit}
	addresses := []string{lang.Events}
	for _, s := range e.steps {
		addresses = append(addresses, s.address)
	}
	for _, m := range e.Pipeline.Moved {
		addresses = append(addresses, m.From) // under which older identities were hashed
	}
	p.identify(e.idKey, addresses)
	return p, p.known(addresses...)
}
