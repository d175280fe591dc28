// Package natsd owns the storage engine: an embedded NATS JetStream server
// without listeners, its data directory and the connection to it.
//
// What JetStream has acknowledged is on disk (unless [Options.Relaxed]): every
// message is fsynced before its acknowledgement. One process owns a data
// directory at a time. A disk that fills up is noticed early, by a reserve that
// [Server.Admit] keeps; when a write fails nevertheless, JetStream's store is
// unusable until it is opened again, which the package does without the process
// ending: see [Server.Failed].
//
// It leaves to others what is stored: logs, journals and definitions stand on
// the JetStream handle.
//
// # Writes whose outcome is unknown
//
// A failed store can show a message that never reached the disk. So whoever
// gets no acknowledgement must first call [Server.Failed], then wait for
// [Server.Healthy], and only then read back what is stored.
//
// # Time in tests
//
// The server runs inside a testing/synctest bubble if TestMain calls
// ats.Register of nats-server before the first bubble: its clock goroutine must
// be started outside.
package natsd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// MaxPayload is the most bytes of one message, headers included.
	MaxPayload = 32 << 20
	// DefaultMemory is what a server in memory keeps at most.
	DefaultMemory = 1 << 30
	// Format is the version of the data directory's layout this code writes
	// and the newest it reads.
	Format = 1
)

// Options shape a [Server].
type Options struct {
	// Dir is the data directory, made with mode 0700. Exactly one of Dir and
	// Memory is wanted.
	Dir string
	// Memory keeps everything in memory and loses it on Close.
	Memory bool
	// MaxMemory is the most bytes kept with Memory. Defaults to 1 GiB.
	MaxMemory int64
	// Reserve is how many bytes of the disk (of MaxMemory with Memory) records
	// leave free; journals leave half of it. Defaults to 256 MiB or 1 % of the
	// disk, whichever is larger, but no more than a quarter of the disk; with
	// Memory to a sixteenth of MaxMemory.
	Reserve int64
	// MaxDisk is the most bytes the files of the data directory take before
	// records are refused, 1 MiB or more; journals may take a tenth more. 0, the
	// default, is no limit. Not with Memory, which has MaxMemory.
	MaxDisk int64
	// Relaxed acknowledges what the operating system has taken, without
	// fsync: a power loss may lose up to two minutes of it.
	Relaxed bool
	// Logger receives what the server has to say. Defaults to none.
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.MaxMemory = cmp.Or(o.MaxMemory, DefaultMemory)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// validate names every fault at once.
func (o Options) validate() error {
	var errs []error
	if (o.Dir == "") == !o.Memory {
		errs = append(errs, errors.New("want either a data directory or memory"))
	}
	if o.MaxMemory < 1<<20 {
		errs = append(errs, fmt.Errorf("memory limit of %d bytes: want at least 1 MiB", o.MaxMemory))
	}
	if o.Reserve < 0 {
		errs = append(errs, fmt.Errorf("reserve of %d bytes: want 0 (the default) or more", o.Reserve))
	}
	switch {
	case o.MaxDisk != 0 && o.Memory:
		errs = append(errs, errors.New("disk limit: in memory there is the memory limit instead"))
	case o.MaxDisk != 0 && o.MaxDisk < 1<<20:
		errs = append(errs, fmt.Errorf("disk limit of %d bytes: want 0 (none) or at least 1 MiB", o.MaxDisk))
	}
	return errors.Join(errs...)
}

var (
	// ErrLocked means another process has the data directory open. Stop that
	// one or use another directory.
	ErrLocked = errors.New("natsd: data directory in use")
	// ErrFormat means the data directory was written by a newer release, or
	// bears a mark nobody wrote, or is a directory of something else. Nothing
	// in it was touched.
	ErrFormat = errors.New("natsd: not a data directory this release can open")
	// ErrReserve means a write would use up the disk's (or the memory's)
	// reserve, or exceed [Options.MaxDisk]. Nothing was written; try again once
	// there is space.
	ErrReserve = errors.New("natsd: reserve reached")
	// ErrDown means the store takes no writes at this moment because it is
	// being opened again after a failed write. Nothing was written; try again.
	ErrDown = errors.New("natsd: store is being restored")
	// ErrNoAnswer means the store did not answer within 5 s. Whether anything was
	// written is unknown; try again.
	ErrNoAnswer = errors.New("natsd: no answer within 5s")
	// ErrClosed means the server was closed for good.
	ErrClosed = errors.New("natsd: closed")
)

// Server is one running storage engine. Its methods may be called from several
// goroutines.
type Server struct {
	opts  Options
	store string // where JetStream has its files; a temporary directory with Memory
	lock  *dirLock
	gauge gauge
	quota quota

	conn   *nats.Conn
	js     jetstream.JetStream
	cancel context.CancelFunc // ends watch
	wg     sync.WaitGroup     // watch, and the end of Close
	kick   chan struct{}      // Failed and instances send without blocking, watch receives
	loud   atomic.Int64       // restarts since Start

	mu      sync.Mutex
	cur     *instance     // nil while there is none
	up      chan struct{} // closed while nothing is wrong or being looked into
	down    bool          // known to take no writes; up is open then
	cause   error         // what made up open
	asked   uint64        // calls of Failed
	closed  bool
	dialers []*dialer
	done    chan struct{} // made and closed by Close
	doneErr error
}

// Start opens the data directory (or memory) and starts JetStream on it. Its
// errors name the directory and what to do: [ErrLocked], [ErrFormat], or what
// the operating system said.
func Start(ctx context.Context, o Options) (_ *Server, err error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &Server{opts: o, kick: make(chan struct{}, 1), up: make(chan struct{})}
	close(s.up)
	defer func() {
		if err != nil {
			s.release()
		}
	}()
	if o.Memory {
		// JetStream wants a directory even if it writes nothing into it.
		if s.store, err = os.MkdirTemp("", "wasmill-memory-"); err != nil {
			return nil, fmt.Errorf("natsd: %w", err)
		}
	} else {
		if s.opts.Dir, err = filepath.Abs(o.Dir); err != nil {
			return nil, fmt.Errorf("natsd: %w", err)
		}
		if s.lock, err = openDir(s.opts.Dir, o.Logger); err != nil {
			return nil, err
		}
		s.store = s.opts.Dir
	}
	s.gauge.measure = s.measure
	s.gauge.reserve = o.Reserve
	s.quota = quota{most: o.MaxDisk, measure: s.files, warn: s.warnQuota}
	if o.Memory { // the reserve keeps that limit; this warns of it
		s.quota.most, s.quota.measure = o.MaxMemory, s.used
	}
	if o.Memory && o.Reserve == 0 {
		s.gauge.reserve = o.MaxMemory / 16
	}

	if s.cur, err = startInstance(s.settings(), o.Logger, s.nudge); err != nil {
		return nil, fmt.Errorf("natsd: start storage in %s: %w", s.store, err)
	}
	bad := s.cur.unrecovered()
	if bad != nil && mend(s.store, o.Logger) > 0 {
		s.cur.stop()
		if s.cur, err = startInstance(s.settings(), o.Logger, s.nudge); err != nil {
			return nil, fmt.Errorf("natsd: start storage in %s: %w", s.store, err)
		}
		bad = s.cur.unrecovered()
	}
	if bad != nil {
		return nil, fmt.Errorf("natsd: data directory %s is damaged: %w; restore it from a backup, or move the named stream away to go on without it", s.opts.Dir, bad)
	}
	if s.conn, err = s.Dial("wasmill"); err != nil {
		return nil, err
	}
	if s.js, err = jetstream.New(s.conn); err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	wctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.wg.Go(func() { s.watch(wctx) })
	return s, nil
}

// settings are those of the embedded server.
func (s *Server) settings() settings {
	set := settings{dir: s.store, always: !s.opts.Relaxed, store: unlimited, memory: 64 << 20}
	if s.opts.Memory {
		set.store, set.memory = 1, s.opts.MaxMemory
	}
	return set
}

// JS is the JetStream handle. It stays valid when the store is reopened.
func (s *Server) JS() jetstream.JetStream { return s.js }

// Conn is the connection behind JS.
func (s *Server) Conn() *nats.Conn { return s.conn }

// Dial makes a further connection, which outlives restarts of the store as
// Conn does. The server closes it when it is closed.
func (s *Server) Dial(name string) (*nats.Conn, error) {
	d := &dialer{s: s}
	conn, err := nats.Connect("", nats.InProcessServer(d), nats.Name(name),
		// A message kept for later could be stored after its caller has
		// given up and asked again, so nothing is kept.
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(n int) time.Duration { return min(time.Duration(n)*2*time.Millisecond, 50*time.Millisecond) }),
		nats.Timeout(10*time.Second),
		// Otherwise it prints to standard error.
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			s.opts.Logger.Debug("nats: connection", "name", name, "err", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("natsd: connect to the embedded server: %w", err)
	}
	d.conn = conn
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		conn.Close()
		return nil, ErrClosed
	}
	s.dialers = append(s.dialers, d)
	return conn, nil
}

// Dir is the data directory as an absolute path; empty with Memory.
func (s *Server) Dir() string { return s.opts.Dir }

// Memory says whether everything is kept in memory.
func (s *Server) Memory() bool { return s.opts.Memory }

// Storage is the JetStream storage every stream must be made with.
func (s *Server) Storage() jetstream.StorageType {
	if s.opts.Memory {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// Restarts counts how often the store was opened again after a failed write.
func (s *Server) Restarts() int64 { return s.loud.Load() }

// Close stops in two steps: writes are refused and what was handed over is
// given until ctx ends to be taken; then connections and server stop. If ctx
// ends while the server is still stopping, Close returns its error and the
// rest happens behind it. The directory's lock is released last, when no file
// is open any more. Closing again waits for the first.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closed
	if first {
		s.closed = true
		s.done = make(chan struct{})
	}
	done := s.done
	s.mu.Unlock()

	if first {
		go func() {
			defer close(done)
			s.doneErr = s.stop(ctx)
		}()
	}
	select {
	case <-done:
		return s.doneErr
	case <-ctx.Done():
		return fmt.Errorf("natsd: still stopping: %w", context.Cause(ctx))
	}
}

func (s *Server) stop(ctx context.Context) error {
	if s.conn.IsConnected() {
		if _, limited := ctx.Deadline(); !limited {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
		}
		_ = s.conn.FlushWithContext(ctx) // at worst what was not acknowledged is not stored
	}
	s.cancel()
	s.wg.Wait()
	return s.release()
}

// release undoes Start, or as much of it as was done.
func (s *Server) release() error {
	s.mu.Lock()
	dialers, cur := s.dialers, s.cur
	s.dialers, s.cur = nil, nil
	s.mu.Unlock()
	for _, d := range dialers {
		d.conn.Close()
	}
	if cur != nil {
		cur.stop()
	}
	var errs []error
	if s.lock != nil {
		errs = append(errs, s.lock.unlock())
	}
	if s.opts.Memory && s.store != "" {
		errs = append(errs, os.RemoveAll(s.store))
	}
	return errors.Join(errs...)
}
