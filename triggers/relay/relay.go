// Package relay carries dead letters from the journals of mappings to the
// morgue, each exactly once, and frees the journals of what nobody needs.
//
// For each source it appends the letters of commits behind the confirmed mark in
// order of their positions, then notes the mark, then lets the journal purge.
// A crash between any two of these steps repeats the step, and repeating one
// changes nothing: a letter that is in the morgue is known by its position, a
// mark does not go back. It serves every journal there is, whether its mapping
// is enabled, disabled, superseded by a later generation or deleted.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/morgue"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

const (
	// trimEvery is after how many commits a source's journal is purged.
	trimEvery = 1000
	// idle is how long a source has not committed when its journal is purged anyway.
	idle = time.Second
	// expire is how often the morgue drops what is too old.
	expire = time.Hour
	// strideBytes is how much of a source's letters is moved at most before that
	// is noted, so that a disk that is nearly full does not hold them twice.
	strideBytes = 4 << 20
	// workers is how many sources are served at a time.
	workers = 4

	firstPause = 100 * time.Millisecond // after a failure, doubling
	lastPause  = 10 * time.Second
)

// Relay serves the journals of one server; there is one, and one Run of it.
type Relay struct {
	srv      *natsd.Server
	journals *journal.Store
	morgue   *morgue.Morgue
	graves   *store.Store
	log      *slog.Logger
	hook     func(point string) error // of tests: an error stops the work as a crash would

	kick chan struct{} // anybody sends without blocking, Run receives

	mu      sync.Mutex // guards what follows; never held across a wait
	sources map[triggers.Source]*source
	settled chan struct{} // closed, and made anew, whenever a source was served
	running bool
}

// source is what is known of one. Guarded by Relay.mu.
type source struct {
	due     bool // letters wait, or it is to be purged
	busy    bool // a worker serves it
	trim    bool // it is to be purged
	commits int  // since it was purged
	last    time.Time
	err     error         // of the last time it was served
	pause   time.Duration // before the next time, after failures
	until   time.Time
}

// New connects journals and morgue. It starts nothing; commits made before Run
// are found by it.
func New(srv *natsd.Server, journals *journal.Store, m *morgue.Morgue, log *slog.Logger) *Relay {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		srv: srv, journals: journals, morgue: m, graves: m.Graves(), log: log,
		kick: make(chan struct{}, 1), sources: map[triggers.Source]*source{}, settled: make(chan struct{}),
	}
	journals.Watch(r.committed)
	m.OnPurge(r.flush)
	return r
}

// of is the state of src. The caller holds mu.
func (r *Relay) of(src triggers.Source) *source {
	s := r.sources[src]
	if s == nil {
		s = &source{}
		r.sources[src] = s
	}
	return s
}

func (r *Relay) committed(src triggers.Source, letters int) {
	now := time.Now()
	r.mu.Lock()
	s := r.of(src)
	s.commits++
	s.last = now
	if s.commits >= trimEvery {
		s.due, s.trim = true, true
	}
	s.due = s.due || letters > 0
	wake := s.due
	r.mu.Unlock()
	if wake {
		r.wake()
	}
}

func (r *Relay) wake() {
	select {
	case r.kick <- struct{}{}:
	default: // one is on its way, and Run looks after receiving it
	}
}

// Run serves all journals until ctx ends, and leaves nothing running behind it.
// It begins with a look into every journal.
func (r *Relay) Run(ctx context.Context) error {
	r.mu.Lock()
	r.running = true
	r.mu.Unlock()
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		r.mu.Lock()
		r.running = false
		r.mu.Unlock()
		r.served() // lets flush see it
	}()

	tick := time.NewTicker(idle)
	defer tick.Stop()
	found, pause := false, firstPause
	var look, expired time.Time
	done := make(chan struct{}, workers) // workers send, Run receives
	active := 0
	for {
		now := time.Now()
		if !found && !now.Before(look) {
			if err := r.findAll(ctx); err != nil {
				r.log.Warn("cannot look for dead letters to move yet", "err", err)
				look, pause = now.Add(pause), min(2*pause, lastPause)
			} else {
				found = true
			}
		}
		for active < workers {
			src, trim, ok := r.next(now)
			if !ok {
				break
			}
			active++
			wg.Go(func() {
				r.settle(ctx, src, trim, r.serve(ctx, src, trim))
				done <- struct{}{}
			})
		}
		select {
		case <-r.kick:
		case <-done:
			active--
		case now := <-tick.C:
			r.idlers(now)
			if now.Sub(expired) >= expire && active < workers {
				expired = now
				active++
				wg.Go(func() {
					if err := r.morgue.Trim(ctx); err != nil && ctx.Err() == nil {
						r.log.Warn("cannot drop expired dead letters", "err", err)
					}
					done <- struct{}{}
				})
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// findAll makes every source of every journal due.
func (r *Relay) findAll(ctx context.Context) error {
	mappings, err := r.journals.Mappings(ctx)
	if err != nil {
		return err
	}
	for _, mapping := range mappings {
		sources, err := r.journals.Sources(ctx, mapping)
		var excess map[triggers.Source]uint64
		if err == nil {
			excess, err = r.journals.Excess(ctx, mapping)
		}
		if errors.Is(err, journal.ErrNoJournal) {
			continue
		}
		if err != nil {
			return err
		}
		r.mu.Lock()
		for _, src := range sources {
			s := r.of(src)
			s.due = true
			s.trim = s.trim || excess[src] > 0
		}
		r.mu.Unlock()
	}
	return nil
}

// next picks a source to serve. It is busy until settle.
func (r *Relay) next(now time.Time) (src triggers.Source, trim, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for src, s := range r.sources {
		if s.due && !s.busy && !now.Before(s.until) {
			trim = s.trim
			s.busy, s.due, s.trim = true, false, false
			if trim {
				s.commits = 0
			}
			return src, trim, true
		}
	}
	return triggers.Source{}, false, false
}

// idlers makes those due that have stopped committing.
func (r *Relay) idlers(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sources {
		if s.commits > 0 && now.Sub(s.last) >= idle {
			s.due, s.trim = true, true
		}
	}
}

// settle notes how serving a source went.
func (r *Relay) settle(ctx context.Context, src triggers.Source, trim bool, err error) {
	r.mu.Lock()
	s := r.of(src)
	s.busy = false
	first := err != nil && s.err == nil
	s.err = err
	switch {
	case errors.Is(err, journal.ErrNoJournal):
		delete(r.sources, src) // deleted, which needs everything to be confirmed
	case err != nil:
		s.due, s.trim = true, s.trim || trim
		s.pause = min(max(2*s.pause, firstPause), lastPause)
		s.until = time.Now().Add(s.pause)
	default:
		s.pause, s.until = 0, time.Time{}
	}
	r.mu.Unlock()
	if first && ctx.Err() == nil && !errors.Is(err, journal.ErrNoJournal) {
		r.log.Warn("dead letters cannot be moved to the morgue yet", "mapping", src.Mapping, "shard", src.Shard, "err", err)
	}
	r.served()
}

func (r *Relay) served() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.settled)
	r.settled = make(chan struct{})
}

func (r *Relay) crash(point string) error {
	if r.hook != nil {
		return r.hook(point)
	}
	return nil
}

// serve moves the letters of one source and purges its journal.
func (r *Relay) serve(ctx context.Context, src triggers.Source, trim bool) error {
	if err := r.srv.Healthy(ctx); err != nil {
		return err
	}
	mark, upTo, err := r.journals.Pending(ctx, src)
	if err != nil {
		return err
	}
	if mark == journal.AllConfirmed {
		return journal.ErrNoJournal
	}
	if upTo > mark {
		if err := r.move(ctx, src, mark, upTo); err != nil {
			return err
		}
	}
	if !trim {
		return nil
	}
	if err := r.crash("before purge"); err != nil {
		return err
	}
	if err := r.journals.Trim(ctx, src); err != nil {
		return err
	}
	return r.crash("after purge")
}

func (r *Relay) move(ctx context.Context, src triggers.Source, mark, upTo uint64) error {
	// What is behind the mark may be in the morgue already: up to its tail.
	tail, err := r.graves.Tail(ctx, src)
	if err != nil {
		return err
	}
	var last uint64
	moved := 0
	err = r.journals.Letters(ctx, src, mark, upTo, func(at dlq.Position, l dlq.Letter) error {
		if at.Sequence != last && moved >= strideBytes {
			// A long way: what is behind makes room for what is to come.
			if err := r.confirm(ctx, src, last); err != nil {
				return err
			}
			if err := r.journals.Trim(ctx, src); err != nil {
				return err
			}
			moved = 0
		}
		last = at.Sequence
		moved += len(l.Data) + 1024
		if err := r.crash("before append"); err != nil {
			return err
		}
		if tail, err = r.graves.Append(ctx, src, tail, at, &l); err != nil {
			return err
		}
		return r.crash("after append")
	})
	if err != nil {
		return err
	}
	if last != upTo {
		return fmt.Errorf("letters of commit %d were not found, only those up to %d", upTo, last)
	}
	return r.confirm(ctx, src, upTo)
}

func (r *Relay) confirm(ctx context.Context, src triggers.Source, upTo uint64) error {
	if err := r.crash("before mark"); err != nil {
		return err
	}
	if err := r.journals.Confirm(ctx, src, upTo); err != nil {
		return err
	}
	return r.crash("after mark")
}
