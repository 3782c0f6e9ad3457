package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/weir-etl/weir/engine/internal/flow"
)

// Socket is where a running engine listens for the other commands: HTTP over a unix socket in its data directory, for its owner alone.
func Socket(dir string) string { return filepath.Join(dir, "weir.sock") }

// listen serves the socket until ctx ends.
func (e *Engine) listen(ctx context.Context) error {
	path := Socket(e.Dir)
	os.Remove(path) // of an engine that was killed: the state's lock says that none runs
	old := umask(0o177)
	l, err := net.Listen("unix", path)
	umask(old)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", e.ask(func(*http.Request) (any, error) { return e.status(), nil }))
	mux.HandleFunc("GET /owed", e.ask(func(r *http.Request) (any, error) { return e.entries(r.FormValue("dead") == "true"), nil }))
	mux.HandleFunc("POST /want", e.ask(e.want))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 16}
	e.background.Go(func() { server.Serve(l) }) // ends with Close
	e.background.Go(func() {
		<-ctx.Done()
		server.Close()
		os.Remove(path)
	})
	return nil
}

// ask runs f in the loop and answers with its value as JSON.
func (e *Engine) ask(f func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		type answer struct {
			value any
			err   error
		}
		got := make(chan answer, 1) // the loop must not wait for a client that went away
		e.post(func() {
			v, err := f(r)
			got <- answer{v, err}
		})
		select {
		case a := <-got:
			if a.err != nil {
				http.Error(w, a.err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(a.value)
		case <-r.Context().Done():
		case <-e.ctx.Done():
			http.Error(w, "the engine is stopping", http.StatusServiceUnavailable)
		}
	}
}

// Entry is one owed row or dead letter, as far as it can be told without opening it.
type Entry struct {
	Step     string     `json:"step"`
	ID       string     `json:"id"`
	Seq      uint64     `json:"seq,omitempty"`
	Dead     bool       `json:"dead,omitempty"`
	Cause    string     `json:"cause,omitempty"`
	Code     string     `json:"code,omitempty"`
	Detail   string     `json:"detail,omitempty"`
	Since    time.Time  `json:"since"`
	Due      *time.Time `json:"due,omitempty"`
	Deadline *time.Time `json:"deadline,omitempty"`
	Tries    int        `json:"tries,omitempty"`
	Kept     bool       `json:"kept,omitempty"`
	Planned  bool       `json:"planned,omitempty"` // a second time that the step itself asked for
}

// maxEntries bounds a listing; counts come with the status.
const maxEntries = 1000

// entries lists what is owed, or dead, oldest first.
func (e *Engine) entries(dead bool) []Entry {
	list := []Entry{}
	for _, s := range e.steps {
		for _, h := range e.machine.Holdings(s.index) {
			var p *parcel
			for _, g := range h.Groups {
				if g.Dead != dead {
					continue
				}
				for _, row := range g.Rows {
					if len(list) == maxEntries {
						return list
					}
					if p == nil {
						var err error
						if p, err = e.readParcel(h.Parcel); err != nil {
							e.Log.Error("parcel cannot be read", "parcel", h.Parcel, "error", err)
							return list
						}
					}
					list = append(list, entryOf(s.address, g, p, int(row)))
				}
			}
		}
	}
	return list
}

func entryOf(step string, g flow.Group, p *parcel, row int) Entry {
	n := Entry{Step: step, ID: p.at.ID(row), Seq: p.at.Seq(row), Dead: g.Dead, Cause: g.Cause, Code: g.Code, Detail: g.Detail,
		Since: g.Since, Tries: g.Tries, Kept: g.Kept, Planned: g.Revisit}
	if !g.Due.IsZero() {
		n.Due = &g.Due
	}
	if !g.Deadline.IsZero() {
		n.Deadline = &g.Deadline
	}
	return n
}

// want makes owed entries due, replays dead letters, or drops either.
func (e *Engine) want(r *http.Request) (any, error) {
	step, id := r.FormValue("step"), r.FormValue("id")
	i, ok := e.byName[step]
	if !ok {
		return nil, errors.New("no step " + step)
	}
	w := flow.Wanted{Step: i, Dead: r.FormValue("dead") == "true", Drop: r.FormValue("drop") == "true"}
	if id != "" {
		w.ID = e.identity(e.steps[i].upstream, id)
	}
	e.step(w)
	return e.status(), nil
}
