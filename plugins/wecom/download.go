package wecom

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

// What downloads that nobody waits for may hold while they are not fetched: beyond either, such downloads pause. Each one
// keeps an open file and some 200 KiB of memory.
const (
	maxUnclaimed      = 64
	maxUnclaimedBytes = 512 << 20
)

// tries and tryPause bound what one download does about a failing shard before it gives up until it is asked again.
const (
	tries    = 3
	tryPause = 500 * time.Millisecond
	// longestTryPause bounds how long a download waits in line where the service asks for it.
	longestTryPause = time.Minute
)

// A fetcher downloads files, nearest deadline first, a few at a time. A download is known by its record and file. It goes
// on when the call that asked for it has stopped waiting, and the next call for the same file joins it.
type fetcher struct {
	client finance.Client
	spool  *sdk.Spool
	clock  *sdk.Clock

	mu        sync.Mutex
	changed   *sync.Cond // the queue, the claims or closed
	queue     []*download
	known     map[fileKey]*download
	unclaimed int   // finished downloads that wait to be claimed
	heldBytes int64 // their bytes
	closed    bool

	stop    context.CancelFunc
	workers sync.WaitGroup
}

type fileKey struct {
	record string
	index  int
	ref    string
}

// A download is one file on its way. Fields below state belong to the worker while the state is running, else to
// fetcher.mu.
type download struct {
	key      fileKey
	deadline time.Time
	waiting  int           // calls that wait for it
	done     chan struct{} // closed when the try under way ends
	state    state

	file   sdk.File
	writer *sdk.SpoolWriter // nil before the first shard
	index  string           // of the next shard: a failed download goes on here
	err    error
}

type state int

const (
	queued state = iota
	running
	failed   // done is closed; asked again, it goes on where it stopped
	finished // done is closed; the bytes lie in the writer until they are claimed
	claimed
)

func newFetcher(client finance.Client, spool *sdk.Spool, clock *sdk.Clock) *fetcher {
	ctx, stop := context.WithCancel(context.Background())
	f := &fetcher{client: client, spool: spool, clock: clock, known: map[fileKey]*download{}, stop: stop}
	f.changed = sync.NewCond(&f.mu)
	for range downloads {
		f.workers.Go(func() { f.work(ctx) })
	}
	return f
}

// A ticket is one call's share in a download: it waits for done as long as it likes, tries to claim, and leaves.
type ticket struct {
	*download
	done <-chan struct{}
}

// join asks for a file of a record, or joins the download that is under way.
func (f *fetcher) join(record string, file sdk.File, deadline time.Time) ticket {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := fileKey{record, file.Index, file.Ref.Reveal()}
	d := f.known[key]
	switch {
	case d == nil:
		d = &download{key: key, deadline: deadline, done: make(chan struct{}), file: file}
		f.known[key] = d
		f.queue = append(f.queue, d)
	case d.state == failed:
		d.state, d.err, d.done = queued, nil, make(chan struct{})
		f.queue = append(f.queue, d)
	}
	d.waiting++
	f.changed.Broadcast()
	return ticket{d, d.done}
}

// leave ends the wait of one call.
func (f *fetcher) leave(d ticket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d.waiting--
	if d.state == failed && d.waiting == 0 && d.writer == nil {
		delete(f.known, d.key) // nothing to go on with
	}
	f.changed.Broadcast()
}

// claim hands the bytes of a finished download over: it writes what was found into file. ok is false when the download
// failed, err saying why, or is not done.
func (f *fetcher) claim(d ticket, file *sdk.File) (ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if d.state != finished {
		return false, d.err
	}
	d.state = claimed
	delete(f.known, d.key)
	f.unclaimed--
	f.heldBytes -= d.writer.Size()
	f.changed.Broadcast()
	if err := d.writer.Commit(); err != nil {
		return false, err
	}
	got := d.file
	file.Size, file.MD5, file.SHA256, file.Spool, file.SpoolKey = got.Size, got.MD5, got.SHA256, got.Spool, got.SpoolKey
	return true, nil
}

// close ends the downloads under way and removes what nobody claimed.
func (f *fetcher) close() {
	f.mu.Lock()
	f.closed = true
	f.changed.Broadcast()
	f.mu.Unlock()
	f.stop()
	f.workers.Wait()
	for _, d := range f.known {
		if d.writer != nil {
			d.writer.Abort()
		}
	}
}

func (f *fetcher) work(ctx context.Context) {
	for {
		d := f.next()
		if d == nil {
			return
		}
		err := f.fetch(ctx, d)
		f.mu.Lock()
		if err != nil {
			d.state, d.err = failed, err
		} else {
			d.state = finished
			f.unclaimed++
			f.heldBytes += d.writer.Size()
		}
		close(d.done)
		if d.state == failed && d.waiting == 0 && d.writer == nil {
			delete(f.known, d.key)
		}
		f.mu.Unlock()
	}
}

// next waits for the most urgent download that may start, and returns nil when the fetcher is closed.
func (f *fetcher) next() *download {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.closed {
			return nil
		}
		full := f.unclaimed >= maxUnclaimed || f.heldBytes >= maxUnclaimedBytes
		best := -1
		for i, d := range f.queue {
			if d.waiting == 0 && full {
				continue
			}
			if best < 0 || d.deadline.Before(f.queue[best].deadline) {
				best = i
			}
		}
		if best >= 0 {
			d := f.queue[best]
			f.queue = append(f.queue[:best], f.queue[best+1:]...)
			d.state = running
			return d
		}
		f.changed.Wait()
	}
}

// fetch walks the shards of a file into the spool, from where an earlier attempt stopped.
func (f *fetcher) fetch(ctx context.Context, d *download) error {
	for {
		shard, err := f.shard(ctx, d.key.ref, d.index)
		if err != nil {
			return err
		}
		if d.writer == nil {
			if d.writer, err = f.spool.Create(&d.file); err != nil {
				return err
			}
		}
		if _, err := d.writer.Write(shard.Data); err != nil {
			d.writer.Abort()
			d.writer, d.index = nil, ""
			return err
		}
		if shard.Done {
			return nil
		}
		d.index = shard.Next
	}
}

// shard asks a few times for one shard, as long as that may help.
func (f *fetcher) shard(ctx context.Context, ref, index string) (finance.Shard, error) {
	for try := 1; ; try++ {
		shard, err := f.client.Media(ctx, ref, index)
		refusal := (*finance.Error)(nil)
		if err == nil || try == tries || !errors.As(err, &refusal) || refusal.Wait() > longestTryPause ||
			(refusal.Class != finance.Retry && refusal.Class != finance.Throttled) {
			return shard, err
		}
		if ctxErr := f.clock.Sleep(ctx, max(refusal.Wait(), time.Duration(try)*tryPause)); ctxErr != nil {
			return finance.Shard{}, ctxErr
		}
	}
}
