package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/wasmill/wasmill/dlq"
	"github.com/wasmill/wasmill/dlq/store"
	"github.com/wasmill/wasmill/triggers"
	"github.com/wasmill/wasmill/triggers/journal"
)

// removal is letters that a commit has settled and that are still in the morgue.
type removal struct {
	ids    []string
	behind uint64 // a commit before it
}

// errStride ends a look into the journal: what was found is to be moved first.
var errStride = errors.New("relay: enough for now")

// serve moves the cargo of one source and purges its journal. The error is about
// its letters or its journal; what is about a target is noted there.
func (r *Relay) serve(ctx context.Context, src triggers.Source, trim bool) error {
	if err := r.srv.Healthy(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	s := r.of(src)
	r.mu.Unlock()
	mark, upTo, err := r.journals.Pending(ctx, src)
	if err != nil {
		return err
	}
	if mark == journal.AllConfirmed {
		return journal.ErrNoJournal
	}
	s.mark, s.read = max(s.mark, mark), max(s.read, mark)
	if err := errors.Join(r.advance(ctx, src, s, upTo), r.settleRest(ctx, src, s)); err != nil {
		return err
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

// advance looks at the commits that nobody has looked at, and moves what is in
// them: letters as they come, then the rest of a stride. Outputs to targets that
// have others waiting wait behind them.
func (r *Relay) advance(ctx context.Context, src triggers.Source, s *source, upTo uint64) error {
	lane := store.Lane{Source: src}
	var tail *store.Tail
	for s.read < upTo {
		bytes := 0
		hand := map[*target][]placed{}
		err := r.journals.Read(ctx, src, s.read, upTo, func(sequence uint64, c journal.Cargo) error {
			if bytes >= strideBytes {
				return errStride
			}
			if tail == nil && len(c.Letters) > 0 {
				// What is behind the mark may be in the morgue already: up to its tail.
				t, err := r.graves.Tail(ctx, lane)
				if err != nil {
					return err
				}
				tail = &t
			}
			for i := range c.Letters {
				l := &c.Letters[i]
				bytes += len(l.Data) + 1024
				if err := r.crash("before append"); err != nil {
					return err
				}
				t, err := r.graves.Append(ctx, lane, *tail, dlq.Position{Sequence: sequence, Index: uint32(i)}, l)
				if err != nil {
					return err
				}
				tail = &t
				if err := r.crash("after append"); err != nil {
					return err
				}
			}
			if len(c.Redriven) > 0 {
				s.removals = append(s.removals, removal{c.Redriven, s.read})
			}
			for i, o := range c.Outputs {
				t := r.target(s, &o)
				if _, ours := hand[t]; !t.waits || ours {
					hand[t] = append(hand[t], placed{o, dlq.Position{Sequence: sequence, Index: uint32(i)}, s.read, c.Trigger})
					bytes += size(&o)
				}
				if !t.waits {
					t.waits, t.behind = true, s.read
				}
			}
			r.looked(s, sequence)
			return nil
		})
		if r.mayTry(&s.removal) {
			r.remove(ctx, src, s)
		}
		for t, outputs := range hand {
			r.deliver(ctx, src, t, outputs)
		}
		switch {
		case errors.Is(err, errStride):
			// A long way: what is behind makes room for what is to come.
			if err := r.confirm(ctx, src, s); err != nil {
				return err
			}
			if err := r.journals.Trim(ctx, src); err != nil {
				return err
			}
		case err != nil:
			return err
		case s.read != upTo:
			return fmt.Errorf("cargo of commit %d was not found, only that up to %d", upTo, s.read)
		}
	}
	return nil
}

// looked notes that a commit's cargo is moved or known to wait.
func (r *Relay) looked(s *source, sequence uint64) {
	s.read = sequence
	r.mu.Lock()
	s.moved = sequence
	r.mu.Unlock()
}

// settleRest tries again what waits of commits that were looked at, and notes how
// far all is done.
func (r *Relay) settleRest(ctx context.Context, src triggers.Source, s *source) error {
	if len(s.removals) > 0 && r.mayTry(&s.removal) {
		r.remove(ctx, src, s)
	}
	for _, t := range s.targets {
		for t.waits && r.mayTry(&t.retry) {
			r.catchUp(ctx, src, s, t)
			if err := r.confirm(ctx, src, s); err != nil {
				return err
			}
		}
	}
	return r.confirm(ctx, src, s)
}

func (r *Relay) mayTry(t *retry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.err == nil || t.ready(time.Now())
}

// note keeps how a try went, and tells of the first in a row that failed.
func (r *Relay) note(ctx context.Context, t *retry, err error, what string, about ...any) {
	r.mu.Lock()
	first := err != nil && t.err == nil
	t.note(err, time.Now())
	r.mu.Unlock()
	if first && ctx.Err() == nil {
		r.log.Warn(what, append(about, "err", err)...)
	}
}

// remove takes letters out of the morgue that are settled. One that still waits in
// the journal of another source is waited for: it would come after its removal.
func (r *Relay) remove(ctx context.Context, src triggers.Source, s *source) {
	err := func() error {
		var ids []string
		for _, m := range s.removals {
			ids = append(ids, m.ids...)
		}
		if len(ids) == 0 {
			return nil
		}
		if err := r.crash("before remove"); err != nil {
			return err
		}
		left, err := r.morgue.Remove(ctx, ids)
		if err != nil {
			return err
		}
		if err := r.crash("after remove"); err != nil {
			return err
		}
		if len(left) > 0 {
			s.removals = []removal{{left, s.removals[0].behind}}
			return fmt.Errorf("%d dead letters that were redriven are not in the morgue yet", len(left))
		}
		s.removals = nil
		return nil
	}()
	r.note(ctx, &s.removal, err, "dead letters that were redriven cannot be removed yet", "mapping", src.Mapping, "shard", src.Shard)
}

// confirm notes up to which commit everything is done.
func (r *Relay) confirm(ctx context.Context, src triggers.Source, s *source) error {
	upTo := s.read
	if len(s.removals) > 0 {
		upTo = min(upTo, s.removals[0].behind)
	}
	for _, t := range s.targets {
		if t.waits {
			upTo = min(upTo, t.behind)
		}
	}
	if upTo <= s.mark {
		return nil
	}
	if err := r.crash("before mark"); err != nil {
		return err
	}
	if err := r.journals.Confirm(ctx, src, upTo); err != nil {
		return err
	}
	s.mark = upTo
	return r.crash("after mark")
}
