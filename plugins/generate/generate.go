// Package generate is a source that makes records out of nothing: for demonstrations, tests and measurements.
//
// The same arguments give the same records, byte for byte, from any position on, so that two runs can be compared. A body is
// JSON of exactly `size` bytes:
//
//	{"n":1,"seed":7,"text":"kZ0c…"}
//
// Making a record of 1 KiB costs far less than a microsecond (see BenchmarkRead), so that a measurement measures the engine.
package generate

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Plugin offers source "generate".
func Plugin() sdk.Plugin {
	return sdk.Plugin{Name: "generate", Version: "0.1.0", Components: []sdk.Component{{
		Kind: sdk.KindSource,
		Type: "generate",
		Doc:  "Makes numbered JSON records of a fixed size; the same arguments make the same records.",
		Args: []sdk.Arg{
			{Name: "count", Type: sdk.Number, Required: true, Doc: "How many records; 0 = without end."},
			{Name: "size", Type: sdk.Number, Default: 1024, Doc: "Size of each body in bytes, from 64 to 16,777,216."},
			{Name: "seed", Type: sdk.Number, Default: 1, Doc: "Whole number that the ids and texts depend on."},
			{Name: "rate", Type: sdk.Number, Default: 0, Doc: "Records per second at most; 0 = as fast as they are taken."},
			{Name: "page", Type: sdk.Number, Default: 0, Doc: "Records per page at most, up to 500; 0 = as many as fit, and at a low rate those of a tenth of a second."},
		},
		Emits: []string{Kind},
		Fields: []sdk.Field{
			{Name: "body.n", Type: sdk.Number, Doc: "The record's number, from 1."},
			{Name: "body.seed", Type: sdk.Number, Doc: "The seed."},
			{Name: "body.text", Type: sdk.String, Doc: "Letters and digits, as many as the size asks for."},
		},
		NewSource: func() sdk.Source { return &source{} },
	}}}
}

// Kind of the records.
const Kind = "generate/1"

const (
	minSize     = 64 // room for two 20-character numbers and the words around them
	maxSize     = 16 << 20
	pageRecords = 500
	pageBytes   = 4 << 20
	poolBytes   = 64 << 10 // random text that records take their own stretch of
)

type arguments struct {
	Count int64   `json:"count"`
	Size  int     `json:"size"`
	Seed  int64   `json:"seed"`
	Rate  float64 `json:"rate"`
	Page  int     `json:"page"`
}

type source struct {
	args  arguments
	clock *sdk.Clock
	pool  []byte // size + poolBytes of random text
}

// Open refuses a size, count or rate that is out of range.
func (s *source) Open(_ context.Context, env *sdk.Env) error {
	s.args = arguments{Size: 1024, Seed: 1}
	if err := env.Decode(&s.args); err != nil {
		return err
	}
	switch {
	case s.args.Count < 0:
		return fmt.Errorf("count: want 0 or more")
	case s.args.Size < minSize || s.args.Size > maxSize:
		return fmt.Errorf("size: want %d to %d bytes", minSize, maxSize)
	case s.args.Rate < 0:
		return fmt.Errorf("rate: want 0 or more")
	case s.args.Page < 0 || s.args.Page > pageRecords:
		return fmt.Errorf("page: want 0 to %d", pageRecords)
	}
	s.clock = env.Clock
	s.pool = randomText(s.args.Seed, s.args.Size+poolBytes)
	return nil
}

// Read makes the records behind position, which is the number of the last one. It returns nil at the end of count.
func (s *source) Read(ctx context.Context, position []byte, out sdk.Emitter) error {
	var last int64
	if position != nil {
		var err error
		if last, err = strconv.ParseInt(string(position), 10, 64); err != nil || last < 0 {
			return fmt.Errorf("position: want the number of a record")
		}
	}
	perPage := s.perPage()
	start, first := s.clock.Now(), last
	for ctx.Err() == nil && (s.args.Count == 0 || last < s.args.Count) {
		n := perPage
		if left := s.args.Count - last; s.args.Count != 0 && left < n {
			n = left
		}
		page := s.page(last+1, int(n))
		last += n
		page.Drained = last == s.args.Count
		if err := out.Emit(ctx, page); err != nil {
			return ended(ctx, err)
		}
		if s.args.Rate > 0 && !page.Drained {
			due := start.Add(time.Duration(float64(last-first) / s.args.Rate * float64(time.Second)))
			if err := s.clock.Sleep(ctx, due.Sub(s.clock.Now())); err != nil {
				return ended(ctx, err)
			}
		}
	}
	if last == first && ctx.Err() == nil { // nothing was left, but somebody may wait to hear it
		return ended(ctx, out.Emit(ctx, sdk.Page{Position: position, Drained: true}))
	}
	return nil
}

// Close does nothing.
func (s *source) Close(context.Context) error { return nil }

// ended turns the end of ctx into a nil error, as Read promises.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// perPage bounds a page by records, by bytes and, where the pipeline does not say how many and the rate is low, by a tenth of a second.
func (s *source) perPage() int64 {
	n := min(pageRecords, pageBytes/s.args.Size)
	if s.args.Page > 0 {
		n = min(n, s.args.Page)
	} else if s.args.Rate > 0 {
		n = int(min(float64(n), s.args.Rate/10))
	}
	return int64(max(n, 1))
}

// page makes n records from number first on. All bodies share one allocation, and so do all ids.
func (s *source) page(first int64, n int) sdk.Page {
	records := make([]sdk.Record, n)
	bodies := make([]byte, 0, n*s.args.Size)
	ids := make([]byte, 0, n*32)
	ends := make([]int, n)
	for i := range records {
		number := first + int64(i)
		from := len(bodies)
		bodies = s.appendBody(bodies, number)
		records[i] = sdk.Record{Seq: uint64(number), Kind: Kind, Body: bodies[from:len(bodies):len(bodies)]}

		ids = append(ids, "g-"...)
		ids = strconv.AppendInt(ids, s.args.Seed, 10)
		ids = append(ids, '-')
		ids = strconv.AppendInt(ids, number, 10)
		ends[i] = len(ids)
	}
	all, from := string(ids), 0
	for i, end := range ends {
		records[i].ID, from = all[from:end], end
	}
	return sdk.Page{Records: records, Position: strconv.AppendInt(nil, first+int64(n)-1, 10)}
}

// appendBody adds a body of exactly args.Size bytes. Its text is a stretch of the pool, from a place that the number decides.
func (s *source) appendBody(b []byte, number int64) []byte {
	end := len(b) + s.args.Size
	b = append(b, `{"n":`...)
	b = strconv.AppendInt(b, number, 10)
	b = append(b, `,"seed":`...)
	b = strconv.AppendInt(b, s.args.Seed, 10)
	b = append(b, `,"text":"`...)
	at := int(uint64(number) * 0x9e3779b97f4a7c15 >> 48) // Fibonacci hashing: 16 bits, so below poolBytes
	b = append(b, s.pool[at:at+end-len(b)-2]...)
	return append(b, `"}`...)
}

// randomText is n characters of A–Z, a–z, 0–9, - and _, decided by seed.
func randomText(seed int64, n int) []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], uint64(seed))
	text := make([]byte, n)
	rand.NewChaCha8(key).Read(text)
	for i, c := range text {
		text[i] = alphabet[c&63]
	}
	return text
}
