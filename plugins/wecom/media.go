package wecom

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/weir-etl/weir/plugins/wecom/finance"
	"github.com/weir-etl/weir/sdk"
)

func mediaComponent(shared *accounts) sdk.Component {
	return sdk.Component{
		Kind:       sdk.KindTransform,
		Type:       "wecom_media",
		Connection: "wecom",
		Doc: "Fetches the files of chat messages.\n\n" +
			"Rows without files go on at once. A row whose files are late goes on as waiting; the download goes on, and the row is " +
			"asked again until 120 hours after the message. Then WeCom is asked a last time, and what is not there has expired.",
		Args: []sdk.Arg{
			{Name: "files", Type: sdk.Files, PerRecord: true, Doc: "The files that are wanted; left out: all."},
			{Name: "wait", Type: sdk.Dur, Default: "30s", Doc: "How long a row waits for its files before it goes on without them."},
			{Name: "again", Type: sdk.Durs, Default: []string{"1m", "5m", "15m", "1h"},
				Doc: "Pauses before the planned second times of a row with late files; the last one repeats, at most 10 minutes in " +
					"the last two hours."},
		},
		MakesFiles:   true,
		NewTransform: func() sdk.Transform { return &media{shared: shared} },
	}
}

type media struct {
	shared  *accounts
	account *account
	fetcher *fetcher
	clock   *sdk.Clock
	wait    time.Duration
	again   []time.Duration

	mu   sync.Mutex
	told map[string]time.Time // when an event of this code was last sent
}

// Open reads the arguments and loads the client; WeCom is not called.
func (m *media) Open(_ context.Context, env *sdk.Env) error {
	args := struct {
		Wait  sdk.Duration   `json:"wait"`
		Again []sdk.Duration `json:"again"`
	}{
		Wait: sdk.Duration(30 * time.Second),
		Again: []sdk.Duration{
			sdk.Duration(time.Minute), sdk.Duration(5 * time.Minute), sdk.Duration(15 * time.Minute), sdk.Duration(time.Hour),
		},
	}
	if err := env.Decode(&args); err != nil {
		return err
	}
	if args.Wait < 0 {
		return fmt.Errorf("wait = %s: want 0 or more", args.Wait.Std())
	}
	if len(args.Again) == 0 {
		return errors.New("again is empty: want at least one pause")
	}
	m.again = m.again[:0]
	for _, pause := range args.Again {
		if pause.Std() < time.Second {
			return fmt.Errorf("again: pause %s: want a second or more", pause.Std())
		}
		m.again = append(m.again, pause.Std())
	}
	var err error
	if m.account, err = m.shared.take(env); err != nil {
		return err
	}
	m.wait, m.clock, m.told = args.Wait.Std(), env.Clock, map[string]time.Time{}
	m.fetcher = newFetcher(m.account.client, env.Spool, env.Clock)
	return nil
}

// Close implements [sdk.Transform].
func (m *media) Close(context.Context) error {
	if m.account == nil {
		return nil
	}
	m.fetcher.close()
	return m.account.release()
}

// Apply implements [sdk.Transform].
func (m *media) Apply(ctx context.Context, call *sdk.Call) error {
	wait, cancel := context.WithTimeout(ctx, m.clock.Wall(m.wait))
	defer cancel()
	var rows sync.WaitGroup
	for i := range call.Rows {
		p, err := m.newPass(call, i)
		switch {
		case err != nil:
			call.Answer(i, sdk.Reject("BAD_ARGUMENT", err))
		case len(p.missing) == 0:
			call.Answer(i, sdk.Emit(call.Rows[i].Record))
		default:
			// Joined here and not in the goroutine, so that the whole call stands in the queue before any row is waited for.
			first := p.join(p.fresh)
			rows.Go(func() {
				if o, ok := p.run(ctx, wait, first); ok {
					call.Answer(i, o)
				}
			})
		}
	}
	rows.Wait()
	return ctx.Err()
}

// A pass is one row with files to fetch.
type pass struct {
	*media
	row      *sdk.Row
	record   sdk.Record // the row's, with files of its own
	now      time.Time
	deadline time.Time
	final    bool

	missing []int // places in record.Files of wanted files without bytes
	fresh   []int // those of them that never had bytes
}

func (m *media) newPass(call *sdk.Call, i int) (*pass, error) {
	row := &call.Rows[i]
	p := &pass{media: m, row: row, record: row.Record, now: call.Now, deadline: deadline(row.Record, call.Now)}
	p.final = row.Final || !call.Now.Before(p.deadline)
	var args struct {
		Files *[]int `json:"files"` // indexes of files
	}
	if err := row.Decode(&args); err != nil {
		return nil, errors.New("files: want a list of files")
	}
	p.record.Files = slices.Clone(row.Files)
	for place := range p.record.Files {
		file := &p.record.Files[place]
		wanted := args.Files == nil || slices.Contains(*args.Files, file.Index)
		if !wanted || file.HasBytes() || file.Ref.IsZero() || file.Outcome == sdk.FileStored {
			continue
		}
		p.missing = append(p.missing, place)
		if file.SHA256 == "" {
			p.fresh = append(p.fresh, place)
		}
	}
	if row.Attempt == 0 || len(p.fresh) == 0 {
		p.fresh = p.missing
	}
	return p, nil
}

// deadline is when WeCom lets go of a record's files: 120 hours after the message, or, if its time is not known, after it
// was fetched.
func deadline(r sdk.Record, now time.Time) time.Time {
	if !r.Time.IsZero() {
		return r.Time.Add(finance.Keeps)
	}
	if fetched, err := time.Parse(time.RFC3339, r.Meta[FetchedAt]); err == nil {
		return fetched.Add(finance.Keeps)
	}
	return now.Add(finance.Keeps)
}

// join asks for files.
func (p *pass) join(places []int) []ticket {
	asked := make([]ticket, len(places))
	for i, place := range places {
		asked[i] = p.fetcher.join(p.record.ID, p.record.Files[place], p.deadline)
	}
	return asked
}

// run waits for the files of the row and says what becomes of it. It reports false when ctx ended first. On a second time
// files that never came are fetched first, and the others, which were here before, only if that brings something new.
func (p *pass) run(ctx, wait context.Context, first []ticket) (sdk.Outcome, bool) {
	if p.final {
		wait = ctx // the last time really waits for an answer
	}
	got, failure := p.collect(ctx, wait, p.fresh, first)
	if rest := without(p.missing, p.fresh); len(rest) > 0 && (got > 0 || p.final) {
		more, err := p.collect(ctx, wait, rest, p.join(rest))
		got, failure = got+more, errors.Join(failure, err)
	}
	if ctx.Err() != nil {
		return sdk.Outcome{}, false
	}
	return p.outcome(got, failure), true
}

func without(all, some []int) []int {
	return slices.DeleteFunc(slices.Clone(all), func(i int) bool { return slices.Contains(some, i) })
}

// collect waits for downloads and takes what has come, in the order of the files. failure is one of the reasons for what
// has not, nil if it is merely late. When ctx has ended nothing is taken, because nobody would pass it on.
func (p *pass) collect(ctx, wait context.Context, places []int, asked []ticket) (got int, failure error) {
	for i, d := range asked {
		select {
		case <-d.done:
		case <-wait.Done():
		}
		file := &p.record.Files[places[i]]
		ok, err := false, ctx.Err()
		if err == nil {
			ok, err = p.fetcher.claim(d, file)
		}
		p.fetcher.leave(d)
		if ok {
			file.Outcome = ""
			got++
		} else if err != nil {
			failure = err
		}
	}
	return got, failure
}

// lastPause is the time between last requests that could not be put to WeCom, or were not answered by it.
const lastPause = 10 * time.Minute

// outcome is the answer to the row. A file that was here before and could not be fetched again keeps what is known of it. Only WeCom's own
// word makes a file expired: a network or a disk in trouble at the deadline does not.
func (p *pass) outcome(got int, failure error) sdk.Outcome {
	refusal := (*finance.Error)(nil)
	over := p.final && (failure == nil || errors.As(failure, &refusal) && refusal.Class == finance.Permanent)
	open := false
	for _, place := range p.missing {
		file := &p.record.Files[place]
		switch {
		case file.HasBytes():
			continue
		case file.SHA256 != "":
		case over:
			file.Outcome = sdk.FileExpired
		default:
			file.Outcome = sdk.FileWaiting
		}
		open = true
	}
	pause := lastPause
	if !p.final {
		pause = p.pause(failure)
	}
	switch {
	case !open || over:
		return p.tell(sdk.Emit(p.record), failure)
	case p.row.Attempt > 0 && got == 0:
		return p.tell(sdk.Retry(pause, "FILE_WAITING", nil), failure)
	}
	return p.tell(sdk.Emit(p.record).AskAgain(pause, p.deadline), failure)
}

// pause is the time to the next planned time. What can never be fetched is asked for once more, at the deadline.
func (p *pass) pause(failure error) time.Duration {
	left := p.deadline.Sub(p.now)
	refusal := (*finance.Error)(nil)
	if errors.As(failure, &refusal) && refusal.Class == finance.Permanent {
		return left
	}
	pause := p.again[min(p.row.Attempt, len(p.again)-1)]
	if failure == nil { // nothing is wrong, it is on its way
		pause = p.again[0]
	}
	if refusal != nil {
		pause = max(pause, refusal.Wait())
	}
	if left < 2*time.Hour {
		pause = min(pause, 10*time.Minute)
	}
	return min(pause, left)
}

// tell adds an event when files cannot be fetched for a reason that a person must remove, at most once an hour each.
func (p *pass) tell(o sdk.Outcome, failure error) sdk.Outcome {
	refusal := (*finance.Error)(nil)
	var name string
	switch {
	case errors.Is(failure, sdk.ErrNoRoom):
		name = "SPOOL_FULL"
	case errors.As(failure, &refusal) && (refusal.Class == finance.Config || refusal.Code == finance.TooOld):
		name = code(refusal)
	default:
		return o
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, told := p.told[name]; told && p.now.Sub(last) < time.Hour {
		return o
	}
	p.told[name] = p.now
	return o.With(sdk.Event{Code: name, Severity: sdk.Critical, Attrs: map[string]string{"error": failure.Error()}})
}
