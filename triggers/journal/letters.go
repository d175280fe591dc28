package journal

import (
	"context"
	"errors"
	"fmt"

	"github.com/wasmill/wasmill/internal/ledger"
	"github.com/wasmill/wasmill/triggers"
)

// AllConfirmed is the mark of a source whose journal is deleted: that happens
// only when everything is confirmed.
const AllConfirmed = ^uint64(0)

// Pending says up to which commit the cargo of src is confirmed, and which is
// the newest commit with cargo. Cargo is waiting if upTo > mark. A commit that this process has sent counts once it is acknowledged: until then
// a store that fails may show it and have lost it after a restart.
func (s *Store) Pending(ctx context.Context, src triggers.Source) (mark, upTo uint64, err error) {
	// The mark is read first: it may then be older than the commit, never newer.
	if mark, err = s.Mark(ctx, src); err != nil {
		return 0, 0, err
	}
	newest, err := s.newest(ctx, src)
	if err != nil || newest == nil {
		if errors.Is(err, ErrNoJournal) {
			err = nil
		}
		return mark, 0, err
	}
	upTo = newest.cargoUpTo()
	if j := s.owner(src); j != nil {
		if upTo > j.sure.Load() {
			if err := j.ascertain(ctx); err != nil {
				return 0, 0, err
			}
		}
		upTo = min(upTo, j.sure.Load())
	}
	return mark, upTo, nil
}

// owner is who may commit for src in this process; nil: nobody.
func (s *Store) owner(src triggers.Source) *Journal {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.handles[src]; j != nil && !j.fenced.Load() {
		return j
	}
	return nil
}

// Unrelayed says whether src has cargo that is not confirmed.
func (s *Store) Unrelayed(ctx context.Context, src triggers.Source) (bool, error) {
	mark, upTo, err := s.Pending(ctx, src)
	return upTo > mark, err
}

// Mark is the sequence of the commit up to which all cargo of src is confirmed; 0: none, [AllConfirmed]: the journal is deleted. It never goes back.
func (s *Store) Mark(ctx context.Context, src triggers.Source) (uint64, error) {
	_, mark, err := s.mark(ctx, src)
	if errors.Is(err, ErrNoJournal) {
		return AllConfirmed, nil
	}
	return mark, err
}

// mark returns the mark's own sequence too; 0: there is none.
func (s *Store) mark(ctx context.Context, src triggers.Source) (sequence, mark uint64, err error) {
	e, found, err := s.ledger(src.Mapping).Last(ctx, subject(kindMark, src))
	if err != nil {
		return 0, 0, s.about(src, err)
	}
	if !found {
		return 0, 0, nil
	}
	mark, err = decodeMark(e.Data)
	if err != nil {
		return 0, 0, s.about(src, err)
	}
	return e.Sequence, mark, nil
}

// Confirm notes that all cargo of src in commits up to that one is kept
// elsewhere, and returns when the mark is on disk. Only the relay calls it, and
// for one source once at a time. upTo has to be the sequence of a commit: blobs
// behind it belong to later ones.
func (s *Store) Confirm(ctx context.Context, src triggers.Source, upTo uint64) error {
	var last error
	for range rounds {
		sequence, mark, err := s.mark(ctx, src)
		if err != nil {
			return err
		}
		if mark >= upTo {
			s.confirmed(src, mark)
			return nil
		}
		// No reserve is kept of a mark: it is what makes room.
		s.confirmed(src, mark) // and no more, until the next one is on disk
		_, last = s.ledger(src.Mapping).Append(ctx, subject(kindMark, src), sequence, encodeMark(upTo))
		switch {
		case last == nil:
			s.confirmed(src, upTo)
			return nil
		case errors.Is(last, ledger.ErrRefused):
			continue
		case errors.Is(last, ledger.ErrNoStream):
			return s.about(src, last)
		}
		s.srv.Failed(last)
		if err := s.srv.Healthy(ctx); err != nil {
			return s.about(src, fmt.Errorf("mark: %w: %w", last, err))
		}
	}
	return s.about(src, fmt.Errorf("mark: %w", last))
}

// thinAfter is how many entries of a journal may lie behind a mark that does not move
// before commits without cargo are taken out from between those that have some.
const thinAfter = 4_000

// thinBytes is how many bytes of commits do so: with the state of a window, one can have a
// megabyte and more.
const thinBytes = 32 << 20

// thinning is what this process knows of what thin has to do in a source.
type thinning struct {
	below uint64 // commits below have been looked at
	bytes int    // written since
}

// Trim purges what nobody needs any more: commits older than the newest and
// than the first one whose cargo is not confirmed, the blobs they named, and
// old marks. The newest commit always stays. Where cargo has to wait for long, as
// that for a destination that is gone for days, Trim takes out the commits without
// cargo behind it. It does nothing when there is nothing to do.
func (s *Store) Trim(ctx context.Context, src triggers.Source) error {
	sequence, mark, err := s.mark(ctx, src)
	if err != nil {
		return err
	}
	newest, err := s.newest(ctx, src)
	if err != nil || newest == nil {
		return err
	}
	below := newest.sequence
	if j := s.owner(src); j != nil {
		below = min(below, j.tip.Load()) // one that is not acknowledged may vanish
	}
	l := s.ledger(src.Mapping)
	if newest.cargoUpTo() > mark {
		if err := s.thin(ctx, l, src, mark, below); err != nil {
			return s.about(src, fmt.Errorf("thin: %w", err))
		}
		below = min(below, mark+1)
	}
	// Blobs of an unconfirmed commit lie behind the mark, those of a commit
	// under way behind the newest one: each is written after the commit that
	// its own follows.
	for _, p := range []struct {
		kind  string
		below uint64
	}{{kindBlob, below}, {kindCommit, below}, {kindMark, sequence}} {
		if err := l.Purge(ctx, subject(p.kind, src), p.below); err != nil {
			return s.about(src, fmt.Errorf("purge: %w", err))
		}
	}
	return nil
}

// thin deletes the commits without cargo in (mark, below), once there are many or nobody
// knows how large they are; those that were looked at before are not again.
func (s *Store) thin(ctx context.Context, l *ledger.Ledger, src triggers.Source, mark, below uint64) error {
	s.mu.Lock()
	from, bytes := mark+1, thinBytes
	if t := s.thinned[src]; t != nil {
		from, bytes = max(from, t.below), t.bytes
	}
	s.mu.Unlock()
	if below <= from || below < from+thinAfter && bytes < thinBytes {
		return nil
	}
	var bare []uint64
	err := l.Scan(ctx, subject(kindCommit, src), from, below-1, func(e ledger.Entry) error {
		if c, err := decodeCommit(e.Sequence, e.Data); err == nil && !c.laden() { // a damaged one stays, to be told of
			bare = append(bare, e.Sequence)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, sequence := range bare {
		if _, err := l.Delete(ctx, sequence); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.swept[src.Mapping] != nil { // not deleted meanwhile
		s.thinned[src] = &thinning{below: below}
	}
	return nil
}
