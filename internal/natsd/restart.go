package natsd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	firstPause = time.Second      // between two restarts, doubling
	lastPause  = 30 * time.Second // and no longer than this
	quiet      = time.Minute      // without a failure: the next one is a first one
	probing    = 100 * time.Millisecond
	enough     = 1 << 20 // bytes: with less the next writes fail again
)

// Failed tells the server that a write, or the wait for its acknowledgement,
// failed with err. The server finds out by itself whether the store has failed
// and opens it again if so; many callers cause one restart. Failed returns at
// once; [Server.Healthy] waits for the outcome.
func (s *Server) Failed(err error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.asked++
	s.suspectLocked(err)
	s.mu.Unlock()
	s.wake()
}

// suspectLocked makes Healthy wait until watch has looked.
func (s *Server) suspectLocked(err error) {
	s.cause = err
	select {
	case <-s.up:
		s.up = make(chan struct{})
	default:
	}
}

// nudge is Failed for the server's own log, where any lock may be held.
func (s *Server) nudge() { s.wake() }

func (s *Server) wake() {
	select {
	case s.kick <- struct{}{}:
	default: // one is on its way, and watch looks after receiving it
	}
}

// Healthy returns nil when the store works as far as is known: at once, or
// when every failure that was reported before has been looked into and, if
// need be, mended. It returns an error when ctx ends first or the server is
// closed.
func (s *Server) Healthy(ctx context.Context) error {
	for {
		s.mu.Lock()
		up, closed, cause := s.up, s.closed, s.cause
		s.mu.Unlock()
		if closed {
			return ErrClosed
		}
		select {
		case <-up:
			return nil
		default:
		}
		select {
		case <-up:
			// Look again: it may have failed anew, or been closed.
		case <-ctx.Done():
			return fmt.Errorf("%w (after: %v): %w", ErrDown, cause, context.Cause(ctx))
		}
	}
}

// tryFor is how long one request may take: a disk that stalls for longer is
// asked again, which does no harm.
const tryFor = 5 * time.Second

// WriteContext bounds one write: it ends when no acknowledgement can come any
// more, because the store has failed, and after 5 s. A request on a plain
// context would wait for its end, since nats.go does not give up requests whose
// connection is gone. If the write fails, the outcome
// is unknown: see the package's documentation.
func (s *Server) WriteContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return s.bound(ctx, func(in *instance) context.Context { return in.writes })
}

// ReadContext bounds one read or other request that changes nothing in the same
// way. A store that has failed still answers reads for a while.
func (s *Server) ReadContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return s.bound(ctx, func(in *instance) context.Context { return in.serves })
}

func (s *Server) bound(ctx context.Context, by func(*instance) context.Context) (context.Context, context.CancelFunc) {
	s.mu.Lock()
	in := s.cur
	s.mu.Unlock()
	ctx, giveUp := context.WithTimeoutCause(ctx, tryFor, ErrNoAnswer)
	ctx, cancel := context.WithCancelCause(ctx)
	if in == nil {
		cancel(ErrDown)
		return ctx, giveUp
	}
	stop := context.AfterFunc(by(in), func() { cancel(ErrDown) })
	return ctx, func() {
		stop()
		cancel(nil)
		giveUp()
	}
}

// watch looks into reported failures until ctx ends. It alone replaces cur.
func (s *Server) watch(ctx context.Context) {
	defer s.settle(nil) // lets Healthy see that the server is closed
	var last time.Time  // end of the last restart
	pause := firstPause
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		seen, in := s.asked, s.cur
		s.mu.Unlock()
		err := in.sick()
		switch {
		case err == nil:
		case s.opts.Memory:
			// A new start would be an empty one: nothing that was
			// acknowledged may be lost for a write that was not.
			s.opts.Logger.Error("in-memory storage reports a failure", "err", err)
		default:
			if time.Since(last) > quiet {
				pause = firstPause
			}
			pause = s.restart(ctx, err, pause)
			last = time.Now()
		}
		if ctx.Err() != nil {
			return // there may be no instance now
		}
		s.reconnected(ctx)
		s.settle(&seen)
	}
}

// settle lets writers go on, unless a failure was reported after seen was
// taken: its kick is on its way, and it has not been looked into.
func (s *Server) settle(seen *uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
	if seen != nil && *seen != s.asked {
		return
	}
	s.cause = nil
	select {
	case <-s.up:
	default:
		close(s.up)
	}
}

// restart replaces an instance whose store has failed. The old one goes on
// serving reads until the disk takes writes again, but on a full disk no longer
// than pause: only a reopened store can purge, and so make space by itself. It
// returns the pause for a next restart.
func (s *Server) restart(ctx context.Context, cause error, pause time.Duration) time.Duration {
	log := s.opts.Logger
	log.Error("storage failed and is being opened again", "dir", s.opts.Dir, "err", cause)
	s.mu.Lock()
	s.down = true
	s.suspectLocked(cause)
	old := s.cur
	s.mu.Unlock()
	old.lose(ErrDown)

	for {
		next := min(2*pause, lastPause)
		if err := s.probe(ctx, pause); err != nil {
			if ctx.Err() != nil {
				return pause
			}
			full := noSpace(err) || errors.Is(err, errTight)
			if !full && old != nil && old.ns.JetStreamEnabled() {
				log.Error("disk still takes no writes", "dir", s.opts.Dir, "err", err)
				pause = next
				continue
			}
		}
		if old != nil {
			s.mu.Lock()
			s.cur = nil // connections find none until the new one is up
			s.mu.Unlock()
			old.stop()
			old = nil
		}
		in, err := startInstance(s.settings(), log, s.nudge)
		if err == nil {
			if err = cmp.Or(in.unrecovered(), in.sick()); err != nil {
				in.stop()
				mend(s.store, log)
			}
		}
		if err == nil {
			s.mu.Lock()
			s.cur = in
			s.mu.Unlock()
			s.loud.Add(1)
			log.Info("storage is open again", "dir", s.opts.Dir)
			return next
		}
		log.Error("storage cannot be opened yet", "dir", s.opts.Dir, "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return pause
		}
		pause = next
	}
}

// probe returns nil as soon as the disk takes a write and has enough free for
// more, or what was wrong after at most d.
func (s *Server) probe(ctx context.Context, d time.Duration) error {
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		err := s.tryWrite()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(probing):
		case <-end.C:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

var errTight = errors.New("free space is below the reserve")

func (s *Server) tryWrite() error {
	path := filepath.Join(s.store, "probe")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 64<<10))
	err = errors.Join(err, f.Sync(), f.Close(), os.Remove(path))
	if err != nil {
		return err
	}
	free, total, err := s.measure()
	if err == nil && free < max(enough, reserve(s.gauge.reserve, total)/2) {
		return errTight
	}
	return nil
}

// reconnected waits until every connection stands at the current instance, for
// a while: one that hangs must not keep the others waiting.
func (s *Server) reconnected(ctx context.Context) {
	s.mu.Lock()
	in, dialers := s.cur, append([]*dialer(nil), s.dialers...)
	s.mu.Unlock()
	deadline := time.Now().Add(10 * time.Second)
	for _, d := range dialers {
		for !d.on(in) && !d.conn.IsClosed() && ctx.Err() == nil && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
	}
}
