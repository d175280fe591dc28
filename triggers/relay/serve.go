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
// its journal; what is about letters or a target is noted there.
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
	r.prune(s)
	if err := r.crash("before purge"); err != nil {
		return err
	}
	if err := r.journals.Trim(ctx, src); err != nil {
		return err
	}
	return r.crash("after purge")
}

// prune drops targets that are gone once nothing waits for any, so that all is
// confirmed: they would be kept for as long as the mapping.
func (r *Relay) prune(s *source) {
	if s.mark < s.read {
		return
	}
	for id, t := range s.targets {
		if t.gone || !r.there(id) {
			r.mu.Lock()
			delete(s.targets, id)
			r.mu.Unlock()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for destination, b := range s.boxes {
		if !b.waits && !b.busy {
			delete(s.boxes, destination)
		}
	}
}

// advance looks at the commits that nobody has looked at, and moves what is in
// them: letters as they come, then the rest of a stride. Letters, and outputs to a
// target, wait behind others of theirs that wait.
func (r *Relay) advance(ctx context.Context, src triggers.Source, s *source, upTo uint64) error {
	var tail *store.Tail
	for s.read < upTo {
		bytes := 0
		hand := map[*target][]placed{}
		err := r.journals.Read(ctx, src, s.read, upTo, func(sequence uint64, c journal.Cargo) error {
			if bytes >= strideBytes {
				return errStride
			}
			for i := 0; i < len(c.Letters) && !s.waits; i++ {
				l := &c.Letters[i]
				bytes += letterSize(l)
				err := r.entomb(ctx, src, &tail, dlq.Position{Sequence: sequence, Index: uint32(i)}, l)
				if ctx.Err() != nil && err != nil {
					return err
				}
				if err != nil {
					s.waits, s.behind = true, s.read
					r.noteLetters(ctx, src, s, err)
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
			for i := range c.Notices {
				r.put(src, s, c.Notices[i].Destination, s.read, sequence)
				bytes += len(c.Notices[i].Body) + len(c.Notices[i].Payload)
			}
			r.looked(s, sequence)
			return nil
		})
		if !s.waits && r.mayTry(&s.removal) {
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
	r.moved(s)
}

// moved notes up to which commit letters are in the morgue.
func (r *Relay) moved(s *source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.moved = s.read; s.waits {
		s.moved = s.behind
	}
}

func letterSize(l *dlq.Letter) int { return len(l.Data) + 1024 }

// entomb appends a letter of the source to the morgue, behind tail; nil: to be asked
// for. What is behind the mark may be there already: up to its tail.
func (r *Relay) entomb(ctx context.Context, src triggers.Source, tail **store.Tail, at dlq.Position, l *dlq.Letter) error {
	lane := store.Lane{Source: src}
	if *tail == nil {
		t, err := r.graves.Tail(ctx, lane)
		if err != nil {
			return err
		}
		*tail = &t
	}
	if err := r.crash("before append"); err != nil {
		return err
	}
	t, err := r.graves.Append(ctx, lane, **tail, at, l)
	if err != nil {
		*tail = nil
		return err
	}
	*tail = &t
	return r.crash("after append")
}

func (r *Relay) noteLetters(ctx context.Context, src triggers.Source, s *source, err error) {
	r.note(ctx, &s.letters, err, "dead letters cannot be moved yet; outputs go on", "mapping", src.Mapping, "shard", src.Shard)
}

// moveWaiting moves a stride of the letters that wait.
func (r *Relay) moveWaiting(ctx context.Context, src triggers.Source, s *source) {
	var tail *store.Tail
	bytes, current := 0, s.behind
	err := r.journals.Letters(ctx, src, s.behind, s.read, func(at dlq.Position, l dlq.Letter) error {
		if at.Sequence != current {
			s.behind, current = current, at.Sequence // the one before is done
			if bytes >= strideBytes {
				return errStride
			}
		}
		bytes += letterSize(&l)
		return r.entomb(ctx, src, &tail, at, &l)
	})
	s.waits = err != nil
	if errors.Is(err, errStride) {
		err = nil
	}
	r.moved(s)
	r.noteLetters(ctx, src, s, err)
}

// settleRest tries again what waits of commits that were looked at, and notes how
// far all is done.
func (r *Relay) settleRest(ctx context.Context, src triggers.Source, s *source) error {
	for s.waits && r.mayTry(&s.letters) {
		r.moveWaiting(ctx, src, s)
		if err := r.confirm(ctx, src, s); err != nil {
			return err
		}
	}
	// A letter that waits would come after its removal.
	if len(s.removals) > 0 && !s.waits && r.mayTry(&s.removal) {
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
	for _, t := range s.targets {
		if t.waits {
			upTo = min(upTo, t.behind)
		}
	}
	r.mu.Lock()
	s.sent = upTo
	r.mu.Unlock()
	if s.waits {
		upTo = min(upTo, s.behind)
	}
	if len(s.removals) > 0 {
		upTo = min(upTo, s.removals[0].behind)
	}
	if upTo = r.notified(s, upTo); upTo <= s.mark {
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
