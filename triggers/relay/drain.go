package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// Drained waits until everything that the mapping has committed before the call,
// in all its generations, is where it belongs: dead letters in the morgue or out
// of it, outputs in their streams, notices delivered or dropped. Run has to be running. When ctx ends first, the
// error says what the hindrance is, if one is known.
func (r *Relay) Drained(ctx context.Context, mapping string) error {
	waiting := map[triggers.Source]uint64{}
	err := r.steady(ctx, func() error { return r.waiting(ctx, mapping, waiting) })
	switch {
	case err == nil:
		return r.wait(ctx, waiting, false)
	case ctx.Err() == nil:
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var why error
	if f := r.mappings[mapping]; f != nil {
		for _, s := range f.sources {
			why = cmp.Or(why, s.hindrance(true))
		}
	}
	return errors.Join(err, why)
}

// Delivered says whether all outputs that a source has committed are where they
// belong: in their streams or, where these are gone, among the dead letters. It
// does not wait for anything else that the source has committed, nor for what can
// never come because its journal is damaged.
func (r *Relay) Delivered(ctx context.Context, src triggers.Source) (bool, error) {
	mark, upTo, err := r.journals.Pending(ctx, src)
	switch {
	case errors.Is(err, journal.ErrCorrupt):
		return true, nil
	case err != nil || mark >= upTo:
		return err == nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sources[src]
	return s != nil && (s.sent >= upTo || errors.Is(s.journal.err, journal.ErrCorrupt)), nil
}

// steady asks again when the store was being restored.
func (r *Relay) steady(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, natsd.ErrDown) {
			return err
		}
		if err := r.srv.Healthy(ctx); err != nil {
			return err
		}
	}
}

// flush waits until every letter that waits now is moved, or was tried in vain.
func (r *Relay) flush(ctx context.Context) error {
	r.mu.Lock()
	running := r.running
	r.mu.Unlock()
	if !running {
		return errors.New("dead letters are not moved now")
	}
	mappings, err := r.journals.Mappings(ctx)
	if err != nil {
		return err
	}
	waiting := map[triggers.Source]uint64{}
	for _, mapping := range mappings {
		if err := r.waiting(ctx, mapping, waiting); err != nil {
			return err
		}
	}
	return r.wait(ctx, waiting, true)
}

// waiting adds the mapping's sources with cargo that is not confirmed, and up to
// which commit.
func (r *Relay) waiting(ctx context.Context, mapping string, to map[triggers.Source]uint64) error {
	sources, err := r.journals.Sources(ctx, mapping)
	if errors.Is(err, journal.ErrNoJournal) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, src := range sources {
		mark, upTo, err := r.journals.Pending(ctx, src)
		if err != nil {
			return err
		}
		if upTo > mark {
			to[src] = upTo
		}
	}
	return nil
}

// wait returns when all sources are confirmed up to the commits given. letters:
// when their letters are in the morgue, or cannot be moved now.
func (r *Relay) wait(ctx context.Context, waiting map[triggers.Source]uint64, letters bool) error {
	for {
		r.mu.Lock()
		settled, running := r.settled, r.running // before the look, so that nothing is missed after it
		r.mu.Unlock()
		for src, upTo := range maps.Clone(waiting) {
			var mark uint64
			err := r.steady(ctx, func() (err error) {
				mark, err = r.journals.Mark(ctx, src)
				return err
			})
			if err != nil && ctx.Err() == nil {
				return err
			}
			if err == nil && mark >= upTo {
				delete(waiting, src)
			}
		}
		var why error
		stuck := 0
		r.mu.Lock()
		for src, upTo := range waiting {
			s := r.of(src)
			if letters && s.moved >= upTo {
				delete(waiting, src)
				continue
			}
			switch {
			case cmp.Or(s.journal.err, s.letters.err) != nil:
				stuck++ // it is tried again all the same
			case s.moved < upTo:
				r.rouse(src, s)
			}
			why = cmp.Or(why, s.hindrance(!letters))
		}
		r.mu.Unlock()
		if len(waiting) == 0 {
			return nil
		}
		r.wake()
		if letters && stuck == len(waiting) {
			return why
		}
		select {
		case <-settled:
		case <-ctx.Done():
			err := fmt.Errorf("dead letters, outputs or notices of %d shards are not where they belong yet: %w", len(waiting), context.Cause(ctx))
			if !running {
				err = fmt.Errorf("%w: the relay does not run", err)
			}
			return errors.Join(err, why)
		}
	}
}

// hindrance is what keeps the source's cargo back, that of targets too if asked.
// The caller holds mu.
func (s *source) hindrance(targets bool) error {
	err := cmp.Or(s.journal.err, s.letters.err, s.removal.err)
	if targets {
		for _, t := range s.targets {
			err = cmp.Or(err, t.retry.err)
		}
		for _, b := range s.boxes {
			err = cmp.Or(err, b.retry.err)
		}
	}
	return err
}
