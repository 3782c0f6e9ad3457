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
// column per name, where an empty value means that the row lacks it. A batch has at most 1,048,576 rows, and a column less
// than 2 GiB, counting a shared value once for each row. An id is never empty.
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
// all, a run outside the batch, an unknown verdict, a row held where it cannot be, an output of a row that is not done in the same
// message, an output without id, two outputs of one row with one id, and columns whose lengths do not add up.
//
// "Still working" is only to be said while the work makes progress: answers, bytes of files that move, a wait with an end. When there has
// been none for Step.silence_ms of real time (five minutes where it is 0), a last message with lost says so. The engine then ends the
// process, as it does when that is silent, and asks for the rows again, fewer and fewer, until it knows which of them it was. A call that
// ends with the status ABORTED says that the component panicked on one of the rows without an answer: they are asked for again in the
// same way, and the process stays.
//
// A transform sends as outputs only the columns that it changed, and per output its parent row. A column that is absent — not one
// that is present and empty — is taken from the parent rows; meta likewise by name. A done row without outputs is dropped.
//
// Verdicts: DONE (a transform's row goes on as its outputs, a sink's row is delivered and durable), PASSED (a sink has nothing to do
// with it), RETRY (not now: after_ms, or when the cause has changed; down = the service, not the record), REJECT (never). DONE with
// revisit asks for the row again after after_ms; once due has passed the row comes with final. With probe set a sink says for each
// row whether it is there already: DONE, or RETRY with code "need_bytes".
//
// A sink that declares holds may answer HELD: the row is taken, and answered for good by the next flush. That is a Work call with flush,
// whose batch has the ids of all rows that are held, in the order in which the engine knows that they were taken, and no other column. It
// is answered row by row like any other, but not with HELD, and afterwards nothing is held. When the ids are not those that the plugin
// holds, it fails with INVALID_ARGUMENT. A row that gets RETRY comes again with its body, and so does every held row after the process
// has ended or the step was closed.
//
// An effect "once" of a sink says that a second delivery does harm: calls have one row, and a row whose call ended without an answer
// comes again only where the pipeline allows it. RETRY with unknown says the same of a row whose call did come back.
//
// Three calls answer once and are rare. Lease looks at a lease row in a destination or writes it, by compare and swap; no step is open
// for it. Survey asks an open sink what its destination holds, and PositionAfter an open source for the position behind a seq: that is
// how weir rebuild finds its way back. The engine makes them only where the description offers them.
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
// it is complete. The name is that of a file in the folder, never a path.
package protocol

// The generated code is committed. It is made with protoc 3.21.12, protoc-gen-go 1.36 and protoc-gen-go-grpc 1.6 by:
//
//go:generate protoc -I ../.. --go_out=../.. --go_opt=module=github.com/weir-etl/weir --go-grpc_out=../.. --go-grpc_opt=module=github.com/weir-etl/weir sdk/protocol/plugin.proto
