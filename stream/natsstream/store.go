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
// Records older than the stream's retention are hidden the millisecond they
// expire, and trimmed from disk some time later.
package natsstream

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
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
	opts   Options
	logs   *log.Set
	bucket *kv.Bucket[entry]
	stop   context.CancelFunc // ends the trimmer
	wg     sync.WaitGroup     // the trimmer

	mu    sync.RWMutex // never held across a wait
	byRef map[stream.Ref]*incarnation
	byID  map[string]*incarnation
	// epochs is the largest epoch each name has had, so that a stream created
	// again within the second gives out other sequence numbers.
	epochs map[stream.Ref]uint32
}

// incarnation is one stream from its creation to its deletion.
type incarnation struct {
	desc   atomic.Pointer[stream.Description] // immutable; replaced by whoever has the turn
	shards []*Shard                           // by index
	open   []*Shard                           // those that take records, by hash range, ascending
	turn   chan struct{}                      // holds one token while its catalogue entry is being changed
	quota  quota
}

func newIncarnation(d stream.Description, logs *log.Set, logger *slog.Logger) *incarnation {
	inc := &incarnation{turn: make(chan struct{}, 1), shards: make([]*Shard, len(d.Shards))}
	inc.desc.Store(&d)
	inc.quota.inc, inc.quota.logger, inc.quota.held, inc.quota.turn = inc, logger, inc.held, make(chan struct{}, 1)
	for i, info := range d.Shards {
		inc.shards[i] = &Shard{inc: inc, info: info, logs: logs}
		if info.State == stream.Active {
			inc.open = append(inc.open, inc.shards[i])
		}
	}
	slices.SortFunc(inc.open, func(a, b *Shard) int { return a.info.From.Compare(b.info.From) })
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

// Open reads the catalogue, removes what a crash left half made or half
// deleted, and starts the trimmer, which [Store.Close] ends. It opens no
// shard: that happens when one is first used.
func Open(ctx context.Context, srv *natsd.Server, logs *log.Set, o Options) (*Store, error) {
	bucket, err := kv.Open[entry](ctx, srv, "streams")
	if err != nil {
		return nil, fmt.Errorf("open stream catalogue: %w", err)
	}
	defs, err := bucket.All(ctx)
	if err != nil {
		return nil, fmt.Errorf("read stream catalogue: %w", err)
	}
	s := &Store{
		opts: o.withDefaults(), logs: logs, bucket: bucket,
		byRef: make(map[stream.Ref]*incarnation), byID: make(map[string]*incarnation), epochs: make(map[stream.Ref]uint32),
	}
	for _, e := range defs {
		d := e.description()
		inc := newIncarnation(d, logs, s.opts.Logger)
		s.byRef[d.Ref] = inc
		s.epochs[d.Ref] = e.Epoch
		if d.State == stream.Active {
			s.byID[d.ID] = inc
		}
	}
	s.tidy(ctx)

	ctx, s.stop = context.WithCancel(context.Background())
	s.wg.Go(func() { s.trim(ctx) })
	return s, nil
}

// Close ends the trimmer. The logs belong to their set and stay open.
func (s *Store) Close(context.Context) error {
	s.stop()
	s.wg.Wait()
	return nil
}

// active is the stream of that name, if it gives and takes records.
func (s *Store) active(ref stream.Ref) (*incarnation, error) {
	s.mu.RLock()
	inc := s.byRef[ref]
	s.mu.RUnlock()
	if inc == nil {
		return nil, fmt.Errorf("%w: no stream %s", stream.ErrNotFound, ref.Name)
	}
	// As on AWS, a stream that is being created or deleted is not there to put and get.
	if state := inc.desc.Load().State; state != stream.Active {
		return nil, fmt.Errorf("%w: stream %s is %s", stream.ErrNotFound, ref.Name, state)
	}
	return inc, nil
}

// shard is the shard of that id.
func (inc *incarnation) shard(id string) (*Shard, error) {
	if digits, ok := strings.CutPrefix(id, "shardId-"); ok {
		if i, err := strconv.Atoi(digits); err == nil && i >= 0 && i < len(inc.shards) && inc.shards[i].info.ID == id {
			return inc.shards[i], nil
		}
	}
	return nil, fmt.Errorf("%w: stream %s has no shard %q", stream.ErrNotFound, inc.desc.Load().Name, id)
}

// snapshot is the description as callers get it, theirs to change.
func (inc *incarnation) snapshot() stream.Description {
	d := *inc.desc.Load()
	d.Shards = slices.Clone(d.Shards)
	return d
}
