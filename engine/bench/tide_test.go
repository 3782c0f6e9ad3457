package bench

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// tide is a plugin with a sink that can be away, a source of fresh rows that say when they were made, and a transform for sinks that
// take files only. A gate is a file: while it is there, the sink answers that its service is down, and the source makes nothing.
func tide() sdk.Plugin {
	str := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.String, Default: ""} }
	num := func(name string) sdk.Arg { return sdk.Arg{Name: name, Type: sdk.Number, Default: 0} }
	return sdk.Plugin{Name: "tide", Version: "0", Components: []sdk.Component{
		{Kind: sdk.KindSource, Type: "tide", Emits: []string{"tide/1"}, Args: []sdk.Arg{str("gate"), num("rate"), num("page")},
			NewSource: func() sdk.Source { return &fresh{} }},
		{Kind: sdk.KindTransform, Type: "tide", MakesFiles: true,
			// The engine says here which files it wants made again, and there has to be a place for it.
			Args:         []sdk.Arg{{Name: "files", Type: sdk.Files, PerRecord: true, Required: true}},
			NewTransform: func() sdk.Transform { return &parcel{} }},
		{Kind: sdk.KindSink, Type: "tide", Args: []sdk.Arg{str("gate"), str("path")}, NewSink: func() sdk.Sink { return &shore{} }},
	}}
}

func closed(gate string) bool {
	_, err := os.Stat(gate)
	return !errors.Is(err, fs.ErrNotExist)
}

// fresh makes rows of 1 KiB without end, rate a second or, with 0, as many as are taken.
type fresh struct {
	Gate  string  `json:"gate"`
	Rate  float64 `json:"rate"`
	Page  int     `json:"page"`
	clock *sdk.Clock
}

func (f *fresh) Open(_ context.Context, env *sdk.Env) error {
	f.clock = env.Clock
	return env.Decode(f)
}

func (f *fresh) Close(context.Context) error { return nil }

func (f *fresh) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	n, _ := strconv.Atoi(string(position)) // none yet = 0
	body := fmt.Appendf(nil, "{%1022s", "}")
	due := f.clock.Now()
	for ctx.Err() == nil {
		if closed(f.Gate) {
			time.Sleep(5 * time.Millisecond)
			due = f.clock.Now()
			continue
		}
		page := sdk.Page{Drained: true} // whatever was asked for is here: it makes more as time goes by
		for range f.Page {
			n++
			page.Records = append(page.Records, sdk.Record{ID: fmt.Sprint("fresh-", n), Kind: "tide/1", Time: f.clock.Now(), Body: body})
		}
		page.Position = strconv.AppendInt(nil, int64(n), 10)
		if err := out.Emit(ctx, page); err != nil {
			return err
		}
		if f.Rate > 0 {
			due = due.Add(time.Duration(float64(f.Page) / f.Rate * float64(time.Second)))
			if err := f.clock.Sleep(ctx, due.Sub(f.clock.Now())); err != nil {
				return nil
			}
		}
	}
	return nil
}

// parcel gives a record its body as a file, too.
type parcel struct{ spool *sdk.Spool }

func (p *parcel) Open(_ context.Context, env *sdk.Env) error {
	p.spool = env.Spool
	return nil
}

func (p *parcel) Close(context.Context) error { return nil }

func (p *parcel) Apply(_ context.Context, call *sdk.Call) error {
	for i := range call.Rows {
		r := call.Rows[i].Record
		f := sdk.File{Name: r.ID, Size: -1, MediaType: "application/json"}
		w, err := p.spool.Create(&f)
		if err != nil {
			return err
		}
		if _, err := w.Write(r.Body); err != nil {
			w.Abort()
			return err
		}
		if err := w.Commit(); err != nil {
			return err
		}
		r.Files = []sdk.File{f}
		call.Answer(i, sdk.Emit(r))
	}
	return nil
}

// shore writes a line for each row: its id, when it came by the real clock, and how old it was by the engine's, both in nanoseconds.
type shore struct {
	Gate  string `json:"gate"`
	Path  string `json:"path"`
	clock *sdk.Clock
	mu    sync.Mutex
	file  *os.File
}

func (s *shore) Open(_ context.Context, env *sdk.Env) (err error) {
	if err := env.Decode(s); err != nil {
		return err
	}
	s.clock = env.Clock
	s.file, err = os.OpenFile(s.Path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

func (s *shore) Close(context.Context) error { return s.file.Close() }

func (s *shore) Write(_ context.Context, call *sdk.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if closed(s.Gate) {
		return sdk.Down("AWAY", nil).Err()
	}
	var lines []byte
	now := time.Now().UnixNano()
	for i := range call.Rows {
		age := time.Duration(0)
		if made := call.Rows[i].Time; !made.IsZero() {
			age = s.clock.Now().Sub(made)
		}
		lines = fmt.Appendf(lines, "%s %d %d\n", call.Rows[i].ID, now, age)
	}
	if _, err := s.file.Write(lines); err != nil {
		return err
	}
	for i := range call.Rows {
		call.Answer(i, sdk.Done(nil))
	}
	return nil
}
