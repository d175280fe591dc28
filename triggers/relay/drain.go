package relay

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// Drained waits until every letter that the mapping has committed before the
// call, in all its generations, is in the morgue. Run has to be running. When
// ctx ends first, the error says what the hindrance is, if one is known.
func (r *Relay) Drained(ctx context.Context, mapping string) error {
	waiting := map[triggers.Source]uint64{}
	if err := r.waiting(ctx, mapping, waiting); err != nil {
		return err
	}
	return r.wait(ctx, waiting, func(map[triggers.Source]error) bool { return true })
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
	return r.wait(ctx, waiting, func(errs map[triggers.Source]error) bool { return len(errs) < len(waiting) })
}

// waiting adds the mapping's sources with letters that are not confirmed, and
// up to which commit.
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

// wait returns when all sources are confirmed up to the commits given, or hope,
// asked with the failures of those that are not, is gone.
func (r *Relay) wait(ctx context.Context, waiting map[triggers.Source]uint64, hope func(map[triggers.Source]error) bool) error {
	for {
		r.mu.Lock()
		settled, running := r.settled, r.running // before the look, so that nothing is missed after it
		r.mu.Unlock()
		for src, upTo := range maps.Clone(waiting) {
			mark, err := r.journals.Mark(ctx, src)
			if err != nil {
				return err
			}
			if mark >= upTo {
				delete(waiting, src)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		errs := map[triggers.Source]error{}
		r.mu.Lock()
		for src := range waiting {
			s := r.of(src)
			if s.due = true; s.err != nil {
				errs[src] = s.err
			}
		}
		r.mu.Unlock()
		r.wake()
		var why error
		for _, err := range errs {
			why = err
		}
		if !hope(errs) {
			return why
		}
		select {
		case <-settled:
		case <-ctx.Done():
			err := fmt.Errorf("dead letters of %d shards are not in the morgue yet: %w", len(waiting), context.Cause(ctx))
			if !running {
				err = fmt.Errorf("%w: the relay does not run", err)
			}
			return errors.Join(err, why)
		}
	}
}
