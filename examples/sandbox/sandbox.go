package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-etl/weir/examples/sandbox/compare"
	"github.com/weir-etl/weir/examples/sandbox/corpus"
	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/plugins/oss/osssim"
	"github.com/weir-etl/weir/plugins/wecom/wecomsim"
	"github.com/weir-etl/weir/sdk"
)

// options of the sandbox itself.
type options struct {
	messages int
	seed     uint64
	dir, env string
	corp     string
	start    time.Time
	span     time.Duration
	speed    float64
	slower   float64
	library  string
	s3       string
	noOSS    bool
	lateKey  bool
}

// firstInstant is when a sandbox starts unless it is told otherwise: a Monday morning in China.
const firstInstant = "2026-03-02T09:00:00+08:00"

func sandboxCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	flags := flag.NewFlagSet("weir-sandbox", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, "weir-sandbox --dir DIR --env FILE runs a made-up company until it is interrupted; with DIR, beside it:\n"+
			"weir-sandbox compare, tamper, fault; without one: weir-sandbox demo. Each has a --help.\n\n")
		flags.PrintDefaults()
	}
	flags.IntVar(&o.messages, "messages", 200, "messages of the company, at least 200")
	flags.Uint64Var(&o.seed, "seed", 9, "the same seed gives the same bytes")
	flags.StringVar(&o.dir, "dir", "", "folder for truth and keys (required)")
	flags.StringVar(&o.env, "env", "", "file to write the pipelines' environment to, last of all (required)")
	flags.StringVar(&o.corp, "corp", "seed", `"seed", or "pages": 20 messages of 2020 that the official library has confirmed`)
	start := flags.String("start", firstInstant, "simulated instant at which the sandbox starts")
	flags.DurationVar(&o.span, "span", 0, "simulated time from the start to the instant for which the truth holds (default 5h, 3m at speed 1)")
	flags.Float64Var(&o.speed, "speed", 0, "simulated seconds in a real one (default: so that the span takes half a minute, and 20 ms more for each message)")
	flags.Float64Var(&o.slower, "slower", 1, "divide the speed by this, for a machine that is busy with other things")
	flags.StringVar(&o.library, "library", "", "path of libWeWorkFinanceSdk_C.so, for pipelines that load it; it runs at speed 1 only")
	flags.StringVar(&o.s3, "s3", "", "path of versitygw (default: bin/versitygw beside DIR, if it is there)")
	flags.BoolVar(&o.noOSS, "no-oss", false, "leave the bucket out of the environment: large files become FILE_OSS_UNDEFINED")
	flags.BoolVar(&o.lateKey, "late-key", false, "hold back the private key of some messages until POST /key")
	if err := parse(flags, args, false); err != nil {
		return err
	}
	if o.dir == "" || o.env == "" {
		return usage{fmt.Errorf("--dir and --env are required")}
	}
	var err error
	if o.start, err = time.Parse(time.RFC3339, *start); err != nil {
		return usage{fmt.Errorf("--start: %w", err)}
	}
	if o.library != "" && o.speed != 0 && o.speed != 1 {
		return usage{fmt.Errorf("--library keeps its own time: speed %g is not possible", o.speed)}
	}
	s, err := newSandbox(o.paced())
	if err != nil {
		return err
	}
	defer s.close()
	s.tell(stdout)
	<-ctx.Done()
	return nil
}

// paced fills in span and speed where they were left open.
func (o options) paced() options {
	if o.library != "" {
		o.speed = 1
	}
	if o.span == 0 {
		o.span = 5 * time.Hour
		if o.speed == 1 {
			o.span = 3 * time.Minute
		}
	}
	if o.speed == 0 {
		real := 30*time.Second + time.Duration(o.messages)*20*time.Millisecond
		o.speed = max(1, float64(int(o.span/real)))
	}
	if o.slower > 1 {
		o.speed = max(1, o.speed/o.slower)
	}
	return o
}

// sandbox is everything that runs.
type sandbox struct {
	options options
	corp    *wecomsim.Corp
	truth   *truth.Truth
	clock   *sdk.Clock
	wecom   *wecomsim.Server
	kintone *kintonesim.Server
	oss     *osssim.Server
	s3      *gateway // nil: there is none
	control *control
}

// Names and secrets of the sandbox. They are worth nothing.
const (
	rawApp, logApp    = 101, 102
	leaseApp          = 103 // used where WEIR_VAR_app_lease says so: two engines at simulated speed are a test of their own
	leaseToken        = "sandbox-token-lease-27b4"
	rawToken          = "sandbox-token-raw-8d1f"
	logToken          = "sandbox-token-log-27c4"
	rawReader         = "sandbox-reader-raw"
	logReader         = "sandbox-reader-log"
	ossBucket         = "weir-archive"
	ossRegion         = "cn-shanghai"
	ossID, ossSecret  = "sandbox-oss-id", "sandbox-oss-secret-55aa"
	s3ID, s3Secret    = "sandbox-s3-id", "sandbox-s3-secret-0f0f"
	proxyUserPassword = "sandbox:proxy-pass-91"
	keptBytes         = 1 << 20 // of larger files the simulators keep sums only
)

func newSandbox(o options) (s *sandbox, err error) {
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	o.dir = dir
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o755); err != nil {
		return nil, err
	}
	if err := os.Remove(o.env); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	s = &sandbox{options: o}
	defer func() {
		if err != nil {
			s.close()
			s = nil
		}
	}()
	if err := s.fill(); err != nil {
		return s, err
	}

	s.clock = sdk.NewClock(time.Now(), s.truth.Starts, o.speed)
	if s.wecom, err = wecomsim.Start(wecomsim.Options{Now: s.clock.Now, ProxyPassword: proxyUserPassword}); err != nil {
		return s, err
	}
	if err = s.wecom.AddCorp(*s.corp); err != nil {
		return s, err
	}
	if s.kintone, err = kintonesim.Start(kintonesim.Options{Now: s.clock.Now, Apps: apps(), KeepFiles: keptBytes}); err != nil {
		return s, err
	}
	if s.oss, err = osssim.Start(osssim.Options{
		Now: s.clock.Now, AccessKeyID: ossID, AccessKeySecret: ossSecret, Region: ossRegion,
		Skew:    time.Duration(float64(15*time.Minute) * max(1, o.speed)),
		Buckets: []osssim.Bucket{{Name: ossBucket}}, KeepBytesUpTo: keptBytes,
	}); err != nil {
		return s, err
	}
	if path := findGateway(o); path != "" {
		if s.s3, err = startGateway(path, filepath.Join(dir, "s3")); err != nil {
			return s, err
		}
	}
	if s.control, err = startControl(s); err != nil {
		return s, err
	}
	return s, s.write()
}

// fill makes the company and the truth about it.
func (s *sandbox) fill() (err error) {
	o := s.options
	switch o.corp {
	case "seed":
	case "pages":
		if s.corp, s.truth, err = corpus.Pages(o.span); err != nil {
			return err
		}
		return corpus.NoteServed(s.corp, s.truth)
	default:
		return usage{fmt.Errorf(`--corp %q: want "seed" or "pages"`, o.corp)}
	}
	s.corp, s.truth, err = corpus.Generate(corpus.Options{
		Messages: o.messages, Seed: o.seed, Start: o.start, Until: o.start.Add(o.span), LateKey: o.lateKey,
	})
	if err != nil {
		return usage{err}
	}
	return corpus.NoteServed(s.corp, s.truth)
}

// write writes the folder's files, and the environment last.
func (s *sandbox) write() error {
	dir := s.options.dir
	if err := s.truth.Write(filepath.Join(dir, "truth.json")); err != nil {
		return err
	}
	for version := range corpus.PrivateKeys() {
		if version == corpus.LateKeyVersion {
			if err := os.Remove(s.keyFile(version)); err != nil && !os.IsNotExist(err) {
				return err
			}
		} else if err := s.writeKey(version); err != nil {
			return err
		}
	}
	if err := truth.Replace(filepath.Join(dir, "wecom-ca.pem"), s.wecom.CA, 0o644); err != nil {
		return err
	}
	reading, err := json.MarshalIndent(s.reading(), "", " ")
	if err != nil {
		return err
	}
	if err := truth.Replace(filepath.Join(dir, "compare.json"), reading, 0o600); err != nil {
		return err
	}
	if err := truth.Replace(filepath.Join(dir, "control"), []byte(s.control.url+"\n"), 0o600); err != nil {
		return err
	}
	return truth.Replace(s.options.env, []byte(s.environment()), 0o600)
}

func (s *sandbox) keyFile(version int) string {
	return filepath.Join(s.options.dir, "keys", fmt.Sprintf("v%d.pem", version))
}

// writeKey hands out a private key. Version 4 is PKCS#8, the others PKCS#1, as customers have both.
func (s *sandbox) writeKey(version int) error {
	return truth.Replace(s.keyFile(version), corpus.PrivateKeys()[version], 0o600)
}

// reading is what a comparer needs to know.
type reading struct {
	Clock   string          `json:"clock"`
	Kintone compare.Kintone `json:"kintone"`
	OSS     *compare.OSS    `json:"oss,omitempty"`
	S3      *compare.S3     `json:"s3,omitempty"`
}

func (s *sandbox) reading() reading {
	r := reading{
		Clock: s.clock.Text(),
		Kintone: compare.Kintone{
			URL: s.kintone.URL, RawApp: rawApp, RawToken: rawReader, LogApp: logApp, LogToken: logReader,
		},
	}
	if !s.options.noOSS {
		r.OSS = &compare.OSS{Endpoint: s.oss.URL, Bucket: ossBucket, ID: ossID, Secret: ossSecret}
	}
	if s.s3 != nil {
		r.S3 = &compare.S3{Endpoint: s.s3.url, Bucket: s3Bucket, Region: s3Region, ID: s3ID, Secret: s3Secret}
	}
	return r
}

// variables are what the pipelines in the folder pipelines run with.
func (s *sandbox) variables() map[string]string {
	o := s.options
	bucket, client := ossBucket, "plain"
	if o.noOSS {
		bucket = ""
	}
	if o.library != "" {
		client = "library"
	}
	values := map[string]string{
		"WEIR_CLOCK":             s.clock.Text() + "," + s.truth.Holds.UTC().Format(time.RFC3339Nano),
		"WEIR_STATE_KEY":         "c2FuZGJveC1zdGF0ZS1rZXktb2YtMzItYnl0ZXMhISE=", // 32 bytes in base64
		"WEIR_VAR_corp_id":       s.corp.ID,
		"WEIR_VAR_wecom_client":  client,
		"WEIR_VAR_wecom_library": o.library,
		"WEIR_VAR_wecom_keys":    filepath.Join(o.dir, "keys", "v*.pem"),
		"WECOM_CHAT_SECRET":      s.corp.Secret,
		"WECOM_CA":               filepath.Join(o.dir, "wecom-ca.pem"),
		"WECOM_PROXY":            strings.Replace(s.wecom.ProxyURL, "://", "://"+proxyUserPassword+"@", 1),
		"WEIR_VAR_kintone_url":   s.kintone.URL,
		"WEIR_VAR_app_raw":       fmt.Sprintf("{1=%d}", rawApp),
		"WEIR_VAR_app_log":       fmt.Sprintf("{1=%d}", logApp),
		"KINTONE_TOKEN_RAW":      rawToken,
		"KINTONE_TOKEN_LOG":      logToken,
		"KINTONE_TOKEN_LEASE":    leaseToken,
		"WEIR_VAR_oss_bucket":    bucket,
		"WEIR_VAR_oss_endpoint":  s.oss.URL,
		"WEIR_VAR_oss_region":    ossRegion,
		"OSS_ACCESS_KEY_ID":      ossID,
		"OSS_ACCESS_KEY_SECRET":  ossSecret,
		"WEIR_SANDBOX_CONTROL":   s.control.url,
	}
	if s.s3 != nil {
		maps.Copy(values, map[string]string{
			"WEIR_VAR_s3_endpoint": s.s3.url, "WEIR_VAR_s3_bucket": s3Bucket, "WEIR_VAR_s3_region": s3Region,
			"S3_ACCESS_KEY_ID": s3ID, "S3_ACCESS_KEY_SECRET": s3Secret,
		})
	}
	return values
}

// environment writes the variables as a file that a shell can source.
func (s *sandbox) environment() string {
	values := s.variables()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		fmt.Fprintf(&b, "%s=%s\n", name, quoted(values[name]))
	}
	return b.String()
}

// quoted makes a value safe for a shell that sources the file. Values without special characters stay as they are, so that simple
// readers of KEY=value understand them.
func quoted(value string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-+./:,@=%{}*"
	if strings.Trim(value, plain) == "" {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}

// tell prints what was started.
func (s *sandbox) tell(w io.Writer) {
	o := s.options
	var bytes int64
	for _, m := range s.corp.Media {
		bytes += m.Size
	}
	fmt.Fprintf(w, "sandbox: %d messages (seq %d-%d), %d files of %d MiB\n", len(s.corp.Messages), s.truth.First, s.truth.Last,
		len(s.corp.Media), bytes>>20)
	fmt.Fprintf(w, "  wecom    %s through the proxy %s\n", s.wecom.URL, s.wecom.ProxyURL)
	fmt.Fprintf(w, "  kintone  %s  apps %d and %d\n", s.kintone.URL, rawApp, logApp)
	fmt.Fprintf(w, "  oss      %s  bucket %s\n", s.oss.URL, ossBucket)
	if s.s3 != nil {
		fmt.Fprintf(w, "  s3       %s  bucket %s\n", s.s3.url, s3Bucket)
	} else {
		fmt.Fprintf(w, "  s3       left out: no versitygw (go install github.com/versity/versitygw/cmd/versitygw@latest, then --s3 PATH)\n")
	}
	fmt.Fprintf(w, "  clock    %s, %s simulated seconds in a real one; the truth holds at %s, in %s\n",
		s.truth.Starts.Format(time.RFC3339), strconv.FormatFloat(o.speed, 'g', -1, 64), s.truth.Holds.Format(time.RFC3339),
		s.clock.Wall(s.truth.Holds.Sub(s.clock.Now())).Round(time.Second))
	fmt.Fprintf(w, "  control  %s\n", s.control.url)
	fmt.Fprintf(w, "  env      %s\n", o.env)
	fmt.Fprintf(w, "  now      set -a; . %s; set +a; bin/weir run --data-dir %s pipelines/wecom-kintone-oss.hcl\n", o.env, filepath.Join(o.dir, "data"))
}

// close ends everything; it may be called twice. Whoever finds no environment file knows that nothing runs.
func (s *sandbox) close() {
	os.Remove(s.options.env)
	if s.control != nil {
		s.control.close()
	}
	if s.s3 != nil {
		s.s3.close()
	}
	if s.oss != nil {
		s.oss.Close()
	}
	if s.kintone != nil {
		s.kintone.Close()
	}
	if s.wecom != nil {
		s.wecom.Close()
	}
	s.control, s.s3, s.oss, s.kintone, s.wecom = nil, nil, nil, nil, nil
}

// apps are the two apps of the archive, with the columns that its users know, and one for the lease.
func apps() []kintonesim.App {
	field := func(kind string, codes ...string) []kintonesim.Field {
		var fields []kintonesim.Field
		for _, code := range codes {
			fields = append(fields, kintonesim.Field{Code: code, Type: kind})
		}
		return fields
	}
	key := func(code, kind string) []kintonesim.Field {
		return []kintonesim.Field{{Code: code, Type: kind, Unique: true, Required: true}}
	}
	choice := func(code string, options ...string) []kintonesim.Field {
		return []kintonesim.Field{{Code: code, Type: "DROP_DOWN", Options: options}}
	}
	precise := kintonesim.Precision{Digits: 20}
	return []kintonesim.App{
		{ID: rawApp, Token: rawToken, ReadToken: rawReader, Precision: precise, Fields: slices.Concat(
			key("seq", "NUMBER"),
			field("SINGLE_LINE_TEXT", "msgid", "msgid_kind", "fetched_at_ms", "run_id", "raw_sha256"),
			field("NUMBER", "publickey_ver"),
			field("MULTI_LINE_TEXT", "encrypt_random_key", "encrypt_chat_msg", "error"),
			field("FILE", "payload"), field("DATETIME", "fetched_at"),
			choice("decode_status", truth.RawStored, truth.Decoded, truth.DecryptFailed),
		)},
		{ID: logApp, Token: logToken, ReadToken: logReader, Fields: slices.Concat(
			key("msgid", "SINGLE_LINE_TEXT"),
			field("NUMBER", "seq", "filesize", "version", "attempts"),
			field("DATETIME", "msgtime", "revoked_at", "file_deadline"),
			field("SINGLE_LINE_TEXT", "msgtime_ms", "msgtime_local", "from", "to", "roomid", "msgtype", "filename", "from_name", "to_name",
				"room_name", "conversation_key", "action", "ref_msgid", "revoked_by_msgid", "md5_claimed", "md5_actual", "sha256"),
			field("MULTI_LINE_TEXT", "tolist", "content", "storage_url", "last_error", "raw_json", "parts", "flags"),
			field("FILE", "file"),
			choice("status", truth.Finished, truth.Waiting, truth.UploadFailed, truth.OSSUndefined, truth.Unmatched, truth.Expired,
				truth.TypeUnknown, truth.FieldMissing),
			choice("direction", "in", "out", "internal", "robot"),
			choice("md5_outcome", "matched", "mismatched", "not_checkable", "none"),
			choice("storage", "none", "kintone", "oss", "s3"),
			[]kintonesim.Field{{Code: "revoked", Type: "CHECK_BOX", Options: []string{"revoked"}}},
		)},
		{ID: leaseApp, Token: leaseToken, Fields: slices.Concat(key("lease", "SINGLE_LINE_TEXT"), field("MULTI_LINE_TEXT", "holder"))},
	}
}
