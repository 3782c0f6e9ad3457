// Package protocol is the wire between the engine and its plugins: both sides, next to each other.
//
// Authors of Go plugins never see it: they write against package sdk and call serve.Main. The engine speaks through [Client] and
// holds records as a [Batch]. Authors in other languages generate code from plugin.proto and read on here.
//
// # Processes
//
// The engine starts the executable with the environment variable WEIR_PLUGIN set to the cookie of [Handshake] and with a pipe as
// standard input that it never writes to: when that ends, the engine is gone and the plugin must exit. The plugin listens on a unix
// socket in the folder PLUGIN_UNIX_SOCKET_DIR and prints one line on standard output (hashicorp/go-plugin, core protocol 1):
//
//	1|1|unix|/path/of/socket|grpc
//
// It serves the service weir.v1.Plugin, the gRPC health service with "plugin" = SERVING, and go-plugin's controller, whose Shutdown
// ends the process. Standard error takes log lines: JSON objects with @level (trace, debug, info, warn, error), @message, @timestamp
// and attributes. Describe comes first, then Open for each step, then calls, and Close for each step before the process ends.
//
// # Batches
//
// A batch travels as columns. A [pb.Text] column is one bytes value and the lengths of its rows: as many as rows; none, when every
// row is empty; or one, when every row is that long. In the last case the data may hold the value once for all rows: 500 rows of
// kind "chat.message/1" cost 16 bytes. Numbers and instants likewise: as many as rows, one for all, or none for all 0. Meta has one
// column per name, where an empty value means that the row lacks it. A batch has at most 1,048,576 rows. An id is never empty.
//
// The bytes of large bodies may stand at the end of a message, in a second occurrence of its batch that holds nothing else. Protobuf
// merges the two by itself; who knows it spares two copies (codec.go).
//
// # Calls
//
// A source gets credit and sends pages while it has some; pages without records need none. A transform or sink gets one batch per
// Work call and answers every row exactly once, in any order and in as many messages as it likes, as runs of rows that share an
// outcome. A message without content means "still working" and comes at least every five seconds of real time; without any sign for
// 60 s the engine takes the plugin for dead. What the engine refuses loudly, with a [ProtocolError]: a row answered twice or not at
// all, a run outside the batch, an unknown verdict, an output of a row that is not done in the same message, an output without id,
// two outputs of one row with one id, and columns whose lengths do not add up.
//
// A transform sends as outputs only the columns that it changed, and per output its parent row. A column that is absent — not one
// that is present and empty — is taken from the parent rows; meta likewise by name. A done row without outputs is dropped.
//
// Verdicts: DONE (a transform's row goes on as its outputs, a sink's row is delivered and durable), PASSED (a sink has nothing to do
// with it), RETRY (not now: after_ms, or when the cause has changed; down = the service, not the record), REJECT (never). DONE with
// revisit asks for the row again after after_ms; once due has passed the row comes with final. With probe set a sink says for each
// row whether it is there already: DONE, or RETRY with code "need_bytes".
//
// # Files
//
// Bytes of files never travel. They lie in the folder spool_dir of Open, encrypted as [sdk.Spool] describes: pieces of 65,536 bytes,
// each AES-256-GCM under the file's own key, with the piece's number and a last-flag as nonce. Test vector: the key 00 01 02 … 1f and
// the four bytes "weir" make the file
//
//	62b3d68e23d07f07fa0d97889f9776ce2bdd1812
//
// File.spool_key is that key in base64 without padding. A writer fills a file under a new random name and names it in File.spool when
// it is complete.
package protocol

// The generated code is committed. It is made with protoc 3.21.12, protoc-gen-go 1.36 and protoc-gen-go-grpc 1.6 by:
//
//go:generate protoc -I ../.. --go_out=../.. --go_opt=module=github.com/weir-etl/weir --go-grpc_out=../.. --go-grpc_opt=module=github.com/weir-etl/weir sdk/protocol/plugin.proto
