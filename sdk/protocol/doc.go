// Package protocol is the wire between the engine and its plugins: both sides, next to each other.
//
// Authors of Go plugins never see it: they write against package sdk and call serve.Main. The engine speaks through [Client] and
// holds records as a [Batch]. What travels is specified in PROTOCOL.md, for authors in other languages and for whoever changes it here; tests
// hold that page against the code. plugin.proto has the messages.
//
// # Map
//
//	batch.go, column.go   records as columns; gather.go picks and joins their rows, outputs.go leaves out what a transform left as it was
//	codec.go              the bytes of large bodies travel without being copied
//	describe.go           what a plugin offers; outcome.go, what became of rows
//	client*.go            the engine's side: it holds a plugin to the contract, and says with a type how a call ended (errors.go)
//	server*.go            the plugin's side: it gathers answers (server_work.go), spends credit (server_read.go), applies chains
//	                      (server_chain.go), and says when a component hangs (life.go)
//	handshake.go, log.go  how a process is found to be a plugin, and heard
//
// # The contract in short
//
// A source sends pages while it has credit. A transform or sink gets one batch per Work call and answers every row exactly once, in any order
// and as early as it likes. A call lives by its progress. What breaks a rule is refused loudly, with a [ProtocolError]; what a call has
// answered before stands. Bytes of files never travel: they lie in the spool, encrypted.
package protocol

// The generated code is committed. It is made with protoc 3.21.12, protoc-gen-go 1.36 and protoc-gen-go-grpc 1.6 by:
//
//go:generate protoc -I ../.. --go_out=../.. --go_opt=module=github.com/weir-etl/weir --go-grpc_out=../.. --go-grpc_opt=module=github.com/weir-etl/weir sdk/protocol/plugin.proto
