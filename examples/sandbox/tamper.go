package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/url"
	"path"
	"slices"

	"github.com/weir-etl/weir/examples/sandbox/truth"
	"github.com/weir-etl/weir/plugins/kintone/kintonesim"
	"github.com/weir-etl/weir/plugins/oss/osssim"
)

// A tampering spoils the archive behind the services' backs. It returns what it did, "" when there was nothing to spoil.
type tampering struct {
	what string
	rows func([]kintonesim.Row) ([]kintonesim.Row, string) // of the chat log
	raw  func([]kintonesim.Row) ([]kintonesim.Row, string) // of raw data
	oss  func(*osssim.Object) (keep bool, did string)      // the first object
}

// tamperings are what make demo-tamper shows.
var tamperings = []tampering{
	{what: "byte", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		for i, row := range rows {
			files, _ := row.Values["file"].([]kintonesim.File)
			if len(files) > 0 && len(files[0].Content) > 0 {
				f := &files[0]
				f.Content = slices.Clone(f.Content)
				f.Content[len(f.Content)/2] ^= 1
				return rows, fmt.Sprintf("one bit of %s in row %s", f.Name, rows[i].Values["msgid"])
			}
		}
		return rows, ""
	}},
	{what: "object", oss: func(o *osssim.Object) (bool, string) { // as a byte changed in place: every sum that OSS computes is another
		o.CRC64++
		o.SHA256[0]++
		o.MD5[0]++
		return true, "one byte of the object " + path.Base(o.Key)
	}},
	{what: "hash", oss: func(o *osssim.Object) (bool, string) {
		o.Meta = maps.Clone(o.Meta)
		o.Meta["sha256"] = fmt.Sprintf("%x", sha256.Sum256([]byte("another")))
		return true, "the hash recorded with the object " + path.Base(o.Key)
	}},
	{what: "missing-object", oss: func(o *osssim.Object) (bool, string) { return false, "took the object " + path.Base(o.Key) + " away" }},
	{what: "status", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		for _, row := range rows {
			if row.Values["status"] == truth.Expired {
				row.Values["status"] = truth.Finished
				return rows, fmt.Sprintf("FILE_EXPIRED became FINISHED in row %s", row.Values["msgid"])
			}
		}
		return rows, ""
	}},
	{what: "content", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		for _, row := range rows {
			if row.Values["msgtype"] == "text" {
				row.Values["content"] = fmt.Sprint(row.Values["content"], "。")
				return rows, fmt.Sprintf("a full stop more in the text of row %s", row.Values["msgid"])
			}
		}
		return rows, ""
	}},
	{what: "missing", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		if len(rows) == 0 {
			return rows, ""
		}
		gone := len(rows) / 2
		for i, row := range rows[gone:] { // a plain one: with a file two things would be missing
			if row.Values["msgtype"] == "text" {
				gone += i
				break
			}
		}
		did := fmt.Sprintf("took row %s away", rows[gone].Values["msgid"])
		return slices.Delete(rows, gone, gone+1), did
	}},
	{what: "missing-raw", raw: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		if len(rows) == 0 {
			return rows, ""
		}
		return rows[1:], fmt.Sprintf("took raw row %s away", rows[0].Values["msgid"])
	}},
	{what: "extra", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		return append(rows, kintonesim.Row{Values: map[string]any{
			"msgid": "1_nobody", "seq": "999999", "status": truth.Finished, "msgtype": "text", "content": "nobody sent this",
		}}), "put in a row that nobody sent"
	}},
	{what: "twice", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		if len(rows) == 0 {
			return rows, ""
		}
		again := rows[len(rows)/3]
		again.ID = 0
		return append(rows, again), fmt.Sprintf("copied row %s", again.Values["msgid"])
	}},
	{what: "attachment-twice", rows: func(rows []kintonesim.Row) ([]kintonesim.Row, string) {
		for _, row := range rows {
			if files, _ := row.Values["file"].([]kintonesim.File); len(files) > 0 {
				row.Values["file"] = append(slices.Clone(files), files[0])
				return rows, fmt.Sprintf("attached %s a second time to row %s", files[0].Name, row.Values["msgid"])
			}
		}
		return rows, ""
	}},
}

// tamper does one of them, or takes the last one back.
func (c *control) tamper(form url.Values) (any, error) {
	what := form.Get("what")
	if c.tampered != nil {
		c.tampered()
		c.tampered = nil
	}
	if what == "undo" {
		return map[string]string{"did": "took it back"}, nil
	}
	at := slices.IndexFunc(tamperings, func(t tampering) bool { return t.what == what })
	if at < 0 {
		return nil, fmt.Errorf("cannot tamper with %q", what)
	}
	t, did := tamperings[at], ""
	edit := func(app int64, edit func([]kintonesim.Row) ([]kintonesim.Row, string)) error {
		before := c.kintone.Rows(app)
		c.tampered = func() { c.kintone.Tamper(app, func([]kintonesim.Row) []kintonesim.Row { return before }) }
		return c.kintone.Tamper(app, func(rows []kintonesim.Row) (changed []kintonesim.Row) {
			changed, did = edit(rows)
			return changed
		})
	}
	var err error
	switch objects := c.oss.Objects(); {
	case t.rows != nil:
		err = edit(logApp, t.rows)
	case t.raw != nil:
		err = edit(rawApp, t.raw)
	case len(objects) > 0:
		before := objects[0]
		c.tampered = func() { c.oss.Replace(before) }
		keep := false
		if keep, did = t.oss(&objects[0]); keep {
			c.oss.Replace(objects[0])
		} else {
			c.oss.Remove(before.Bucket, before.Key)
		}
	}
	if err == nil && did == "" {
		err = fmt.Errorf("there is nothing to tamper with as %q", what)
	}
	return map[string]string{"did": did}, err
}

// tamperCommand spoils the archive in every way, and ends well if the comparer was red each time, and green before and after.
func tamperCommand(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("weir-sandbox tamper", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "folder of the sandbox (required)")
	if err := parse(flags, args, false); err != nil {
		return err
	}
	return tamperAll(ctx, comparing{dir: *dir}, stdout)
}

// tamperAll does one tampering after the other, undoes each, and returns an error when a comparison said what it should not.
func tamperAll(ctx context.Context, o comparing, stdout io.Writer) error {
	check := func(want bool, did string) error {
		report, err := o.compare(ctx)
		if err != nil {
			return err
		}
		verdict := "equal"
		if !report.Good() {
			verdict = "RED"
		}
		if did != "" {
			fmt.Fprintf(stdout, "  %-6s %s\n", verdict, did)
			for _, d := range report.Differences[:min(1, len(report.Differences))] {
				fmt.Fprintf(stdout, "         found: %s %s seq %d %s\n", d.Kind, d.Place, d.Seq, d.Field)
			}
		}
		if report.Good() != want {
			return fmt.Errorf("the comparer says %s", verdict)
		}
		return nil
	}
	tamper := func(what string) (did string, err error) {
		answer, err := post(ctx, o.dir, "/tamper", url.Values{"what": {what}})
		if err != nil {
			return "", err
		}
		var done struct{ Did string }
		err = json.Unmarshal([]byte(answer), &done)
		return done.Did, err
	}
	if err := check(true, "the archive as it is"); err != nil {
		return err
	}
	for _, t := range tamperings {
		did, err := tamper(t.what)
		if err != nil {
			return err
		}
		if err := check(false, did); err != nil {
			return err
		}
		if _, err := tamper("undo"); err != nil {
			return err
		}
		if err := check(true, ""); err != nil {
			return fmt.Errorf("after %s was undone: %w", t.what, err)
		}
	}
	return check(true, "the archive as it was")
}
