// Package engine runs pipelines: it is the shell around the state machine in internal/flow.
//
// # Map
//
//	internal/flow       decides what becomes of every record; pure, without goroutine, clock or I/O
//	internal/lang       reads pipeline files and evaluates their expressions (HCL)
//	internal/state      makes it durable (Badger)
//	internal/host       starts and watches plugin processes
//	internal/plain      shows what strangers wrote, so that it cannot steer a terminal
//	internal/status     turns outcomes, receipts and flags into the one status of a record
//	internal/reference  writes what plugins offer as pages for people
//	cmd/weir            the command line
//	bench               weir bench: measures the built program, and counts what may not grow
//
// In this package: engine.go builds an [Engine] from a pipeline and the state, loop.go is its one loop, source.go reads sources, batches.go
// and work.go gather rows and call transforms and sinks, chain.go spares calls whose answers have come already, pace.go spreads calls,
// content.go answers the machine's questions about rows, settle.go makes settlements durable and brings owed rows back, large.go sorts out
// what is too large for that, spool.go holds media in flight, disk.go foresees when it is full, heap.go keeps the heap small, news.go makes
// events, process.go keeps plugin processes alive, lease.go keeps a second engine away (holder.go is who holds it). status.go, owed.go and
// plan.go say how things stand: admin.go to those who ask a running engine (client.go; bounds.go limits what they may take), idle.go where
// none runs. archive.go moves a state, rebuild.go begins one where a lost one has to begin.
//
// # The life of a record
//
//  1. A source plugin sends a page: records as columns, and the position behind them (source.go). The page becomes a lot of the machine.
//
//  2. The machine calls every step that takes from the source. Rows are gathered into calls of up to 500; bodies are forwarded without
//     being looked at. Where the source's process has applied a transform already, the answer came with the page. A transform answers rows as they are ready, and the machine sends them on without waiting for the rest of a page.
//
//  3. A sink answers with a receipt. Steps that mention the receipt, or stand behind the sink with after, run then.
//
//  4. What cannot be done now is owed: the row as it stood at the door of the step. When every row of the page is delivered, passed by,
//     owed or dead, the lot settles: one transaction writes owed rows, dead letters, events and the checkpoint, pages of a source in read
//     order. Only then does the source get credit for more, and only then may what is owed be replayed.
//
//     Some take another way. A record for a sink whose effect is once is owed first and sent from the state, alone, when it is durable that
//     it is about to be. A sink that holds rows answers for them at its next flush. At a step with order = "key" a record waits for the
//     earlier ones of its key, also for those that are owed.
//
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
//	ADDRESS.flush   such a call, for all that a step holds: nothing of it shows at the destination
//	ADDRESS.answer  a step has answered and nothing is durable: an object is found by key and hash, a row is written again by its unique key
//	spool.keep      files are about to be kept: their links without a parcel are swept at the next start
//	commit.before   everything is answered, nothing is durable: as ADDRESS.answer
//	commit.pieces   a large change is partly in the journal, not promised: dropped at the next start
//	commit.journal  … and promised: applied at the next start
//	commit.after    durable, not yet known to the machine: the next start reads it from the state
//
// Where the effect is to be once, what is under way in ADDRESS.call and ADDRESS.answer has a mark in the state: its end is not known, and
// on_unknown decides. The windows of archives and of Badger's own files are in internal/state.
//
// # Threats
//
// To protect: messages and files, RSA private keys, secrets of services, the state key, the proof that nothing is missing.
//
// Another user of the machine. Data directory, its folders and the admin socket are the owner's alone (external.txtar). Nothing listens on
// a network (same test). Plugins are reached in a private folder, nowhere else (TestSocketOfPlugin, TestBadExecutables); the cookie of the
// handshake is no secret. Secrets are in no environment or argument of a plugin (secrets.txtar).
//
// Somebody who can write where plugins lie. Only what .weir.lock.hcl lists runs, checked before every start; what was hashed is what runs
// (internal/host/verify_test.go). Not checked: an interpreter, and what a plugin loads. weir itself is the package manager's.
//
// A sender. Names and ids are data: safename() makes one path element of anything, a bucket refuses keys that lead upwards, no name adds
// a header (hostile.txtar, TestHostileNames, TestHostileFileNames). Terminals see escapes (TestHostileTexts, internal/plain). kintone keeps
// names as sent, bar control characters: who saves files from there must choose names of their own.
//
// A plugin that has gone wrong. Answers are held to the contract (sdk/protocol/rogue_test.go), spool names stay in the spool, messages
// and log lines are bounded. It is no sandbox: it is the same user, and sees what it is given.
//
// A thief of the disk or a back-up. State, kept files and spool are sealed; the key lies elsewhere. WeCom's ciphertext is as it came.
//
// A man in the middle. TLS 1.2 and certificates; kintone's token never goes in the clear to another machine. An http endpoint of an
// object store is the operator's decision: content is readable on the way, keys are not.
//
// A hostile answer. Bounded in size, unpacked too, and in time; no redirect is followed (TestHostileAnswers of object, kintone, finance).
//
// The operator's mistake. Secrets in a file, another key, a second engine, stranded state and unlisted plugins are refused.
//
// Not defended: root, a debugger of the same user, a compromised engine, a destination that lies about what it keeps.
//
// Rule for listeners to come: a unix socket or loopback by default; any other address only with a token or mTLS, limits on size, time and
// connections, and a test that sends nothing, too much, and a thousand times.
//
// # Where the microseconds go
//
// Of 1 KiB records on their way from generate through md5 to file, at least once, on two cores (make profile, 2026-11-23): 13 µs of processor
// time a record over all processes, 15 where md5 has a process of its own. Of the 13, md5 itself takes 1.7; lines and index of the file with
// their two syncs per batch 2.0; making records and columns, and taking them apart again, 1.5. The rest is the wire and what it costs to be
// several processes: gRPC copies a body four times on each crossing (twice between memory and socket, once into a frame, once out of its
// frames), 16 KiB a frame, 2.5 in all; the collectors of the processes 2.0, as every batch is new memory; waking and idling, with a
// scheduler and its watchdog in each process, 2.5; the engine's own part, machine, commit and events, 0.8. Tried and left: buffers of 128 KiB
// for the wire gain nothing (12.6 against 12.8); heaps of plugins that may treble (GOGC=200) save 0.8, and cost each process some megabytes.
// Not tried: to keep the memory of bodies and use it again, which would cost the safety of bodies that nobody can overwrite.
//
// A crossing is one gRPC call per batch on a unix socket. In the main job an RSA private operation per message (384 µs by the
// system's OpenSSL with AVX-512 IFMA, a millisecond by crypto/rsa) outweighs every hop: of 520 µs on the way from WeCom to a file, start
// of the processes included, decrypt takes 440 to 464, the engine 23, parse 22, reading pages 13, md5 and the file 17. With media a message
// costs 2.1 ms, half of it fetching files: TLS for every request, because the service closes after each, AES, base64, MD5 and SHA-256 of
// 73 KiB a message. What counts is how many rows come at once: answers of decrypt that trickled made the steps behind it two to three times as dear.
//
// # Decisions
//
// 2026-11-22  Owed entries are kept by the parcel: bodies once, and for each step one bookkeeping value with its rows in groups that wait
// for the same thing. All bookkeeping stands in memory and is loaded at the start, so that nothing is scanned in Badger while running:
// no tombstones, no timed index, no low-watermark. It costs 70 to 110 bytes for each owed row, twice that at the peak.
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
// 2026-11-22  effect = once is an outbox: the record is owed in the transaction that moves the checkpoint, and sent by a replay of its own
// with a mark that is durable before the call. Otherwise a crash between the answer and the settlement of a page would send its records
// again.
//
// 2026-11-22  The same marks are the strikes of a record that may kill its plugin. Five calls alone that end with a death are a verdict, or
// whose end nobody has seen, because the engine may have died with it. With two, an upload of some seconds was blamed for processes that
// something else had killed. A strike leaves the disk as soon as its call has ended: an engine that dies again and again of something else
// would find it each time, and convict the innocent.
//
// 2026-11-22  No row waits for a record whose page stands behind one that is blocked: the blocked page may be waiting for that row. It is owed
// until the record is settled.
//
// 2026-11-22  A replay decodes only the receipts of its rows, and a few rows of a batch are copied out of it: otherwise polling for files that
// are not ready spends half of the engine's time on other rows, and keeps their memory.
//
// 2026-11-22  order = "key" is a line for each key, in read order: a row takes its place when nothing read before it can still come to the
// step, because keys may be set on the way. An owed record keeps its place and holds back its key, at the step and, where the key is known
// there, before it. One that is owed before its key is known comes later.
//
// 2026-11-22  A flush is a call without rows to send: answers, deaths and suspicion work as for any other.
//
// 2026-11-22  A call lives by the progress of its component, not by the clock of its process: a component that hangs would be kept alive for
// ever. Ticks are counted rather than time, so that a stopped process is not taken for one that hangs.
//
// 2026-11-22  A panic ends its call and counts as a death: its record is found by halving. The process lives on, unless it holds rows.
//
// 2026-11-22  A process that dies in the middle of a call starts again at once, up to 32 times in a row: halving 500 rows takes a dozen
// deaths, and a doubling wait made two minutes of it.
//
// 2026-11-22  Close throws away what is held; it comes again. A step that holds has its process ended when its arguments change, or when a
// call of it fails: nobody could say what it holds.
//
// 2026-11-22  A record with effect = once is announced when its pace lets it be sent, not before. A run that ends waits for what it is
// sending, up to 65 s.
//
// 2026-11-22  A body above 32 MiB, half of what the state takes in one value, becomes a dead letter TOO_LARGE, and a page above 16 MiB is
// settled in parts: otherwise an outage would make a commit that cannot be written.
//
// 2026-11-22  Questions about rows are answered at once, in the middle of a step of the machine: what they depend on (rows that went past a
// transform, what a sink has said) is announced before.
//
// 2026-11-22  Settlements that wait for the disk are written together, in order: a sink that owes small parcels would else catch up at the
// pace of fsync.
//
// 2026-11-22  Below 256 MiB of free disk the sources get no credit; replays go on, because they make room.
//
// 2026-11-22  A service that names a time (Retry-After) is not probed before it.
//
// 2026-11-22  An outage that outlives its engine ends with the first answer after it: what is owed for it says that there was one.
//
// 2026-11-22  At most four parcels are read at once for replays, because each is read whole, be it for one row.
//
// 2026-11-22  Every transaction of the state carries the sum of all entries, and the number of the last stands in a file beside Badger's
// folder. Badger recovers by dropping what it cannot read, and that must not look like a recovery.
//
// 2026-11-22  Badger's background compaction is off. Tables are written anew by us, between two commits, with the old ones held until the
// sum is right: Badger (4.9.6) takes no notice of a table that could not be made, and deletes the old ones. Commits wait for that.
//
// 2026-11-22  A full disk is waited for; a run with --once ends. 24 MiB lie allocated in the state folder and are given up first, because a
// mapped file on a full disk ends the process. A state on a full disk is left, not closed: all that was acknowledged is durable.
//
// 2026-11-22  An empty value log or memory table is removed at the start: Badger names and cuts such files in two steps, and a kill between
// them is no damage.
//
// 2026-11-22  Bodies beyond 64 MiB are not read at a start: weir state check, every back-up, and their replay read them.
//
// 2026-11-22  An archive of a state is binary, not JSON lines: values are sealed bytes, and kept files may be large.
//
// 2026-11-22  A lease is a row written by comparison; the destination decides who of two wins, and by its clock when a hold is over. The
// holder counts only elapsed time and stops a fifth earlier. An engine without its lease fetches and owes: an outage of the destination
// must not become a loss at WeCom.
//
// 2026-11-22  Rebuild sets a position only behind rows that every surveyed destination has had for longer than retention + 24 h; with none,
// no checkpoint.
//
// 2026-11-22  What runs of an external plugin is a sealed copy in memory that was hashed while it was made. It costs its size per process,
// and leaves no window between check and start. A lock file is of a folder and of platforms: pipelines there that name a plugin alike mean
// one executable.
//
// 2026-11-22  A pipeline file has limits: 1 MiB, 100 levels, 1,000 operators in an expression, 100,000 rounds of for in an evaluation. A
// parser's stack that runs out ends the process without a word about the file.
//
// 2026-11-22  Bodies of more than 10,000 levels count as no JSON in expressions, and numbers of thousands of digits are errors of the
// record: both ended or held the engine.
//
// 2026-11-22  Per-record expressions are compiled to closures that answer what they are sure of, and leave the rest to cty, which has all
// words for errors (internal/lang). One difference is meant: of texts that differ in Unicode normal form alone, the one that was sent stays.
//
// 2026-11-22  The mode of the admin socket is its guard. Whoever passes it could read the engine's memory.
//
// 2026-11-22  A plugin does not end on SIGTERM: a service manager sends it to all at once, and the engine ends its plugins in order.
//
// 2026-11-22  The system's OpenSSL does RSA for decrypt, with crypto/rsa behind it: a message that does not open with the one, up to its
// msgid, is opened with the other before it is refused. It is loaded at run time, never into a process that has WeCom's library
// (plugins/native). No cache of opened keys: what a replay starts from lies behind decrypt, unless decrypt itself owes, and a process that
// died has forgotten.
//
// 2026-11-23  Transforms are fused without the machine knowing: the process of the step before applies them, the answers travel with its rows,
// and the shell gives them when the machine asks. So every rule about retries, poison and crashes is as it was, a second consumer is no
// obstacle, and taking a chain apart is not to ask for it. The transform keeps a process of its own for calls, started when it is wanted:
// a record that kills it is found there, without the source. It costs a crossing nothing to carry what a transform has left as it was.
//
// 2026-11-23  What may not grow is counted (objects, reads and writes of a batch: engine/bench/counts_test.go), and what is fast is measured by
// whoever wants to know. Timed tests fail on busy machines and pass on fast ones. Memory of a process tree is summed from /proc/PID/status:
// reading /proc/PID/task/*/children holds up the processes that are measured.
//
// 2026-11-23  A heap beyond 32 MiB may not double before it is collected (heap.go): with 300,000 rows owed the processes took 108 instead of 116
// MiB at the peak of an outage and 122 instead of 142 while catching up, for a tenth of the processor time of that.
//
// 2026-11-22  Libraries: go-plugin and grpc-go carry the wire (field, upkeep); hcl and cty are the language (Terraform's); Badger is the
// state (embedded, synchronous writes, small profile of about 20 MB for a million owed rows); cobra the command line; hclog the log,
// because go-plugin speaks it; gjson reads single fields of bodies; purego loads the WeCom library and OpenSSL without cgo;
// aliyun-oss-go-sdk and aws-sdk-go-v2 are the vendors' own; the kintone client is ours, because no Go client has been kept since 2020.
// Tests: testscript, go-cmp, versitygw as a real S3 server, the official kintone client in Node.
package engine
