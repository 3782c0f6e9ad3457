package file

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/weir-etl/weir/sdk"
)

const (
	maxLine     = 16 << 20 // bytes
	pageRecords = 500
	pageBytes   = 4 << 20
)

type source struct {
	path, kind, prefix string
	every              time.Duration
	clock              *sdk.Clock
}

func (s *source) Open(_ context.Context, env *sdk.Env) error {
	args := struct {
		Path  string `json:"path"`
		Kind  string `json:"kind"`
		Every string `json:"every"`
	}{Kind: "text/1"}
	if err := env.Decode(&args); err != nil {
		return err
	}
	if args.Path == "" {
		return errors.New("path: is empty")
	}
	if args.Every != "" {
		d, err := time.ParseDuration(args.Every)
		if err != nil || d <= 0 {
			return fmt.Errorf("every: want a duration above 0, or \"\"")
		}
		s.every = d
	}
	sum := sha256.Sum256([]byte(filepath.Clean(args.Path)))
	s.path, s.kind, s.prefix, s.clock = args.Path, args.Kind, hex.EncodeToString(sum[:8])+"-", env.Clock
	return nil
}

func (s *source) Close(context.Context) error { return nil }

// Read reads lines from position on. A file that cannot be opened, has shrunk, or whose last line went on after it had been taken
// is an error with its own code; nothing is skipped.
func (s *source) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	at, err := parsePlace(position)
	if err != nil {
		return err
	}
	for {
		if at, err = s.readOn(ctx, at, out); err != nil || s.every == 0 {
			break
		}
		if err = s.clock.Sleep(ctx, s.every); err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// readOn emits what stands in the file behind at, the last page drained, and returns the place it came to.
func (s *source) readOn(ctx context.Context, at place, out sdk.Emitter) (place, error) {
	f, err := os.Open(s.path)
	if err != nil {
		return at, sdk.Down("FILE_UNREADABLE", err).Err()
	}
	defer f.Close()
	if at, err = seek(f, at); err != nil {
		return at, err
	}
	r := bufio.NewReaderSize(f, 256<<10)
	for {
		page, next, err := s.page(r, at)
		if err != nil {
			return at, err
		}
		if err := out.Emit(ctx, page); err != nil {
			return at, err
		}
		at = next
		if page.Drained {
			return at, nil
		}
	}
}

// seek goes to at. If the line before had no newline when it was taken, the newline may have come since, but nothing else.
func seek(f *os.File, at place) (place, error) {
	st, err := f.Stat()
	if err != nil {
		return at, sdk.Down("FILE_UNREADABLE", err).Err()
	}
	if st.Size() < at.offset {
		return at, sdk.DownAlarm("FILE_SHRANK", fmt.Errorf("%d bytes, but %d were read", st.Size(), at.offset)).Err()
	}
	if at.offset > 0 {
		var b [2]byte
		n, err := f.ReadAt(b[:], at.offset-1)
		if err != nil && err != io.EOF {
			return at, sdk.Down("FILE_UNREADABLE", err).Err()
		}
		switch {
		case n > 0 && b[0] == '\n', n < 2:
		case b[1] == '\n':
			at.offset++
		default:
			return at, sdk.DownAlarm("LINE_GREW", fmt.Errorf("line %d went on after it was taken", at.line)).Err()
		}
	}
	if _, err := f.Seek(at.offset, io.SeekStart); err != nil {
		return at, sdk.Down("FILE_UNREADABLE", err).Err()
	}
	return at, nil
}

// page reads lines until the page is full or the file ends. The bodies of a page share one piece of memory.
func (s *source) page(r *bufio.Reader, at place) (sdk.Page, place, error) {
	var page sdk.Page
	var bodies []byte
	var ends []int
	for len(ends) < pageRecords && len(bodies) < pageBytes {
		from := len(bodies)
		var err error
		bodies, err = appendLine(bodies, r)
		if err == io.EOF {
			page.Drained = true
			if len(bodies) == from || s.every > 0 { // nothing, or a line that somebody may still be writing
				bodies = bodies[:from]
				break
			}
		} else if err != nil {
			if err == errTooLong {
				err = sdk.DownAlarm("LINE_TOO_LONG", fmt.Errorf("line %d has more than %d bytes", at.line+1, maxLine)).Err()
			}
			return page, at, err
		}
		page.Records = append(page.Records, sdk.Record{
			ID:   s.prefix + strconv.FormatInt(at.offset, 10),
			Seq:  at.line + 1,
			Kind: s.kind,
		})
		at.line++
		at.offset += int64(len(bodies) - from)
		ends = append(ends, len(bodies))
		if page.Drained {
			break
		}
	}
	from := 0
	for i, end := range ends {
		body := bodies[from:end:end]
		if n := len(body); n > 0 && body[n-1] == '\n' {
			body = body[:n-1]
		}
		page.Records[i].Body, from = body, end
	}
	page.Position = at.bytes()
	return page, at, nil
}

var errTooLong = errors.New("line too long")

// appendLine appends the next line with its newline; at the end of the file, what there is, and io.EOF.
func appendLine(b []byte, r *bufio.Reader) ([]byte, error) {
	from := len(b)
	for {
		part, err := r.ReadSlice('\n')
		b = append(b, part...)
		if len(b)-from > maxLine+1 || len(b)-from == maxLine+1 && err != nil {
			return b, errTooLong
		}
		if err != bufio.ErrBufferFull {
			return b, err
		}
	}
}

// place is a source's position: bytes and lines already read. It is written as "offset:lines".
type place struct {
	offset int64
	line   uint64
}

func (p place) bytes() []byte { return fmt.Appendf(nil, "%d:%d", p.offset, p.line) }

func parsePlace(b []byte) (p place, err error) {
	if b == nil {
		return p, nil
	}
	if n, err := fmt.Sscanf(string(b), "%d:%d", &p.offset, &p.line); n != 2 || err != nil || p.offset < 0 {
		return p, errors.New("position: want offset:lines")
	}
	return p, nil
}
