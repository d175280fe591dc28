// Package natsstream keeps streams in the embedded JetStream server: a
// catalogue of what streams there are, and one log for each shard.
//
// On disk a shard bears only its stream's incarnation id and its index; the
// triple of account, region and name exists in the catalogue alone. So a
// stream deleted and created again inherits nothing of the one before.
//
// The catalogue is written before logs are made and after logs are deleted: a
// log without an entry cannot come about, and whatever entry a crash left half
// made or half deleted is removed by the next [Open]. Logs that no entry names
// are never swept: were the catalogue lost, that would destroy the data too.
//
// Shards are split and merged in four steps, each of which can be done again, so
// that a crash anywhere is followed by the rest: one entry tells of everything to
// come; the logs of the new shards are made; END closes those of the old ones; a
// second entry tells that it is done. So whoever reads END of a shard finds its
// children. A record that comes too late for its shard is put to the one that has
// taken over; only its caller's patience notices.
//
// Records older than the stream's retention are hidden the millisecond they
// expire, and trimmed from disk some time later.
package natsstream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/wasmill/wasmill/internal/kv"
	"github.com/wasmill/wasmill/internal/log"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/stream"
)

// Options shape a [Store]. The zero value works.
type Options struct {
	// TrimEvery is how often expired records are looked for to be deleted.
	// Readers never see them in between. Defaults to 1 minute.
	TrimEvery time.Duration
	// Keep says whether a source has confirmed, for good, that all up to m is
	// done, m being the mark of what it relayed last to a shard. Until then that
	// frame is not trimmed, nor what lies behind it: by it the source finds out
	// what is there. It is asked only when such a frame would be trimmed, and an
	// error keeps it. Where the mark is damaged m has the largest sequence there is:
	// nothing is trimmed until the source is known to need no mark any more.
	// Nil: all is confirmed.
	Keep func(ctx context.Context, source string, m log.Mark) (confirmed bool, err error)
	// StateDelay is how long a stream stays CREATING, UPDATING or DELETING before it
	// is ACTIVE or gone. The calls that bring this about return at once then, and the
	// store completes what they began. Defaults to 0: they return when it is done, and
	// nobody is kept waiting for show.
	StateDelay time.Duration
	// Logger takes what goes wrong in the background. Defaults to none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.TrimEvery = cmp.Or(o.TrimEvery, time.Minute)
	if o.Keep == nil {
		o.Keep = func(context.Context, string, log.Mark) (bool, error) { return true, nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Store holds streams. Its methods may be called from any goroutine.
type Store struct {
	opts     Options
	logs     *log.Set
	bucket   *kv.Bucket[entry]
	accounts *kv.Bucket[stream.AccountSettings]

	// base ends with Close; the trimmer runs under it, and what completes calls that
	// have returned.
	base context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	// atOnce is how many shards, at least, end before records go to their children.
	atOnce int
	// crash ends the store before a step of a resharding, in tests; nil: never.
	crash func(step string) error

	mu    sync.RWMutex // never held across a wait
	byRef map[stream.Ref]*incarnation
	byID  map[string]*incarnation
	// epochs is the largest epoch each name has had, so that a stream created
	// again within the second gives out other sequence numbers.
	epochs map[stream.Ref]uint32
	closed bool
}

// incarnation is one stream from its creation to its deletion.
type incarnation struct {
	desc   atomic.Pointer[stream.Description] // immutable; replaced by whoever has the turn
	table  atomic.Pointer[table]              // likewise, of the shards in desc
	turn   chan struct{}                      // holds one token while its catalogue entry is being changed
	doomed []stream.Shard                     // being deleted; only whoever has the turn touches it
	quota  quota
}

func newIncarnation(d stream.Description, doomed []stream.Shard, logs *log.Set, logger *slog.Logger) *incarnation {
	inc := &incarnation{turn: make(chan struct{}, 1), doomed: doomed}
	inc.quota.inc, inc.quota.logger, inc.quota.held, inc.quota.turn = inc, logger, inc.held, make(chan struct{}, 1)
	inc.publish(d, logs)
	return inc
}

// take waits for the turn to change inc.
func (inc *incarnation) take(ctx context.Context) error {
	select {
	case inc.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (inc *incarnation) give() { <-inc.turn }

// Open reads the catalogue, completes reshardings that a crash has interrupted,
// removes what one left half made or half deleted, and starts the trimmer, which
// [Store.Close] ends. It opens no shard: that happens when one is first used.
func Open(ctx context.Context, srv *natsd.Server, logs *log.Set, o Options) (*Store, error) {
	bucket, err := kv.Open[entry](ctx, srv, "streams")
	if err != nil {
		return nil, fmt.Errorf("open stream catalogue: %w", err)
	}
	accounts, err := kv.Open[stream.AccountSettings](ctx, srv, "accounts")
	if err != nil {
		return nil, fmt.Errorf("open account settings: %w", err)
	}
	defs, err := bucket.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read stream catalogue: %w", err)
	}
	s := &Store{
		opts: o.withDefaults(), logs: logs, bucket: bucket, accounts: accounts, atOnce: 64,
		byRef: make(map[stream.Ref]*incarnation), byID: make(map[string]*incarnation), epochs: make(map[stream.Ref]uint32),
	}
	for _, e := range defs {
		d, doomed, err := e.description()
		if err != nil {
			return nil, fmt.Errorf("read stream catalogue: %w", err)
		}
		inc := newIncarnation(d, doomed, logs, s.opts.Logger)
		s.byRef[d.Ref] = inc
		s.epochs[d.Ref] = e.Epoch
		if live(d.State) {
			s.byID[d.ID] = inc
		}
	}
	s.base, s.stop = context.WithCancel(context.Background())
	s.tidy(ctx)
	s.forwardAll(ctx)
	s.wg.Go(func() { s.trim(s.base) })
	return s, nil
}

// Close ends the trimmer, and leaves what is not complete to the next [Open]. The
// logs belong to their set and stay open.
func (s *Store) Close(context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.wg.Wait()
	return nil
}

// start runs work as a goroutine of the store, unless it is closed.
func (s *Store) start(work func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(work)
	return true
}

// pause waits, or less if the store is closed.
func (s *Store) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.base.Done():
	}
}

// live says whether a stream in that state takes and gives records.
func live(state stream.State) bool { return state == stream.Active || state == stream.Updating }

// active is the stream of that name, if it gives and takes records.
func (s *Store) active(ref stream.Ref) (*incarnation, error) {
	inc, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	// As on AWS, a stream that is being created or deleted is not there to put and get.
	if state := inc.desc.Load().State; !live(state) {
		return nil, fmt.Errorf("%w: stream %s is %s", stream.ErrNotFound, ref.Name, state)
	}
	return inc, nil
}

// find is the stream of that name, in whatever state.
func (s *Store) find(ref stream.Ref) (*incarnation, error) {
	s.mu.RLock()
	inc := s.byRef[ref]
	s.mu.RUnlock()
	if inc == nil {
		return nil, fmt.Errorf("%w: no stream %s", stream.ErrNotFound, ref.Name)
	}
	return inc, nil
}

// change is the stream of that name with its turn taken, if ok is true of its state.
// While it is not, nobody is kept waiting: the error is [stream.ErrBusy].
func (s *Store) change(ctx context.Context, ref stream.Ref, ok func(stream.State) bool) (*incarnation, error) {
	inc, err := s.find(ref)
	if err != nil {
		return nil, err
	}
	fits := func() error {
		if state := inc.desc.Load().State; !ok(state) {
			return fmt.Errorf("%w: stream %s is %s", stream.ErrBusy, ref.Name, state)
		}
		return nil
	}
	if err := fits(); err != nil {
		return nil, err
	}
	if err := inc.take(ctx); err != nil {
		return nil, err
	}
	if now, err := s.find(ref); err != nil || now != inc {
		inc.give()
		return nil, fmt.Errorf("%w: no stream %s", stream.ErrNotFound, ref.Name)
	}
	if err := fits(); err != nil {
		inc.give()
		return nil, err
	}
	return inc, nil
}

func isActive(state stream.State) bool { return state == stream.Active }

// snapshot is the description as callers get it, theirs to change.
func (inc *incarnation) snapshot() stream.Description {
	d := *inc.desc.Load()
	d.Shards = slices.Clone(d.Shards)
	return d
}
