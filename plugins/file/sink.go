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
	var lines [][]byte
	var keys []identity
	fresh := make(map[identity]bool)
	for i := range call.Rows {
		row := &call.Rows[i]
		args, err := s.arguments(row)
		if err != nil {
			call.Answer(i, sdk.Reject("BAD_ARGUMENTS", err))
			continue
		}
		line, err := asLine(row.Body)
		if err != nil {
			call.Answer(i, sdk.Reject("BODY_NOT_A_LINE", err))
			continue
		}
		receipt, err := s.store(row, args.Files)
		if err != nil {
			call.Answer(i, sdk.OutcomeOf(err))
			continue
		}
		receipts[i] = receipt
		if key := identityOf(args.Key); !fresh[key] && !s.log.has(key) {
			fresh[key] = true
			lines, keys = append(lines, line), append(keys, key)
		}
	}
	if len(lines) > 0 {
		if err := s.log.write(lines, keys); err != nil {
			if err != errForeign { // which wrote nothing, and opening would cut off what is not ours
				s.drop()
			}
			return down(err)
		}
	}
	for i, receipt := range receipts {
		if receipt != nil {
			call.Answer(i, sdk.Done(receipt))
		}
	}
	return nil
}

// probe says which rows are here with all their files, judged by sha256.
func (s *sink) probe(call *sdk.Call) error {
	for i := range call.Rows {
		row := &call.Rows[i]
		args, err := s.arguments(row)
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

// arguments fills in what the pipeline leaves out: the record's id, and all its files.
func (s *sink) arguments(row *sdk.Row) (args rowArguments, err error) {
	if err := row.Decode(&args); err != nil {
		return args, err
	}
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

// asLine is body with a newline. JSON loses the newlines between its tokens; anything else must have none.
func asLine(body []byte) ([]byte, error) {
	if bytes.IndexByte(body, '\n') < 0 {
		return append(body[:len(body):len(body)], '\n'), nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		return nil, errors.New("a body that is not JSON holds a newline")
	}
	b.WriteByte('\n')
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
