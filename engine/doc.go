// Package engine runs pipelines: it is the shell around the state machine in internal/flow.
//
// # Map
//
//	internal/flow    decides what becomes of every record; pure, without goroutine, clock or I/O
//	internal/lang    reads pipeline files and evaluates their expressions (HCL)
//	internal/state   makes it durable (Badger)
//	internal/host    starts and watches plugin processes
//	internal/status  turns outcomes, receipts and flags into the one status of a record
//	cmd/weir         the command line
//
// In this package: engine.go builds an [Engine] from a pipeline and the state, loop.go is its one loop, source.go reads sources, batches.go
// and work.go gather rows and call transforms and sinks, pace.go spreads calls, content.go answers the machine's questions about rows,
// settle.go makes settlements durable and brings owed rows back, spool.go holds media in flight, news.go makes events, process.go keeps
// plugin processes alive. status.go, owed.go and plan.go say how things stand: admin.go to those who ask a running engine (client.go),
// idle.go where none runs.
//
// # The life of a record
//
//  1. A source plugin sends a page: records as columns, and the position behind them (source.go). The page becomes a lot of the machine.
//  2. The machine calls every step that takes from the source. Rows are gathered into calls of up to 500; bodies are forwarded without
//     being looked at. A transform answers rows as they are ready, and the machine sends them on without waiting for the rest of a page.
//  3. A sink answers with a receipt. Steps that mention the receipt, or stand behind the sink with after, run then.
//  4. What cannot be done now is owed: the row as it stood at the door of the step. When every row of the page is delivered, passed by,
//     owed or dead, the lot settles: one transaction writes owed rows, dead letters, events and the checkpoint, pages of a source in read
//     order. Only then does the source get credit for more, and only then may what is owed be replayed.
//  5. An owed row is due when its time comes, when its cause has gone (the service is back, the configuration has changed, the record
//     that it is about has been delivered), or when somebody asks. Then it starts again at its door, and only the steps that are still
//     owed run. Its next settlement replaces the entry.
//
// # Guarantees
//
// At least once, and a second time is harmless. A checkpoint never runs ahead of what is settled. Every row of a call is answered exactly
// once; the wire refuses anything else. A record never reaches a step without having passed the transforms before it. One pass at a time:
// a record is never in two lots. The latest pass of a record wins at each step. State holds nothing readable but ciphertext that was
// unreadable when it came.
//
// # Crash windows
//
// Each is a failpoint; builds with the tag failpoints can be stopped and killed there (engine/cmd/weir/failpoint_on.go).
//
//	fetch           a page has been received, nothing of it is durable: it is read again from the checkpoint
//	ADDRESS.call    rows are about to be sent to a step: as fetch; spool files are noise without their keys, and swept at the next start
//	ADDRESS.answer  a step has answered and nothing is durable: an object is found by key and hash, a row is written again by its unique key
//	spool.keep      files are about to be kept: their links without a parcel are swept at the next start
//	commit.before   everything is answered, nothing is durable: as ADDRESS.answer
//	commit.pieces   a large change is partly in the journal, not promised: dropped at the next start
//	commit.journal  … and promised: applied at the next start
//	commit.after    durable, not yet known to the machine: the next start reads it from the state
//
// # Where the microseconds go
//
// Each hop is one gRPC call per batch on a unix socket; columns make a hop of 500 rows of 1 KiB cost a few microseconds a record in all
// processes together. See make bench for the figures of a machine. In the main job an RSA private operation per message (about a
// millisecond) outweighs everything else by far.
//
// # Decisions
//
// 2026-11-22  Owed entries are kept by the parcel: bodies once, and for each step one bookkeeping value with its rows in groups that wait
// for the same thing. All bookkeeping stands in memory and is loaded at the start, so that nothing is scanned in Badger while running:
// no tombstones, no timed index, no low-watermark. It costs about 40 bytes for each owed row.
//
// 2026-11-22  A parcel holds a row as it stood at the door of the maker of its files and, where that differs, as it stood at the step that
// owes it. The first is what a replay starts from, the second is what a sink is probed with. So transforms between may change whatever
// they like.
//
// 2026-11-22  The latest pass wins at a step, instead of queueing behind an older entry: an entry and a newer pass of the same record would
// write the same row, and the newer one knows more.
//
// 2026-11-22  … unless the older entry owes bytes, kept or to be made again, and the newer pass had none: a fetch that fails changes nothing
// that an earlier one has promised.
//
// 2026-11-22  At a start everything that waits for a cause is tried once, and a changed configuration makes due all that its step owes: the
// cause may have gone while no engine ran, or between the first look at the new configuration and a kill.
//
// 2026-11-22  Steps of one process are suspected together: after a death the process gets one call at a time, of suspects alone, so that a
// record that kills it takes no row of another step with it.
//
// 2026-11-22  A step whose receipts are mentioned must have the same inputs as the step that mentions them: then the dependent step has no
// entry of its own while the sink owes, it runs in the sink's replay, with the receipt at hand.
//
// 2026-11-22  A replay for the sake of one sink asks the makers of files only for what that sink wants, and leaves what the steps on its way
// have planned. Otherwise a file that is late for one sink would settle the plan that serves them all, or hold up a file that is here.
//
// 2026-11-22  What was tried in vain waits for a time, whatever it waited for before: a cause that has gone must not bring an entry back at
// once and for ever.
//
// 2026-11-22  A run that has an end (--once with a clock that ends) takes up nothing that falls due later.
//
// 2026-11-22  Bodies travel in a message piece of their own, which nobody copies (sdk/protocol/codec.go): it saves memory, not time.
//
// 2026-11-22  Only the first event of a cause is a warning or worse; the ones after it are for the record. A missing key wakes one person
// once, and still marks each raw row.
//
// 2026-11-22  keyring() is evaluated again every minute and a step whose arguments changed is opened anew.
//
// 2026-11-22  Libraries: go-plugin and grpc-go carry the wire (field, upkeep); hcl and cty are the language (Terraform's); Badger is the
// state (embedded, synchronous writes, small profile of about 20 MB for a million owed rows); cobra the command line; hclog the log,
// because go-plugin speaks it; gjson reads single fields of bodies; purego loads the WeCom library without cgo; aliyun-oss-go-sdk and
// aws-sdk-go-v2 are the vendors' own; the kintone client is ours, because no Go client has been kept since 2020. Tests: testscript,
// go-cmp, versitygw as a real S3 server, the official kintone client in Node.
package engine
