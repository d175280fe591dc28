package log

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/internal/natsd"
)

// Options shape a [Set]. The zero value works.
type Options struct {
	// CacheBytes is the budget of the frame cache. Defaults to 64 MiB.
	CacheBytes int64
	// FrameBytes is what a frame aims at, at most 16 MiB. Defaults to 512 KiB.
	FrameBytes int
	// Logger receives what a person should look at. Defaults to none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.CacheBytes = cmp.Or(o.CacheBytes, 64<<20)
	o.FrameBytes = min(cmp.Or(o.FrameBytes, 512<<10), 16<<20)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// maxWaiting bounds the bytes of records which wait in memory to be written, over
// all logs. More is refused with [ErrUnavailable].
const maxWaiting = 256 << 20

// Set is all logs of a server. Its methods may be called from several goroutines.
type Set struct {
	srv     *natsd.Server
	opts    Options
	nats    *natsWire
	wire    wire // nats, but for tests that inject faults
	cache   *cache
	waiting atomic.Int64 // bytes of records not yet settled

	// base ends when Close does not want to wait any longer; appenders and
	// fetches run under it.
	base context.Context
	stop context.CancelCauseFunc

	mu     sync.Mutex
	logs   map[string]*Log
	made   uint64 // logs made in this process
	closed bool
	wg     sync.WaitGroup // appenders and fetches
}

var errClosing = fmt.Errorf("%w: closing", ErrUnavailable)

// New makes the set of the server's logs. It starts nothing.
func New(srv *natsd.Server, o Options) *Set {
	o = o.withDefaults()
	s := &Set{srv: srv, opts: o, nats: newWire(srv), cache: newCache(o.CacheBytes), logs: map[string]*Log{}}
	s.wire = s.nats
	s.base, s.stop = context.WithCancelCause(context.Background())
	return s
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// Create makes a log. To create it again with the same epoch does nothing; with
// another it is [ErrExists].
func (s *Set) Create(ctx context.Context, id string, epoch uint32) error {
	if !validID.MatchString(id) {
		return fmt.Errorf("log id %q: want 1 to 200 letters, digits, - and _", id)
	}
	have, err := natsd.Change(ctx, s.srv, func(ctx context.Context) (uint32, error) {
		_, err := s.srv.JS().CreateStream(ctx, streamConfig(id, epoch, s.srv.Storage()))
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			have, err := s.nats.info(ctx, id)
			return have.epoch, err
		}
		return epoch, err
	})
	if err != nil {
		return fmt.Errorf("create log %s: %w", id, unavailable(ctx, err))
	}
	if have != epoch {
		return fmt.Errorf("log %s of epoch %d: %w (%d)", id, epoch, ErrExists, have)
	}
	return nil
}

// Open returns the log of that id, the same for every call. It asks the server
// nothing: that there is no such log shows with the first use, as [ErrNotFound].
func (s *Set) Open(ctx context.Context, id string) (*Log, error) {
	if !validID.MatchString(id) {
		return nil, fmt.Errorf("log %q: %w", id, ErrNotFound)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosing
	}
	l := s.logs[id]
	if l == nil {
		s.made++
		l = &Log{set: s, id: id, key: s.made}
		s.logs[id] = l
	}
	return l, nil
}

// Delete removes a log and all its records. What was being appended fails with
// [ErrNotFound], as does every later use of a [Log] opened before. To delete
// what is not there does nothing.
func (s *Set) Delete(ctx context.Context, id string) error {
	s.mu.Lock()
	l := s.logs[id]
	delete(s.logs, id)
	s.mu.Unlock()
	if l != nil {
		l.remove()
	}
	_, err := natsd.Change(ctx, s.srv, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, s.srv.JS().DeleteStream(ctx, streamName(id))
	})
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete log %s: %w", id, unavailable(ctx, err))
	}
	return nil
}

// IDs lists all logs, in no order.
func (s *Set) IDs(ctx context.Context) ([]string, error) {
	ids, err := natsd.Ask(ctx, s.srv, func(ctx context.Context) ([]string, error) {
		var ids []string
		names := s.srv.JS().StreamNames(ctx)
		for name := range names.Name() {
			if id, ok := strings.CutPrefix(name, streamPrefix); ok {
				ids = append(ids, id)
			}
		}
		return ids, names.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list logs: %w", unavailable(ctx, err))
	}
	return ids, nil
}

// unavailable marks an error of the store, but not the end of the caller's ctx.
func unavailable(ctx context.Context, err error) error {
	if ctx.Err() == nil && (errors.Is(err, natsd.ErrDown) || errors.Is(err, natsd.ErrNoAnswer)) {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return err
}

// Close takes no more appends and waits until those under way are settled. If
// ctx ends first, their callers get [ErrUnknown]. When it has returned nothing
// the set started is left.
func (s *Set) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	idle := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(idle)
	}()
	var err error
	select {
	case <-idle:
	case <-ctx.Done():
		err = fmt.Errorf("close logs: %w", context.Cause(ctx))
	}
	s.stop(errClosing)
	<-idle
	s.nats.close()
	return err
}

func (s *Set) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// calmly asks the server something and believes the answer only if the store was
// sound all the while. One that has failed, or is being closed to be opened
// again, says of what it has that it does not, and shows what never reached the
// disk.
func (s *Set) calmly(ctx context.Context, ask func() error) error {
	for {
		before := s.srv.Restarts()
		err := ask()
		if err := s.srv.Healthy(ctx); err != nil {
			return err
		}
		if s.srv.Restarts() == before {
			return err
		}
	}
}

// start runs work as a goroutine of the set, unless it is closed.
func (s *Set) start(work func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Go(work)
	return true
}
