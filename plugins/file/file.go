// Package file reads records from the lines of a file and writes records as lines of a file.
//
// Both sides are exact. The source gives a line the same id whenever it is read again; the sink writes no record twice, also when
// the machine dies in the middle of a line, and what it has acknowledged lies on the disk. See journal.go for how.
package file

import "github.com/weir-etl/weir/sdk"

// Plugin offers source "file" and sink "file".
func Plugin() sdk.Plugin {
	return sdk.Plugin{Name: "file", Version: "0.1.0", Components: []sdk.Component{
		{
			Kind: sdk.KindSource,
			Type: "file",
			Doc: "Reads a file; each line, without its newline, is the body of a record.\n\n" +
				"The id of a record is made of the path as written here and the line's place in bytes. A line may have 16 MiB.",
			Args: []sdk.Arg{
				{Name: "path", Type: sdk.String, Required: true, Doc: "The file, relative to the pipeline's folder. It may only grow."},
				{Name: "kind", Type: sdk.String, Default: "text/1", Doc: "Kind of the records, for example \"chat.message/1\"."},
				{Name: "every", Type: sdk.Dur, Doc: "How often to look whether the file has grown; left out, it is read once. When it may grow, a line without newline is not taken yet."},
			},
			NewSource: func() sdk.Source { return &source{} },
		},
		{
			Kind: sdk.KindSink,
			Type: "file",
			Doc: "Writes each body as one line; files lie in a folder beside it.\n\n" +
				"A record is written once: when the same id comes again, only files that were missing are added. PATH.ids remembers the ids " +
				"and belongs to PATH: about 40 bytes of memory a record. Files go to PATH.files; other bytes for the same file become " +
				"another version, NAME-v2. JSON over several lines is put on one; any other body with a newline is rejected.",
			Args: []sdk.Arg{
				{Name: "path", Type: sdk.String, Required: true, Doc: "The file, relative to the pipeline's folder. What it held before stays; from then on nobody else may write it, and a foreign end is cut off at start."},
				{Name: "key", Type: sdk.String, PerRecord: true, Doc: "Identity of the record in this file; left out, its id. Needed where two sources share ids."},
				{Name: "files", Type: sdk.Files, PerRecord: true, Doc: "Which of the record's files to write; left out, all."},
			},
			Probes:  true,
			NewSink: func() sdk.Sink { return &sink{} },
		},
	}}
}
