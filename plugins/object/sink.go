package object

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/weir-etl/weir/sdk"
)

// Step holds the arguments of a step.
type Step struct {
	StorageClass string `json:"storage_class"`
	OnDiffers    string `json:"on_differs"`
	Checksum     string `json:"checksum"` // S3 only
	Parallel     int    `json:"parallel"`
}

// StepArgs declares the arguments that the sinks share. Without bodies the sink stores files only.
func StepArgs(bodies bool) []sdk.Arg {
	args := []sdk.Arg{
		{Name: "files", Type: sdk.Files, PerRecord: true, Required: !bodies, Doc: "Which files of a record to store."},
		{Name: "key", Type: sdk.String, PerFile: true, Required: !bodies, Doc: "Key of each file, without a leading slash, at most 1023 bytes."},
		{Name: "metadata", Type: sdk.StringMap, PerFile: true, Doc: "User metadata of each file, at most 2048 bytes; sha256 is always there."},
		{Name: "storage_class", Type: sdk.String, Doc: "Storage class by the service's own name; the bucket's when left out. A name that the service does not know is found out at the first upload."},
		{Name: "on_differs", Type: sdk.String, Default: "version", OneOf: []string{"version", "reject"},
			Doc: "What to do when the key holds other bytes: store beside it as …-v2, or make a dead letter. Nothing is overwritten."},
		{Name: "parallel", Type: sdk.Number, Default: 8, Doc: "Records worked on at the same time within a call."},
	}
	if bodies {
		args = append(args, sdk.Arg{Name: "body_key", Type: sdk.String, PerRecord: true,
			Doc: "Key under which the record's body is stored, too; left out or null: only files are stored."})
	}
	return args
}

// ReceiptFields declares what a receipt offers beside urls: lists with one entry for each object stored, files first.
func ReceiptFields() []sdk.Field {
	return []sdk.Field{
		{Name: "key", Type: sdk.Strings, Doc: "Keys, with -v2 where that was needed."},
		{Name: "version_id", Type: sdk.Strings, Doc: "Version ids; empty texts where the bucket has no versions."},
		{Name: "sha256", Type: sdk.Strings, Doc: "SHA-256 of the contents, lower-case hex."},
		{Name: "etag", Type: sdk.Strings, Doc: "ETags as the service gave them."},
	}
}

// Sink stores files, and bodies where asked, as objects. It streams: memory does not grow with a file's size.
type Sink struct {
	// Connect makes the store of a step; it must not fail because the service is away.
	Connect func(env *sdk.Env, step Step) (Store, error)

	writer Writer
	step   Step
	spool  *sdk.Spool
	clock  *sdk.Clock
	skew   sdk.Skew
}

// Open reads the arguments.
func (s *Sink) Open(_ context.Context, env *sdk.Env) error {
	s.step = Step{OnDiffers: "version", Parallel: 8}
	if err := env.Decode(&s.step); err != nil {
		return err
	}
	store, err := s.Connect(env, s.step)
	if err != nil {
		return err
	}
	s.writer = Writer{Store: store, Reject: s.step.OnDiffers == "reject"}
	s.spool, s.clock = env.Spool, env.Clock
	return nil
}

// Close has nothing to deliver: a row is answered when it is durable.
func (s *Sink) Close(context.Context) error { return nil }

// Write stores what each row names. When one row finds the service down, those not yet begun are answered the same without trying.
func (s *Sink) Write(ctx context.Context, call *sdk.Call) error {
	var (
		mu   sync.Mutex
		down *sdk.Outcome
		wg   sync.WaitGroup
		rows = make(chan int)
	)
	for range max(1, min(s.step.Parallel, len(call.Rows))) {
		wg.Go(func() {
			for i := range rows {
				mu.Lock()
				known := down
				mu.Unlock()
				if known != nil {
					call.Answer(i, *known)
					continue
				}
				ctx, notes := withNotes(ctx, &s.skew)
				outcome := s.row(ctx, &call.Rows[i], call.Probe)
				if outcome.Verdict == sdk.VerdictRetry {
					outcome.After = max(outcome.After, time.Duration(notes.wait.Load()))
				}
				if ev, ok := s.skew.Event(s.clock); ok {
					outcome = outcome.With(ev)
				}
				if outcome.Down {
					mu.Lock()
					down = &outcome
					mu.Unlock()
				}
				call.Answer(i, outcome)
			}
		})
	}
	for i := range call.Rows {
		rows <- i
	}
	close(rows)
	wg.Wait()
	return nil
}

// rowArgs are the arguments per record; Key and Metadata are as long as Files.
type rowArgs struct {
	Files    []int               `json:"files"`
	Key      []string            `json:"key"`
	Metadata []map[string]string `json:"metadata"`
	BodyKey  string              `json:"body_key"`
}

func (s *Sink) row(ctx context.Context, row *sdk.Row, probe bool) sdk.Outcome {
	var args rowArgs
	if err := row.Decode(&args); err != nil {
		return sdk.Reject("bad_arguments", err)
	}
	var receipt sdk.Receipt
	var events []sdk.Event
	var keys, versions, sums, etags []string
	keep := func(o *Object) error {
		p, err := s.place(ctx, o, probe)
		if err != nil {
			return err
		}
		receipt.URLs = append(receipt.URLs, p.URLs...)
		keys, versions, sums, etags = append(keys, p.Key), append(versions, p.VersionID), append(sums, p.SHA256), append(etags, p.ETag)
		if p.Version > 1 && !p.Again {
			events = append(events, sdk.Event{Code: "OBJECT_DIFFERS", Severity: sdk.Warning})
		}
		return nil
	}
	for n, index := range args.Files {
		o, err := s.file(row, args, n)
		if err != nil {
			return sdk.OutcomeOf(err)
		}
		if o == nil {
			continue
		}
		if err := keep(o); err != nil {
			return sdk.OutcomeOf(err)
		}
		receipt.Files = append(receipt.Files, index)
	}
	if args.BodyKey != "" {
		if err := keep(body(args.BodyKey, row.Body, s.step.StorageClass)); err != nil {
			return sdk.OutcomeOf(err)
		}
	}
	switch {
	case len(keys) > 0:
	case len(args.Files) > 0:
		return sdk.Passed("no_bytes") // yet: the row comes again with them
	default:
		return sdk.Passed("no_files")
	}
	receipt.Fields = map[string]any{"key": keys, "version_id": versions, "sha256": sums, "etag": etags}
	outcome := sdk.Done(&receipt)
	outcome.Events = events
	return outcome
}

// place stores o, or only looks for it when probe is set or its bytes are not here.
func (s *Sink) place(ctx context.Context, o *Object, probe bool) (Placed, error) {
	if !probe && o.Open != nil {
		return s.writer.Place(ctx, o)
	}
	p, found, err := s.writer.Find(ctx, o)
	if err == nil && !found {
		err = sdk.NeedBytes().Err()
	}
	return p, err
}

// file describes the nth wanted file, or returns nil when nothing was ever fetched of it.
func (s *Sink) file(row *sdk.Row, args rowArgs, n int) (*Object, error) {
	var f *sdk.File
	for i := range row.Files {
		if row.Files[i].Index == args.Files[n] {
			f = &row.Files[i]
		}
	}
	if f == nil || n >= len(args.Key) {
		return nil, sdk.Reject("bad_arguments", errors.New("files and key do not fit the record")).Err()
	}
	if f.SHA256 == "" || f.Size < 0 {
		return nil, nil
	}
	o := &Object{
		Key: args.Key[n], Size: f.Size, MD5: f.MD5, SHA256: f.SHA256,
		MediaType: f.MediaType, Name: f.Name, StorageClass: s.step.StorageClass,
	}
	if n < len(args.Metadata) {
		o.Meta = args.Metadata[n]
	}
	if f.HasBytes() {
		o.Open = func() (io.ReadSeekCloser, error) { return s.spool.Open(f) }
	}
	return o, nil
}

func body(key string, content []byte, class string) *Object {
	sum5, sum := md5.Sum(content), sha256.Sum256(content)
	return &Object{
		Key: key, Size: int64(len(content)), MD5: hex.EncodeToString(sum5[:]), SHA256: hex.EncodeToString(sum[:]),
		MediaType: "application/json", StorageClass: class,
		Open: func() (io.ReadSeekCloser, error) { return memory{bytes.NewReader(content)}, nil },
	}
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }
