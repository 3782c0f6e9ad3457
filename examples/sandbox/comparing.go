package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/weir-etl/weir/examples/sandbox/compare"
	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/sdk"
)

// comparing is a comparison as the command line asks for it.
type comparing struct {
	dir         string
	data, spool folders
	store       string
	s3          bool           // look at the S3 bucket instead of kintone and OSS
	objectKey   *regexp.Regexp // nil: the default
	bodyKey     *regexp.Regexp
}

// folders is a flag that may be given several times.
type folders []string

func (f *folders) String() string     { return strings.Join(*f, " ") }
func (f *folders) Set(v string) error { *f = append(*f, v); return nil }

func compareCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o comparing
	flags := flag.NewFlagSet("weir-sandbox compare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.dir, "dir", "", "folder of the sandbox (required)")
	flags.Var(&o.data, "data", "data directory to search for readable texts; may be repeated")
	flags.Var(&o.spool, "spool", "spool folder in which nothing may be left; may be repeated")
	flags.StringVar(&o.store, "oss", "", "how the object store was during the run: here, away or none (default: none where the sandbox has none, else here)")
	flags.BoolVar(&o.s3, "s3", false, "compare the S3 bucket, in which each message and each file is an object, instead of kintone and OSS")
	pattern := func(name, what string, into **regexp.Regexp) {
		flags.Func(name, what, func(text string) (err error) {
			*into, err = regexp.Compile(text)
			return err
		})
	}
	pattern("object-key", "pattern that finds seq and index of a file in its object's key (default "+compare.DefaultObjectKey.String()+")", &o.objectKey)
	pattern("body-key", "pattern that finds seq in the key of a message, with --s3 (default "+compare.DefaultBodyKey.String()+")", &o.bodyKey)
	asJSON := flags.Bool("json", false, "print the report as JSON")
	if err := parse(flags, args, false); err != nil {
		return err
	}
	switch compare.Store(o.store) {
	case "", compare.Here, compare.Away, compare.None:
	default:
		return usage{fmt.Errorf("--oss %q: want here, away or none", o.store)}
	}
	report, err := o.compare(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		e := json.NewEncoder(stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(report); err != nil {
			return err
		}
	} else {
		report.Print(stdout)
	}
	if !report.Good() {
		return errDiffers
	}
	return nil
}

// compare reads everything back.
func (o comparing) compare(ctx context.Context) (*compare.Report, error) {
	if o.dir == "" {
		return nil, usage{fmt.Errorf("--dir is required")}
	}
	t, err := truth.Read(filepath.Join(o.dir, "truth.json"))
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(o.dir, "compare.json"))
	if err != nil {
		return nil, err
	}
	var r reading
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("compare.json: %w", err)
	}
	options := compare.Options{Store: compare.Store(o.store), ObjectKey: o.objectKey, BodyKey: o.bodyKey}
	read := o.kintoneAndOSS
	if o.s3 {
		read = o.bucket
	}
	report, err := read(ctx, r, t, options)
	if err != nil {
		return nil, err
	}
	if len(o.data)+len(o.spool) > 0 {
		if report.Left, err = compare.Search(t, o.data, o.spool); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (o comparing) kintoneAndOSS(ctx context.Context, r reading, t *truth.Truth, options compare.Options) (*compare.Report, error) {
	clock, err := sdk.ParseClock(r.Clock)
	if err != nil {
		return nil, err
	}
	var a compare.Archive
	if a.Raw, a.Log, err = r.Kintone.Read(ctx); err != nil {
		return nil, err
	}
	if r.OSS == nil && options.Store == "" {
		options.Store = compare.None
	}
	if r.OSS != nil && options.Store != compare.Away {
		r.OSS.Now = clock.Now
		if a.Objects, err = r.OSS.Read(ctx); err != nil {
			return nil, err
		}
	}
	return compare.Compare(t, &a, options), nil
}

func (o comparing) bucket(ctx context.Context, r reading, t *truth.Truth, options compare.Options) (*compare.Report, error) {
	if r.S3 == nil {
		return nil, errors.New("the sandbox runs without S3")
	}
	const body = 1 << 20 // bytes; no message is longer
	objects, bodies, err := r.S3.Read(ctx, body)
	if err != nil {
		return nil, err
	}
	return compare.CompareBodies(t, objects, bodies, options), nil
}
