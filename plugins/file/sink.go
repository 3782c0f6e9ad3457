package file

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/weir-etl/weir/sdk"
)

type sink struct {
	path  string
	spool *sdk.Spool

	mu  sync.Mutex
	log *journal // nil: to be opened
}

// Open takes the file, if it is there to be taken; whatever is wrong with it is told by Write, which tries again.
func (s *sink) Open(_ context.Context, env *sdk.Env) error {
	var args struct {
		Path string `json:"path"`
	}
	if err := env.Decode(&args); err != nil {
		return err
	}
	if args.Path == "" {
		return errors.New("path: is empty")
	}
	s.path, s.spool = args.Path, env.Spool
	s.ready()
	return nil
}

// Close closes the file; nothing is buffered.
func (s *sink) Close(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drop()
}

func (s *sink) ready() error {
	if s.log != nil {
		return nil
	}
	log, err := openJournal(s.path)
	if err != nil {
		return down(err)
	}
	s.log = log
	return nil
}

func (s *sink) drop() error {
	if s.log == nil {
		return nil
	}
	err := s.log.close()
	s.log = nil
	return err
}

// Write answers rows that are refused at once and all others when their files and lines are on the disk: files first, so that a line
// never stands there without them.
func (s *sink) Write(_ context.Context, call *sdk.Call) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return err
	}
	if call.Probe {
		return s.probe(call)
	}

	receipts := make([]*sdk.Receipt, len(call.Rows))
	written := make([]bool, len(call.Rows))
	var read reader
	for i := range call.Rows {
		row := &call.Rows[i]
		args, err := read.arguments(row)
		if err != nil {
			call.Answer(i, sdk.Reject("BAD_ARGUMENTS", err))
			continue
		}
		line, err := asLine(row.Body)
		if err != nil {
			call.Answer(i, sdk.Reject("BODY_NOT_A_LINE", err))
			continue
		}
		receipts[i], err = s.store(row, args.Files)
		if err != nil {
			call.Answer(i, sdk.OutcomeOf(err))
			continue
		}
		s.log.add(line, identityOf(args.Key))
		written[i] = true
	}
	if err := s.log.flush(); err != nil {
		if err != errForeign { // which wrote nothing, and opening would cut off what is not ours
			s.drop()
		}
		return down(err)
	}
	for i, receipt := range receipts {
		if written[i] {
			call.Answer(i, sdk.Done(receipt))
		}
	}
	return nil
}

// probe says which rows are here with all their files, judged by sha256.
func (s *sink) probe(call *sdk.Call) error {
	var read reader
	for i := range call.Rows {
		row := &call.Rows[i]
		args, err := read.arguments(row)
		if err != nil {
			call.Answer(i, sdk.Reject("BAD_ARGUMENTS", err))
			continue
		}
		receipt, err := s.find(row, args.Files)
		switch {
		case err != nil:
			call.Answer(i, sdk.OutcomeOf(err))
		case receipt == nil || !s.log.has(identityOf(args.Key)):
			call.Answer(i, sdk.NeedBytes())
		default:
			call.Answer(i, sdk.Done(receipt))
		}
	}
	return nil
}

type rowArguments struct {
	Key   string `json:"key"`
	Files []int  `json:"files"`
}

// reader reads the arguments of rows, one after the other.
type reader struct {
	text []byte // of the row before, which is mostly that of this row too
	args rowArguments
}

// arguments fills in what the pipeline leaves out: the record's id, and all its files.
func (r *reader) arguments(row *sdk.Row) (rowArguments, error) {
	if r.text == nil || !bytes.Equal(r.text, row.Args) {
		r.args = rowArguments{}
		if err := row.Decode(&r.args); err != nil {
			r.text = nil
			return r.args, err
		}
		r.text = row.Args
	}
	args := r.args
	if args.Key == "" {
		args.Key = row.ID
	}
	if args.Files == nil {
		for i := range row.Files {
			args.Files = append(args.Files, row.Files[i].Index)
		}
	}
	for _, index := range args.Files {
		if fileOf(row, index) == nil {
			return args, fmt.Errorf("files: no file %d", index)
		}
	}
	return args, nil
}

func fileOf(row *sdk.Row, index int) *sdk.File {
	if i := slices.IndexFunc(row.Files, func(f sdk.File) bool { return f.Index == index }); i >= 0 {
		return &row.Files[i]
	}
	return nil
}

// asLine is body without newlines: JSON loses those between its tokens; anything else must have none.
func asLine(body []byte) ([]byte, error) {
	if bytes.IndexByte(body, '\n') < 0 {
		return body, nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		return nil, errors.New("a body that is not JSON holds a newline")
	}
	return b.Bytes(), nil
}

// down is the error of a call that met trouble with the file.
func down(err error) error {
	switch {
	case errors.Is(err, errLocked):
		return sdk.Down("FILE_LOCKED", err).Err()
	case errors.Is(err, errForeign):
		return sdk.DownAlarm("FILE_CHANGED", err).Err()
	}
	return sdk.Down("FILE_UNWRITABLE", err).Err()
}
